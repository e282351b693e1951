package dataplane

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"weft/encap/encaptest"
	"weft/fib"
	"weft/internal/drop"
	"weft/internal/header"
	"weft/internal/offload"
)

// tagged puts tags, each TPID and TCI, into a frame, the first outermost.
func tagged(f []byte, tags ...[2]uint16) []byte {
	b := slices.Clone(f[:12])
	for _, t := range tags {
		b = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, t[0]), t[1])
	}
	return append(b, f[12:]...)
}

func vlan(n uint16) func(*PortConfig)        { return func(c *PortConfig) { c.VLAN = n } }
func trunk(list ...uint16) func(*PortConfig) { return func(c *PortConfig) { c.Trunk = list } }

// place is where the test of VLANs sends and hears.
type place struct {
	name string
	mac  header.MAC
	send func(f []byte)
	hear func() []byte // nil: nothing
	id   PortID        // 0: a peer

	// What the place is, in words of its own: the class of what it sends, by the tags
	// of the frame; and the tags, or none, of what it hears of a class.
	plain, far bool
	access     uint16
	trunk      []uint16
}

// class says where a frame belongs: a VLAN, 0 for the untagged domain; transparent
// ones are of it too, and pass plain places alone. ok is false where it is dropped.
type class struct {
	vid         uint16
	transparent bool
}

// named are the VLANs that the places of the test name.
var named = []uint16{10, 20, 30}

func (p *place) classOf(tags [][2]uint16) (c class, ok bool) {
	if len(tags) > 0 && tags[0][1]&0xfff == 0 { // a priority tag is none
		return class{vid: p.access}, len(tags) == 1
	}
	if len(tags) == 0 {
		return class{vid: p.access}, true
	}
	vid := tags[0][1] & 0xfff
	isNamed := tags[0][0] == 0x8100 && slices.Contains(named, vid)
	switch {
	case vid == 4095:
		return c, false
	case p.trunk != nil:
		return class{vid: vid}, len(tags) == 1 && tags[0][0] == 0x8100 && slices.Contains(p.trunk, vid)
	case p.access != 0, p.plain && isNamed:
		return c, false
	case isNamed:
		return class{vid: vid}, len(tags) == 1
	}
	return class{transparent: true}, true
}

// hears returns the tags that a frame of class c has at p, which had these where it
// came from; ok is false where p does not hear it.
func (p *place) hears(c class, had [][2]uint16) (tags [][2]uint16, ok bool) {
	if c.transparent {
		return had, p.plain || p.far
	}
	if c.vid == p.access {
		if c.vid == 0 { // priority tags stay
			return had, true
		}
		return nil, true
	}
	if c.vid != 0 && (p.far || slices.Contains(p.trunk, c.vid)) {
		var priority uint16
		if len(had) > 0 {
			priority = had[0][1] &^ 0xfff
		}
		return [][2]uint16{{0x8100, c.vid | priority}}, true
	}
	return nil, false
}

// TestVLANs sends a broadcast with each stack of tags from each kind of port, from
// a peer and from a LAN, and looks who hears it, and how it is tagged there.
func TestVLANs(t *testing.T) {
	u, wire := encaptest.New(t, addr1)
	s, w, d := still(t, Config{Underlay: u})
	setPeers(t, s, d, false, addr2)
	up := addUplink(t, s, d, 0)
	wideBroadcast := func(src header.MAC) []byte { return testFrame(header.Broadcast, src, 60) }

	var places []*place
	add := func(p place, n int, change ...func(*PortConfig)) {
		st := attach(t, s, d, n, append(change, func(c *PortConfig) { c.FloodRate = -1 })...)
		p.id, p.mac = st.id, st.mac
		p.send = func(f []byte) { st.Send(offload.Header{}, f); w.batch(st.id) }
		p.hear = func() []byte { _, f := st.Recv(0); return f }
		places = append(places, &p)
	}
	add(place{name: "plain", plain: true}, 1)
	add(place{name: "plain too", plain: true}, 2)
	add(place{name: "access 10", access: 10}, 3, vlan(10))
	add(place{name: "access 10 too", access: 10}, 4, vlan(10))
	add(place{name: "access 20", access: 20}, 5, vlan(20))
	add(place{name: "trunk 10, 20", trunk: []uint16{10, 20}}, 6, trunk(10, 20))
	add(place{name: "trunk 20, 30, native 10", trunk: []uint16{20, 30}, access: 10}, 7, trunk(20, 30), vlan(10))
	add(place{name: "bridge on a trunk 10, 30", trunk: []uint16{10, 30}}, 8, trunk(10, 30), allowSpoof)
	places = append(places, &place{name: "LAN", far: true, mac: lanMAC, id: up.id,
		send: func(f []byte) { up.lan.Send(offload.Header{}, f); w.uplinkBatch(up.id) },
		hear: func() []byte { _, f := up.lan.Recv(0); return f },
	}, &place{name: "peer", far: true, mac: 0x0600_0000_0041,
		send: func(f []byte) {
			wire.Inject(outer(addr2, addr1, append([]byte("\x20\x00\x65\x58\x00\x00\x00\x07"), f...)))
			w.snap, w.now = s.snapshot.Load(), s.second.Load()
			w.drainUnderlay(w.receivers[0], false)
			w.balance()
		},
		hear: func() []byte {
			b := wire.TryRead()
			if b == nil {
				return nil
			}
			if key := binary.BigEndian.Uint32(b[header.IPv4Len+4:]); key != 7 {
				t.Errorf("key %d to the peer, want that of the network", key)
			}
			return b[header.IPv4Len+8:]
		},
	})

	stacks := [][][2]uint16{
		nil, {{0x8100, 10}}, {{0x8100, 20 | 5<<13}}, {{0x8100, 30}}, {{0x8100, 50}}, {{0x8100, 4095}}, {{0x8100, 6 << 13}},
		{{0x88a8, 10}}, {{0x8100, 10}, {0x8100, 20}}, {{0x8100, 0}, {0x8100, 20}}, {{0x88a8, 0}, {0x8100, 20}}, {{0x8100, 50}, {0x8100, 20}},
	}
	heard, hopped := 0, 0
	for _, from := range places {
		for _, tags := range stacks {
			before := s.Drops()[drop.L2VLAN]
			from.send(tagged(wideBroadcast(from.mac), tags...))
			c, ok := from.classOf(tags)
			for _, to := range places {
				got := to.hear()
				want, hears := to.hears(c, tags)
				switch {
				case to == from, !ok, !hears:
					if got != nil {
						t.Errorf("from %s with tags %x: %s heard %x", from.name, tags, to.name, got[:26])
					}
				case !bytes.Equal(got, tagged(wideBroadcast(from.mac), want...)):
					t.Errorf("from %s with tags %x: %s heard %x, want tags %x", from.name, tags, to.name, got[:min(26, len(got))], want)
				default:
					heard++
				}
			}
			_, f := up.host.Recv(0) // the host has what the LAN sent
			if _, hears := places[8].hears(c, tags); (f != nil) != (ok && hears && from.name != "LAN") {
				t.Errorf("from %s with tags %x: the host heard it: %v", from.name, tags, f != nil)
			}
			if after := s.Drops()[drop.L2VLAN]; (after == before+1) != !ok {
				t.Errorf("from %s with tags %x: %d more dropped as l2_vlan, dropped: %v", from.name, tags, after-before, !ok)
			} else if !ok {
				hopped++
			}
		}
	}
	t.Logf("%d copies heard, %d frames dropped", heard, hopped)
	if f := framesAtRest(s); !balanced(f) {
		t.Errorf("balance sheet is off: %+v", f)
	}

	// Unicast, learned in its VLAN alone.
	peer := places[9]
	peer.send(tagged(wideBroadcast(peer.mac), [2]uint16{0x8100, 10}))
	for _, p := range places {
		p.hear()
	}
	for vid, want := range map[uint16]fib.Dest{0: fib.PeerDest(1), 10: fib.PeerDest(1), 20: fib.PeerDest(1)} {
		if got := s.FDB(s.VLAN(d, vid)).Lookup(peer.mac); got != want {
			t.Errorf("VLAN %d has the peer's station at %v, want %v", vid, got, want)
		}
	}
	for i, p := range places[:8] {
		for _, vid := range []uint16{0, 10, 20, 30} {
			want := p.access == vid || slices.Contains(p.trunk, vid)
			if got := s.FDB(s.VLAN(d, vid)).Lookup(p.mac) == fib.PortDest(uint16(p.id)); got != want {
				t.Errorf("%s (place %d) is in the FDB of VLAN %d: %v, want %v", p.name, i, vid, got, want)
			}
		}
	}
	acc := places[2]
	f := testFrame(peer.mac, acc.mac, 400)
	acc.send(f)
	if got := peer.hear(); !bytes.Equal(got, tagged(f, [2]uint16{0x8100, 10})) {
		t.Errorf("unicast to the peer: %x", got)
	}
	for _, p := range places {
		if got := p.hear(); got != nil {
			t.Errorf("%s heard unicast for the peer", p.name)
		}
	}
}

// A VLAN is a domain from the first port that names it to the last; without it, its
// tag is any other.
func TestVLANComesAndGoes(t *testing.T) {
	s, w, d := still(t, Config{})
	a, b := attach(t, s, d, 1), attach(t, s, d, 2)
	pass := func() bool {
		f := tagged(testFrame(b.mac, a.mac, 60), [2]uint16{0x8100, 10})
		a.Send(offload.Header{}, f)
		w.batch(a.id)
		_, got := b.Recv(0)
		return bytes.Equal(got, f)
	}
	if !pass() || s.VLANs(d) != nil {
		t.Fatal("a tag is not transparent before a port names its VLAN")
	}
	first, second := attach(t, s, d, 3, vlan(10)), attach(t, s, d, 4, trunk(10, 11))
	if got := s.VLANs(d); !slices.Equal(got, []uint16{10, 11}) || pass() {
		t.Errorf("VLANs %v, or VLAN 10 passes between plain ports", got)
	}
	if err := s.RemoveDomain(d); err == nil {
		t.Error("a network whose VLANs have ports was removed")
	}
	remove := func(id PortID) {
		t.Helper()
		if err := s.RemovePort(id); err != nil {
			t.Fatal(err)
		}
	}
	remove(second.id)
	if got := s.VLANs(d); !slices.Equal(got, []uint16{10}) || pass() {
		t.Errorf("VLANs %v, or VLAN 10 passes between plain ports", got)
	}
	if err := s.SetPort(first.id, []netip.Addr{netip.MustParseAddr("10.0.0.3")}, 1400); err != nil {
		t.Fatal(err)
	}
	if got := s.snapshot.Load().domain(s.VLAN(d, 10)).ports; len(got) != 1 || got[0].mtu != 1400 {
		t.Errorf("the VLAN has not its port as it was set: %+v", got)
	}
	remove(first.id)
	if !pass() || s.VLANs(d) != nil || s.VLAN(d, 10) != 0 {
		t.Error("a VLAN without ports is a domain still")
	}
	for _, bad := range []func(*PortConfig){vlan(4095), vlan(5000), trunk(0), trunk(4095)} {
		cfg := PortConfig{Domain: d, MAC: 0x0200_0000_0099}
		bad(&cfg)
		if _, err := s.AddPort(cfg); err == nil {
			t.Errorf("port %+v was added", cfg)
		}
	}
	// The address of a port is one in every VLAN that it has, or in none.
	attach(t, s, d, 5, vlan(20))
	if _, err := s.AddPort(PortConfig{Domain: d, MAC: 0x0200_0000_0005, Trunk: []uint16{19, 20, 21}}); err == nil {
		t.Error("an address that VLAN 20 has was added again")
	}
	if got := s.FDB(d).Lookup(0x0200_0000_0005); got != 0 {
		t.Errorf("the refused port left its address at %v", got)
	}
	if got := s.VLANs(d); !slices.Equal(got, []uint16{20}) {
		t.Errorf("the refused port left VLANs %v", got)
	}
}

// TestWideTrunk makes a trunk of all VLANs.
func TestWideTrunk(t *testing.T) {
	s, w, d := still(t, Config{})
	all := make([]uint16, 0, 4094)
	for vid := uint16(1); vid <= 4094; vid++ {
		all = append(all, vid)
	}
	a, b := attach(t, s, d, 1, trunk(all...)), attach(t, s, d, 2, trunk(all...))
	for _, vid := range []uint16{1, 2, 2047, 4094} {
		f := tagged(testFrame(b.mac, a.mac, 60), [2]uint16{0x8100, vid})
		a.Send(offload.Header{}, f)
		w.batch(a.id)
		if _, got := b.Recv(0); !bytes.Equal(got, f) {
			t.Errorf("VLAN %d: %x", vid, got)
		}
	}
	for _, st := range []*station{a, b} {
		if err := s.RemovePort(st.id); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.VLANs(d); len(got) != 0 {
		t.Errorf("%d VLANs are left", len(got))
	}
}

// tcpFrame is a TCP segment, or a super-frame, with room for a checksum to be done.
func tcpFrame(dst, src header.MAC, payload int) (offload.Header, []byte) {
	const l4 = header.EthernetLen + header.IPv4Len
	b := make([]byte, l4+20+payload)
	header.PutEthernet(b, dst, src, header.TypeIPv4)
	ip := b[header.EthernetLen:]
	header.IPv4Fields{Length: len(ip), DF: true, TTL: 64, Protocol: header.ProtoTCP,
		Src: netip.MustParseAddr("10.0.0.1"), Dst: netip.MustParseAddr("10.0.0.2")}.Put(ip)
	tcp := ip[header.IPv4Len:]
	binary.BigEndian.PutUint32(tcp, 1000<<16|2000)
	tcp[12], tcp[13] = 5<<4, header.TCPAck
	for i := range tcp[20:] {
		tcp[20+i] = byte(i)
	}
	binary.BigEndian.PutUint16(tcp[16:], header.Fold(header.IPv4(ip).PseudoSum(header.ProtoTCP, len(tcp))))
	return offload.Header{Flags: offload.FlagNeedsCsum, GSOType: offload.GSOTCPv4, GSOSize: 1000, HdrLen: l4 + 20, CsumStart: l4, CsumOffset: 16}, b
}

// A super-frame keeps its virtio header true, with a tag and without, in both ways,
// and is cut into tagged segments for a peer.
func TestVLANSuperFrames(t *testing.T) {
	u, wire := encaptest.New(t, addr1)
	s, w, d := still(t, Config{Underlay: u})
	setPeers(t, s, d, false, addr2)
	acc, tr := attach(t, s, d, 1, vlan(10)), attach(t, s, d, 2, trunk(10))
	plain, bare := tcpFrame(tr.mac, acc.mac, 5000)
	acc.Send(plain, bare)
	w.batch(acc.id)
	tag := [2]uint16{0x8100, 10}
	if h, f := tr.Recv(0); h != plain.Shift(4) || !bytes.Equal(f, tagged(bare, tag)) {
		t.Errorf("to the trunk: %+v, %d bytes, want %+v, %d", h, len(f), plain.Shift(4), len(bare)+4)
	}
	plain, bare = tcpFrame(acc.mac, tr.mac, 5000)
	tr.Send(plain.Shift(4), tagged(bare, tag))
	w.batch(tr.id)
	if h, f := acc.Recv(0); h != plain || !bytes.Equal(f, bare) {
		t.Errorf("to the access port: %+v, %d bytes, want %+v, %d", h, len(f), plain, len(bare))
	}

	const remote header.MAC = 0x0600_0000_0001
	s.FDB(s.VLAN(d, 10)).Set(remote, fib.PeerDest(1), fib.Static)
	plain, bare = tcpFrame(remote, acc.mac, 2500)
	var segments [][]byte
	for _, from := range []struct {
		st *station
		h  offload.Header
		f  []byte
	}{{acc, plain, bare}, {tr, plain.Shift(4), tagged(bare, tag)}} {
		tr.mac.Put(from.f[6:])
		from.st.mac.Put(from.f[6:])
		from.st.Send(from.h, from.f)
		w.batch(from.st.id)
		for _, size := range []int{1000, 1000, 500} {
			got := wire.TryRead()
			if got == nil || len(got) != header.IPv4Len+8+header.EthernetLen+4+header.IPv4Len+20+size {
				t.Fatalf("to the peer: %d bytes for a segment of %d", len(got), size)
			}
			inner := header.Ethernet(got[header.IPv4Len+8:])
			if typ, off := inner.L3(); inner.Type() != header.TypeVLAN || binary.BigEndian.Uint16(inner[14:]) != 10 || typ != header.TypeIPv4 || off != 18 {
				t.Errorf("to the peer: %x", inner[:20])
			}
			ip, ok := header.ParseIPv4(inner[18:])
			if !ok || !ip.ChecksumOK() || header.Fold(ip.PseudoSum(header.ProtoTCP, len(ip.Payload()))+header.Sum(ip.Payload())) != 0xffff {
				t.Errorf("checksums of a segment to the peer are wrong")
			}
			segments = append(segments, got)
		}
	}

	// Back from a peer, one datagram a segment: merged for both kinds of port.
	for i, st := range []*station{acc, tr} {
		for _, seg := range segments[3*i : 3*i+3] {
			b := slices.Clone(seg)
			copy(b[12:16], addr2.AsSlice())
			copy(b[16:20], addr1.AsSlice())
			st.mac.Put(b[header.IPv4Len+8:])
			remote.Put(b[header.IPv4Len+8+6:])
			wire.Inject(b)
		}
		w.snap, w.now = s.snapshot.Load(), s.second.Load()
		w.drainUnderlay(w.receivers[0], false)
		want, wantFrame := tcpFrame(st.mac, remote, 2500)
		if st == tr {
			want, wantFrame = want.Shift(4), tagged(wantFrame, tag)
		}
		h, f := st.Recv(0)
		if h != want || len(f) != len(wantFrame) || !bytes.Equal(f[len(f)-2500:], wantFrame[len(f)-2500:]) || !bytes.Equal(f[:18], wantFrame[:18]) {
			t.Errorf("merged for port %d: %+v, %d bytes, want %+v, %d", st.id, h, len(f), want, len(wantFrame))
		}
	}
	if f := framesAtRest(s); !balanced(f) {
		t.Errorf("balance sheet is off: %+v", f)
	}
}

// TestVLANNoAllocs runs batches through a VLAN, from port to port, to a trunk and to
// a peer.
func TestVLANNoAllocs(t *testing.T) {
	u, wire := encaptest.New(t, addr1)
	s, w, d := still(t, Config{Underlay: u})
	setPeers(t, s, d, false, addr2)
	unlimited := func(c *PortConfig) { c.FloodRate = -1 }
	a, b, c := attach(t, s, d, 1, vlan(10), unlimited), attach(t, s, d, 2, vlan(10)), attach(t, s, d, 3, trunk(10, 20))
	drain := make([]byte, frameSpace)
	msg := append(make([]byte, offload.HeaderLen), testFrame(header.Broadcast, a.mac, 500)...)
	in := outer(addr2, addr1, append([]byte("\x20\x00\x65\x58\x00\x00\x00\x07"), tagged(testFrame(header.Broadcast, 0x0600_0000_0001, 500), [2]uint16{0x8100, 10})...))
	allocs := testing.AllocsPerRun(50, func() {
		for range 8 {
			if err := a.TrySendRaw(msg); err != nil {
				t.Fatal(err)
			}
			wire.Inject(in)
		}
		w.batch(a.id)
		w.drainUnderlay(w.receivers[0], false)
		for _, st := range []*station{a, b, c} {
			for st.TryRecvRaw(drain) > 0 {
			}
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations in a batch, want 0", allocs)
	}
	if got := s.PortStats(c.id).TxFrames; got == 0 {
		t.Error("nothing was sent to the trunk")
	}
}
