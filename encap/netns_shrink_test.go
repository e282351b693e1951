package encap_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"weft/encap"
	"weft/internal/lab"
)

// TestNetnsShrink lowers the MTU behind a router: what the router says of a large
// frame has the hello find what passes before it looks of its own accord.
func TestNetnsShrink(t *testing.T) {
	overBoth(t, func(t *testing.T, addrA, _ netip.Addr) { testNetnsShrink(t, addrA, false) })
}

// TestNetnsBlackHole does so where the router says nothing.
func TestNetnsBlackHole(t *testing.T) {
	overBoth(t, func(t *testing.T, addrA, _ netip.Addr) { testNetnsShrink(t, addrA, true) })
}

func testNetnsShrink(t *testing.T, addrA netip.Addr, silent bool) {
	behind, want := behind, 1360
	if addrA.Is6() {
		behind = behind6
	}
	for _, choice := range []encap.Choice{encap.ChooseGRE, encap.ChooseUDP} {
		carrier := encap.Carrier(choice - encap.ChooseGRE)
		t.Run(carrier.String(), func(t *testing.T) {
			t.Parallel()
			a, router, b := routed(t)
			a.open(encap.Config{Local: []netip.Addr{addrA}}, encap.Peer{ID: 1, Addr: behind, Choice: choice})
			b.open(encap.Config{Local: []netip.Addr{behind}}, encap.Peer{ID: 5, Addr: addrA, Choice: choice})
			a.u.StartHello()
			b.u.StartHello()
			until := func(what string, limit time.Duration, cond func(encap.Path) bool, each func()) {
				for end := time.Now().Add(limit); ; time.Sleep(20 * time.Millisecond) {
					for _, h := range []*host{a, b} {
						for _, r := range h.u.Receivers() {
							_, _ = r.Recv()
							r.Errors(func(encap.PeerID, error) {})
						}
					}
					each()
					if cond(a.u.Path(1)) {
						return
					}
					if time.Now().After(end) {
						t.Fatalf("not %s: %+v", what, a.u.Path(1))
					}
				}
			}
			until("up", 20*time.Second, func(p encap.Path) bool { return p.State == encap.PathUp }, func() {})
			first := time.Now() // let it find that all passes
			until("settled", time.Minute, func(encap.Path) bool { return time.Since(first) > 3*time.Second }, func() {})
			if silent {
				lab.Need(t, "nftables", "nft")
				const rules = "table inet quiet { chain out { type filter hook output priority 0; icmp type destination-unreachable drop; icmpv6 type packet-too-big drop; }; }"
				if _, err := router.Output(t.Context(), "nft", rules); err != nil {
					t.Fatal(err)
				}
			}
			if err := router.Do(func() error {
				link, err := netlink.LinkByName("r1")
				if err == nil {
					err = netlink.LinkSetMTU(link, 1399) // IPv6 wants 1280 at least
				}
				return err
			}); err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			until("found", 30*time.Second, func(p encap.Path) bool { return p.MTU != 0 }, func() { a.send(teb(1, frame(1400))) })
			t.Logf("found %d after %v", a.u.Path(1).MTU, time.Since(start).Round(10*time.Millisecond))
			if got := a.u.Path(1); got.MTU != want || got.MTUSince.Before(start) {
				t.Errorf("MTU %d since %v, want %d since after %v", got.MTU, got.MTUSince, want, start)
			}
		})
	}
}

// behind and behind6 are b's addresses in routed.
var behind, behind6 = netip.MustParseAddr("10.0.1.2"), netip.MustParseAddr("2001:db8:1::2")

// routed makes a, a router and b, whose addresses are behind and behind6.
func routed(t *testing.T) (a *host, router *lab.NS, b *host) {
	t.Helper()
	l := lab.ForTest(t)
	var ns [3]*lab.NS
	for i, name := range []string{"a", "r", "b"} {
		var err error
		if ns[i], err = l.Host(name); err != nil {
			t.Fatal(err)
		}
	}
	end := func(i int, name, addr, addr6 string) lab.End {
		return lab.End{NS: ns[i], Name: name, Addrs: []netip.Prefix{netip.MustParsePrefix(addr + "/24"), netip.MustParsePrefix(addr6 + "/64")}}
	}
	for _, ends := range [][2]lab.End{
		{end(0, "under0", addrA.String(), addrA6.String()), end(1, "r0", "10.0.0.254", "2001:db8::fe")},
		{end(2, "under0", behind.String(), behind6.String()), end(1, "r1", "10.0.1.254", "2001:db8:1::fe")},
	} {
		if err := l.Link(ends[0], ends[1]); err != nil {
			t.Fatal(err)
		}
	}
	for _, version := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
		if err := ns[1].SetSysctl(version, "1"); err != nil {
			t.Fatal(err)
		}
	}
	for i, vias := range map[int][]string{0: {"10.0.0.254", "2001:db8::fe"}, 2: {"10.0.1.254", "2001:db8:1::fe"}} {
		for _, via := range vias {
			if _, err := ns[i].Output(t.Context(), "ip", "route", "add", "default", "via", via); err != nil {
				t.Fatal(err)
			}
		}
	}
	return &host{NS: ns[0], t: t}, ns[1], &host{NS: ns[2], t: t}
}
