package fib

import (
	"runtime/debug"
	"sync/atomic"
	"syscall"
	"testing"
	"unsafe"
)

// mapped returns n zeroed values outside the Go heap, and the pages they are on.
func mapped[V any](t *testing.T, n int) ([]V, []byte) {
	t.Helper()
	var v V
	pages, err := syscall.Mmap(-1, 0, n*int(unsafe.Sizeof(v)),
		syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		t.Skipf("mmap: %v", err)
	}
	t.Cleanup(func() { syscall.Munmap(pages) })
	return unsafe.Slice((*V)(unsafe.Pointer(&pages[0])), n), pages
}

// Within a second, frames of known stations store nothing: the table's memory is
// made read-only here, so that a single store is a fault.
func TestNoStoreInSteadyState(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector does not survive a fault")
	}
	f := NewFDB(FDBConfig{Capacity: 1000})
	var memory [3][]byte
	f.buckets, memory[0] = mapped[bucket](t, len(f.buckets))
	f.seen, memory[1] = mapped[stamps](t, len(f.seen))
	f.counts, memory[2] = mapped[atomic.Int32](t, len(f.counts))
	protect := func(how int) {
		for _, m := range memory {
			if err := syscall.Mprotect(m, how); err != nil {
				t.Skipf("mprotect: %v", err)
			}
		}
	}
	traffic := func(now uint32) (stored bool) {
		defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
		defer func() { stored = recover() != nil }()
		for n := range 500 {
			f.Learn(station(n), port1, now)
			f.Learn(station(n), port1, now-1) // another worker's clock
			f.Lookup(station(n + 250))
		}
		f.Learn(station(500), port1, now)
		f.Learn(station(500), port2, now)
		return false
	}
	f.Set(station(500), port1, Attached)
	if traffic(100) {
		t.Fatal("fault while writing is allowed")
	}
	size, top := f.size.Load(), f.top.Load()
	protect(syscall.PROT_READ)
	defer protect(syscall.PROT_READ | syscall.PROT_WRITE)
	if traffic(100) {
		t.Error("a known station stored in the second in which it was heard already")
	}
	if !traffic(101) {
		t.Error("no store in a new second: does this test see stores at all?")
	}
	if f.size.Load() != size || f.top.Load() != top {
		t.Error("size or hint changed")
	}
}
