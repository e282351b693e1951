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
// the port by which it leaves, padding.
const probeLen = header.EthernetLen + 46

// looping is what is known of loops at a port. The worker that reads the port
// writes it.
type looping struct {
	blocked atomic.Uint32 // nothing but probes passes the port before this second; 0: never blocked
	via     atomic.Uint32 // PortID by which the probe that came back had left
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
	if len(d.ports) < 2 {
		return false
	}
	for _, p := range d.ports {
		if p.allowSpoof {
			return true
		}
	}
	return false
}

// sendProbes floods a probe into every domain that may have a loop, to ports only.
func (w *worker) sendProbes() {
	w.reset()
	for _, d := range w.snap.domains {
		if d == nil || !d.canLoop() {
			continue
		}
		for _, p := range d.ports {
			index, b := w.compose(probeLen, d)
			header.PutEthernet(b, header.Broadcast, w.sw.cfg.HostMAC, etherProbe)
			binary.BigEndian.PutUint64(b[header.EthernetLen:], probeMagic)
			binary.BigEndian.PutUint32(b[header.EthernetLen+8:], d.key)
			binary.BigEndian.PutUint16(b[header.EthernetLen+12:], uint16(p.id))
			w.total.generated.Add(1)
			w.emit(index, fib.PortDest(uint16(p.id)))
		}
	}
	w.flush()
}

// looped takes a frame from p that has the host's own MAC. Where it is a probe
// of p's network, p is blocked, unless the loop is cut already. Of two ports
// that may both spoof the higher number is blocked: the lower one waits for a
// second probe before it believes that the other will not be.
func (w *worker) looped(p *port, eth header.Ethernet) {
	d := w.snap.domain(p.domain)
	b := eth[header.EthernetLen:]
	if eth.Type() != etherProbe || len(b) < 14 || binary.BigEndian.Uint64(b) != probeMagic || binary.BigEndian.Uint32(b[8:]) != d.key {
		return
	}
	out := w.snap.port(PortID(binary.BigEndian.Uint16(b[12:])))
	if out == nil || out.domain != p.domain {
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
	l.via.Store(uint32(out.id))
	l.blocked.Store(w.now + blockSeconds)
	l.news.Store(true)
}
