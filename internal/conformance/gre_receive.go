package main

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

// inner is what GRE carries in most rows: a broadcast from behind a peer.
var inner = eth("ff:ff:ff:ff:ff:ff", "02:00:00:00:00:f7", 0x88b5, hello)

// Reasons for which Open vSwitch differs.
const (
	ovsReserved = "drops every reserved bit; RFC 2784 section 2.3 wants bits 6 to 12 ignored"
	ovsVLAN0    = "takes a tag of VLAN 0 off"
	ovsSources  = "forwards and learns invalid source MACs; IEEE 802.1D section 7.8 forbids it"
)

// greReceive are rows of RFC 2784 and RFC 2890, for a receiver of Ethernet frames.
func greReceive() section {
	s := section{number: "2.1", title: "GRE receive"}
	good := gre("20006558 00000007", inner)
	add := func(id, what string, packet []byte, want string, more ...func(*row)) {
		r := row{id: id, what: what, at: "peer", send: one(packet), want: want}
		for _, m := range more {
			m(&r)
		}
		s.rows = append(s.rows, r)
	}
	ovsWhy := func(why string) func(*row) { return func(r *row) { r.ovs = why } }
	only := func(r *row) { r.only = true }
	const ok = "forward: a"

	add("G01", "keyless frame from a keyless peer", from("4", gre("00006558", inner)), "forward: k")
	add("G02", "key that is known", from("2", good), ok)
	add("G03", "key that is not", from("2", gre("20006558 000003e7", inner)), "drop gre_key")
	add("G04", "no key from a keyed peer", from("2", gre("00006558", inner)), "drop gre_key")
	add("G05", "key from a keyless peer", from("4", gre("20006558 00000007", inner)), "drop gre_key")
	add("G06", "key 0 is not no key", from("4", gre("20006558 00000000", inner)), "drop gre_key",
		ovsWhy("a tunnel port without key= is one with key 0, present or not (ovs-vswitchd.conf.db(5))"))
	add("G07", "right checksum, not configured", from("2", summed("a0006558", "00000007", inner)), ok)
	add("G08", "wrong checksum", from("2", with(summed("a0006558", "00000007", inner), func(b []byte) { b[4] ^= 1 })), "drop gre_csum")
	add("G10", "Reserved1 not zero, checksum right", from("2", reserved1(inner)), ok)
	add("G11", "checksum over an odd length", from("2", summed("a0006558", "00000007", inner[:len(inner)-1])), ok)
	add("G12", "checksum that sums up to 0x0000", from("2", sumTo(0xffff)), ok)
	add("G12", "checksum that sums up to 0xffff", from("2", sumTo(0)), ok)
	add("G13", "sequence number, ordering off", from("2", gre("30006558 00000007 00000005", inner)), ok)
	add("G13", "an older one", from("2", gre("30006558 00000007 00000003", inner)), ok)

	seq := func(key, n uint32) []byte {
		h := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(raw("30006558"), key), n)
		return from("5", append(h, inner...))
	}
	after := func(packets ...[]byte) func(*row) {
		return func(r *row) {
			r.only = true
			for _, p := range packets {
				r.before = append(r.before, sent{"peer", p})
			}
		}
	}
	add("G19", "ordering on: the first number, any", seq(9000, 1000), "forward: s", only)
	add("G14", "ordering on: the next number", seq(9000, 1001), "forward: s", only)
	add("G15", "ordering on: the same number again", seq(9000, 1001), "drop gre_seq_old", only)
	add("G15", "ordering on: an older one", seq(9000, 900), "drop gre_seq_old", only)
	add("G16", "ordering on: a gap", seq(9000, 1010), "forward: s", only)
	add("G18", "ordering on: no number", from("5", gre("20006558 00002328", inner)), "forward: s", only)
	add("G20", "ordering on: numbers count per key", seq(9001, 5), "forward: t", only)
	add("G17", "ordering on: from ffffffff to 0", seq(9001, 0), "forward: t",
		after(seq(9001, 0x7fffff00), seq(9001, 0xfffffe00), seq(9001, 0xffffffff)))

	add("G21", "routing bit", from("2", gre("60006558 00000007 00000000", inner)), "drop gre_routing")
	add("G22", "bit 4", from("2", gre("28006558 00000007", inner)), "drop gre_reserved")
	add("G23", "bit 5", from("2", gre("24006558 00000007", inner)), "drop gre_reserved")
	for bit := 6; bit <= 12; bit++ {
		h := fmt.Sprintf("%04x6558 00000007", 0x2000|0x8000>>bit)
		add("G24", fmt.Sprintf("bit %d, reserved", bit), from("2", gre(h, inner)), ok, ovsWhy(ovsReserved))
	}
	add("G25", "version 1 (PPTP)", from("2", gre("3001880b 00000007", inner)), "drop gre_version")
	for v := 2; v <= 7; v++ {
		add("G26", fmt.Sprintf("version %d", v), from("2", gre(fmt.Sprintf("200%d6558 00000007", v), inner)), "drop gre_version")
	}
	for n := range 4 {
		add("G27", fmt.Sprintf("%d bytes of GRE", n), from("2", good[:n]), "drop gre_short")
	}
	for n := range 4 {
		add("G28", fmt.Sprintf("%d bytes of key", n), from("2", good[:4+n]), "drop gre_short")
	}
	all := summed("b0006558", "00000007 00000001", inner)
	for n := range 12 {
		add("G28", fmt.Sprintf("%d of 12 bytes of options", n), from("2", all[:4+n]), "drop gre_short")
	}
	for _, n := range []int{0, 1, 13} {
		add("G29", fmt.Sprintf("frame of %d bytes", n), from("2", good[:8+n]), "drop inner_runt")
	}
	short := with(inner, func(b []byte) { copy(b[:6], mark); b[13] = 0xb6 }) // the mark as destination: a frame without payload has no other place
	short = with(short, func(b []byte) { b[0] &^= 1; b[0] |= 2 })
	exact := func(r *row) { r.all = true }
	add("G30", "frame of 14 bytes", from("2", gre("20006558 00000007", short[:14])), ok, exact,
		ovsWhy("takes frames from 42 bytes on in this path"))
	add("G31", "frame of 42 bytes, no padding", from("2", gre("20006558 00000007", inner[:42])), ok)
	add("G32", "IPv4 announced, a frame inside", from("2", gre("20000800 00000007", inner)), "drop gre_proto")
	add("G32", "IPv6 announced, a frame inside", from("2", gre("200086dd 00000007", inner)), "drop gre_proto")
	add("G33", "protocol type 0, a keepalive", from("2", gre("20000000 00000007", inner)), "drop gre_keepalive")
	for _, p := range strings.Fields("0806 88be 22eb 880b 883e 2000 2001 05ff ffff") {
		add("G34", "protocol type "+p, from("2", gre("2000"+p+"00000007", inner)), "drop gre_proto")
	}
	add("G35", "a stranger", from("9", good), "drop gre_peer")
	add("G37", "outer destination multicast", ip4{src: "192.0.2.2", dst: "224.0.0.1", proto: 47}.with(good), "drop gre_peer")
	add("G38", "outer options, four NOP", ip4{src: "192.0.2.2", dst: "192.0.2.1", proto: 47, options: raw("01010101")}.with(good), ok,
		ovsWhy("does not take tunnel packets with IP options"))
	add("G39", "outer TTL 1", ip4{src: "192.0.2.2", dst: "192.0.2.1", proto: 47, ttl: 1}.with(good), ok)
	fragments := func(id, what, want string, order ...int) {
		h := ip4{src: "192.0.2.2", dst: "192.0.2.1", proto: 47, id: uint16(1000 + len(s.rows))}
		parts := [][]byte{}
		for _, i := range order {
			h := h
			h.frag = uint16(i * 3)
			end := min(24*(i+1), len(good))
			if end < len(good) {
				h.frag |= 0x2000
			}
			parts = append(parts, h.with(good[24*i:end]))
		}
		add(id, what, nil, want, ovsWhy("does not put outer fragments together"), func(r *row) { r.send = parts })
	}
	fragments("G40", "outer fragments in order", "changed: a", 0, 1, 2)
	fragments("G40", "outer fragments in another order", "changed: a", 2, 0, 1)
	for i := range s.rows { // the frame is in several packets: say that it is whole
		if s.rows[i].id == "G40" {
			s.rows[i].want = ok
			s.rows[i].see = func(r *row, f []byte, place string) string {
				if place != "a" { // told by ICMP
					return describeOuter(r, f)
				}
				return sameAs(f, inner)
			}
		}
	}
	for _, t := range []struct {
		what  string
		frame []byte
	}{
		{"VLAN 0", tag(inner, 0x8100, 0)}, {"VLAN 5", tag(inner, 0x8100, 5)}, {"VLAN 4095", tag(inner, 0x8100, 4095)},
		{"QinQ", tag(tag(inner, 0x8100, 5), 0x88a8, 7)},
	} {
		why := ""
		if t.what == "VLAN 0" {
			why = ovsVLAN0
		}
		add("G41", "inner "+t.what, from("2", gre("20006558 00000007", t.frame)), ok, ovsWhy(why))
	}
	source := func(src string) []byte {
		return from("2", gre("20006558 00000007", with(inner, func(b []byte) { copy(b[6:], mac(src)) })))
	}
	add("G42", "inner source multicast", source("03:00:00:00:00:01"), "drop inner_smac", ovsWhy(ovsSources))
	add("G42", "inner source zero", source("00:00:00:00:00:00"), "drop inner_smac", ovsWhy(ovsSources))
	add("G43", "inner destination 01:80:c2:00:00:0e",
		from("2", gre("20006558 00000007", with(inner, func(b []byte) { copy(b, mac("01:80:c2:00:00:0e")) }))), "drop l2_linklocal")
	big := from("2", gre("20006558 00000007", join(inner, make([]byte, 1450+15-len(inner)))))
	add("G44", "inner frame one byte above the MTU", big, "drop inner_big")
	nested := eth("ff:ff:ff:ff:ff:ff", "02:00:00:00:00:f7", 0x0800, from("2", good))
	add("G45", "GRE in GRE: the inner one is payload", from("2", gre("20006558 00000007", nested)), ok)
	padded := eth("ff:ff:ff:ff:ff:ff", "02:00:00:00:00:f7", 0x0800, join(ip4{src: "10.7.0.77", dst: "10.7.0.255"}.with(udp(hello)), make([]byte, 40)))
	add("G46", "bytes behind the inner IP packet", from("2", gre("20006558 00000007", padded)), ok)
	add("N01", "NVGRE, virtual subnet 7, flow 1: no key of a network (RFC 7637)", from("2", gre("20006558 00000701", inner)), "drop gre_key")
	add("N01", "NVGRE with a checksum, which RFC 7637 forbids", from("2", summed("a0006558", "00000701", inner)), "drop gre_key")
	s.rows = append(s.rows, flips(good)...)
	s.absent = []absent{
		{"G09", "checksum demanded and absent", "no option demands checksums"},
		{"G36", "outer destination is another address of the host", "held by encap's socket tests: it needs a host with two addresses"},
		{"G40", "overlapping fragments", "the kernel's own business: it puts them together before weft sees them"},
		{"G47", "all captures", "internal/e2e TestCaptures replays them; they are not part of the repository"},
	}
	return s
}

// flips are all packets that differ from a good one in one bit of its GRE
// header, in one row: which are delivered?
func flips(good []byte) []row {
	var packets [][]byte
	for bit := range 64 {
		b := append([]byte(nil), good...)
		b[bit/8] ^= 0x80 >> (bit % 8)
		packets = append(packets, from("2", append(b, byte(bit))))
	}
	see := func(_ *row, f []byte, _ string) string { return fmt.Sprintf("bit %02d", f[len(f)-1]) }
	// What RFC 2784 and RFC 2890 say of each bit.
	count := map[string]int{}
	for bit := range 64 {
		switch {
		case bit == 0:
			count["gre_csum"]++
		case bit == 1:
			count["gre_routing"]++
		case bit == 2 || bit >= 32:
			count["gre_key"]++
		case bit == 4 || bit == 5:
			count["gre_reserved"]++
		case bit >= 13 && bit < 16:
			count["gre_version"]++
		case bit >= 16:
			count["gre_proto"]++
		}
	}
	var reasons []string
	for reason, n := range count {
		if n > 1 {
			reason = fmt.Sprintf("%d %s", n, reason)
		}
		reasons = append(reasons, reason)
	}
	slices.Sort(reasons)
	drops := "(" + strings.Join(reasons, " ") + ")"
	want := "bit 03: a"
	for bit := 6; bit <= 12; bit++ {
		want += fmt.Sprintf(", bit %02d: a", bit)
	}
	return []row{{
		id: "G48", what: "every bit of the header flipped, one at a time", at: "peer", send: packets, see: see,
		want: want + " " + drops, ovs: ovsReserved,
	}}
}

// sameAs says whether a frame arrived whole.
func sameAs(got, want []byte) string {
	if string(got) == string(want) {
		return "forward"
	}
	return "changed"
}

// summed is a GRE packet with a right checksum, by flags and protocol type, and what
// follows the checksum.
func summed(head, options string, payload []byte) []byte {
	b := join(raw(head), []byte{0, 0, 0, 0}, raw(options), payload)
	binary.BigEndian.PutUint16(b[4:], ^sum(b))
	return b
}

// reserved1 has a right checksum and a Reserved1 that is not zero.
func reserved1(payload []byte) []byte {
	b := join(raw("a0006558 00001234 00000007"), payload)
	binary.BigEndian.PutUint16(b[4:], ^sum(b))
	return b
}

// sumTo has a payload that makes the checksum field the complement of total.
func sumTo(total uint16) []byte {
	b := join(raw("a0006558 00000000 00000007"), inner)
	at := len(b) - 2
	b[at], b[at+1] = 0, 0
	binary.BigEndian.PutUint16(b[at:], addOnes(total, ^sum(b)))
	binary.BigEndian.PutUint16(b[4:], ^sum(b))
	return b
}

// addOnes adds in one's complement.
func addOnes(a, b uint16) uint16 {
	s := uint32(a) + uint32(b)
	return uint16(s>>16 + s&0xffff)
}
