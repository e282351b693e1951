package main

import (
	"encoding/binary"
	"fmt"
)

// greTransmit are rows about what leaves for a peer.
func greTransmit() section {
	s := section{number: "2.2", title: "GRE transmit"}
	add := func(id, what, at string, frame []byte, want string, more ...func(*row)) {
		r := row{id: id, what: what, at: at, send: one(frame), want: want, see: seeOuter}
		for _, m := range more {
			m(&r)
		}
		s.rows = append(s.rows, r)
	}
	out := func(src string) []byte { return eth("ff:ff:ff:ff:ff:ff", src, 0x88b5, hello) }
	a := out("02:00:00:00:00:0a")
	header := func(r *row) { r.see = seeHeader }

	add("E01", "keyless: the frame as it is", "k", out("02:00:00:00:00:0b"), "00006558, forward: p4")
	add("E02", "key, big-endian", "a", a, "20006558 key 7, forward: p2")
	add("E03", "checksum on: it is right", "u", out("02:00:00:00:00:0e"), "a0006558 key 11000, checksum right: p6",
		func(r *row) { r.see, r.only = seeSum, true })
	add("E04", "sequence on: one more each", "s", out("02:00:00:00:00:0c"), "number +0: p5, number +1: p5, number +2: p5", func(r *row) {
		r.send = append(r.send, r.send[0], r.send[0])
		r.see, r.only = seeNumber(), true
	})
	add("E06", "outer header: version, IHL, TTL, length, checksum", "a", a, "45 tos 0 ttl 64 df 1 from 192.0.2.1, length and checksum right: p2", header)
	add("E09", "outer TOS: the DSCP inside is not copied", "a", ip4Frame(ip4{tos: 0xb8}), "45 tos 0 ttl 64 df 1 from 192.0.2.1, length and checksum right: p2", header)
	add("E12", "a VLAN tag stays inside", "a", tag(a, 0x8100, 5), "20006558 key 7, forward: p2")
	add("E31", "14 bytes", "a", eth("02:99:00:00:00:01", "02:00:00:00:00:0a", 0x88b6, nil), "20006558 key 7, forward: p2", func(r *row) { r.all = true })
	s.rows[len(s.rows)-1].id = "G30"
	s.absent = []absent{
		{"E05", "reserved bits are 0", "E01 to E04 compare the whole first 32 bits"},
		{"E07", "DF, and too big", "E06 for DF; 2.4 for too big"},
		{"E08", "outer id without DF", "DF is always set"},
		{"E10", "ttl=inherit", "no such option"},
		{"E11", "outer source", "E06: that of --local"},
		{"E13", "unfinished checksums", "internal/e2e TestVirtio; a raw socket's frames are complete"},
		{"E14", "super-frames", "internal/e2e TestVirtio and TestTshark"},
		{"E15", "order of a flow", "internal/e2e moves streams and numbered datagrams"},
	}
	return s
}

// ip4Frame is an IPv4 packet from a to nobody that is known.
func ip4Frame(h ip4) []byte {
	h.src, h.dst = "10.7.0.10", "10.7.0.99"
	return eth("02:99:00:00:00:01", "02:00:00:00:00:0a", 0x0800, h.with(udp(hello)))
}

// seeHeader describes the outer IPv4 header.
func seeHeader(_ *row, f []byte, _ string) string {
	p := f[14:]
	right := "wrong"
	if sum(p[:20]) == 0xffff && int(binary.BigEndian.Uint16(p[2:])) == len(p) {
		right = "right"
	}
	return fmt.Sprintf("%x tos %d ttl %d df %d from %d.%d.%d.%d, length and checksum %s",
		p[0], p[1], p[8], p[6]>>6&1, p[12], p[13], p[14], p[15], right)
}

// seeSum checks the GRE checksum.
func seeSum(_ *row, f []byte, _ string) string {
	g := f[34:]
	right := "wrong"
	if sum(g) == 0xffff && g[6] == 0 && g[7] == 0 {
		right = "right"
	}
	return fmt.Sprintf("%x key %d, checksum %s", g[:4], binary.BigEndian.Uint32(g[8:]), right)
}

// seeNumber returns a description of sequence numbers by the first of them.
func seeNumber() func(*row, []byte, string) string {
	var first uint32
	return func(_ *row, f []byte, _ string) string {
		n := binary.BigEndian.Uint32(f[34+8:])
		if first == 0 {
			first = n
		}
		return fmt.Sprintf("number +%d", n-first)
	}
}
