package dataplane

import (
	"bytes"
	"net/netip"
	"testing"

	"weft/internal/drop"
	"weft/internal/header"
	"weft/internal/offload"
	"weft/tap"
	"weft/tap/taptest"
)

const linkMAC = header.MAC(0x02_aa_00_00_00_01)

// outlet is an uplink under test, with the LAN and the host behind it.
type outlet struct {
	id        PortID
	link      *tap.Uplink
	lan, host *station
}

func addUplink(t testing.TB, s *Switch, d DomainID, vlan int) *outlet {
	t.Helper()
	u, lan, host := taptest.NewUplink(t, vlan)
	id, err := s.AddUplink(UplinkConfig{Uplink: u, Domain: d, MAC: linkMAC, MTU: 1500})
	if err != nil {
		t.Fatal(err)
	}
	return &outlet{id: id, link: u, lan: &station{Container: lan, id: id}, host: &station{Container: host, id: s.HostSide(id), mac: linkMAC}}
}

// quietAll makes sure that nothing arrives at any of them.
func quietAll(t *testing.T, all ...*station) {
	t.Helper()
	for _, st := range all {
		st.wantNone(t)
	}
}

const lanMAC = header.MAC(0x06_00_00_00_00_31)

func TestUplinkForwards(t *testing.T) {
	s, d := testSwitch(t, Config{Workers: 1})
	a, b := attach(t, s, d, 1), attach(t, s, d, 2)
	up := addUplink(t, s, d, 0)

	f := testFrame(header.Broadcast, a.mac, 100)
	a.Send(offload.Header{}, f)
	for _, st := range []*station{b, up.lan, up.host} {
		st.want(t, f)
	}
	f = testFrame(header.Broadcast, lanMAC, 100)
	up.lan.Send(offload.Header{}, f)
	a.want(t, f)
	b.want(t, f)
	quietAll(t, up.host, up.lan) // the host has it already

	f = testFrame(lanMAC, a.mac, 100) // learned
	a.Send(offload.Header{}, f)
	up.lan.want(t, f)
	f = testFrame(linkMAC, a.mac, 100)
	a.Send(offload.Header{}, f)
	up.host.want(t, f)
	f = testFrame(a.mac, lanMAC, 1480)
	up.lan.Send(offload.Header{}, f[:1464])
	a.want(t, f[:1464])
	quietAll(t, b, up.lan, up.host)

	for _, tt := range []struct {
		name     string
		dst, src header.MAC
		reason   drop.Reason
	}{
		{"to another machine of the LAN", lanMAC, lanMAC + 1, drop.L2Self},
		{"to the host", linkMAC, lanMAC, drop.L2Self},
		{"a container's own, come back", header.Broadcast, a.mac, drop.L2Self},
		{"the host's own, come back", header.Broadcast, linkMAC, drop.L2Self},
		{"from a group", a.mac, header.Broadcast, drop.L2SourceMAC},
	} {
		before := s.PortStats(up.id).Drops[tt.reason]
		up.lan.Send(offload.Header{}, testFrame(tt.dst, tt.src, 50))
		wantDrops(t, s, up.id, tt.reason, before+1)
		quietAll(t, a, b, up.lan, up.host)
	}
	before := s.PortStats(up.id).Drops[drop.TapShort]
	if err := up.lan.TrySendRaw(make([]byte, 12)); err != nil {
		t.Fatal(err)
	}
	wantDrops(t, s, up.id, drop.TapShort, before+1)
	wantBalance(t, s)
}

// A frame that a station behind a container sent comes back from the LAN while
// its own is fresh: the station does not move. Later it does.
func TestUplinkEcho(t *testing.T) {
	s, w, d := still(t, Config{})
	a := attach(t, s, d, 1, allowSpoof)
	up := addUplink(t, s, d, 0)
	const inside = header.MAC(0x06_00_00_00_00_77)
	a.Send(offload.Header{}, testFrame(header.Broadcast, inside, 50))
	w.batch(a.id)
	at := s.FDB(d).Lookup(inside)
	up.lan.Send(offload.Header{}, testFrame(header.Broadcast, inside, 50))
	w.uplinkBatch(up.id)
	if got := s.FDB(d).Lookup(inside); got != at || s.PortStats(up.id).Drops[drop.L2Self] != 1 {
		t.Errorf("moved by its echo to %v, drops %v", got, s.PortStats(up.id).Drops)
	}
	s.second.Store(s.second.Load() + 2)
	up.lan.Send(offload.Header{}, testFrame(header.Broadcast, inside, 50))
	w.uplinkBatch(up.id)
	if got := s.FDB(d).Lookup(inside); PortID(got.ID()) != up.id {
		t.Errorf("did not move to the LAN: %v", got)
	}
}

// The LAN sees nothing of the gateway: no answer, no frame from its address.
func TestUplinkShowsNoGateway(t *testing.T) {
	s, d := testSwitch(t, Config{Workers: 1, HostMAC: 0x02_99_00_00_00_01})
	gw4, gw6 := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")
	if err := s.AddVRF(7); err != nil {
		t.Fatal(err)
	}
	err := s.SetDomain(d, DomainConfig{Key: 7, MTU: 1450, VRF: 7, Gateways: []netip.Addr{gw4, gw6},
		Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("fd00::/64")}})
	if err != nil {
		t.Fatal(err)
	}
	a := attach(t, s, d, 1)
	up := addUplink(t, s, d, 0)
	for name, f := range map[string][]byte{
		"ARP":      header.AddressProbe(lanMAC, gw4),
		"ND":       header.AddressProbe(lanMAC, gw6),
		"claimed":  header.GratuitousARP(lanMAC, gw4),
		"its MAC":  testFrame(gatewayMAC(7), lanMAC, 50),
		"from its": testFrame(header.Broadcast, gatewayMAC(7), 50),
	} {
		up.lan.Send(offload.Header{}, f)
		if _, got := up.lan.Recv(quiet); got != nil {
			t.Errorf("%s: the LAN got %x", name, got)
		}
	}
	a.Drain()
	request := make([]byte, header.EthernetLen+header.ARPLen)
	header.PutEthernet(request, header.Broadcast, a.mac, header.TypeARP)
	header.ARPFields{Op: header.ARPRequest, SenderMAC: a.mac, SenderAddr: netip.MustParseAddr("10.0.0.5"), TargetAddr: gw4}.Put(request[header.EthernetLen:])
	a.Send(offload.Header{}, request)
	if _, got := a.Recv(patience); got == nil || header.Ethernet(got).Src() != gatewayMAC(7) {
		t.Errorf("a container is answered by %x", got)
	}
	quietAll(t, up.lan, up.host)
	a.Send(offload.Header{}, header.GratuitousARP(a.mac, gw4)) // which is defended, to containers
	if _, got := a.Recv(patience); got == nil || header.Ethernet(got).Src() != gatewayMAC(7) {
		t.Errorf("a container that claims the gateway's address hears %x", got)
	}
	quietAll(t, up.lan, up.host)
	wantBalance(t, s)
}

// With a VLAN frames have its tag on the link and none in the switch.
func TestUplinkVLAN(t *testing.T) {
	s, d := testSwitch(t, Config{Workers: 1})
	a := attach(t, s, d, 1)
	up := addUplink(t, s, d, 5)
	f := testFrame(header.Broadcast, a.mac, 100)
	a.Send(offload.Header{}, f)
	up.host.want(t, f)
	_, got := up.lan.Recv(patience)
	if len(got) != len(f)+4 || header.Ethernet(got).Type() != header.TypeVLAN || got[15] != 5 || !bytes.Equal(got[18:], f[14:]) {
		t.Fatalf("by the link went %x", got[:min(len(got), 20)])
	}
	back := bytes.Clone(got)
	header.PutEthernet(back, a.mac, lanMAC, header.TypeVLAN)
	up.lan.Send(offload.Header{}, back)
	a.want(t, testFrame(a.mac, lanMAC, 100))
	wantBalance(t, s)
}

// An uplink that is removed takes its host side and what was learned with it.
func TestRemoveUplink(t *testing.T) {
	s, d := testSwitch(t, Config{Workers: 1})
	a := attach(t, s, d, 1)
	up := addUplink(t, s, d, 0)
	up.lan.Send(offload.Header{}, testFrame(a.mac, lanMAC, 50))
	a.want(t, testFrame(a.mac, lanMAC, 50))
	if err := s.RemovePort(up.id); err != nil {
		t.Fatal(err)
	}
	if n := s.FDB(d).Len(); n != 1 {
		t.Errorf("%d entries are left, want that of the container", n)
	}
	if err := s.RemovePort(a.id); err != nil {
		t.Fatal(err)
	}
	if err := s.RemoveDomain(d); err != nil {
		t.Error(err)
	}
	wantBalance(t, s)
}

// uplinkBatch takes one batch from an uplink, as run does.
func (w *worker) uplinkBatch(id PortID) {
	w.snap = w.sw.snapshot.Load()
	w.now = w.sw.second.Load()
	w.drainUplink(w.snap.port(id))
	w.balance()
}

func TestUplinkNoAllocs(t *testing.T) {
	for _, vlan := range []int{0, 5} {
		s, w, d := still(t, Config{})
		a := attach(t, s, d, 1)
		up := addUplink(t, s, d, vlan)
		drain := make([]byte, frameSpace)
		toLAN, toHost, all := testFrame(lanMAC, a.mac, 1000), testFrame(linkMAC, a.mac, 1000), testFrame(header.Broadcast, a.mac, 100)
		in, inAll := testFrame(a.mac, lanMAC, 1000), testFrame(header.Broadcast, lanMAC, 100)
		message := func(f []byte) []byte { return append(make([]byte, offload.HeaderLen), f...) }
		out, back := [][]byte{message(toLAN), message(toHost), message(all)}, [][]byte{message(in), message(inAll)}
		if n := testing.AllocsPerRun(100, func() {
			for _, m := range out {
				if err := a.TrySendRaw(m); err != nil {
					t.Fatal(err)
				}
			}
			w.batch(a.id)
			for _, m := range back {
				if err := up.lan.TrySendRaw(m); err != nil {
					t.Fatal(err)
				}
			}
			w.uplinkBatch(up.id)
			for _, st := range []*station{a, up.lan, up.host} {
				for st.TryRecvRaw(drain) > 0 {
				}
			}
		}); n != 0 {
			t.Errorf("VLAN %d: %v allocations, want 0", vlan, n)
		}
	}
}

func TestIsolatedPorts(t *testing.T) {
	s, d := testSwitch(t, Config{Workers: 1})
	isolated := func(c *PortConfig) { c.Isolated = true }
	a, b, c := attach(t, s, d, 1, isolated), attach(t, s, d, 2, isolated), attach(t, s, d, 3)
	up := addUplink(t, s, d, 0)
	f := testFrame(header.Broadcast, a.mac, 50)
	a.Send(offload.Header{}, f)
	for _, st := range []*station{c, up.lan, up.host} {
		st.want(t, f)
	}
	b.wantNone(t)
	a.Send(offload.Header{}, testFrame(b.mac, a.mac, 50))
	wantDrops(t, s, a.id, drop.L2Isolated, 1)
	b.wantNone(t)
	f = testFrame(b.mac, c.mac, 50)
	c.Send(offload.Header{}, f)
	b.want(t, f)
	wantBalance(t, s)
}
