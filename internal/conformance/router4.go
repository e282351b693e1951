package main

import (
	"bytes"
	"encoding/binary"
	"strconv"
)

const (
	host1MAC = "02:00:00:00:00:11"
	fromGW   = " from 10.1.0.1"
)

// at1 is an IPv4 packet in a frame from r1 to its gateway.
func at1(h ip4, payload []byte) []byte {
	if h.src == "" {
		h.src = "10.1.0.9"
	}
	if h.dst == "" {
		h.dst = "10.2.0.9"
	}
	return eth(gw1, host1MAC, 0x0800, h.with(payload))
}

// router4 are rows of RFC 1812, asked at r1; r2 is where most packets go, r3 is
// behind an MTU of 1400.
func router4() section {
	s := section{number: "2.8", title: "IPv4 router"}
	var last byte = 100 // errors to one sender are limited: each that gets one is another
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
	slow := func(r *row) { r.slow = true }
	plain := func(h ip4) []byte { return at1(h, udp(hello)) }
	// error is a packet from a sender of its own.
	fresh := func(h ip4, payload []byte) []byte {
		last++
		h.src = "10.1.0." + strconv.Itoa(int(last))
		return at1(h, payload)
	}
	const reverse = "has the reverse path check off here; weft has it always on (RFC 3704 section 2.2)"
	const classE = "routes it; RFC 1812 section 5.3.7 says SHOULD drop"

	add("R01", "TTL 64", plain(ip4{}), "routed ttl 63: r2")
	add("R01", "TTL 255", plain(ip4{ttl: 255}), "routed ttl 254: r2")
	add("R01", "TTL 2", plain(ip4{ttl: 2}), "routed ttl 1: r2")
	add("R02", "TTL 1", fresh(ip4{ttl: 1}, udp(hello)), "ICMP 11/0"+fromGW+" (l3_ttl)")
	add("R02", "TTL 0", fresh(ip4{ttl: -1}, udp(hello)), "ICMP 11/0"+fromGW+" (l3_ttl)")
	add("R03", "TTL 1 for the gateway itself", fresh(ip4{ttl: 1, dst: "10.1.0.1"}, udp(hello)), "ICMP 3/3"+fromGW+" (l3_dst)")
	bad := func(what string, lie func([]byte), want string) {
		add("R04", what, at1(ip4{lie: lie}, udp(hello)), want)
	}
	add("R04", "wrong checksum", with(plain(ip4{}), func(b []byte) { b[14+10] ^= 1 }), "drop l3_csum")
	bad("version 5", func(h []byte) { h[0] = 0x55 }, "drop l3_hdr")
	bad("header of 16 bytes", func(h []byte) { h[0] = 0x44 }, "drop l3_hdr")
	bad("header beyond the packet", func(h []byte) { h[0] = 0x4f; binary.BigEndian.PutUint16(h[2:], 40) }, "drop l3_hdr")
	bad("total length beyond the frame", func(h []byte) { binary.BigEndian.PutUint16(h[2:], 2000) }, "drop l3_hdr")
	bad("total length 19", func(h []byte) { binary.BigEndian.PutUint16(h[2:], 19) }, "drop l3_hdr")
	add("R05", "30 bytes of padding", join(plain(ip4{}), make([]byte, 30)), "routed ttl 63: r2")
	for _, a := range []string{"0.0.0.0", "127.0.0.1", "224.1.1.1", "255.255.255.255", "10.1.0.1"} {
		add("R06", "from "+a, plain(ip4{src: a}), "drop l3_src")
	}
	s.rows[len(s.rows)-1].want = "drop l2_spoof" // the guard of the port comes first
	for _, a := range []string{"0.1.2.3", "240.0.0.1"} {
		add("R07", "from "+a, plain(ip4{src: a}), "drop l3_src", linuxWhy(classE))
	}
	add("R07", "from 169.254.1.1", plain(ip4{src: "169.254.1.1"}), "drop l3_src", linuxWhy(reverse))
	add("R07", "from itself to itself", plain(ip4{src: "10.2.0.9"}), "drop l3_src", linuxWhy(reverse))
	add("R07", "from its network's broadcast address", plain(ip4{src: "10.1.0.255"}), "routed ttl 63: r2")
	add("R08", "from a network of another port", plain(ip4{src: "10.3.0.77"}), "drop l3_src", linuxWhy(reverse))
	for _, a := range []string{"127.0.0.1", "0.0.0.0", "255.255.255.255"} {
		add("R09", "to "+a, plain(ip4{dst: a}), "drop l3_dst")
	}
	add("R10", "to 240.0.0.1", fresh(ip4{dst: "240.0.0.1"}, udp(hello)), "ICMP 3/0"+fromGW+" (l3_noroute)")
	add("R10", "no route", fresh(ip4{dst: "172.99.0.1"}, udp(hello)), "ICMP 3/0"+fromGW+" (l3_noroute)")
	add("R12", "directed broadcast", plain(ip4{dst: "10.2.0.255"}), "drop l3_dst")
	add("R12", "the network's own address", plain(ip4{dst: "10.2.0.0"}), "drop l3_dst")
	add("R13", "to 169.254.7.9, with a route", plain(ip4{dst: "169.254.7.9"}), "routed ttl 63: r2")
	add("R14", "to 224.0.0.1", plain(ip4{dst: "224.0.0.1"}), "drop l3_dst")
	add("R14", "to 239.1.2.3", plain(ip4{dst: "239.1.2.3"}), "drop l3_dst")
	large := udp(join(hello, make([]byte, 1440-28-len(hello))))
	add("R15", "1440 bytes with DF to an MTU of 1400", fresh(ip4{dst: "10.3.0.9", frag: 0x4000}, large), "ICMP 3/4 mtu 1400"+fromGW+" (l3_big)")
	add("R15", "1400 bytes with DF", at1(ip4{dst: "10.3.0.9", frag: 0x4000}, large[:1380]), "routed ttl 63: r3")
	cut := func(r *row) { r.see, r.all = seeFragment, true }
	add("R16", "1440 bytes without DF: fragments", at1(ip4{dst: "10.3.0.9", id: 7}, large), "fragment 0+1376 more: r3, fragment 1376+44: r3", cut)
	add("R17", "a fragment that is cut again", at1(ip4{dst: "10.3.0.9", id: 8, frag: 0x2000 | 100}, large), "fragment 2176+44 more: r3, fragment 800+1376 more: r3", cut)
	add("R17", "a fragment that would end beyond 65535", at1(ip4{frag: 0x1fff}, udp(hello)), "drop l3_hdr", linuxWhy("leaves that to the receiver"))
	add("R18", "four NOP", plain(ip4{options: raw("01010101")}), "routed ttl 63: r2")
	add("R18", "record route", plain(ip4{options: raw("0707040000000000")}), "routed ttl 63: r2")
	add("R18", "router alert", plain(ip4{options: raw("94040000")}), "routed ttl 63: r2")
	add("R19", "loose source route", plain(ip4{options: raw("830704 0a020009 00")}), "drop l3_opt")
	add("R19", "strict source route", plain(ip4{options: raw("890704 0a020009 00")}), "drop l3_opt")
	add("R20", "option longer than the header", fresh(ip4{options: raw("07ff0400")}, udp(hello)), "ICMP 12/0"+fromGW+" (l3_opt)")
	add("R21", "in an Ethernet broadcast", with(plain(ip4{}), func(b []byte) { copy(b, mac("ff:ff:ff:ff:ff:ff")) }), "drop l2_noport",
		func(r *row) { r.what += ": bridged, never routed" })
	add("R22", "to another MAC", with(plain(ip4{}), func(b []byte) { copy(b, mac("02:99:00:00:00:01")) }), "drop l2_noport",
		func(r *row) { r.what += ": bridged, never routed" })
	quote := ip4{src: "10.2.0.9", dst: "10.1.0.9"}.with(udp(hello))
	add("R23", "no error about an error", fresh(ip4{ttl: 1, proto: 1}, icmp4(3, 1, 0, quote)), "drop l3_ttl")
	add("R23", "no error about a later fragment", fresh(ip4{ttl: 1, frag: 10}, udp(hello)), "drop l3_ttl")
	add("R23", "no error about a multicast", fresh(ip4{ttl: 1, dst: "224.1.1.1"}, udp(hello)), "drop l3_dst")
	add("R23", "no error to 0.0.0.0", plain(ip4{ttl: 1, src: "0.0.0.0"}), "drop l3_src")
	add("R24", "first fragment, TTL 1", fresh(ip4{ttl: 1, frag: 0x2000}, udp(hello)), "ICMP 11/0"+fromGW+" (l3_ttl)")
	add("R24", "echo request, TTL 1", fresh(ip4{ttl: 1, proto: 1}, icmp4(8, 0, 7, hello)), "ICMP 11/0"+fromGW+" (l3_ttl)")
	add("R25", "seven errors at once to one sender", nil, "6 times ICMP 11/0"+fromGW+" (7 l3_ttl l3_ratelimited)", func(r *row) {
		for range 7 {
			r.send = append(r.send, plain(ip4{ttl: 1, src: "10.1.0.99"}))
		}
		r.notLinux = true // its limits are off, so that the other rows can be asked
	})
	add("R26", "back out of its own port", fresh(ip4{dst: "10.31.0.1"}, udp(hello)), "routed ttl 63",
		linuxWhy("also sends a redirect; RFC 1812 section 5.2.7.2 leaves that open"))
	add("R27", "protocol 99 to the gateway", fresh(ip4{dst: "10.1.0.1", proto: 99}, hello), "ICMP 3/2"+fromGW+" (l3_dst)")
	add("R27", "closed UDP port of the gateway", fresh(ip4{dst: "10.1.0.1"}, udp(hello)), "ICMP 3/3"+fromGW+" (l3_dst)")
	add("R27", "closed UDP port of the gateway of another port", fresh(ip4{dst: "10.2.0.1"}, udp(hello)), "ICMP 3/3 from 10.1.0.1 (l3_dst)",
		linuxWhy("speaks from the address that was asked; weft from that of the port where the packet came in (RFC 1812 section 4.3.2.4)"))
	for _, n := range []int{len(mark), 56, 1400} {
		body := join([]byte(mark), make([]byte, n-len(mark)))
		add("R28", "echo of "+strconv.Itoa(n)+" bytes to the gateway", at1(ip4{dst: "10.1.0.1", proto: 1}, icmp4(8, 0, 0x00070001, body)), "echo reply"+fromGW+", "+strconv.Itoa(n)+" bytes")
	}
	large28 := icmp4(8, 0, 0x00070001, join([]byte(mark), make([]byte, 2992)))
	add("R28", "echo of 3000 bytes to the gateway, in fragments", nil, "fragment 0+1424 more, fragment 1424+1424 more, fragment 2848+160: the reply", func(r *row) {
		r.send = [][]byte{
			at1(ip4{dst: "10.1.0.1", proto: 1, id: 9, frag: 0x2000}, large28[:1000]),
			at1(ip4{dst: "10.1.0.1", proto: 1, id: 9, frag: 0x2000 | 1000/8}, large28[1000:2000]),
			at1(ip4{dst: "10.1.0.1", proto: 1, id: 9, frag: 2000 / 8}, large28[2000:]),
		}
		r.see, r.all = seeReply(large28), true
	}, linuxWhy("its interface here takes packets of that size"))
	add("R28", "echo to the other gateway", at1(ip4{dst: "10.2.0.1", proto: 1}, icmp4(8, 0, 0x00070001, hello)), "echo reply from 10.2.0.1, 46 bytes")
	add("R29", "a route via a container", plain(ip4{dst: "10.30.1.1"}), "routed ttl 63: r2")
	add("R29", "a longer prefix wins", plain(ip4{dst: "10.30.9.1"}), "routed ttl 63: r3", func(r *row) {
		r.setup, r.undo = []string{"route add 10.30.9.0/24 via 10.3.0.9 --vrf net"}, []string{"route rm 10.30.9.0/24 --vrf net"}
	})
	add("R29", "and is gone when removed", plain(ip4{dst: "10.30.9.1"}), "routed ttl 63: r2")
	add("R29", "a route to a peer: bare IP in GRE", eth("02:57:00:00:00:18", "02:00:00:00:00:18", 0x0800, ip4{src: "10.13.0.8", dst: "10.20.0.9"}.with(udp(hello))),
		"20000800 key 24, routed ttl 63: p2", func(r *row) { r.at, r.see = "h", seeOuter })
	bare := func(src string) []byte {
		return from("2", gre("20000800 00000018", ip4{src: src, dst: "10.13.0.9"}.with(udp(hello))))
	}
	peer := func(r *row) { r.at, r.only = "peer", true }
	add("R29", "bare IP from a peer with a route back", bare("10.20.0.9"), "routed ttl 63: g", peer)
	add("R08", "bare IP from a peer without one", bare("10.21.0.9"), "drop l3_src", peer)
	add("A12", "next hop does not answer", fresh(ip4{dst: "10.2.0.200"}, udp(hello)), "ICMP 3/1"+fromGW+" (l3_neigh)", slow, linuxWhy("says it twice"))
	s.absent = []absent{
		{"R04", "in bridged frames", "a bridge does not look; ports that are held to their addresses refuse them (2.7)"},
		{"R11", "reject, prohibit, blackhole", "weft has no such routes"},
		{"R25", "the limit of all senders", "dataplane tests it: a thousand a second"},
		{"R29", "1.06 million prefixes", "fib tests them against a naive table; not part of the repository"},
		{"R30", "route replaced under traffic", "fib and control test it"},
		{"R31", "a route through its own tunnel", "refused by `weft route add`: control tests it"},
		{"R32", "port down", "a network's prefix stays connected while the network has its gateway"},
	}
	return s
}

// seeFragment describes fragments by offset and length.
func seeFragment(_ *row, f []byte, _ string) string {
	p := f[14:]
	if f[12] != 8 || f[13] != 0 || p[9] != 17 || sum(p[:20]) != 0xffff {
		return "other"
	}
	word := binary.BigEndian.Uint16(p[6:])
	text := "fragment " + strconv.Itoa(int(word&0x1fff)*8) + "+" + strconv.Itoa(int(binary.BigEndian.Uint16(p[2:]))-20)
	if word&0x2000 != 0 {
		text += " more"
	}
	return text
}

// seeReply describes the fragments of the answer to an echo request, and the
// last one by whether all of them make it up.
func seeReply(request []byte) func(*row, []byte, string) string {
	want := with(request, func(m []byte) { m[0], m[2], m[3] = 0, 0, 0 })
	binary.BigEndian.PutUint16(want[2:], ^sum(want))
	var got []byte
	return func(_ *row, f []byte, _ string) string {
		p := f[14:]
		if len(f) < 34 || f[12] != 8 || f[13] != 0 || p[9] != 1 || sum(p[:20]) != 0xffff {
			return "other"
		}
		word, size := binary.BigEndian.Uint16(p[6:]), int(binary.BigEndian.Uint16(p[2:]))-20
		text := "fragment " + strconv.Itoa(int(word&0x1fff)*8) + "+" + strconv.Itoa(size)
		if got = append(got, p[20:20+size]...); word&0x2000 != 0 {
			return text + " more"
		}
		if !bytes.Equal(got, want) {
			return text + ": WRONG"
		}
		return text + ": the reply"
	}
}
