package tap

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
)

func TestRecover(t *testing.T) {
	c := newContainer(t)
	was := testConfig("10.1.1.9/24", "10.1.1.2/24", "10.1.1.3/25", "fd00:1::2/96", "fd00:1::9/64", "192.0.2.9/24")
	c.create(was).Close()
	link := c.link("eth1")

	cfg := testConfig("10.1.1.2/24", "10.1.1.3/24", "fd00:1::2/64")
	cfg.Gateways = []netip.Addr{netip.MustParseAddr("10.1.1.1"), netip.MustParseAddr("fd00:1::1")}
	prefixes := []netip.Prefix{netip.MustParsePrefix("10.1.1.0/24"), netip.MustParsePrefix("fd00:1::/64")}
	d, err := Recover(c.open(), cfg, prefixes)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	if !d.Pins() {
		t.Error("Pins() = false, want true")
	}
	again := c.link("eth1")
	if got, want := again.Attrs().Index, link.Attrs().Index; got != want {
		t.Errorf("ifindex = %d, want %d", got, want)
	}
	var got []string
	for _, a := range c.addrs(again) {
		got = append(got, a.IPNet.String())
	}
	slices.Sort(got)
	if want := "10.1.1.2/24 10.1.1.3/24 192.0.2.9/24 fd00:1::2/64"; strings.Join(got, " ") != want {
		t.Errorf("addresses = %s, want %s", strings.Join(got, " "), want)
	}
	if got := c.gateways(again); len(got) != 2 {
		t.Errorf("default routes = %v, want %v", got, cfg.Gateways)
	}
}

// One that an older weft made is known too.
func TestRecoverManyQueues(t *testing.T) {
	c := newContainer(t)
	c.addManyQueues()
	d, err := Recover(c.open(), testConfig("10.1.1.2/24"), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	if got := c.addrs(c.link("eth1")); len(got) != 1 {
		t.Errorf("addresses = %v, want 10.1.1.2/24", got)
	}
}

func TestRecoverRefuses(t *testing.T) {
	tests := []struct {
		name string
		make func(c container)
		want error
		says string
	}{
		{"nothing there", func(container) {}, ErrNoTAP, "no such TAP"},
		{"a bridge", func(c container) {
			c.do(func() error { return netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "eth1"}}) })
		}, ErrNameTaken, "-i NAME"},
		{"a TAP without virtio headers", func(c container) {
			c.do(func() error {
				return addTuntap("eth1", netlink.TUNTAP_MODE_TAP, netlink.TUNTAP_DEFAULTS|netlink.TUNTAP_NO_PI)
			})
		}, ErrNameTaken, "-i NAME"},
		{"one that is open", func(c container) { c.create(testConfig()) }, ErrNameTaken, "open"},
		{"one with many queues that is open", func(c container) {
			c.addManyQueues()
			c.reopen(testConfig())
		}, ErrNameTaken, "open"},
		{"another MAC", func(c container) {
			other := testConfig()
			other.MAC++
			c.create(other).Close()
		}, ErrNameTaken, "--mac"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newContainer(t)
			tt.make(c)
			before := c.state()
			_, err := Recover(c.open(), testConfig(), nil)
			if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error = %v, want %v with %q", err, tt.want, tt.says)
			}
			c.unchanged(before)
		})
	}
}
