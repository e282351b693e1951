package dataplane

import "weft/internal/header"

// Multicast listeners say by IGMP and MLD which groups they want to hear. Only
// routers have a use for that, so a switch sends it to no others (RFC 4541 sections
// 2.1.1 and 3). The kernel of each container reports its groups several times when it
// is attached: to each of a thousand containers that would be a write for each.
//
// A router may be wherever packets may come from that are not the sender's own:
// behind an uplink or a peer, the host, a port that may spoof or that is held to no
// addresses. What another port forwarded would not pass its guard. All else that is
// multicast, queries and groups included, is flooded.

// mayRoute reports whether a multicast router may be at p, a member of d.
func (d *domain) mayRoute(p *port) bool {
	filter := p.filter
	if p.domain != d.id { // in a VLAN of its trunk
		filter = p.tagged
	}
	return p.twin != 0 || p.host || p.allowSpoof || filter.Open()
}

// Types of IGMP (RFC 2236 section 2.1, RFC 9776 section 4) and MLD (RFC 2710
// section 3.1, RFC 3810 section 5) by which listeners report.
const (
	igmpReport1 = 0x12
	igmpReport2 = 0x16
	igmpLeave   = 0x17
	igmpReport3 = 0x22
	mldReport1  = 131
	mldDone     = 132
	mldReport2  = 143
)

// isReport reports whether a frame is what a multicast listener tells routers. The
// MAC addresses of their groups do not say it: other groups share them (RFC 1112
// section 6.4), and reports of former versions go to the group that they are about.
func isReport(eth header.Ethernet) bool {
	if dst := eth.Dst(); !dst.IsMulticast() || dst == header.Broadcast {
		return false
	}
	typ, off := eth.L3()
	switch typ {
	case header.TypeIPv4:
		p, ok := header.ParseIPv4(eth[off:])
		if !ok || p.Protocol() != header.ProtoIGMP || p.FragmentOffset() != 0 || len(p.Payload()) == 0 {
			return false
		}
		switch p.Payload()[0] {
		case igmpReport1, igmpReport2, igmpLeave, igmpReport3:
			return true
		}
	case header.TypeIPv6:
		p, ok := header.ParseIPv6(eth[off:])
		if !ok || p.NextHeader() != header.ProtoHopByHop { // where the router alert is, without which MLD is none (RFC 3810 section 5)
			return false
		}
		u, ok := p.Upper()
		if !ok || !u.First || u.Proto != header.ProtoICMPv6 || len(p) == u.Off {
			return false
		}
		switch p[u.Off] {
		case mldReport1, mldDone, mldReport2:
			return true
		}
	}
	return false
}
