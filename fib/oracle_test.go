package fib

import (
	"bufio"
	"compress/gzip"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// naive is the oracle: longest prefix match by trying every length in a map.
type naive map[netip.Prefix]NextHop

func (n naive) lookup(a netip.Addr) (netip.Prefix, NextHop, bool) {
	a = a.Unmap()
	for bits := a.BitLen(); bits >= 0; bits-- {
		p, err := a.Prefix(bits)
		if err != nil {
			break // the zero address
		}
		if hop, ok := n[p]; ok {
			return p, hop, true
		}
	}
	return netip.Prefix{}, NextHop{}, false
}

// check compares the answers for addresses, valid or not.
func (n naive) check(t *testing.T, r *Routes, addrs ...netip.Addr) {
	t.Helper()
	for _, a := range addrs {
		wantPfx, want, wantOK := n.lookup(a)
		if got, ok := r.Lookup(a); got != want || ok != wantOK {
			t.Fatalf("lookup %v: got %v %v, want %v %v (%v)", a, got, ok, want, wantOK, wantPfx)
		}
		if p, got, ok := r.Match(a); p != wantPfx || got != want || ok != wantOK {
			t.Fatalf("match %v: got %v %v %v, want %v %v %v", a, p, got, ok, wantPfx, want, wantOK)
		}
	}
}

// compare compares the whole tables.
func (n naive) compare(t *testing.T, r *Routes) {
	t.Helper()
	if r.Len() != len(n) {
		t.Errorf("%d routes, want %d", r.Len(), len(n))
	}
	var before netip.Prefix
	for p, hop := range r.All() {
		if want, ok := n[p]; !ok || want != hop {
			t.Fatalf("%v: got %v, want %v %v", p, hop, want, ok)
		}
		if before.IsValid() && before.Compare(p) >= 0 {
			t.Fatalf("%v comes after %v", p, before)
		}
		before = p
	}
}

// canonical is what the tables make of a prefix: IPv4 for IPv4-mapped, masked.
func canonical(p netip.Prefix) netip.Prefix {
	if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(netip.AddrFrom4(a.As4()), p.Bits()-96)
	}
	return p.Masked()
}

// last returns the highest address of p.
func last(p netip.Prefix) netip.Addr {
	p = p.Masked()
	if !p.IsValid() {
		return netip.Addr{}
	}
	b := p.Addr().AsSlice()
	for i := range b {
		host := min(8, max(0, (i+1)*8-p.Bits()))
		b[i] |= byte(1<<host - 1)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// around returns the addresses where a prefix begins and ends, those next to
// them, and one inside.
func around(r *rand.Rand, p netip.Prefix) []netip.Addr {
	first, end := p.Masked().Addr(), last(p)
	inside := first.AsSlice()
	for i, b := range end.AsSlice() {
		inside[i] |= byte(r.Uint32()) & (b ^ inside[i])
	}
	in, _ := netip.AddrFromSlice(inside)
	return []netip.Addr{first, end, in, first.Prev(), end.Next(), netip.AddrFrom16(first.As16())}
}

// internetTable returns the prefixes of the full Internet routing table, both
// families, or skips; thinned out under the race detector.
func internetTable(tb testing.TB) []netip.Prefix {
	name := filepath.Join("..", "..", "shared", "data", "bgp", "prefixes.txt.gz")
	f, err := os.Open(name)
	if err != nil {
		tb.Skipf("needs the Internet routing table: %v", err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		tb.Fatal(err)
	}
	var ps []netip.Prefix
	lines := bufio.NewScanner(z)
	for n := 0; lines.Scan(); n++ {
		if raceEnabled && n%40 != 0 {
			continue
		}
		ps = append(ps, netip.MustParsePrefix(strings.TrimSpace(lines.Text()))) // CRLF
	}
	if err := lines.Err(); err != nil {
		tb.Fatal(err)
	}
	return ps
}

// numbered returns a next hop that tells n.
func numbered(n int) NextHop {
	return NextHop{Kind: HopPeer, Dest: Dest(n), Domain: uint16(n >> 16)}
}

func TestInternetTable(t *testing.T) {
	ps := internetTable(t)
	r := rand.New(rand.NewPCG(1, 2))
	r.Shuffle(len(ps), func(i, j int) { ps[i], ps[j] = ps[j], ps[i] })
	var routes Routes
	want := make(naive, len(ps))
	routes.Update(func(b *Batch) {
		for i, p := range ps {
			b.Insert(p, numbered(i))
			want[p] = numbered(i)
		}
	})
	sample := func() {
		for range min(5000, len(ps)/10) {
			want.check(t, &routes, around(r, ps[r.IntN(len(ps))])...)
			want.check(t, &routes, netip.AddrFrom4([4]byte{byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32())}))
			a := [16]byte{0: 0x20 | byte(r.Uint32()&0xf), 1: byte(r.Uint32()), 2: byte(r.Uint32()), 3: byte(r.Uint32()), 5: byte(r.Uint32())}
			want.check(t, &routes, netip.AddrFrom16(a))
		}
	}
	sample()
	want.compare(t, &routes)
	for i, p := range ps[:len(ps)/1000] { // single changes
		if i%2 == 0 {
			routes.Delete(p)
			delete(want, p)
		} else {
			routes.Insert(p, numbered(len(ps)+i))
			want[p] = numbered(len(ps) + i)
		}
		want.check(t, &routes, around(r, p)...)
	}
	routes.Update(func(b *Batch) { // a batch that goes over to a whole copy
		for _, p := range ps[len(ps)/2:] {
			b.Delete(p)
			delete(want, p)
		}
	})
	sample()
	want.compare(t, &routes)
}

// Routes come and go, singly and in batches, under readers; each answer must be
// one that was right at some time: a permanent route, or a longer passing one.
func TestRoutesUnderReaders(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	permanent, passing := naive{}, naive{}
	var comeAndGo []netip.Prefix
	for n := range 3000 {
		a := netip.AddrFrom4([4]byte{10, byte(r.Uint32() & 7), byte(r.Uint32()), byte(r.Uint32())})
		bits := 8 + r.IntN(25)
		if n%2 == 0 {
			a = netip.AddrFrom16([16]byte{0: 0x20, 1: 1, 5: byte(r.Uint32() & 7), 6: byte(r.Uint32()), 7: byte(r.Uint32()), 15: byte(n)})
			bits = 16 + r.IntN(113)
		}
		p := netip.PrefixFrom(a, bits).Masked()
		if permanent[p].Kind != 0 || passing[p].Kind != 0 {
			continue
		}
		if n%3 == 0 {
			permanent[p] = numbered(n)
		} else {
			passing[p] = numbered(n)
			comeAndGo = append(comeAndGo, p)
		}
	}
	type question struct {
		addr  netip.Addr
		right []NextHop // the zero one for no route
	}
	var questions []question
	for i := range 2000 {
		q := question{addr: around(r, comeAndGo[i%len(comeAndGo)])[i%5]}
		floor, hop, _ := permanent.lookup(q.addr)
		q.right = append(q.right, hop)
		for p, hop := range passing {
			if p.Contains(q.addr) && (!floor.IsValid() || p.Bits() > floor.Bits()) {
				q.right = append(q.right, hop)
			}
		}
		questions = append(questions, q)
	}
	var routes Routes
	for p, hop := range permanent {
		routes.Insert(p, hop)
	}
	var stop atomic.Bool
	var wg sync.WaitGroup
	var asked, passed atomic.Int64
	for id := range 2 {
		wg.Go(func() {
			var answers, changed int64
			defer func() { asked.Add(answers); passed.Add(changed) }()
			for i := id; !stop.Load(); i++ {
				q := questions[i%len(questions)]
				hop, ok := routes.Lookup(q.addr)
				if ok != (hop != NextHop{}) || !slices.Contains(q.right, hop) {
					t.Errorf("lookup %v: got %v %v, want one of %v", q.addr, hop, ok, q.right)
					return
				}
				if answers++; hop != q.right[0] {
					changed++
				}
			}
		})
	}
	for range rounds(20_000) {
		if p := comeAndGo[r.IntN(len(comeAndGo))]; !routes.Delete(p) {
			routes.Insert(p, passing[p])
		}
		if r.IntN(500) == 0 {
			from := r.IntN(len(comeAndGo))
			routes.Update(func(b *Batch) {
				for _, p := range comeAndGo[from:min(from+300, len(comeAndGo))] {
					if !b.Delete(p) {
						b.Insert(p, passing[p])
					}
				}
			})
		}
	}
	stop.Store(true)
	wg.Wait()
	if passed.Load() == 0 || asked.Load() == passed.Load() {
		t.Errorf("of %d answers %d were passing routes: the test saw no change", asked.Load(), passed.Load())
	}
}
