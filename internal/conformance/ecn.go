package main

import "fmt"

var ecnNames = [4]string{"Not-ECT", "ECT(1)", "ECT(0)", "CE"}

// ecn are rows of RFC 6040, by frames of n7 that carry IP.
func ecn() section {
	s := section{number: "2.3", title: "ECN and DSCP"}
	add := func(r row) { s.rows = append(s.rows, r) }
	for in := range uint8(4) {
		r := row{
			id: "C01", what: "encap, inside " + ecnNames[in], at: "a", send: one(ip4Frame(ip4{tos: in})), see: seeOuterECN,
			want: "outside " + ecnNames[in] + ": p2",
		}
		if in == 3 {
			r.ovs = "writes ECT(0) for CE, as RFC 3168 had it; RFC 6040 section 4.1 copies"
		}
		add(r)
	}
	for out := range uint8(4) {
		for in := range uint8(4) {
			id, want := "C05", in
			switch {
			case out == 3 && in == 0:
				id = "C02"
			case out == 3 && in != 3:
				id, want = "C03", 3
			case out == 1 && in == 2:
				id, want = "C04", 1
			}
			for _, v := range ecnInners(in) {
				r := row{
					id: id, what: fmt.Sprintf("decap, outside %s, inside %s", ecnNames[out], ecnNames[in]), at: "peer", see: seeInnerECN,
					want: "inside " + ecnNames[want] + ": a",
				}
				if v.name != "IPv4" {
					r.id, r.what = "C06", r.what+", "+v.name
				}
				h := outerOf("2")
				h.tos = out
				r.send = one(h.with(gre("20006558 00000007", v.frame)))
				if id == "C02" {
					r.want = "drop ecn_ce"
				}
				if id == "C04" {
					r.ovs = "keeps ECT(0); RFC 6040 section 4.2 takes ECT(1) over"
				}
				add(r)
			}
		}
	}
	ce := outerOf("2")
	ce.tos = 3
	add(row{id: "C06", what: "decap, outside CE, inside no IP: as it is", at: "peer", send: one(ce.with(gre("20006558 00000007", inner))), want: "forward: a"})
	ce.tos = 0xb8
	add(row{
		id: "C07", what: "decap, DSCP outside: not taken over", at: "peer", want: "forward: a",
		send: one(ce.with(gre("20006558 00000007", with(ip4Frame(ip4{tos: 0x28}), func(b []byte) { b[11] = 0xf7 })))),
	})
	return s
}

type named struct {
	name  string
	frame []byte
}

// ecnInners are packets with an ECN field that came from behind a peer.
func ecnInners(field uint8) []named {
	const src = "02:00:00:00:00:f7"
	v4 := eth("ff:ff:ff:ff:ff:ff", src, 0x0800, ip4{src: "10.7.0.77", dst: "10.7.0.99", tos: field}.with(udp(hello)))
	v6 := eth("33:33:00:00:00:01", src, 0x86dd, ip6{src: "fd07::77", dst: "ff02::1", word: uint32(field) << 20}.with(udp6("fd07::77", "ff02::1", hello)))
	return []named{{"IPv4", v4}, {"IPv6", v6}, {"VLAN and IPv4", tag(v4, 0x8100, 5)}}
}

// seeOuterECN tells the ECN field of the outer header.
func seeOuterECN(_ *row, f []byte, _ string) string { return "outside " + ecnNames[f[15]&3] }

// seeInnerECN tells the ECN field of the packet in a frame, and whether the
// IPv4 checksum holds.
func seeInnerECN(_ *row, f []byte, _ string) string {
	if f[12] == 0x81 {
		f = f[4:]
	}
	p := f[14:]
	if p[0]>>4 == 6 {
		return "inside " + ecnNames[p[1]>>4&3]
	}
	if sum(p[:20]) != 0xffff {
		return "WRONG CHECKSUM"
	}
	return "inside " + ecnNames[p[1]&3]
}
