package header

import (
	"encoding/binary"
	"net/netip"
)

// IPv6 (RFC 8200 section 3):
//
//	 0       1       2       3
//	|ver| class |     flow label    |
//	|payload length | next  | hops  |
//	|        source, 16 bytes       |
//	|     destination, 16 bytes     |
//	|    extension headers ...      |

// IPv6 is a view of a packet, from its header to its end.
type IPv6 []byte

// IPv6Len is the size of a header without extension headers.
const IPv6Len = 40

// maxExtensions bounds the walk: more extension headers than this is an attack
// (RFC 7045 section 2.1 asks for a limit; real packets have two or three).
const maxExtensions = 8

// ParseIPv6 checks version and lengths. The view ends with the packet: padding
// behind its payload length is cut off. Jumbograms (RFC 2675) are not taken.
func ParseIPv6(b []byte) (IPv6, bool) {
	if len(b) < IPv6Len || b[0]>>4 != 6 {
		return nil, false
	}
	total := IPv6Len + int(binary.BigEndian.Uint16(b[4:]))
	if len(b) < total {
		return nil, false
	}
	return b[:total], true
}

// FlowLabel returns the flow label; 0: none.
func (p IPv6) FlowLabel() uint32 { return binary.BigEndian.Uint32(p) & 0xfffff }

// TrafficClass returns DSCP and ECN in one byte.
func (p IPv6) TrafficClass() uint8 { return p[0]<<4 | p[1]>>4 }

// SetTrafficClass replaces DSCP and ECN; no checksum covers them.
func (p IPv6) SetTrafficClass(tc uint8) {
	p[0] = p[0]&0xf0 | tc>>4
	p[1] = p[1]&0x0f | tc<<4
}

// NextHeader returns the protocol of what follows the fixed header.
func (p IPv6) NextHeader() uint8 { return p[6] }

// HopLimit returns the hops left.
func (p IPv6) HopLimit() uint8 { return p[7] }

// DecHopLimit takes one hop from a hop limit of at least 1.
func (p IPv6) DecHopLimit() { p[7]-- }

// SrcAddr returns the source address.
func (p IPv6) SrcAddr() netip.Addr { return netip.AddrFrom16([16]byte(p[8:24])) }

// DstAddr returns the destination address.
func (p IPv6) DstAddr() netip.Addr { return netip.AddrFrom16([16]byte(p[24:40])) }

// Upper walks over extension headers to the upper-layer header. It is false
// where the chain is cut off, too long, or has a hop-by-hop header that is not
// the first (RFC 8200 section 4.1). It stops at the first header that it does not
// know, ESP for one, and calls that the upper layer.
func (p IPv6) Upper() (Upper, bool) {
	if next := p[6]; next == ProtoTCP || next == ProtoUDP || next == ProtoICMPv6 {
		return Upper{Proto: next, Off: IPv6Len, First: true}, true
	}
	return p.walk()
}

func (p IPv6) walk() (Upper, bool) {
	u := Upper{Proto: p[6], Off: IPv6Len, First: true}
	for range maxExtensions {
		size := 8
		switch u.Proto {
		case ProtoHopByHop, ProtoRouting, ProtoDestOpts:
			if u.Proto == ProtoHopByHop && u.Off != IPv6Len {
				return u, false
			}
			if len(p) < u.Off+8 {
				return u, false
			}
			size = (int(p[u.Off+1]) + 1) * 8 // RFC 8200 section 4.2 ff.
		case ProtoAuth:
			if len(p) < u.Off+8 {
				return u, false
			}
			size = (int(p[u.Off+1]) + 2) * 4 // RFC 4302 section 2.2
		case ProtoFragment:
			if len(p) < u.Off+8 {
				return u, false
			}
			u.Fragment = true
			u.First = binary.BigEndian.Uint16(p[u.Off+2:])&0xfff8 == 0
		default:
			return u, true
		}
		if len(p) < u.Off+size {
			return u, false
		}
		u.Proto, u.Off = p[u.Off], u.Off+size
		if !u.First {
			return u, true // the rest of the chain is in the first fragment
		}
	}
	return u, false
}

// PseudoSum returns the sum of the pseudo-header that upper-layer checksums
// cover (RFC 8200 section 8.1), for length bytes of proto.
func (p IPv6) PseudoSum(proto uint8, length int) uint32 {
	return Sum(p[8:40]) + uint32(proto) + uint32(length)
}

// IPv6Fields describes a header without extension headers to be written.
type IPv6Fields struct {
	TrafficClass  uint8
	PayloadLength int // bytes behind the header, up to 65,535
	NextHeader    uint8
	HopLimit      uint8
	Src, Dst      netip.Addr // IPv6
	FlowLabel     uint32     // 20 bits; 0: none (RFC 6437 section 2)
}

// Put writes the header to the first IPv6Len bytes of b.
func (f IPv6Fields) Put(b []byte) {
	_ = b[IPv6Len-1]
	binary.BigEndian.PutUint32(b, 6<<28|uint32(f.TrafficClass)<<20|f.FlowLabel&0xfffff)
	binary.BigEndian.PutUint16(b[4:], uint16(f.PayloadLength))
	b[6], b[7] = f.NextHeader, f.HopLimit
	src, dst := f.Src.As16(), f.Dst.As16()
	copy(b[8:], src[:])
	copy(b[24:], dst[:])
}
