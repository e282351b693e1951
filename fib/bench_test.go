package fib

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"weft/internal/header"
)

// filled returns a table of n stations at 50 ports, and their addresses in random order.
func filled(n, capacity int) (*FDB, []header.MAC) {
	f := NewFDB(FDBConfig{Capacity: capacity})
	r := rand.New(rand.NewPCG(1, 2))
	macs := make([]header.MAC, n)
	for i, k := range r.Perm(n) {
		macs[i] = header.MAC(r.Uint64()&0xfcff_ffff_0000 | uint64(k))
		f.Learn(macs[i], PortDest(uint16(i%50+1)), 1)
	}
	return f, macs
}

func BenchmarkFDB(b *testing.B) {
	var d Dest
	for _, size := range []struct {
		name        string
		n, capacity int // n a power of two
	}{{"hot", 1, 8192}, {"4k", 4096, 8192}, {"64k", 1 << 16, 1 << 16}} {
		f, macs := filled(size.n, size.capacity)
		at := make([]Dest, len(macs))
		for i, m := range macs {
			at[i] = f.Lookup(m)
		}
		b.Run("lookup/"+size.name, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				d = f.Lookup(macs[i&(len(macs)-1)])
			}
		})
		b.Run("miss/"+size.name, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				d = f.Lookup(macs[i&(len(macs)-1)] ^ 1<<32)
			}
		})
		b.Run("learn-known/"+size.name, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				f.Learn(macs[i&(len(macs)-1)], at[i&(len(macs)-1)], 1)
			}
		})
	}
	_ = d
}

// BenchmarkFDBParallel is Learn and Lookup by all cores on one table, the clock
// going on: what a refresh per second and entry costs is in it.
func BenchmarkFDBParallel(b *testing.B) {
	f, macs := filled(4096, 8192)
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			m := macs[i&4095]
			if d := f.Lookup(m); d != 0 {
				f.Learn(m, d, uint32(i>>20))
			}
		}
	})
}

func BenchmarkFDBInsert(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	b.Run("room", func(b *testing.B) {
		f := NewFDB(FDBConfig{Capacity: 8192})
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if i&4095 == 0 {
				f.Flush(0)
			}
			f.Learn(header.MAC(r.Uint64()&0xfcff_ffff_ffff|1), port1, 1)
		}
	})
	b.Run("flood", func(b *testing.B) {
		f, _ := filled(1<<13, 8192)
		b.ReportAllocs()
		for b.Loop() {
			f.Learn(header.MAC(r.Uint64()&0xfcff_ffff_ffff|1), PortDest(1000), 1)
		}
	})
}

func BenchmarkFDBControl(b *testing.B) {
	for _, n := range []int{1 << 13, 1 << 19} {
		f, _ := filled(n, n)
		b.Run(fmt.Sprintf("age/%d", n), func(b *testing.B) {
			for b.Loop() {
				f.Age(1)
			}
		})
		b.Run(fmt.Sprintf("entries/%d", n), func(b *testing.B) {
			for b.Loop() {
				f.Entries(1)
			}
		})
	}
}
