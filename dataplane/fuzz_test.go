package dataplane

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"weft/encap"
	"weft/encap/encaptest"
	"weft/fib"
	"weft/internal/drop"
	"weft/internal/header"
	"weft/internal/offload"
)

// fuzzed is a switch whose worker stands still, with two networks that route to
// each other and to two peers, one of them keyless, and ports of every kind.
type fuzzed struct {
	*Switch
	w                      *worker
	wire                   *encaptest.Wire
	guarded, free, open, b *station
	tx                     uint64   // frames to peers, counted by sent
	defences               [][]byte // what defends the gateway of 10.1.0.0/24, IPv4 and IPv6
}

// outside is the testing.F of a fuzz target, of which most may not be called
// while the target runs.
type outside struct{ testing.TB }

func (outside) Helper() {}

func newFuzzed(t testing.TB) *fuzzed {
	t.Helper()
	u, wire := encaptest.New(t, addr1)
	s, err := build(Config{Workers: 1, Underlay: u, HostMAC: testHostMAC})
	if err != nil {
		t.Fatal(err)
	}
	z := &fuzzed{Switch: s, w: s.workers[0], wire: wire}
	t.Cleanup(z.w.closeDescriptors)
	if err := s.AddVRF(testVRF); err != nil {
		t.Fatal(err)
	}
	var ids [2]DomainID
	for i, net := range []struct{ v4, v6, gw4, gw6 string }{
		{"10.1.0.0/24", "fd00:1::/64", "10.1.0.1", "fd00:1::1"}, {"10.2.0.0/24", "fd00:2::/64", "10.2.0.1", "fd00:2::1"},
	} {
		p4, p6 := netip.MustParsePrefix(net.v4), netip.MustParsePrefix(net.v6)
		if ids[i], err = s.AddDomain(DomainConfig{
			Key: uint32(i + 1), MTU: 1450, VRF: testVRF, Prefixes: []netip.Prefix{p4, p6}, Gateways: addrs(net.gw4, net.gw6),
		}); err != nil {
			t.Fatal(err)
		}
		for _, p := range []netip.Prefix{p4, p6} {
			s.Routes(testVRF).Insert(p, fib.NextHop{Kind: fib.HopConnected, Domain: uint16(ids[i])})
		}
	}
	if err := s.SetPeers([]PeerConfig{
		{Peer: encap.Peer{ID: 1, Addr: addr2}, MTU: 1450},
		{Peer: encap.Peer{ID: 2, Addr: addr3, Keyless: true}, Domain: ids[1], VRF: testVRF, MTU: 1450},
	}); err != nil {
		t.Fatal(err)
	}
	for i, id := range ids {
		cfg := DomainConfig{MTU: 1450, VRF: testVRF, Peers: []PeerID{1}}
		d := s.snapshot.Load().domain(id)
		cfg.Prefixes, cfg.Gateways = d.prefixes, []netip.Addr{d.gw.addr4, d.gw.addr6}
		if i == 1 {
			cfg.Peers = append(cfg.Peers, 2)
		}
		if err := s.SetDomain(id, cfg); err != nil {
			t.Fatal(err)
		}
	}
	for prefix, peer := range map[string]uint16{"10.3.0.0/24": 1, "fd00:3::/64": 1, "10.4.0.0/24": 2} {
		s.Routes(testVRF).Insert(netip.MustParsePrefix(prefix), fib.NextHop{Kind: fib.HopPeer, Dest: fib.PeerDest(peer)})
	}
	advert := make([]byte, header.NeighbourLen)
	header.PutNeighbourAdvert(advert, 0, netip.Addr{}, gatewayMAC(1), netip.MustParseAddr("fd00:1::1"), header.NDPRouter|header.NDPOverride)
	z.defences = [][]byte{header.GratuitousARP(gatewayMAC(1), netip.MustParseAddr("10.1.0.1")), advert}
	z.guarded = attach(t, s, ids[0], 1, func(c *PortConfig) { c.Addrs = addrs("10.1.0.2", "fd00:1::2") })
	z.free = attach(t, s, ids[0], 2, allowSpoof)
	z.open = attach(t, s, ids[1], 3)
	z.b = attach(t, s, ids[0], 4, func(c *PortConfig) { c.Addrs = addrs("10.1.0.3", "fd00:1::3"); c.MTU = 1300 })
	return z
}

// step lets the worker do what run and tick would, a second later.
func (z *fuzzed) step(port *station) {
	now := z.second.Add(1)
	z.w.snap, z.w.now = z.snapshot.Load(), now
	if port != nil {
		z.w.drainPort(z.w.snap.port(port.id), false)
	} else {
		for _, r := range z.w.receivers {
			z.w.drainUnderlay(r, false)
		}
		for _, s := range z.w.strangers {
			z.w.countStrangers(s)
		}
	}
	z.w.settleAwaited()
	z.w.ageAssemblies()
	z.takeEvents()
	for _, d := range z.w.snap.domains {
		if d != nil {
			d.fdb.Age(now)
			d.neigh.age(now)
		}
	}
}

// check holds the balance sheet.
func (z *fuzzed) check(t *testing.T) {
	t.Helper()
	z.w.balance()
	var sum uint64
	f := z.Frames()
	if !balanced(f) {
		t.Errorf("balance sheet is off: %+v", f)
	}
	for _, n := range z.Drops() {
		sum += n
	}
	if sum != f.DroppedIn+f.DroppedOut {
		t.Errorf("drops by reason add up to %d, the balance sheet has %d", sum, f.DroppedIn+f.DroppedOut)
	}
}

// seeds are frames of a guarded container at 10.1.0.2, honest and not.
func seeds() [][]byte {
	const me header.MAC = 0x0200_0000_0001
	to := func(f []byte) []byte { return between(0x0200_0000_0004, me, f) }
	udp := []byte{0, 68, 0, 67, 0, 12, 0, 0, 1, 2, 3, 4}
	return [][]byte{
		testFrame(header.Broadcast, me, 46), testFrame(0x0200_0000_0004, me, 46), testFrame(header.Broadcast, testHostMAC, 46),
		packet4("10.1.0.2", "10.2.0.2", 64, 17, udp), packet4("10.1.0.2", "10.3.0.2", 64, 6, make([]byte, 40)),
		packet4("10.1.0.2", "10.4.0.2", 1, 1, []byte{8, 0, 0xf7, 0xff, 0, 0, 0, 0}), packet4("10.1.0.2", "10.1.0.1", 1, 1, []byte{8, 0, 0xf7, 0xff, 0, 0, 0, 0}),
		packet6("fd00:1::2", "fd00:2::2", 64, 17, udp), packet6("fd00:1::2", "fd00:3::2", 64, 6, make([]byte, 40)),
		to(packet4("10.1.0.2", "10.1.0.3", 64, 17, udp)), to(packet6("fd00:1::2", "fd00:1::3", 64, 17, udp)),
		to(packet4("10.1.0.2", "10.1.0.3", 64, 17, make([]byte, 1400))), packet4("10.1.0.2", "10.2.0.2", 64, 17, make([]byte, 3000)),
		to(packet4("10.1.0.2", "255.255.255.255", 64, 17, []byte{4, 43, 0, 68, 0, 8, 0, 0})), to(sixOther("fd00:1::2", advert(0x0200_0000_0009, "fd00:1::2"))),
		withTags(2, to(packet4("10.1.0.2", "10.1.0.3", 64, 17, udp))),
		arpFrame(1, header.Broadcast, me, me, "10.1.0.2", "10.1.0.1"), arpFrame(1, header.Broadcast, me, me, "10.1.0.1", "10.1.0.1"),
		arpFrame(2, 0x0200_0000_0004, me, me, "10.1.0.2", "10.1.0.3"), withTags(1, arpFrame(2, 0x0200_0000_0004, me, me, "10.1.0.2", "10.1.0.3")),
		advert(me, "fd00:1::2"), sixOther("fd00:1::2", advert(me, "fd00:1::9")),
		to(packet6("fe80::ff:fe00:1", "ff02::1", 255, 58, append([]byte{134}, make([]byte, 15)...))),
		to(packet6("fe80::ff:fe00:1", "ff02::1", 255, 0, append([]byte{58, 0, 1, 4, 0, 0, 0, 0, 134}, make([]byte, 15)...))),
		to(packet6("fd00:1::2", "ff02::1", 255, 44, append([]byte{58, 0, 0, 1, 0, 0, 0, 1, 136}, make([]byte, 23)...))),
		packet4("10.1.0.2", "10.1.0.1", 64, 1, make([]byte, 64), func(p header.IPv4) { p[6] = 0x20 }),
		packet4("10.1.0.2", "10.1.0.1", 64, 1, make([]byte, 30), func(p header.IPv4) { p[7] = 8 }),
		packet6("fd00:1::2", "fd00:1::1", 64, 44, append([]byte{58, 0, 0, 1, 0, 0, 0, 1, 128}, make([]byte, 15)...)),
		packet6("fd00:1::2", "fd00:1::1", 64, 44, append([]byte{58, 0, 0, 16, 0, 0, 0, 1, 128}, make([]byte, 15)...)),
		to(append([]byte(nil), append(testFrame(0, me, 0)[:12], "\x00\x14\xaa\xaa\x03\x00\x00\x00\x08\x06"...)...)),
	}
}

var (
	noHeader = make([]byte, offload.HeaderLen)
	gsoTCP   = []byte{1, 1, 54, 0, 0xe8, 3, 34, 0, 16, 0}
	gsoUDP   = []byte{1, 5, 42, 0, 1, 0, 34, 0, 6, 0}
)

// FuzzGuard sends any bytes with any virtio header as a guarded container:
// nothing that leaves to another port or to a peer may speak for anybody else.
// What left is judged by gopacket, which knows nothing of the guards.
func FuzzGuard(f *testing.F) {
	for _, s := range seeds() {
		for _, h := range [][]byte{noHeader, gsoTCP, gsoUDP} {
			f.Add(append(bytes.Clone(h), s...))
		}
	}
	z := newFuzzed(outside{f})
	f.Fuzz(func(t *testing.T, msg []byte) {
		if len(msg) < offload.HeaderLen || len(msg) > frameSpace {
			return
		}
		if z.guarded.TrySendRaw(msg) != nil {
			t.Skip()
		}
		z.step(z.guarded)
		z.check(t)
		z.guarded.Drain()
		for _, st := range []*station{z.free, z.open, z.b} {
			for {
				h, got := st.Recv(0)
				if got == nil {
					break
				}
				if h.NeedsCsum() {
					offload.Complete(h, got)
				}
				z.judge(t, got)
			}
		}
		for _, d := range z.sent() {
			z.judgeDatagram(t, d)
		}
	})
}

// sent returns the datagrams that left to peers since the last call.
func (z *fuzzed) sent() (list [][]byte) {
	tx := z.PeerStats(1).TxFrames + z.PeerStats(2).TxFrames
	if tx == z.tx {
		return nil
	}
	z.tx = tx
	for d := z.wire.TryRead(); d != nil; d = z.wire.TryRead() {
		list = append(list, d)
	}
	return list
}

// judgeDatagram holds a GRE datagram to what the guarded container may be.
func (z *fuzzed) judgeDatagram(t *testing.T, d []byte) {
	t.Helper()
	gre, ok := gopacket.NewPacket(d, layers.LayerTypeIPv4, gopacket.NoCopy).Layer(layers.LayerTypeGRE).(*layers.GRE)
	if !ok {
		t.Fatalf("no GRE: %x", d)
	}
	frame := gre.LayerPayload()
	if gre.Protocol != layers.EthernetTypeTransparentEthernetBridging {
		frame = append(make([]byte, header.EthernetLen), frame...)
		header.PutEthernet(frame, 0, z.guarded.mac, uint16(gre.Protocol))
	}
	z.judge(t, frame)
}

// judge holds a frame that left to what the guarded container may be. Routed
// packets have the gateway's or the host's MAC, the host's own probes too.
func (z *fuzzed) judge(t *testing.T, frame []byte) {
	t.Helper()
	pkt := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.NoCopy)
	eth, ok := pkt.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
	if !ok {
		t.Fatalf("no Ethernet: %x", frame)
	}
	mac := header.MACFrom(eth.SrcMAC)
	own := addrs("10.1.0.2", "fd00:1::2", "0.0.0.0", "::", "fe80::ff:fe00:1")
	switch mac {
	case z.guarded.mac:
	case gatewayMAC(1), gatewayMAC(2):
		if slices.ContainsFunc(z.defences, func(d []byte) bool { return bytes.Equal(d, frame) }) {
			return
		}
		own = own[:2]
	case testHostMAC:
		own = append(own, header.LinkLocal(testHostMAC))
	default:
		t.Fatalf("from the MAC %v: %x", mac, frame)
	}
	is := func(what string, b []byte) {
		if a, ok := netip.AddrFromSlice(b); !ok || !slices.Contains(own, a) {
			t.Fatalf("%s %v: %x", what, a, frame)
		}
	}
	for _, layer := range pkt.Layers()[1:] {
		switch l := layer.(type) {
		case *layers.Dot1Q:
			continue
		case *layers.ARP:
			is("ARP sender", l.SourceProtAddress)
			if header.MACFrom(l.SourceHwAddress) != mac {
				t.Fatalf("ARP sender %x: %x", l.SourceHwAddress, frame)
			}
		case *layers.IPv4:
			is("source", l.SrcIP)
			judgeIP(t, pkt, frame, mac, is)
		case *layers.IPv6:
			is("source", l.SrcIP)
			judgeIP(t, pkt, frame, mac, is)
		}
		return // what is inside IP speaks for itself
	}
}

// judgeIP looks for what only servers and routers send, and at neighbour discovery.
func judgeIP(t *testing.T, pkt gopacket.Packet, frame []byte, mac header.MAC, is func(string, []byte)) {
	t.Helper()
	tunnel := 0
	for _, layer := range pkt.Layers() {
		switch l := layer.(type) {
		case *layers.IPv4, *layers.IPv6:
			if tunnel++; tunnel > 1 {
				return
			}
		case *layers.UDP:
			if l.SrcPort == 67 || l.DstPort == 68 || l.SrcPort == 547 || l.DstPort == 546 {
				t.Fatalf("DHCP server: %x", frame)
			}
			return
		case *layers.ICMPv4:
			if typ := l.TypeCode.Type(); typ == 5 || typ == 9 {
				t.Fatalf("ICMP type %d: %x", typ, frame)
			}
			return
		case *layers.ICMPv6:
			if typ := l.TypeCode.Type(); typ == 134 || typ == 137 {
				t.Fatalf("ICMPv6 type %d: %x", typ, frame)
			}
		case *layers.ICMPv6NeighborSolicitation:
			judgeOptions(t, l.Options, frame, mac)
		case *layers.ICMPv6RouterSolicitation:
			judgeOptions(t, l.Options, frame, mac)
		case *layers.ICMPv6NeighborAdvertisement:
			is("advertised", l.TargetAddress)
			judgeOptions(t, l.Options, frame, mac)
		}
	}
}

func judgeOptions(t *testing.T, options layers.ICMPv6Options, frame []byte, mac header.MAC) {
	t.Helper()
	for _, o := range options {
		if o.Type <= layers.ICMPv6OptTargetAddress && (len(o.Data) < 6 || header.MACFrom(o.Data) != mac) {
			t.Fatalf("link-layer address %x: %x", o.Data, frame)
		}
	}
}

// FuzzFramePath sends any bytes with any virtio header from a port, or any
// datagram from the underlay, through the whole switch, guards and router
// included. The first byte says from where.
func FuzzFramePath(f *testing.F) {
	for _, s := range seeds() {
		for from := range byte(4) {
			f.Add(from, append(bytes.Clone(noHeader), s...))
		}
		f.Add(byte(0), append(bytes.Clone(gsoTCP), s...))
		f.Add(byte(1), append(bytes.Clone(gsoUDP), s...))
		f.Add(byte(4), append([]byte("\x20\x00\x65\x58\x00\x00\x00\x01"), s...))
		f.Add(byte(5), append([]byte("\x00\x00\x65\x58"), s...))
		f.Add(byte(4), append([]byte("\x20\x00\x08\x00\x00\x00\x00\x63"), s[header.EthernetLen:]...))
		f.Add(byte(5), append([]byte("\x00\x00\x86\xdd"), s[header.EthernetLen:]...))
		f.Add(byte(6), outer(addr2, addr1, append([]byte("\x20\x00\x65\x58\x00\x00\x00\x02"), s...)))
	}
	z := newFuzzed(outside{f})
	ports := []*station{z.guarded, z.free, z.open, z.b}
	f.Fuzz(func(t *testing.T, from byte, msg []byte) {
		if len(msg) > 1<<15 {
			return
		}
		var port *station
		switch from %= 7; {
		case int(from) < len(ports):
			port = ports[from]
			if len(msg) == 0 || port.TrySendRaw(msg) != nil {
				return
			}
		case from == 4:
			z.wire.Inject(outer(addr2, addr1, msg))
		case from == 5:
			z.wire.Inject(outer(addr3, addr1, msg))
		case len(msg) > 0 && msg[0]>>4 == 4:
			z.wire.Inject(msg)
		}
		z.step(port)
		z.check(t)
		for _, st := range ports {
			st.Drain()
		}
		z.sent()
	})
}

// TestGuardedSeeds makes sure that the seeds reach the guards.
func TestGuardedSeeds(t *testing.T) {
	z := newFuzzed(t)
	for _, s := range seeds() {
		z.guarded.Send(offload.Header{}, s)
		z.step(z.guarded)
	}
	z.check(t)
	drops := z.PortStats(z.guarded.id).Drops
	if drops[drop.L2Spoof] < 6 || drops[drop.NDBad] < 1 {
		t.Errorf("drops %v", drops)
	}
}
