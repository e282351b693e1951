package main

import (
	"encoding/binary"
	"strconv"
)

// at6 is an IPv6 packet in a frame from r1 to its gateway.
func at6(h ip6, payload []byte) []byte {
	if h.src == "" {
		h.src = "fd01::9"
	}
	if h.dst == "" {
		h.dst = "fd02::9"
	}
	return eth(gw1, host1MAC, 0x86dd, h.with(payload))
}

// router6 are rows of RFC 8200 and RFC 4443, asked at r1.
func router6() section {
	s := section{number: "2.9", title: "IPv6 router"}
	last := 0x100
	add := func(id, what string, frame []byte, want string, more ...func(*row)) {
		r := row{id: id, what: what, at: "r1", want: want}
		if frame != nil {
			r.send = one(frame)
		}
		for _, m := range more {
			m(&r)
		}
		s.rows = append(s.rows, r)
	}
	linuxWhy := func(why string) func(*row) { return func(r *row) { r.linux = why } }
	datagram := udp6("fd01::9", "fd02::9", hello)
	plain := func(h ip6) []byte { return at6(h, datagram) }
	fresh := func(h ip6, payload []byte) []byte { // errors to one sender are limited
		last++
		h.src = "fd01::" + hex4(last)
		return at6(h, payload)
	}
	const gw = " from fd01::1"
	add("R01", "hop limit 64", plain(ip6{}), "routed hops 63: r2")
	add("R01", "hop limit 2", plain(ip6{hop: 2}), "routed hops 1: r2")
	add("S01", "hop limit 1", fresh(ip6{hop: 1}, datagram), "ICMPv6 3/0"+gw+" (l3_ttl)")
	add("S01", "hop limit 0", fresh(ip6{hop: -1}, datagram), "ICMPv6 3/0"+gw+" (l3_ttl)")
	large := udp6("fd01::9", "fd03::9", join(hello, make([]byte, 1440-48-len(hello))))
	add("S02", "1440 bytes to an MTU of 1400", fresh(ip6{dst: "fd03::9"}, large), "ICMPv6 2/0 mtu 1400"+gw+" (l3_big)")
	add("S02", "1400 bytes", at6(ip6{dst: "fd03::9"}, large[:1360]), "routed hops 63: r3")
	add("S03", "no route", fresh(ip6{dst: "2001:db8::1"}, datagram), "ICMPv6 1/0"+gw+" (l3_noroute)")
	add("S04", "from a multicast", plain(ip6{src: "ff02::9"}), "drop l3_src")
	add("S04", "from ::1", plain(ip6{src: "::1"}), "drop l3_src")
	add("S04", "from ::", plain(ip6{src: "::"}), "drop l3_src")
	add("S04", "from a link-local address, to elsewhere", plain(ip6{src: "fe80::ff:fe00:11"}), "ICMPv6 1/2"+gw+" (l3_src)",
		linuxWhy("the same, but from its own link-local address"))
	add("S04", "from the gateway's address", plain(ip6{src: "fd01::1"}), "drop l2_spoof",
		linuxWhy("routes what claims to come from itself; its IPv4 router does not"))
	add("R08", "from a network of another port", plain(ip6{src: "fd03::77"}), "drop l3_src",
		linuxWhy("has no reverse path check for IPv6 outside of its firewall"))
	add("S05", "to ::1", plain(ip6{dst: "::1"}), "drop l3_dst")
	add("S05", "to ff01::1", plain(ip6{dst: "ff01::1"}), "drop l3_dst")
	add("S05", "to ff00::1", plain(ip6{dst: "ff00::1"}), "drop l3_dst")
	add("S06", "payload length beyond the frame", at6(ip6{lie: func(h []byte) { h[5] = 0xff }}, datagram), "drop l3_hdr")
	add("S06", "version 5", at6(ip6{lie: func(h []byte) { h[0] = 0x50 }}, datagram), "drop l3_hdr")
	jumbo := join([]byte{17, 0, 0xc2, 4, 0, 0, 0, byte(8 + len(datagram))}, datagram)
	add("S07", "payload length 0, jumbo option", at6(ip6{word: hopByHop, lie: func(h []byte) { h[4], h[5] = 0, 0 }}, jumbo), "drop l3_hdr",
		linuxWhy("tells the sender; RFC 2675 is not implemented here, and nothing on the way needs an answer"))
	padn := func(next byte) []byte { return []byte{next, 0, 1, 4, 0, 0, 0, 0} }
	add("S11", "hop-by-hop options, PadN", at6(ip6{word: hopByHop}, join(padn(17), datagram)), "routed hops 63: r2")
	add("S08", "no error about an error", fresh(ip6{hop: 1, next: 58}, icmp6("fd01::9", "fd02::9", 1, 0, 0, hello)), "drop l3_ttl")
	add("S08", "no error about a redirect", fresh(ip6{hop: 1, next: 58}, icmp6("fd01::9", "fd02::9", 137, 0, 0, hello)), "drop l3_ttl",
		linuxWhy("answers; RFC 4443 section 2.4 (e.2) forbids it"))
	add("S08", "no error about a multicast", fresh(ip6{hop: 1, dst: "ff0e::1"}, datagram), "drop l3_dst")
	add("S09", "seven errors at once to one sender", nil, "6 times ICMPv6 3/0"+gw+" (7 l3_ttl l3_ratelimited)", func(r *row) {
		for range 7 {
			r.send = append(r.send, plain(ip6{src: "fd01::99", hop: 1}))
		}
		r.notLinux = true // its limits are off, so that the other rows can be asked
	})
	add("S10", "an error about 1440 bytes is 1280 long", fresh(ip6{hop: 1}, udp6("fd01::9", "fd02::9", join(hello, make([]byte, 1392-len(hello))))), "1280 bytes (l3_ttl)",
		func(r *row) { r.see = seeLength })
	route0 := join([]byte{17, 2, 0, 1, 0, 0, 0, 0}, mustAddr("fd02::9"), datagram)
	add("S12", "routing header type 0 to the gateway", fresh(ip6{dst: "fd01::1", next: 43}, route0), "ICMPv6 4/0"+gw+" (l3_hdr)")
	var chain []byte
	for range 40 {
		chain = append(chain, padn(60)...)
	}
	add("S13", "forty destination options: not looked at on the way", at6(ip6{next: 60}, join(chain, padn(17), datagram)), "routed hops 63: r2")
	frag := func(word byte) []byte { return join([]byte{17, 0, 0, word, 0, 0, 0, 9}, datagram) }
	add("S14", "first fragment", at6(ip6{next: 44}, frag(1)), "routed hops 63: r2")
	add("S14", "later fragment", at6(ip6{next: 44}, frag(8)), "routed hops 63: r2")
	add("S14", "atomic fragment", at6(ip6{next: 44}, frag(0)), "routed hops 63: r2")
	add("S15", "to a link-local address", plain(ip6{dst: "fe80::99"}), "drop l3_dst",
		linuxWhy("looks for the neighbour on the link that the packet came from"))
	add("S18", "traffic class and flow label stay", plain(ip6{word: 0x0b812345}), "class and label b812345: r2", func(r *row) { r.see = seeWord })
	add("S20", "echo request to the gateway", at6(ip6{dst: "fd01::1", next: 58}, icmp6("fd01::9", "fd01::1", 128, 0, 0x70001, hello)), "echo reply from fd01::1, 46 bytes")
	add("S20", "the same with a wrong checksum", with(at6(ip6{dst: "fd01::1", next: 58}, icmp6("fd01::9", "fd01::1", 128, 0, 0x70001, hello)), func(b []byte) { b[56] ^= 1 }), "drop l3_hdr")
	add("R27", "closed UDP port of the gateway", fresh(ip6{dst: "fd01::1"}, udp6("fd01::"+hex4(last+1), "fd01::1", hello)), "ICMPv6 1/4"+gw+" (l3_dst)")
	add("S03", "next hop does not answer", fresh(ip6{dst: "fd02::200"}, datagram), "ICMPv6 1/3"+gw+" (l3_neigh)", func(r *row) { r.slow = true }, linuxWhy("says it twice"))
	s.absent = []absent{
		{"S03", "reject", "weft has no such routes"},
		{"S11", "unknown options", "not looked at on the way (RFC 8200 section 4: a router may skip hop-by-hop options)"},
		{"S16", "duplicate address detection of the gateway", "A15"},
		{"S17", "multicast listener reports", "at the bridge, above"},
		{"S19", "packet too big below 1280", "weft sends no IPv6 packets of its own that could be too big"},
	}
	return s
}

func hex4(n int) string { return strconv.FormatInt(int64(n), 16) }

// seeLength tells the length of an IPv6 packet.
func seeLength(_ *row, f []byte, _ string) string {
	return strconv.Itoa(40+int(binary.BigEndian.Uint16(f[18:]))) + " bytes"
}

// seeWord tells traffic class and flow label.
func seeWord(_ *row, f []byte, _ string) string {
	return "class and label " + strconv.FormatInt(int64(binary.BigEndian.Uint32(f[14:])&0xfffffff), 16)
}
