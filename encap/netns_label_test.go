package encap_test

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"weft/encap"
	"weft/internal/drop"
	"weft/internal/header"
	"weft/internal/offload"
)

// TestNetnsUDPLabel: over IPv6 the flow label is the source port. A peer that a route
// keeps from this host does not change that, though the kernel refuses both alike; a
// label that another program leases for itself alone does (RFC 6437, ipv6(7)), since
// then the kernel takes none but leased ones, and everything arrives all the same.
func TestNetnsUDPLabel(t *testing.T) {
	a, b := twoHosts(t)
	lost := netip.MustParseAddr("2001:db8:9::1")
	if _, err := a.Output(t.Context(), "ip", "route", "add", "blackhole", lost.String()); err != nil {
		t.Fatal(err)
	}
	a.open(encap.Config{Local: []netip.Addr{addrA6}}, encap.Peer{ID: 1, Addr: addrB6, Choice: encap.ChooseUDP}, encap.Peer{ID: 2, Addr: lost, Choice: encap.ChooseUDP})
	b.open(encap.Config{Local: []netip.Addr{addrB6}}, encap.Peer{ID: 5, Addr: addrA6})
	b.v6 = true
	captured := b.capture()
	sender := a.u.NewSender()
	h, super, payload := tcpSuper(t, 20000, 1300)
	for _, leased := range []bool{false, true} {
		nowhere := []encap.Packet{teb(2, super)} // of the same flow, which is sent by the same socket
		nowhere[0].Header = h
		if sender.Send(nowhere); nowhere[0].Reason != drop.TxUnreachable {
			t.Errorf("to where a route leads nowhere: %v", nowhere[0].Reason)
		}
		if leased {
			a.leaseLabel(0x12345)
		}
		whole := teb(1, super)
		whole.Header = h
		pkts := []encap.Packet{whole, teb(1, frame(60)), teb(1, frame(99))}
		sender.Send(pkts)
		for i := range pkts {
			if pkts[i].Reason != drop.None {
				t.Fatalf("leased %t, packet %d: %v", leased, i, pkts[i].Reason)
			}
		}
		var joined []byte
		for i, d := range b.recvUDP(2 + offload.Segments(h, super)) {
			if d.Reason != drop.None {
				t.Fatalf("leased %t, datagram %d: %v", leased, i, d.Reason)
			}
			if len(d.Frame) > 99 {
				joined = append(joined, d.Frame[54:]...)
			}
		}
		if !bytes.Equal(joined, payload) {
			t.Errorf("leased %t: %d bytes of payload, want %d", leased, len(joined), len(payload))
		}
		wire := captured()
		if len(wire) == 0 {
			t.Errorf("leased %t: nothing was captured", leased)
		}
		for i, p := range wire {
			label, port := header.IPv6(p).FlowLabel(), binary.BigEndian.Uint16(p[header.IPv6Len:])
			if own := label == uint32(port); own == leased {
				t.Errorf("leased %t, datagram %d: flow label %#x, source port %#x", leased, i, label, port)
			}
		}
	}
}

// flowLabelManager is IPV6_FLOWLABEL_MGR (linux/in6.h).
const flowLabelManager = 32

// leaseLabel has a socket of another program keep a flow label for itself.
func (h *host) leaseLabel(label uint32) {
	h.t.Helper()
	fd := -1
	h.do(func() (err error) {
		fd, err = unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		return err
	})
	h.t.Cleanup(func() { _ = unix.Close(fd) })
	request := struct { // in6_flowlabel_req (linux/in6.h)
		dst             [16]byte
		label           [4]byte
		action, share   uint8
		flags           uint16
		expires, linger uint16
		_               uint32
	}{dst: addrB6.As16(), action: 0 /* IPV6_FL_A_GET */, share: 1 /* IPV6_FL_S_EXCL */, flags: 1 /* IPV6_FL_F_CREATE */, linger: 6}
	binary.BigEndian.PutUint32(request.label[:], label)
	b := unsafe.Slice((*byte)(unsafe.Pointer(&request)), unsafe.Sizeof(request))
	if err := unix.SetsockoptString(fd, unix.IPPROTO_IPV6, flowLabelManager, string(b)); err != nil {
		h.t.Fatalf("lease a flow label: %v", err)
	}
}
