package tap

import (
	"errors"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
)

// What others change of a TAP of the host is found, named, and put back.
func TestMend(t *testing.T) {
	c := newContainer(t)
	cfg := testConfig("10.1.1.2/24", "fd00:1::2/64")
	c.create(cfg)
	mend := func() (found []string) {
		t.Helper()
		c.do(func() (err error) { found, err = Mend(cfg); return err })
		return found
	}
	good := c.addrList()
	link := func() netlink.Link { return c.link("eth1") }
	flush := func() error {
		list, err := netlink.AddrList(link(), netlink.FAMILY_ALL)
		for _, a := range list {
			err = errors.Join(err, netlink.AddrDel(link(), &a))
		}
		return err
	}
	for _, tt := range []struct {
		name string
		do   func() error
		want []string // each begins so
	}{
		{"nothing", func() error { return nil }, nil},
		{"down", func() error { return netlink.LinkSetDown(link()) }, []string{"down", "without fd00:1::2/64"}},
		{"no addresses", flush, []string{"without 10.1.1.2/24", "without fd00:1::2/64", "without fe80::"}},
		{"small", func() error { return netlink.LinkSetMTU(link(), 1280) }, []string{"with MTU 1280"}},
		{"too small for IPv6", func() error { return netlink.LinkSetMTU(link(), 1000) }, []string{"with MTU 1000", "without fd00:1::2/64"}},
		{"MAC", func() error {
			return netlink.LinkSetHardwareAddr(link(), net.HardwareAddr{2, 0, 0, 0, 0, 0x77})
		}, []string{"with MAC 02:00:00:00:00:77"}},
	} {
		c.do(tt.do)
		found := mend()
		if !slices.EqualFunc(found, tt.want, strings.HasPrefix) {
			t.Errorf("%s: found %q, want %q", tt.name, found, tt.want)
		}
		a := link().Attrs()
		if got := c.addrList(); got != good || a.MTU != cfg.MTU || a.HardwareAddr.String() != cfg.MAC.String() || a.Flags&net.FlagUp == 0 {
			t.Errorf("%s: addresses %s, want %s; link is %+v", tt.name, got, good, a)
		}
		if again := mend(); len(again) > 0 {
			t.Errorf("%s: found again %q", tt.name, again)
		}
	}
	c.do(func() error { return netlink.LinkDel(link()) })
	if found := mend(); found != nil {
		t.Errorf("without the TAP: found %q", found)
	}
}
