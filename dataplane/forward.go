package dataplane

import (
	"weft/encap"
	"weft/fib"
	"weft/internal/drop"
	"weft/internal/header"
	"weft/internal/offload"
)

// verdict is what forward decides about a frame: a reason to drop it, one
// destination, or neither, which floods it.
type verdict struct {
	reason drop.Reason
	to     fib.Dest
}

// etherTypePause is MAC control (802.3 annex 31A): between two stations of one
// link, never across a bridge.
const etherTypePause = 0x8808

// decide bridges as IEEE 802.1D does: it looks the destination up in the
// domain's FDB. It changes nothing.
func decide(d *domain, from fib.Dest, eth header.Ethernet) verdict {
	dst := eth.Dst()
	if dst.IsLinkLocal() || eth.Type() == etherTypePause {
		return verdict{reason: drop.L2LinkLocal}
	}
	if dst.IsMulticast() {
		return verdict{}
	}
	to := d.fdb.Lookup(dst)
	switch {
	case to == from && to != 0: // hairpin: the destination heard it already
		return verdict{reason: drop.L2Self}
	case to.IsPeer() && from.IsPeer(): // split horizon: peers reach each other directly
		return verdict{reason: drop.L2Split}
	}
	return verdict{to: to}
}

// forward decides a frame of the batch and puts its copies on the egress list.
func (w *worker) forward(index uint16, eth header.Ethernet) drop.Reason {
	if done, r := w.intercept(index, eth); done {
		return r
	}
	f := w.frame(index)
	v := decide(f.domain, f.from, eth)
	if v.reason != drop.None {
		return v.reason
	}
	if f.domain.isolates && !w.mayReach(f, v.to) {
		return drop.L2Isolated
	}
	if f.alien { // trunks have the VLANs that they name, and no others
		if to := w.snap.portOf(v.to); to != nil && to.trunk != nil {
			return drop.L2VLAN
		}
	}
	copies := 1
	if v.to == 0 {
		if dst := eth.Dst(); !dst.IsMulticast() {
			if p := w.snap.portOf(f.from); p != nil && !w.mayFlood(p, f, dst) {
				return drop.L2Storm
			}
		}
		copies = w.flood(index)
		switch {
		case copies > 0:
		case f.domain.apart && w.isContainer(f.from):
			return drop.L2Isolated
		default:
			return drop.L2NoPort
		}
	} else {
		if mtu := w.mtuAt(v.to, f.domain, eth); !fits(f, mtu) {
			if _, ok := refit(f, mtu); !ok { // what can be cut is, at the port (writeSmaller)
				if r := w.tellTooBig(f, mtu); r == drop.L3Big {
					return r
				}
			}
		}
		w.emit(index, v.to)
	}
	w.total.forwarded.Add(1)
	w.total.copies.Add(uint64(copies))
	return drop.None
}

// mayReach reports whether a frame may go to a known destination of its domain.
func (w *worker) mayReach(f *frame, at fib.Dest) bool {
	if f.domain.apart && at != 0 && w.isContainer(f.from) && w.isContainer(at) {
		return false
	}
	from, to := w.snap.portOf(f.from), w.snap.portOf(at)
	return from == nil || to == nil || from.reaches(to)
}

// isContainer reports whether a place is a container, or a peer, behind which are
// containers, and no uplink nor the host.
func (w *worker) isContainer(at fib.Dest) bool {
	if at.IsPeer() {
		return true
	}
	p := w.snap.portOf(at)
	return p != nil && p.isContainer()
}

func (p *port) isContainer() bool { return p.twin == 0 && !p.host }

// mtuAt returns the L3 bytes that a frame like eth, of domain d, may carry to a
// destination.
func (w *worker) mtuAt(to fib.Dest, d *domain, eth header.Ethernet) int {
	if !to.IsPeer() {
		if p := w.snap.port(PortID(to.ID())); p != nil {
			return p.mtu
		}
	} else if room := w.sw.cfg.Underlay.Room(encap.PeerID(to.ID()), encap.ProtoTEB); room > 0 {
		_, l3 := eth.L3()
		if d.vid != 0 { // it gets its tag there
			l3 += header.VLANLen
		}
		return room - l3
	}
	return offload.MaxFrame // it is gone: dropped at egress
}

// flood puts a copy on the egress list for every port of the domain but the one
// that the frame came from, and, unless it came from a peer, for every peer
// that shares the domain (head-end replication). Of the ports, a listener's report
// goes to routers alone. It returns how many.
func (w *worker) flood(index uint16) (copies int) {
	f := w.frame(index)
	source := w.snap.portOf(f.from)
	ports := f.domain.ports
	if isReport(f.bytes()) {
		ports = f.domain.routers
	}
	apart := f.domain.apart && w.isContainer(f.from)
	for _, p := range ports {
		if apart && p.isContainer() {
			continue
		}
		if f.alien && p.trunk != nil {
			continue
		}
		if to := fib.PortDest(uint16(p.id)); to != f.from && (source == nil || source.reaches(p)) {
			w.emit(index, to)
			copies++
		}
	}
	if apart || f.from.IsPeer() {
		return copies
	}
	for _, p := range f.domain.peers {
		w.emit(index, fib.PeerDest(uint16(p.id)))
		copies++
	}
	return copies
}

// floodFar is flood to what leads away from this host: uplinks and peers.
func (w *worker) floodFar(index uint16) (copies int) {
	f := w.frame(index)
	d := f.domain
	for _, p := range d.uplinks {
		w.emit(index, fib.PortDest(uint16(p.id)))
	}
	if d.apart && w.isContainer(f.from) {
		return len(d.uplinks)
	}
	for _, p := range d.peers {
		w.emit(index, fib.PeerDest(uint16(p.id)))
	}
	return len(d.uplinks) + len(d.peers)
}

// emit puts one copy on the egress list.
func (w *worker) emit(index uint16, to fib.Dest) {
	if len(w.copies) == maxCopies {
		w.flush()
	}
	w.copies = append(w.copies, outCopy{frame: index, to: to})
}
