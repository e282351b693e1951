package control

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"weft/internal/lab"
	"weft/internal/spec"
)

// A network is renumbered under two running containers: same links, other
// addresses and ways out, and they still reach each other, and the gateway.
func TestRenumberNetns(t *testing.T) {
	l := lab.ForTest(t)
	lab.Need(t, "iputils-ping", "ping")
	a, b := containerNetns(t, l, "a"), containerNetns(t, l, "b")
	c := hostNetns(t, t.TempDir())
	add(t, c, "blue=10.32.0.0/24,gateway=10.32.0.1")
	attachNetns(t, c, ask(t, "blue", "netns:"+a.Name(), "10.32.0.5/24"))
	attachNetns(t, c, ask(t, "blue", "netns:"+b.Name(), "10.32.0.6/24"))
	index := func(ns *lab.NS) (n int) {
		t.Helper()
		if err := ns.Do(func() error {
			link, err := netlink.LinkByName("eth1")
			if err == nil {
				n = link.Attrs().Index
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return n
	}
	wasA, wasB := index(a), index(b)
	reach(t, a, netip.MustParseAddr("10.32.0.6"))
	steps := []struct{ items, a, b, gw string }{
		{"10.33.0.0/24", "10.33.0.5", "10.33.0.6", "10.33.0.1"},
		{"10.33.0.0/16,gateway=10.33.9.9,mtu=1400", "10.33.0.5", "10.33.0.6", "10.33.9.9"},
		{"10.33.0.0/16,fd33::/64,gateway=10.33.9.9,gateway=fd33::1", "fd33::2", "fd33::3", "fd33::1"},
		{"fd34::/64", "fd34::2", "fd34::3", "fd34::1"},
	}
	for _, s := range steps {
		ch, err := spec.ChangeFrom(strings.Split(s.items, ","))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.SetNetwork("blue", ch, false); err != nil {
			t.Fatal(err)
		}
		reach(t, a, netip.MustParseAddr(s.b))
		reach(t, b, netip.MustParseAddr(s.a))
		if got := pingTTL(t, a, netip.MustParseAddr(s.gw)); got != 64 {
			t.Errorf("%s: ping gateway %s: got TTL %d, want 64", s.items, s.gw, got)
		}
		if index(a) != wasA || index(b) != wasB {
			t.Fatalf("%s: the links are others", s.items)
		}
	}
	if drops := c.Status().Drops; drops["l3_src"]+drops["l2_spoof"] > 0 {
		t.Errorf("frames of the new addresses were dropped: %s", fmt.Sprint(drops))
	}
}
