package offload

import (
	"encoding/binary"

	"weft/internal/header"
)

// packet says where the headers of an IP packet are in its frame. All are
// offsets from the start of the frame.
type packet struct {
	l3, l4   int
	end      int // behind the packet; before the frame's end where that is padded
	proto    uint8
	v6       bool
	fragment bool // l4 may be anything then
}

// ipPacket finds the IP packet in a frame of at least header.EthernetLen bytes,
// which must be whole. typ and l3 are valid also where ok is false.
func ipPacket(frame []byte) (p packet, typ uint16, ok bool) {
	typ, l3 := header.Ethernet(frame).L3()
	p, ok = packetAt(frame, typ, l3)
	return p, typ, ok
}

// packetAt finds the headers of an IP packet that begins at l3; typ is its
// EtherType. l3 is valid also where ok is false.
func packetAt(frame []byte, typ uint16, l3 int) (p packet, ok bool) {
	p.l3 = l3
	var u header.Upper
	switch typ {
	case header.TypeIPv4:
		ip, isIP := header.ParseIPv4(frame[l3:])
		if !isIP {
			return p, false
		}
		u, ok, p.end = ip.Upper(), true, l3+len(ip)
	case header.TypeIPv6:
		ip, isIP := header.ParseIPv6(frame[l3:])
		if !isIP {
			return p, false
		}
		u, ok = ip.Upper()
		p.v6, p.end = true, l3+len(ip)
	}
	p.l4, p.proto, p.fragment = l3+u.Off, u.Proto, u.Fragment
	return p, ok
}

// headersEnd returns where the payload of a whole TCP or UDP packet begins, and
// where its checksum is, counted from p.l4. It is false for anything else, a
// UDP datagram that does not fill its packet included.
func (p packet) headersEnd(frame []byte) (end, checksum int, ok bool) {
	if p.fragment {
		return 0, 0, false
	}
	b := frame[p.l4:p.end]
	switch p.proto {
	case header.ProtoTCP:
		t, ok := header.ParseTCP(b)
		if !ok {
			return 0, 0, false
		}
		return p.l4 + t.HeaderLen(), header.TCPChecksumOffset, true
	case header.ProtoUDP:
		u, ok := header.ParseUDP(b)
		return p.l4 + header.UDPLen, header.UDPChecksumOffset, ok && len(u) == len(b)
	}
	return 0, 0, false
}

// pseudoSum returns the sum of the pseudo-header for length bytes of proto.
func (p packet) pseudoSum(frame []byte, length int) uint32 {
	if p.v6 {
		return header.IPv6(frame[p.l3:]).PseudoSum(p.proto, length)
	}
	return header.IPv4(frame[p.l3:]).PseudoSum(p.proto, length)
}

// complete finishes a checksum whose field, offset bytes behind the start of
// b, holds the pseudo-header sum. A sum of 0 is written as 0xffff, its equal,
// since 0 says "no checksum" in UDP (RFC 768).
func complete(b []byte, offset int) {
	sum := ^header.Fold(header.Sum(b))
	if sum == 0 {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(b[offset:], sum)
}
