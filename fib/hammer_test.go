package fib

import (
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"weft/internal/header"
)

// rounds shrinks a number of iterations under the race detector.
func rounds(n int) int {
	if raceEnabled {
		return n / 20
	}
	return n
}

// Learners, readers and control at once on a table that is always full. Pinned
// entries must answer all along, and afterwards the counts must be exact.
func TestHammer(t *testing.T) {
	const (
		capacity = 64
		pins     = 10
		all      = 300
	)
	f := NewFDB(FDBConfig{Capacity: capacity})
	for n := range pins {
		f.Set(station(n), port3, Attached)
	}
	var workers, controllers sync.WaitGroup
	var clock atomic.Uint32
	var stop atomic.Bool
	for id := range 4 {
		workers.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(id)))
			for range rounds(200_000) {
				mac := station(r.IntN(all))
				d := PortDest(uint16(10 + r.IntN(4)))
				out := f.Learn(mac, d, clock.Load()+uint32(r.IntN(2)))
				if mac < station(pins) && out != Pinned {
					t.Errorf("learn of attached %v: got %v, want pinned", mac, out)
					return
				}
				mac = station(r.IntN(all))
				if got := f.Lookup(mac); mac < station(pins) && got != port3 {
					t.Errorf("lookup of attached %v: got %v, want port 3", mac, got)
					return
				}
			}
		})
	}
	controllers.Go(func() {
		r := rand.New(rand.NewPCG(2, 2))
		for !stop.Load() {
			mac := station(pins + r.IntN(20))
			switch r.IntN(8) {
			case 0, 1:
				f.Set(mac, port2, Static)
			case 2, 3:
				f.Delete(mac)
			case 4:
				f.Flush(PortDest(uint16(10 + r.IntN(4))))
			case 5:
				f.Sweep(PortDest(uint16(10 + r.IntN(4))))
			case 6:
				f.Age(clock.Add(5))
			case 7:
				f.Entries(clock.Load())
			}
		}
	})
	workers.Wait()
	stop.Store(true)
	controllers.Wait()
	checkTable(t, f)
}

// Several learners bring the same new addresses at the same time, while entries
// around them come and go: none may end with two entries, none may be missing.
func TestSameAddressAtOnce(t *testing.T) {
	const all = 12 // fit into one pair of buckets
	f := NewFDB(FDBConfig{Capacity: 2 * all})
	for round := range rounds(400) {
		var wg sync.WaitGroup
		for id := range 3 {
			wg.Go(func() {
				r := rand.New(rand.NewPCG(uint64(id), uint64(round)))
				for range 200 {
					for n := range all {
						f.Learn(station(n), PortDest(uint16(id+1)), 1)
					}
					f.Delete(station(r.IntN(all)))
					f.Delete(station(r.IntN(all)))
				}
				for n := range all {
					f.Learn(station(n), PortDest(uint16(id+1)), 1)
				}
			})
		}
		wg.Wait()
		checkTable(t, f)
		if t.Failed() {
			t.Fatalf("round %d", round)
		}
	}
}

// What a learner does that looked before another's entry was there: it inserts
// its own, then settles. Lookup must not notice which one goes.
func TestSettle(t *testing.T) {
	mac := station(1)
	one, two, three := word(mac, port1), word(mac, port2), word(mac, port3)
	tests := []struct {
		name  string
		words map[slot]uint64 // by place in the order of find
		want  uint64
	}{
		{"none", nil, 0},
		{"one", map[slot]uint64{3: one}, one},
		{"one, second bucket", map[slot]uint64{12: one}, one},
		{"two learned", map[slot]uint64{2: two, 5: one}, two},
		{"two learned in two buckets", map[slot]uint64{7: one, 8: two}, one},
		{"the same twice", map[slot]uint64{0: one, 15: one}, one},
		{"three", map[slot]uint64{1: one, 2: two, 9: three}, one},
		{"pinned first", map[slot]uint64{1: one | pinned, 9: two}, one | pinned},
		{"pinned last", map[slot]uint64{1: two, 9: one | pinned}, one | pinned},
		{"pinned between", map[slot]uint64{1: two, 4: one | pinned, 9: three}, one | pinned},
	}
	for _, tt := range tests {
		f := NewFDB(FDBConfig{})
		p := f.pair(mac)
		for n, w := range tt.words {
			f.size.Add(1)
			f.put(p.slot(n), 0, w, 1)
		}
		before := f.Lookup(mac)
		if _, got := f.settle(mac, p); got != tt.want || f.Lookup(mac) != Dest(tt.want) {
			t.Errorf("%s: got %#x, lookup %v, want %#x", tt.name, got, f.Lookup(mac), tt.want)
		}
		if tt.want&pinned == 0 && before != f.Lookup(mac) {
			t.Errorf("%s: lookup changed from %v to %v", tt.name, before, f.Lookup(mac))
		}
		checkTable(t, f)
	}
}

// Whoever learns the address while Set runs: once both have returned, the pinned
// entry is the only one.
func TestSetAgainstLearn(t *testing.T) {
	f := NewFDB(FDBConfig{Capacity: 20})
	for n := range 12 {
		f.Learn(station(100+n), port3, 1)
	}
	mac := station(1)
	for round := range rounds(1000) {
		var wg sync.WaitGroup
		for id := range 2 {
			wg.Go(func() {
				for n := range 4 {
					f.Learn(mac, PortDest(uint16(10+id)), uint32(n))
					f.Learn(station(100+round%50), PortDest(uint16(10+id)), uint32(n))
				}
			})
		}
		if !f.Set(mac, port1, Attached) {
			t.Fatalf("round %d: set: want true", round)
		}
		wg.Wait()
		if got := f.Lookup(mac); got != port1 {
			t.Fatalf("round %d: at %v, want port 1", round, got)
		}
		if got := f.Learn(mac, port2, 1); got != Pinned {
			t.Fatalf("round %d: learn: got %v, want pinned", round, got)
		}
		checkTable(t, f)
		if !f.Delete(mac) || f.Lookup(mac) != 0 {
			t.Fatalf("round %d: still there after delete", round)
		}
	}
}

// The way a port goes, as FDB describes it: publish a snapshot without it, wait
// until every worker has loaded that, sweep. Its number is clean then for good.
func TestSweepBeforeReuse(t *testing.T) {
	type snapshot struct{ ports []Dest }
	const workers = 3
	f := NewFDB(FDBConfig{Capacity: 100})
	var (
		current atomic.Pointer[snapshot]
		loaded  [workers]atomic.Pointer[snapshot]
		stop    atomic.Bool
		wg      sync.WaitGroup
	)
	current.Store(&snapshot{ports: []Dest{port1, port2}})
	for id := range workers {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(3, uint64(id)))
			for !stop.Load() {
				s := current.Load() // once per batch
				loaded[id].Store(s)
				for range 32 {
					f.Learn(station(r.IntN(150)), s.ports[r.IntN(len(s.ports))], 1)
				}
				runtime.Gosched() // more workers than cores
			}
		})
	}
	publish := func(ports ...Dest) {
		s := &snapshot{ports: ports}
		current.Store(s)
		for id := range workers {
			for loaded[id].Load() != s {
				runtime.Gosched()
			}
		}
	}
	for round := range rounds(200) {
		publish(port1)
		f.Sweep(port2)
		for range 3 {
			for n := range 150 {
				if got := f.Lookup(station(n)); got == port2 {
					t.Errorf("round %d: station %d still at port 2 after the sweep", round, n)
				}
			}
		}
		publish(port1, port2)
	}
	stop.Store(true)
	wg.Wait()
	checkTable(t, f)
}

// A station that moves under the eyes of many readers is always at one of its
// places, never nowhere and never at another's.
func TestMoveIsAtomic(t *testing.T) {
	f := NewFDB(FDBConfig{})
	macs := []header.MAC{station(1), station(2)}
	f.Learn(macs[0], port1, 1)
	f.Learn(macs[1], peer1, 1)
	var stop atomic.Bool
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for !stop.Load() {
				if got := f.Lookup(macs[0]); got != port1 && got != port2 {
					t.Errorf("at %v, want port 1 or 2", got)
					return
				}
				if got := f.Lookup(macs[1]); got != peer1 {
					t.Errorf("at %v, want peer 1", got)
					return
				}
			}
		})
	}
	for n := range rounds(500_000) {
		if got := f.Learn(macs[0], PortDest(uint16(2-n%2)), 1); got != Moved {
			t.Errorf("round %d: got %v, want moved", n, got)
			break
		}
	}
	stop.Store(true)
	wg.Wait()
	checkTable(t, f)
}
