package header

import "net/netip"

// Neighbour discovery (RFC 4861 section 4): five ICMPv6 messages, each a fixed
// part and options of the form type, length in units of 8 bytes, value:
//
//	router solicitation         8   | hdr, reserved                 | options
//	router advertisement       16   | hdr, hop limit, flags, times  | options
//	neighbour solicitation     24   | hdr, reserved | target        | options
//	neighbour advertisement    24   | hdr, R S O    | target        | options
//	redirect                   40   | hdr, reserved | target | dest | options

// NDP is a view of a neighbour discovery message, from its ICMPv6 header to its end.
type NDP []byte

// Flags of a neighbour advertisement.
const (
	NDPRouter    = 0x80
	NDPSolicited = 0x40
	NDPOverride  = 0x20
)

// Options that hold a MAC: the sender's and the target's.
const (
	ndpSourceLink = 1
	ndpTargetLink = 2
)

// ParseNDP checks type, code, length and options of a message as RFC 4861
// sections 6.1, 7.1 and 8.1 demand. What they demand of the packet around it, hop
// limit 255 and the checksum, is left to the caller. An option of length 0
// makes the message invalid.
func ParseNDP(m ICMPv6) (NDP, bool) {
	n := NDP(m)
	fixed := n.fixedLen()
	if fixed == 0 || len(n) < fixed || m.Code() != 0 {
		return nil, false
	}
	for opts := n[fixed:]; len(opts) > 0; {
		if len(opts) < 8 {
			return nil, false
		}
		size := int(opts[1]) * 8
		if size == 0 || size > len(opts) {
			return nil, false
		}
		opts = opts[size:]
	}
	return n, true
}

// fixedLen returns the size without options; 0 for a type that is no NDP.
func (n NDP) fixedLen() int {
	switch n[0] {
	case ICMPv6RouterSolicit:
		return 8
	case ICMPv6RouterAdvert:
		return 16
	case ICMPv6NeighbourSolicit, ICMPv6NeighbourAdvert:
		return 24
	case ICMPv6Redirect:
		return 40
	}
	return 0
}

// Type returns the ICMPv6 type.
func (n NDP) Type() uint8 { return n[0] }

// Flags returns NDPRouter, NDPSolicited and NDPOverride of a neighbour advertisement.
func (n NDP) Flags() uint8 { return n[4] }

// Target returns the target address of a neighbour solicitation, neighbour
// advertisement or redirect; other messages have none, and it is the zero Addr.
func (n NDP) Target() netip.Addr {
	if n.fixedLen() < 24 {
		return netip.Addr{}
	}
	return netip.AddrFrom16([16]byte(n[8:24]))
}

// LinkAddr returns the MAC in the link-layer address option: the target's in a
// neighbour advertisement or redirect, the sender's in any other. It is false
// where there is none. Of several, the first counts.
func (n NDP) LinkAddr() (MAC, bool) {
	want := uint8(ndpSourceLink)
	if n[0] == ICMPv6NeighbourAdvert || n[0] == ICMPv6Redirect {
		want = ndpTargetLink
	}
	for opts := n[n.fixedLen():]; len(opts) >= 8; opts = opts[int(opts[1])*8:] {
		if opts[0] == want {
			return MACFrom(opts[2:]), true
		}
	}
	return 0, false
}

// LinkAddrsAre reports whether every link-layer address option, of the sender
// and of the target, holds mac; also where there is none.
func (n NDP) LinkAddrsAre(mac MAC) bool {
	for opts := n[n.fixedLen():]; len(opts) >= 8; opts = opts[int(opts[1])*8:] {
		if (opts[0] == ndpSourceLink || opts[0] == ndpTargetLink) && MACFrom(opts[2:]) != mac {
			return false
		}
	}
	return true
}

// allNodes is ff02::1, and allNodesMAC the group address it maps to (RFC 2464 section 7).
var allNodes = netip.AddrFrom16([16]byte{0: 0xff, 1: 0x02, 15: 0x01})

const allNodesMAC MAC = 0x3333_0000_0001

// NeighbourLen is the size of a frame with a neighbour solicitation or
// advertisement that has one link-layer address option.
const NeighbourLen = EthernetLen + IPv6Len + neighbourSize

const neighbourSize = 24 + 8 // fixed part and one option

// UnsolicitedNA returns the frame by which mac announces to all that it has
// addr, which must be IPv6: a neighbour advertisement with override set
// (RFC 4861 section 7.2.6).
func UnsolicitedNA(mac MAC, addr netip.Addr) []byte {
	frame := make([]byte, NeighbourLen)
	PutNeighbourAdvert(frame, allNodesMAC, allNodes, mac, addr, NDPOverride)
	return frame
}

// PutNeighbourAdvert writes a frame to the first NeighbourLen bytes of b: the
// station mac says to dst that it has the IPv6 address target. A zero or
// unspecified dst means all nodes.
func PutNeighbourAdvert(b []byte, dstMAC MAC, dst netip.Addr, mac MAC, target netip.Addr, flags uint8) {
	if !dst.IsValid() || dst.IsUnspecified() {
		dstMAC, dst = allNodesMAC, allNodes
	}
	PutEthernet(b, dstMAC, mac, TypeIPv6)
	putNeighbour(b, ICMPv6NeighbourAdvert, flags, target, dst, target, ndpTargetLink, mac)
}

// PutNeighbourSolicit writes a frame to the first NeighbourLen bytes of b: the
// station mac asks, from its link-local address, who has the IPv6 address
// target; only at dstMAC, or everybody where that is zero (RFC 4861 section 7.2.2).
func PutNeighbourSolicit(b []byte, dstMAC, mac MAC, target netip.Addr) {
	dst := target
	if dstMAC == 0 {
		group := target.As16() // RFC 4291 section 2.7.1: ff02::1:ff00:0/104 and the low 24 bits
		copy(group[:], "\xff\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\xff")
		dst = netip.AddrFrom16(group)
		dstMAC = 0x3333_ff00_0000 | MAC(group[13])<<16 | MAC(group[14])<<8 | MAC(group[15])
	}
	PutEthernet(b, dstMAC, mac, TypeIPv6)
	putNeighbour(b, ICMPv6NeighbourSolicit, 0, LinkLocal(mac), dst, target, ndpSourceLink, mac)
}

// putNeighbour writes the IPv6 packet of a frame.
func putNeighbour(b []byte, typ, flags uint8, src, dst, target netip.Addr, option uint8, mac MAC) {
	ip := IPv6(b[EthernetLen:NeighbourLen])
	IPv6Fields{PayloadLength: neighbourSize, NextHeader: ProtoICMPv6, HopLimit: 255, Src: src, Dst: dst}.Put(ip)
	m := ip[IPv6Len:]
	clear(m)
	m[0], m[4] = typ, flags
	t := target.As16()
	copy(m[8:], t[:])
	m[24], m[25] = option, 1
	mac.Put(m[26:])
	ip.putICMPChecksum(neighbourSize)
}

// LinkLocal returns the IPv6 link-local address that a MAC makes (RFC 4291
// appendix A).
func LinkLocal(mac MAC) netip.Addr {
	return netip.AddrFrom16([16]byte{
		0: 0xfe, 1: 0x80,
		8: byte(mac>>40) ^ 2, 9: byte(mac >> 32), 10: byte(mac >> 24), 11: 0xff, 12: 0xfe,
		13: byte(mac >> 16), 14: byte(mac >> 8), 15: byte(mac),
	})
}
