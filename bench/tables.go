package main

import (
	"iter"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"time"
)

// lengths is how the prefixes of the Internet's IPv4 table are spread over the
// lengths, in per mille (CIDR report, 2024, rounded).
var lengths = []struct{ bits, share int }{
	{24, 610}, {23, 100}, {22, 115}, {21, 52}, {20, 45}, {19, 26}, {18, 14}, {17, 8}, {16, 14}, {15, 3}, {14, 3}, {13, 2}, {12, 2}, {11, 2}, {10, 1}, {9, 1}, {8, 2},
}

// syntheticTable returns n different prefixes of syntheticPrefixes.
func syntheticTable(n int) []netip.Prefix {
	seen := make(map[netip.Prefix]bool, n)
	table := make([]netip.Prefix, 0, n)
	for p := range syntheticPrefixes() {
		if !seen[p] {
			seen[p], table = true, append(table, p)
		}
		if len(table) == n {
			break
		}
	}
	return table
}

// syntheticPrefixes yields prefixes without end, the same ones each time, in
// random order, now and then one again. None holds an address of a host or a
// connected network of a bench.
func syntheticPrefixes() iter.Seq[netip.Prefix] {
	own := []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("172.17.1.0/24"), netip.MustParsePrefix("127.0.0.0/8")}
	return func(yield func(netip.Prefix) bool) {
		r := rand.New(rand.NewPCG(11, 13))
		for {
			pick, bits := r.IntN(1000), 24
			for _, l := range lengths {
				if pick -= l.share; pick < 0 {
					bits = l.bits
					break
				}
			}
			v := r.Uint32()
			p := netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(v>>24)%222 + 1, byte(v >> 16), byte(v >> 8), byte(v)}), bits).Masked()
			if p.Addr().As4()[0] == 0 || slices.ContainsFunc(own, p.Overlaps) {
				continue
			}
			if !yield(p) {
				return
			}
		}
	}
}

// addressesIn returns n random addresses in random prefixes of a table; n is a
// power of two.
func addressesIn(table []netip.Prefix, n int) []netip.Addr {
	r := rand.New(rand.NewPCG(17, 19))
	addrs := make([]netip.Addr, n)
	for i := range addrs {
		addrs[i] = randomAddr(r, table[r.IntN(len(table))])
	}
	return addrs
}

// randomAddr returns an address of p.
func randomAddr(r *rand.Rand, p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for bit := p.Bits(); bit < len(b)*8; bit++ {
		if r.Uint32()&1 != 0 {
			b[bit/8] |= 0x80 >> (bit % 8)
		}
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// perCall returns the nanoseconds of one call of f, with 0 to n-1 in turn: the
// best of five times.
func perCall(n int, f func(i int)) float64 {
	best := time.Duration(1 << 62)
	calls := max(n, 1<<20/n*n)
	for range 5 {
		begin := time.Now()
		for done := 0; done < calls; done += n {
			for i := range n {
				f(i)
			}
		}
		best = min(best, time.Since(begin))
	}
	return float64(best.Nanoseconds()) / float64(calls)
}

// heapInUse returns the bytes in use after a collection.
func heapInUse() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
