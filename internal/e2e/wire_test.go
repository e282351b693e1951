package e2e

import (
	"encoding/binary"
	"net/netip"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"weft/internal/lab"
)

// wire speaks GRE from a namespace without weft, byte by byte: the other host
// where a test must send what no switch would.
type wire struct {
	t  *testing.T
	fd int
}

// newWire opens a raw socket. While it is open the kernel answers no GRE
// packet with ICMP protocol unreachable.
func newWire(t *testing.T, n *lab.NS) *wire {
	t.Helper()
	w := &wire{t: t}
	err := n.Do(func() (err error) {
		w.fd, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_GRE)
		if err != nil {
			return os.NewSyscallError("socket", err)
		}
		return os.NewSyscallError("setsockopt", unix.SetsockoptInt(w.fd, unix.IPPROTO_IP, unix.IP_HDRINCL, 1))
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(w.fd) })
	return w
}

// send sends what follows the IPv4 header, GRE header included.
func (w *wire) send(src, dst netip.Addr, gre []byte) {
	w.t.Helper()
	if err := w.trySend(outer(src, dst, gre), dst); err != nil {
		w.t.Fatalf("send %d bytes of GRE: %v", len(gre), err)
	}
}

// trySend sends a whole IPv4 packet.
func (w *wire) trySend(packet []byte, dst netip.Addr) error {
	return unix.Sendto(w.fd, packet, 0, &unix.SockaddrInet4{Addr: dst.As4()})
}

// outer puts an IPv4 header with DF in front; the kernel fills in id and checksum.
func outer(src, dst netip.Addr, gre []byte) []byte {
	p := make([]byte, 20, 20+len(gre))
	p[0], p[8], p[9] = 0x45, 64, unix.IPPROTO_GRE
	binary.BigEndian.PutUint16(p[2:], uint16(20+len(gre)))
	p[6] = 0x40
	s, d := src.As4(), dst.As4()
	copy(p[12:], s[:])
	copy(p[16:], d[:])
	return append(p, gre...)
}

// teb is a GRE packet with a key and an Ethernet frame.
func teb(key uint32, frame []byte) []byte {
	g := binary.BigEndian.AppendUint32([]byte{0x20, 0x00, 0x65, 0x58}, key)
	return append(g, frame...)
}

// verdict says what RFC 2784 and RFC 2890 want of a receiver that carries
// Ethernet frames for one key: "" to deliver, else the reason to drop. It is
// written from the RFCs alone, as the tests' own opinion.
func verdict(gre []byte, key uint32) (reason string, frame []byte) {
	if len(gre) < 4 {
		return "gre_short", nil
	}
	flags, proto, at := binary.BigEndian.Uint16(gre), binary.BigEndian.Uint16(gre[2:]), 4
	switch {
	case flags&7 != 0:
		return "gre_version", nil
	case flags&0x4000 != 0:
		return "gre_routing", nil
	case flags&0x0c00 != 0:
		return "gre_reserved", nil
	}
	for _, bit := range []uint16{0x8000, 0x2000, 0x1000} {
		if flags&bit != 0 {
			at += 4
		}
	}
	if len(gre) < at {
		return "gre_short", nil
	}
	if flags&0x8000 != 0 && onesComplement(gre) != 0xffff {
		return "gre_csum", nil
	}
	switch {
	case proto == 0:
		return "gre_keepalive", nil
	case proto != 0x6558 && proto != 0x0800 && proto != 0x86dd:
		return "gre_proto", nil
	case flags&0x2000 == 0: // the networks of this peer have keys
		return "gre_key", nil
	}
	keyAt := 4
	if flags&0x8000 != 0 {
		keyAt = 8
	}
	switch {
	case binary.BigEndian.Uint32(gre[keyAt:]) != key:
		return "gre_key", nil
	case proto != 0x6558: // the network of this key takes frames only
		return "gre_proto", nil
	}
	return "", gre[at:]
}

// onesComplement is the sum of RFC 1071, 0xffff over data with a right checksum.
func onesComplement(b []byte) uint16 {
	var sum uint64
	for i, c := range b {
		sum += uint64(c) << (8 * (1 - i%2))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}
