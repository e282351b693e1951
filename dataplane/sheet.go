package dataplane

import (
	"runtime"
	"sync/atomic"
)

// sheet is a worker's share of the balance sheet as of its last whole batch,
// behind a sequence lock: the worker never waits, a reader that meets a change
// tries again. So the sheet balances under load too.
type sheet struct {
	sequence atomic.Uint32 // odd while the worker writes
	entries  [8]atomic.Uint64
}

// balance publishes the worker's totals. Called behind every batch.
func (w *worker) balance() {
	s, t := &w.sheet, &w.total
	s.sequence.Add(1)
	for i, c := range [8]counter{
		&t.in, &t.generated, &t.forwarded, &t.local, &t.copies, &t.transmitted, &t.droppedIn, &t.droppedOut,
	} {
		s.entries[i].Store(c.Load())
	}
	s.sequence.Add(1)
}

// load returns the sheet; any goroutine.
func (s *sheet) load() (f Frames) {
	for {
		before := s.sequence.Load()
		for i, v := range [8]*uint64{
			&f.In, &f.Generated, &f.Forwarded, &f.Local, &f.Copies, &f.Transmitted, &f.DroppedIn, &f.DroppedOut,
		} {
			*v = s.entries[i].Load()
		}
		if before%2 == 0 && s.sequence.Load() == before {
			return f
		}
		runtime.Gosched()
	}
}

// Frames returns the balance sheet since the switch started, removed ports and
// peers included, as of each worker's last whole batch.
func (s *Switch) Frames() (sum Frames) {
	for _, w := range s.workers {
		f := w.sheet.load()
		sum.In += f.In
		sum.Generated += f.Generated
		sum.Forwarded += f.Forwarded
		sum.Local += f.Local
		sum.Copies += f.Copies
		sum.Transmitted += f.Transmitted
		sum.DroppedIn += f.DroppedIn
		sum.DroppedOut += f.DroppedOut
	}
	return sum
}
