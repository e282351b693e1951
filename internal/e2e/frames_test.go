package e2e

import (
	"encoding/binary"
	"net"
	"os"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"weft/internal/lab"
	"weft/internal/offload"
)

// frame builds an Ethernet frame.
func frame(dst, src string, ethertype uint16, payload []byte) []byte {
	var f []byte
	for _, s := range []string{dst, src} {
		mac, err := net.ParseMAC(s)
		if err != nil {
			panic(err)
		}
		f = append(f, mac...)
	}
	f = binary.BigEndian.AppendUint16(f, ethertype)
	return append(f, payload...)
}

// gratuitous reports whether a frame is an ARP announcement: sender and target
// are the same address.
func gratuitous(f []byte) bool {
	return len(f) >= 42 && binary.BigEndian.Uint16(f[12:]) == unix.ETH_P_ARP && string(f[28:32]) == string(f[38:42])
}

// packetSocket opens an AF_PACKET socket on an interface inside a namespace.
// proto is 0 for one that receives nothing.
func packetSocket(t testing.TB, n *lab.NS, ifname string, proto uint16) int {
	t.Helper()
	var fd int
	err := n.Do(func() error {
		ifi, err := net.InterfaceByName(ifname)
		if err != nil {
			return err
		}
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return os.NewSyscallError("socket", err)
		}
		if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: proto<<8 | proto>>8, Ifindex: ifi.Index}); err != nil {
			unix.Close(fd)
			return os.NewSyscallError("bind", err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

// sender puts frames on an interface as a container with CAP_NET_RAW can.
type sender struct {
	t  testing.TB
	fd int
}

func newSender(t testing.TB, n *lab.NS, ifname string) *sender {
	t.Helper()
	s := &sender{t, packetSocket(t, n, ifname, 0)}
	t.Cleanup(func() { unix.Close(s.fd) })
	return s
}

// send sends one frame.
func (s *sender) send(f []byte) {
	s.t.Helper()
	if _, err := unix.Write(s.fd, f); err != nil {
		s.t.Fatalf("send frame of %d bytes: %v", len(f), err)
	}
}

// try sends one frame, come what may.
func (s *sender) try(f []byte) { _, _ = unix.Write(s.fd, f) }

// sendVirtio sends a frame behind a virtio header, which the kernel believes as
// far as it checks it; the error is the kernel's refusal.
func (s *sender) sendVirtio(h offload.Header, f []byte) error {
	s.t.Helper()
	if err := unix.SetsockoptInt(s.fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1); err != nil {
		s.t.Fatal(err)
	}
	b := make([]byte, offload.HeaderLen, offload.HeaderLen+len(f))
	h.Put(b)
	_, err := unix.Write(s.fd, append(b, f...))
	return err
}

// captured is a frame as it passed an interface.
type captured struct {
	data     []byte
	outgoing bool
}

// capture records what passes an interface, super-frames uncut.
type capture struct {
	fd   int
	quit chan struct{}
	wg   sync.WaitGroup

	mu     sync.Mutex // guards the following
	halted bool
	frames []captured
}

// newCapture starts a capture; it sees everything from its return on.
func newCapture(t *testing.T, n *lab.NS, ifname string) *capture {
	t.Helper()
	c := &capture{fd: packetSocket(t, n, ifname, unix.ETH_P_ALL), quit: make(chan struct{})}
	_ = unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20)
	if err := unix.SetsockoptInt(c.fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1); err != nil {
		t.Fatal(err)
	}
	if err := unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 20000}); err != nil {
		t.Fatal(err)
	}
	c.wg.Go(c.run) // ends with quit
	t.Cleanup(func() { c.stop() })
	return c
}

// run reads frames until it shall stop and nothing is left.
func (c *capture) run() {
	buf, oob := make([]byte, 1<<17), make([]byte, 128)
	for {
		n, oobn, _, from, err := unix.Recvmsg(c.fd, buf, oob, 0)
		if err != nil { // EAGAIN after 20 ms of silence, EINTR, ENETDOWN when the interface went
			select {
			case <-c.quit:
				return
			default:
				continue
			}
		}
		ll, _ := from.(*unix.SockaddrLinklayer)
		f := captured{retag(buf[:n], oob[:oobn]), ll != nil && ll.Pkttype == unix.PACKET_OUTGOING}
		c.mu.Lock()
		c.frames = append(c.frames, f)
		c.mu.Unlock()
	}
}

// retag copies a frame and puts its outer VLAN tag back, which the kernel took
// out into struct tpacket_auxdata (packet(7)).
func retag(f, oob []byte) []byte {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err == nil && len(msgs) == 1 && msgs[0].Header.Type == unix.PACKET_AUXDATA && len(msgs[0].Data) >= 20 {
		aux := msgs[0].Data // status, len, snaplen (32 bits each), mac, net, vlan_tci, vlan_tpid (16 bits each)
		if binary.NativeEndian.Uint32(aux)&unix.TP_STATUS_VLAN_VALID != 0 {
			out := append([]byte(nil), f[:12]...)
			out = binary.BigEndian.AppendUint16(out, binary.NativeEndian.Uint16(aux[18:]))
			out = binary.BigEndian.AppendUint16(out, binary.NativeEndian.Uint16(aux[16:]))
			return append(out, f[12:]...)
		}
	}
	return append([]byte(nil), f...)
}

// seen returns what was captured so far.
func (c *capture) seen() []captured {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]captured(nil), c.frames...)
}

// stop ends the capture and returns all of it. It may be called twice.
func (c *capture) stop() []captured {
	c.mu.Lock()
	first := !c.halted
	c.halted = true
	c.mu.Unlock()
	if first {
		close(c.quit)
		c.wg.Wait()
		unix.Close(c.fd)
	}
	return c.seen()
}
