package tap

import (
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weft/internal/header"
	"weft/internal/lab"
)

// container is a namespace that tests attach to, on a host that is one too:
// nothing else makes links there meanwhile.
type container struct {
	*lab.NS
	host *lab.NS
	t    testing.TB
}

// newContainer makes both, or skips the test saying what is missing.
func newContainer(t testing.TB) container {
	t.Helper()
	l := lab.ForTest(t)
	host, err := l.Host("h")
	if err != nil {
		t.Fatal(err)
	}
	ns, err := l.Host("c")
	if err != nil {
		t.Fatal(err)
	}
	return container{ns, host, t}
}

func (c container) open() Namespace {
	c.t.Helper()
	ns, err := OpenNamespace(c.Path())
	if err != nil {
		c.t.Fatal(err)
	}
	return ns
}

// tryCreate calls Create on the host.
func (c container) tryCreate(ns Namespace, cfg Config) (d *Device, err error) {
	c.t.Helper()
	err = c.host.Do(func() error {
		d, err = Create(ns, cfg, nil)
		return err
	})
	return d, err
}

// create makes a Device that is closed when the test ends.
func (c container) create(cfg Config) *Device {
	c.t.Helper()
	d, err := c.tryCreate(c.open(), cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { d.Close() })
	return d
}

// reopen opens eth1 again; the Device is closed when the test ends.
func (c container) reopen(cfg Config) *Device {
	c.t.Helper()
	d, err := Reopen(c.open(), cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { d.Close() })
	return d
}

// do runs f inside; netlink calls see the container.
func (c container) do(f func() error) {
	c.t.Helper()
	if err := c.Do(f); err != nil {
		c.t.Fatal(err)
	}
}

// link returns the interface as it is; nil where there is none.
func (c container) link(name string) (link netlink.Link) {
	c.t.Helper()
	c.do(func() (err error) {
		link, err = netlink.LinkByName(name)
		if isNoLink(err) {
			return nil
		}
		return err
	})
	return link
}

// addrs returns the addresses of the interface, link-local ones left out.
func (c container) addrs(link netlink.Link) (list []netlink.Addr) {
	c.t.Helper()
	c.do(func() error {
		all, err := netlink.AddrList(link, netlink.FAMILY_ALL)
		for _, a := range all {
			if !a.IP.IsLinkLocalUnicast() {
				list = append(list, a)
			}
		}
		return err
	})
	return list
}

// gateways returns the next hops of default routes out of link, with their metrics.
func (c container) gateways(link netlink.Link) map[string]int {
	c.t.Helper()
	list := map[string]int{}
	c.do(func() error {
		routes, err := netlink.RouteList(link, netlink.FAMILY_ALL)
		for _, r := range routes {
			if ones, _ := r.Dst.Mask.Size(); ones == 0 && r.Gw != nil {
				list[r.Gw.String()] = r.Priority
			}
		}
		return err
	})
	return list
}

// ipv6Conf is what Create may change under net.ipv6.conf.
type ipv6Conf struct{ acceptRA, autoconf, disable string }

func (c container) ipv6Conf(name string) (conf ipv6Conf) {
	c.t.Helper()
	c.do(func() error {
		for key, value := range map[string]*string{"accept_ra": &conf.acceptRA, "autoconf": &conf.autoconf, "disable_ipv6": &conf.disable} {
			b, err := os.ReadFile("/proc/sys/net/ipv6/conf/" + name + "/" + key)
			if err != nil {
				return err
			}
			*value = strings.TrimSpace(string(b))
		}
		return nil
	})
	return conf
}

// testMAC is the attached address in these tests.
const testMAC header.MAC = 0x0200_0000_0001

func testConfig(addrs ...string) Config {
	cfg := Config{IfName: "eth1", MAC: testMAC, MTU: 1450}
	for _, a := range addrs {
		cfg.Addrs = append(cfg.Addrs, netip.MustParsePrefix(a))
	}
	return cfg
}

// links returns the names of the links in a namespace.
func links(t testing.TB, ns *lab.NS) (names []string) {
	t.Helper()
	err := ns.Do(func() error {
		list, err := netlink.LinkList()
		for _, l := range list {
			names = append(names, l.Attrs().Name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// state is what a failed call must leave as it was.
type state struct {
	onHost, inContainer []string
	files               int
}

func (c container) state() state {
	c.t.Helper()
	return state{links(c.t, c.host), links(c.t, c.NS), openFiles(c.t)}
}

// unchanged fails the test when something came or went since.
func (c container) unchanged(since state) {
	c.t.Helper()
	if got := c.state(); !reflect.DeepEqual(got, since) {
		c.t.Errorf("links and open files = %v, want %v as before", got, since)
	}
}

// openFiles returns how many descriptors this process has open.
func openFiles(t testing.TB) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// pollFor waits for one of events, or POLLERR, on the device. It reports false
// after timeout.
func pollFor(t testing.TB, d *Device, events int16, timeout time.Duration) (got int16, ok bool) {
	t.Helper()
	fds := []unix.PollFd{{Fd: int32(d.FD()), Events: events}}
	for deadline := time.Now().Add(timeout); time.Now().Before(deadline); {
		n, err := unix.Poll(fds, 100)
		if err != nil && err != unix.EINTR {
			t.Fatal(err)
		}
		if n > 0 {
			return fds[0].Revents, true
		}
	}
	return 0, false
}

// until waits for f to become true; the test fails after a generous while.
func until(t testing.TB, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still waiting: %s", what)
		}
	}
}
