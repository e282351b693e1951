package encap

import (
	"slices"
	"sync"
	"testing"
)

// TestNumbersConcurrent: whatever the interleaving, each key's numbers are 0 to n-1.
func TestNumbersConcurrent(t *testing.T) {
	const workers, keys, each = 4, 50, 200
	var n numbers
	got := make([][keys][]uint32, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() { // ends with its numbers
			for range each {
				for k := range keys {
					got[w][k] = append(got[w][k], n.next(uint32(k*sequenceKeys))) // all in one place
				}
			}
		})
	}
	wg.Wait()
	for k := range keys {
		var all []uint32
		for w := range workers {
			if !slices.IsSorted(got[w][k]) {
				t.Errorf("key %d: worker %d got numbers out of order", k, w)
			}
			all = append(all, got[w][k]...)
		}
		slices.Sort(all)
		for i, v := range all {
			if v != uint32(i) {
				t.Fatalf("key %d: number %d is %d", k, i, v)
			}
		}
	}
}

func TestNumbersWrap(t *testing.T) {
	var n numbers
	n.next(7)
	n.slots[7].next.Store(0xffffffff)
	if a, b := n.next(7), n.next(7); a != 0xffffffff || b != 0 {
		t.Errorf("got %d, %d, want 4294967295, 0", a, b)
	}
}

// TestNumbersFull: keys beyond the table share numbers that still ascend.
func TestNumbersFull(t *testing.T) {
	var n numbers
	for round := range uint32(3) {
		last := int64(-1)
		for key := range uint32(2 * sequenceKeys) {
			got := n.next(key)
			if key < sequenceKeys && got != round {
				t.Fatalf("key %d: got %d, want %d", key, got, round)
			}
			if key >= sequenceKeys {
				if int64(got) <= last {
					t.Fatalf("key %d: got %d after %d", key, got, last)
				}
				last = int64(got)
			}
		}
	}
}

// TestOrderFull: keys beyond the table are not ordered, those in it still are.
func TestOrderFull(t *testing.T) {
	var o order
	for key := range uint32(2 * sequenceKeys) {
		if o.late(key, 500) {
			t.Fatalf("key %d: first number is late", key)
		}
	}
	for key := range uint32(2 * sequenceKeys) {
		if got, want := o.late(key, 499), key < sequenceKeys; got != want {
			t.Fatalf("key %d: late is %v, want %v", key, got, want)
		}
	}
}
