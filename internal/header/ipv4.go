package header

import (
	"encoding/binary"
	"net/netip"
)

// IPv4 (RFC 791 section 3.1):
//
//	 0       1       2       3
//	|ver|IHL|  TOS  |  total length |
//	|      ID       |flg| fragment  |
//	|  TTL  | proto |   checksum    |
//	|            source             |
//	|          destination          |
//	|   options, up to 40 bytes     |

// IPv4 is a view of a packet, from its header to its end.
type IPv4 []byte

// IPv4Len is the size of a header without options.
const IPv4Len = 20

// Bits of the word that holds the fragment offset.
const (
	ipv4DF     = 0x4000
	ipv4MF     = 0x2000
	ipv4Offset = 0x1fff // in units of 8 bytes
)

// ParseIPv4 checks version and lengths, not the checksum. The view ends with
// the packet: Ethernet padding behind its total length is cut off.
func ParseIPv4(b []byte) (IPv4, bool) {
	if len(b) < IPv4Len || b[0]>>4 != 4 {
		return nil, false
	}
	hlen, total := int(b[0]&0xf)*4, int(binary.BigEndian.Uint16(b[2:]))
	if hlen < IPv4Len || total < hlen || len(b) < total {
		return nil, false
	}
	return b[:total], true
}

// HeaderLen returns the size of the header with its options, 20 to 60 bytes.
func (p IPv4) HeaderLen() int { return int(p[0]&0xf) * 4 }

// TOS returns DSCP and ECN in one byte.
func (p IPv4) TOS() uint8 { return p[1] }

// ID returns the identification.
func (p IPv4) ID() uint16 { return binary.BigEndian.Uint16(p[4:]) }

// DF reports whether routers must not fragment the packet.
func (p IPv4) DF() bool { return p[6]&(ipv4DF>>8) != 0 }

// IsFragment reports whether the packet is a fragment, the first one included.
func (p IPv4) IsFragment() bool {
	return binary.BigEndian.Uint16(p[6:])&(ipv4MF|ipv4Offset) != 0
}

// MoreFragments reports whether the packet is a fragment that is not the last one.
func (p IPv4) MoreFragments() bool { return p[6]&(ipv4MF>>8) != 0 }

// FragmentOffset returns where the payload belongs, in bytes.
func (p IPv4) FragmentOffset() int {
	return int(binary.BigEndian.Uint16(p[6:])&ipv4Offset) * 8
}

// TTL returns the hops left.
func (p IPv4) TTL() uint8 { return p[8] }

// Protocol returns the protocol of the payload.
func (p IPv4) Protocol() uint8 { return p[9] }

// Checksum returns the header's checksum field.
func (p IPv4) Checksum() uint16 { return binary.BigEndian.Uint16(p[10:]) }

// ChecksumOK reports whether the header's checksum is right.
func (p IPv4) ChecksumOK() bool { return Fold(Sum(p[:p.HeaderLen()])) == 0xffff }

// Src returns the source address as a number.
func (p IPv4) Src() uint32 { return binary.BigEndian.Uint32(p[12:]) }

// Dst returns the destination address as a number.
func (p IPv4) Dst() uint32 { return binary.BigEndian.Uint32(p[16:]) }

// SrcAddr returns the source address.
func (p IPv4) SrcAddr() netip.Addr { return netip.AddrFrom4([4]byte(p[12:16])) }

// DstAddr returns the destination address.
func (p IPv4) DstAddr() netip.Addr { return netip.AddrFrom4([4]byte(p[16:20])) }

// Payload returns what follows the header.
func (p IPv4) Payload() []byte { return p[p.HeaderLen():] }

// Upper says where the upper-layer header is.
func (p IPv4) Upper() Upper {
	return Upper{p.Protocol(), p.HeaderLen(), p.IsFragment(), p.FragmentOffset() == 0}
}

// PseudoSum returns the sum of the pseudo-header that TCP and UDP checksums
// cover (RFC 9293 section 3.1), for length bytes of proto.
func (p IPv4) PseudoSum(proto uint8, length int) uint32 {
	return Sum(p[12:20]) + uint32(proto) + uint32(length)
}

// SetTOS replaces DSCP and ECN and keeps the checksum right.
func (p IPv4) SetTOS(tos uint8) {
	old := binary.BigEndian.Uint16(p)
	p[1] = tos
	p.update(old, binary.BigEndian.Uint16(p))
}

// DecTTL takes one hop from a TTL of at least 1 and keeps the checksum right.
func (p IPv4) DecTTL() {
	old := binary.BigEndian.Uint16(p[8:])
	p[8]--
	p.update(old, binary.BigEndian.Uint16(p[8:]))
}

func (p IPv4) update(old, new uint16) {
	binary.BigEndian.PutUint16(p[10:], Update(p.Checksum(), old, new))
}

// IPv4Fields describes a header without options to be written.
type IPv4Fields struct {
	TOS      uint8
	Length   int // of the whole packet in bytes, up to 65,535
	ID       uint16
	DF       bool
	TTL      uint8
	Protocol uint8
	Src, Dst netip.Addr // IPv4
}

// Put writes the header, checksum included, to the first IPv4Len bytes of b.
func (f IPv4Fields) Put(b []byte) {
	_ = b[IPv4Len-1]
	b[0], b[1] = 4<<4|IPv4Len/4, f.TOS
	binary.BigEndian.PutUint16(b[2:], uint16(f.Length))
	binary.BigEndian.PutUint16(b[4:], f.ID)
	var frag uint16
	if f.DF {
		frag = ipv4DF
	}
	binary.BigEndian.PutUint16(b[6:], frag)
	b[8], b[9], b[10], b[11] = f.TTL, f.Protocol, 0, 0
	src, dst := f.Src.As4(), f.Dst.As4()
	copy(b[12:], src[:])
	copy(b[16:], dst[:])
	binary.BigEndian.PutUint16(b[10:], ^Fold(Sum(b[:IPv4Len])))
}
