package fib

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
)

var pfx, addr = netip.MustParsePrefix, netip.MustParseAddr

func peerHop(n int) NextHop { return NextHop{Kind: HopPeer, Dest: PeerDest(uint16(n))} }

func TestRoutes(t *testing.T) {
	var r Routes
	if _, ok := r.Lookup(addr("10.0.0.1")); ok || r.Len() != 0 {
		t.Error("the zero value is not empty")
	}
	for range r.All() {
		t.Error("the zero value ranges")
	}
	if r.Delete(pfx("10.0.0.0/8")) {
		t.Error("delete from the zero value: want false")
	}
	connected := NextHop{Kind: HopConnected, Domain: 7}
	via := NextHop{Kind: HopAddr, Via: addr("192.0.2.1")}
	for _, in := range []struct {
		p   netip.Prefix
		hop NextHop
	}{
		{pfx("10.0.0.0/8"), peerHop(1)},
		{pfx("10.1.2.3/16"), via}, // host bits do not count
		{pfx("10.1.2.0/24"), connected},
		{pfx("10.1.2.3/32"), peerHop(2)},
		{pfx("0.0.0.0/0"), peerHop(3)},
		{pfx("2001:db8::/32"), peerHop(4)},
		{pfx("2001:db8:1::/48"), connected},
		{pfx("2001:db8:1::1/128"), via},
		{pfx("::ffff:172.16.0.0/108"), peerHop(5)}, // 172.16.0.0/12
	} {
		if !r.Insert(in.p, in.hop) {
			t.Errorf("insert %v: want true", in.p)
		}
	}
	tests := []struct {
		addr string
		hop  NextHop
		p    string // empty: no route
	}{
		{"10.9.9.9", peerHop(1), "10.0.0.0/8"},
		{"10.1.0.0", via, "10.1.0.0/16"},
		{"10.1.255.255", via, "10.1.0.0/16"},
		{"10.1.2.2", connected, "10.1.2.0/24"},
		{"10.1.2.3", peerHop(2), "10.1.2.3/32"},
		{"10.1.2.4", connected, "10.1.2.0/24"},
		{"11.0.0.0", peerHop(3), "0.0.0.0/0"},
		{"::ffff:10.1.2.3", peerHop(2), "10.1.2.3/32"},
		{"172.31.255.255", peerHop(5), "172.16.0.0/12"},
		{"::ffff:172.16.0.1", peerHop(5), "172.16.0.0/12"},
		{"2001:db8::1", peerHop(4), "2001:db8::/32"},
		{"2001:db8:1::2", connected, "2001:db8:1::/48"},
		{"2001:db8:1::1", via, "2001:db8:1::1/128"},
		{"2001:db8:1::1%eth0", via, "2001:db8:1::1/128"},
		{"2001:db9::", NextHop{}, ""},
		{"::", NextHop{}, ""},
	}
	for _, tt := range tests {
		hop, ok := r.Lookup(addr(tt.addr))
		if hop != tt.hop || ok != (tt.p != "") {
			t.Errorf("lookup %s: got %v %v, want %v", tt.addr, hop, ok, tt.hop)
		}
		p, hop, ok := r.Match(addr(tt.addr))
		if ok != (tt.p != "") || ok && p.String() != tt.p || hop != tt.hop {
			t.Errorf("match %s: got %v %v %v, want %s %v", tt.addr, p, hop, ok, tt.p, tt.hop)
		}
	}
	var order []string
	for p := range r.All() {
		order = append(order, p.String())
		r.Delete(p) // a loop goes on over what it began with
	}
	want := []string{"0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "10.1.2.3/32", "172.16.0.0/12",
		"2001:db8::/32", "2001:db8:1::/48", "2001:db8:1::1/128"}
	if len(order) != len(want) || r.Len() != 0 {
		t.Fatalf("order %v, want %v; %d left", order, want, r.Len())
	}
	for i := range want {
		if order[i] != want[i] {
			t.Errorf("order %v, want %v", order, want)
			break
		}
	}
}

func TestRoutesBadInput(t *testing.T) {
	var r Routes
	r.Insert(pfx("10.0.0.0/8"), peerHop(1))
	bad := []netip.Prefix{{}, netip.PrefixFrom(addr("10.0.0.0"), 33), netip.PrefixFrom(addr("::"), -1), netip.PrefixFrom(netip.Addr{}, 0)}
	for _, p := range bad {
		if r.Insert(p, peerHop(2)) || r.Delete(p) {
			t.Errorf("%v: insert or delete returned true", p)
		}
		if _, ok := r.Get(p); ok {
			t.Errorf("%v: get returned true", p)
		}
	}
	if _, ok := r.Lookup(netip.Addr{}); ok {
		t.Error("lookup of the zero address: want false")
	}
	if _, _, ok := r.Match(netip.Addr{}); ok {
		t.Error("match of the zero address: want false")
	}
	if got, ok := r.Get(pfx("10.0.0.0/8")); !ok || got != peerHop(1) || r.Len() != 1 {
		t.Errorf("bad input changed the table: %v %v, %d routes", got, ok, r.Len())
	}
}

// An Update is seen whole or not at all, and not when it panics.
func TestUpdate(t *testing.T) {
	var r Routes
	r.Insert(pfx("10.0.0.0/8"), peerHop(1))
	before := r.All()
	r.Update(func(b *Batch) {
		b.Insert(pfx("10.1.0.0/16"), peerHop(2))
		b.Delete(pfx("10.0.0.0/8"))
		if _, ok := b.Get(pfx("10.0.0.0/8")); ok {
			t.Error("the batch does not see its own change")
		}
		if _, ok := r.Get(pfx("10.1.0.0/16")); ok || r.Len() != 1 {
			t.Error("readers see the change before the end")
		}
	})
	if _, ok := r.Get(pfx("10.0.0.0/8")); ok || r.Len() != 1 {
		t.Error("readers do not see the change after the end")
	}
	for p, hop := range before {
		if p != pfx("10.0.0.0/8") || hop != peerHop(1) {
			t.Errorf("an old table changed: %v %v", p, hop)
		}
	}
	func() {
		defer func() { _ = recover() }()
		r.Update(func(b *Batch) {
			b.Delete(pfx("10.1.0.0/16"))
			panic("no")
		})
	}()
	if _, ok := r.Get(pfx("10.1.0.0/16")); !ok {
		t.Error("a panicking update was published")
	}
	r.Insert(pfx("10.2.0.0/16"), peerHop(3)) // the mutex is free again
}

// A reader never sees an older table than the one that was published when it
// began, nor a newer one than was begun when it ended, nor half a batch.
func TestRoutesLinear(t *testing.T) {
	var r Routes
	var began, published atomic.Uint32
	dst := addr("10.1.2.3")
	hop := func(g uint32) NextHop { return NextHop{Kind: HopPeer, Dest: Dest(g), Domain: uint16(g >> 16)} }
	generation := func(h NextHop) uint32 { return uint32(h.Dest) | uint32(h.Domain)<<16 }
	r.Insert(pfx("10.0.0.0/8"), hop(0))
	var wg sync.WaitGroup
	var stop atomic.Bool
	for range 2 {
		wg.Go(func() {
			seen := uint32(0)
			for !stop.Load() {
				low := max(seen, published.Load())
				got, ok := r.Lookup(dst)
				high := began.Load()
				if g := generation(got); !ok || g < low || g > high {
					t.Errorf("generation %d %v, want %d to %d", g, ok, low, high)
					return
				}
				seen = generation(got)
			}
		})
	}
	for g := uint32(1); g < uint32(rounds(60_000)); g++ {
		began.Store(g)
		r.Update(func(b *Batch) { // the longest prefix wanders, and all are of one generation
			b.Delete(pfx("10.1.0.0/16"))
			b.Delete(pfx("10.1.2.0/24"))
			b.Delete(pfx("10.0.0.0/8")) // no route at all, if this were seen
			b.Insert(pfx("10.0.0.0/8"), hop(g))
			if g%3 > 0 {
				b.Insert(pfx("10.1.0.0/16"), hop(g))
			}
			if g%3 > 1 {
				b.Insert(pfx("10.1.2.0/24"), hop(g))
			}
		})
		published.Store(g)
	}
	stop.Store(true)
	wg.Wait()
}

func TestRoutesNoAllocs(t *testing.T) {
	var r Routes
	r.Insert(pfx("10.0.0.0/8"), peerHop(1))
	r.Insert(pfx("2001:db8::/32"), NextHop{Kind: HopAddr, Via: addr("2001:db8::1")})
	for _, s := range []string{"10.1.2.3", "11.0.0.0", "::ffff:10.1.2.3", "2001:db8::2", "2001:db9::"} {
		a := addr(s)
		if got := testing.AllocsPerRun(1000, func() { r.Lookup(a) }); got != 0 {
			t.Errorf("lookup %s: %v allocations", s, got)
		}
	}
}
