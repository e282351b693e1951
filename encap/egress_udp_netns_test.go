package encap_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weft/encap"
	"weft/internal/drop"
	"weft/internal/header"
	"weft/internal/lab"
	"weft/internal/offload"
)

// acceleratedUDP returns a and b, with an egress TAP from a to b for GRE-in-UDP.
func acceleratedUDP(t *testing.T, addrA, addrB netip.Addr) (a, b *host) {
	t.Helper()
	a, b = twoHosts(t)
	b.open(encap.Config{Local: []netip.Addr{addrB}}, encap.Peer{ID: 5, Addr: addrA})
	a.open(encap.Config{Local: []netip.Addr{addrA}, Accel: true}, encap.Peer{ID: 1, Addr: addrB, Choice: encap.ChooseUDP})
	a.reaches("egress-tap", "")
	b.restUDP()
	return a, b
}

// restUDP returns what comes in UDP until nothing has for 50 ms, frames copied.
func (h *host) restUDP() (all []encap.Datagram) {
	h.t.Helper()
	r, _ := h.udp()
	for ready(r.FD(), unix.POLLIN, 50*time.Millisecond) {
		all = append(all, h.recvUDP(1)...)
	}
	return all
}

// sent sends and fails the test where something was not sent.
func (h *host) sent(pkts ...encap.Packet) {
	h.t.Helper()
	for i, r := range h.send(pkts...) {
		if r != drop.None {
			h.t.Fatalf("packet %d: %v, %v", i, r, pkts[i].Err)
		}
	}
}

// superPacket makes a packet of a super-frame.
func superPacket(h offload.Header, frame []byte, proto uint16) encap.Packet {
	p := teb(1, frame)
	p.Header, p.Proto = h, proto
	return p
}

// TestNetnsUDPEgress carries super-frames in UDP by egress TAP, between small
// frames, to a host that gets them whole or cut.
func TestNetnsUDPEgress(t *testing.T) { overBoth(t, testNetnsUDPEgress) }

func testNetnsUDPEgress(t *testing.T, addrA, addrB netip.Addr) {
	for _, tt := range []struct {
		name  string
		proto uint16
		tso   bool
	}{
		{"uncut", encap.ProtoTEB, true},
		{"uncut, bare IP", encap.ProtoIPv4, true},
		{"cut by the kernel", encap.ProtoTEB, false},
		{"cut by the kernel, bare IP", encap.ProtoIPv4, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a, b := acceleratedUDP(t, addrA, addrB)
			if err := a.SetFeature("under0", lab.TSO, tt.tso); err != nil {
				t.Fatal(err)
			}
			a.reaches("egress-tap", "")
			b.restUDP()

			// The sizes that the receiver expects change each time.
			for _, size := range []int{60000, 20000, 2000, 60000} {
				h, super, payload := tcpSuper(t, size, 1380)
				before := bytes.Clone(super)
				_, small, _ := tcpSuper(t, 46, 1380) // of the same flow
				a.sent(teb(1, small), teb(1, small), superPacket(h, super, tt.proto), teb(1, small), superPacket(h, super, tt.proto))
				if !bytes.Equal(super, before) {
					t.Error("the super-frame was changed")
				}
				segments := offload.Segments(h, super)
				if tt.tso {
					segments = 1
				}
				ds := b.recvUDP(3 + 2*segments)
				for i, d := range ds {
					if isSmall := i < 2 || i == 2+segments; d.Reason != drop.None || isSmall != bytes.Equal(d.Frame, small) {
						t.Fatalf("size %d: datagram %d of %d bytes: %v", size, i, len(d.Frame), d.Reason)
					}
				}
				for _, part := range [][]encap.Datagram{ds[2 : 2+segments], ds[3+segments:]} {
					if !bytes.Equal(stream(t, part, tt.proto, size), payload) {
						t.Errorf("size %d: the payload is another one", size)
					}
					if tt.proto != encap.ProtoTEB {
						continue
					}
					for _, d := range part {
						partial := offload.Partial(d.Frame) // of a segment it may be: a veth completes nothing
						if tt.tso && !partial {
							t.Fatalf("size %d: a frame of %d bytes is not partial", size, len(d.Frame))
						}
						if !partial {
							checkSegment(t, d.Frame)
						}
					}
				}
			}
		})
	}
}

// By a link that cuts to a host that merges everything arrives. In order it does only
// by way of a wire: a kernel that knows, as behind a veth, that a datagram is of a
// tunnel of its own merges it with none, and lets it overtake those that it holds back for
// that (udp_gro_receive in net/ipv4/udp_offload.c).
func TestNetnsUDPEgressMerging(t *testing.T) { overBoth(t, testNetnsUDPEgressMerging) }

func testNetnsUDPEgressMerging(t *testing.T, addrA, addrB netip.Addr) {
	a, b := acceleratedUDP(t, addrA, addrB)
	forceMerging(t, a, b)
	a.reaches("egress-tap", "")
	b.restUDP()
	h, super, payload := tcpSuper(t, 60000, 1380)
	_, small, _ := tcpSuper(t, 46, 1380)
	a.sent(teb(1, small), teb(1, small), superPacket(h, super, encap.ProtoTEB), teb(1, small))
	segments := offload.Segments(h, super)
	ds := b.recvUDP(3 + segments)
	ds = slices.DeleteFunc(ds, func(d encap.Datagram) bool { return bytes.Equal(d.Frame, small) })
	if len(ds) != segments || !bytes.Equal(stream(t, ds, encap.ProtoTEB, len(payload)), payload) {
		t.Errorf("%d segments, want %d", len(ds), segments)
	}
}

// TestNetnsUDPEgressWire compares what the kernel cuts, byte by byte, with what the
// UDP socket sends of the same frames: the source port is another one, and the
// kernel numbers IPv4 packets as it likes.
func TestNetnsUDPEgressWire(t *testing.T) { overBoth(t, testNetnsUDPEgressWire) }

func testNetnsUDPEgressWire(t *testing.T, addrA, addrB netip.Addr) {
	h, super, _ := tcpSuper(t, 60001, 1380)
	_, small, _ := tcpSuper(t, 46, 1380)
	var wires [2][][]byte
	for i, accel := range []bool{true, false} {
		a, b := twoHosts(t)
		b.open(encap.Config{Local: []netip.Addr{addrB}}, encap.Peer{ID: 5, Addr: addrA})
		a.completeAll()
		a.open(encap.Config{Local: []netip.Addr{addrA}, Accel: accel}, encap.Peer{ID: 1, Addr: addrB, Choice: encap.ChooseUDP})
		a.reaches(map[bool]string{true: "egress-tap", false: "none"}[accel], "")
		b.restUDP()
		tap := b.capture()
		a.sent(teb(1, small), superPacket(h, super, encap.ProtoTEB), superPacket(h, super, encap.ProtoIPv4))
		b.recvUDP(1 + 2*offload.Segments(h, super))
		wires[i] = tap()
	}
	if len(wires[0]) != len(wires[1]) || len(wires[0]) != 1+2*offload.Segments(h, super) {
		t.Fatalf("%d and %d datagrams on the wire", len(wires[0]), len(wires[1]))
	}
	for i := range wires[0] {
		if got, want := blanked(t, wires[0], i), blanked(t, wires[1], i); !bytes.Equal(got, want) {
			t.Fatalf("datagram %d\n got % x\nwant % x", i, got[:80], want[:80])
		}
	}
}

// blanked returns a captured datagram, its checksums verified, without what differs:
// source port, which is that of the first one, the same with the IPv6 flow label, the
// IPv4 identification, and the checksums over them.
func blanked(t *testing.T, wire [][]byte, i int) []byte {
	t.Helper()
	b, first := bytes.Clone(wire[i]), wire[0]
	var upper []byte
	var pseudo uint32
	if b[0]>>4 == 6 {
		ip := header.IPv6(b)
		upper = b[header.IPv6Len:]
		pseudo = ip.PseudoSum(header.ProtoUDP, len(upper))
		if label := binary.BigEndian.Uint32(b) & 0xfffff; label == 0 || label != binary.BigEndian.Uint32(first)&0xfffff {
			t.Errorf("datagram %d: flow label %x, that of the first is %x", i, label, binary.BigEndian.Uint32(first)&0xfffff)
		}
		b[1] &= 0xf0
		clear(b[2:4])
	} else {
		ip, ok := header.ParseIPv4(b)
		if !ok || !ip.ChecksumOK() {
			t.Errorf("datagram %d: outer header is wrong: % x", i, b[:20])
		}
		upper = b[header.IPv4Len:]
		pseudo = ip.PseudoSum(header.ProtoUDP, len(upper))
		clear(b[4:6])
		clear(b[10:12])
	}
	if header.Fold(pseudo+header.Sum(upper)) != 0xffff {
		t.Errorf("datagram %d: UDP checksum is wrong", i)
	}
	if port := binary.BigEndian.Uint16(upper); port < 49152 || port != binary.BigEndian.Uint16(first[len(b)-len(upper):]) {
		t.Errorf("datagram %d: source port %d", i, port)
	}
	clear(upper[:2])
	clear(upper[6:8])
	return b
}

// completeAll has the host's link cut and complete everything before it leaves.
func (h *host) completeAll() {
	h.t.Helper()
	for _, f := range []lab.Feature{lab.TSO, lab.GSO, lab.TxCsum} {
		if err := h.SetFeature("under0", f, false); err != nil {
			h.t.Fatal(err)
		}
	}
}

// capture returns a function that returns the IP packets with UDP to port 4754 that
// arrived at under0 since, without the frames by which a host tries whether another is
// reached, of which the last may be late.
func (h *host) capture() func() [][]byte {
	h.t.Helper()
	fd := -1
	h.do(func() (err error) {
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0x0300) // ETH_P_ALL
		if err == nil {
			err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 1<<20)
		}
		return err
	})
	h.t.Cleanup(func() { _ = unix.Close(fd) })
	return func() (all [][]byte) {
		b := make([]byte, 1<<16)
		for {
			n, err := unix.Read(fd, b)
			if err != nil {
				return all
			}
			at := header.IPv4Len
			if n > 0 && b[0]>>4 == 6 {
				at = header.IPv6Len
			}
			const inner = header.UDPLen + 8 + 2*6 // EtherType behind UDP and GRE with a key
			trial := n > at+inner+1 && binary.BigEndian.Uint16(b[at+inner:]) == 0x88b5
			if n >= at+header.UDPLen && binary.BigEndian.Uint16(b[at+2:]) == 4754 && !trial {
				all = append(all, bytes.Clone(b[:n]))
			}
		}
	}
}

// What a container's kernel leaves uncut of UDP arrives whole, whichever carrier
// it goes by: nothing that comes merged could be taken apart again.
func TestNetnsEgressUSO(t *testing.T) { overBoth(t, testNetnsEgressUSO) }

func testNetnsEgressUSO(t *testing.T, addrA, addrB netip.Addr) {
	const size, n = 1000, 20
	h, super, _ := udpFrame(t, size*n)
	h.GSOType, h.GSOSize, h.HdrLen = offload.GSOUDPL4, size, 42
	check := func(ds []encap.Datagram) {
		t.Helper()
		if len(ds) != n {
			t.Fatalf("%d datagrams, want %d", len(ds), n)
		}
		for i, d := range ds {
			if d.Reason != drop.None || len(d.Frame) != 42+size || binary.BigEndian.Uint16(d.Frame[38:]) != 8+size {
				t.Fatalf("datagram %d has %d bytes: %v", i, len(d.Frame), d.Reason)
			}
		}
	}
	a, b := acceleratedUDP(t, addrA, addrB)
	a.sent(superPacket(h, super, encap.ProtoTEB))
	check(b.recvUDP(n))
	a, b = accelerated(t, addrA, addrB, encap.Peer{})
	a.sent(superPacket(h, super, encap.ProtoTEB))
	check(b.recv())
}

// Packets to a peer stay in order while super-frames and others go different ways,
// and when the TAP is taken away and comes back.
func TestNetnsUDPEgressOrder(t *testing.T) {
	a, b := acceleratedUDP(t, addrA, addrB)
	onOneCPU(t)
	h, super, _ := tcpSuper(t, 20000, 1380)
	s, ways := a.u.NewSender(), map[string]int{}
	for round := range uint32(60) {
		switch round % 20 {
		case 7: // workers may write to it still
			a.shell("ip link del weft-out0")
		case 14:
			a.shell("ip xfrm policy add dst 10.0.0.2 dir out tmpl proto esp mode transport level use")
			a.reaches("none", "IPsec")
			b.restUDP()
		case 17:
			a.shell("ip xfrm policy flush")
		}
		name, _ := a.u.Accel(1)
		ways[name]++
		_, small, _ := tcpSuper(t, 46, 1380)
		pkts := []encap.Packet{teb(1, small), teb(1, super), teb(1, small)}
		pkts[1].Header = h
		binary.BigEndian.PutUint32(small[60:], round)
		binary.BigEndian.PutUint32(super[38:], 1000+round<<16)
		s.Send(pkts)
		for i := range pkts {
			if pkts[i].Reason != drop.None {
				t.Fatalf("round %d, packet %d: %v, %v", round, i, pkts[i].Reason, pkts[i].Err)
			}
		}
		ds := b.restUDP()
		payload := 0
		for i, d := range ds {
			if ends := i == 0 || i == len(ds)-1; ends != (len(d.Frame) == len(small)) || ends && !bytes.Equal(d.Frame, small) {
				t.Fatalf("round %d: datagram %d of %d has %d bytes", round, i, len(ds), len(d.Frame))
			} else if ends {
				continue
			}
			if seq := int(binary.BigEndian.Uint32(d.Frame[38:])); seq != int(1000+round<<16)+payload {
				t.Fatalf("round %d: datagram %d has sequence number %d", round, i, seq)
			}
			payload += len(d.Frame) - 54
		}
		if payload != 20000 {
			t.Fatalf("round %d: %d bytes of payload", round, payload)
		}
		if round%20 == 19 {
			a.reaches("egress-tap", "")
			b.restUDP()
		}
	}
	if len(ways) != 2 {
		t.Errorf("ways were %v: this test proves nothing", ways)
	}
}

// A kernel that takes only one of both forms is used for that one.
func TestNetnsEgressOneForm(t *testing.T) {
	for _, tt := range []struct {
		refused encap.Carrier
		choice  encap.Choice
		want    string
	}{
		{encap.CarrierUDP, encap.ChooseUDP, "none"},
		{encap.CarrierUDP, encap.ChooseGRE, "egress-tap"},
		{encap.CarrierGRE, encap.ChooseUDP, "egress-tap"},
		{encap.CarrierGRE, encap.ChooseGRE, "packet-socket"},
	} {
		a, b := twoHosts(t)
		b.open(encap.Config{}, encap.Peer{ID: 5, Addr: addrA})
		a.open(encap.Config{Local: []netip.Addr{addrA}, Accel: true}, encap.Peer{ID: 1, Addr: addrB, Choice: tt.choice})
		a.reaches("egress-tap", "")
		a.u.FailEgress(tt.refused, errors.New("it does not arrive"))
		a.reaches(tt.want, map[bool]string{true: "it does not arrive"}[tt.want != "egress-tap"])
		h, super, payload := tcpSuper(t, 20000, 1380)
		if tt.choice == encap.ChooseUDP {
			b.restUDP()
		} else {
			b.recv()
		}
		a.sent(superPacket(h, super, encap.ProtoTEB))
		segments, ds := 1, []encap.Datagram(nil)
		if tt.want != "egress-tap" {
			segments = offload.Segments(h, super)
		}
		if tt.choice == encap.ChooseUDP {
			ds = b.recvUDP(segments)
		} else {
			ds = b.recv()
		}
		if len(ds) != segments || !bytes.Equal(stream(t, ds, encap.ProtoTEB, 20000), payload) {
			t.Errorf("%+v: %d datagrams", tt, len(ds))
		}
	}
}

// Segments that fit the link by a byte go by the TAP, and none that do not.
func TestNetnsUDPEgressMTU(t *testing.T) { overBoth(t, testNetnsUDPEgressMTU) }

func testNetnsUDPEgressMTU(t *testing.T, addrA, addrB netip.Addr) {
	a, b := acceleratedUDP(t, addrA, addrB)
	for _, uncut := range []bool{true, false} {
		if err := a.SetFeature("under0", lab.TSO, uncut); err != nil {
			t.Fatal(err)
		}
		a.reaches("egress-tap", "")
		b.restUDP()
		room := a.u.Room(1, encap.ProtoTEB)
		h, super, payload := tcpSuper(t, 10000, room-54)
		a.sent(superPacket(h, super, encap.ProtoTEB))
		n := 1
		if !uncut {
			n = offload.Segments(h, super)
		}
		if ds := b.recvUDP(n); !bytes.Equal(stream(t, ds, encap.ProtoTEB, 10000), payload) || !uncut && len(ds[0].Frame) != room {
			t.Errorf("uncut %v: %d datagrams, the first of %d bytes, want %d", uncut, len(ds), len(ds[0].Frame), room)
		}
		h.GSOSize++
		if r := a.send(superPacket(h, super, encap.ProtoTEB)); r[0] != drop.TxTooBig {
			t.Errorf("uncut %v: one byte more: %v", uncut, r[0])
		}
	}
	// The longest that an outer header can say, and a byte more, which is cut here.
	if err := a.SetFeature("under0", lab.TSO, true); err != nil {
		t.Fatal(err)
	}
	longest := 0xffff - 8 - 8 // UDP and GRE headers
	if addrB.Is4() {
		longest -= header.IPv4Len
	}
	for _, more := range []int{-100, 0, 1} { // the kernel cuts the second one: a link takes no frame of more than 64 KB
		h, super, payload := tcpSuper(t, longest-54+more, 1380)
		a.sent(superPacket(h, super, encap.ProtoTEB))
		if ds := b.restUDP(); !bytes.Equal(stream(t, ds, encap.ProtoTEB, len(payload)), payload) {
			t.Errorf("frame of %d bytes: the payload is another one", len(super))
		}
	}
}

func TestNetnsUDPEgressNoAllocs(t *testing.T) { overBoth(t, testNetnsUDPEgressNoAllocs) }

func testNetnsUDPEgressNoAllocs(t *testing.T, addrA, addrB netip.Addr) {
	a, b := acceleratedUDP(t, addrA, addrB)
	h, super, _ := tcpSuper(t, 60000, 1380)
	s, pkts := a.u.NewSender(), []encap.Packet{teb(1, super), teb(1, frame(100)), teb(1, frame(100)), teb(1, frame(2000))}
	r, _ := b.udp()
	move := func() {
		pkts[0].Header = h
		s.Send(pkts)
		want := []drop.Reason{drop.None, drop.None, drop.None, drop.TxTooBig}
		for i := range pkts {
			if pkts[i].Reason != want[i] {
				t.Fatal(pkts[i].Reason)
			}
		}
		if _, err := r.Recv(); err != nil {
			t.Fatal(err)
		}
	}
	if n := fewestAllocs(move); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if got, _ := a.u.Accel(1); got != "egress-tap" {
		t.Errorf("peer was reached by %s", got)
	}
}
