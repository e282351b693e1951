package dataplane

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"weft/encap/encaptest"
	"weft/internal/drop"
	"weft/internal/header"
	"weft/internal/offload"
)

// group4 and group6 make frames to an IPv4 group, the first bytes of whose packet
// body is given, with a router alert (RFC 2113) as IGMP has it, and to an IPv6 group.
func group4(src header.MAC, group string, proto uint8, body string) []byte {
	to := netip.MustParseAddr(group).As4()
	f := make([]byte, header.EthernetLen, header.EthernetLen+24+len(body))
	header.PutEthernet(f, 0x0100_5e00_0000|header.MAC(binary.BigEndian.Uint32(to[:])&0x7f_ffff), src, header.TypeIPv4)
	ip := []byte{0x46, 0xc0, 0, byte(24 + len(body)), 0, 0, 0x40, 0, 1, proto, 0, 0, 0, 0, 0, 0, to[0], to[1], to[2], to[3], 0x94, 4, 0, 0}
	binary.BigEndian.PutUint16(ip[10:], ^header.Fold(header.Sum(ip)))
	return append(append(f, ip...), body...)
}

func group6(src header.MAC, group string, next uint8, body string) []byte {
	to := netip.MustParseAddr(group).As16()
	f := make([]byte, header.EthernetLen+header.IPv6Len, header.EthernetLen+header.IPv6Len+len(body))
	header.PutEthernet(f, 0x3333_0000_0000|header.MAC(binary.BigEndian.Uint32(to[12:])), src, header.TypeIPv6)
	header.IPv6Fields{
		PayloadLength: len(body), NextHeader: next, HopLimit: 1, Src: header.LinkLocal(src), Dst: netip.AddrFrom16(to),
	}.Put(f[header.EthernetLen:])
	return append(f, body...)
}

const (
	listenerMAC = header.MAC(0x0200_0000_0001)
	alert       = "\x3a\x00\x05\x02\x00\x00\x01\x00" // hop-by-hop: ICMPv6 follows, router alert, PadN
	body16      = "0123456789abcdef"
)

// TestIsReport has each message of IGMP and MLD, and what shares addresses with
// them; behind tags too, and cut off at each byte.
func TestIsReport(t *testing.T) {
	igmp := func(group, body string) []byte { return group4(listenerMAC, group, 2, body) }
	mld := func(group, body string) []byte {
		return group6(listenerMAC, group, 0, alert+body+"\x00\x00\x00"+body16)
	}
	with := func(f []byte, change func([]byte)) []byte { change(f); return f }
	tests := []struct {
		name  string
		frame []byte
		want  bool
	}{
		{"IGMPv1 report", igmp("239.1.2.3", "\x12\x00\x00\x00\xef\x01\x02\x03"), true},
		{"IGMPv2 report", igmp("239.1.2.3", "\x16\x00\x00\x00\xef\x01\x02\x03"), true},
		{"IGMPv2 leave", igmp("224.0.0.2", "\x17\x00\x00\x00\xef\x01\x02\x03"), true},
		{"IGMPv3 report", igmp("224.0.0.22", "\x22\x00\x00\x00\x00\x00\x00\x00"), true},
		{"IGMP query", igmp("224.0.0.1", "\x11\x64\x00\x00\x00\x00\x00\x00"), false},
		{"IGMP of an unknown type", igmp("224.0.0.22", "\x30\x00\x00\x00\x00\x00\x00\x00"), false},
		{"IGMP without a message", igmp("224.0.0.22", ""), false},
		{"IGMPv3 report, a later fragment", with(igmp("224.0.0.22", "\x22\x00\x00\x00\x00\x00\x00\x00"), func(b []byte) { b[21] = 1 }), false},
		{"data to 225.0.0.22, whose MAC is the same", group4(listenerMAC, "225.0.0.22", 17, "\x22\x00\x00\x00\x00\x00\x00\x00"), false},
		{"MLDv1 report", mld("ff15::7", "\x83"), true},
		{"MLDv1 done", mld("ff02::2", "\x84"), true},
		{"MLDv2 report", mld("ff02::16", "\x8f"), true},
		{"MLD query", mld("ff02::1", "\x82"), false},
		{"router solicitation behind a router alert", mld("ff02::2", "\x85"), false},
		{"MLDv2 report without a hop-by-hop header", group6(listenerMAC, "ff02::16", 58, "\x8f"+body16), false},
		{"hop-by-hop header, and no ICMPv6", group6(listenerMAC, "ff02::16", 0, "\x11"+alert[1:]+"\x8f"+body16), false},
		{"hop-by-hop header, and nothing", group6(listenerMAC, "ff02::16", 0, alert), false},
		{"hop-by-hop header, cut off", group6(listenerMAC, "ff02::16", 0, "\x3a\x01"+alert[2:]), false},
		{"hop-by-hop header, later fragment", group6(listenerMAC, "ff02::16", 0, "\x2c"+alert[1:]+"\x3a\x00\x00\x08\x00\x00\x00\x01\x8f"+body16), false},
		{"data to ff15::16, whose MAC is the same", group6(listenerMAC, "ff15::16", 17, body16), false},
		{"MLDv2 report to one station", with(mld("ff02::16", "\x8f"), func(b []byte) { header.MAC(0x0200_0000_0002).Put(b) }), false},
		{"IGMPv3 report, broadcast", with(igmp("224.0.0.22", "\x22\x00\x00\x00\x00\x00\x00\x00"), func(b []byte) { header.Broadcast.Put(b) }), false},
		{"ARP", testFrame(header.Broadcast, listenerMAC, 46), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := isReport(tt.frame); got != tt.want {
				t.Errorf("isReport() = %v, want %v", got, tt.want)
			}
			if got := isReport(tagged(tt.frame, [2]uint16{0x8100, 5})); got != tt.want {
				t.Errorf("isReport() behind a tag = %v, want %v", got, tt.want)
			}
			for n := header.EthernetLen; n < len(tt.frame); n++ {
				if isReport(tt.frame[:n]) {
					t.Errorf("isReport() of its first %d of %d bytes", n, len(tt.frame))
				}
			}
			if n := testing.AllocsPerRun(10, func() { isReport(tt.frame) }); n != 0 {
				t.Errorf("%v allocations", n)
			}
		})
	}
}

// ear is a place that may hear a report.
type ear struct {
	name   string
	router bool // whether a router may be there
	id     PortID
	hear   func() []byte
}

// TestReportsGoToRouters has each place send a report, of IGMP and of MLD, and a
// frame to a group: the one goes to where a router may be, the other to all.
func TestReportsGoToRouters(t *testing.T) {
	for _, vid := range []uint16{0, 10} {
		t.Run(map[uint16]string{0: "network", 10: "VLAN"}[vid], func(t *testing.T) { reports(t, vid) })
	}
}

func reports(t *testing.T, vid uint16) {
	u, wire := encaptest.New(t, addr1)
	s, w, d := still(t, Config{Underlay: u})
	setPeers(t, s, d, false, addr2)
	up := addUplink(t, s, d, 0)
	addr := func(n byte) func(*PortConfig) {
		return func(c *PortConfig) { c.Addrs = []netip.Addr{netip.AddrFrom4([4]byte{10, 1, 0, n})} }
	}
	in := func(c *PortConfig) { c.VLAN = vid }
	var ears []*ear
	var senders []*station
	add := func(name string, router bool, n int, change ...func(*PortConfig)) {
		st := attach(t, s, d, n, append(change, addr(byte(n)))...)
		senders = append(senders, st)
		ears = append(ears, &ear{name, router, st.id, func() []byte { _, f := st.Recv(0); return f }})
	}
	add("held", false, 1, in)
	add("held too", false, 2, in)
	add("may spoof", true, 3, in, allowSpoof)
	add("the host's", true, 4, in, func(c *PortConfig) { c.Host = true })
	open := attach(t, s, d, 5, in)
	senders = append(senders, open)
	ears = append(ears, &ear{"without addresses", true, open.id, func() []byte { _, f := open.Recv(0); return f }})
	if vid != 0 {
		add("held, of another VLAN", false, 6, vlan(20))
		tr := attach(t, s, d, 7, trunk(10), addr(7)) // its addresses are those of its untagged domain
		ears = append(ears, &ear{"trunk", true, tr.id, func() []byte { _, f := tr.Recv(0); return f }})
	}
	ears = append(ears,
		&ear{"LAN", true, up.id, func() []byte { _, f := up.lan.Recv(0); return f }},
		&ear{"host on the LAN", true, up.host.id, func() []byte { _, f := up.host.Recv(0); return f }},
		&ear{name: "peer", router: true, hear: wire.TryRead})
	deaf := func(e *ear) bool { return e.name == "held, of another VLAN" }

	check := func(what string, report bool, from PortID) {
		t.Helper()
		for _, e := range ears {
			want := (e.router || !report) && !deaf(e) && (e.id != from || from == 0 && e.name != "peer")
			if got := e.hear() != nil; got != want {
				t.Errorf("%s: %s heard it: %v, want %v", what, e.name, got, want)
			}
		}
	}
	frames := func(src header.MAC) map[string][]byte {
		return map[string][]byte{
			"MLD report":  group6(src, "ff02::16", 0, alert+"\x8f\x00\x00\x00"+body16),
			"IGMP report": group4(src, "224.0.0.22", 2, "\x22\x00\x00\x00\x00\x00\x00\x00"),
			"data":        group6(src, "ff15::16", 17, "\x12\x34\x56\x78\x00\x10\x00\x01"+body16[:8]),
		}
	}
	for i, st := range senders {
		if deaf(ears[i]) {
			continue
		}
		for what, f := range frames(st.mac) {
			st.Send(offload.Header{}, f)
			w.batch(st.id)
			check(what+" of "+ears[i].name, what != "data", st.id)
		}
	}
	for what, f := range frames(0x0600_0000_0041) {
		if vid != 0 {
			f = tagged(f, [2]uint16{0x8100, vid})
		}
		wire.Inject(outer(addr2, addr1, append([]byte("\x20\x00\x65\x58\x00\x00\x00\x07"), f...)))
		w.snap, w.now = s.snapshot.Load(), s.second.Load()
		w.drainUnderlay(w.receivers[0], false)
		w.balance()
		check(what+" of a peer", what != "data", 0)
	}
	// Without its addresses a port may be anything.
	if err := s.SetPort(senders[1].id, nil, 1450); err != nil {
		t.Fatal(err)
	}
	ears[1].router = true
	senders[0].Send(offload.Header{}, frames(senders[0].mac)["MLD report"])
	w.batch(senders[0].id)
	check("MLD report, once the second has no addresses", true, senders[0].id)
	wantBalance(t, s)
}

// Where no router can be, a report is for nobody.
func TestReportForNobody(t *testing.T) {
	s, w, d := still(t, Config{})
	addr := func(n byte) func(*PortConfig) {
		return func(c *PortConfig) { c.Addrs = []netip.Addr{netip.AddrFrom4([4]byte{10, 1, 0, n})} }
	}
	a, b := attach(t, s, d, 1, addr(1)), attach(t, s, d, 2, addr(2))
	a.Send(offload.Header{}, group6(a.mac, "ff02::16", 0, alert+"\x8f\x00\x00\x00"+body16))
	w.batch(a.id)
	wantDrops(t, s, a.id, drop.L2NoPort, 1)
	if _, f := b.Recv(0); f != nil {
		t.Errorf("b heard % x", f)
	}
	wantBalance(t, s)
}
