package encap_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"weft/encap"
	"weft/encap/encaptest"
	"weft/internal/drop"
	"weft/internal/header"
)

// receiveCase is one datagram and what must become of it.
type receiveCase struct {
	name  string
	from  encap.Peer
	gre   []byte // what follows the outer header
	want  drop.Reason
	proto uint16
	key   uint32
	inner []byte
}

// but returns the case with another name, other bytes and another outcome.
func (c receiveCase) but(name string, gre []byte, want drop.Reason, inner []byte) receiveCase {
	c.name, c.gre, c.want, c.inner = name, gre, want, inner
	return c
}

// receiveCases are the rows G01 to G46 that concern this room; the number of a
// row stands in its name. What is left to the dataplane (G03 an unknown key, G32
// L3 in an L2 tunnel, G41 to G44 inner addresses, tags and sizes) is accepted here.
func receiveCases(t *testing.T) []receiveCase {
	f14 := frame(14)
	cases := []receiveCase{
		{"G01 keyless", keyless, cat(unhex(t, "0000 6558"), f14), drop.None, 0x6558, 0, f14},
		{"G02 keyed", keyed, cat(unhex(t, "2000 6558 00000007"), f14), drop.None, 0x6558, 7, f14},
		{"G03 any key, the dataplane knows which", keyed, cat(unhex(t, "2000 6558 fffffffe"), f14), drop.None, 0x6558, 0xfffffffe, f14},
		{"G04 no key from a keyed peer", keyed, cat(unhex(t, "0000 6558"), f14), drop.GREKey, 0, 0, nil},
		{"G05 key from a keyless peer", keyless, cat(unhex(t, "2000 6558 00000007"), f14), drop.GREKey, 0, 0, nil},
		{"G06 key 0 is a key", keyed, cat(unhex(t, "2000 6558 00000000"), f14), drop.None, 0x6558, 0, f14},
		{"G06 key 0 is not keyless", keyless, cat(unhex(t, "2000 6558 00000000"), f14), drop.GREKey, 0, 0, nil},
		{"G07 checksum nobody asked for", keyed, withChecksum(unhex(t, "a000 6558 0000 0000 00000007"), f14), drop.None, 0x6558, 7, f14},
		{"G07 checksum without key", keyless, withChecksum(unhex(t, "8000 6558 0000 0000"), f14), drop.None, 0x6558, 0, f14},
		{"G08 wrong checksum", keyed, cat(unhex(t, "a000 6558 1234 0000 00000007"), f14), drop.GREChecksum, 0, 0, nil},
		{"G09 no checksum from a peer that is sent them", summed, cat(unhex(t, "2000 6558 00000007"), f14), drop.None, 0x6558, 7, f14},
		{"G10 reserved1 set", keyed, withChecksum(unhex(t, "a000 6558 0000 beef 00000007"), f14), drop.None, 0x6558, 7, f14},
		{"G11 odd length", keyed, withChecksum(unhex(t, "a000 6558 0000 0000 00000007"), frame(61)), drop.None, 0x6558, 7, frame(61)},
		{"G12 checksum 0000", keyless, zeroSum(t, "0000"), drop.None, 0x6558, 0, zeroSum(t, "0000")[8:]},
		{"G12 checksum ffff", keyless, zeroSum(t, "ffff"), drop.None, 0x6558, 0, zeroSum(t, "ffff")[8:]},
		{"G13 sequence number, order off", keyed, cat(unhex(t, "3000 6558 00000007 00000005"), f14), drop.None, 0x6558, 7, f14},
		{"G13 older, order off", keyed, cat(unhex(t, "3000 6558 00000007 00000003"), f14), drop.None, 0x6558, 7, f14},
		{"G18 order on, number absent", ordered, cat(unhex(t, "2000 6558 00000007"), f14), drop.None, 0x6558, 7, f14},
		{"G21 routing", keyed, cat(unhex(t, "4000 6558 00000000 00000000"), f14), drop.GRERouting, 0, 0, nil},
		{"G22 strict source route", keyless, cat(unhex(t, "0800 6558"), f14), drop.GREReserved, 0, 0, nil},
		{"G23 bit 5", keyless, cat(unhex(t, "0400 6558"), f14), drop.GREReserved, 0, 0, nil},
		{"G25 PPTP", keyed, unhex(t, "3001 880b 0004 1234 00000001"), drop.GREVersion, 0, 0, nil},
		{"G32 IPv4", keyed, cat(unhex(t, "2000 0800 00000007"), packet(4, 20)), drop.None, 0x0800, 7, packet(4, 20)},
		{"G32 IPv6", keyed, cat(unhex(t, "2000 86dd 00000007"), packet(6, 40)), drop.None, 0x86dd, 7, packet(6, 40)},
		{"G32 IPv4, keyless", keyless, cat(unhex(t, "0000 0800"), packet(4, 21)), drop.None, 0x0800, 0, packet(4, 21)},
		{"IPv4 cut short: the router's to judge", keyed, cat(unhex(t, "2000 0800 00000007"), packet(4, 19)), drop.None, 0x0800, 7, packet(4, 19)},
		{"IPv6 cut short", keyed, cat(unhex(t, "2000 86dd 00000007"), packet(6, 39)), drop.None, 0x86dd, 7, packet(6, 39)},
		{"IPv6 called IPv4", keyed, cat(unhex(t, "2000 0800 00000007"), packet(6, 40)), drop.None, 0x0800, 7, packet(6, 40)},
		{"IPv4 called IPv6", keyed, cat(unhex(t, "2000 86dd 00000007"), packet(4, 40)), drop.None, 0x86dd, 7, packet(4, 40)},
		{"IPv4, wrong checksum", keyed, cat(unhex(t, "a000 0800 1234 0000 00000007"), packet(4, 40)), drop.GREChecksum, 0, 0, nil},
		{"IPv4, merged", keyed, cat(unhex(t, "a000 0800 1234 0000 00000007"), partial(t)[14:]), drop.None, 0x0800, 7, partial(t)[14:]},
		{"frame, merged", keyed, cat(unhex(t, "a000 6558 1234 0000 00000007"), partial(t)), drop.None, 0x6558, 7, partial(t)},
		{"G33 keepalive", keyless, unhex(t, "0000 0000"), drop.GREKeepalive, 0, 0, nil},
		{"G33 keepalive with key", keyed, unhex(t, "2000 0000 00000007"), drop.GREKeepalive, 0, 0, nil},
		{"G45 GRE inside", keyed, cat(unhex(t, "2000 6558 00000007"), nested()), drop.None, 0x6558, 7, nested()},
		{"G46 bytes behind the inner packet", keyed, cat(unhex(t, "2000 6558 00000007"), nested(), frame(40)), drop.None, 0x6558, 7, cat(nested(), frame(40))},
	}
	g01, g02 := cases[0], cases[1]
	for bit := uint16(0x0200); bit >= 0x0008; bit >>= 1 {
		gre := cat(unhex(t, fmt.Sprintf("%04x 6558", bit)), f14)
		cases = append(cases, g01.but(fmt.Sprintf("G24 ignored bit %04x", bit), gre, drop.None, f14))
	}
	for version := 1; version <= 7; version++ {
		gre := cat(unhex(t, fmt.Sprintf("%04x 6558", version)), f14)
		cases = append(cases, g01.but(fmt.Sprintf("G26 version %d", version), gre, drop.GREVersion, nil))
	}
	for n := range 4 {
		cases = append(cases,
			g01.but(fmt.Sprintf("G27 %d bytes", n), unhex(t, "0000 6558")[:n], drop.GREShort, nil),
			g02.but(fmt.Sprintf("G28 %d bytes of the key", n), unhex(t, "2000 6558 00000007")[:4+n], drop.GREShort, nil))
	}
	for n := range 12 {
		gre := unhex(t, "b000 6558 0000 0000 00000007 00000000")[:4+n]
		cases = append(cases, g02.but(fmt.Sprintf("G28 %d bytes of options", n), gre, drop.GREShort, nil))
	}
	for n := range 60 {
		gre := cat(unhex(t, "2000 6558 00000007"), frame(n))
		if n < header.EthernetLen {
			cases = append(cases, g02.but(fmt.Sprintf("G29 frame of %d bytes", n), gre, drop.InnerRunt, nil))
			continue
		}
		cases = append(cases, g02.but(fmt.Sprintf("G30 G31 frame of %d bytes", n), gre, drop.None, frame(n)))
	}
	for _, proto := range []string{"0806", "88be", "22eb", "880b", "883e", "2000", "2001", "05ff", "ffff"} {
		gre := cat(unhex(t, "2000"+proto+"00000007"), frame(60))
		cases = append(cases, g02.but("G34 protocol "+proto, gre, drop.GREProto, nil))
	}
	return cases
}

// zeroSum returns a keyless packet whose checksum is 0, which ones' complement
// writes in two ways.
func zeroSum(t *testing.T, field string) []byte {
	b := withChecksum(unhex(t, "8000 6558 0000 0000"), frame(14), []byte{0, 0})
	copy(b[len(b)-2:], b[4:6])
	copy(b[4:6], unhex(t, field))
	return b
}

// nested returns a frame that carries a GRE datagram to this very host.
func nested() []byte {
	b := frame(header.EthernetLen)
	b[12], b[13] = 0x08, 0x00
	return cat(b, outer(keyless.Addr, local, []byte{0, 0, 0x65, 0x58}, frame(20)))
}

// partial returns a frame as the kernel merges them.
func partial(t *testing.T) []byte {
	_, f, _ := tcpSuper(t, 4000, 1400)
	return f
}

func cat(parts ...[]byte) []byte { return slices.Concat(parts...) }

func TestReceive(t *testing.T) { bothVersions(t, testReceive) }

func testReceive(t *testing.T, at func(netip.Addr) netip.Addr) {
	u, wire := encaptest.New(t, at(local))
	setPeers(t, u, peersAt(at)...)
	for _, tt := range receiveCases(t) {
		t.Run(tt.name, func(t *testing.T) {
			wire.Inject(outer(at(tt.from.Addr), at(local), tt.gre))
			d := recvOne(t, u)
			if d.Reason != tt.want || d.Peer != tt.from.ID {
				t.Fatalf("got %v from peer %d, want %v from %d", d.Reason, d.Peer, tt.want, tt.from.ID)
			}
			if tt.want != drop.None {
				if d.Frame != nil || d.Buf != nil {
					t.Error("a dropped datagram has a frame")
				}
				return
			}
			if d.HasKey == tt.from.Keyless || d.Key != tt.key || d.Proto != tt.proto {
				t.Errorf("got key %v %d, protocol %04x, want key %d, protocol %04x", d.HasKey, d.Key, d.Proto, tt.key, tt.proto)
			}
			if !bytes.Equal(d.Frame, tt.inner) {
				t.Errorf("got frame % x, want % x", d.Frame, tt.inner)
			}
			if len(d.Buf) != encap.Headroom+len(d.Frame) || &d.Buf[encap.Headroom] != &d.Frame[0] {
				t.Errorf("Buf is not %d bytes and the frame", encap.Headroom)
			}
		})
	}
	if n := u.Strangers()[0].Count(); n != 0 {
		t.Errorf("%d datagrams of peers counted as strangers'", n)
	}
}

// TestReceiveOuter holds the rows about the outer header.
func TestReceiveOuter(t *testing.T) {
	gre := cat(unhex(t, "2000 6558 00000007"), frame(60))
	good := outer(keyed.Addr, local, gre)
	with := func(change func(b []byte) []byte) []byte { return change(slices.Clone(good)) }
	set := func(at int, value byte) []byte {
		return with(func(b []byte) []byte { b[at] = value; return b })
	}
	tests := []struct {
		name     string
		datagram []byte
		want     drop.Reason
	}{
		{"G38 options NOP x4", with(func(b []byte) []byte {
			b = slices.Insert(b, 20, 1, 1, 1, 1)
			b[0], b[3] = 0x46, b[3]+4
			return b
		}), drop.None},
		{"G39 TTL 1", set(8, 1), drop.None},
		{"G39 TTL 0", set(8, 0), drop.None},
		{"G40 first fragment", set(6, 0x20), drop.GREFrag},
		{"G40 later fragment", set(7, 0x01), drop.GREFrag},
		{"TOS", set(1, 0xff), drop.None},
		{"bytes behind the total length", with(func(b []byte) []byte { return append(b, 1, 2, 3) }), drop.None},
		{"total length beyond the end", set(3, good[3]+1), drop.L3Header},
		{"total length 0", with(func(b []byte) []byte { b[2], b[3] = 0, 0; return b }), drop.L3Header},
		{"total length within the header", with(func(b []byte) []byte { b[2], b[3] = 0, 19; return b }), drop.L3Header},
		{"IHL 4", set(0, 0x44), drop.L3Header},
		{"IHL beyond the end", with(func(b []byte) []byte { b[0], b[3] = 0x4f, 20; return b[:20] }), drop.L3Header},
		{"version 5", set(0, 0x55), drop.L3Header},
		{"protocol 4", set(9, 4), drop.L3Header},
	}
	u, wire := encaptest.New(t, local)
	setPeers(t, u, peers...)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			wire.Inject(tt.datagram)
			d := recvOne(t, u)
			if d.Reason != tt.want || d.Peer != keyed.ID {
				t.Fatalf("got %v from peer %d, want %v from %d", d.Reason, d.Peer, tt.want, keyed.ID)
			}
			if tt.want == drop.None && (d.TOS != tt.datagram[1] || !bytes.Equal(d.Frame, frame(60))) {
				t.Errorf("got TOS %#x, frame % x, want TOS %#x, frame % x", d.TOS, d.Frame, tt.datagram[1], frame(60))
			}
		})
	}
}

// TestStrangers holds G35 and G36: what is not from a peer to a local address is
// counted and never read.
func TestStrangers(t *testing.T) { bothVersions(t, testStrangers) }

func testStrangers(t *testing.T, at func(netip.Addr) netip.Addr) {
	gre := cat(unhex(t, "2000 6558 00000007"), frame(60))
	local, other, stranger := at(local), at(netip.MustParseAddr("10.0.0.11")), at(stranger)
	keyed := keyed
	keyed.Addr = at(keyed.Addr)
	u, wire := encaptest.New(t, local)
	r, strangers := u.Receivers()[0], u.Strangers()[0]
	check := func(what string, wantPeers int, wantStrangers uint64) {
		t.Helper()
		ds, err := r.Recv()
		if err != nil || len(ds) != wantPeers {
			t.Errorf("%s: received %d, %v, want %d", what, len(ds), err, wantPeers)
		}
		if got := strangers.Count(); got != wantStrangers {
			t.Errorf("%s: counted %d strangers, want %d", what, got, wantStrangers)
		}
	}

	wire.Inject(outer(keyed.Addr, local, gre))
	check("before SetPeers", 0, 0)
	setPeers(t, u, keyed)
	wire.Inject(outer(keyed.Addr, local, gre))
	check("a peer", 1, 0)
	wire.Inject(outer(stranger, local, gre))
	check("G35 a stranger", 0, 1)
	wire.Inject(outer(keyed.Addr, other, gre))
	check("G36 a peer to another address of the host", 0, 1)
	wire.Inject(outer(stranger, local)[:3])
	check("what is no datagram", 0, 0) // both filters drop what they cannot load; no raw socket gets such a thing
	setPeers(t, u)
	wire.Inject(outer(keyed.Addr, local, gre))
	check("a peer that was removed", 0, 1)

	for range 200 {
		wire.Inject(outer(stranger, local, gre))
	}
	var sum uint64
	for range 4 {
		n := strangers.Count()
		if n > 64 {
			t.Errorf("Strangers returned %d at once, want at most 64", n)
		}
		sum += n
	}
	if sum != 200 {
		t.Errorf("counted %d strangers, want 200", sum)
	}
}

// TestReceiveOuter6 is TestReceiveOuter for IPv6.
func TestReceiveOuter6(t *testing.T) {
	good := outer(keyed6.Addr, local6, unhex(t, "2000 6558 00000007"), frame(60))
	with := func(change func(b []byte) []byte) []byte { return change(slices.Clone(good)) }
	set := func(at int, value byte) []byte {
		return with(func(b []byte) []byte { b[at] = value; return b })
	}
	tests := []struct {
		name     string
		datagram []byte
		want     drop.Reason
	}{
		{"hop limit 0", set(7, 0), drop.None},
		{"traffic class and flow label", with(func(b []byte) []byte { copy(b, []byte{0x6f, 0xff, 0xff, 0xff}); return b }), drop.None},
		{"bytes behind the payload", with(func(b []byte) []byte { return append(b, 1, 2, 3) }), drop.None},
		{"payload beyond the end", set(5, good[5]+1), drop.L3Header},
		{"payload length 0", set(5, 0), drop.GREShort},
		{"another next header", set(6, 4), drop.L3Header},
	}
	u, wire := encaptest.New(t, local, local6)
	setPeers(t, u, keyed6, keyed)
	r := u.Receivers()[1]
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			wire.Inject(tt.datagram)
			ds, err := r.Recv()
			if err != nil || len(ds) != 1 {
				t.Fatalf("received %d, %v, want 1", len(ds), err)
			}
			d := ds[0]
			if d.Reason != tt.want || d.Peer != keyed6.ID {
				t.Fatalf("got %v from peer %d, want %v from %d", d.Reason, d.Peer, tt.want, keyed6.ID)
			}
			if tos := tt.datagram[0]<<4 | tt.datagram[1]>>4; tt.want == drop.None && (d.TOS != tos || !bytes.Equal(d.Frame, frame(60))) {
				t.Errorf("got TOS %#x, frame % x, want TOS %#x, frame % x", d.TOS, d.Frame, tos, frame(60))
			}
		})
	}
	wire.Inject(outer(keyed.Addr, local, unhex(t, "2000 6558 00000007"), frame(60)))
	if ds, err := r.Recv(); err != nil || len(ds) != 0 {
		t.Errorf("the IPv6 receiver got %v, %v", ds, err)
	}
	if d := recvOne(t, u); d.Peer != keyed.ID {
		t.Errorf("got peer %d, want %d", d.Peer, keyed.ID)
	}
}

// TestRemovedPeer: what a peer sent before it was removed is in the queue still.
func TestRemovedPeer(t *testing.T) {
	u, wire := encaptest.New(t, local)
	setPeers(t, u, keyed)
	wire.Inject(outer(keyed.Addr, local, unhex(t, "2000 6558 00000007"), frame(60)))
	setPeers(t, u, keyless)
	if d := recvOne(t, u); d.Reason != drop.GREPeer || d.Peer != 0 {
		t.Errorf("got %v from peer %d, want %v from 0", d.Reason, d.Peer, drop.GREPeer)
	}
}

// TestReceiveOrder holds the rows G14 to G20 as series of sequence numbers.
func TestReceiveOrder(t *testing.T) {
	type step struct {
		key, seq uint32
		want     drop.Reason
	}
	const ok, old = drop.None, drop.GRESeqOld
	run := func(from, to uint32) (steps []step) { // late ones until they prove a restart
		for seq := from; seq < to; seq++ {
			steps = append(steps, step{7, seq, old})
		}
		return steps
	}
	tests := []struct {
		name  string
		steps []step
	}{
		{"G14 last+1", []step{{7, 0, ok}, {7, 1, ok}, {7, 2, ok}}},
		{"G15 late and twice", []step{{7, 5, ok}, {7, 4, old}, {7, 5, old}, {7, 6, ok}}},
		{"G15 the first number twice", []step{{7, 0, ok}, {7, 0, old}}},
		{"G16 gap", []step{{7, 5, ok}, {7, 500, ok}, {7, 6, old}, {7, 501, ok}}},
		{"G17 wrap", []step{{7, 0xffffffff, ok}, {7, 0, ok}, {7, 0xfffffffe, old}, {7, 1, ok}}},
		{"G19 first packet", []step{{7, 123456, ok}, {7, 123455, old}}},
		{"G19 restart, its first seen", []step{{7, 700, ok}, {7, 0, ok}, {7, 1, ok}, {7, 700, ok}}},
		{"G19 restart from far ahead", []step{{7, 100000, ok}, {7, 3, ok}, {7, 4, ok}}},
		{"G19 restart, its first lost", slices.Concat([]step{{7, 700, ok}}, run(3, 10), []step{{7, 10, ok}, {7, 11, ok}})},
		{"G15 at the edge of the window", []step{{7, 5000, ok}, {7, 5000 - 1024, old}, {7, 5000 - 1025, ok}}},
		{"late ones between newer ones are no restart", []step{
			{7, 700, ok}, {7, 3, old}, {7, 701, ok}, {7, 4, old}, {7, 702, ok}, {7, 5, old}, {7, 703, ok}, {7, 6, old},
			{7, 704, ok}, {7, 7, old}, {7, 705, ok}, {7, 8, old}, {7, 706, ok}, {7, 9, old}, {7, 707, ok}, {7, 10, old}}},
		{"G20 per key", []step{{7, 100, ok}, {8, 50, ok}, {7, 99, old}, {8, 51, ok}, {0, 1, ok}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			u, wire := encaptest.New(t, local)
			setPeers(t, u, ordered)
			for i, s := range tt.steps {
				if i == len(tt.steps)/2 {
					setPeers(t, u, ordered, keyed) // must not forget
				}
				wire.Inject(outer(ordered.Addr, local, unhex(t, fmt.Sprintf("3000 6558 %08x %08x", s.key, s.seq)), frame(14)))
				if d := recvOne(t, u); d.Reason != s.want {
					t.Errorf("step %d, number %d: got %v, want %v", i, s.seq, d.Reason, s.want)
				}
			}
		})
	}
}
