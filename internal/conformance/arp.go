package main

import "net/netip"

// arpND are rows of RFC 826, RFC 5227 and RFC 4861, asked where a router is.
func arpND() section {
	s := section{number: "2.7", title: "ARP and neighbour discovery"}
	const (
		bc    = "ff:ff:ff:ff:ff:ff"
		zero  = "00:00:00:00:00:00"
		other = "02:99:00:00:00:01"
		isAt  = "ARP reply 10.1.0.1 is at " + gw1
		gwG   = "02:57:00:00:00:18"
		hMAC  = "02:00:00:00:00:18"
		gMAC  = "02:00:00:00:00:14"
	)
	add := func(id, what, at string, frame []byte, want string, more ...func(*row)) {
		r := row{id: id, what: what, at: at, send: one(frame), want: want, all: true}
		for _, m := range more {
			m(&r)
		}
		s.rows = append(s.rows, r)
	}
	linuxWhy := func(why string) func(*row) { return func(r *row) { r.linux = why } }
	only := func(r *row) { r.only = true }
	ask := func(spa, tpa string) []byte {
		return eth(bc, host1MAC, 0x0806, arp(1, host1MAC, spa, zero, tpa))
	}
	g := func(dst string, a []byte) []byte { return eth(dst, gMAC, 0x0806, a) }
	h := func(dst string, a []byte) []byte { return eth(dst, hMAC, 0x0806, a) }

	add("A01", "request for the gateway", "r1", ask("10.1.0.9", "10.1.0.1"), isAt)
	add("A01", "the same, sent to its MAC", "r1", with(ask("10.1.0.9", "10.1.0.1"), func(b []byte) { copy(b, mac(gw1)) }), isAt)
	add("A01", "request for the gateway of another network", "r1", ask("10.1.0.9", "10.2.0.1"), "drop l2_noport",
		linuxWhy("answers for every address of the host on every interface (arp_ignore 0)"))
	for _, c := range []struct {
		what string
		at   int
		b    byte
	}{{"hardware type 2", 15, 2}, {"protocol type 0x0801", 17, 1}, {"hardware length 7", 18, 7}, {"protocol length 6", 19, 6}} {
		add("A02", c.what+", to the gateway", "r1", with(ask("10.1.0.9", "10.1.0.1"), func(b []byte) { copy(b, mac(gw1)); b[c.at] = c.b }), "drop arp_bad")
	}
	add("A02", "operation 3, to the gateway", "r1", with(ask("10.1.0.9", "10.1.0.1"), func(b []byte) { copy(b, mac(gw1)); b[21] = 3 }), "drop arp_bad")
	add("A02", "27 bytes of ARP, to the gateway", "r1", with(ask("10.1.0.9", "10.1.0.1"), func(b []byte) { copy(b, mac(gw1)) })[:41], "drop arp_bad")
	add("A02", "hardware type 2 from a port that is held to its addresses", "g", with(g(bc, arp(1, gMAC, "10.13.0.9", zero, "10.13.0.7")), func(b []byte) { b[15] = 2 }), "drop arp_bad")
	add("A03", "probe for the gateway's address", "r1", ask("0.0.0.0", "10.1.0.1"), isAt)
	add("A04", "gratuitous request: flooded", "h", h(bc, arp(1, hMAC, "10.13.0.8", zero, "10.13.0.8")), "forward: g p2")
	add("A04", "gratuitous reply: flooded", "h", h(bc, arp(2, hMAC, "10.13.0.8", hMAC, "10.13.0.8")), "forward: g p2")
	add("A05", "gratuitous request for the gateway's address: defended, told to nobody", "h",
		h(bc, arp(1, hMAC, "10.13.0.1", zero, "10.13.0.1")), "ARP request for 10.13.0.1 from 10.13.0.1, broadcast: g h (l2_spoof)")
	add("A05", "the same again within 10 s", "h", h(bc, arp(1, hMAC, "10.13.0.1", zero, "10.13.0.1")), "drop l2_spoof")
	add("A06", "reply whose sender is broadcast", "r1", with(ask("10.1.0.9", "10.1.0.1"), func(b []byte) { copy(b, mac(gw1)); b[21] = 2; copy(b[22:], mac(bc)) }), "drop arp_bad")
	add("A07", "sender MAC is not the frame's", "r1", eth(bc, host1MAC, 0x0806, arp(1, other, "10.1.0.9", zero, "10.1.0.1")), "drop arp_bad",
		linuxWhy("does not compare them"))
	add("A07", "the same, from a port that is held to its addresses", "g", g(bc, arp(1, other, "10.13.0.9", zero, "10.13.0.1")), "drop l2_spoof")
	add("A07", "another's address, from such a port", "g", g(bc, arp(1, gMAC, "10.13.0.8", zero, "10.13.0.1")), "drop l2_spoof")
	add("A08", "sender outside the network", "r1", ask("10.99.0.9", "10.1.0.1"), "drop arp_bad",
		linuxWhy("answers whoever asks for its own address"))
	add("A09", "request for nobody: flooded", "h", h(bc, arp(1, hMAC, "10.13.0.8", zero, "10.13.0.77")), "forward: g p2")
	add("A10", "request for an attached address: answered for it, not flooded", "h",
		h(bc, arp(1, hMAC, "10.13.0.8", zero, "10.13.0.9")), "ARP reply 10.13.0.9 is at "+gMAC)
	add("A11", "unicast request: delivered", "h", h(gMAC, arp(1, hMAC, "10.13.0.8", zero, "10.13.0.9")), "forward: g")
	add("A19", "request with padding to 60 bytes", "r1", join(ask("10.1.0.9", "10.1.0.1"), make([]byte, 18)), isAt)
	add("A20", "reverse ARP: bridged", "h", eth(bc, hMAC, 0x8035, arp(3, hMAC, "0.0.0.0", hMAC, "0.0.0.0")), "forward: g p2")

	const solicited = "33:33:ff:00:00:01"
	ns := func(src, dst, target string, hop int, code uint8, change func([]byte), option []byte) []byte {
		b := append(mustAddr(target), option...)
		m := icmp6(src, dst, 135, code, 0, b)
		if change != nil {
			change(m)
		}
		return ip6{src: src, dst: dst, next: 58, hop: hop}.with(m)
	}
	link := func(m string) []byte { return join([]byte{1, 1}, mac(m)) }
	sol := func(what, id, want string, p []byte, more ...func(*row)) {
		add(id, what, "r1", eth(solicited, host1MAC, 0x86dd, p), want, more...)
	}
	const snm = "ff02::1:ff00:1"
	const na = "advertisement of fd01::1 to fd01::9, flags "
	sol("solicitation for the gateway", "A14", na+"e", ns("fd01::9", snm, "fd01::1", 255, 0, nil, link(host1MAC)))
	sol("hop limit 254", "A14", "drop l2_noport", ns("fd01::9", snm, "fd01::1", 254, 0, nil, link(host1MAC)))
	sol("code 1", "A14", "drop l2_noport", ns("fd01::9", snm, "fd01::1", 255, 1, nil, link(host1MAC)))
	sol("wrong checksum", "A14", "drop l2_noport", ns("fd01::9", snm, "fd01::1", 255, 0, func(m []byte) { m[2] ^= 1 }, link(host1MAC)))
	sol("target multicast", "A14", "drop l2_noport", ns("fd01::9", snm, "ff02::1", 255, 0, nil, link(host1MAC)))
	sol("option of length 0", "A14", "drop l2_noport", ns("fd01::9", snm, "fd01::1", 255, 0, nil, join([]byte{1, 0}, mac(host1MAC))))
	add("A14", "hop limit 254, from a port that is held to its addresses", "g",
		eth(solicited, gMAC, 0x86dd, ns("fd13::9", snm, "fd13::1", 254, 0, nil, link(gMAC))), "drop nd_bad")
	sol("duplicate address detection of the gateway's address", "A15", "advertisement of fd01::1 to ff02::1, flags a",
		ns("::", snm, "fd01::1", 255, 0, nil, nil))
	add("A17", "solicitation for nobody: flooded", "h", eth("33:33:ff:00:00:77", hMAC, 0x86dd,
		ns("fd13::8", "ff02::1:ff00:77", "fd13::77", 255, 0, nil, link(hMAC))), "forward: g p2", only)
	ra := func(src string) []byte {
		return ip6{src: src, dst: "ff02::1", next: 58, hop: 255}.with(icmp6(src, "ff02::1", 134, 0, 0x40000708, make([]byte, 8)))
	}
	add("A18", "router advertisement from a container", "g", eth("33:33:00:00:00:01", gMAC, 0x86dd, ra("fe80::ff:fe00:14")), "drop l2_spoof", only)
	s.absent = []absent{
		{"A19", "requests and packets with an 802.1Q tag of VLAN 0, to the gateway", "not answered yet: the gateway is in the untagged network, and tagged frames are bridged as they are"},
		{"A12", "unresolved next hop", "asked in 2.8"},
		{"A13", "a neighbour's age, and a new MAC", "dataplane tests it with a clock of its own"},
		{"A16", "advertisement without override", "dataplane tests it; what a neighbour is taken for cannot be seen here"},
	}
	return s
}

// mustAddr returns the bytes of an IPv6 address.
func mustAddr(s string) []byte { return netip.MustParseAddr(s).AsSlice() }
