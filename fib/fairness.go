package fib

import "math"

// sampleMost is how many buckets a learner looks at for an entry to evict, so
// that learning takes bounded time. The two that it has at hand are enough
// when a destination that holds most, or nearly, has an entry there; in a table
// that one port floods, the oldest of some eight goes. A table of minBuckets is
// always seen whole.
const sampleMost = 32

// victim returns the entry that has to go for the new entry w: learned, of the
// destination that holds most, and of those the oldest, among a sample of
// buckets; or 0 where there is none. Where the newcomer's own destination holds
// most, or as many as any, one of its own goes: a port that floods hurts itself,
// and no entry of a port that holds fewer is ever lost to it. (The rule is that
// of Open vSwitch, which keeps a heap under a lock for it.)
//
// A pinned newcomer has the whole table searched and takes any learned entry's
// place. Where both buckets of w are full, only entries in them are of use.
func (t *FDB) victim(w uint64, p pair) (v slot, old uint64) {
	own := Dest(w)
	floor := t.count(own).Load() // others must hold more than this
	enough := t.count(Dest(t.top.Load())).Load() / 8 * 7
	reach := min(sampleMost, len(t.buckets))
	if w&pinned != 0 {
		floor = -1
	}
	if w&pinned != 0 || reach == minBuckets {
		enough, reach = math.MaxInt32, len(t.buckets)
	}
	most, oldest := int32(-1), uint32(0)
	i := p.second
	for n := range reach + 1 { // p.second, p.first, and on from there
		b := &t.buckets[i]
		for k := range b {
			o := b[k].Load()
			if !isLearned(o) {
				continue
			}
			held := t.count(Dest(o)).Load()
			if held < most || held <= floor && Dest(o) != own {
				continue
			}
			seen := t.seen[i][k].Load()
			if held > most || int32(seen-oldest) < 0 {
				v, old, most, oldest = slot(i*slots)+slot(k), o, held, seen
			}
		}
		if n > 0 && most >= enough {
			break
		}
		if n == 1 {
			if _, free := t.room(p); !free {
				break
			}
		}
		i = (p.first + uint64(n)) & t.mask
	}
	return v, old
}
