package dataplane

import (
	"net/netip"

	"weft/internal/drop"
	"weft/internal/header"
)

const (
	maxAwaited  = 256 // next hops that one worker waits for
	awaitQueue  = 3   // packets kept for each (RFC 1122 section 2.3.2.2 asks for one)
	awaitProbes = 3   // requests, one a second, before the next hop is unreachable
)

// awaited are the packets for a next hop whose MAC a worker asked for.
type awaited struct {
	vrf    *vrf
	probes int
	queue  []frame // clones
}

// awaitKey names a next hop.
type awaitKey struct {
	domain DomainID
	addr   netip.Addr
}

// resolved returns the MAC of an address in a domain; zero where it is unknown.
func (w *worker) resolved(d *domain, a netip.Addr) header.MAC {
	if p := d.attached[a]; p != nil {
		return p.mac
	}
	n := d.neigh.lookup(a)
	if n == nil {
		return 0
	}
	mac := header.MAC(n.mac.Load())
	if n.stale(w.now) {
		w.probe(d, a, mac)
	}
	return mac
}

// await keeps a copy of a packet until its next hop is known. This is the slow
// path: it may allocate, within bounds.
func (w *worker) await(f *frame, v *vrf, t *target) drop.Reason {
	key := awaitKey{t.domain.id, t.addr}
	a := w.awaiting[key]
	if a == nil {
		if len(w.awaiting) >= maxAwaited {
			return drop.L3Neighbour
		}
		a = &awaited{vrf: v, probes: 1}
		w.awaiting[key] = a
		w.waits.Store(true)
		w.probe(t.domain, t.addr, 0)
	}
	if len(a.queue) >= awaitQueue {
		return drop.L3Neighbour
	}
	clone := *f
	clone.buf = append([]byte(nil), f.buf...)
	a.queue = append(a.queue, clone)
	return drop.None
}

// settleAwaited sends what waits for next hops that are known by now. Each
// second it also asks again for the others, and gives up in the end.
func (w *worker) settleAwaited() {
	second := w.now != w.asked
	w.asked = w.now
	for key, a := range w.awaiting {
		d := w.snap.domain(key.domain)
		switch {
		case d == nil:
			w.giveUp(key, a, nil)
		case w.resolved(d, key.addr) != 0:
			delete(w.awaiting, key)
			t := target{domain: d, addr: key.addr, mac: w.resolved(d, key.addr)}
			for i := range a.queue {
				w.reset()
				w.frames = append(w.frames, a.queue[i])
				w.total.copies.Add(w.depart(0, a.vrf, &t))
				w.flush()
			}
		case second && a.probes >= awaitProbes:
			w.giveUp(key, a, d)
		case second:
			a.probes++
			w.probe(d, key.addr, 0)
			w.flush()
		}
	}
	w.waits.Store(len(w.awaiting) > 0)
}

// giveUp drops what waits for a next hop and tells the first sender.
func (w *worker) giveUp(key awaitKey, a *awaited, d *domain) {
	delete(w.awaiting, key)
	for i := range a.queue {
		w.reset()
		w.frames = append(w.frames, a.queue[i])
		if d != nil {
			w.icmpError(&w.frames[0], a.vrf, icmpHostUnreachable, 0)
			w.flush()
		}
		w.total.copies.Add(1)
		w.dropOut(&w.total.other[drop.L3Neighbour], drop.L3Neighbour)
	}
}

// learnNeighbour notes what an ARP packet or a neighbour advertisement says. add
// allows an address that is new.
func (w *worker) learnNeighbour(d *domain, a netip.Addr, mac header.MAC, add bool) {
	if mac.IsMulticast() || mac == 0 || d.attached[a] != nil || d.gw.has(a) || !d.contains(a) {
		return
	}
	known := d.neigh.lookup(a) != nil
	if d.neigh.confirm(a, mac, w.now, add) && !known {
		for _, other := range w.sw.workers { // whoever waits for it
			if other.waits.Load() {
				other.wake()
			}
		}
	}
}

// probe asks for the MAC of an address, at mac where one was known. It asks
// from the host's MAC and, with ARP, without an address (RFC 5227 section 1.1:
// a probe), so that no neighbour's idea of the gateway changes.
func (w *worker) probe(d *domain, a netip.Addr, mac header.MAC) {
	host := w.sw.cfg.HostMAC
	if a.Is6() {
		index, b := w.compose(header.NeighbourLen, d)
		header.PutNeighbourSolicit(b, mac, host, a)
		w.send(index)
		return
	}
	index, b := w.compose(header.EthernetLen+header.ARPLen, d)
	dst := header.Broadcast
	if mac != 0 {
		dst = mac
	}
	header.PutEthernet(b, dst, host, header.TypeARP)
	header.ARPFields{
		Op: header.ARPRequest, SenderMAC: host, SenderAddr: netip.IPv4Unspecified(), TargetAddr: a,
	}.Put(b[header.EthernetLen:])
	w.send(index)
}
