package fib

import (
	"math/bits"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"weft/internal/header"
)

// Bounds and defaults of FDBConfig.
const (
	DefaultCapacity = 65_536
	MinCapacity     = 10
	MaxCapacity     = 1_000_000
)

// FDBConfig bounds one FDB.
type FDBConfig struct {
	Capacity int    // most entries of all kinds, 10 to 1,000,000, clamped; 0 is 65,536
	Ageing   uint32 // as in SetAgeing
	Few      bool   // ports and peers beyond 511 share their counts with others, which saves 252 KB
}

// FDB maps MAC addresses to destinations for one bridge domain. Make it with
// NewFDB; it must not be copied. It owns no goroutine and needs no Close.
//
// Who may call what: Lookup and Learn, any number of goroutines at once, no
// lock. Everything else too, but those calls serialise among themselves on a
// mutex, which Lookup and Learn never touch.
//
// # One word per entry
//
// An entry is one 64-bit word, address and destination together, so one atomic
// load reads it whole and one compare-and-swap moves a station. A station's
// address never has the group bit; in the word that bit says that the entry is
// pinned (attached or static). A learner's compare-and-swap names the unpinned
// word it saw, so it cannot overwrite an entry that was pinned meanwhile.
// Entries never wander between slots.
//
// # Two learners, one new address
//
// Both may find no entry and put one each into different slots. So whoever
// inserts looks at all slots of the address again afterwards (settle) and
// removes all entries but one: a pinned one, else the first, which is the one
// that Lookup returns. Of two inserters at least the later sees both, hence
// there is at most one entry of an address whenever no Learn or Set of it is
// under way. Until then a second one is harmless: Lookup goes on returning the
// first. The same holds for a learner that had looked before Set came: at worst
// its entry stands before the pinned one until that Learn call returns.
//
// # Where an address stands
//
// A bucket is one cache line, and an address has two of them, so that a full
// table still has room for it. Some seven addresses in ten stand in the home slot
// that they have in the first one, where Lookup finds them with one comparison;
// in a table of 64k entries that makes it twice as fast as looking at the slots
// in their order.
//
// # Reusing a destination
//
// Sweep removes what points to a destination; a learner that still believes in
// the port could put it back. Therefore the owner of the destination first
// publishes a snapshot without it, waits until every worker has loaded that (no
// Learn of the destination can be under way any more), and then sweeps once.
type FDB struct {
	// Set by NewFDB and then only read.
	buckets  []bucket
	seen     []stamps       // parallel to buckets
	counts   []atomic.Int32 // learned entries of each Dest, see count; only pages in use cost memory
	places   uint           // log2 of the counts of ports, and of those of peers
	mask     uint64         // len(buckets)-1, a power of two less one
	seed     uint64         // hash secrets: a container cannot aim at one bucket
	mul      uint64
	capacity int32
	ageing   atomic.Uint32 // seconds

	_    [64]byte      // inserters write below, frames read above
	size atomic.Int32  // places taken, at most capacity, entries of all kinds
	top  atomic.Uint32 // the Dest with most learned entries, or nearly; a hint
	_    [64]byte

	mu    sync.Mutex // guards kinds and serialises the control plane's calls
	kinds [][slots]Kind
}

const (
	slots = 8 // words of a bucket: one cache line

	// Up to this load both buckets of an address are practically never full at
	// once. Sizes are powers of two, so tables end between 30 % and this.
	maxLoadPercent = 60
	minBuckets     = 4

	pinned   uint64 = 1 << 56 // the group bit of the address
	destMask uint64 = 0xffff
)

type (
	bucket [slots]atomic.Uint64
	stamps [slots]atomic.Uint32
	pair   struct{ first, second, home uint64 } // the two buckets of an address, and the slot of the first to look at first
	slot   uint64                               // bucket number * slots + index
)

// NewFDB returns an empty FDB. It takes 20 to 45 bytes for each entry of capacity.
func NewFDB(cfg FDBConfig) *FDB {
	if cfg.Capacity == 0 {
		cfg.Capacity = DefaultCapacity
	}
	capacity := min(max(cfg.Capacity, MinCapacity), MaxCapacity)
	n := minBuckets
	for n*slots*maxLoadPercent < capacity*100 {
		n *= 2
	}
	t := &FDB{
		buckets:  make([]bucket, n),
		seen:     make([]stamps, n),
		kinds:    make([][slots]Kind, n),
		mask:     uint64(n - 1),
		seed:     rand.Uint64(),
		mul:      rand.Uint64() | 1,
		capacity: int32(capacity),
	}
	t.places = 15
	if cfg.Few {
		t.places = 9
	}
	t.counts = make([]atomic.Int32, 2<<t.places)
	t.SetAgeing(cfg.Ageing)
	return t
}

// count returns the count of d, of which several may have one (FDBConfig.Few).
func (t *FDB) count(d Dest) *atomic.Int32 {
	return &t.counts[uint(d)>>15<<t.places|uint(d&^peerBit)&(1<<t.places-1)]
}

// Lookup returns the destination of mac; zero where it is unknown, and for
// multicast. Any goroutine, no lock, no store.
func (t *FDB) Lookup(mac header.MAC) Dest {
	p := t.pair(mac)
	if w := t.buckets[p.first][p.home].Load(); isOf(w, mac) {
		return Dest(w)
	}
	w := t.buckets[p.first].find(mac)
	if w == 0 {
		w = t.buckets[p.second].find(mac)
	}
	return Dest(w)
}

// find returns the first word of mac, or 0. All eight are compared without a branch:
// which slot an address has is nothing that a processor could guess, and a wrong
// guess costs more than all the comparisons.
func (b *bucket) find(mac header.MAC) (w uint64) {
	w0, w1, w2, w3 := b[0].Load(), b[1].Load(), b[2].Load(), b[3].Load()
	w4, w5, w6, w7 := b[4].Load(), b[5].Load(), b[6].Load(), b[7].Load()
	if isOf(w7, mac) {
		w = w7
	}
	if isOf(w6, mac) {
		w = w6
	}
	if isOf(w5, mac) {
		w = w5
	}
	if isOf(w4, mac) {
		w = w4
	}
	if isOf(w3, mac) {
		w = w3
	}
	if isOf(w2, mac) {
		w = w2
	}
	if isOf(w1, mac) {
		w = w1
	}
	if isOf(w0, mac) {
		w = w0
	}
	return w
}

// Learn notes that a frame from mac came in at d at second now of the switch's
// monotonic clock; workers may differ by a second. Any goroutine, no lock; it
// stores at most once per entry and second. Multicast and zero addresses are
// Pinned: the caller drops such frames before.
func (t *FDB) Learn(mac header.MAC, d Dest, now uint32) Outcome {
	if !isStation(mac) || d == 0 {
		return Pinned
	}
	p := t.pair(mac)
	for { // another round only after somebody else changed these very slots
		s, w := t.find(mac, p)
		switch {
		case w == 0:
			if out, done := t.insert(word(mac, d), p, now); done {
				if out == New {
					t.settle(mac, p)
				}
				return out
			}
		case w&pinned != 0:
			if Dest(w) != d {
				return Pinned
			}
			return Known
		case Dest(w) == d:
			t.touch(s, now)
			return Known
		default:
			t.touch(s, now)
			if t.swap(s, w, word(mac, d)) {
				return Moved
			}
		}
	}
}

// Len returns the number of entries of all kinds.
func (t *FDB) Len() int { return int(t.size.Load()) }

// Count returns the number of learned entries that point to d; a Learn under way
// may have changed the table already and the count not yet.
func (t *FDB) Count(d Dest) int { return int(t.count(d).Load()) }

// Heard reports whether mac has a learned entry whose station sent a frame within
// the last two seconds before second now. Any goroutine, no lock, no store.
func (t *FDB) Heard(mac header.MAC, now uint32) bool {
	s, w := t.find(mac, t.pair(mac))
	return isLearned(w) && int32(now-t.seen[s/slots][s%slots].Load()) <= 1
}

// find returns the first slot of mac and its word, or 0 where there is none.
func (t *FDB) find(mac header.MAC, p pair) (slot, uint64) {
	if w := t.buckets[p.first][p.home].Load(); isOf(w, mac) {
		return slot(p.first*slots + p.home), w
	}
	for n := slot(1); n < 2*slots; n++ {
		s := p.slot(n)
		if w := t.word(s); isOf(w, mac) {
			return s, w
		}
	}
	return 0, 0
}

// pair hashes by folding two 64 x 64 bit products; one is not enough for
// consecutive addresses, which are the usual case. The second bucket always
// differs from the first: their numbers differ in the lowest bit.
func (t *FDB) pair(mac header.MAC) pair {
	hi, lo := bits.Mul64(uint64(mac)^t.seed, t.mul)
	hi, lo = bits.Mul64(hi^lo, 0x9e37_79b9_7f4a_7c15) // 2^64 / golden ratio
	h := hi ^ lo
	first := h & t.mask
	return pair{first, first ^ (h>>32&t.mask | 1), h >> 61}
}

// word returns the word of a learned entry.
func word(mac header.MAC, d Dest) uint64 { return uint64(mac)<<16 | uint64(d) }

// isOf reports whether w is an entry of mac. An empty word counts as one of
// address zero, whose Dest is nowhere.
func isOf(w uint64, mac header.MAC) bool { return w&^(pinned|destMask) == uint64(mac)<<16 }

// isLearned reports whether w is an entry that traffic may move and evict.
func isLearned(w uint64) bool { return w != 0 && w&pinned == 0 }

// isStation reports whether mac may stand in the table.
func isStation(mac header.MAC) bool {
	return mac != 0 && mac <= header.Broadcast && !mac.IsMulticast()
}
