package dataplane

import (
	"net/netip"

	"weft/fib"
	"weft/internal/drop"
	"weft/internal/header"
)

// The switch answers for its gateways, and for attached addresses on the same
// host, so that neither needs flooding. What it answers counts as local.

// intercept looks at a frame before it is bridged: requests that the switch
// answers itself, and what is addressed to it. done is false for what is bridged.
func (w *worker) intercept(index uint16, eth header.Ethernet) (done bool, r drop.Reason) {
	f := w.frame(index)
	d := f.domain
	dst, typ := eth.Dst(), eth.Type()
	switch {
	case d.gw != nil && dst == d.gw.mac:
		if typ == header.TypeARP {
			return true, w.ownARP(f)
		}
		v := w.snap.vrfs[d.vrf]
		if v == nil {
			return true, drop.L3NoRoute
		}
		return true, w.route(index, v)
	case dst == w.sw.cfg.HostMAC && dst != 0:
		return true, w.toHost(f, typ)
	case dst == header.Broadcast && typ == header.TypeARP:
		return w.answerARP(f)
	case typ == header.TypeIPv6 && dst>>24 == 0x3333ff: // solicited-node multicast
		return w.answerNDP(f)
	}
	return false, drop.None
}

// answered counts a frame that the switch answered.
func (w *worker) answered() drop.Reason {
	w.total.local.Add(1)
	return drop.None
}

// answerARP answers a broadcast request for the gateway or for an address that
// is attached on this host.
func (w *worker) answerARP(f *frame) (done bool, r drop.Reason) {
	d := f.domain
	a, ok := header.ParseARP(f.l3())
	if !ok { // other hardware and protocols are none of the switch's business
		return false, drop.None
	}
	sender, target := a.SenderAddr(), a.TargetAddr()
	w.learnNeighbour(d, sender, a.SenderMAC(), false)
	if a.Op() != header.ARPRequest || sender == target { // gratuitous: everybody wants to know
		return false, drop.None
	}
	if d.gw.has(target) && !w.isOutside(f) {
		return true, w.ownARP(f)
	}
	if p := d.attached[target]; p != nil && fib.PortDest(uint16(p.id)) != f.from {
		w.replyARP(f, p.mac, target, a)
		return true, w.answered()
	}
	return false, drop.None
}

// ownARP takes an ARP packet that asks for the gateway, or was sent to it.
func (w *worker) ownARP(f *frame) drop.Reason {
	d := f.domain
	a, ok := header.ParseARP(f.l3())
	if !ok || a.SenderMAC() != header.Ethernet(f.bytes()).Src() {
		return drop.ARPBad
	}
	sender := a.SenderAddr()
	if !d.contains(sender) && !sender.IsUnspecified() {
		return drop.ARPBad
	}
	w.learnNeighbour(d, sender, a.SenderMAC(), true)
	if a.Op() == header.ARPRequest {
		if !d.gw.has(a.TargetAddr()) {
			return drop.ARPBad
		}
		w.replyARP(f, d.gw.mac, a.TargetAddr(), a)
	}
	return w.answered()
}

// replyARP says to the sender of request a, whose frame is f, that addr is at mac.
func (w *worker) replyARP(f *frame, mac header.MAC, addr netip.Addr, a header.ARP) {
	index, b := w.compose(header.EthernetLen+header.ARPLen, f.domain)
	header.PutEthernet(b, header.Ethernet(f.bytes()).Src(), mac, header.TypeARP)
	header.ARPFields{
		Op: header.ARPReply, SenderMAC: mac, SenderAddr: addr, TargetMAC: a.SenderMAC(), TargetAddr: a.SenderAddr(),
	}.Put(b[header.EthernetLen:])
	w.reply(index, f)
}

// answerNDP answers a neighbour solicitation for the gateway or for an address
// that is attached on this host (RFC 4861 section 7.2.4).
func (w *worker) answerNDP(f *frame) (done bool, r drop.Reason) {
	ip, n := solicitation(f)
	if n == nil {
		return false, drop.None
	}
	d, target := f.domain, n.Target()
	if d.gw.has(target) && !w.isOutside(f) {
		return true, w.ownNDP(f, ip, n)
	}
	if p := d.attached[target]; p != nil && fib.PortDest(uint16(p.id)) != f.from {
		w.replyNDP(f, ip, p.mac, target, header.NDPOverride)
		return true, w.answered()
	}
	return false, drop.None
}

// solicitation returns the neighbour solicitation in f; nil where there is no valid one.
func solicitation(f *frame) (header.IPv6, header.NDP) {
	ip, ok := header.ParseIPv6(f.l3())
	if !ok || ip.NextHeader() != header.ProtoICMPv6 || ip.HopLimit() != 255 {
		return nil, nil
	}
	m, ok := header.ParseICMPv6(ip[header.IPv6Len:])
	if !ok || m.Type() != header.ICMPv6NeighbourSolicit || !m.ChecksumOK(ip) {
		return nil, nil
	}
	n, ok := header.ParseNDP(m)
	if !ok || n.Target().IsMulticast() {
		return nil, nil
	}
	return ip, n
}

// ownNDP answers a solicitation for the gateway.
func (w *worker) ownNDP(f *frame, ip header.IPv6, n header.NDP) drop.Reason {
	if mac, ok := n.LinkAddr(); ok && !ip.SrcAddr().IsUnspecified() {
		w.learnNeighbour(f.domain, ip.SrcAddr(), mac, true)
	}
	w.replyNDP(f, ip, f.domain.gw.mac, n.Target(), header.NDPRouter|header.NDPOverride)
	return w.answered()
}

// replyNDP advertises to the sender of a solicitation that target is at mac; to
// all nodes where it was duplicate address detection (RFC 4862 section 5.4).
func (w *worker) replyNDP(f *frame, ip header.IPv6, mac header.MAC, target netip.Addr, flags uint8) {
	to := ip.SrcAddr()
	if !to.IsUnspecified() {
		flags |= header.NDPSolicited
	}
	index, b := w.compose(header.NeighbourLen, f.domain)
	header.PutNeighbourAdvert(b, header.Ethernet(f.bytes()).Src(), to, mac, target, flags)
	w.reply(index, f)
}

// toHost takes what was sent to the host's own MAC: answers to its probes.
func (w *worker) toHost(f *frame, typ uint16) drop.Reason {
	switch typ {
	case header.TypeARP:
		a, ok := header.ParseARP(f.l3())
		if !ok || a.Op() != header.ARPReply || a.SenderMAC() != header.Ethernet(f.bytes()).Src() {
			return drop.ARPBad
		}
		w.learnNeighbour(f.domain, a.SenderAddr(), a.SenderMAC(), true)
		return w.answered()
	case header.TypeIPv6:
		ip, ok := header.ParseIPv6(f.l3())
		if !ok || ip.NextHeader() != header.ProtoICMPv6 || ip.HopLimit() != 255 {
			return drop.L3Dest
		}
		m, ok := header.ParseICMPv6(ip[header.IPv6Len:])
		if !ok || m.Type() != header.ICMPv6NeighbourAdvert || !m.ChecksumOK(ip) {
			return drop.NDBad
		}
		n, ok := header.ParseNDP(m)
		if !ok || n.Target().IsMulticast() {
			return drop.NDBad
		}
		mac, ok := n.LinkAddr()
		if !ok {
			mac = header.Ethernet(f.bytes()).Src()
		}
		w.learnNeighbour(f.domain, n.Target(), mac, true)
		return w.answered()
	}
	return drop.L3Dest
}

// local4 takes an IPv4 packet for a gateway's address.
func (w *worker) local4(f *frame, p header.IPv4, v *vrf) drop.Reason {
	if p.Protocol() == header.ProtoICMPv4 && !p.IsFragment() {
		m, ok := header.ParseICMPv4(p.Payload())
		if !ok || !m.ChecksumOK() {
			return drop.L3Header
		}
		if m.Type() == header.ICMPv4Echo {
			return w.echo4(f, p, m, v)
		}
		return w.answered()
	}
	switch {
	case p.IsFragment():
		if p.Protocol() == header.ProtoICMPv4 {
			return w.reassemble4(f, p, v)
		}
	case p.Protocol() == header.ProtoUDP, p.Protocol() == header.ProtoTCP:
		w.icmpError(f, v, icmpPortUnreachable, 0)
	default:
		w.icmpError(f, v, icmpProtoUnreachable, 0)
	}
	return drop.L3Dest
}

// echo4 answers an echo request (RFC 792).
func (w *worker) echo4(f *frame, p header.IPv4, m header.ICMPv4, v *vrf) drop.Reason {
	size := header.IPv4Len + len(m)
	index, b := w.compose(header.EthernetLen+size, f.domain)
	ip := b[header.EthernetLen:]
	header.IPv4Fields{
		TOS: p.TOS(), Length: size, TTL: hops, Protocol: header.ProtoICMPv4, Src: p.DstAddr(), Dst: p.SrcAddr(),
	}.Put(ip)
	header.PutICMPv4(ip[header.IPv4Len:], header.ICMPv4EchoReply, 0, m.Rest(), m[header.ICMPLen:])
	w.sendBack(index, f, v, header.TypeIPv4)
	return w.answered()
}

// local6 takes an IPv6 packet for a gateway's address.
func (w *worker) local6(f *frame, p header.IPv6, v *vrf) drop.Reason {
	u, ok := p.Upper()
	if !ok {
		return drop.L3Header
	}
	if u.Fragment {
		return w.reassemble6(f, p, v)
	}
	if p.NextHeader() == header.ProtoRouting && p[header.IPv6Len+3] != 0 { // segments left: never followed (RFC 5095)
		w.icmpError(f, v, icmpParamProblem, header.IPv6Len+2)
		return drop.L3Header
	}
	if u.Proto != header.ProtoICMPv6 {
		if u.Proto == header.ProtoUDP || u.Proto == header.ProtoTCP {
			w.icmpError(f, v, icmpPortUnreachable, 0)
		} else {
			w.icmpError(f, v, icmpProtoUnreachable, 6) // the pointer: next header
		}
		return drop.L3Dest
	}
	if _, n := solicitation(f); n != nil && f.domain != nil && f.domain.gw.has(n.Target()) {
		return w.ownNDP(f, p, n)
	}
	m, ok := header.ParseICMPv6(p[u.Off:])
	if !ok || u.Off != header.IPv6Len || !m.ChecksumOK(p) {
		return drop.L3Header
	}
	switch m.Type() {
	case header.ICMPv6Echo:
		size := len(m)
		index, b := w.compose(header.EthernetLen+header.IPv6Len+size, f.domain)
		ip := b[header.EthernetLen:]
		header.IPv6Fields{
			TrafficClass: p.TrafficClass(), PayloadLength: size, NextHeader: header.ProtoICMPv6, HopLimit: hops,
			Src: p.DstAddr(), Dst: p.SrcAddr(),
		}.Put(ip)
		header.PutICMPv6(header.IPv6(ip), header.ICMPv6EchoReply, 0, m.Rest(), m[header.ICMPLen:])
		w.sendBack(index, f, v, header.TypeIPv6)
	case header.ICMPv6NeighbourAdvert:
		n, ok := header.ParseNDP(m)
		if !ok || p.HopLimit() != 255 || f.domain == nil {
			return drop.NDBad
		}
		if mac, ok := n.LinkAddr(); ok {
			w.learnNeighbour(f.domain, n.Target(), mac, true)
		}
	}
	return w.answered()
}
