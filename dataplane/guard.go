package dataplane

import (
	"net/netip"
	"slices"
	"sync/atomic"

	"weft/fib"
	"weft/internal/drop"
	"weft/internal/header"
	"weft/internal/policy"
)

// What a frame may claim to be, by where it came from:
//
//	attached port              its MAC and its addresses, no DHCP server, no router (internal/policy)
//	port of the host           the same, and IP from addresses outside of the vrf, which it routes in
//	port without addresses     its MAC; any address that is attached to no other port, nor reserved
//	port that may spoof, peer  anything
//
// and nobody the gateway or this host. DHCP servers and routers are for ports
// that may spoof and for peers.

// DefaultStations is how many addresses the FDB learns from one port.
const DefaultStations = 1024

// guard holds a frame to what its port may send, and learns where that may be
// anything.
func (w *worker) guard(p *port, f *frame, eth header.Ethernet) drop.Reason {
	src := eth.Src()
	if !p.allowSpoof {
		if src != p.mac {
			return drop.L2Spoof
		}
		filter := p.filter
		if f.domain.id != p.domain {
			filter = p.tagged
		}
		r := filter.Check(eth)
		switch {
		case r != drop.None:
		case p.host:
			r = w.guardHost(p, f, eth)
		case filter.Open():
			r = w.guardOpen(p, f, eth)
		}
		if r == drop.L2Spoof {
			w.defend(f, eth)
		}
		return r
	}
	if src == w.sw.cfg.HostMAC && src != 0 {
		w.looped(p, f.domain, eth)
		return drop.L2Spoof
	}
	if p.loop.blocks(w.now) {
		return drop.L2Storm
	}
	if w.posesAsGateway(f, eth) {
		return drop.L2Spoof
	}
	w.learn(p, f, src)
	return drop.None
}

// guardPeer holds a frame from a peer to what everybody must hold to.
func (w *worker) guardPeer(f *frame, eth header.Ethernet) drop.Reason {
	if eth.Src() == w.sw.cfg.HostMAC {
		w.loopedByPeer(f, eth)
		return drop.L2Spoof
	}
	if w.posesAsGateway(f, eth) {
		return drop.L2Spoof
	}
	return drop.None
}

// guardOpen keeps a port without addresses off those of others.
func (w *worker) guardOpen(p *port, f *frame, eth header.Ethernet) drop.Reason {
	d := f.domain
	source, target := policy.Claims(eth)
	if d.gw.has(source) || d.gw.has(target) {
		return drop.L2Spoof
	}
	if d.isOthers(source, p) || d.isOthers(target, p) || d.reserved[source] || d.reserved[target] {
		return drop.L2Spoof
	}
	return drop.None
}

// guardHost lets the host forward into a domain what comes from outside of its
// vrf, which is where routes lead to the host itself or nowhere, and nothing that
// seems to come from inside: a stranger on the host's other links could send that.
func (w *worker) guardHost(p *port, f *frame, eth header.Ethernet) drop.Reason {
	source, _ := policy.Claims(eth)
	switch {
	case !source.IsValid(), source.IsUnspecified(), slices.Contains(p.addrs, source):
		return drop.None
	case source.Is6() && source.IsLinkLocalUnicast():
		if source == header.LinkLocal(p.mac) {
			return drop.None
		}
		return drop.L3Source
	case f.domain.contains(source):
		return drop.L3Source
	}
	v := w.snap.vrfs[f.domain.vrf]
	if v == nil {
		return drop.None
	}
	hop, ok := v.routes.Lookup(source)
	if ok && (hop.Kind != fib.HopAddr || !slices.Contains(p.addrs, hop.Via)) {
		return drop.L3Source
	}
	return drop.None
}

// isOthers reports whether an address is attached to another port than p.
func (d *domain) isOthers(a netip.Addr, p *port) bool {
	if !a.IsValid() {
		return false
	}
	at := d.attached[a]
	return at != nil && at.id != p.id
}

// posesAsGateway reports whether a frame has the gateway's MAC or speaks for one
// of its addresses. What claims those in ARP is told better. From a peer IP may
// come from such an address: that switch has the same gateway, and says from it
// that a bridged packet does not fit.
func (w *worker) posesAsGateway(f *frame, eth header.Ethernet) bool {
	gw := f.domain.gw
	if gw == nil {
		return false
	}
	if eth.Src() == gw.mac {
		return true
	}
	source, target := policy.Claims(eth)
	switch {
	case gw.has(target):
		w.defend(f, eth)
		return true
	case gw.has(source):
		if typ, _ := eth.L3(); typ != header.TypeARP && f.from.IsPeer() {
			return false
		}
		w.defend(f, eth)
		return true
	}
	return false
}

// defend answers an ARP packet or a neighbour advertisement that claims the
// gateway's address, where defending is due. It announces the address to every
// container, and to the peer that the claim came from, which may have heard it
// elsewhere. Nobody else did.
func (w *worker) defend(f *frame, eth header.Ethernet) {
	d := f.domain
	typ, off := eth.L3()
	if off != header.EthernetLen { // in a VLAN: another segment
		return
	}
	source, target := policy.Claims(eth)
	claimed := target
	if typ == header.TypeARP {
		claimed = source
	}
	if !d.gw.has(claimed) || !d.defence.due(claimed, w.now) {
		return
	}
	var index uint16
	var b []byte
	if claimed.Is4() {
		index, b = w.compose(header.EthernetLen+header.ARPLen, d)
		header.PutEthernet(b, header.Broadcast, d.gw.mac, header.TypeARP)
		header.ARPFields{ // RFC 5227 section 1.1: an announcement
			Op: header.ARPRequest, SenderMAC: d.gw.mac, SenderAddr: claimed, TargetAddr: claimed,
		}.Put(b[header.EthernetLen:])
	} else {
		index, b = w.compose(header.NeighbourLen, d)
		header.PutNeighbourAdvert(b, 0, netip.Addr{}, d.gw.mac, claimed, header.NDPRouter|header.NDPOverride)
	}
	for _, p := range d.ports {
		if p.twin != 0 { // a LAN sees no gateway
			continue
		}
		w.total.generated.Add(1)
		w.emit(index, fib.PortDest(uint16(p.id)))
	}
	if f.from.IsPeer() {
		w.reply(index, f)
	}
}

// defendEvery is how long a defence lasts, in seconds (RFC 5227 section 2.4,
// DEFEND_INTERVAL): two that claim one address would else never stop.
const defendEvery = 10

// defence holds the seconds in which the gateway's IPv4 and IPv6 address were
// last defended; 0: never. All workers share it.
type defence [2]atomic.Uint32

// due reports whether a is to be defended at second now, and takes note of it.
func (d *defence) due(a netip.Addr, now uint32) bool {
	last := &d[0]
	if a.Is6() {
		last = &d[1]
	}
	was := last.Load()
	return (was == 0 || !before(now, was+defendEvery)) && last.CompareAndSwap(was, now)
}

// learn notes that a station is behind a port that may learn. Beyond
// the port's limit the frames of others are forwarded all the same.
func (w *worker) learn(p *port, f *frame, src header.MAC) {
	fdb := f.domain.fdb
	if fdb.Count(f.from) >= p.stations && fdb.Lookup(src) != f.from {
		p.counters[w.index].notLearned.Add(1)
		return
	}
	switch out := fdb.Learn(src, f.from, w.now); out {
	case fib.Full:
		p.counters[w.index].notLearned.Add(1)
	case fib.Moved, fib.Pinned:
		w.sw.moves.note(f.domain, src, f.from, out, w.now)
	}
}

// before reports whether second a of the switch's clock, which may wrap, comes before b.
func before(a, b uint32) bool { return int32(a-b) < 0 }
