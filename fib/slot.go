package fib

import "weft/internal/header"

// What follows changes single slots; learners and the control plane share it.
// size counts places: whoever fills an empty slot takes one first, whoever
// empties a slot gives it back, whoever replaces an entry takes over its place.

// insert puts w, of an address that find did not see, into one of its buckets.
// done is false when somebody else was faster: look again. A learned entry
// evicts what fairness allows, a pinned one any learned entry.
func (t *FDB) insert(w uint64, p pair, now uint32) (out Outcome, done bool) {
	if t.size.Load() < t.capacity {
		if s, free := t.room(p); free {
			if t.size.Add(1) <= t.capacity && t.put(s, 0, w, now) {
				return New, true
			}
			t.size.Add(-1)
			return New, false
		}
	}
	v, old := t.victim(w, p)
	switch {
	case old == 0:
		return Full, true
	case p.has(v):
		return New, t.put(v, old, w, now)
	case !t.swap(v, old, 0):
		return New, false
	}
	// The victim's place is ours; its slot is of no use to us.
	if s, free := t.room(p); free && t.put(s, 0, w, now) {
		return New, true
	}
	t.size.Add(-1)
	return New, false
}

// room returns an empty slot, the home slot where that is one: in the first
// bucket while that is at most half full, since find looks there first, and else
// in the emptier of the two.
func (t *FDB) room(p pair) (s slot, free bool) {
	s1, n1 := t.empty(p.first, p.home)
	if n1 >= slots/2 {
		return s1, true
	}
	s2, n2 := t.empty(p.second, p.home)
	if n1 >= n2 {
		return s1, n1 > 0
	}
	return s2, true
}

// empty counts the empty slots of bucket i and returns one of them: home, or the
// next behind it.
func (t *FDB) empty(i, home uint64) (s slot, n int) {
	b := &t.buckets[i]
	for k := home + slots - 1; k+1 > home; k-- {
		if b[k%slots].Load() == 0 {
			s = slot(i*slots + k%slots)
			n++
		}
	}
	return s, n
}

// put replaces old by the new entry w. The second is stored before the word, or
// Age could meet the new entry with the second of the slot's last tenant; if the
// swap fails, the present tenant merely ages a little later.
func (t *FDB) put(s slot, old, w uint64, now uint32) bool {
	if isLearned(w) {
		t.seen[s/slots][s%slots].Store(now)
	}
	return t.swap(s, old, w)
}

// swap changes the word of s and the counts with it. Every change of a word
// passes here and each adds exactly its difference, so that the counts are
// exact whenever no call is under way.
func (t *FDB) swap(s slot, old, w uint64) bool {
	if !t.buckets[s/slots][s%slots].CompareAndSwap(old, w) {
		return false
	}
	if isLearned(old) && isLearned(w) && Dest(old) == Dest(w) {
		return true
	}
	if isLearned(old) {
		t.count(Dest(old)).Add(-1)
	}
	if isLearned(w) {
		n := t.count(Dest(w)).Add(1)
		if n > t.count(Dest(t.top.Load())).Load() {
			t.top.Store(uint32(Dest(w)))
		}
	}
	return true
}

// remove empties s if it still holds w.
func (t *FDB) remove(s slot, w uint64) bool {
	if !t.swap(s, w, 0) {
		return false
	}
	t.size.Add(-1)
	return true
}

// touch notes that the entry in s was heard of. Workers' clocks differ: never
// step back, or two of them would store in turn all second long.
func (t *FDB) touch(s slot, now uint32) {
	seen := &t.seen[s/slots][s%slots]
	if int32(now-seen.Load()) > 0 {
		seen.Store(now)
	}
}

// settle removes all entries of mac but one, the pinned one or else the first,
// and returns that. Removing one that another call is just moving fails, and
// then it looks again.
func (t *FDB) settle(mac header.MAC, p pair) (kept slot, w uint64) {
	for again := true; again; {
		again, w = false, 0
		for n := range slot(2 * slots) {
			s := p.slot(n)
			o := t.word(s)
			switch {
			case !isOf(o, mac): // nor are empty slots
			case w == 0:
				kept, w = s, o
			case o&pinned != 0:
				again = !t.remove(kept, w) || again
				kept, w = s, o
			default:
				again = !t.remove(s, o) || again
			}
		}
	}
	return kept, w
}

// word returns the word in s.
func (t *FDB) word(s slot) uint64 { return t.buckets[s/slots][s%slots].Load() }

// slot returns the nth slot of the pair, 0 to 15, in the order in which Lookup
// takes them: home, the others of the first bucket, the second bucket.
func (p pair) slot(n slot) slot {
	switch home := slot(p.home); {
	case n >= slots:
		return slot(p.second*slots) + n - slots
	case n == 0:
		return slot(p.first*slots) + home
	case n <= home:
		return slot(p.first*slots) + n - 1
	default:
		return slot(p.first*slots) + n
	}
}

// has reports whether s lies in one of the two buckets.
func (p pair) has(s slot) bool {
	return uint64(s/slots) == p.first || uint64(s/slots) == p.second
}
