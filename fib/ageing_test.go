package fib

import (
	"math"
	"testing"
)

func TestAge(t *testing.T) {
	tests := []struct {
		name    string
		ageing  uint32
		learned uint32
		now     uint32
		removed int
	}{
		{"default, at the limit", 0, 1000, 1300, 0},
		{"default, beyond", 0, 1000, 1301, 1},
		{"shortest", 10, 1000, 1011, 1},
		{"shorter is clamped", 1, 1000, 1010, 0},
		{"longest", 1_000_000, 1000, 1_001_000, 0},
		{"longest, beyond", 1_000_000, 1000, 1_001_001, 1},
		{"longer is clamped", math.MaxUint32, 1000, 1_001_001, 1},
		{"clock starts high", 300, 4_000_000_000, 4_000_000_300, 0},
		{"seconds wrap", 300, math.MaxUint32 - 100, 199, 0},
		{"seconds wrap, beyond", 300, math.MaxUint32 - 100, 200, 1},
		{"learner's clock ahead", 300, 1000, 999, 0},
	}
	for _, tt := range tests {
		f := NewFDB(FDBConfig{Ageing: tt.ageing})
		f.Learn(station(1), port1, tt.learned)
		f.Set(station(2), port1, Attached)
		f.Set(station(3), port1, Static)
		if got := f.Age(tt.now); got != tt.removed {
			t.Errorf("%s: removed %d, want %d", tt.name, got, tt.removed)
		}
		if got := f.Len(); got != 3-tt.removed {
			t.Errorf("%s: %d entries left, want %d", tt.name, got, 3-tt.removed)
		}
		checkTable(t, f)
	}
}

// Traffic from a station keeps it, traffic to it does not (802.1D-2004 section 7.9.2).
func TestAgeRefreshedBySource(t *testing.T) {
	f := NewFDB(FDBConfig{Ageing: 10})
	f.Learn(station(1), port1, 0)
	f.Learn(station(2), port1, 0)
	for now := uint32(1); now <= 11; now++ {
		f.Learn(station(1), port1, now)
		f.Lookup(station(2))
		f.Age(now)
	}
	if f.Lookup(station(1)) == 0 || f.Lookup(station(2)) != 0 {
		t.Errorf("talker at %v, listener at %v; want port 1, nowhere", f.Lookup(station(1)), f.Lookup(station(2)))
	}
	f.Learn(station(1), port2, 15) // a move refreshes as well
	f.Age(25)
	if got := f.Lookup(station(1)); got != port2 {
		t.Errorf("moved station at %v, want port 2", got)
	}
	f.SetAgeing(20)
	f.Age(35)
	if got := f.Lookup(station(1)); got != port2 {
		t.Errorf("after a longer ageing time: at %v, want port 2", got)
	}
}

// Two workers whose clocks differ by one second: the later second stays.
func TestSecondNeverStepsBack(t *testing.T) {
	f := NewFDB(FDBConfig{})
	f.Learn(station(1), port1, 101)
	f.Learn(station(1), port1, 100)
	if got := f.Entries(101)[0].Age; got != 0 {
		t.Errorf("age: got %d, want 0", got)
	}
}
