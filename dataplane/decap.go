package dataplane

import (
	"weft/encap"
	"weft/fib"
	"weft/internal/drop"
	"weft/internal/header"
	"weft/internal/offload"
)

// drainUnderlay takes one batch of datagrams from peers. Worker 0 only.
func (w *worker) drainUnderlay(r encap.Receiver, failed bool) {
	if failed {
		w.noteErrors(r)
	}
	datagrams, err := r.Recv()
	if err != nil {
		w.noteErrors(r)
	}
	w.reset()
	for i := range datagrams {
		w.decap(&datagrams[i])
	}
	w.total.in.Add(uint64(len(datagrams)))
	w.flush()
	if n := r.Overflow(); n > 0 {
		w.dropMany(n, drop.RxOverflow)
	}
}

// decap finds the domain of a datagram and forwards the frame in it.
func (w *worker) decap(dg *encap.Datagram) {
	p := w.snap.peer(dg.Peer)
	if p == nil { // removed since the socket's filter let it pass
		w.dropIn(&w.total.other[drop.GREPeer], drop.GREPeer)
		return
	}
	c := &p.counters[w.index]
	c.rxFrames.Add(1)
	if r := w.open(p, dg); r != drop.None {
		w.dropIn(&c.drops[r], r)
	}
}

// open checks what a peer sent, makes it a frame of the batch and forwards it.
func (w *worker) open(p *peer, dg *encap.Datagram) drop.Reason {
	if dg.Reason != drop.None {
		return dg.Reason
	}
	if p.health.heard.Load() != w.now {
		p.health.heard.Store(w.now)
	}
	if dg.Proto != encap.ProtoTEB {
		return w.openBare(p, dg)
	}
	d := w.domainOf(p, dg)
	if d == nil {
		return drop.GREKey
	}
	if r := encap.MergeECN(dg.TOS, dg.Proto, dg.Frame); r != drop.None {
		return r
	}
	eth, ok := header.ParseEthernet(dg.Frame)
	if !ok {
		return drop.InnerRunt
	}
	src := eth.Src()
	if src.IsMulticast() || src == 0 {
		return drop.InnerSourceMAC
	}
	h, reason := offload.FromWire(dg.Frame, d.mtu)
	if reason != drop.None {
		return reason
	}
	buf := dg.Buf[encap.Headroom-offload.HeaderLen:]
	h.Put(buf)
	w.frames = append(w.frames, frame{buf: buf, header: h, from: fib.PeerDest(uint16(p.id)), domain: d})
	index := uint16(len(w.frames) - 1)
	f := &w.frames[index]
	if d.aware {
		if r := w.classify(nil, f); r != drop.None {
			return r
		}
		d, eth = f.domain, f.bytes()
	}
	if r := w.guardPeer(f, eth); r != drop.None {
		return r
	}
	if out := d.fdb.Learn(src, f.from, w.now); out == fib.Moved || out == fib.Pinned {
		w.sw.moves.note(d, src, f.from, out, w.now)
	}
	return w.forward(index, eth)
}

// openBare takes IP without Ethernet: a packet for the router of a vrf. It gets
// an Ethernet header of zeros, so that it is a frame like the others.
func (w *worker) openBare(p *peer, dg *encap.Datagram) drop.Reason {
	key := dg.Key
	if !dg.HasKey {
		key = p.vrf
	}
	v := w.snap.vrfs[key]
	switch {
	case v != nil:
	case !dg.HasKey || w.snap.byKey[key] != nil: // a tunnel that carries Ethernet
		return drop.GREProto
	default:
		return drop.GREKey
	}
	if r := encap.MergeECN(dg.TOS, dg.Proto, dg.Frame); r != drop.None {
		return r
	}
	buf := dg.Buf[encap.Headroom-header.EthernetLen-offload.HeaderLen:]
	eth := buf[offload.HeaderLen:]
	header.PutEthernet(eth, 0, 0, dg.Proto)
	h, reason := offload.FromWire(eth, p.mtu)
	if reason != drop.None {
		return reason
	}
	h.Put(buf)
	w.frames = append(w.frames, frame{buf: buf, header: h, from: fib.PeerDest(uint16(p.id)), bare: true})
	return w.route(uint16(len(w.frames)-1), v)
}

// domainOf demultiplexes by peer and key (RFC 2890 section 2.1); nil where the
// key is unknown or its network not shared with the peer.
func (w *worker) domainOf(p *peer, dg *encap.Datagram) *domain {
	if !dg.HasKey {
		return w.snap.domain(p.domain)
	}
	if d := w.snap.byKey[dg.Key]; d != nil && d.shared.has(uint16(p.id)) {
		return d
	}
	return nil
}

// countStrangers counts what arrived from hosts that are no peers.
func (w *worker) countStrangers(s *encap.Strangers) {
	if n := s.Count(); n > 0 {
		w.dropMany(n, drop.GREPeer)
	}
}

// dropMany counts n frames that entered the host and were dropped unread.
func (w *worker) dropMany(n uint64, r drop.Reason) {
	w.total.in.Add(n)
	w.total.droppedIn.Add(n)
	w.total.drops[r].Add(n)
	w.total.other[r].Add(n)
}

// noteErrors takes ICMP errors about our datagrams as hints of a peer's health.
func (w *worker) noteErrors(r encap.Receiver) {
	r.Errors(func(id encap.PeerID, err error) {
		if p := w.snap.peer(id); p != nil {
			p.health.fail(w.now, err)
		}
	})
}

// fail notes an error about a peer.
func (h *health) fail(now uint32, err error) {
	h.err.Store(&err)
	h.failed.Store(now)
}
