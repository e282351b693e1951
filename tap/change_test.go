package tap

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
)

// addrList returns the addresses of eth1 with their lengths, sorted.
func (c container) addrList() string {
	var list []string
	for _, a := range c.addrs(c.link("eth1")) {
		list = append(list, a.IPNet.String())
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

func withGateways(cfg Config, gws ...string) Config {
	for _, g := range gws {
		cfg.Gateways = append(cfg.Gateways, netip.MustParseAddr(g))
	}
	return cfg
}

// Each row is reached from the one before, and led back to.
func TestChange(t *testing.T) {
	c := newContainer(t)
	ns := c.open()
	mtu := func(cfg Config, mtu int) Config { cfg.MTU = mtu; return cfg }
	mac := testConfig("10.2.0.2/24")
	mac.MAC++
	rows := []struct {
		name  string
		cfg   Config
		addrs string // sorted
	}{
		{"first", withGateways(testConfig("10.1.1.2/24"), "10.1.1.1"), "10.1.1.2/24"},
		{"another prefix", withGateways(testConfig("10.2.0.2/24"), "10.2.0.1"), "10.2.0.2/24"},
		{"a wider one", withGateways(testConfig("10.2.0.2/16"), "10.2.0.1"), "10.2.0.2/16"},
		{"another host of it", withGateways(testConfig("10.2.0.3/16"), "10.2.0.1"), "10.2.0.3/16"},
		{"IPv6 beside it", withGateways(testConfig("10.2.0.3/16", "fd00:1::3/64"), "10.2.0.1", "fd00:1::1"), "10.2.0.3/16 fd00:1::3/64"},
		{"another length of IPv6", withGateways(testConfig("10.2.0.3/16", "fd00:1::3/48"), "fd00:1::1"), "10.2.0.3/16 fd00:1::3/48"},
		{"too small for IPv6", mtu(testConfig("10.2.0.3/16"), 600), "10.2.0.3/16"},
		{"IPv6 alone", testConfig("fd00:1::4/64"), "fd00:1::4/64"},
		{"IPv4 again, larger", mtu(testConfig("10.3.0.3/16"), 9000), "10.3.0.3/16"},
		{"several", testConfig("10.2.0.2/24", "10.2.0.3/24", "10.2.0.4/24"), "10.2.0.2/24 10.2.0.3/24 10.2.0.4/24"},
		{"without the primary", testConfig("10.2.0.3/24", "10.2.0.4/24"), "10.2.0.3/24 10.2.0.4/24"},
		{"another MAC", mac, "10.2.0.2/24"},
	}
	c.create(rows[0].cfg)
	index := c.link("eth1").Attrs().Index
	check := func(name string, cfg Config, addrs string) {
		t.Helper()
		a := c.link("eth1").Attrs()
		if a.Index != index || a.MTU != cfg.MTU || a.HardwareAddr.String() != cfg.MAC.String() {
			t.Errorf("%s: index %d, MTU %d, MAC %s; want %d, %d, %s", name, a.Index, a.MTU, a.HardwareAddr, index, cfg.MTU, cfg.MAC)
		}
		if got := c.addrList(); got != addrs {
			t.Errorf("%s: addresses %s, want %s", name, got, addrs)
		}
		gws := c.gateways(c.link("eth1"))
		if len(gws) != len(cfg.Gateways) {
			t.Errorf("%s: default routes %v, want %v", name, gws, cfg.Gateways)
		}
		for _, g := range cfg.Gateways {
			if _, ok := gws[g.String()]; !ok {
				t.Errorf("%s: no default route via %s", name, g)
			}
		}
	}
	change := func(from, to Config) {
		t.Helper()
		for range 2 { // the second time it is so already
			if err := Change(ns, from, to); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i, r := range rows[1:] {
		was := rows[i]
		change(was.cfg, r.cfg)
		check(r.name, r.cfg, r.addrs)
		change(r.cfg, was.cfg)
		check("back from "+r.name, was.cfg, was.addrs)
		change(was.cfg, r.cfg)
	}
}

// What the container added itself stays, also when the only address changes.
func TestChangeLeavesTheContainersOwn(t *testing.T) {
	c := newContainer(t)
	from, to := testConfig("10.1.1.2/24"), testConfig("10.1.1.2/16")
	c.create(from)
	c.do(func() error {
		link, err := netlink.LinkByName("eth1")
		if err != nil {
			return err
		}
		own := &netlink.Addr{IPNet: ipNet(netip.MustParsePrefix("172.30.0.1/30"))}
		route := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(netip.MustParsePrefix("10.9.0.0/16")), Gw: netip.MustParseAddr("10.1.1.7").AsSlice()}
		return errors.Join(netlink.RouteAdd(route), netlink.AddrAdd(link, own), netlink.AddrDel(link, own))
	})
	if err := Change(c.open(), from, to); err != nil {
		t.Fatal(err)
	}
	c.do(func() error {
		routes, err := netlink.RouteGet(netip.MustParseAddr("10.9.0.1").AsSlice())
		if err == nil && routes[0].Gw.String() != "10.1.1.7" {
			t.Errorf("route to 10.9.0.1 is %v, want the container's own via 10.1.1.7", routes[0])
		}
		return err
	})
}

func TestChangeRefuses(t *testing.T) {
	c := newContainer(t)
	cfg := testConfig("10.1.1.2/24")
	c.create(cfg)
	was := c.addrList()
	low := cfg
	low.MTU = 67
	gone := cfg
	gone.IfName = "eth9"
	if err := Change(c.open(), cfg, low); err == nil {
		t.Error("an MTU of 67 was taken")
	}
	if err := Change(c.open(), cfg, withGateways(cfg, "10.7.0.1")); err == nil {
		t.Error("a gateway out of reach was taken")
	}
	if err := Change(c.open(), gone, gone); !errors.Is(err, ErrNoTAP) {
		t.Errorf("change of no interface: %v, want ErrNoTAP", err)
	}
	ns := c.open()
	ns.Ino++
	if err := Change(ns, cfg, cfg); !errors.Is(err, ErrNoNamespace) {
		t.Errorf("change in another namespace: %v, want ErrNoNamespace", err)
	}
	if got := c.addrList(); got != was {
		t.Errorf("addresses are %s, want %s", got, was)
	}
}
