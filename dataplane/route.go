package dataplane

import (
	"net/netip"

	"weft/fib"
	"weft/internal/drop"
	"weft/internal/header"
)

// A frame is routed when it is addressed to the gateway of its domain, or came
// from a peer as bare IP. In order:
//
//  1. the header is sound (RFC 1812 section 5.2.2, RFC 8200)
//  2. source and destination may be routed, and the way back leads where the
//     packet came from (reverse path)
//  3. the gateway's own addresses are answered (local.go)
//  4. hops are left; one is taken
//  5. the longest prefix says where to
//  6. it fits there; what does not is reported or cut (toobig.go)
//  7. the next hop's MAC is known, or asked for (resolve.go)

// route routes a frame of the batch. It reports what forward does.
func (w *worker) route(index uint16, v *vrf) drop.Reason {
	f := w.frame(index)
	eth := header.Ethernet(f.bytes())
	switch eth.Type() {
	case header.TypeIPv4:
		return w.route4(index, v)
	case header.TypeIPv6:
		return w.route6(index, v)
	case header.TypeVLAN, header.TypeQinQ: // the gateway is in the untagged network
		return drop.InnerVLAN
	}
	return drop.L3Header
}

// route4 routes an IPv4 packet.
func (w *worker) route4(index uint16, v *vrf) drop.Reason {
	f := w.frame(index)
	p, ok := header.ParseIPv4(f.l3())
	if !ok {
		return drop.L3Header
	}
	if !p.ChecksumOK() {
		return drop.L3Checksum
	}
	if p.FragmentOffset()+len(p.Payload()) > maxPacket-header.IPv4Len { // it could never be put together
		return drop.L3Header
	}
	f.trim(len(p))
	src, dst := p.SrcAddr(), p.DstAddr()
	if !unicast4(p.Src()) || v.own[src] != nil {
		return drop.L3Source
	}
	if !routable4(p.Dst()) {
		return drop.L3Dest
	}
	if !w.comesFrom(f, v, src) {
		return drop.L3Source
	}
	switch verdict, at := checkOptions(p); verdict {
	case optionsRouted:
		return drop.L3Options
	case optionsBad:
		w.icmpError(f, v, icmpParamProblem, uint32(at)<<24)
		return drop.L3Options
	}
	if v.own[dst] != nil {
		return w.local4(f, p, v)
	}
	if p.TTL() <= 1 {
		w.icmpError(f, v, icmpTimeExceeded, 0)
		return drop.L3TTL
	}
	hop, ok := v.routes.Lookup(dst)
	if !ok {
		w.icmpError(f, v, icmpNoRoute, 0)
		return drop.L3NoRoute
	}
	return w.toHop(index, v, hop, dst)
}

// route6 routes an IPv6 packet.
func (w *worker) route6(index uint16, v *vrf) drop.Reason {
	f := w.frame(index)
	p, ok := header.ParseIPv6(f.l3())
	if !ok {
		return drop.L3Header
	}
	if len(p) == header.IPv6Len && p.NextHeader() == header.ProtoHopByHop { // its length would be in there: a jumbogram (RFC 2675)
		return drop.L3Header
	}
	f.trim(len(p))
	src, dst := p.SrcAddr(), p.DstAddr()
	switch {
	case src.IsMulticast() || src.IsUnspecified() || src.IsLoopback() || v.own[src] != nil:
		return drop.L3Source
	case dst.IsMulticast() || dst.IsUnspecified() || dst.IsLoopback():
		return drop.L3Dest
	}
	if v.own[dst] != nil {
		return w.local6(f, p, v)
	}
	if dst.IsLinkLocalUnicast() { // never routed (RFC 4291 section 2.5.6)
		return drop.L3Dest
	}
	if src.IsLinkLocalUnicast() {
		w.icmpError(f, v, icmpBeyondScope, 0)
		return drop.L3Source
	}
	if !w.comesFrom(f, v, src) {
		return drop.L3Source
	}
	if p.HopLimit() <= 1 {
		w.icmpError(f, v, icmpTimeExceeded, 0)
		return drop.L3TTL
	}
	hop, ok := v.routes.Lookup(dst)
	if !ok {
		w.icmpError(f, v, icmpNoRoute, 0)
		return drop.L3NoRoute
	}
	return w.toHop(index, v, hop, dst)
}

// maxPacket is the size of the largest IPv4 packet.
const maxPacket = 1<<16 - 1

// l3 returns what follows the untagged Ethernet header.
func (f *frame) l3() []byte { return f.bytes()[header.EthernetLen:] }

// trim cuts Ethernet padding behind an IP packet of size bytes (RFC 1812
// section 4.2.2.11).
func (f *frame) trim(size int) {
	f.buf = f.buf[:len(f.buf)-len(f.l3())+size]
}

// unicast4 reports whether an address may be a packet's source: not 0/8, 127/8
// or 224/3 (RFC 1812 section 5.3.7).
func unicast4(a uint32) bool { return a>>24 != 0 && a>>24 != 127 && a>>29 != 7 }

// routable4 reports whether packets to an address are routed: not 0/8, 127/8,
// multicast or limited broadcast. 240/4 finds no route.
func routable4(a uint32) bool {
	return a>>24 != 0 && a>>24 != 127 && a>>28 != 14 && a != 0xffff_ffff
}

// comesFrom reports whether packets to src would go where f came from: the
// strict reverse path of RFC 3704 section 2.2.
func (w *worker) comesFrom(f *frame, v *vrf, src netip.Addr) bool {
	hop, ok := v.routes.Lookup(src)
	if ok && hop.Kind == fib.HopAddr {
		hop, ok = v.routes.Lookup(hop.Via)
	}
	switch {
	case !ok:
		return false
	case hop.Kind == fib.HopPeer:
		return f.bare && f.from == hop.Dest
	}
	return f.domain != nil && hop.Kind == fib.HopConnected && DomainID(hop.Domain) == f.domain.id
}

// target is where a packet leaves: the end of its lookup.
type target struct {
	peer   fib.Dest   // gets it as bare IP; zero: it stays Ethernet, in domain
	domain *domain    // of the next hop
	addr   netip.Addr // of the next hop
	mac    header.MAC // of the next hop; zero: not known yet
	mtu    int        // L3
}

// toHop sends a packet on its way to dst. No hop has been taken from it yet.
func (w *worker) toHop(index uint16, v *vrf, hop fib.NextHop, dst netip.Addr) drop.Reason {
	f := w.frame(index)
	t, reason := w.target(v, hop, dst)
	if reason != drop.None {
		if reason == drop.L3NoRoute {
			w.icmpError(f, v, icmpNoRoute, 0)
		}
		return reason
	}
	if d := t.domain; d != nil && d.apart && d == f.domain && w.isContainer(f.from) { // no way around by the gateway
		if to := d.fdb.Lookup(t.mac); to == 0 || w.isContainer(to) {
			return drop.L2Isolated
		}
	}
	if !fits(f, t.mtu) {
		h, ok := refit(f, t.mtu)
		if !ok {
			return w.tooBig(index, v, &t)
		}
		f.header = h
		h.Put(f.buf)
	}
	takeHop(f)
	clampMSS(f, t.mtu)
	return w.leave(index, v, &t)
}

// target follows a next hop to where packets to dst leave.
func (w *worker) target(v *vrf, hop fib.NextHop, dst netip.Addr) (t target, reason drop.Reason) {
	if hop.Kind == fib.HopAddr {
		dst = hop.Via
		// One step, not more: a route via a route could lead back to itself.
		if hop, _ = v.routes.Lookup(dst); hop.Kind != fib.HopConnected {
			return t, drop.L3NoRoute
		}
	}
	if hop.Kind == fib.HopPeer {
		p := w.snap.peer(PeerID(hop.Dest.ID()))
		if p == nil {
			return t, drop.L3NoRoute
		}
		return target{peer: hop.Dest, mtu: p.mtu}, drop.None
	}
	d := w.snap.domain(DomainID(hop.Domain))
	if d == nil {
		return t, drop.L3NoRoute
	}
	if d.isBroadcast(dst) { // RFC 2644
		return t, drop.L3Dest
	}
	t = target{domain: d, addr: dst, mac: w.resolved(d, dst), mtu: d.mtu}
	if t.mac != 0 {
		if p := w.snap.portOf(d.fdb.Lookup(t.mac)); p != nil {
			t.mtu = p.mtu
		}
	}
	return t, drop.None
}

// takeHop takes one hop from a packet that has more than one.
func takeHop(f *frame) {
	if p, ok := header.ParseIPv4(f.l3()); ok {
		p.DecTTL()
	} else if p, ok := header.ParseIPv6(f.l3()); ok {
		p.DecHopLimit()
	}
}

// leave puts a routed packet on the egress list, or keeps it until its next hop
// is known.
func (w *worker) leave(index uint16, v *vrf, t *target) drop.Reason {
	if t.peer == 0 && t.mac == 0 {
		if r := w.await(w.frame(index), v, t); r != drop.None {
			return r // a copy of it counts when it leaves, or is given up
		}
	} else {
		w.total.copies.Add(w.depart(index, v, t))
	}
	w.total.forwarded.Add(1)
	return drop.None
}

// depart gives a packet its new Ethernet header and puts it on the egress list.
// It returns the number of copies: more than one where the next hop's MAC is
// known but not where it is.
func (w *worker) depart(index uint16, v *vrf, t *target) (copies uint64) {
	f := w.frame(index)
	if t.peer != 0 {
		f.tunnel = v
		w.emit(index, t.peer)
		return 1
	}
	to := t.domain.fdb.Lookup(t.mac)
	// Containers know one gateway address on every host; peers must not learn it.
	src := w.sw.cfg.HostMAC
	if t.domain.gw != nil && to != 0 && !to.IsPeer() {
		if p := w.snap.portOf(to); p == nil || p.twin == 0 { // nor must a LAN
			src = t.domain.gw.mac
		}
	}
	f.domain, f.bare = t.domain, false
	header.PutEthernet(f.bytes(), t.mac, src, header.Ethernet(f.bytes()).Type())
	if to != 0 {
		w.emit(index, to)
		return 1
	}
	f.from = 0 // to every port, the one that it came from included: it was routed
	return uint64(w.flood(index))
}
