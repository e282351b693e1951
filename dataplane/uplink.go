package dataplane

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"syscall"

	"weft/fib"
	"weft/internal/drop"
	"weft/internal/header"
	"weft/internal/offload"
	"weft/internal/policy"
	"weft/tap"
)

// An uplink joins a domain to a link of the host, and to the host's own stack,
// whose addresses are on that link. To the switch these are two ports, twins,
// with one descriptor to read:
//
//	read from the link                     comes in at
//	from a machine of the LAN              the uplink
//	sent by the host                       the host side
//
// Between twins nothing passes: what the LAN sends to the host it has already,
// and what the host sends has left by the link. The host's address is attached
// to the host side; stations of the LAN are learned. The LAN sees no gateway:
// that is on every host, and may be somebody else's address there.

// UplinkStations is how many addresses the FDB learns from an uplink.
const UplinkStations = 4096

// UplinkConfig describes an uplink.
type UplinkConfig struct {
	Uplink *tap.Uplink
	Domain DomainID
	MAC    header.MAC // of the link, which is the host's
	MTU    int        // L3, of the link
}

// AddUplink joins a link of the host to a domain and starts reading it. The
// number is that of the port to the LAN; the one to the host's stack goes with it.
// RemovePort removes both; the Uplink stays the caller's, who closes it afterwards.
func (s *Switch) AddUplink(cfg UplinkConfig) (PortID, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, errors.New("add uplink: switch is closed")
	}
	old := s.snapshot.Load()
	d := old.domain(cfg.Domain)
	if d == nil {
		return 0, fmt.Errorf("add uplink: no domain %d", cfg.Domain)
	}
	next := old.clone()
	up := s.newPort(cfg, s.idlestWorker(old))
	up.uplink, up.allowSpoof, up.mtu = cfg.Uplink, true, cfg.MTU
	host := s.newPort(cfg, up.worker)
	host.device, host.mac, host.mtu = cfg.Uplink.Host(), cfg.MAC, offload.MaxFrame
	for _, p := range []*port{up, host} {
		id, err := freeSlot(&next.ports)
		if err != nil {
			return 0, fmt.Errorf("add uplink: %w", err)
		}
		p.id, next.ports[id] = PortID(id), p
	}
	up.twin, host.twin = host.id, up.id
	if !next.pin(host) {
		return 0, fmt.Errorf("add uplink: its address %v is another port's, or the table is full", cfg.MAC)
	}
	next.rejoin(d.id)
	s.publish(next)
	s.filterUplinks()
	if err := s.workers[up.worker].watch(up.fd(), sourceUplink, int32(up.id)); err != nil {
		s.publish(withoutPort(next, up))
		s.settle()
		s.sweep(host)
		return 0, fmt.Errorf("add uplink: %w", err)
	}
	return up.id, nil
}

// newPort makes one of the two ports of an uplink.
func (s *Switch) newPort(cfg UplinkConfig, worker int) *port {
	return &port{
		network: cfg.Domain, domain: cfg.Domain, worker: worker, filter: policy.New(cfg.MAC, nil), flooding: new(flooding), floodRate: DefaultFloodRate, loop: new(looping),
		gone: new(atomic.Bool), lossRead: new(atomic.Uint32), counters: make([]portCounters, len(s.workers)),
	}
}

// HostSide returns the port that leads to the host's own stack, beside an
// uplink's to the LAN; 0 where id is no uplink.
func (s *Switch) HostSide(id PortID) PortID {
	if p := s.snapshot.Load().port(id); p != nil && p.uplink != nil {
		return p.twin
	}
	return 0
}

// fd returns the descriptor that the port is read by.
func (p *port) fd() int {
	if p.uplink != nil {
		return p.uplink.FD()
	}
	return p.device.FD()
}

// isHostSide reports whether the port leads to the host's own stack.
func (p *port) isHostSide() bool { return p.twin != 0 && p.uplink == nil }

// reaches reports whether frames may go from p to another port of its domain.
func (p *port) reaches(to *port) bool {
	return (p.twin == 0 || p.twin != to.id) && !(p.isolated && to.isolated)
}

// isOutside reports whether a frame comes from an uplink or its host side.
func (w *worker) isOutside(f *frame) bool {
	p := w.snap.portOf(f.from)
	return p != nil && p.twin != 0
}

// filterUplinks tells the kernel which frames of the links are wanted. A filter
// that is refused leaves the former one: then stations that are new are not heard
// by the LAN's answers, which the log says. Called with mu held, behind publish.
func (s *Switch) filterUplinks() {
	snap := s.snapshot.Load()
	for _, d := range snap.domains {
		if d == nil || d.vid != 0 {
			continue
		}
		for _, p := range d.uplinks {
			if err := p.uplink.SetFilter(s.stationsOf(snap, d)); err != nil {
				s.log.Error("uplink does not hear all that is for its network", "err", err)
			}
		}
	}
}

// stationsOf returns the addresses that are on this side of the uplinks of a
// network, its VLANs included; open where there are others too, which are learned.
func (s *Switch) stationsOf(snap *snapshot, d *domain) (own []header.MAC, open bool) {
	open = len(d.peers) > 0 || len(d.uplinks) > 1
	if s.cfg.HostMAC != 0 {
		own = append(own, s.cfg.HostMAC)
	}
	for _, p := range snap.ports {
		switch {
		case p == nil, p.network != d.id, p.twin != 0:
		case p.allowSpoof:
			open = true
		default:
			own = append(own, p.mac)
		}
	}
	slices.Sort(own)
	return own, open
}

// drainUplink takes one batch from an uplink.
func (w *worker) drainUplink(p *port) {
	host := w.snap.port(p.twin)
	w.reset()
	if p.lossRead.Swap(w.now) != w.now {
		if n := p.uplink.Lost(); n > 0 {
			w.dropMany(n, drop.RxOverflow)
		}
	}
	used := 0
	for n := 0; n < batchFrames && used <= batchBytes; n++ {
		buf, sent, err := p.uplink.Receive(w.arena[used : used+tap.TagRoom+frameSpace])
		at := p
		if sent {
			at = host
		}
		c := &at.counters[w.index]
		switch err {
		case nil:
		case syscall.EINVAL: // a virtio header cannot say what it is, such as a merged one of a tunnel
			w.lostAt(c, drop.TapVirtio)
			continue
		case syscall.EMSGSIZE:
			w.lostAt(c, drop.InnerBig)
			continue
		default: // EAGAIN, or ENETDOWN once: control follows the link's state by itself
			w.flush()
			return
		}
		used += (len(buf) + tap.TagRoom + 63) &^ 63
		w.total.in.Add(1)
		c.rxFrames.Add(1)
		c.rxBytes.Add(uint64(max(0, len(buf)-offload.HeaderLen)))
		w.frames = append(w.frames, frame{buf: buf, from: fib.PortDest(uint16(at.id))})
		if r := w.fromLink(at, uint16(len(w.frames)-1)); r != drop.None {
			w.dropIn(&c.drops[r], r)
		}
	}
	w.flush()
}

// lostAt counts a frame that was there and could not be read.
func (w *worker) lostAt(c *portCounters, r drop.Reason) {
	c.rxFrames.Add(1)
	w.total.in.Add(1)
	w.dropIn(&c.drops[r], r)
}

// fromLink guards a frame that was read from a link, at p, the uplink or its
// host side, and forwards it.
func (w *worker) fromLink(p *port, index uint16) drop.Reason {
	f := &w.frames[index]
	if len(f.buf) < offload.HeaderLen+header.EthernetLen {
		return drop.TapShort
	}
	eth := header.Ethernet(f.bytes())
	h, reason := offload.FromLink(offload.ParseHeader(f.buf), f.bytes())
	if reason != drop.None {
		return reason
	}
	f.header = h
	h.Put(f.buf)
	f.domain = w.snap.domain(p.domain)
	if f.domain.aware {
		if r := w.classify(p, f); r != drop.None {
			return r
		}
		eth = f.bytes()
	}
	if src := eth.Src(); src.IsMulticast() || src == 0 {
		return drop.L2SourceMAC
	}
	if r := w.guardLink(p, f, eth); r != drop.None {
		return r
	}
	dst := eth.Dst()
	if dst.IsMulticast() {
		w.noteRival(p, f, eth)
		if !w.mayFlood(p, f, dst) {
			return drop.L2Storm
		}
		return w.forward(index, eth)
	}
	to := w.snap.portOf(f.domain.fdb.Lookup(dst))
	switch {
	case to != nil && (to.id == p.id || to.id == p.twin):
		return drop.L2Self
	case to == nil && p.isHostSide() && f.domain.fdb.Lookup(dst) == 0 && dst != w.sw.cfg.HostMAC:
		return drop.L2Self // to a machine of the LAN that has not been heard yet
	case f.domain.gw != nil && dst == f.domain.gw.mac: // which no LAN sees
		return drop.L2NoPort
	}
	return w.forward(index, eth)
}

// guardLink holds a frame from a LAN, or from the host, to what everybody must
// hold to, and learns its source.
func (w *worker) guardLink(p *port, f *frame, eth header.Ethernet) drop.Reason {
	src := eth.Src()
	if src == w.sw.cfg.HostMAC {
		if !p.isHostSide() {
			w.looped(p, f.domain, eth)
		}
		return drop.L2Spoof
	}
	if p.loop.blocks(w.now) {
		return drop.L2Storm
	}
	if gw := f.domain.gw; gw != nil {
		source, target := policy.Claims(eth)
		if src == gw.mac || gw.has(source) || gw.has(target) { // not defended: the LAN sees no gateway
			return drop.L2Spoof
		}
	}
	return w.learnLink(p, f, src, eth.Dst())
}

// learnLink notes that a station is behind a link. One that is elsewhere moves,
// unless it was heard there just now: then this is its own frame, which came back
// by the host or by the LAN.
func (w *worker) learnLink(p *port, f *frame, src, dst header.MAC) drop.Reason {
	fdb := f.domain.fdb
	at := fdb.Lookup(src)
	switch {
	case at == f.from:
		fdb.Learn(src, f.from, w.now) // its age
		return drop.None
	case at == 0:
		if fdb.Count(f.from) >= UplinkStations || fdb.Learn(src, f.from, w.now) == fib.Full {
			p.counters[w.index].notLearned.Add(1)
		}
		return drop.None
	case fdb.Heard(src, w.now):
		return drop.L2Self
	}
	switch out := fdb.Learn(src, f.from, w.now); out {
	case fib.Moved:
		w.sw.moves.note(f.domain, src, f.from, out, w.now)
	case fib.Pinned:
		if !dst.IsMulticast() { // groups hear echoes
			w.sw.moves.note(f.domain, src, f.from, out, w.now)
		}
		return drop.L2Self
	}
	return drop.None
}

// sendUplink sends a frame by an uplink.
func (w *worker) sendUplink(f *frame, p *port) drop.Reason {
	if !fits(f, p.mtu) {
		return w.writeSmaller(f, p)
	}
	return p.put(f.buf)
}

// put hands a frame behind its virtio header to the kernel.
func (p *port) put(buf []byte) drop.Reason {
	if p.uplink == nil {
		return written(p.device.Write(buf))
	}
	switch err := p.uplink.Send(buf); err {
	case syscall.EAGAIN: // the queue to the link
		return drop.TxNoBufs
	case syscall.EMSGSIZE:
		return drop.InnerBig
	default:
		return written(err)
	}
}
