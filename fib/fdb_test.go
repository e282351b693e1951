package fib

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"weft/internal/header"
)

const (
	port1 = Dest(1)
	port2 = Dest(2)
	port3 = Dest(3)
	peer1 = Dest(1) | peerBit
)

// station returns the nth of many unicast addresses.
func station(n int) header.MAC { return 0x02_00_00_00_00_00 + header.MAC(n) + 1 }

// checkTable recounts the table: it may be called when nothing else runs.
func checkTable(t *testing.T, f *FDB) {
	t.Helper()
	counts := make(map[Dest]int32)
	seen := make(map[header.MAC]bool)
	size := 0
	for i := range f.buckets {
		for k := range f.buckets[i] {
			w := f.buckets[i][k].Load()
			if w == 0 {
				continue
			}
			size++
			mac := header.MAC(w &^ pinned >> 16)
			if p := f.pair(mac); !p.has(slot(i * slots)) {
				t.Errorf("%v is in bucket %d, want one of %v", mac, i, p)
			}
			if seen[mac] {
				t.Errorf("%v has two entries", mac)
			}
			seen[mac] = true
			if Dest(w) == 0 {
				t.Errorf("%v points nowhere", mac)
			}
			if isLearned(w) {
				counts[Dest(w)]++
			}
		}
	}
	if f.Len() != size || size > int(f.capacity) {
		t.Errorf("size %d, recounted %d, capacity %d", f.Len(), size, f.capacity)
	}
	for d := range f.counts {
		if got := f.counts[d].Load(); got != counts[Dest(d)] {
			t.Errorf("count of %v is %d, recounted %d", Dest(d), got, counts[Dest(d)])
		}
	}
}

func TestDest(t *testing.T) {
	tests := []struct {
		d    Dest
		peer bool
		id   uint16
		text string
	}{
		{0, false, 0, "nowhere"},
		{PortDest(1), false, 1, "port 1"},
		{PortDest(32767), false, 32767, "port 32767"},
		{PeerDest(1), true, 1, "peer 1"},
		{PeerDest(32767), true, 32767, "peer 32767"},
	}
	for _, tt := range tests {
		if tt.d.IsPeer() != tt.peer || tt.d.ID() != tt.id || tt.d.String() != tt.text {
			t.Errorf("%#x: got %v %d %q, want %v %d %q", uint16(tt.d),
				tt.d.IsPeer(), tt.d.ID(), tt.d.String(), tt.peer, tt.id, tt.text)
		}
	}
	if got := Learned.String() + Attached.String() + Static.String(); got != "learnedattachedstatic" {
		t.Errorf("kinds: %s", got)
	}
}

func TestLearn(t *testing.T) {
	a, b := station(1), station(2)
	f := NewFDB(FDBConfig{})
	steps := []struct {
		name string
		mac  header.MAC
		d    Dest
		want Outcome
		dest Dest // afterwards
	}{
		{"first frame", a, port1, New, port1},
		{"again", a, port1, Known, port1},
		{"another station", b, peer1, New, peer1},
		{"move to another port", a, port2, Moved, port2},
		{"move to a peer", a, peer1, Moved, peer1},
		{"and back", a, port1, Moved, port1},
		{"zero source", 0, port1, Pinned, 0},
		{"broadcast source", header.Broadcast, port1, Pinned, 0},
		{"multicast source", 0x0100_5e00_0001, port1, Pinned, 0},
		{"nowhere", station(3), 0, Pinned, 0},
	}
	for _, tt := range steps {
		if got := f.Learn(tt.mac, tt.d, 1); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
		if got := f.Lookup(tt.mac); got != tt.dest {
			t.Errorf("%s: lookup: got %v, want %v", tt.name, got, tt.dest)
		}
		checkTable(t, f)
	}
	if got := f.Lookup(0); got != 0 {
		t.Errorf("address zero: got %v, want nowhere", got)
	}
	if f.Count(port1) != 1 || f.Count(peer1) != 1 || f.Len() != 2 {
		t.Errorf("counts %d, %d, size %d; want 1, 1, 2", f.Count(port1), f.Count(peer1), f.Len())
	}
}

// The group bit of a word says pinned; multicast addresses match no entry for it.
func TestMulticastTwin(t *testing.T) {
	f := NewFDB(FDBConfig{Capacity: 19}) // four buckets: twins often share one
	for n := range 16 {
		if n%2 == 0 {
			f.Learn(station(n), port1, 1)
		} else {
			f.Set(station(n), port1, Static)
		}
	}
	for n := range 16 {
		if got := f.Lookup(station(n) | 1<<40); got != 0 {
			t.Errorf("multicast twin of station %d: got %v, want nowhere", n, got)
		}
	}
}

func TestPinnedEntries(t *testing.T) {
	a, b, c := station(1), station(2), station(3)
	f := NewFDB(FDBConfig{})
	f.Learn(a, port2, 5)
	set := func(mac header.MAC, d Dest, k Kind, want bool) {
		t.Helper()
		if got := f.Set(mac, d, k); got != want {
			t.Errorf("set %v %v %v: got %v, want %v", mac, d, k, got, want)
		}
		checkTable(t, f)
	}
	set(a, port1, Attached, true) // over a learned entry that points elsewhere
	set(a, port1, Attached, true) // idempotent
	set(a, port2, Attached, false)
	set(a, port2, Static, false)
	set(b, peer1, Static, true)
	set(0, port1, Static, false)
	set(header.Broadcast, port1, Static, false)
	set(c, 0, Static, false)
	set(c, port1, Learned, false)
	for _, tt := range []struct {
		mac  header.MAC
		d    Dest
		want Outcome
	}{{a, port1, Known}, {a, port2, Pinned}, {b, port1, Pinned}, {b, peer1, Known}} {
		if got := f.Learn(tt.mac, tt.d, 9); got != tt.want {
			t.Errorf("learn %v at %v: got %v, want %v", tt.mac, tt.d, got, tt.want)
		}
	}
	want := []Entry{{a, port1, Attached, 0}, {b, peer1, Static, 0}}
	if got := f.Entries(1000); !slices.Equal(got, want) {
		t.Errorf("entries: got %v, want %v", got, want)
	}
	set(b, peer1, Attached, true) // another kind at the same place
	if got := f.Entries(0)[1].Kind; got != Attached {
		t.Errorf("kind: got %v, want attached", got)
	}
	if !f.Delete(a) || f.Delete(a) || f.Delete(c) {
		t.Error("delete: want true once for what there is")
	}
	if got := f.Learn(a, port3, 1); got != New {
		t.Errorf("learn after delete: got %v, want new", got)
	}
	checkTable(t, f)
}

func TestFlushAndSweep(t *testing.T) {
	fill := func() *FDB {
		f := NewFDB(FDBConfig{})
		for n := range 10 {
			f.Learn(station(n), port1, 1)
			f.Learn(station(10+n), port2, 1)
		}
		f.Set(station(20), port1, Attached)
		f.Set(station(21), port2, Static)
		return f
	}
	tests := []struct {
		name          string
		do            func(*FDB) int
		removed, left int
	}{
		{"flush a port", func(f *FDB) int { return f.Flush(port1) }, 10, 12},
		{"flush all", func(f *FDB) int { return f.Flush(0) }, 20, 2},
		{"flush nobody's", func(f *FDB) int { return f.Flush(peer1) }, 0, 22},
		{"sweep a port", func(f *FDB) int { return f.Sweep(port1) }, 11, 11},
		{"sweep nowhere", func(f *FDB) int { return f.Sweep(0) }, 0, 22},
	}
	for _, tt := range tests {
		f := fill()
		if got := tt.do(f); got != tt.removed || f.Len() != tt.left {
			t.Errorf("%s: removed %d, left %d; want %d, %d", tt.name, got, f.Len(), tt.removed, tt.left)
		}
		if got := len(f.Entries(1)); got != tt.left {
			t.Errorf("%s: %d entries, want %d", tt.name, got, tt.left)
		}
		checkTable(t, f)
	}
}

func TestEntriesSorted(t *testing.T) {
	f := NewFDB(FDBConfig{})
	var want []Entry
	for n := range 500 {
		mac := station(n * 7919)
		f.Learn(mac, PortDest(uint16(n%5+1)), uint32(1000+n))
		want = append(want, Entry{mac, PortDest(uint16(n%5 + 1)), Learned, uint32(1000 - n)})
	}
	if got := f.Entries(2000); !slices.Equal(got, want) {
		t.Errorf("entries: got %v, want %v", got, want)
	}
	if got := f.Entries(0)[0].Age; got != 0 { // a clock behind the learner's
		t.Errorf("age: got %d, want 0", got)
	}
}

// A bucket is one cache line, and a full table is at most 60 % full.
func TestLayout(t *testing.T) {
	for _, tt := range []struct{ ask, capacity int }{
		{-5, 10}, {1, 10}, {10, 10}, {0, 65_536}, {100, 100}, {9831, 9831}, {1 << 30, 1_000_000},
	} {
		f := NewFDB(FDBConfig{Capacity: tt.ask})
		if int(f.capacity) != tt.capacity {
			t.Errorf("capacity %d: got %d, want %d", tt.ask, f.capacity, tt.capacity)
		}
		if places := len(f.buckets) * slots; tt.capacity*100 > places*maxLoadPercent {
			t.Errorf("capacity %d: only %d slots", tt.ask, places)
		}
		if at := uintptr(unsafe.Pointer(&f.buckets[0])); at%64 != 0 || unsafe.Sizeof(bucket{}) != 64 {
			t.Errorf("capacity %d: buckets of %d bytes at %#x cross cache lines", tt.ask, unsafe.Sizeof(bucket{}), at)
		}
		for n := range 1000 {
			if p := f.pair(station(n)); p.first == p.second || max(p.first, p.second) > f.mask {
				t.Fatalf("capacity %d: bad pair %v", tt.ask, p)
			}
		}
	}
}

// Consecutive addresses, the usual case, must fill a table to its capacity
// whatever the secret: no bucket pair may fill up before.
func TestFillToCapacity(t *testing.T) {
	capacities := []int{10, 100, 8192, 9830, 78_600}
	if raceEnabled {
		capacities = capacities[:3]
	}
	for _, capacity := range capacities {
		for range 20 {
			f := NewFDB(FDBConfig{Capacity: capacity})
			for n := range capacity {
				if got := f.Learn(station(n), port1, 1); got != New {
					t.Fatalf("capacity %d: entry %d: got %v, want new", capacity, n, got)
				}
			}
			if lost := capacity - f.Len(); lost > 0 {
				t.Errorf("capacity %d: %d entries evicted before the table was full", capacity, lost)
			}
		}
	}
}

func TestNoAllocs(t *testing.T) {
	f := NewFDB(FDBConfig{Capacity: 100})
	f.Set(station(1000), port1, Attached)
	n, now := 0, uint32(0)
	for name, do := range map[string]func(){
		"lookup":       func() { f.Lookup(station(n % 100)) },
		"learn known":  func() { f.Learn(station(1), port1, now) },
		"learn pinned": func() { f.Learn(station(1000), port2, now) },
		"move":         func() { f.Learn(station(2), PortDest(uint16(n%2+1)), now) },
		"flood":        func() { f.Learn(station(n), port3, now) },
	} {
		if got := testing.AllocsPerRun(1000, func() { n++; now += 2; do() }); got != 0 {
			t.Errorf("%s: %v allocations", name, got)
		}
	}
}

// The helpers of the frame path must cost no calls.
func TestHelpersInline(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles the package once more")
	}
	out, err := exec.Command("go", "build", "-gcflags=-m", ".").CombinedOutput()
	if err != nil {
		t.Skipf("go build: %v", err)
	}
	for _, name := range []string{"(*FDB).pair", "(*FDB).touch", "word", "isOf", "isLearned", "isStation", "PortDest", "PeerDest"} {
		if !strings.Contains(string(out), "can inline "+name+"\n") {
			t.Errorf("%s is not inlined any more", name)
		}
	}
}
