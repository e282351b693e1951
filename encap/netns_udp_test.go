package encap_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weft/encap"
	"weft/internal/drop"
	"weft/internal/header"
	"weft/internal/offload"
)

// udp returns the receiver and the strangers of GRE-in-UDP that belong to
// receiver and strangers.
func (h *host) udp() (encap.Receiver, *encap.Strangers) {
	rs, all := h.u.Receivers(), h.u.Strangers()
	rs, all = rs[len(rs)/2:], all[len(all)/2:]
	if h.v6 {
		return rs[len(rs)-1], all[len(all)-1]
	}
	return rs[0], all[0]
}

// recvUDP returns the next n datagrams that came in UDP, frames copied.
func (h *host) recvUDP(n int) (all []encap.Datagram) {
	h.t.Helper()
	r, _ := h.udp()
	for len(all) < n {
		h.wait(r.FD(), unix.POLLIN)
		ds, err := r.Recv()
		if err != nil {
			h.t.Fatal(err)
		}
		for i, d := range ds {
			if d.Reason == drop.None {
				if len(d.Buf) != len(d.Frame)+encap.Headroom {
					h.t.Fatalf("headroom of %d bytes", len(d.Buf)-len(d.Frame))
				}
				clear(d.Buf[:encap.Headroom]) // may be overwritten
			}
			ds[i] = d
		}
		for _, d := range ds {
			d.Frame = bytes.Clone(d.Frame)
			all = append(all, d)
		}
	}
	return all
}

// TestNetnsUDP carries frames of all sizes in UDP, alone and in runs, before and
// behind a super-frame, and by a link that merges and by one that does not.
func TestNetnsUDP(t *testing.T) { overBoth(t, testNetnsUDP) }

func testNetnsUDP(t *testing.T, addrA, addrB netip.Addr) {
	for _, local := range []bool{true, false} {
		a, b := twoHosts(t)
		var ca, cb encap.Config
		if local {
			ca.Local, cb.Local = []netip.Addr{addrA}, []netip.Addr{addrB}
		}
		a.open(ca, encap.Peer{ID: 1, Addr: addrB, Choice: encap.ChooseUDP, Checksum: true})
		b.open(cb, encap.Peer{ID: 5, Addr: addrA})
		a.send(teb(1, frame(60))) // neighbours know each other
		b.recvUDP(1)

		var pkts []encap.Packet
		for _, size := range []int{60, 60, 60, 61, 1400, 1400, 200, 60, 14, 1400, 15} {
			pkts = append(pkts, teb(1, frame(size)))
		}
		want := len(pkts)
		h, super, payload := tcpSuper(t, 60000, 1380)
		whole := teb(1, super)
		whole.Header = h
		pkts = append(pkts, whole, teb(1, frame(99)))
		bare := encap.Packet{Peer: 1, Proto: encap.ProtoIPv4, Key: 9, Frame: packet(4, 114)}
		pkts = append(pkts, bare, bare)
		for i, r := range a.send(pkts...) {
			if r != drop.None {
				t.Fatalf("packet %d: %v, %v", i, r, pkts[i].Err)
			}
		}
		segments := offload.Segments(h, super)
		got := b.recvUDP(want + segments + 3)
		var joined []byte
		for i, d := range got {
			if d.Reason != drop.None || d.Peer != 5 {
				t.Fatalf("datagram %d: %+v", i, d.Reason)
			}
			switch {
			case i < want:
				if !bytes.Equal(d.Frame, pkts[i].Frame) || d.Key != 7 {
					t.Errorf("datagram %d: % x", i, d.Frame)
				}
			case i < want+segments:
				checkSegment(t, d.Frame)
				joined = append(joined, d.Frame[54:]...)
			case i == want+segments:
				if !bytes.Equal(d.Frame, frame(99)) {
					t.Errorf("behind the super-frame: % x", d.Frame)
				}
			default:
				if d.Proto != encap.ProtoIPv4 || d.Key != 9 || !bytes.Equal(d.Frame, bare.Frame[14:]) {
					t.Errorf("bare: %+v", d)
				}
			}
		}
		if !bytes.Equal(joined, payload) {
			t.Error("the payload of the super-frame is another one")
		}
		if r := a.send(teb(1, frame(1500))); r[0] != drop.TxTooBig {
			t.Errorf("too big: %v", r)
		}
		if want := a.u.Room(1, encap.ProtoTEB); a.send(teb(1, frame(want)))[0] != drop.None || len(b.recvUDP(1)[0].Frame) != want {
			t.Errorf("what Room allows does not pass")
		}
	}
}

// TestNetnsBeforePeers: what arrives before the peers are known, in either carrier,
// is counted nowhere, though the kernel counts for UDP sockets what it refuses.
func TestNetnsBeforePeers(t *testing.T) { overBoth(t, testNetnsBeforePeers) }

func testNetnsBeforePeers(t *testing.T, addrA, addrB netip.Addr) {
	a, b := twoHosts(t)
	a.open(encap.Config{Local: []netip.Addr{addrA}}, encap.Peer{ID: 1, Addr: addrB, Choice: encap.ChooseUDP})
	b.openDeaf(encap.Config{Local: []netip.Addr{addrB}})
	b.v6 = addrB.Is6()
	raw, udp := b.u.Strangers()[0], b.u.Strangers()[1]
	r, _ := b.udp()
	refused := func() uint32 { return meminfo(t, udp.FD())[8] + meminfo(t, r.FD())[8] } // SK_MEMINFO_DROPS
	for end := time.Now().Add(20 * time.Second); refused() == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("nothing arrived")
		}
		a.send(teb(1, frame(60)))
	}
	b.setPeers(encap.Peer{ID: 5, Addr: addrA})
	a.send(teb(1, frame(60)), teb(1, frame(61)), teb(1, frame(62)))
	b.recvUDP(3)
	if n, m, lost := raw.Count(), udp.Count(), r.Overflow(); n != 0 || m != 0 || lost != 0 {
		t.Errorf("counted %d and %d strangers, %d lost; want none", n, m, lost)
	}
}

// checkSegment verifies the checksum of a TCP segment over IPv4, word by word.
func checkSegment(t *testing.T, f []byte) {
	t.Helper()
	sum := uint32(6 + len(f) - 34)
	for at := 26; at < len(f)-1; at += 2 {
		sum += uint32(binary.BigEndian.Uint16(f[at:]))
	}
	if len(f)%2 != 0 {
		sum += uint32(f[len(f)-1]) << 8
	}
	for sum>>16 != 0 {
		sum = sum>>16 + sum&0xffff
	}
	if sum != 0xffff {
		t.Errorf("checksum of a segment is wrong: %#x", sum)
	}
}

// TestNetnsUDPStrangers counts who is no peer, and what is no GRE.
func TestNetnsUDPStrangers(t *testing.T) { overBoth(t, testNetnsUDPStrangers) }

func testNetnsUDPStrangers(t *testing.T, addrA, addrB netip.Addr) {
	a, b := twoHosts(t)
	a.open(encap.Config{Local: []netip.Addr{addrA}}, encap.Peer{ID: 1, Addr: addrB, Choice: encap.ChooseUDP})
	b.open(encap.Config{Local: []netip.Addr{addrB}})
	b.v6 = addrA.Is6()
	r, strangers := b.udp()
	for i := range 10 {
		a.send(teb(1, frame(60+i)))
	}
	n := uint64(0)
	for n < 10 {
		b.wait(strangers.FD(), unix.POLLIN)
		n += strangers.Count()
	}
	if ds, err := r.Recv(); n != 10 || len(ds) != 0 || err != nil {
		t.Errorf("counted %d strangers, received %d, %v", n, len(ds), err)
	}
	b.setPeers(encap.Peer{ID: 5, Addr: addrA})
	a.do(func() error { // some other speaker of UDP
		c, err := unix.Socket(map[bool]int{true: unix.AF_INET6, false: unix.AF_INET}[addrA.Is6()], unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(c)
		var to unix.Sockaddr = &unix.SockaddrInet4{Port: 4754}
		if addrB.Is6() {
			to = &unix.SockaddrInet6{Port: 4754, Addr: addrB.As16()}
		} else {
			to = &unix.SockaddrInet4{Port: 4754, Addr: addrB.As4()}
		}
		for _, b := range [][]byte{{}, {1, 2, 3}, make([]byte, 100)} {
			if err := unix.Sendto(c, b, 0, to); err != nil {
				return fmt.Errorf("send: %w", err)
			}
		}
		return nil
	})
	for i, d := range b.recvUDP(3) {
		if want := []drop.Reason{drop.GREShort, drop.GREShort, drop.GREKeepalive}[i]; d.Reason != want {
			t.Errorf("datagram %d: %v, want %v", i, d.Reason, want)
		}
	}
}

// TestNetnsUDPNoAllocs sends and receives in a steady state.
func TestNetnsUDPNoAllocs(t *testing.T) { overBoth(t, testNetnsUDPNoAllocs) }

func testNetnsUDPNoAllocs(t *testing.T, addrA, addrB netip.Addr) {
	a, b := twoHosts(t)
	a.open(encap.Config{Local: []netip.Addr{addrA}}, encap.Peer{ID: 1, Addr: addrB, Choice: encap.ChooseUDP})
	b.open(encap.Config{Local: []netip.Addr{addrB}}, encap.Peer{ID: 5, Addr: addrA})
	h, super, _ := tcpSuper(t, 20000, 1380)
	whole := teb(1, super)
	pkts := []encap.Packet{teb(1, frame(60)), teb(1, frame(60)), whole}
	s := a.u.NewSender()
	b.v6 = addrA.Is6()
	r, strangers := b.udp()
	if n := testing.AllocsPerRun(200, func() {
		pkts[2].Header = h
		s.Send(pkts)
		_, err := r.Recv()
		if err != nil {
			t.Fatal(err)
		}
		r.Overflow()
		strangers.Count()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestNetnsUDPRefused has a kernel that refuses UDP_SEGMENT, as it does where
// checksums are off: everything arrives all the same, and is said.
func TestNetnsUDPRefused(t *testing.T) { overBoth(t, testNetnsUDPRefused) }

func testNetnsUDPRefused(t *testing.T, addrA, addrB netip.Addr) {
	a, b := twoHosts(t)
	a.open(encap.Config{Local: []netip.Addr{addrA}}, encap.Peer{ID: 1, Addr: addrB, Choice: encap.ChooseUDP})
	b.open(encap.Config{Local: []netip.Addr{addrB}}, encap.Peer{ID: 5, Addr: addrA})
	b.v6 = addrA.Is6()
	_, before := a.u.Accel(1)
	for _, fd := range a.u.UDPSenders(addrA.Is6()) {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_NO_CHECK, 1); err != nil {
			t.Fatal(err)
		}
	}
	if addrA.Is6() {
		// A zero checksum is for those who ask for it (RFC 6936), which b does not.
		for _, fd := range a.u.UDPSenders(true) {
			if err := unix.SetsockoptInt(fd, unix.IPPROTO_UDP, udpNoCheck6TX, 1); err != nil {
				t.Fatal(err)
			}
		}
	}
	h, super, payload := tcpSuper(t, 20000, 1380)
	for round := range 2 { // refused; known to be
		whole := teb(1, super)
		whole.Header = h
		if r := a.send(teb(1, frame(60)), teb(1, frame(60)), whole, teb(1, frame(99))); slices.ContainsFunc(r, func(r drop.Reason) bool { return r != drop.None }) {
			t.Fatalf("round %d: %v", round, r)
		}
		if _, reason := a.u.Accel(1); !strings.Contains(reason, "UDP_SEGMENT") || reason == before {
			t.Errorf("accelerator: %q", reason)
		}
		if addrA.Is6() {
			continue
		}
		var joined []byte
		for i, d := range b.recvUDP(3 + offload.Segments(h, super)) {
			switch {
			case d.Reason != drop.None:
				t.Fatalf("datagram %d: %v", i, d.Reason)
			case len(d.Frame) > 99:
				checkSegment(t, d.Frame)
				joined = append(joined, d.Frame[54:]...)
			}
		}
		if !bytes.Equal(joined, payload) {
			t.Errorf("round %d: %d bytes of payload, want %d", round, len(joined), len(payload))
		}
	}
}

// udpNoCheck6TX is UDP_NO_CHECK6_TX (linux/udp.h).
const udpNoCheck6TX = 101

// withTOS returns a frame with an IPv4 packet of a TOS.
func withTOS(tos uint8) []byte {
	f := frame(14 + header.IPv4Len + 9)
	copy(f[12:], []byte{8, 0})
	header.IPv4Fields{TOS: tos, Length: len(f) - 14, TTL: 9, Protocol: 253, Src: netip.MustParseAddr("10.1.0.1"), Dst: netip.MustParseAddr("10.1.0.2")}.Put(f[14:])
	return f
}

// TestNetnsUDPECN: the outer ECN is the inner one, DSCP is 0; what routers marked
// is reported beside the frame, of each datagram in its own (RFC 6040).
func TestNetnsUDPECN(t *testing.T) { overBoth(t, testNetnsUDPECN) }

func testNetnsUDPECN(t *testing.T, addrA, addrB netip.Addr) {
	a, b := twoHosts(t)
	a.open(encap.Config{Local: []netip.Addr{addrA}}, encap.Peer{ID: 1, Addr: addrB, Choice: encap.ChooseUDP})
	b.open(encap.Config{Local: []netip.Addr{addrB}}, encap.Peer{ID: 5, Addr: addrA})
	b.v6 = addrA.Is6()
	var pkts []encap.Packet
	for i := range 16 { // two of each, so that some could be sent together
		tos := uint8(0xb8 | i/2%4)
		pkts = append(pkts, teb(1, withTOS(tos)))
	}
	a.send(pkts...)
	for i, d := range b.recvUDP(len(pkts)) {
		if d.Reason != drop.None || d.TOS != d.Frame[15]&3 {
			t.Errorf("datagram %d: outer TOS %#x, inner %#x, %v", i, d.TOS, d.Frame[15], d.Reason)
		}
	}
	// A router marks: the outer says CE, the inner ECT(0).
	level, option := unix.IPPROTO_IP, unix.IP_TOS
	var to unix.Sockaddr = &unix.SockaddrInet4{Port: 4754, Addr: [4]byte(addrB.AsSlice()[:4])}
	if b.v6 {
		level, option, to = unix.IPPROTO_IPV6, unix.IPV6_TCLASS, &unix.SockaddrInet6{Port: 4754, Addr: addrB.As16()}
	}
	inner := withTOS(2)
	a.do(func() error {
		c, err := unix.Socket(map[bool]int{true: unix.AF_INET6, false: unix.AF_INET}[b.v6], unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(c)
		return errors.Join(unix.SetsockoptInt(c, level, option, 3),
			unix.Sendto(c, append([]byte{0x20, 0, 0x65, 0x58, 0, 0, 0, 7}, inner...), 0, to))
	})
	d := b.recvUDP(1)[0]
	if d.TOS != 3 || d.Reason != drop.None {
		t.Fatalf("outer TOS %#x, %v", d.TOS, d.Reason)
	}
	if r := encap.MergeECN(d.TOS, d.Proto, d.Frame); r != drop.None || d.Frame[15] != 3 {
		t.Errorf("inner TOS %#x, %v", d.Frame[15], r)
	}
}

// TestNetnsHello has two Underlays find each other, by either carrier, and what
// they send each other carried in UDP then.
func TestNetnsHello(t *testing.T) { overBoth(t, testNetnsHello) }

func testNetnsHello(t *testing.T, addrA, addrB netip.Addr) {
	a, b := twoHosts(t)
	a.open(encap.Config{Local: []netip.Addr{addrA}}, encap.Peer{ID: 1, Addr: addrB})
	b.open(encap.Config{Local: []netip.Addr{addrB}}, encap.Peer{ID: 5, Addr: addrA})
	a.u.StartHello()
	b.u.StartHello()
	pathOf := func() (encap.Path, encap.Path) {
		for _, h := range []*host{a, b} {
			for _, r := range h.u.Receivers() {
				if ds, err := r.Recv(); err != nil || len(ds) > 0 {
					t.Fatalf("received %+v, %v", ds, err)
				}
			}
		}
		return a.u.Path(1), b.u.Path(5)
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		pa, pb := pathOf()
		if pa.State == encap.PathUp && pb.State == encap.PathUp && pa.Carrier == encap.CarrierUDP && pb.Carrier == encap.CarrierUDP {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("a: %+v\nb: %+v", pa, pb)
		}
	}
	a.send(teb(1, frame(60)))
	if d := b.recvUDP(1)[0]; !bytes.Equal(d.Frame, frame(60)) {
		t.Errorf("%+v", d)
	}
}
