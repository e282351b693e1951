package dataplane

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"weft/fib"
	"weft/internal/drop"
	"weft/internal/header"
	"weft/internal/offload"
)

const (
	testVRF     = 99
	testHostMAC = header.MAC(0x0200_0000_aaaa)
)

// routed is a switch with two networks, 10.1.0.0/24 and 10.2.0.0/24 with their
// IPv6 counterparts, in one vrf, and a container in each.
type routed struct {
	*Switch
	a, b   *station
	d1, d2 DomainID
}

func addrs(s ...string) (out []netip.Addr) {
	for _, a := range s {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

func newRouted(t testing.TB, cfg Config) *routed {
	t.Helper()
	cfg.HostMAC = testHostMAC
	if cfg.Workers == 0 {
		cfg.Workers = 1
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if err := s.AddVRF(testVRF); err != nil {
		t.Fatal(err)
	}
	r := &routed{Switch: s}
	for i, d := range []*DomainID{&r.d1, &r.d2} {
		v4, v6 := fmt.Sprintf("10.%d.0", i+1), fmt.Sprintf("fd00:%d::", i+1)
		p4, p6 := netip.MustParsePrefix(v4+".0/24"), netip.MustParsePrefix(v6+"/64")
		if *d, err = s.AddDomain(DomainConfig{
			Key: uint32(i + 1), MTU: 1450, VRF: testVRF,
			Prefixes: []netip.Prefix{p4, p6}, Gateways: addrs(v4+".1", v6+"1"),
		}); err != nil {
			t.Fatal(err)
		}
		s.Routes(testVRF).Insert(p4, fib.NextHop{Kind: fib.HopConnected, Domain: uint16(*d)})
		s.Routes(testVRF).Insert(p6, fib.NextHop{Kind: fib.HopConnected, Domain: uint16(*d)})
	}
	r.a = attach(t, s, r.d1, 1, func(c *PortConfig) { c.Addrs = addrs("10.1.0.2", "fd00:1::2") })
	r.b = attach(t, s, r.d2, 2, func(c *PortConfig) { c.Addrs = addrs("10.2.0.2", "fd00:2::2") })
	return r
}

// packet4 is a frame to the gateway of 10.1.0.0/24.
func packet4(src, dst string, ttl uint8, proto uint8, payload []byte, change ...func(header.IPv4)) []byte {
	b := make([]byte, header.EthernetLen+header.IPv4Len+len(payload))
	header.PutEthernet(b, gatewayMAC(1), 0x0200_0000_0001, header.TypeIPv4)
	p := header.IPv4(b[header.EthernetLen:])
	header.IPv4Fields{
		Length: len(p), ID: 7, TTL: ttl, Protocol: proto, Src: netip.MustParseAddr(src), Dst: netip.MustParseAddr(dst),
	}.Put(p)
	copy(p[header.IPv4Len:], payload)
	for _, f := range change {
		f(p)
		binary.BigEndian.PutUint16(p[10:], 0)
		binary.BigEndian.PutUint16(p[10:], ^header.Fold(header.Sum(p[:p.HeaderLen()])))
	}
	return b
}

// packet6 is the same in IPv6.
func packet6(src, dst string, hops uint8, proto uint8, payload []byte) []byte {
	b := make([]byte, header.EthernetLen+header.IPv6Len+len(payload))
	header.PutEthernet(b, gatewayMAC(1), 0x0200_0000_0001, header.TypeIPv6)
	p := b[header.EthernetLen:]
	header.IPv6Fields{
		PayloadLength: len(payload), NextHeader: proto, HopLimit: hops, Src: netip.MustParseAddr(src), Dst: netip.MustParseAddr(dst),
	}.Put(p)
	copy(p[header.IPv6Len:], payload)
	return b
}

func TestRoute(t *testing.T) {
	r := newRouted(t, Config{})
	body := bytes.Repeat([]byte("x"), 28)
	const exp = 253 // experimental protocol (RFC 3692)

	r.a.Send(offload.Header{}, append(packet4("10.1.0.2", "10.2.0.2", 64, exp, body), 1, 2, 3)) // R05: padding
	_, got := r.b.Recv(patience)
	want := packet4("10.1.0.2", "10.2.0.2", 63, exp, body)
	header.PutEthernet(want, r.b.mac, gatewayMAC(2), header.TypeIPv4)
	if !bytes.Equal(got, want) {
		t.Errorf("R01: got %x\nwant %x", got, want)
	}
	r.a.Send(offload.Header{}, packet6("fd00:1::2", "fd00:2::2", 64, exp, body))
	_, got = r.b.Recv(patience)
	want = packet6("fd00:1::2", "fd00:2::2", 63, exp, body)
	header.PutEthernet(want, r.b.mac, gatewayMAC(2), header.TypeIPv6)
	if !bytes.Equal(got, want) {
		t.Errorf("IPv6: got %x\nwant %x", got, want)
	}
	wantBalance(t, r.Switch)
}

// TestRouteVerdicts is conformance 2.8 in rows: what the router drops, and what
// it tells the sender.
func TestRouteVerdicts(t *testing.T) {
	r := newRouted(t, Config{})
	body := bytes.Repeat([]byte("x"), 28)
	const exp = 253
	ip := func(src, dst string, ttl uint8, change ...func(header.IPv4)) []byte {
		return packet4(src, dst, ttl, exp, body, change...)
	}
	options := func(o ...byte) []byte {
		return packet4("10.1.0.2", "10.2.0.2", 64, exp, append(o, body...), func(p header.IPv4) { p[0] = 0x40 | byte(5+len(o)/4) })
	}
	badSum := ip("10.1.0.2", "10.2.0.2", 64)
	badSum[header.EthernetLen+10] ^= 1
	tests := []struct {
		name  string
		frame []byte
		drop  drop.Reason
		icmp  [2]uint8 // type and code; zero: silence
	}{
		{"R02 TTL 1", ip("10.1.0.2", "10.2.0.2", 1), drop.L3TTL, [2]uint8{11, 0}},
		{"R02 TTL 0", ip("10.1.0.2", "10.2.0.2", 0), drop.L3TTL, [2]uint8{11, 0}},
		{"R04 checksum", badSum, drop.L3Checksum, [2]uint8{}},
		{"R04 version 5", ip("10.1.0.2", "10.2.0.2", 64, func(p header.IPv4) { p[0] = 0x55 }), drop.L3Header, [2]uint8{}},
		{"R04 total length beyond the frame", ip("10.1.0.2", "10.2.0.2", 64, func(p header.IPv4) { p[3] = 200 }), drop.L3Header, [2]uint8{}},
		{"R04 total length 19", ip("10.1.0.2", "10.2.0.2", 64, func(p header.IPv4) { p[3] = 19 }), drop.L3Header, [2]uint8{}},
		{"R06 source 0.0.0.0", ip("0.0.0.0", "10.2.0.2", 64), drop.L3Source, [2]uint8{}},
		{"R06 source loopback", ip("127.0.0.1", "10.2.0.2", 64), drop.L3Source, [2]uint8{}},
		{"R06 source multicast", ip("224.1.1.1", "10.2.0.2", 64), drop.L3Source, [2]uint8{}},
		{"R06 own source", ip("10.1.0.1", "10.2.0.2", 64), drop.L3Source, [2]uint8{}},
		{"R07 source 240.0.0.1", ip("240.0.0.1", "10.2.0.2", 64), drop.L3Source, [2]uint8{}},
		{"R08 reverse path", ip("10.2.0.9", "10.2.0.2", 64), drop.L3Source, [2]uint8{}},
		{"R08 no way back", ip("203.0.113.1", "10.2.0.2", 64), drop.L3Source, [2]uint8{}},
		{"R09 loopback", ip("10.1.0.2", "127.0.0.1", 64), drop.L3Dest, [2]uint8{}},
		{"R09 0.0.0.0", ip("10.1.0.2", "0.0.0.0", 64), drop.L3Dest, [2]uint8{}},
		{"R09 limited broadcast", ip("10.1.0.2", "255.255.255.255", 64), drop.L3Dest, [2]uint8{}},
		{"R10 no route", ip("10.1.0.2", "203.0.113.1", 64), drop.L3NoRoute, [2]uint8{3, 0}},
		{"R10 class E", ip("10.1.0.2", "240.0.0.1", 64), drop.L3NoRoute, [2]uint8{3, 0}},
		{"R12 directed broadcast", ip("10.1.0.2", "10.2.0.255", 64), drop.L3Dest, [2]uint8{}},
		{"R12 network address", ip("10.1.0.2", "10.2.0.0", 64), drop.L3Dest, [2]uint8{}},
		{"R14 multicast", ip("10.1.0.2", "239.1.2.3", 64), drop.L3Dest, [2]uint8{}},
		{"R19 source route", options(131, 7, 4, 10, 2, 0, 2, 0), drop.L3Options, [2]uint8{}},
		{"R20 bad option", options(7, 60, 4, 0), drop.L3Options, [2]uint8{12, 0}},
		{"R23 about an error", packet4("10.1.0.2", "10.2.0.2", 1, 1, []byte{3, 1, 0, 0, 0, 0, 0, 0}), drop.L3TTL, [2]uint8{}},
		{"R23 later fragment", ip("10.1.0.2", "10.2.0.2", 1, func(p header.IPv4) { p[7] = 9 }), drop.L3TTL, [2]uint8{}},
		{"R24 echo with TTL 1", packet4("10.1.0.2", "10.2.0.2", 1, 1, []byte{8, 0, 0xf7, 0xff, 0, 0, 0, 0}), drop.L3TTL, [2]uint8{11, 0}},
		{"R27 unknown protocol", packet4("10.1.0.2", "10.1.0.1", 64, exp, body), drop.L3Dest, [2]uint8{3, 2}},
		{"R27 closed UDP port", packet4("10.1.0.2", "10.2.0.1", 1, 17, body), drop.L3Dest, [2]uint8{3, 3}},
		{"S01 hop limit 1", packet6("fd00:1::2", "fd00:2::2", 1, exp, body), drop.L3TTL, [2]uint8{3, 0}},
		{"S03 no route", packet6("fd00:1::2", "2001:db8::1", 64, exp, body), drop.L3NoRoute, [2]uint8{1, 0}},
		{"S04 multicast source", packet6("ff02::5", "fd00:2::2", 64, exp, body), drop.L3Source, [2]uint8{}},
		{"S04 loopback source", packet6("::1", "fd00:2::2", 64, exp, body), drop.L3Source, [2]uint8{}},
		{"S04 link-local source", packet6("fe80::ff:fe00:1", "fd00:2::2", 64, exp, body), drop.L3Source, [2]uint8{1, 2}},
		{"S05 loopback", packet6("fd00:1::2", "::1", 64, exp, body), drop.L3Dest, [2]uint8{}},
		{"S15 link-local", packet6("fd00:1::2", "fe80::9", 64, exp, body), drop.L3Dest, [2]uint8{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r.second.Add(10) // the senders' buckets are full again
			before := r.PortStats(r.a.id).Drops[tt.drop]
			r.a.Send(offload.Header{}, tt.frame)
			wantDrops(t, r.Switch, r.a.id, tt.drop, before+1)
			wait := quiet
			if tt.icmp[0] != 0 {
				wait = patience
			}
			_, got := r.a.Recv(wait)
			if tt.icmp[0] == 0 {
				if got != nil {
					t.Errorf("answered by %x", got)
				}
				return
			}
			checkError(t, got, tt.frame, tt.icmp)
		})
	}
	r.b.wantNone(t)
	wantBalance(t, r.Switch)
}

// checkError holds an ICMP error to the packet that it is about.
func checkError(t *testing.T, got, about []byte, icmp [2]uint8) {
	t.Helper()
	if got == nil {
		t.Fatal("no ICMP error came")
	}
	eth := header.Ethernet(got)
	if eth.Src() != gatewayMAC(1) || eth.Dst() != header.Ethernet(about).Src() {
		t.Errorf("error goes from %v to %v", eth.Src(), eth.Dst())
	}
	var m, quote []byte
	if eth.Type() == header.TypeIPv4 {
		p, ok := header.ParseIPv4(got[header.EthernetLen:])
		if !ok || !p.ChecksumOK() || p.TOS() != 0xc0 || p.TTL() != 64 {
			t.Fatalf("bad packet %x", got)
		}
		if want := "10.1.0.1"; p.SrcAddr().String() != want {
			t.Errorf("error comes from %v, want %v", p.SrcAddr(), want)
		}
		m = p.Payload()
		if header.Fold(header.Sum(m)) != 0xffff {
			t.Error("bad ICMP checksum")
		}
	} else {
		p, ok := header.ParseIPv6(got[header.EthernetLen:])
		if !ok || p.SrcAddr().String() != "fd00:1::1" {
			t.Fatalf("bad packet %x", got)
		}
		m = p[header.IPv6Len:]
		if !header.ICMPv6(m).ChecksumOK(p) {
			t.Error("bad ICMP checksum")
		}
	}
	if m[0] != icmp[0] || m[1] != icmp[1] {
		t.Errorf("error %d/%d, want %d/%d", m[0], m[1], icmp[0], icmp[1])
	}
	quote = m[header.ICMPLen:]
	if !bytes.HasPrefix(about[header.EthernetLen:], quote[:min(len(quote), len(about)-header.EthernetLen)]) {
		t.Errorf("quotes %x", quote)
	}
}

// TestGatewayAnswers is conformance 2.7: ARP, ND and echo for the gateway, and
// for attached addresses.
func TestGatewayAnswers(t *testing.T) {
	r := newRouted(t, Config{})
	c := attach(t, r.Switch, r.d1, 3, func(c *PortConfig) { c.Addrs = addrs("10.1.0.3", "fd00:1::3") })
	ask := func(sender, target string) []byte {
		b := make([]byte, header.EthernetLen+header.ARPLen)
		header.PutEthernet(b, header.Broadcast, r.a.mac, header.TypeARP)
		header.ARPFields{
			Op: header.ARPRequest, SenderMAC: r.a.mac, SenderAddr: netip.MustParseAddr(sender), TargetAddr: netip.MustParseAddr(target),
		}.Put(b[header.EthernetLen:])
		return b
	}
	for _, tt := range []struct {
		name, sender, target string
		mac                  header.MAC
	}{
		{"A01 gateway", "10.1.0.2", "10.1.0.1", gatewayMAC(1)},
		{"A03 probe for the gateway", "0.0.0.0", "10.1.0.1", gatewayMAC(1)},
		{"A10 attached", "10.1.0.2", "10.1.0.3", c.mac},
		{"A03 probe for an attached address", "0.0.0.0", "10.1.0.3", c.mac},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r.a.Send(offload.Header{}, ask(tt.sender, tt.target))
			_, got := r.a.Recv(patience)
			if got == nil {
				t.Fatal("no reply")
			}
			a, ok := header.ParseARP(got[header.EthernetLen:])
			if !ok || a.Op() != header.ARPReply || a.SenderMAC() != tt.mac || a.SenderAddr().String() != tt.target {
				t.Errorf("reply %x", got)
			}
			if eth := header.Ethernet(got); eth.Src() != tt.mac || eth.Dst() != r.a.mac {
				t.Errorf("reply goes from %v to %v", eth.Src(), eth.Dst())
			}
		})
	}
	c.wantNone(t) // none of it was flooded

	r.a.Send(offload.Header{}, ask("10.1.0.2", "10.1.0.77")) // A09: bridged
	c.want(t, ask("10.1.0.2", "10.1.0.77"))
	r.a.Send(offload.Header{}, ask("10.1.0.2", "10.1.0.2")) // A04: gratuitous
	c.want(t, ask("10.1.0.2", "10.1.0.2"))

	for target, mac := range map[string]header.MAC{"fd00:1::1": gatewayMAC(1), "fd00:1::3": c.mac} {
		b := make([]byte, header.NeighbourLen)
		header.PutNeighbourSolicit(b, 0, r.a.mac, netip.MustParseAddr(target))
		r.a.Send(offload.Header{}, b)
		_, got := r.a.Recv(patience)
		if got == nil {
			t.Fatalf("no advertisement of %s", target)
		}
		p, _ := header.ParseIPv6(got[header.EthernetLen:])
		n, ok := header.ParseNDP(header.ICMPv6(p[header.IPv6Len:]))
		if !ok || !header.ICMPv6(n).ChecksumOK(p) || n.Target().String() != target || n.Flags()&header.NDPSolicited == 0 {
			t.Fatalf("advertisement of %s: %x", target, got)
		}
		if got, _ := n.LinkAddr(); got != mac {
			t.Errorf("%s is at %v, want %v", target, got, mac)
		}
	}

	echo := []byte{8, 0, 0, 0, 0, 1, 0, 2, 'h', 'i'}
	binary.BigEndian.PutUint16(echo[2:], ^header.Fold(header.Sum(echo)))
	r.a.Send(offload.Header{}, packet4("10.1.0.2", "10.1.0.1", 1, 1, echo)) // R03, R28
	_, got := r.a.Recv(patience)
	if got == nil {
		t.Fatal("the gateway does not answer an echo request")
	}
	p, _ := header.ParseIPv4(got[header.EthernetLen:])
	if m := p.Payload(); m[0] != 0 || !bytes.Equal(m[4:], echo[4:]) || header.Fold(header.Sum(m)) != 0xffff {
		t.Errorf("echo reply %x", m)
	}
	c.wantNone(t)
	wantBalance(t, r.Switch)
}

// TestNextHopResolved asks for a next hop that nobody attached: a machine behind
// a port that may use any address.
func TestNextHopResolved(t *testing.T) {
	r := newRouted(t, Config{Workers: 2})
	far := attach(t, r.Switch, r.d2, 9, allowSpoof)
	const mac header.MAC = 0x0600_0000_0042
	body := bytes.Repeat([]byte("y"), 28)
	for i := range 4 { // one more than is kept
		r.a.Send(offload.Header{}, packet4("10.1.0.2", "10.2.0.42", 64, 253, append(body, byte(i))))
	}
	_, got := far.Recv(patience)
	a, ok := header.ParseARP(got[header.EthernetLen:])
	if !ok || a.Op() != header.ARPRequest || a.SenderMAC() != testHostMAC || a.SenderAddr().IsValid() && !a.SenderAddr().IsUnspecified() {
		t.Fatalf("A12: asked by %x", got)
	}
	wantDrops(t, r.Switch, r.a.id, drop.L3Neighbour, 1)
	reply := make([]byte, header.EthernetLen+header.ARPLen)
	header.PutEthernet(reply, testHostMAC, mac, header.TypeARP)
	header.ARPFields{
		Op: header.ARPReply, SenderMAC: mac, SenderAddr: netip.MustParseAddr("10.2.0.42"), TargetMAC: testHostMAC, TargetAddr: netip.IPv4Unspecified(),
	}.Put(reply[header.EthernetLen:])
	far.Send(offload.Header{}, reply)
	for i := range 3 {
		_, got := far.Recv(patience)
		if got == nil {
			t.Fatalf("packet %d did not come", i)
		}
		if eth := header.Ethernet(got); eth.Dst() != mac || eth.Src() != gatewayMAC(2) || got[len(got)-1] != byte(i) {
			t.Errorf("packet %d: %x", i, got)
		}
	}
	wantBalance(t, r.Switch)
}

// TestNextHopUnreachable gives up on a next hop that does not answer.
func TestNextHopUnreachable(t *testing.T) {
	r := newRouted(t, Config{})
	f := packet4("10.1.0.2", "10.2.0.200", 64, 253, []byte("lost"))
	r.a.Send(offload.Header{}, f)
	_, got := r.a.Recv(patience)
	for end := time.Now().Add(2 * patience); got == nil && time.Now().Before(end); {
		_, got = r.a.Recv(time.Second)
	}
	// The error quotes the packet with one hop taken.
	want := packet4("10.1.0.2", "10.2.0.200", 63, 253, []byte("lost"))
	header.PutEthernet(want, gatewayMAC(1), r.a.mac, header.TypeIPv4)
	checkError(t, got, want, [2]uint8{3, 1})
	wantBalance(t, r.Switch)
}

// TestRouteTooBig reports what does not fit, and cuts what may be cut.
func TestRouteTooBig(t *testing.T) {
	r := newRouted(t, Config{})
	if err := r.SetPort(r.b.id, addrs("10.2.0.2", "fd00:2::2"), 1300); err != nil {
		t.Fatal(err)
	}
	body := make([]byte, 1400)
	for i := range body {
		body[i] = byte(i * 7)
	}
	df := packet4("10.1.0.2", "10.2.0.2", 64, 253, body, func(p header.IPv4) { p[6] = 0x40 })
	r.a.Send(offload.Header{}, df)
	_, got := r.a.Recv(patience)
	checkError(t, got, df, [2]uint8{3, 4})
	if mtu := binary.BigEndian.Uint16(got[header.EthernetLen+header.IPv4Len+6:]); mtu != 1300 {
		t.Errorf("R15: told an MTU of %d, want 1300", mtu)
	}
	r.a.Send(offload.Header{}, packet4("10.1.0.2", "10.2.0.2", 64, 253, body))
	var joined []byte
	for i, want := range []int{1280, 120} { // R16: multiples of 8
		_, got := r.b.Recv(patience)
		p, ok := header.ParseIPv4(got[header.EthernetLen:])
		if !ok || !p.ChecksumOK() || len(p.Payload()) != want || p.FragmentOffset() != len(joined) || p.TTL() != 63 || p.ID() != 7 {
			t.Fatalf("fragment %d: %x", i, got[:min(len(got), 40)])
		}
		joined = append(joined, p.Payload()...)
	}
	if !bytes.Equal(joined, body) {
		t.Error("the fragments do not add up")
	}
	six := packet6("fd00:1::2", "fd00:2::2", 64, 253, body)
	r.a.Send(offload.Header{}, six)
	_, got = r.a.Recv(patience)
	checkError(t, got, six, [2]uint8{2, 0})
	if mtu := binary.BigEndian.Uint32(got[header.EthernetLen+header.IPv6Len+4:]); mtu != 1300 {
		t.Errorf("S02: told an MTU of %d, want 1300", mtu)
	}
	wantBalance(t, r.Switch)
}

// TestClampMSS lowers what a SYN offers when it is routed into a smaller MTU.
func TestClampMSS(t *testing.T) {
	r := newRouted(t, Config{})
	if err := r.SetPort(r.b.id, addrs("10.2.0.2", "fd00:2::2"), 1300); err != nil {
		t.Fatal(err)
	}
	for _, options := range [][]byte{{2, 4, 0x05, 0xb4}, {1, 2, 4, 0x05, 0xb4, 1, 1, 1}} { // even and odd place
		tcp := make([]byte, header.TCPLen+len(options))
		tcp[12], tcp[13] = byte(len(tcp)/4<<4), header.TCPSyn
		copy(tcp[header.TCPLen:], options)
		f := packet4("10.1.0.2", "10.2.0.2", 64, 6, tcp)
		p := header.IPv4(f[header.EthernetLen:])
		sum := func(p header.IPv4) uint32 { return p.PseudoSum(6, len(p.Payload())) + header.Sum(p.Payload()) }
		binary.BigEndian.PutUint16(p.Payload()[16:], ^header.Fold(sum(p)))
		r.a.Send(offload.Header{}, f)
		_, got := r.b.Recv(patience)
		p, ok := header.ParseIPv4(got[header.EthernetLen:])
		if !ok || header.Fold(sum(p)) != 0xffff {
			t.Fatalf("bad checksum: %x", got)
		}
		if !bytes.Contains(p.Payload()[header.TCPLen:], []byte{2, 4, 1260 >> 8, 1260 & 0xff}) {
			t.Errorf("MSS is not clamped to 1260: %x", p.Payload()[header.TCPLen:])
		}
	}
}

// TestBridgedTooBig tells the sender of a bridged packet that it does not fit:
// where its own port takes less, and where the destination's does (P02, P04).
func TestBridgedTooBig(t *testing.T) {
	r := newRouted(t, Config{})
	c := attach(t, r.Switch, r.d1, 3, func(c *PortConfig) { c.MTU = 1300 })
	body := make([]byte, 1400)
	for _, tt := range []struct {
		name  string
		frame []byte
		icmp  [2]uint8
		mtu   int
	}{
		{"P02 destination's port", packet4("10.1.0.2", "10.1.0.3", 64, 253, body), [2]uint8{3, 4}, 1300},
		{"P04 destination's port", packet6("fd00:1::2", "fd00:1::3", 64, 253, body), [2]uint8{2, 0}, 1300},
		{"P02 own port", packet4("10.1.0.2", "10.1.0.3", 64, 253, make([]byte, 2000)), [2]uint8{3, 4}, 1450},
		{"P04 own port", packet6("fd00:1::2", "fd00:1::3", 64, 253, make([]byte, 2000)), [2]uint8{2, 0}, 1450},
	} {
		t.Run(tt.name, func(t *testing.T) {
			header.PutEthernet(tt.frame, c.mac, r.a.mac, header.Ethernet(tt.frame).Type())
			before := r.PortStats(r.a.id).Drops[drop.L3Big]
			r.a.Send(offload.Header{}, tt.frame)
			wantDrops(t, r.Switch, r.a.id, drop.L3Big, before+1)
			_, got := r.a.Recv(patience)
			eth := header.Ethernet(got)
			if len(got) == 0 || eth.Src() != c.mac || eth.Dst() != r.a.mac {
				t.Fatalf("got %x", got)
			}
			header.PutEthernet(got, r.a.mac, gatewayMAC(1), eth.Type())
			checkError(t, got, tt.frame, tt.icmp)
			at := header.EthernetLen + header.IPv4Len + 4
			if eth.Type() == header.TypeIPv6 {
				at = header.EthernetLen + header.IPv6Len + 4
			}
			if mtu := int(binary.BigEndian.Uint32(got[at:])); mtu != tt.mtu {
				t.Errorf("told an MTU of %d, want %d", mtu, tt.mtu)
			}
		})
	}
	c.wantNone(t)
	wantBalance(t, r.Switch)
}
