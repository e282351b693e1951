package fib

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"testing"
)

// heap returns the bytes in use after a collection.
func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// inFamily returns n addresses in random routes of one family.
func inFamily(ps []netip.Prefix, v4 bool, n int) (as []netip.Addr) {
	r := rand.New(rand.NewPCG(5, 6))
	for len(as) < n {
		if p := ps[r.IntN(len(ps))]; p.Addr().Is4() == v4 {
			as = append(as, around(r, p)[2])
		}
	}
	return as
}

// BenchmarkRoutesLookup on the full Internet table: one address over and over,
// 64 flows, and 64k random ones; and on a container host's few routes.
func BenchmarkRoutesLookup(b *testing.B) {
	lookups := func(name string, r *Routes, as []netip.Addr) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			found := 0
			for i := 0; b.Loop(); i++ {
				if _, ok := r.Lookup(as[i&(len(as)-1)]); ok {
					found++
				}
			}
			if found != b.N {
				b.Errorf("%d of %d found", found, b.N)
			}
		})
	}
	var few Routes
	var fewAddrs []netip.Addr
	for n := range 16 {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 17, byte(n), 0}), 24)
		few.Insert(p, numbered(n))
		fewAddrs = append(fewAddrs, last(p))
	}
	lookups("few", &few, fewAddrs)

	ps := internetTable(b)
	var full Routes
	before := heap()
	full.Update(func(batch *Batch) {
		for i, p := range ps {
			batch.Insert(p, numbered(i))
		}
	})
	perPrefix := float64(heap()-before) / float64(len(ps))
	for _, family := range []string{"ipv4", "ipv6"} {
		as := inFamily(ps, family == "ipv4", 1<<16)
		for _, n := range []int{1, 64, 1 << 16} {
			lookups(fmt.Sprintf("full/%s/%d", family, n), &full, as[:n])
		}
	}
	b.Run("full/memory", func(b *testing.B) {
		for b.Loop() {
		}
		b.ReportMetric(perPrefix, "bytes/prefix")
		b.ReportMetric(0, "ns/op")
	})
	runtime.KeepAlive(&full)
}

// BenchmarkRoutesChange compares the ways of changing n of size routes: each
// published alone, and as one batch; per changed route. It is where
// wholeCopyShare comes from.
func BenchmarkRoutesChange(b *testing.B) {
	ps := internetTable(b)
	r := rand.New(rand.NewPCG(7, 8))
	r.Shuffle(len(ps), func(i, j int) { ps[i], ps[j] = ps[j], ps[i] })
	for _, size := range []int{100, 10_000, len(ps) / 2} {
		var routes Routes
		routes.Update(func(batch *Batch) {
			for i, p := range ps[:size] {
				batch.Insert(p, numbered(i))
			}
		})
		fresh := ps[size:]
		b.Run(fmt.Sprintf("single/%d", size), func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				p := fresh[i/2%len(fresh)]
				if i%2 == 0 {
					routes.Insert(p, numbered(i))
				} else {
					routes.Delete(p)
				}
			}
		})
		for _, n := range []int{10, 1000, 50_000} {
			b.Run(fmt.Sprintf("batch-%d/%d", n, size), func(b *testing.B) {
				for b.Loop() {
					routes.Update(func(batch *Batch) {
						for i, p := range fresh[:n] {
							batch.Insert(p, numbered(i))
						}
					})
					b.StopTimer()
					routes.Update(func(batch *Batch) {
						for _, p := range fresh[:n] {
							batch.Delete(p)
						}
					})
					b.StartTimer()
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/route")
			})
		}
	}
}
