package fib

import (
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"weft/internal/header"
)

// A port that floods a million addresses loses only its own.
func TestFloodHurtsItself(t *testing.T) {
	frames := 1_000_000
	if raceEnabled {
		frames = 100_000
	}
	for _, capacity := range []int{10, 1000, 8192} {
		f := NewFDB(FDBConfig{Capacity: capacity})
		few := min(100, capacity/3)
		for n := range few {
			f.Learn(station(n), port1, 1)
		}
		f.Set(station(few), port1, Attached)
		r := rand.New(rand.NewPCG(1, 2))
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		start := time.Now()
		for n := range frames {
			mac := header.MAC(r.Uint64()&0xfcff_ffff_ffff | 1)
			if got := f.Learn(mac, port2, 1+uint32(n/10000)); got != New {
				t.Fatalf("capacity %d: frame %d: got %v, want new", capacity, n, got)
			}
		}
		spent := time.Since(start)
		runtime.ReadMemStats(&after)
		for n := range few + 1 {
			if got := f.Lookup(station(n)); got != port1 {
				t.Errorf("capacity %d: station %d at %v, want port 1", capacity, n, got)
			}
		}
		if f.Len() != capacity {
			t.Errorf("capacity %d: %d entries", capacity, f.Len())
		}
		if got := after.Mallocs - before.Mallocs; got > 100 {
			t.Errorf("capacity %d: %d allocations", capacity, got)
		}
		checkTable(t, f)
		t.Logf("capacity %d: %.0f ns per flooded address", capacity, float64(spent.Nanoseconds())/float64(frames))
	}
}

// A full table is shared out evenly among those who want more than they can get.
func TestFairShares(t *testing.T) {
	f := NewFDB(FDBConfig{Capacity: 16})
	mac := 0
	steps := []struct {
		d    Dest
		n    int
		want [3]int // held by ports 1, 2, 3 afterwards
	}{
		{port1, 20, [3]int{16, 0, 0}},
		{port2, 1, [3]int{15, 1, 0}},
		{port2, 5, [3]int{10, 6, 0}},
		{port2, 20, [3]int{8, 8, 0}},
		{port3, 1, [3]int{}}, // from port 1 or 2
		{port3, 20, [3]int{}},
		{port1, 20, [3]int{}},
	}
	for i, tt := range steps {
		for range tt.n {
			mac++
			if got := f.Learn(station(mac), tt.d, uint32(mac)); got != New {
				t.Errorf("step %d: got %v, want new", i, got)
			}
		}
		got := [3]int{f.Count(port1), f.Count(port2), f.Count(port3)}
		if tt.want != [3]int{} && got != tt.want {
			t.Errorf("step %d: got %v, want %v", i, got, tt.want)
		}
		if got[0]+got[1]+got[2] != 16 {
			t.Errorf("step %d: %v is not 16 together", i, got)
		}
		checkTable(t, f)
	}
	for _, d := range []Dest{port1, port2, port3} {
		if got := f.Count(d); got < 5 || got > 6 {
			t.Errorf("%v holds %d of 16, want 5 or 6", d, got)
		}
	}
}

func TestOldestGoes(t *testing.T) {
	f := NewFDB(FDBConfig{Capacity: 12})
	for n := range 12 {
		f.Learn(station(n), port1, uint32(100+n))
	}
	f.Learn(station(0), port1, 200) // the oldest speaks again
	for n := 1; n < 12; n++ {
		f.Learn(station(100+n), port1, 300)
		if f.Lookup(station(n)) != 0 || f.Lookup(station((n+1)%12)) != port1 {
			t.Fatalf("newcomer %d: want station %d evicted, and no other", n, n)
		}
	}
}

func TestFullOfPinned(t *testing.T) {
	f := NewFDB(FDBConfig{Capacity: 10})
	for n := range 10 {
		f.Learn(station(100+n), port2, 1)
	}
	for n := range 10 { // each takes the place of a learned one
		if !f.Set(station(n), port1, Static) {
			t.Errorf("set %d: want true", n)
		}
		checkTable(t, f)
	}
	if got := f.Learn(station(50), port2, 1); got != Full {
		t.Errorf("learn: got %v, want full", got)
	}
	if f.Set(station(50), port2, Static) {
		t.Error("set: want false when full of static entries")
	}
	if !f.Delete(station(3)) || !f.Set(station(50), port2, Static) {
		t.Error("set after delete: want true")
	}
	if f.Len() != 10 || f.Count(port2) != 0 {
		t.Errorf("%d entries, %d learned; want 10, 0", f.Len(), f.Count(port2))
	}
	checkTable(t, f)
}

// With every slot of both its buckets pinned there is no place for an address,
// though the table is not full.
func TestBothBucketsPinned(t *testing.T) {
	f := NewFDB(FDBConfig{Capacity: 19})
	p := f.pair(station(0))
	var other header.MAC
	for n := 1; f.Len() < 2*slots; n++ {
		switch mac := station(n); {
		case n > 1_000_000:
			t.Fatal("no addresses for the two buckets")
		case p.has(slot(f.pair(mac).first*slots)) && p.has(slot(f.pair(mac).second*slots)):
			f.Set(mac, port1, Static)
		case !p.has(slot(f.pair(mac).first * slots)):
			other = mac // in the other two buckets
		}
	}
	if got := f.Learn(station(0), port2, 1); got != Full {
		t.Errorf("learn: got %v, want full", got)
	}
	if f.Set(station(0), port2, Attached) {
		t.Error("set: want false")
	}
	if got := f.Learn(other, port2, 1); got != New {
		t.Errorf("learn elsewhere: got %v, want new", got)
	}
	checkTable(t, f)
}
