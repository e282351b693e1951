package hostnet

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// wantLocalAddr asks the kernel to say to which address each datagram was sent,
// so that answers come from there (ip(7), IP_PKTINFO).
func (l *Listener) wantLocalAddr() error {
	if l.host.IsValid() {
		return nil
	}
	if l.isIPv6() {
		return ipv6.NewPacketConn(l.udp).SetControlMessage(ipv6.FlagDst, true)
	}
	return ipv4.NewPacketConn(l.udp).SetControlMessage(ipv4.FlagDst, true)
}

func (l *Listener) isIPv6() bool { return l.udp.LocalAddr().(*net.UDPAddr).IP.To4() == nil }

// answerFrom makes of what came with a datagram what goes with the answers to it.
func (l *Listener) answerFrom(oob []byte) []byte {
	if len(oob) == 0 {
		return nil
	}
	if l.isIPv6() {
		var cm ipv6.ControlMessage
		if cm.Parse(oob) != nil || cm.Dst == nil {
			return nil
		}
		return (&ipv6.ControlMessage{Src: cm.Dst}).Marshal()
	}
	var cm ipv4.ControlMessage
	if cm.Parse(oob) != nil || cm.Dst == nil {
		return nil
	}
	return (&ipv4.ControlMessage{Src: cm.Dst}).Marshal()
}

// readLoop hands each client's datagrams to its session.
func (l *Listener) readLoop() {
	sessions := map[netip.AddrPort]*net.UDPConn{} // this goroutine's own
	ended := make(chan netip.AddrPort, 2*maxSessions)
	buf, oob := make([]byte, 1<<16), make([]byte, 128)
	for {
		n, oobn, _, client, err := l.udp.ReadMsgUDPAddrPort(buf, oob)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		for more := true; more; {
			select {
			case gone := <-ended:
				delete(sessions, gone)
			default:
				more = false
			}
		}
		if err != nil { // an ICMP error about an answer
			continue
		}
		far := sessions[client]
		if far == nil {
			if far = l.openUDP(client, l.answerFrom(oob[:oobn]), ended); far == nil {
				continue
			}
			sessions[client] = far
		}
		_, _ = far.Write(buf[:n]) // lost, as UDP may be
	}
}

// openUDP opens a session; nil where that is refused.
func (l *Listener) openUDP(client netip.AddrPort, from []byte, ended chan<- netip.AddrPort) *net.UDPConn {
	if !isOwn(client.Addr().Unmap()) {
		return nil
	}
	c, err := l.dial(client.Addr().Unmap())
	if err != nil {
		return nil
	}
	far := c.(*net.UDPConn)
	if !l.hold(io.Closer(far)) {
		_ = far.Close() // refused
		return nil
	}
	l.running.Go(func() { // ends when the container is silent for udpIdle, or with Close
		defer func() {
			l.release(far)
			ended <- client // never full: there are no more sessions than it holds
		}()
		buf := make([]byte, 1<<16)
		for {
			_ = far.SetReadDeadline(time.Now().Add(udpIdle)) // fails on a closed one, as Read does
			n, err := far.Read(buf)
			if err != nil {
				return
			}
			_, _, _ = l.udp.WriteMsgUDPAddrPort(buf[:n], from, client) // lost, as UDP may be
		}
	})
	return far
}
