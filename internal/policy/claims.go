package policy

import (
	"net/netip"

	"weft/internal/header"
)

// Claims returns the addresses for which a frame speaks, invalid where it
// speaks for none: the sender of ARP or the source of IP, and the target of a
// neighbour advertisement. It sees through two VLAN tags.
func Claims(eth header.Ethernet) (source, target netip.Addr) {
	typ, off := eth.L3()
	switch typ {
	case header.TypeARP:
		if a, ok := header.ParseARP(eth[off:]); ok {
			source = a.SenderAddr()
		}
	case header.TypeIPv4:
		if p, ok := header.ParseIPv4(eth[off:]); ok {
			source = p.SrcAddr()
		}
	case header.TypeIPv6:
		p, ok := header.ParseIPv6(eth[off:])
		if !ok {
			break
		}
		source = p.SrcAddr()
		u, ok := p.Upper()
		if !ok || !u.First || u.Proto != header.ProtoICMPv6 {
			break
		}
		if m, ok := header.ParseICMPv6(p[u.Off:]); ok && m.Type() == header.ICMPv6NeighbourAdvert {
			if n, ok := header.ParseNDP(m); ok {
				target = n.Target()
			}
		}
	}
	return source, target
}
