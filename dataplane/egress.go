package dataplane

import (
	"sync/atomic"
	"syscall"

	"weft/encap"
	"weft/internal/drop"
	"weft/internal/header"
	"weft/internal/offload"
)

// counter is one counter of a worker, as parameters name it.
type counter = *atomic.Uint64

// flush transmits the egress list, ports before peers: a port takes a
// super-frame as it is, while the way to a peer may complete its checksum in
// place. Frames of the batch stay valid.
func (w *worker) flush() {
	w.packets, w.origin = w.packets[:0], w.origin[:0]
	tagged := false
	for _, c := range w.copies {
		f := w.frame(c.frame)
		if !c.to.IsPeer() {
			w.toPort(f, PortID(c.to.ID()))
			continue
		}
		pkt := encap.Packet{Peer: encap.PeerID(c.to.ID()), Proto: encap.ProtoTEB, Header: f.header, Frame: f.bytes()}
		if f.tunnel != nil {
			pkt.Proto, pkt.Key = header.Ethernet(pkt.Frame).Type(), f.tunnel.key
		} else {
			pkt.Key = f.domain.key
		}
		tagged = tagged || f.wide != nil
		w.packets = append(w.packets, pkt)
		w.origin = append(w.origin, c.frame)
	}
	w.copies = w.copies[:0]
	w.writeMerged()
	if tagged {
		w.tagPackets()
	}
	if len(w.packets) > 0 {
		w.toPeers()
	}
}

// tagPackets gives the frames of VLANs that go to peers their tags. Ports have theirs
// by now.
func (w *worker) tagPackets() {
	for i, index := range w.origin {
		if f := w.frame(index); f.wide != nil {
			w.form(f, true)
			w.packets[i].Frame, w.packets[i].Header = f.bytes(), f.header
		}
	}
}

// toPort takes one copy to a port. What came from a peer one datagram a segment
// is merged first: a write costs more than everything else on the way.
func (w *worker) toPort(f *frame, id PortID) {
	p := w.snap.port(id)
	if p == nil { // the FDB is swept after the port left the snapshot
		w.dropOut(&w.total.other[drop.TapDown], drop.TapDown)
		return
	}
	if (p.allowSpoof || f.domain.uplinks != nil) && !f.generated && p.loop.blocks(w.now) {
		w.countWritten(p, drop.L2Storm, 1, 0)
		return
	}
	if f.wide != nil {
		w.form(f, p.domain != f.domain.id)
	}
	if p.uplink != nil {
		w.countWritten(p, w.sendUplink(f, p), 1, len(f.bytes()))
		return
	}
	if !f.from.IsPeer() || !fits(f, p.mtu) {
		w.countWritten(p, w.write(f, p), 1, len(f.bytes()))
		return
	}
	f.held = true
	if !w.merger.Add(uint16(id), f.buf) { // full
		w.writeMerged()
		w.merger.Add(uint16(id), f.buf)
	}
}

// writeMerged writes what toPort gave the merger.
func (w *worker) writeMerged() {
	for i := range w.merger.Len() {
		item := w.merger.Item(i)
		p := w.snap.port(PortID(item.To))
		w.countWritten(p, written(p.device.WriteV(item.Vector)), item.Frames, item.Bytes)
	}
	w.merger.Reset()
}

// countWritten counts frames that left in one write to a port, or did not.
func (w *worker) countWritten(p *port, r drop.Reason, frames, bytes int) {
	c := &p.counters[w.index]
	if r != drop.None {
		c.drops[r].Add(uint64(frames))
		w.total.drops[r].Add(uint64(frames))
		w.total.droppedOut.Add(uint64(frames))
		return
	}
	c.txFrames.Add(uint64(frames))
	c.txBytes.Add(uint64(bytes))
	w.total.transmitted.Add(uint64(frames))
}

// write hands a frame to a port's device.
func (w *worker) write(f *frame, p *port) drop.Reason {
	if !fits(f, p.mtu) {
		w.writeMerged() // of the same flow, perhaps: order
		return w.writeSmaller(f, p)
	}
	return written(p.device.Write(f.buf))
}

// writeSmaller writes a frame that the kernel merged on its way here to a port
// whose MTU is smaller than the network's. By the latter its segment size was
// guessed; the port gets a smaller guess.
func (w *worker) writeSmaller(f *frame, p *port) drop.Reason {
	h, ok := refit(f, p.mtu)
	if !ok {
		return drop.InnerBig
	}
	h.Put(f.buf)
	r := p.put(f.buf)
	f.header.Put(f.buf)
	return r
}

// refit returns the header by which a frame that the kernel merged on its way from a
// peer fits mtu, or false where it must stay as it is (offload.Refit).
func refit(f *frame, mtu int) (offload.Header, bool) {
	if !f.from.IsPeer() {
		return offload.Header{}, false
	}
	return offload.Refit(f.header, f.bytes(), mtu)
}

// written says what became of a frame by what write(2) returned.
func written(err error) drop.Reason {
	switch err {
	case nil:
		return drop.None
	case syscall.EAGAIN:
		return drop.TapFull
	case syscall.ENOMEM, syscall.ENOBUFS:
		return drop.TxNoBufs
	case syscall.EINVAL:
		return drop.TapVirtio
	default: // EIO: link down. EBADFD: gone, which its reader finds out
		return drop.TapDown
	}
}

// toPeers sends the packets of the batch and counts what became of each.
func (w *worker) toPeers() {
	w.sender.Send(w.packets)
	for i := range w.packets {
		pkt := &w.packets[i]
		f := w.frame(w.origin[i])
		if f.header != pkt.Header { // its checksum is complete now
			f.header = pkt.Header
			f.header.Put(f.buf)
		}
		w.countSent(pkt)
	}
}

// countSent counts one packet to a peer.
func (w *worker) countSent(pkt *encap.Packet) {
	p := w.snap.peer(pkt.Peer)
	if p == nil {
		w.dropOut(&w.total.other[drop.TxUnreachable], drop.TxUnreachable)
		return
	}
	c := &p.counters[w.index]
	switch pkt.Reason {
	case drop.None:
		c.txFrames.Add(1)
		w.total.transmitted.Add(1)
		return
	case drop.TxUnreachable:
		if p.health.failed.Load() != w.now {
			p.health.fail(w.now, pkt.Err)
		}
	}
	w.dropOut(&c.drops[pkt.Reason], pkt.Reason)
}

// dropOut counts a copy that ended at egress.
func (w *worker) dropOut(at counter, r drop.Reason) {
	at.Add(1)
	w.total.drops[r].Add(1)
	w.total.droppedOut.Add(1)
}
