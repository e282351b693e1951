package control

import (
	"context"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"weft/internal/lab"
	"weft/internal/spec"
)

// pingTTL pings once from inside a container and returns the TTL or hop limit of
// the answer; 0 where none came.
func pingTTL(t *testing.T, from *lab.NS, to netip.Addr) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	out, _ := from.Output(ctx, "ping", "-n", "-c", "1", "-W", "2", to.String())
	m := regexp.MustCompile(`ttl=(\d+)`).FindStringSubmatch(out)
	if m == nil {
		return 0
	}
	ttl, err := strconv.Atoi(m[1])
	if err != nil {
		t.Fatal(err)
	}
	return ttl
}

// Two containers in two networks of one vrf reach each other through the real
// switch, over IPv4 and IPv6, one hop apart, and the gateways answer. What is
// changed of the networks takes effect while they run.
func TestRoutedNetns(t *testing.T) {
	l := lab.ForTest(t)
	lab.Need(t, "iputils-ping", "ping")
	a, b := containerNetns(t, l, "a"), containerNetns(t, l, "b")
	c := hostNetns(t, t.TempDir())
	add(t, c,
		"blue=10.32.0.0/24,fd32::/64,gateway=10.32.0.1,gateway=fd32::1,vrf=v",
		"red=10.33.0.0/24,fd33::/64,gateway=10.33.0.1,gateway=fd33::1,vrf=v")
	attachNetns(t, c, ask(t, "blue", "netns:"+a.Name()))
	pb := attachNetns(t, c, ask(t, "red", "netns:"+b.Name()))
	for _, to := range pb.Addresses {
		reach(t, a, to.Addr())
		if got := pingTTL(t, a, to.Addr()); got != 63 {
			t.Errorf("ping %s: got TTL %d, want 63", to.Addr(), got)
		}
	}
	for _, gw := range []string{"10.32.0.1", "fd32::1", "10.33.0.1", "fd33::1"} {
		if got := pingTTL(t, a, netip.MustParseAddr(gw)); got != 64 {
			t.Errorf("ping gateway %s: got TTL %d, want 64", gw, got)
		}
	}
	set := func(options ...string) {
		t.Helper()
		ch, err := spec.ChangeFrom(options)
		if err == nil {
			_, err = c.SetNetwork("red", ch, false)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	set("vrf=none")
	if got := pingTTL(t, a, pb.Addresses[0].Addr()); got != 0 {
		t.Errorf("in two vrfs: got an answer with TTL %d", got)
	}
	set("vrf=v")
	reach(t, a, pb.Addresses[0].Addr())
	set("gateway=10.33.0.1", "gateway=fd33::9")
	if got := pingTTL(t, a, netip.MustParseAddr("fd33::9")); got != 64 {
		t.Errorf("ping new gateway: got TTL %d, want 64", got)
	}
	if s := c.Status(); s.Frames.In != s.Frames.Forwarded+s.Frames.Local+s.Frames.DroppedIn {
		t.Errorf("the balance is wrong: %+v", s.Frames)
	}
}

// A route via a container leads through it, and what has no route is refused by
// the gateway, not lost.
func TestRouteViaContainerNetns(t *testing.T) {
	l := lab.ForTest(t)
	lab.Need(t, "iputils-ping", "ping")
	a, router := containerNetns(t, l, "a"), containerNetns(t, l, "r")
	c := hostNetns(t, t.TempDir(), "blue=10.32.0.0/24,gateway=10.32.0.1", "red=10.33.0.0/24,gateway=10.33.0.1,vrf=blue-out")
	attachNetns(t, c, ask(t, "blue", "netns:"+a.Name()))
	via := ask(t, "blue", "netns:"+router.Name(), "10.32.0.9/24")
	via.AllowSpoof = true
	attachNetns(t, c, via)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if out, err := router.Output(ctx, "ip", "addr", "add", "10.99.0.1/32", "dev", "lo"); err != nil {
		t.Fatal(out, err)
	}
	far := netip.MustParseAddr("10.99.0.1")
	if out, _ := a.Output(ctx, "ping", "-n", "-c", "1", "-W", "2", far.String()); !strings.Contains(out, "From 10.32.0.1") {
		t.Errorf("without a route: got %s, want an error from the gateway", out)
	}
	if _, err := c.AddRoute(mustRoute(t, "10.99.0.0/16=10.32.0.9,vrf=blue"), false); err != nil {
		t.Fatal(err)
	}
	reach(t, a, far)
	if got, err := c.RouteTo(far, "blue"); err != nil || got.Via != "10.32.0.9" || got.Network != "blue" {
		t.Errorf("got %+v, %v", got, err)
	}
	if err := c.RemoveRoute(netip.MustParsePrefix("10.99.0.0/16"), "blue"); err != nil {
		t.Fatal(err)
	}
	if got := pingTTL(t, a, far); got != 0 {
		t.Errorf("the route is gone: got an answer with TTL %d", got)
	}
}
