package fib

import (
	"cmp"
	"slices"

	"weft/internal/header"
)

// Set makes an Attached or Static entry, over a learned one where there is one.
// An entry that is attached or static at d already gets kind k. Set reports
// false, and changes nothing, when the table is full of entries that must stay,
// when mac is attached or static at another destination, when mac is zero or
// multicast, and when d is nowhere or k is Learned.
func (t *FDB) Set(mac header.MAC, d Dest, k Kind) bool {
	if !isStation(mac) || d == 0 || k == Learned {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.pair(mac)
	w := word(mac, d) | pinned
	for { // ends when a look at all slots finds our entry there, and alone
		s, old := t.settle(mac, p)
		switch {
		case old == w:
			t.kinds[s/slots][s%slots] = k
			return true
		case old&pinned != 0:
			return false
		case old != 0:
			t.swap(s, old, w)
		default:
			if out, _ := t.insert(w, p, 0); out == Full {
				return false
			}
		}
	}
}

// Delete removes the entry of mac, of whatever kind, and reports whether there was one.
func (t *FDB) Delete(mac header.MAC) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.pair(mac)
	for {
		s, w := t.settle(mac, p)
		if w == 0 {
			return false
		}
		if t.remove(s, w) {
			return true
		}
	}
}

// Entry is one row of the FDB, as Entries returns it.
type Entry struct {
	MAC  header.MAC
	Dest Dest
	Kind Kind
	Age  uint32 // seconds since the last frame; 0 for attached and static entries
}

// Entries returns a copy of the table at second now, sorted by address, which
// the caller owns. Learning goes on meanwhile: each row was true at some time
// during the call, not all of them at the same time.
func (t *FDB) Entries(now uint32) []Entry {
	t.mu.Lock()
	defer t.mu.Unlock()
	es := make([]Entry, 0, t.Len())
	for i := range t.buckets {
		for k := range slots {
			w := t.buckets[i][k].Load()
			if w == 0 {
				continue
			}
			e := Entry{MAC: header.MAC(w &^ pinned >> 16), Dest: Dest(w)}
			if w&pinned != 0 {
				e.Kind = t.kinds[i][k]
			} else {
				e.Age = uint32(max(0, int32(now-t.seen[i][k].Load())))
			}
			es = append(es, e)
		}
	}
	// An address that is just being learned twice stands there once, pinned first.
	slices.SortFunc(es, func(a, b Entry) int {
		return cmp.Or(cmp.Compare(a.MAC, b.MAC), cmp.Compare(b.Kind, a.Kind))
	})
	return slices.CompactFunc(es, func(a, b Entry) bool { return a.MAC == b.MAC })
}
