package main

import (
	"encoding/binary"
	"encoding/hex"
	"net"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"
)

// mark stands in every payload, so that what a case causes is told from what
// kernels send by themselves. ICMP errors quote it.
const mark = "conform."

// hello is a payload.
var hello = []byte(mark + strings.Repeat("x", 38))

// mac parses an Ethernet address.
func mac(s string) net.HardwareAddr {
	m, err := net.ParseMAC(s)
	if err != nil {
		panic(err)
	}
	return m
}

// raw parses hexadecimal digits with spaces between.
func raw(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

// join concatenates.
func join(parts ...[]byte) (all []byte) {
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// eth builds an Ethernet frame.
func eth(dst, src string, etherType uint16, payload []byte) []byte {
	return append(binary.BigEndian.AppendUint16(join(mac(dst), mac(src)), etherType), payload...)
}

// with returns a copy of b that f changed.
func with(b []byte, f func([]byte)) []byte {
	b = append([]byte(nil), b...)
	f(b)
	return b
}

// tag puts a VLAN tag into a frame.
func tag(frame []byte, tpid, tci uint16) []byte {
	t := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, tpid), tci)
	return join(frame[:12], t, frame[12:])
}

// ip4 is an IPv4 header; what is zero takes the value in the comment.
type ip4 struct {
	src, dst string
	tos      uint8
	ttl      int    // 64; -1: 0
	proto    uint8  // UDP
	frag     uint16 // flags and offset
	id       uint16
	options  []byte // a multiple of 4
	lie      func(h []byte)
}

// with builds the packet. lie changes the header before its checksum is made.
func (h ip4) with(payload []byte) []byte {
	n := 20 + len(h.options)
	p := make([]byte, n, n+len(payload))
	p[0], p[1], p[8], p[9] = byte(0x40|n/4), h.tos, byte(h.ttl), h.proto
	switch h.ttl {
	case 0:
		p[8] = 64
	case -1:
		p[8] = 0
	}
	if h.proto == 0 {
		p[9] = unix.IPPROTO_UDP
	}
	binary.BigEndian.PutUint16(p[2:], uint16(n+len(payload)))
	binary.BigEndian.PutUint16(p[4:], h.id)
	binary.BigEndian.PutUint16(p[6:], h.frag)
	copy(p[12:], netip.MustParseAddr(h.src).AsSlice())
	copy(p[16:], netip.MustParseAddr(h.dst).AsSlice())
	copy(p[20:], h.options)
	if h.lie != nil {
		h.lie(p)
	}
	binary.BigEndian.PutUint16(p[10:], ^sum(p))
	return append(p, payload...)
}

// ip6 is an IPv6 header.
type ip6 struct {
	src, dst string
	hop      int   // 64; -1: 0
	next     uint8 // UDP
	word     uint32
	lie      func(h []byte)
}

func (h ip6) with(payload []byte) []byte {
	p := make([]byte, 40, 40+len(payload))
	binary.BigEndian.PutUint32(p, 6<<28|h.word)
	binary.BigEndian.PutUint16(p[4:], uint16(len(payload)))
	p[6], p[7] = h.next, byte(h.hop)
	switch h.hop {
	case 0:
		p[7] = 64
	case -1:
		p[7] = 0
	}
	if h.next == 0 && h.word != hopByHop {
		p[6] = unix.IPPROTO_UDP
	}
	if h.word == hopByHop {
		binary.BigEndian.PutUint32(p, 6<<28)
	}
	copy(p[8:], netip.MustParseAddr(h.src).AsSlice())
	copy(p[24:], netip.MustParseAddr(h.dst).AsSlice())
	if h.lie != nil {
		h.lie(p)
	}
	return append(p, payload...)
}

// hopByHop as ip6.word asks for next header 0.
const hopByHop = 1 << 31

// udp is a datagram to a port where nobody listens, without a checksum.
func udp(payload []byte) []byte {
	b := binary.BigEndian.AppendUint16([]byte{0x9c, 0x40, 0x9c, 0x41}, uint16(8+len(payload)))
	return join(b, []byte{0, 0}, payload)
}

// udp6 is one with the checksum that IPv6 demands.
func udp6(src, dst string, payload []byte) []byte {
	b := udp(payload)
	binary.BigEndian.PutUint16(b[6:], ^sum(pseudo6(src, dst, unix.IPPROTO_UDP, b)))
	return b
}

// icmp4 is an ICMP message.
func icmp4(typ, code uint8, rest uint32, body []byte) []byte {
	b := append(binary.BigEndian.AppendUint32([]byte{typ, code, 0, 0}, rest), body...)
	binary.BigEndian.PutUint16(b[2:], ^sum(b))
	return b
}

// icmp6 is an ICMPv6 message.
func icmp6(src, dst string, typ, code uint8, rest uint32, body []byte) []byte {
	b := append(binary.BigEndian.AppendUint32([]byte{typ, code, 0, 0}, rest), body...)
	binary.BigEndian.PutUint16(b[2:], ^sum(pseudo6(src, dst, unix.IPPROTO_ICMPV6, b)))
	return b
}

func pseudo6(src, dst string, proto uint8, b []byte) []byte {
	s, d := netip.MustParseAddr(src).As16(), netip.MustParseAddr(dst).As16()
	return join(s[:], d[:], binary.BigEndian.AppendUint32(nil, uint32(len(b))), []byte{0, 0, 0, proto}, b)
}

// arp is the payload of an ARP frame.
func arp(op uint16, sha, spa, tha, tpa string) []byte {
	b := binary.BigEndian.AppendUint16([]byte{0, 1, 8, 0, 6, 4}, op)
	s, d := netip.MustParseAddr(spa).As4(), netip.MustParseAddr(tpa).As4()
	return join(b, mac(sha), s[:], mac(tha), d[:])
}

// sum is the checksum of RFC 1071, not yet complemented.
func sum(b []byte) uint16 {
	var s uint32
	for i, c := range b {
		s += uint32(c) << (8 * (1 - i%2))
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

// gre puts a GRE header, in hexadecimal, in front of a frame or packet.
func gre(header string, payload []byte) []byte { return append(raw(header), payload...) }

// from wraps GRE into an outer packet of a peer, by the last byte of its address.
func from(peer string, gre []byte) []byte { return outerOf(peer).with(gre) }

func outerOf(peer string) ip4 {
	return ip4{src: "192.0.2." + peer, dst: "192.0.2.1", proto: unix.IPPROTO_GRE, frag: 0x4000}
}
