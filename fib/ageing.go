package fib

// Bounds and default of the ageing time, in seconds.
const (
	DefaultAgeing = 300
	MinAgeing     = 10
	MaxAgeing     = 1_000_000
)

// SetAgeing changes the ageing time: seconds without a frame after which a
// learned entry goes, 10 to 1,000,000 (11 days), clamped; 0 is 300. There is no
// "never": an address that must stay is a static entry. Any goroutine.
func (t *FDB) SetAgeing(seconds uint32) {
	if seconds == 0 {
		seconds = DefaultAgeing
	}
	t.ageing.Store(min(max(seconds, MinAgeing), MaxAgeing))
}

// Ageing returns the ageing time in seconds.
func (t *FDB) Ageing() uint32 { return t.ageing.Load() }

// Age removes learned entries that were silent for longer than the ageing time
// at second now, and returns how many. One goroutine calls it about once a
// second. An entry that is refreshed in the nanoseconds between the look at its
// second and its removal is lost, and learned again with the next frame.
func (t *FDB) Age(now uint32) int {
	limit := int32(t.ageing.Load())
	return t.removeAll(func(s slot, w uint64) bool {
		// Signed: a worker's clock may be ahead of now, and seconds may wrap.
		return isLearned(w) && int32(now-t.seen[s/slots][s%slots].Load()) > limit
	})
}

// Flush removes the learned entries that point to d, or all learned ones where
// d is zero, and returns how many.
func (t *FDB) Flush(d Dest) int {
	return t.removeAll(func(_ slot, w uint64) bool {
		return isLearned(w) && (d == 0 || Dest(w) == d)
	})
}

// Sweep removes every entry of d, of whatever kind, and returns how many: d is
// about to be reused. See FDB for when to call it.
func (t *FDB) Sweep(d Dest) int {
	return t.removeAll(func(_ slot, w uint64) bool { return w != 0 && Dest(w) == d })
}

// removeAll removes the entries that match. It sees every entry anyway, so it
// also puts the hint right, which only rises by itself.
func (t *FDB) removeAll(match func(slot, uint64) bool) (removed int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.size.Load() == 0 {
		return 0
	}
	var top Dest
	for i := range t.buckets {
		for k := range slots {
			w := t.buckets[i][k].Load()
			if w == 0 {
				continue
			}
			s := slot(i*slots + k)
			if match(s, w) && t.remove(s, w) {
				removed++
			} else if isLearned(w) && t.count(Dest(w)).Load() > t.count(top).Load() {
				top = Dest(w)
			}
		}
	}
	t.top.Store(uint32(top))
	return removed
}
