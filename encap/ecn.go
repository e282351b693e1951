package encap

import "weft/internal/header"

// innerECN returns the ECN field of the IP packet in a frame, behind up to two
// VLAN tags; 0, not ECN-capable, where there is none. The outer header takes it
// over as it is: normal mode of RFC 6040 section 4.1, which RFC 9601 extends to
// GRE. The DSCP is not taken over (RFC 2983, pipe model).
func innerECN(proto uint16, frame []byte) uint8 {
	ip := frame
	if proto == ProtoTEB {
		eth, ok := header.ParseEthernet(frame)
		if !ok {
			return header.ECNNot
		}
		etherType, off := eth.L3()
		proto, ip = etherType, frame[off:]
	}
	switch {
	case len(ip) < 2:
	case proto == header.TypeIPv4 && ip[0]>>4 == 4:
		return ip[1] & header.ECNMask
	case proto == header.TypeIPv6 && ip[0]>>4 == 6:
		return ip[1] >> 4 & header.ECNMask
	}
	return header.ECNNot
}
