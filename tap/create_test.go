package tap

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weft/internal/header"
	"weft/internal/rawdev"
)

func TestCreateConfigures(t *testing.T) {
	c := newContainer(t)
	cfg := testConfig("10.1.1.2/24", "fd00:1::2/64", "10.1.1.3/24")
	cfg.Gateways = []netip.Addr{netip.MustParseAddr("10.1.1.1"), netip.MustParseAddr("fd00:1::1")}
	d := c.create(cfg)

	link := c.link("eth1")
	if link == nil {
		t.Fatal("no eth1 in the container")
	}
	a := link.Attrs()
	if got, want := a.HardwareAddr.String(), cfg.MAC.String(); got != want {
		t.Errorf("MAC = %s, want %s", got, want)
	}
	if a.MTU != cfg.MTU {
		t.Errorf("MTU = %d, want %d", a.MTU, cfg.MTU)
	}
	if a.Flags&net.FlagUp == 0 || a.RawFlags&unix.IFF_LOWER_UP == 0 {
		t.Errorf("flags = %#x, want up, with carrier", a.RawFlags)
	}
	tun := link.(*netlink.Tuntap)
	if tun.Mode != netlink.TUNTAP_MODE_TAP || tun.NonPersist || tun.Flags&netlink.TUNTAP_MULTI_QUEUE != 0 || a.NumTxQueues != 1 {
		t.Errorf("link = %+v, want a persistent TAP with room for one queue", tun)
	}
	var addrs []string
	for _, a := range c.addrs(link) {
		addrs = append(addrs, a.IPNet.String())
		if a.IP.To4() == nil && (a.Flags&unix.IFA_F_NODAD == 0 || a.Flags&unix.IFA_F_TENTATIVE != 0) {
			t.Errorf("flags of %v = %#x, want nodad and not tentative", a.IP, a.Flags)
		}
	}
	if got, want := strings.Join(addrs, " "), "10.1.1.2/24 10.1.1.3/24 fd00:1::2/64"; got != want {
		t.Errorf("addresses = %s, want %s", got, want)
	}
	gws := c.gateways(link)
	if len(gws) != 2 || gws["10.1.1.1"] != 0 || gws["fd00:1::1"] != 1024 {
		t.Errorf("default routes = %v, want via 10.1.1.1 and fd00:1::1 with the kernel's metrics", gws)
	}
	if got, want := c.ipv6Conf("eth1"), (ipv6Conf{"0", "0", "0"}); got != want {
		t.Errorf("IPv6 settings = %+v, want %+v", got, want)
	}
	if _, flags, err := rawdev.Interface(d.FD()); err != nil || flags&(rawdev.TAPFlags|unix.IFF_PERSIST) != rawdev.TAPFlags|unix.IFF_PERSIST {
		t.Errorf("flags of the queue = %#x, %v", flags, err)
	}
	if name, err := d.IfName(); name != "eth1" || err != nil {
		t.Errorf("IfName() = %q, %v, want eth1", name, err)
	}
	if pins, err := rawdev.Pins(d.FD()); pins || err != nil || d.Pins() {
		t.Errorf("pins = %t, %v; Pins() = %t, want false", pins, err, d.Pins())
	}
}

func TestCreateNameTaken(t *testing.T) {
	c := newContainer(t)
	first := c.create(testConfig("10.1.1.2/24"))
	index := c.link("eth1").Attrs().Index
	before := c.state()

	_, err := c.tryCreate(c.open(), testConfig("10.1.1.3/24"))
	if !errors.Is(err, ErrNameTaken) || !strings.Contains(err.Error(), "eth1") || !strings.Contains(err.Error(), "-i NAME") {
		t.Errorf("error = %v, want ErrNameTaken that names eth1 and -i NAME", err)
	}
	c.unchanged(before)
	if got := c.link("eth1").Attrs().Index; got != index {
		t.Errorf("ifindex of eth1 = %d, want %d: the first was touched", got, index)
	}
	if _, err := first.IfName(); err != nil {
		t.Errorf("first device: %v", err)
	}
}

// A step that fails inside, after the move, leaves nothing either.
func TestCreateUndoes(t *testing.T) {
	c := newContainer(t)
	c.do(func() error { // every metric that a default route could get is taken
		for i := range standbyMetrics + 1 {
			r := netlink.Route{Dst: ipNet(netip.MustParsePrefix("0.0.0.0/0")), Type: unix.RTN_UNREACHABLE, Priority: standbyMetric + i - 1}
			if i == 0 {
				r.Priority = 0
			}
			if err := netlink.RouteAdd(&r); err != nil {
				return err
			}
		}
		return nil
	})
	before := c.state()
	cfg := testConfig("10.1.1.2/24")
	cfg.Gateways = []netip.Addr{netip.MustParseAddr("10.1.1.1")}
	_, err := c.tryCreate(c.open(), cfg)
	if err == nil || !strings.Contains(err.Error(), "default route via 10.1.1.1") {
		t.Errorf("error = %v, want one about the default route", err)
	}
	c.unchanged(before)
}

// Where the caller's record fails the TAP goes: it persists only behind that.
func TestCreateUnrecorded(t *testing.T) {
	c := newContainer(t)
	before, failed := c.state(), errors.New("no record")
	err := c.host.Do(func() error {
		_, err := Create(c.open(), testConfig("10.1.1.2/24"), func() error {
			if link, ok := c.link("eth1").(*netlink.Tuntap); !ok || !link.NonPersist {
				t.Errorf("link = %+v while it is recorded, want a TAP that does not persist", link)
			}
			return failed
		})
		return err
	})
	if !errors.Is(err, failed) {
		t.Errorf("error = %v, want %v", err, failed)
	}
	c.unchanged(before)
}

// A container can use its link-local address at once, and asks nobody for it.
func TestCreateLinkLocal(t *testing.T) {
	c := newContainer(t)
	cfg := testConfig("10.1.1.2/24")
	c.create(cfg)
	link := c.link("eth1")
	c.do(func() error {
		list, err := netlink.AddrList(link, netlink.FAMILY_V6)
		if err != nil {
			return err
		}
		if len(list) != 1 || list[0].IP.String() != header.LinkLocal(cfg.MAC).String() || list[0].Flags&unix.IFA_F_NODAD == 0 || list[0].Flags&unix.IFA_F_TENTATIVE != 0 {
			t.Errorf("addresses = %v, want %v alone, not tentative", list, header.LinkLocal(cfg.MAC))
		}
		return nil
	})
}

// With disable_ipv6, as Docker sets it, an IPv6 address turns IPv6 on for this
// interface, and without one everything works as it is.
func TestCreateWhereIPv6IsOff(t *testing.T) {
	c := newContainer(t)
	if err := c.SetSysctl("ipv6/conf/default/disable_ipv6", "1"); err != nil {
		t.Fatal(err)
	}
	c.create(testConfig("10.1.1.2/24"))
	with := testConfig("10.1.2.2/24", "fd00:2::2/64")
	with.IfName = "eth2"
	c.create(with)
	if got := len(c.addrs(c.link("eth1"))); got != 1 {
		t.Errorf("eth1 has %d addresses, want 1", got)
	}
	if got := len(c.addrs(c.link("eth2"))); got != 2 {
		t.Errorf("eth2 has %d addresses, want 2", got)
	}
	if got, want := c.ipv6Conf("eth1"), (ipv6Conf{"0", "0", "1"}); got != want {
		t.Errorf("IPv6 settings of eth1 = %+v, want %+v", got, want)
	}
}

// A container that gets no address finds one itself, as by DHCP or from a router,
// as it is set to do.
func TestCreateWithoutAddressTakesTheRouters(t *testing.T) {
	c := newContainer(t)
	c.create(testConfig())
	if got, want := c.ipv6Conf("eth1"), (ipv6Conf{"1", "1", "0"}); got != want {
		t.Errorf("IPv6 settings = %+v, want %+v", got, want)
	}
}

// A host can be attached to its own network: the move is none then.
func TestCreateOnHostItself(t *testing.T) {
	c := newContainer(t)
	c.NS = c.host
	c.create(testConfig("10.1.1.2/24"))
	if got := c.addrs(c.link("eth1")); len(got) != 1 {
		t.Errorf("addresses = %v, want 10.1.1.2", got)
	}
}

// The second network with a gateway does not take the way out from the first.
func TestCreateSecondGatewayStandsBy(t *testing.T) {
	c := newContainer(t)
	one, two := testConfig("10.1.1.2/24", "fd00:1::2/64"), testConfig("10.1.2.2/24", "fd00:2::2/64")
	one.Gateways = []netip.Addr{netip.MustParseAddr("10.1.1.1"), netip.MustParseAddr("fd00:1::1")}
	two.Gateways = []netip.Addr{netip.MustParseAddr("10.1.2.1"), netip.MustParseAddr("fd00:2::1")}
	two.IfName = "eth2"
	c.create(one)
	c.create(two)
	gws := c.gateways(c.link("eth2"))
	if gws["10.1.2.1"] != standbyMetric || gws["fd00:2::1"] != standbyMetric {
		t.Errorf("default routes of the second = %v, want metric %d", gws, standbyMetric)
	}
}

func TestCreateInParallel(t *testing.T) {
	c := newContainer(t)
	ns := c.open()
	var wg sync.WaitGroup
	for _, name := range []string{"eth1", "eth2", "eth3", "eth4"} {
		wg.Go(func() {
			cfg := testConfig()
			cfg.IfName = name
			d, err := c.tryCreate(ns, cfg)
			if err != nil {
				t.Error(err)
				return
			}
			t.Cleanup(func() { d.Close() })
		})
	}
	wg.Wait()
	for _, name := range []string{"eth1", "eth2", "eth3", "eth4"} {
		if c.link(name) == nil {
			t.Errorf("no %s in the container", name)
		}
	}
}

func TestCreateRemoveLeaksNothing(t *testing.T) {
	c := newContainer(t)
	ns := c.open()
	cycle := func() {
		d, err := c.tryCreate(ns, testConfig("10.1.1.2/24"))
		if err != nil {
			t.Fatal(err)
		}
		if err := Remove(ns, "eth1"); err != nil {
			t.Fatal(err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
	cycle() // what the runtime opens once is open now
	before := c.state()
	for range 100 {
		cycle()
	}
	c.unchanged(before)
}

func TestCreateNoNamespace(t *testing.T) {
	c := newContainer(t)
	ns := c.open()
	if err := c.Remove(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.tryCreate(ns, testConfig()); !errors.Is(err, ErrNoNamespace) || !strings.Contains(err.Error(), ns.Path) {
		t.Errorf("error = %v, want ErrNoNamespace that names %s", err, ns.Path)
	}
}

// A path that leads elsewhere by now must not be entered.
func TestCreateReplacedNamespace(t *testing.T) {
	c, other := newContainer(t), newContainer(t)
	ns := c.open()
	ns.Path = other.Path()
	if _, err := c.tryCreate(ns, testConfig()); !errors.Is(err, ErrNoNamespace) {
		t.Errorf("error = %v, want ErrNoNamespace", err)
	}
	if other.link("eth1") != nil {
		t.Error("the other namespace got the TAP")
	}
}

func BenchmarkCreate(b *testing.B) {
	c := newContainer(b)
	ns := c.open()
	cfg := testConfig("10.1.1.2/24", "fd00:1::2/64")
	cfg.Gateways = []netip.Addr{netip.MustParseAddr("10.1.1.1")}
	for b.Loop() {
		d, err := c.tryCreate(ns, cfg)
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := d.Remove(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}
