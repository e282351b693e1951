package dataplane

import (
	"sync/atomic"

	"weft/internal/drop"
)

// Counters are kept per worker and summed when they are read, so that no two
// workers write the same cache line. Each is written by one worker.

// portCounters are what one worker counted at one port.
type portCounters struct {
	rxFrames, rxBytes atomic.Uint64
	txFrames, txBytes atomic.Uint64
	notLearned        atomic.Uint64
	drops             [drop.Count]atomic.Uint64
	_                 [64]byte // keeps the next worker's counters off this cache line
}

// peerCounters are what one worker counted at one peer.
type peerCounters struct {
	rxFrames, txFrames atomic.Uint64
	drops              [drop.Count]atomic.Uint64
	_                  [64]byte
}

// totals are one worker's share of the balance sheet (Frames).
type totals struct {
	in, forwarded, local  atomic.Uint64
	copies, generated     atomic.Uint64
	transmitted           atomic.Uint64
	droppedIn, droppedOut atomic.Uint64
	drops                 [drop.Count]atomic.Uint64 // all of them
	other                 [drop.Count]atomic.Uint64 // those at no port and no peer
}

// PortStats are a port's counters; rx is into the switch, bytes are those of
// Ethernet frames without virtio headers and FCS.
type PortStats struct {
	RxFrames, TxFrames, RxBytes, TxBytes uint64
	NotLearned                           uint64 // frames forwarded whose source the FDB did not take: the port has its share
	Blocked                              bool   // the port is blocked because of a loop
	Drops                                [drop.Count]uint64
}

// PeerStats are a peer's counters and what is known of its health.
type PeerStats struct {
	RxFrames, TxFrames uint64
	Drops              [drop.Count]uint64
	Heard              uint32 // second of Switch.Now in which the last valid datagram came; 0: never
	Failed             uint32 // second of the last error; 0: never
	Err                error  // that error: an ICMP unreachable, or what the kernel said to a send
}

// Frames is the balance sheet. A super-frame counts as one frame.
//
//	In = Forwarded + Local + DroppedIn
//	Copies + Generated = Transmitted + DroppedOut
type Frames struct {
	In, Generated, Forwarded, Local, Copies uint64
	Transmitted, DroppedIn, DroppedOut      uint64
}

// stats sums the counters of all workers.
func (p *port) stats() (s PortStats) {
	for i := range p.counters {
		c := &p.counters[i]
		s.RxFrames += c.rxFrames.Load()
		s.RxBytes += c.rxBytes.Load()
		s.TxFrames += c.txFrames.Load()
		s.TxBytes += c.txBytes.Load()
		s.NotLearned += c.notLearned.Load()
		addDrops(&s.Drops, &c.drops)
	}
	return s
}

// stats sums the counters of all workers.
func (p *peer) stats() (s PeerStats) {
	for i := range p.counters {
		c := &p.counters[i]
		s.RxFrames += c.rxFrames.Load()
		s.TxFrames += c.txFrames.Load()
		addDrops(&s.Drops, &c.drops)
	}
	s.Heard, s.Failed = p.health.heard.Load(), p.health.failed.Load()
	if err := p.health.err.Load(); err != nil {
		s.Err = *err
	}
	return s
}

func addDrops(sum *[drop.Count]uint64, c *[drop.Count]atomic.Uint64) {
	for r := range c {
		sum[r] += c[r].Load()
	}
}

// add adds the counters of the host side to those of an uplink.
func (s *PortStats) add(o PortStats) {
	s.RxFrames += o.RxFrames
	s.RxBytes += o.RxBytes
	s.TxFrames += o.TxFrames
	s.TxBytes += o.TxBytes
	s.NotLearned += o.NotLearned
	for r, n := range o.Drops {
		s.Drops[r] += n
	}
}

// PortStats returns the counters of a port, those of an uplink with its host
// side; zero where there is none.
func (s *Switch) PortStats(id PortID) PortStats {
	snap := s.snapshot.Load()
	p := snap.port(id)
	if p == nil {
		return PortStats{}
	}
	sum := p.stats()
	sum.Blocked = p.loop.blocks(s.second.Load())
	if twin := snap.port(p.twin); twin != nil && p.uplink != nil {
		sum.add(twin.stats())
	}
	return sum
}

// PeerStats returns the counters of a peer; zero where there is none.
func (s *Switch) PeerStats(id PeerID) PeerStats {
	if p := s.snapshot.Load().peer(id); p != nil {
		return p.stats()
	}
	return PeerStats{}
}

// Drops returns the total of every reason, indexed by drop.Reason.
func (s *Switch) Drops() (sum [drop.Count]uint64) {
	for _, w := range s.workers {
		addDrops(&sum, &w.total.drops)
	}
	return sum
}

// OtherDrops returns the drops that belong to no present port or peer:
// strangers, overflow of the receive queue, and those of removed ports and peers.
func (s *Switch) OtherDrops() (sum [drop.Count]uint64) {
	for _, w := range s.workers {
		addDrops(&sum, &w.total.other)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for r := range s.retired {
		sum[r] += s.retired[r]
	}
	return sum
}
