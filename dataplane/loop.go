package dataplane

import (
	"encoding/binary"
	"sync/atomic"

	"weft/fib"
	"weft/internal/header"
)

// A container that bridges two of its TAPs of one network makes a loop: what is
// flooded to the one comes back at the other. Every two seconds the switch
// therefore floods a frame of its own into each domain that could have a loop;
// the port at which it comes back is blocked. Ports that are guarded let nothing
// come back, so only a port that may spoof can be part of a loop.
const (
	probeEvery   = 2      // seconds
	blockSeconds = 30     // after the last probe that came back
	etherProbe   = 0x88b5 // local experimental EtherType 1 (IEEE 802)
	probeMagic   = 0x77656674_6c6f6f70
)

// A probe goes from the host's MAC to all: magic, key of the domain, number of
// the port by which it leaves, VLAN, padding.
const probeLen = header.EthernetLen + 46

// looping is what is known of loops at a port. The worker that finds a loop
// writes it, which is mostly the one that reads the port.
type looping struct {
	blocked atomic.Uint32 // nothing but probes passes the port before this second; 0: never blocked
	via     atomic.Uint32 // PortID by which the probe that came back had left; 0: see viaPeer
	viaPeer atomic.Uint32 // fib.Dest of the peer from which it came back
	rival   atomic.Uint64 // of an uplink: MAC of another host that joins the LAN to the same network; 0: none was heard
	byPeer  uint32        // probes that came back from peers and blocked nothing; of the worker that reads the underlay
	news    atomic.Bool   // tick takes it
	seen    uint32        // second in which a probe came back that blocked nothing
}

// blocks reports whether the port is blocked at second now, both ways as a
// spanning tree would: what left by it would come back by another port.
func (l *looping) blocks(now uint32) bool {
	until := l.blocked.Load()
	return until != 0 && before(now, until)
}

// canLoop reports whether a loop is possible in d.
func (d *domain) canLoop() bool {
	ends := len(d.ports)
	if len(d.uplinks) > 0 { // an uplink and its host side are one end, and a peer may be on the same LAN
		ends += len(d.peers) - len(d.uplinks)
	}
	if ends < 2 {
		return false
	}
	for _, p := range d.ports {
		if p.allowSpoof {
			return true
		}
	}
	return len(d.uplinks) > 0
}

// sendProbes floods a probe into every domain that may have a loop, to ports only.
func (w *worker) sendProbes() {
	w.reset()
	for _, d := range w.snap.domains {
		if d == nil || !d.canLoop() || !w.isTurnOf(d) {
			continue
		}
		for _, p := range d.ports {
			if p.isHostSide() { // the host forwards nothing between its own link and itself
				continue
			}
			index, b := w.compose(probeLen, d)
			header.PutEthernet(b, header.Broadcast, w.sw.cfg.HostMAC, etherProbe)
			binary.BigEndian.PutUint64(b[header.EthernetLen:], probeMagic)
			binary.BigEndian.PutUint32(b[header.EthernetLen+8:], d.key)
			binary.BigEndian.PutUint16(b[header.EthernetLen+12:], uint16(p.id))
			binary.BigEndian.PutUint16(b[header.EthernetLen+14:], d.vid)
			w.total.generated.Add(1)
			w.emit(index, fib.PortDest(uint16(p.id)))
		}
	}
	w.flush()
}

// looped takes a frame from p that has the host's own MAC. Where it is a probe
// of a domain of p's, p is blocked, unless the loop is cut already. Of two ports
// that may both spoof the higher number is blocked: the lower one waits for a
// second probe before it believes that the other will not be. A container that
// joins a LAN to its own port is blocked rather than the LAN.
func (w *worker) looped(p *port, d *domain, eth header.Ethernet) {
	out := w.probed(d, eth)
	if out == nil {
		return
	}
	if p.uplink != nil && out.uplink == nil {
		out.loop.block(p.id, w.now)
		return
	}
	l := p.loop
	if !l.blocks(w.now) {
		if out.loop.blocks(w.now) {
			return
		}
		first := l.seen == 0 || l.seen == w.now || w.now-l.seen > 2*probeEvery
		if first && out.allowSpoof && out.id > p.id {
			l.seen = w.now
			return
		}
	}
	l.block(out.id, w.now)
}

// block blocks the port, since a probe that left by via came back there, or the
// other way round.
func (l *looping) block(via PortID, now uint32) {
	l.via.Store(uint32(via))
	l.blocked.Store(now + blockSeconds)
	l.news.Store(true)
}

// isProbe reports whether a frame is a probe of d, of whatever switch.
func isProbe(d *domain, eth header.Ethernet) bool {
	b := eth[header.EthernetLen:]
	return eth.Type() == etherProbe && len(b) >= 16 && binary.BigEndian.Uint64(b) == probeMagic &&
		binary.BigEndian.Uint32(b[8:]) == d.key && binary.BigEndian.Uint16(b[14:]) == d.vid
}

// isTurnOf reports whether d is probed in this second. A trunk may have thousands
// of VLANs, which are probed one eighth at a time.
func (w *worker) isTurnOf(d *domain) bool {
	const every, few = 8, 64
	return d.vid == 0 || len(w.snap.domains) < few || uint32(d.vid)%every == w.now/probeEvery%every
}

// probed returns the port by which a frame left d that is a probe of this switch;
// nil for any other frame.
func (w *worker) probed(d *domain, eth header.Ethernet) *port {
	if !isProbe(d, eth) {
		return nil
	}
	b := eth[header.EthernetLen:]
	out := w.snap.port(PortID(binary.BigEndian.Uint16(b[12:])))
	if out == nil || !d.has(out) {
		return nil
	}
	return out
}

// loopedByPeer takes a frame from a peer that has the host's own MAC. Where it is
// a probe that left by an uplink, another host joins the same LAN to the same
// network: the uplink is blocked.
func (w *worker) loopedByPeer(f *frame, eth header.Ethernet) {
	out := w.probed(f.domain, eth)
	if out == nil || out.uplink == nil {
		return
	}
	l := out.loop
	// The other host finds the loop too. The one with the higher address blocks
	// it; the other waits whether probes go on coming back.
	if rival := header.MAC(l.rival.Load()); !l.blocks(w.now) && w.sw.cfg.HostMAC < rival && l.byPeer < patientProbes {
		l.byPeer++
		return
	}
	l.byPeer = 0
	l.viaPeer.Store(uint32(f.from))
	l.block(0, w.now)
}

// patientProbes is how many probes the lower of two hosts waits for.
const patientProbes = 3

// noteRival takes a frame from an uplink that may be another host's probe of the
// same network.
func (w *worker) noteRival(p *port, f *frame, eth header.Ethernet) {
	if isProbe(f.domain, eth) {
		p.loop.rival.Store(uint64(eth.Src()))
	}
}
