package header

import "net/netip"

// AddressProbe returns the frame by which a station asks whether somebody has
// addr before it takes it: an ARP probe (RFC 5227 section 2.1.1), or a neighbour
// solicitation from the unspecified address (RFC 4862 section 5.4.2).
func AddressProbe(mac MAC, addr netip.Addr) []byte {
	if addr.Is4() {
		frame := make([]byte, EthernetLen+ARPLen)
		PutEthernet(frame, Broadcast, mac, TypeARP)
		ARPFields{Op: ARPRequest, SenderMAC: mac, SenderAddr: netip.IPv4Unspecified(), TargetAddr: addr}.Put(frame[EthernetLen:])
		return frame
	}
	const size = 24 // without options
	frame := make([]byte, NeighbourLen)
	PutNeighbourSolicit(frame, 0, mac, addr)
	ip := IPv6(frame[EthernetLen : EthernetLen+IPv6Len+size])
	IPv6Fields{PayloadLength: size, NextHeader: ProtoICMPv6, HopLimit: 255, Src: netip.IPv6Unspecified(), Dst: ip.DstAddr()}.Put(ip)
	ip.putICMPChecksum(size)
	return frame[:EthernetLen+len(ip)]
}

// SpeaksFor returns the address for which an ARP packet or a neighbour
// advertisement speaks, and the station that does; for a probe (AddressProbe),
// the address that the station wants to take. ok is false for other frames.
func SpeaksFor(eth Ethernet) (addr netip.Addr, mac MAC, ok bool) {
	typ, off := eth.L3()
	switch typ {
	case TypeARP:
		a, ok := ParseARP(eth[off:])
		if !ok {
			return addr, 0, false
		}
		if addr = a.SenderAddr(); addr.IsUnspecified() {
			addr = a.TargetAddr()
		}
		return addr, a.SenderMAC(), true
	case TypeIPv6:
		return speaksForIPv6(eth, off)
	}
	return addr, 0, false
}

func speaksForIPv6(eth Ethernet, off int) (addr netip.Addr, mac MAC, ok bool) {
	ip, ok := ParseIPv6(eth[off:])
	if !ok || ip.NextHeader() != ProtoICMPv6 || ip.HopLimit() != 255 {
		return addr, 0, false
	}
	m, ok := ParseICMPv6(ip[IPv6Len:])
	if !ok || !m.ChecksumOK(ip) {
		return addr, 0, false
	}
	n, ok := ParseNDP(m)
	if !ok {
		return addr, 0, false
	}
	switch {
	case m.Type() == ICMPv6NeighbourAdvert:
		mac, ok = n.LinkAddr()
		if !ok {
			mac = eth.Src()
		}
		return n.Target(), mac, true
	case m.Type() == ICMPv6NeighbourSolicit && ip.SrcAddr().IsUnspecified():
		return n.Target(), eth.Src(), true
	}
	return addr, 0, false
}
