package main

import (
	"bufio"
	"compress/gzip"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/gaissmai/bart"
	"github.com/yl2chen/cidranger"

	"weft/fib"
	"weft/internal/header"
)

// lpm is a table of some library: longest prefix match.
type lpm struct {
	name   string
	build  func(ps []netip.Prefix) any
	lookup func(table any, a netip.Addr) bool
	change func(table any, p netip.Prefix, i int) // put the route in or, where i is odd, out again; nil: none
}

var hop = fib.NextHop{Kind: fib.HopPeer, Dest: fib.PeerDest(1)}

// lpms are weft's table and others, each with a value of the same type.
var lpms = []lpm{
	{
		"weft",
		func(ps []netip.Prefix) any {
			r := new(fib.Routes)
			r.Update(func(b *fib.Batch) {
				for _, p := range ps {
					b.Insert(p, hop)
				}
			})
			return r
		},
		func(t any, a netip.Addr) bool { _, ok := t.(*fib.Routes).Lookup(a); return ok },
		func(t any, p netip.Prefix, i int) {
			if r := t.(*fib.Routes); i%2 == 0 {
				r.Insert(p, hop)
			} else {
				r.Delete(p)
			}
		},
	},
	{
		"bart.Table",
		func(ps []netip.Prefix) any { return filled(new(bart.Table[fib.NextHop]), ps) },
		func(t any, a netip.Addr) bool { _, ok := t.(*bart.Table[fib.NextHop]).Lookup(a); return ok },
		func(t any, p netip.Prefix, i int) { turn(t.(*bart.Table[fib.NextHop]), p, i) },
	},
	{
		"bart.Fast",
		func(ps []netip.Prefix) any { return filled(new(bart.Fast[fib.NextHop]), ps) },
		func(t any, a netip.Addr) bool { _, ok := t.(*bart.Fast[fib.NextHop]).Lookup(a); return ok },
		func(t any, p netip.Prefix, i int) { turn(t.(*bart.Fast[fib.NextHop]), p, i) },
	},
	{
		"bart.Lite", // knows no next hop
		func(ps []netip.Prefix) any {
			t := new(bart.Lite)
			for _, p := range ps {
				t.Insert(p)
			}
			return t
		},
		func(t any, a netip.Addr) bool { return t.(*bart.Lite).Contains(a) },
		func(t any, p netip.Prefix, i int) {
			if l := t.(*bart.Lite); i%2 == 0 {
				l.Insert(p)
			} else {
				l.Delete(p)
			}
		},
	},
	{
		"cidranger",
		func(ps []netip.Prefix) any {
			t := cidranger.NewPCTrieRanger()
			for _, p := range ps {
				_ = t.Insert(entry(p))
			}
			return t
		},
		func(t any, a netip.Addr) bool {
			ok, _ := t.(cidranger.Ranger).Contains(a.AsSlice())
			return ok
		},
		func(t any, p netip.Prefix, i int) {
			if r := t.(cidranger.Ranger); i%2 == 0 {
				_ = r.Insert(entry(p))
			} else {
				n := ipNet(p)
				_, _ = r.Remove(n)
			}
		},
	},
}

// changer is what the tables of bart have in common.
type changer interface {
	Insert(netip.Prefix, fib.NextHop)
	Delete(netip.Prefix)
}

func filled[T changer](t T, ps []netip.Prefix) T {
	for _, p := range ps {
		t.Insert(p, hop)
	}
	return t
}

func turn(t changer, p netip.Prefix, i int) {
	if i%2 == 0 {
		t.Insert(p, hop)
	} else {
		t.Delete(p)
	}
}

func entry(p netip.Prefix) cidranger.RangerEntry { return cidranger.NewBasicRangerEntry(ipNet(p)) }

func ipNet(p netip.Prefix) net.IPNet {
	return net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// internetTable returns the prefixes of the Internet's routing table, where the
// environment or the place beside the repository has one, a prefix a line,
// gzipped; else a synthetic one with the same mix of lengths.
func internetTable(b *testing.B) (name string, ps []netip.Prefix) {
	file := os.Getenv("WEFT_PREFIXES")
	if file == "" {
		file = filepath.Join("..", "..", "shared", "data", "bgp", "prefixes.txt.gz")
	}
	f, err := os.Open(file)
	if err != nil {
		return "synthetic", syntheticTable(1_000_000)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		b.Fatal(err)
	}
	for lines := bufio.NewScanner(z); lines.Scan(); {
		p, err := netip.ParsePrefix(strings.TrimSpace(lines.Text()))
		if err != nil {
			b.Fatal(err)
		}
		ps = append(ps, p)
	}
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(ps), func(i, j int) { ps[i], ps[j] = ps[j], ps[i] })
	return "internet", ps
}

// BenchmarkLPM compares tables on the full Internet table: look-ups of random
// addresses, and of skewed ones (a Zipf distribution over 64k addresses, as
// traffic has it), IPv4 and IPv6 apart; memory; and changes one by one.
func BenchmarkLPM(b *testing.B) {
	name, ps := internetTable(b)
	r := rand.New(rand.NewPCG(3, 4))
	zipf := rand.NewZipf(r, 1.2, 1, 1<<16-1)
	type set struct {
		name  string
		addrs []netip.Addr
	}
	var sets []set
	for _, v4 := range []bool{true, false} {
		var family []netip.Prefix
		for _, p := range ps {
			if p.Addr().Is4() == v4 {
				family = append(family, p)
			}
		}
		if len(family) == 0 {
			continue
		}
		random := addressesIn(family, 1<<16)
		skewed := make([]netip.Addr, len(random))
		for i := range skewed {
			skewed[i] = random[zipf.Uint64()]
		}
		label := map[bool]string{true: "ipv4", false: "ipv6"}[v4]
		sets = append(sets, set{label + "/random", random}, set{label + "/skewed", skewed})
	}
	fresh := syntheticTable(1 << 16)
	for _, l := range lpms {
		before := heapInUse()
		table := l.build(ps)
		bytes := float64(heapInUse()-before) / float64(len(ps))
		for _, s := range sets {
			b.Run(fmt.Sprintf("%s/%s/lookup/%s", name, l.name, s.name), func(b *testing.B) {
				b.ReportAllocs()
				found := 0
				for i := 0; b.Loop(); i++ {
					if l.lookup(table, s.addrs[i&(1<<16-1)]) {
						found++
					}
				}
				if found != b.N {
					b.Errorf("%d of %d found", found, b.N)
				}
			})
		}
		b.Run(fmt.Sprintf("%s/%s/change", name, l.name), func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				l.change(table, fresh[i/2&(1<<16-1)], i)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "changes/s")
		})
		b.Run(fmt.Sprintf("%s/%s/memory", name, l.name), func(b *testing.B) {
			for b.Loop() {
			}
			b.ReportMetric(bytes, "bytes/prefix")
			b.ReportMetric(0, "ns/op")
		})
		runtime.KeepAlive(table)
	}
}

// BenchmarkStations is the FDB with as many entries as it has room for, beside a
// Go map that nobody writes to: random, skewed, and with other cores learning.
func BenchmarkStations(b *testing.B) {
	const n = 1 << 16
	f := fib.NewFDB(fib.FDBConfig{Capacity: n})
	m := make(map[header.MAC]fib.Dest, n)
	r := rand.New(rand.NewPCG(5, 6))
	random := make([]header.MAC, n)
	for i, k := range r.Perm(n) {
		random[i] = station(k)
		d := fib.PortDest(uint16(k%50 + 1))
		f.Learn(random[i], d, 1)
		m[random[i]] = d
	}
	zipf := rand.NewZipf(r, 1.2, 1, n-1)
	skewed := make([]header.MAC, n)
	for i := range skewed {
		skewed[i] = random[zipf.Uint64()]
	}
	var d fib.Dest
	for name, macs := range map[string][]header.MAC{"random": random, "skewed": skewed} {
		b.Run("weft/"+name, func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				d = f.Lookup(macs[i&(n-1)])
			}
		})
		b.Run("map/"+name, func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				d = m[macs[i&(n-1)]]
			}
		})
	}
	b.Run("weft/learn-and-lookup-all-cores", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			var d fib.Dest
			for i := rand.IntN(n); pb.Next(); i++ {
				mac := random[i&(n-1)]
				if d = f.Lookup(mac); d != 0 {
					f.Learn(mac, d, uint32(i>>20))
				}
			}
		})
	})
	_ = d
}
