package dataplane

import (
	"maps"
	"net/netip"
	"sync"
	"sync/atomic"

	"weft/internal/header"
)

const (
	maxNeighbours  = 4096 // of a domain
	neighbourFresh = 30   // seconds after which a neighbour that is used is asked again
	neighbourGone  = 60   // seconds without an answer after which it is forgotten
	shardCount     = 64
)

// neighbours maps the addresses of a domain to MACs, learned from ARP and
// neighbour discovery (RFC 826, RFC 4861 section 7). Attached addresses are not
// in it: control knows them. Readers take no lock; a change copies one small map.
type neighbours struct {
	shards [shardCount]atomic.Pointer[map[netip.Addr]*neighbour]

	mu  sync.Mutex // serialises writers; guards len
	len int
}

// neighbour is one address. Its MAC changes in place.
type neighbour struct {
	mac  atomic.Uint64
	seen atomic.Uint32 // second of the last answer
	used atomic.Uint32 // second in which it was last asked again
}

func (n *neighbours) shard(a netip.Addr) *atomic.Pointer[map[netip.Addr]*neighbour] {
	b := a.As16()
	return &n.shards[(b[15]^b[14])%shardCount]
}

// lookup returns the neighbour with address a, nil where it is unknown.
func (n *neighbours) lookup(a netip.Addr) *neighbour {
	if m := n.shard(a).Load(); m != nil {
		return (*m)[a]
	}
	return nil
}

// confirm notes that a is at mac at second now. An address that is not there
// yet is added only if add says so: who merely talks is not remembered. It
// reports whether a is known now, and refuses beyond maxNeighbours.
func (n *neighbours) confirm(a netip.Addr, mac header.MAC, now uint32, add bool) bool {
	if e := n.lookup(a); e != nil {
		if e.mac.Load() != uint64(mac) {
			e.mac.Store(uint64(mac))
		}
		if e.seen.Load() != now {
			e.seen.Store(now)
		}
		return true
	}
	if !add {
		return false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.len >= maxNeighbours || n.lookup(a) != nil {
		return n.len < maxNeighbours
	}
	e := new(neighbour)
	e.mac.Store(uint64(mac))
	e.seen.Store(now)
	e.used.Store(now)
	n.change(a, func(m map[netip.Addr]*neighbour) { m[a] = e })
	n.len++
	return true
}

// age forgets neighbours that did not answer for neighbourGone seconds.
func (n *neighbours) age(now uint32) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i := range n.shards {
		m := n.shards[i].Load()
		if m == nil {
			continue
		}
		for a, e := range *m {
			if now-e.seen.Load() > neighbourGone {
				n.change(a, func(m map[netip.Addr]*neighbour) { delete(m, a) })
				n.len--
			}
		}
	}
}

// change replaces a's shard by a changed copy. Called with mu held.
func (n *neighbours) change(a netip.Addr, f func(map[netip.Addr]*neighbour)) {
	shard := n.shard(a)
	next := map[netip.Addr]*neighbour{}
	if old := shard.Load(); old != nil {
		maps.Copy(next, *old)
	}
	f(next)
	shard.Store(&next)
}

// stale reports whether the neighbour should be asked again, once a second at most.
func (e *neighbour) stale(now uint32) bool {
	return now-e.seen.Load() > neighbourFresh && e.used.Swap(now) != now
}
