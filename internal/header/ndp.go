package header

import (
	"encoding/binary"
	"net/netip"
)

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

// allNodes is ff02::1, and allNodesMAC the group address it maps to (RFC 2464 section 7).
var allNodes = netip.AddrFrom16([16]byte{0: 0xff, 1: 0x02, 15: 0x01})

const allNodesMAC MAC = 0x3333_0000_0001

// UnsolicitedNA returns the frame by which mac announces to all that it has
// addr, which must be IPv6: a neighbour advertisement with override set
// (RFC 4861 section 7.2.6).
func UnsolicitedNA(mac MAC, addr netip.Addr) []byte {
	const size = 24 + 8 // fixed part and one option
	frame := make([]byte, EthernetLen+IPv6Len+size)
	PutEthernet(frame, allNodesMAC, mac, TypeIPv6)
	ip := IPv6(frame[EthernetLen:])
	IPv6Fields{PayloadLength: size, NextHeader: ProtoICMPv6, HopLimit: 255, Src: addr, Dst: allNodes}.Put(ip)
	m := ip[IPv6Len:]
	m[0], m[4] = ICMPv6NeighbourAdvert, NDPOverride
	target := addr.As16()
	copy(m[8:], target[:])
	m[24], m[25] = ndpTargetLink, 1
	mac.Put(m[26:])
	binary.BigEndian.PutUint16(m[2:], ^Fold(ip.PseudoSum(ProtoICMPv6, size)+Sum(m)))
	return frame
}
