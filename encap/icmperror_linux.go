package encap

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// errorBatch is the most entries of the error queue that one call of Errors reads.
const errorBatch = 32

// ICMPError is what a host or router said about a datagram to a peer.
type ICMPError struct {
	Errno syscall.Errno // what the kernel makes of it, such as ENOPROTOOPT or EHOSTUNREACH
	Type  uint8
	Code  uint8
	MTU   int        // of the next hop, in bytes, for "fragmentation needed" and "packet too big"; else 0
	From  netip.Addr // who said so
}

// What types and codes mean here: RFC 792, and RFC 4443 over IPv6.
var (
	icmpMeaning = map[[2]uint8]string{
		{3, 0}: "network unreachable",
		{3, 1}: "host unreachable",
		{3, 2}: noSwitch,
		{3, 3}: noTunnel,
		{3, 4}: tooBig,
	}
	icmp6Meaning = map[[2]uint8]string{
		{1, 0}: "network unreachable",
		{1, 1}: "prohibited by a filter",
		{1, 3}: "host unreachable",
		{1, 4}: noTunnel,
		{2, 0}: tooBig,
		{4, 1}: noSwitch,
	}
)

const (
	noSwitch = "protocol 47 unreachable: no switch runs there"
	noTunnel = "port unreachable: GRE is known there, but not this tunnel"
	tooBig   = "datagram too big for the path"
)

// Error says what is wrong and who said so.
func (e *ICMPError) Error() string {
	meaning, name := icmpMeaning, "ICMP"
	if e.From.Is6() {
		meaning, name = icmp6Meaning, "ICMPv6"
	}
	what := meaning[[2]uint8{e.Type, e.Code}]
	if what == "" {
		what = fmt.Sprintf("%s type %d code %d", name, e.Type, e.Code)
	}
	if e.MTU != 0 {
		what += fmt.Sprintf(", MTU %d", e.MTU)
	}
	return what + ", says " + e.From.String()
}

// Unwrap returns the error number, for errors.Is.
func (e *ICMPError) Unwrap() error { return e.Errno }

// Errors drains the socket's error queue (ip(7), IP_RECVERR; ipv6(7)).
func (r *rawReceiver) Errors(f func(PeerID, error)) {
	if !r.f.sockets.raw { // a socketpair has no error queue and would give up a datagram
		return
	}
	fd := r.f.sockets.Peers
	peers := r.u.peers.Load()
	var control [256]byte
	var quoted [GRELen]byte
	for range errorBatch {
		size, n, _, to, err := unix.Recvmsg(fd, quoted[:], control[:], unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			break
		}
		p := peers.byAddr[addrOf(to)] // to is the destination of the quoted datagram
		e := parseICMPError(control[:n])
		if p == nil || e == nil {
			continue
		}
		if e.Errno == syscall.EMSGSIZE {
			p.way.claim(e.MTU)
		}
		if !(quotesHello(quoted[:size]) && e.refuses()) {
			f(p.ID, e)
		}
	}
	// The kernel keeps the last error apart as well and would report it in place of a datagram.
	_, _ = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
}

// readErrors empties the error queues of the sockets that send, for what they say
// of the MTU; of all else the hello knows better.
func (s *udpSockets) readErrors(peers *peerTable) {
	var control [256]byte
	for _, fd := range s.send {
		for range errorBatch {
			_, n, _, to, err := unix.Recvmsg(fd, nil, control[:], unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
			if err != nil {
				break
			}
			p := peers.byAddr[addrOf(to)]
			if e := parseICMPError(control[:n]); p != nil && e != nil && e.Errno == syscall.EMSGSIZE {
				p.way.claim(e.MTU)
			}
		}
	}
}

// quotesHello reports whether the datagram whose GRE header an error quotes is a
// hello. Others may answer that they do not know it (gre_rcv in
// net/ipv4/ip_gre.c): that says nothing about the tunnels to them.
func quotesHello(gre []byte) bool {
	return len(gre) >= GRELen && GRE(gre).Protocol() == ProtoHello
}

// refuses reports whether the destination itself did not want the datagram.
func (e *ICMPError) refuses() bool {
	meaning := icmpMeaning
	if e.From.Is6() {
		meaning = icmp6Meaning
	}
	what := meaning[[2]uint8{e.Type, e.Code}]
	return what == noSwitch || what == noTunnel
}

// addrOf returns the address of a socket address; invalid where it is no IP.
func addrOf(s unix.Sockaddr) netip.Addr {
	switch s := s.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrFrom4(s.Addr)
	case *unix.SockaddrInet6:
		return netip.AddrFrom16(s.Addr)
	}
	return netip.Addr{}
}

// parseICMPError finds the struct sock_extended_err (linux/errqueue.h) in a
// control message, and the address behind it; nil where it does not speak of an
// ICMP message.
func parseICMPError(control []byte) *ICMPError {
	msgs, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return nil
	}
	for _, m := range msgs {
		switch {
		case m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_RECVERR:
			return parseExtendedError(m.Data, unix.SO_EE_ORIGIN_ICMP)
		case m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_RECVERR:
			return parseExtendedError(m.Data, unix.SO_EE_ORIGIN_ICMP6)
		}
	}
	return nil
}

// parseExtendedError reads struct sock_extended_err and the address of whoever
// said so, which follows it.
func parseExtendedError(b []byte, wantOrigin uint8) *ICMPError {
	const (
		errno, origin, kind, code, info = 0, 4, 5, 6, 8 // offsets
		from4                           = 16 + 4        // of sin_addr in the struct sockaddr_in that follows
		from6                           = 16 + 8        // of sin6_addr in the struct sockaddr_in6 that follows
	)
	size := from4 + 4
	if wantOrigin == unix.SO_EE_ORIGIN_ICMP6 {
		size = from6 + 16
	}
	if len(b) < size || b[origin] != wantOrigin {
		return nil
	}
	e := &ICMPError{Errno: syscall.Errno(binary.NativeEndian.Uint32(b[errno:])), Type: b[kind], Code: b[code]}
	if wantOrigin == unix.SO_EE_ORIGIN_ICMP {
		e.From = netip.AddrFrom4([4]byte(b[from4:]))
	} else {
		e.From = netip.AddrFrom16([16]byte(b[from6:]))
	}
	if e.Errno == syscall.EMSGSIZE {
		e.MTU = int(binary.NativeEndian.Uint32(b[info:]))
	}
	return e
}
