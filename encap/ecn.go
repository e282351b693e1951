package encap

import (
	"weft/internal/drop"
	"weft/internal/header"
)

// Congestion is marked outside and must be felt inside: normal mode of RFC 6040,
// which RFC 9601 extends to GRE. The DSCP crosses in neither direction (RFC 2983,
// pipe model).

// innerECN returns the ECN field of the IP packet in a frame, behind up to two
// VLAN tags; 0, not ECN-capable, where there is none. The outer header takes it
// over as it is (RFC 6040 section 4.1).
func innerECN(frame []byte) uint8 {
	eth, ok := header.ParseEthernet(frame)
	if !ok {
		return header.ECNNot
	}
	proto, off := eth.L3()
	ip := frame[off:]
	switch {
	case len(ip) < 2:
	case proto == header.TypeIPv4 && ip[0]>>4 == 4:
		return ip[1] & header.ECNMask
	case proto == header.TypeIPv6 && ip[0]>>4 == 6:
		return ip[1] >> 4 & header.ECNMask
	}
	return header.ECNNot
}

// MergeECN takes what routers on the way marked in the outer TOS over into the
// IP packet in an inner frame, behind up to two VLAN tags, or in a bare one (RFC
// 6040 section 4.2). Proto is that of the GRE header. The packet's checksum stays
// right. drop.ECNCE says that a congested router would have dropped the packet;
// what is no IP is left alone.
func MergeECN(tos uint8, proto uint16, frame []byte) drop.Reason {
	outer := tos & header.ECNMask
	if outer != header.ECNCE && outer != header.ECNECT1 {
		return drop.None
	}
	if proto == ProtoTEB {
		eth, ok := header.ParseEthernet(frame)
		if !ok {
			return drop.None
		}
		etherType, off := eth.L3()
		proto, frame = etherType, frame[off:]
	}
	switch proto {
	case header.TypeIPv4:
		if p, ok := header.ParseIPv4(frame); ok {
			ecn, reason := mergedECN(outer, p.TOS()&header.ECNMask)
			if ecn != p.TOS()&header.ECNMask {
				p.SetTOS(p.TOS()&^header.ECNMask | ecn)
			}
			return reason
		}
	case header.TypeIPv6:
		if p, ok := header.ParseIPv6(frame); ok {
			ecn, reason := mergedECN(outer, p.TrafficClass()&header.ECNMask)
			p.SetTrafficClass(p.TrafficClass()&^header.ECNMask | ecn)
			return reason
		}
	}
	return drop.None
}

// mergedECN is the table of RFC 6040 section 4.2.
func mergedECN(outer, inner uint8) (ecn uint8, reason drop.Reason) {
	switch {
	case outer == header.ECNCE && inner == header.ECNNot:
		return inner, drop.ECNCE
	case outer == header.ECNCE:
		return header.ECNCE, drop.None
	case outer == header.ECNECT1 && inner == header.ECNECT0:
		return header.ECNECT1, drop.None
	}
	return inner, drop.None
}
