package dataplane

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"testing"

	"weft/encap/encaptest"
	"weft/fib"
	"weft/internal/drop"
	"weft/internal/header"
	"weft/internal/offload"
)

// arpFrame is an ARP packet in a frame from src to dst.
func arpFrame(op uint16, dst, src, senderMAC header.MAC, sender, target string) []byte {
	b := make([]byte, header.EthernetLen+header.ARPLen)
	header.PutEthernet(b, dst, src, header.TypeARP)
	header.ARPFields{
		Op: op, SenderMAC: senderMAC, SenderAddr: netip.MustParseAddr(sender), TargetMAC: dst, TargetAddr: netip.MustParseAddr(target),
	}.Put(b[header.EthernetLen:])
	return b
}

// between gives a frame other Ethernet addresses.
func between(dst, src header.MAC, f []byte) []byte {
	header.PutEthernet(f, dst, src, header.Ethernet(f).Type())
	return f
}

// withTags puts n VLAN tags into a frame.
func withTags(n int, f []byte) []byte {
	for range n {
		f = append(f[:12:12], append([]byte{0x81, 0, 0, 5}, f[12:]...)...)
	}
	return f
}

// advert is a neighbour advertisement from mac to all.
func advert(mac header.MAC, target string) []byte {
	b := make([]byte, header.NeighbourLen)
	header.PutNeighbourAdvert(b, 0, netip.Addr{}, mac, netip.MustParseAddr(target), header.NDPOverride)
	return b
}

// sixOther is advert with another source address.
func sixOther(src string, f []byte) []byte {
	a := netip.MustParseAddr(src).As16()
	copy(f[header.EthernetLen+8:], a[:])
	return f
}

// undefended keeps the switch from defending gateways for a while: TestDefend
// looks at that.
func (r *routed) undefended(d DomainID) {
	for i := range r.snapshot.Load().domain(d).defence {
		r.snapshot.Load().domain(d).defence[i].Store(r.Now() + 1000)
	}
}

// TestGuardedPort has a container of 10.1.0.2 lie to its neighbour on the same
// network (conformance F15, B27, B28, A05 to A07, A18; the table of frames is
// internal/policy's).
func TestGuardedPort(t *testing.T) {
	r := newRouted(t, Config{})
	c := attach(t, r.Switch, r.d1, 3, func(c *PortConfig) { c.Addrs = addrs("10.1.0.3", "fd00:1::3") })
	r.undefended(r.d1)
	me, gw := r.a.mac, gatewayMAC(1)
	body := make([]byte, 40)
	dhcp := func() []byte {
		return between(header.Broadcast, me, packet4("10.1.0.2", "255.255.255.255", 64, 17, []byte{0, 67, 0, 68, 0, 8, 0, 0}))
	}
	router := packet6("fe80::ff:fe00:1", "ff02::1", 255, 58, append([]byte{134}, make([]byte, 15)...))
	for _, tt := range []struct {
		name  string
		frame []byte
		want  drop.Reason
	}{
		{"B27 MAC", testFrame(c.mac, 0x0200_0000_0077, 46), drop.L2Spoof},
		{"B28 gateway's MAC", testFrame(c.mac, gw, 46), drop.L2Spoof},
		{"host's MAC", testFrame(c.mac, testHostMAC, 46), drop.L2Spoof},
		{"IPv4", between(c.mac, me, packet4("10.1.0.9", "10.1.0.3", 64, 17, body)), drop.L3Source},
		{"IPv4 of the gateway", between(c.mac, me, packet4("10.1.0.1", "10.1.0.3", 64, 17, body)), drop.L3Source},
		{"IPv4, two tags", withTags(2, between(c.mac, me, packet4("10.1.0.9", "10.1.0.3", 64, 17, body))), drop.L3Source},
		{"IPv4, three tags", withTags(3, between(c.mac, me, packet4("10.1.0.2", "10.1.0.3", 64, 17, body))), drop.InnerVLAN},
		{"IPv4 to the gateway", packet4("10.1.0.9", "10.2.0.2", 64, 17, body), drop.L3Source},
		{"IPv6", between(c.mac, me, packet6("fd00:1::9", "fd00:1::3", 64, 17, body)), drop.L3Source},
		{"IPv6 link-local", between(c.mac, me, packet6("fe80::9", "fd00:1::3", 64, 17, body)), drop.L3Source},
		{"A07 ARP sender's MAC", arpFrame(2, c.mac, me, gw, "10.1.0.2", "10.1.0.3"), drop.L2Spoof},
		{"ARP sender", arpFrame(2, c.mac, me, me, "10.1.0.9", "10.1.0.3"), drop.L2Spoof},
		{"ARP of the gateway", arpFrame(2, c.mac, me, me, "10.1.0.1", "10.1.0.3"), drop.L2Spoof},
		{"ND of another", sixOther("fd00:1::2", advert(me, "fd00:1::9")), drop.L2Spoof},
		{"ND of the gateway", sixOther("fd00:1::2", advert(me, "fd00:1::1")), drop.L2Spoof},
		{"DHCP server", dhcp(), drop.L2Spoof},
		{"A18 router", between(0x3333_0000_0001, me, router), drop.L2Spoof},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := r.PortStats(r.a.id).Drops[tt.want]
			r.a.Send(offload.Header{}, tt.frame)
			wantDrops(t, r.Switch, r.a.id, tt.want, before+1)
		})
	}
	c.wantNone(t)
	r.b.wantNone(t)
	honest := [][]byte{
		between(c.mac, me, packet4("10.1.0.2", "10.1.0.3", 64, 17, body)), between(c.mac, me, packet6("fd00:1::2", "fd00:1::3", 64, 17, body)),
		arpFrame(2, c.mac, me, me, "10.1.0.2", "10.1.0.3"), advert(me, "fd00:1::2"),
		withTags(2, between(c.mac, me, packet4("10.1.0.2", "10.1.0.3", 64, 17, body))),
		between(header.Broadcast, me, packet4("0.0.0.0", "255.255.255.255", 64, 17, []byte{0, 68, 0, 67, 0, 8, 0, 0})),
	}
	for _, f := range honest {
		r.a.Send(offload.Header{}, f)
		c.want(t, f)
	}
	wantBalance(t, r.Switch)
}

// TestGatewayIsNobodysElse has a port that may spoof, a port without addresses
// and a peer speak for the gateway.
func TestGatewayIsNobodysElse(t *testing.T) {
	u, wire := encaptest.New(t, addr1)
	r := newRouted(t, Config{Underlay: u})
	setPeers(t, r.Switch, r.d2, false, addr2)
	if err := r.SetDomain(r.d2, DomainConfig{
		MTU: 1450, VRF: testVRF, Peers: []PeerID{1}, Gateways: addrs("10.2.0.1", "fd00:2::1"),
		Prefixes: []netip.Prefix{netip.MustParsePrefix("10.2.0.0/24"), netip.MustParsePrefix("fd00:2::/64")},
		Reserved: addrs("10.2.0.16", "fd00:2::16"),
	}); err != nil {
		t.Fatal(err)
	}
	free := attach(t, r.Switch, r.d2, 5, allowSpoof)
	open := attach(t, r.Switch, r.d2, 6)
	r.undefended(r.d2)
	body, gw := make([]byte, 40), gatewayMAC(2)
	for _, tt := range []struct {
		name  string
		frame func(me header.MAC) []byte
		peers bool // may
	}{
		{"B28 MAC", func(header.MAC) []byte { return testFrame(r.b.mac, gw, 46) }, false},
		{"host's MAC", func(header.MAC) []byte { return testFrame(r.b.mac, testHostMAC, 46) }, false},
		{"IPv4", func(me header.MAC) []byte {
			return between(r.b.mac, me, packet4("10.2.0.1", "10.2.0.2", 64, 17, body))
		}, true},
		{"IPv6", func(me header.MAC) []byte {
			return between(r.b.mac, me, packet6("fd00:2::1", "fd00:2::2", 64, 17, body))
		}, true},
		{"A05 ARP", func(me header.MAC) []byte { return arpFrame(1, header.Broadcast, me, me, "10.2.0.1", "10.2.0.1") }, false},
		{"ARP reply", func(me header.MAC) []byte { return arpFrame(2, r.b.mac, me, me, "10.2.0.1", "10.2.0.2") }, false},
		{"ARP reply, tagged", func(me header.MAC) []byte {
			return withTags(1, arpFrame(2, r.b.mac, me, me, "10.2.0.1", "10.2.0.2"))
		}, false},
		{"ND", func(me header.MAC) []byte { return sixOther("fd00:2::9", advert(me, "fd00:2::1")) }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, st := range []*station{free, open} {
				before := r.PortStats(st.id).Drops[drop.L2Spoof]
				st.Send(offload.Header{}, tt.frame(st.mac))
				wantDrops(t, r.Switch, st.id, drop.L2Spoof, before+1)
			}
			before := r.PeerStats(1).Drops[drop.L2Spoof]
			wire.Inject(outer(addr2, addr1, append([]byte("\x20\x00\x65\x58\x00\x00\x00\x02"), tt.frame(0x0600_0000_0001)...)))
			if tt.peers { // the same gateway is there
				r.b.want(t, tt.frame(0x0600_0000_0001))
				return
			}
			wantPeerDrops(t, r.Switch, 1, drop.L2Spoof, before+1)
		})
	}
	r.b.wantNone(t)
	before := r.PortStats(open.id).Drops[drop.L2Spoof]
	open.Send(offload.Header{}, arpFrame(1, header.Broadcast, open.mac, open.mac, "10.2.0.2", "10.2.0.2")) // attached to b
	for _, f := range [][]byte{
		arpFrame(2, r.b.mac, open.mac, open.mac, "10.2.0.16", "10.2.0.2"), advert(open.mac, "fd00:2::16"),
		between(r.b.mac, open.mac, packet4("10.2.0.16", "10.2.0.2", 64, 17, body)), between(r.b.mac, open.mac, packet6("fd00:2::16", "fd00:2::2", 64, 17, body)),
	} {
		open.Send(offload.Header{}, f) // for one that is reserved
	}
	wantDrops(t, r.Switch, open.id, drop.L2Spoof, before+5)
	open.Send(offload.Header{}, arpFrame(1, header.Broadcast, open.mac, open.mac, "10.2.0.66", "10.2.0.66"))
	_, got := r.b.Recv(patience)
	if header.Ethernet(got).Src() != open.mac {
		t.Errorf("a port without addresses may not announce one that is free: got %x", got)
	}
	wantBalance(t, r.Switch)
}

// wantPeerDrops waits until the peer counted n drops for the reason.
func wantPeerDrops(t *testing.T, s *Switch, id PeerID, r drop.Reason, n uint64) {
	t.Helper()
	eventually(t, func() bool { return s.PeerStats(id).Drops[r] == n })
}

func TestAddPortOfTheSwitch(t *testing.T) {
	r := newRouted(t, Config{})

	for _, cfg := range []PortConfig{
		{Domain: r.d1, MAC: gatewayMAC(1)}, {Domain: r.d1, MAC: testHostMAC}, {Domain: r.d1, MAC: 0x0200_0000_0010, Addrs: addrs("10.1.0.1")},
	} {
		if _, err := r.AddPort(cfg); err == nil {
			t.Errorf("%v with %v may be attached", cfg.MAC, cfg.Addrs)
		}
	}
}

// TestStationLimit has a port that may spoof send from three thousand addresses
// (B18, F14): it keeps its share, all are forwarded, nobody else loses an entry.
func TestStationLimit(t *testing.T) {
	s, w, d := still(t, Config{})
	flood, other, c := attach(t, s, d, 1, allowSpoof), attach(t, s, d, 2, allowSpoof), attach(t, s, d, 3)
	s.FDB(d).Learn(0x0600_0000_0001, fib.PortDest(uint16(other.id)), 1)
	const n = 3000
	for i := range n {
		flood.Send(offload.Header{}, testFrame(c.mac, header.MAC(0x0a00_0000_0000+i), 46))
		if i%64 == 63 || i == n-1 {
			w.batch(flood.id)
		}
	}
	if got := c.Drain(); got != n {
		t.Errorf("%d of %d frames were forwarded", got, n)
	}
	if got := s.FDB(d).Count(fib.PortDest(uint16(flood.id))); got != DefaultStations {
		t.Errorf("learned %d addresses, want %d", got, DefaultStations)
	}
	if got := s.PortStats(flood.id).NotLearned; got != n-DefaultStations {
		t.Errorf("%d were not learned, want %d", got, n-DefaultStations)
	}
	if got := s.FDB(d).Lookup(0x0600_0000_0001); got != fib.PortDest(uint16(other.id)) {
		t.Errorf("the neighbour's station is at %v", got)
	}
	flood.Send(offload.Header{}, testFrame(c.mac, 0x0a00_0000_0000, 46)) // known: no loss
	w.batch(flood.id)
	if got := s.PortStats(flood.id).NotLearned; got != n-DefaultStations {
		t.Errorf("a known address counts as not learned: %d", got)
	}
	wantBalance(t, s)
}

// TestStationLimitOfPort has limits of its own, and none, for a port.
func TestStationLimitOfPort(t *testing.T) {
	s, w, d := still(t, Config{})
	c := attach(t, s, d, 1)
	for i, tt := range []struct{ limit, want int }{{16, 16}, {-1, 2 * DefaultStations}} {
		flood := attach(t, s, d, 2+i, allowSpoof, func(c *PortConfig) { c.Stations = tt.limit })
		for n := range 2 * DefaultStations {
			flood.Send(offload.Header{}, testFrame(c.mac, header.MAC(0x0a00_0000_0000+i<<24+n), 46))
			w.batch(flood.id)
		}
		if got := c.Drain(); got != 2*DefaultStations {
			t.Errorf("limit %d: %d frames were forwarded", tt.limit, got)
		}
		if got, not := s.FDB(d).Count(fib.PortDest(uint16(flood.id))), s.PortStats(flood.id).NotLearned; got != tt.want || not != uint64(2*DefaultStations-tt.want) {
			t.Errorf("limit %d: learned %d and not %d, want %d", tt.limit, got, not, tt.want)
		}
	}
	wantBalance(t, s)
}

// TestGuardNoAllocs has frames pass, and fail, every guard.
func TestGuardNoAllocs(t *testing.T) {
	s, w, d := still(t, Config{HostMAC: testHostMAC})
	a := attach(t, s, d, 1, func(c *PortConfig) { c.Addrs = addrs("10.1.0.2", "fd00:1::2") })
	b, c, open := attach(t, s, d, 2, allowSpoof), attach(t, s, d, 3, allowSpoof), attach(t, s, d, 4)
	udp := make([]byte, 40)
	stray := header.MAC(0x0600_0000_0000)
	drain := make([]byte, frameSpace)
	for _, tt := range []struct {
		name  string
		from  *station
		frame func() []byte
	}{
		{"IPv4", a, func() []byte { return between(c.mac, a.mac, packet4("10.1.0.2", "10.1.0.3", 64, 17, udp)) }},
		{"IPv6", a, func() []byte { return between(c.mac, a.mac, packet6("fd00:1::2", "fd00:1::3", 64, 17, udp)) }},
		{"ND", a, func() []byte { return advert(a.mac, "fd00:1::2") }},
		{"spoofed", a, func() []byte { return arpFrame(1, header.Broadcast, a.mac, a.mac, "10.1.0.9", "10.1.0.3") }},
		{"open", open, func() []byte { return between(c.mac, open.mac, packet4("10.1.0.7", "10.1.0.3", 64, 17, udp)) }},
		{"new station", b, func() []byte { stray++; return testFrame(c.mac, stray, 46) }},
		{"attached elsewhere", b, func() []byte { return testFrame(c.mac, a.mac, 46) }},
		{"probe", b, func() []byte { return testFrame(header.Broadcast, testHostMAC, 46) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			const runs, batch = 200, 8
			list := make([][]byte, 0, (runs+1)*batch)
			for range cap(list) {
				list = append(list, append(make([]byte, offload.HeaderLen), tt.frame()...))
			}
			allocs := testing.AllocsPerRun(runs, func() {
				for range batch {
					if err := tt.from.TrySendRaw(list[0]); err != nil {
						t.Fatal(err)
					}
					list = list[1:]
				}
				w.batch(tt.from.id)
				for _, st := range []*station{a, b, c, open} {
					for st.TryRecvRaw(drain) > 0 {
					}
				}
			})
			if allocs != 0 {
				t.Errorf("%v allocations in a batch of %d frames, want 0", allocs, batch)
			}
		})
	}
	msg := append(make([]byte, offload.HeaderLen), testFrame(a.mac, 0x0600_0000_ffff, 46)...)
	e := attach(t, s, d, 5, allowSpoof) // b has its share of addresses by now
	if allocs := testing.AllocsPerRun(100, func() {
		for _, st := range []*station{c, e} {
			if err := st.TrySendRaw(msg); err != nil {
				t.Fatal(err)
			}
			w.batch(st.id)
		}
		for a.TryRecvRaw(drain) > 0 {
		}
	}); allocs != 0 {
		t.Errorf("%v allocations where an address flaps, want 0", allocs)
	}
	if len(s.takeEvents()) == 0 {
		t.Error("no address was held")
	}
	wantBalance(t, s)
}

// BenchmarkGuard is what the guards cost a frame, by where it comes from.
func BenchmarkGuard(b *testing.B) {
	z := newFuzzed(b)
	z.w.snap, z.w.now = z.snapshot.Load(), 5
	tcp4, tcp6 := packet4("10.1.0.2", "10.1.0.3", 64, 6, make([]byte, 40)), packet6("fd00:1::2", "fd00:1::3", 64, 6, make([]byte, 40))
	for _, from := range []struct {
		name string
		*station
	}{{"attached", z.guarded}, {"without addresses", z.open}, {"may spoof", z.free}} {
		p := z.w.snap.port(from.id)
		for _, bm := range []struct {
			name  string
			frame []byte
		}{{"TCPv4", tcp4}, {"TCPv6", tcp6}} {
			f := frame{buf: append(make([]byte, offload.HeaderLen), bm.frame...), from: fib.PortDest(uint16(p.id)), domain: z.w.snap.domain(p.domain)}
			header.PutEthernet(f.bytes(), z.b.mac, p.mac, header.Ethernet(bm.frame).Type())
			b.Run(from.name+"/"+bm.name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if r := z.w.guard(p, &f, f.bytes()); r != drop.None {
						b.Fatal(r)
					}
				}
			})
		}
	}
}

// BenchmarkMACFlood is a frame between two neighbours of a port that sends from
// random addresses: before, and after a million of them (F14).
func BenchmarkMACFlood(b *testing.B) {
	s, w, d := still(b, Config{})
	from, to, flood := attach(b, s, d, 1, allowSpoof), attach(b, s, d, 2, allowSpoof), attach(b, s, d, 3, allowSpoof)
	drain := make([]byte, frameSpace)
	pass := func(b *testing.B) {
		f := append(make([]byte, offload.HeaderLen), testFrame(0x0600_0000_0002, 0x0600_0000_0001, 50)...)
		for b.Loop() {
			if err := from.TrySendRaw(f); err != nil {
				b.Fatal(err)
			}
			w.batch(from.id)
			to.TryRecvRaw(drain)
		}
	}
	to.Send(offload.Header{}, testFrame(flood.mac, 0x0600_0000_0002, 46))
	w.batch(to.id)
	b.Run("before", pass)
	for i := range 1_000_000 {
		flood.Send(offload.Header{}, testFrame(flood.mac, header.MAC(rand.Uint64N(1<<40)|2<<40), 46))
		if i%64 == 63 {
			w.batch(flood.id)
		}
	}
	b.Run("after", pass)
	if got := s.FDB(d).Lookup(0x0600_0000_0002); got != fib.PortDest(uint16(to.id)) {
		b.Errorf("the neighbour is at %v", got)
	}
}

// TestDefend is conformance A05, and the same for neighbour advertisements:
// whoever claims the gateway's address, the containers are told once in 10 s who
// has it, and nobody learns otherwise.
func TestDefend(t *testing.T) {
	const me header.MAC = 0x0200_0000_0001
	defences := newFuzzed(t).defences
	claims := map[string]struct{ claim, defence []byte }{
		"ARP": {arpFrame(1, header.Broadcast, me, me, "10.1.0.1", "10.1.0.1"), defences[0]},
		"ND":  {sixOther("fd00:1::2", advert(me, "fd00:1::1")), defences[1]},
	}
	for name, c := range claims {
		t.Run(name, func(t *testing.T) {
			z := newFuzzed(t)
			z.w.snap = z.snapshot.Load()
			hear := func(want int) {
				t.Helper()
				for _, st := range []*station{z.guarded, z.free, z.b} {
					for i := range want {
						if _, got := st.Recv(0); !bytes.Equal(got, c.defence) {
							t.Errorf("port %d, frame %d: got %x\nwant %x", st.id, i, got, c.defence)
						}
					}
					if _, got := st.Recv(0); got != nil {
						t.Errorf("port %d heard %x too", st.id, got)
					}
				}
				if _, got := z.open.Recv(0); got != nil {
					t.Errorf("the other network heard %x", got)
				}
			}
			z.send(c.claim, c.claim, c.claim)
			hear(1)
			if n := z.PortStats(z.guarded.id).Drops[drop.L2Spoof]; n != 3 {
				t.Errorf("%d claims dropped, want 3", n)
			}
			z.second.Add(defendEvery - 1)
			z.send(c.claim)
			hear(0)
			z.second.Add(1)
			z.send(c.claim)
			hear(1)
			// From a peer, which may have heard it elsewhere.
			z.second.Add(defendEvery)
			z.wire.Inject(outer(addr2, addr1, append([]byte("\x20\x00\x65\x58\x00\x00\x00\x01"), c.claim...)))
			z.step(nil)
			hear(1)
			sent := z.sent()
			if len(sent) != 1 || !bytes.HasSuffix(sent[0], c.defence) {
				t.Errorf("to the peer: %x", sent)
			}
			z.check(t)
		})
	}
}
