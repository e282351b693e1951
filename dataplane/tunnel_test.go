package dataplane

import (
	"net/netip"
	"testing"
	"time"

	"weft/encap"
	"weft/encap/encaptest"
	"weft/fib"
	"weft/internal/drop"
	"weft/internal/header"
	"weft/internal/offload"
)

var (
	addr1 = netip.MustParseAddr("192.0.2.1")
	addr2 = netip.MustParseAddr("192.0.2.2")
	addr3 = netip.MustParseAddr("192.0.2.3")

	addr1v6 = netip.MustParseAddr("2001:db8::1")
	addr2v6 = netip.MustParseAddr("2001:db8::2")
	addr3v6 = netip.MustParseAddr("2001:db8::3")
)

// twoHosts joins two switches, each with a domain of key 7 that they share.
// keyless makes each a peer without key to the other.
func twoHosts(t *testing.T, keyless bool) (s1, s2 *Switch, d1, d2 DomainID) {
	t.Helper()
	u1, u2 := encaptest.Pair(t, addr1, addr2)
	s1, d1 = testSwitch(t, Config{Workers: 2, Underlay: u1})
	s2, d2 = testSwitch(t, Config{Workers: 2, Underlay: u2})
	setPeers(t, s1, d1, keyless, addr2)
	setPeers(t, s2, d2, keyless, addr1)
	return s1, s2, d1, d2
}

// setPeers gives the switch peers 1, 2, ... at addrs, which share the domain.
func setPeers(t *testing.T, s *Switch, d DomainID, keyless bool, addrs ...netip.Addr) {
	t.Helper()
	var peers []PeerConfig
	var ids []encap.PeerID
	for i, a := range addrs {
		p := PeerConfig{Peer: encap.Peer{ID: encap.PeerID(i + 1), Addr: a, Keyless: keyless}}
		if keyless {
			p.Domain = d
		}
		peers = append(peers, p)
		ids = append(ids, p.ID)
	}
	if err := s.SetPeers(peers); err != nil {
		t.Fatal(err)
	}
	if err := s.SetDomain(d, DomainConfig{MTU: 1450, Peers: ids}); err != nil {
		t.Fatal(err)
	}
}

func TestTwoHosts(t *testing.T) {
	for _, keyless := range []bool{false, true} {
		t.Run(map[bool]string{false: "keyed", true: "keyless"}[keyless], func(t *testing.T) {
			s1, s2, d1, d2 := twoHosts(t, keyless)
			a, b := attach(t, s1, d1, 1), attach(t, s2, d2, 2)

			f := testFrame(b.mac, a.mac, 1450) // unknown here: floods to the peer
			a.Send(offload.Header{}, f)
			b.want(t, f)
			if got := s2.FDB(d2).Lookup(a.mac); got != fib.PeerDest(1) {
				t.Errorf("host 2 has a at %v, want peer 1", got)
			}
			reply := testFrame(a.mac, b.mac, 46)
			b.Send(offload.Header{}, reply)
			a.want(t, reply)
			wantBalance(t, s1)
			wantBalance(t, s2)
			if got := s1.PeerStats(1); got.TxFrames != 1 || got.RxFrames != 1 || got.Heard == 0 {
				t.Errorf("peer: %+v", got)
			}
		})
	}
}

// TestSplitHorizon has three hosts in a full mesh: a broadcast reaches every
// port once, and no host passes on what came from a peer (B06).
func TestSplitHorizon(t *testing.T) {
	u1, w1 := encaptest.New(t, addr1)
	u2, w2 := encaptest.New(t, addr2)
	u3, w3 := encaptest.New(t, addr3)
	encaptest.Join(t, w1, w2, w3)
	s1, d1 := testSwitch(t, Config{Workers: 1, Underlay: u1})
	s2, d2 := testSwitch(t, Config{Workers: 1, Underlay: u2})
	s3, d3 := testSwitch(t, Config{Workers: 1, Underlay: u3})
	setPeers(t, s1, d1, false, addr2, addr3)
	setPeers(t, s2, d2, false, addr1, addr3)
	setPeers(t, s3, d3, false, addr1, addr2)
	a, b, c := attach(t, s1, d1, 1), attach(t, s2, d2, 2), attach(t, s3, d3, 3)

	all := testFrame(header.Broadcast, a.mac, 46)
	a.Send(offload.Header{}, all)
	b.want(t, all)
	c.want(t, all)
	for _, st := range []*station{a, b, c} {
		st.wantNone(t)
	}
	for _, s := range []*Switch{s1, s2, s3} {
		wantBalance(t, s)
	}
	if got := framesAtRest(s1).Copies; got != 2 {
		t.Errorf("host 1 made %d copies, want 2", got)
	}
	if got := framesAtRest(s2); got.In != 1 || got.Copies != 1 {
		t.Errorf("host 2: %+v, want one frame in and one copy", got)
	}
}

// TestMixedUnderlay floods to a peer over IPv4 and to one over IPv6, and hears both.
func TestMixedUnderlay(t *testing.T) {
	u1, w1 := encaptest.New(t, addr1, addr1v6)
	u2, w2 := encaptest.New(t, addr2)
	u3, w3 := encaptest.New(t, addr3v6)
	encaptest.Join(t, w1, w2, w3)
	s1, d1 := testSwitch(t, Config{Workers: 1, Underlay: u1})
	s2, d2 := testSwitch(t, Config{Workers: 1, Underlay: u2})
	s3, d3 := testSwitch(t, Config{Workers: 1, Underlay: u3})
	setPeers(t, s1, d1, false, addr2, addr3v6)
	setPeers(t, s2, d2, false, addr1)
	setPeers(t, s3, d3, false, addr1v6)
	a, b, c := attach(t, s1, d1, 1), attach(t, s2, d2, 2), attach(t, s3, d3, 3)

	all := testFrame(0xffff_ffff_ffff, a.mac, 100)
	a.Send(offload.Header{}, all)
	b.want(t, all)
	c.want(t, all)
	for i, st := range []*station{b, c} {
		f := testFrame(a.mac, st.mac, 46+i)
		st.Send(offload.Header{}, f)
		a.want(t, f)
		if got := s1.FDB(d1).Lookup(st.mac); got != fib.PeerDest(uint16(i+1)) {
			t.Errorf("station %d is at %v, want peer %d", i+2, got, i+1)
		}
	}
	w1.Inject(outer(addr2v6, addr1v6, []byte("\x20\x00\x65\x58\x00\x00\x00\x07")))
	for end := time.Now().Add(patience); s1.OtherDrops()[drop.GREPeer] == 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if got := s1.OtherDrops()[drop.GREPeer]; got != 1 {
		t.Errorf("stranger over IPv6 counted %d times, want 1", got)
	}
	for _, s := range []*Switch{s1, s2, s3} {
		wantBalance(t, s)
	}
}

// TestDemultiplex injects GRE datagrams that must not enter, each counted at the
// peer for its reason, or as a stranger's.
func TestDemultiplex(t *testing.T) {
	u, wire := encaptest.New(t, addr1)
	s, d := testSwitch(t, Config{Workers: 1, Underlay: u})
	setPeers(t, s, d, false, addr2)
	unshared, err := s.AddDomain(DomainConfig{Key: 8, MTU: 1450})
	if err != nil {
		t.Fatal(err)
	}
	a, other := attach(t, s, d, 1), attach(t, s, unshared, 1)
	const src header.MAC = 0x0200_0000_0099
	good := testFrame(a.mac, src, 46)

	tests := []struct {
		name string
		gre  string // header bytes
		body []byte
		want drop.Reason
	}{
		{"G02 known key", "\x20\x00\x65\x58\x00\x00\x00\x07", good, drop.None},
		{"G03 unknown key", "\x20\x00\x65\x58\x00\x00\x00\x09", good, drop.GREKey},
		{"key of a network that is not shared", "\x20\x00\x65\x58\x00\x00\x00\x08", good, drop.GREKey},
		{"G04 no key", "\x00\x00\x65\x58", good, drop.GREKey},
		{"G32 IPv4", "\x20\x00\x08\x00\x00\x00\x00\x07", packet4("10.1.0.2", "10.2.0.2", 64, 253, make([]byte, 40))[header.EthernetLen:], drop.GREProto},
		{"G25 version 1", "\x30\x01\x88\x0b\x00\x00\x00\x07", good, drop.GREVersion},
		{"G29 runt", "\x20\x00\x65\x58\x00\x00\x00\x07", good[:13], drop.InnerRunt},
		{"G42 multicast source", "\x20\x00\x65\x58\x00\x00\x00\x07", testFrame(a.mac, 0x0100_0000_0001, 46), drop.InnerSourceMAC},
		{"G42 zero source", "\x20\x00\x65\x58\x00\x00\x00\x07", testFrame(a.mac, 0, 46), drop.InnerSourceMAC},
		{"G43 reserved", "\x20\x00\x65\x58\x00\x00\x00\x07", testFrame(0x0180_c200_0002, src, 46), drop.L2LinkLocal},
		{"G44 too big", "\x20\x00\x65\x58\x00\x00\x00\x07", testFrame(a.mac, src, 3000), drop.InnerBig},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := s.Drops()[tt.want]
			wire.Inject(outer(addr2, addr1, append([]byte(tt.gre), tt.body...)))
			if tt.want == drop.None {
				a.want(t, tt.body)
				return
			}
			for end := time.Now().Add(patience); s.Drops()[tt.want] == before && time.Now().Before(end); {
				time.Sleep(time.Millisecond)
			}
			if got := s.Drops()[tt.want] - before; got != 1 {
				t.Errorf("%v counted %d times, want 1", tt.want, got)
			}
		})
	}
	wire.Inject(outer(addr3, addr1, append([]byte("\x20\x00\x65\x58\x00\x00\x00\x07"), good...)))
	for end := time.Now().Add(patience); s.OtherDrops()[drop.GREPeer] == 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if got := s.OtherDrops()[drop.GREPeer]; got != 1 {
		t.Errorf("G35 stranger counted %d times, want 1", got)
	}
	a.wantNone(t)
	other.wantNone(t)
	wantBalance(t, s)
}

// outer returns an IP datagram of protocol 47.
func outer(src, dst netip.Addr, payload []byte) []byte {
	if src.Is6() {
		b := append(make([]byte, header.IPv6Len), payload...)
		header.IPv6Fields{PayloadLength: len(payload), NextHeader: header.ProtoGRE, HopLimit: 64, Src: src, Dst: dst}.Put(b)
		return b
	}
	b := make([]byte, header.IPv4Len+len(payload))
	b[0], b[2], b[3], b[8], b[9] = 0x45, byte(len(b)>>8), byte(len(b)), 64, header.ProtoGRE
	copy(b[12:], src.AsSlice())
	copy(b[16:], dst.AsSlice())
	copy(b[header.IPv4Len:], payload)
	return b
}

// TestPeerRemoved forgets what was learned from a peer that goes.
func TestPeerRemoved(t *testing.T) {
	s1, s2, d1, d2 := twoHosts(t, false)
	a, b := attach(t, s1, d1, 1), attach(t, s2, d2, 2)
	f := testFrame(header.Broadcast, b.mac, 46)
	b.Send(offload.Header{}, f)
	a.want(t, f)
	if got := s1.FDB(d1).Lookup(b.mac); got != fib.PeerDest(1) {
		t.Fatalf("b is at %v, want peer 1", got)
	}
	if err := s1.SetPeers(nil); err != nil {
		t.Fatal(err)
	}
	if got := s1.FDB(d1).Lookup(b.mac); got != 0 {
		t.Errorf("b is still at %v", got)
	}
	a.Send(offload.Header{}, testFrame(b.mac, a.mac, 46))
	wantDrops(t, s1, a.id, drop.L2NoPort, 1)
	b.wantNone(t)
	wantBalance(t, s1)
}

// TestDomainUnshared forgets what was learned from a peer that no longer shares
// the network, and hears it no more.
func TestDomainUnshared(t *testing.T) {
	s1, s2, d1, d2 := twoHosts(t, false)
	a, b := attach(t, s1, d1, 1), attach(t, s2, d2, 2)
	f := testFrame(header.Broadcast, b.mac, 46)
	b.Send(offload.Header{}, f)
	a.want(t, f)
	if err := s1.SetDomain(d1, DomainConfig{MTU: 1450}); err != nil {
		t.Fatal(err)
	}
	if got := s1.FDB(d1).Lookup(b.mac); got != 0 {
		t.Errorf("b is still at %v", got)
	}
	b.Send(offload.Header{}, f)
	for end := time.Now().Add(patience); s1.PeerStats(1).Drops[drop.GREKey] == 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if got := s1.PeerStats(1).Drops[drop.GREKey]; got != 1 {
		t.Errorf("%d frames dropped for their key, want 1", got)
	}
	a.wantNone(t)
}

// TestDecapECN holds C02 to C04 of RFC 6040 on the way through the switch; the
// table of all cases is in encap.
func TestDecapECN(t *testing.T) {
	u, wire := encaptest.New(t, addr1)
	s, d := testSwitch(t, Config{Workers: 1, Underlay: u})
	setPeers(t, s, d, false, addr2)
	a := attach(t, s, d, 1)
	inner := func(ecn uint8) []byte {
		f := packet4("10.1.0.9", "10.1.0.2", 64, 253, make([]byte, 40))
		header.PutEthernet(f, a.mac, 0x0200_0000_0099, header.TypeIPv4)
		header.IPv4(f[header.EthernetLen:]).SetTOS(ecn)
		return f
	}
	inject := func(tos, ecn uint8) {
		b := outer(addr2, addr1, append([]byte("\x20\x00\x65\x58\x00\x00\x00\x07"), inner(ecn)...))
		header.IPv4(b).SetTOS(tos)
		wire.Inject(b)
	}
	inject(header.ECNCE, header.ECNNot)
	inject(header.ECNCE, header.ECNECT0)
	a.want(t, inner(header.ECNCE))
	inject(header.ECNECT1, header.ECNECT0)
	a.want(t, inner(header.ECNECT1))
	inject(header.ECNNot, header.ECNECT0)
	a.want(t, inner(header.ECNECT0))
	if got := s.PeerStats(1).Drops[drop.ECNCE]; got != 1 {
		t.Errorf("%d frames dropped for congestion, want 1", got)
	}
	wantBalance(t, s)
}
