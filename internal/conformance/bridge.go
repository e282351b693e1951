package main

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// Reasons for which a reference bridge differs.
const linuxBPDU = "forwards bridge protocol units while STP is off; IEEE 802.1Q section 8.6.3 forbids it"

// bridge are rows of IEEE 802.1D.
func bridge() section {
	s := section{number: "2.6", title: "Bridge"}
	add := func(id, what, at string, frame []byte, want string, more ...func(*row)) {
		r := row{id: id, what: what, at: at, send: one(frame), want: want}
		for _, m := range more {
			m(&r)
		}
		s.rows = append(s.rows, r)
	}
	linuxWhy := func(why string) func(*row) { return func(r *row) { r.linux = why } }
	ovsWhy := func(why string) func(*row) { return func(r *row) { r.ovs = why } }
	const (
		all = "forward: b2 b3 p2 p3"
		m1  = "02:00:00:00:00:b1"
		m2  = "02:00:00:00:00:b2"
		bc  = "ff:ff:ff:ff:ff:ff"
	)
	to := func(dst string) []byte { return eth(dst, m1, 0x88b5, hello) }
	for n := range 16 {
		why := func(*row) {}
		if n == 0 {
			why = linuxWhy(linuxBPDU)
		}
		add("B01", fmt.Sprintf("to 01:80:c2:00:00:%02x", n), "b1", to(fmt.Sprintf("01:80:c2:00:00:%02x", n)), "drop l2_linklocal", why)
	}
	for _, n := range []string{"10", "20", "21"} {
		add("B02", "to 01:80:c2:00:00:"+n, "b1", to("01:80:c2:00:00:"+n), all)
	}
	cdp := ovsWhy("takes it for reserved (ovs-vswitchd.conf.db(5), forward-bpdu)")
	add("B03", "to 01:00:0c:cc:cc:cc (CDP)", "b1", to("01:00:0c:cc:cc:cc"), all, cdp)
	add("B03", "to 01:00:0c:cc:cc:cd (PVST)", "b1", to("01:00:0c:cc:cc:cd"), all, cdp)
	add("B04", "pause", "b1", eth("01:80:c2:00:00:01", m1, 0x8808, hello), "drop l2_linklocal")
	add("B05", "broadcast", "b1", to(bc), all)
	add("B05", "IPv4 multicast", "b1", to("01:00:5e:01:02:03"), all)
	add("B05", "IPv6 multicast", "b1", to("33:33:00:00:00:01"), all)
	add("B05", "unknown unicast", "b1", to("02:99:00:00:00:01"), all)
	add("B06", "broadcast from a peer: to no peer", "peer", from("2", gre("20006558 00001f40", inner)), "forward: b1 b2 b3")
	behind3 := sent{"peer", from("3", gre("20006558 00001f40", eth(bc, "02:00:00:00:00:f3", 0x88b5, hello)))}
	add("B06", "unicast from a peer to what is behind another", "peer",
		from("2", gre("20006558 00001f40", eth("02:00:00:00:00:f3", "02:00:00:00:00:f7", 0x88b5, hello))), "drop l2_split",
		func(r *row) { r.before = []sent{behind3} },
		ovsWhy("has no split horizon: two tunnels of one bridge exchange frames"))
	s.rows[len(s.rows)-2].ovs = "has no split horizon: two tunnels of one bridge exchange frames"
	learned := func(at, src string) func(*row) {
		return func(r *row) { r.before = append(r.before, sent{at, eth(bc, src, 0x88b5, hello)}) }
	}
	add("B07", "unicast to what was learned", "b1", to("02:77:00:00:00:02"), "forward: b2", learned("b2", "02:77:00:00:00:02"))
	add("B07", "unicast to what was learned behind a peer", "b1", to("02:00:00:00:00:f3"), "forward: p3",
		func(r *row) { r.before = []sent{behind3} })
	add("B08", "to a station of the same port", "b1", to("02:77:00:00:00:01"), "drop l2_self", learned("b1", "02:77:00:00:00:01"))
	add("B08", "to itself", "b1", to(m1), "drop l2_self")
	add("B10", "to zero", "b1", to("00:00:00:00:00:00"), all)
	add("B09", "source multicast", "b1", eth(bc, "03:00:00:00:00:01", 0x88b5, hello), "drop l2_smac", ovsWhy(ovsSources))
	add("B09", "source broadcast", "b1", eth(bc, bc, 0x88b5, hello), "drop l2_smac", ovsWhy(ovsSources))
	add("B09", "source zero", "b1", eth(bc, "00:00:00:00:00:00", 0x88b5, hello), "drop l2_smac", ovsWhy(ovsSources))
	add("B13", "a station that moved, by one frame", "b1", to("02:77:00:00:00:04"), "forward: b3",
		learned("b2", "02:77:00:00:00:04"), learned("b3", "02:77:00:00:00:04"))
	behind2 := func(src string) sent {
		return sent{"peer", from("2", gre("20006558 00001f40", eth(bc, src, 0x88b5, hello)))}
	}
	add("B14", "a station that moved to a peer", "b1", to("02:77:00:00:00:05"), "forward: p2",
		learned("b2", "02:77:00:00:00:05"), func(r *row) { r.before = append(r.before, behind2("02:77:00:00:00:05")) })
	add("B14", "and back", "b1", to("02:77:00:00:00:05"), "forward: b2", learned("b2", "02:77:00:00:00:05"),
		ovsWhy("learns from packets of a cached flow only when it looks the flow over, up to half a second later"))
	add("B15", "a static entry is not moved by traffic", "b1", to("02:77:00:00:00:06"), "forward: p3",
		func(r *row) {
			r.setup, r.undo = []string{"fdb add br 02:77:00:00:00:06 peer:p3"}, []string{"fdb rm br 02:77:00:00:00:06"}
		}, learned("b2", "02:77:00:00:00:06"))
	add("B15", "an attached address is not moved from a peer", "b1", to(m2), "forward: b2",
		func(r *row) { r.before, r.only = []sent{behind2(m2)}, true })
	add("B16", "flushed: flooded again", "b1", to("02:77:00:00:00:02"), all,
		func(r *row) { r.setup = []string{"fdb flush br"} })
	add("B19", "same MAC in two networks", "b1", to("02:77:00:00:00:08"), "forward: b3",
		func(r *row) {
			r.before = []sent{{"b3", eth(bc, "02:77:00:00:00:08", 0x88b5, hello)}, {"a", eth(bc, "02:77:00:00:00:08", 0x88b5, hello)}}
		})
	for _, v := range []uint16{0, 1, 2, 5, 1000, 4094, 4095, 0xe001, 0x1001} {
		add("B20", fmt.Sprintf("tag %04x passes as it is", v), "b1", tag(to(bc), 0x8100, v), all, func(r *row) {
			switch {
			case v == 0:
				r.ovs = ovsVLAN0
			case v&0x1000 != 0:
				r.ovs = "clears the drop eligible bit, which it uses for itself"
			}
		})
	}
	add("B20", "QinQ passes as it is", "b1", tag(tag(to(bc), 0x8100, 5), 0x88a8, 7), all)
	for _, k := range []struct {
		what string
		f    []byte
	}{
		{"broadcast", eth(bc, "02:00:00:00:00:0a", 0x88b5, hello)},
		{"multicast", eth("01:00:5e:00:00:01", "02:00:00:00:00:0a", 0x0800, hello)},
		{"unknown unicast", eth("02:99:00:00:00:02", "02:00:00:00:00:0a", 0x88b5, hello)},
		{"the MAC of a container elsewhere", eth(m1, "02:00:00:00:00:0a", 0x88b5, hello)},
	} {
		add("B21", "another network: "+k.what, "a", k.f, "forward: p2")
	}
	add("B22", "1464 bytes, every byte as it was", "b1", counted(bc, m1, 1464), all)
	add("B22", "15 bytes", "b1", join(eth("02:99:00:00:00:03", m1, 0x88b6, nil), []byte{7}), all,
		func(r *row) { r.all = true }, ovsWhy("pads to 60 bytes, or not, by where it goes"))
	add("B23", "one byte above the MTU", "b1", counted(bc, m1, 1465), "drop inner_big",
		linuxWhy("leaves four bytes for a tag, whether there is one or not"), ovsWhy("looks at the size where a copy leaves: a tunnel may cut it"))
	add("B26", "802.3 with LLC", "b1", join(eth("02:99:00:00:00:04", m1, uint16(3+len(hello)), raw("424203")), hello), all)
	add("B26", "unknown EtherType", "b1", eth(bc, m1, 0x9999, hello), all)
	add("B27", "a port that is held to its MAC: another source", "g", eth(bc, "02:77:00:00:00:09", 0x88b5, hello), "drop l2_spoof")
	add("B28", "the gateway's MAC as source", "h", eth(bc, "02:57:00:00:00:18", 0x88b5, hello), "drop l2_spoof")
	for _, k := range []struct{ at, src, linkLocal, ip, far string }{
		{"g", "02:00:00:00:00:14", "fe80::ff:fe00:14", "10.13.0.9", "forward: h p2"},
		{"h", "02:00:00:00:00:18", "fe80::ff:fe00:18", "10.13.0.8", "forward: p2"},
	} {
		mld := icmp6(k.linkLocal, "ff02::16", 143, 0, 1, join(raw("04000000"), mustAddr("ff02::1:ff00:9"), hello))
		igmp := join(raw("22000000 00000001 04000000"), mustAddr("239.1.2.3"), hello)
		binary.BigEndian.PutUint16(igmp[2:], ^sum(igmp))
		add("S17", "MLDv2 report: to nobody who can be no router", k.at, eth("33:33:00:00:00:16", k.src, 0x86dd,
			ip6{src: k.linkLocal, dst: "ff02::16", hop: 1, word: hopByHop}.with(join(raw("3a000502 00000100"), mld))), k.far)
		add("S17", "IGMPv3 report: to nobody who can be no router", k.at, eth("01:00:5e:00:00:16", k.src, 0x0800,
			ip4{src: k.ip, dst: "224.0.0.22", ttl: 1, proto: 2, options: raw("94040000")}.with(igmp)), k.far)
	}
	s.absent = []absent{
		{"B11", "ageing after 300 s", "takes minutes; dataplane and fib test it with a clock of their own"},
		{"B12", "ageing from 10 s to 1,000,000 s", "as B11; internal/spec tests the bounds"},
		{"B16", "port removed", "internal/e2e TestDetach and its neighbours; a row cannot remove a place"},
		{"B17", "table full", "fib tests its fairness; a row would send 65,536 frames"},
		{"B18", "limit of a port", "dataplane tests it"},
		{"B24", "frame older than 4 s in a queue", "frames carry no time; the kernel's queue of a TAP holds 1,000"},
		{"B25", "no duplicates", "every row counts copies: a second one would be listed as a second place"},
		{"B29", "flapping between a port and a peer", "dataplane tests it (moves)"},
	}
	return s
}

// counted is a frame of a size whose bytes all differ.
func counted(dst, src string, size int) []byte {
	f := eth(dst, src, 0x88b5, []byte(mark+strings.Repeat(".", size-14-len(mark))))
	for i := 14 + len(mark); i < len(f); i++ {
		f[i] = byte(i * 7)
	}
	return f
}
