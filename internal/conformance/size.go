package main

import "strconv"

var itoa = strconv.Itoa

// size are rows about what does not fit: networks have an MTU of 1450 over an
// underlay of 1500.
func size() section {
	s := section{number: "2.4", title: "Size and path MTU"}
	const (
		src = "02:00:00:00:00:b1"
		p2  = "02:00:00:00:00:e2" // stations behind peer 2 and at b2
		b2  = "02:00:00:00:00:b2"
	)
	known := []sent{{"peer", from("2", gre("20006558 00001f40", eth("ff:ff:ff:ff:ff:ff", p2, 0x88b5, hello)))}}
	add := func(id, what string, frame []byte, want string, more ...func(*row)) {
		r := row{id: id, what: what, at: "b1", before: known, send: one(frame), want: want, only: true}
		for _, m := range more {
			m(&r)
		}
		s.rows = append(s.rows, r)
	}
	last := 20
	v4 := func(dst string, n int, h ip4) []byte { // each from a sender of its own: errors are limited
		last++
		h.src, h.dst = "10.8.0."+itoa(last), "10.8.0.99"
		return eth(dst, src, 0x0800, h.with(udp(join(hello, make([]byte, n-28-len(hello))))))
	}
	v6 := func(dst string, n int) []byte {
		return eth(dst, src, 0x86dd, ip6{src: "fd08::1", dst: "fd08::99"}.with(udp6("fd08::1", "fd08::99", join(hello, make([]byte, n-48-len(hello))))))
	}
	const df = 0x4000
	add("P01", "1450 bytes to a peer", v4(p2, 1450, ip4{frag: df}), "forward: p2")
	add("P01", "1450 bytes to a container", v4(b2, 1450, ip4{frag: df}), "forward: b2")
	add("P02", "1451 bytes, IPv4 with DF, to a peer", v4(p2, 1451, ip4{frag: df}), "ICMP 3/4 mtu 1450 from 10.8.0.99 (l3_big)")
	add("P02", "1451 bytes, IPv4 with DF, to a container", v4(b2, 1451, ip4{frag: df}), "ICMP 3/4 mtu 1450 from 10.8.0.99 (l3_big)")
	add("P03", "1451 bytes, IPv4 without DF: told, never cut", v4(p2, 1451, ip4{}), "ICMP 3/4 mtu 1450 from 10.8.0.99 (l3_big)")
	add("P04", "1451 bytes, IPv6", v6(p2, 1451), "ICMPv6 2/0 mtu 1450 from fd08::99 (l3_big)")
	add("P05", "1280 bytes, IPv6", v6(p2, 1280), "forward: p2")
	add("P06", "1451 bytes, no IP", counted(p2, src, 1465), "drop inner_big")
	add("P07", "too big: an ICMP error", v4(p2, 1451, ip4{frag: df, proto: 1, lie: nil}), "", func(r *row) {
		r.send = one(eth(p2, src, 0x0800, ip4{src: "10.8.0.19", dst: "10.8.0.99", proto: 1, frag: df}.with(icmp4(3, 1, 0, join(hello, make([]byte, 1400))))))
		r.want = "drop inner_big"
	})
	add("P07", "too big: a later fragment", v4(p2, 1451, ip4{frag: 100}), "drop inner_big")
	add("P07", "too big: to a multicast", v4("01:00:5e:00:00:63", 1451, ip4{frag: df}), "drop inner_big")
	quoted := join(ip4{src: "192.0.2.1", dst: "192.0.2.2", proto: 47, frag: df}.with(gre("20006558 00001f40", inner[:14])))
	forged := func(mtu uint32) []byte {
		return ip4{src: "192.0.2.9", dst: "192.0.2.1", proto: 1}.with(icmp4(3, 4, mtu, quoted))
	}
	for _, mtu := range []uint32{0, 68, 600} {
		add("P09", "1450 bytes after a forged ICMP 3/4 with MTU "+itoa(int(mtu)), v4(p2, 1450, ip4{frag: df}), "forward: p2",
			func(r *row) { r.before = append(known[:1:1], sent{"peer", forged(mtu)}) })
	}
	s.absent = []absent{
		{"P03", "above the port's own MTU, raised in the container", "told as above wherever it goes, routed too, and never cut: the port is looked at first (dataplane)"},
		{"P08", "ICMP 3/4 of a router on the way", "has the hello measure the path to another weft (`TestNetnsShrink`); never believed itself"},
		{"P10", "black hole", "found by the hello within 10 s, to another weft (`TestSessionSize`); to others give the network the MTU that fits"},
		{"P11", "underlay MTU changed live", "the MTU of a network is fixed when it is made; `weft network set --mtu` changes it"},
		{"P12", "next-hop MTU 0", "P09 sends it"},
	}
	return s
}
