package tap

import (
	"errors"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weft/internal/header"
	"weft/internal/offload"
	"weft/internal/rawdev"
)

// What a container has when the switch goes is what it has when it is back.
func TestReopenKeepsContainer(t *testing.T) {
	c := newContainer(t)
	cfg := testConfig("10.1.1.2/24", "fd00:1::2/64")
	cfg.Gateways = []netip.Addr{netip.MustParseAddr("10.1.1.1"), netip.MustParseAddr("fd00:1::1")}
	d := c.create(cfg)
	link := c.link("eth1")
	c.do(func() error { // and what the container did itself
		return netlink.AddrAdd(link, &netlink.Addr{IPNet: ipNet(netip.MustParsePrefix("192.0.2.1/32"))})
	})
	addrs, gws := c.addrs(link), c.gateways(link)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if down := c.link("eth1"); down == nil || down.Attrs().RawFlags&unix.IFF_LOWER_UP != 0 {
		t.Fatalf("after Close the link is %v, want it without carrier", down)
	}

	d = c.reopen(cfg)
	if !d.Pins() {
		t.Error("Pins() = false, want true")
	}
	if pins, err := rawdev.Pins(d.FD()); !pins || err != nil {
		t.Errorf("pins = %t, %v, want true", pins, err)
	}
	again := c.link("eth1")
	if got, want := again.Attrs().Index, link.Attrs().Index; got != want {
		t.Errorf("ifindex = %d, want %d", got, want)
	}
	if got, want := again.Attrs().HardwareAddr.String(), cfg.MAC.String(); got != want {
		t.Errorf("MAC = %s, want %s", got, want)
	}
	if again.Attrs().RawFlags&unix.IFF_LOWER_UP == 0 {
		t.Error("no carrier")
	}
	if got := c.addrs(again); !reflect.DeepEqual(got, addrs) {
		t.Errorf("addresses = %v, want %v", got, addrs)
	}
	if got := c.gateways(again); !reflect.DeepEqual(got, gws) {
		t.Errorf("default routes = %v, want %v", got, gws)
	}
}

func TestReopenRepairs(t *testing.T) {
	c := newContainer(t)
	cfg := testConfig("10.1.1.2/24", "fd00:1::2/64")
	cfg.Gateways = []netip.Addr{netip.MustParseAddr("10.1.1.1"), netip.MustParseAddr("fd00:1::1")}
	c.create(cfg).Close()
	link := c.link("eth1")
	gws := c.gateways(link)
	c.do(func() error {
		return errors.Join(
			netlink.LinkSetMTU(link, 9000),
			netlink.LinkSetHardwareAddr(link, net.HardwareAddr{2, 0, 0, 0, 0, 9}),
			netlink.AddrDel(link, &netlink.Addr{IPNet: ipNet(cfg.Addrs[0])}),
		)
	})

	c.reopen(cfg)
	a := c.link("eth1").Attrs()
	if a.MTU != cfg.MTU || a.HardwareAddr.String() != cfg.MAC.String() {
		t.Errorf("MTU, MAC = %d, %s, want %d, %s", a.MTU, a.HardwareAddr, cfg.MTU, cfg.MAC)
	}
	if got := c.addrs(link); len(got) != 2 {
		t.Errorf("addresses = %v, want both", got)
	}
	if got := c.gateways(link); !reflect.DeepEqual(got, gws) {
		t.Errorf("default routes = %v, want %v", got, gws)
	}
}

// What a container chose below the network's bounds is its own affair.
func TestReopenLeavesContainersChoice(t *testing.T) {
	c := newContainer(t)
	cfg := testConfig("10.1.1.2/24")
	cfg.Gateways = []netip.Addr{netip.MustParseAddr("10.1.1.1")}
	c.create(cfg).Close()
	link := c.link("eth1")
	c.do(func() error { return errors.Join(netlink.LinkSetMTU(link, 1400), netlink.LinkSetDown(link)) })

	c.reopen(cfg)
	a := c.link("eth1").Attrs()
	if a.MTU != 1400 || a.Flags&net.FlagUp != 0 {
		t.Errorf("MTU, flags = %d, %v, want 1400 and down", a.MTU, a.Flags)
	}
}

// None of these may make a TAP, which TUNSETIFF does for a name that is free.
func TestReopenRefuses(t *testing.T) {
	tests := []struct {
		name string
		make func(c container) error
	}{
		{"nothing there", func(container) error { return nil }},
		{"a bridge", func(c container) error {
			return netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "eth1"}})
		}},
		{"a TUN", func(c container) error {
			return addTuntap("eth1", netlink.TUNTAP_MODE_TUN, netlink.TUNTAP_MULTI_QUEUE_DEFAULTS)
		}},
		{"a TAP without virtio headers", func(c container) error {
			return addTuntap("eth1", netlink.TUNTAP_MODE_TAP, netlink.TUNTAP_DEFAULTS|netlink.TUNTAP_NO_PI)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newContainer(t)
			c.do(func() error { return tt.make(c) })
			before := c.state()
			if _, err := Reopen(c.open(), testConfig()); !errors.Is(err, ErrNoTAP) {
				t.Errorf("error = %v, want ErrNoTAP", err)
			}
			c.unchanged(before)
		})
	}
}

// A TAP that an older weft made has many queues, and works as any other.
func TestReopenManyQueues(t *testing.T) {
	c := newContainer(t)
	cfg := testConfig("10.1.1.2/24")
	c.addManyQueues()
	d := c.reopen(cfg)
	if _, flags, err := rawdev.Interface(d.FD()); err != nil || flags&unix.IFF_MULTI_QUEUE == 0 {
		t.Fatalf("flags of the queue = %#x, %v, want a TAP with many", flags, err)
	}
	link := c.link("eth1")
	c.do(func() error { return netlink.LinkSetUp(link) })
	c.echoes(d, cfg.Addrs[0].Addr())
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d = c.reopen(cfg) // and once more
	c.echoes(d, cfg.Addrs[0].Addr())
	if err := d.Remove(); err != nil {
		t.Fatal(err)
	}
	if c.link("eth1") != nil {
		t.Error("eth1 is still there")
	}
}

// addManyQueues makes the TAP eth1 as an older weft left it, but for its addresses.
func (c container) addManyQueues() {
	c.t.Helper()
	c.do(func() error {
		err := addTuntap("eth1", netlink.TUNTAP_MODE_TAP, netlink.TUNTAP_MULTI_QUEUE_DEFAULTS|netlink.TUNTAP_VNET_HDR)
		if err != nil {
			return err
		}
		link, err := netlink.LinkByName("eth1")
		if err != nil {
			return err
		}
		return netlink.LinkSetHardwareAddr(link, testMAC.HardwareAddr())
	})
}

// echoes asks the container by ARP for its address, and waits for the answer.
func (c container) echoes(d *Device, addr netip.Addr) {
	c.t.Helper()
	question := append(make([]byte, offload.HeaderLen), header.AddressProbe(testMAC+1, addr)...)
	buf := make([]byte, offload.HeaderLen+offload.MaxFrame)
	until(c.t, "answer to ARP", func() bool {
		if err := d.Write(question); err != nil {
			c.t.Fatal(err)
		}
		for {
			n, err := d.Read(buf)
			if err == unix.EAGAIN {
				return false
			}
			if err != nil {
				c.t.Fatal(err)
			}
			if who, mac, ok := header.SpeaksFor(header.Ethernet(buf[offload.HeaderLen:n])); ok && who == addr && mac == testMAC {
				return true
			}
		}
	})
}

// A process that is ending has it open for a moment longer.
func TestReopenWaits(t *testing.T) {
	c := newContainer(t)
	cfg := testConfig("10.1.1.2/24")
	first := c.create(cfg)
	if _, err := Reopen(c.open(), cfg); !errors.Is(err, unix.EBUSY) || !strings.Contains(err.Error(), "another program") {
		t.Errorf("error while it is open = %v, want EBUSY that says why", err)
	}
	time.AfterFunc(50*time.Millisecond, func() { first.Close() })
	c.reopen(cfg)
}

// addTuntap makes a persistent TUN or TAP in the way of ip-tuntap(8).
func addTuntap(name string, mode netlink.TuntapMode, flags netlink.TuntapFlag) error {
	link := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: name}, Mode: mode, Flags: flags, Queues: 1}
	err := netlink.LinkAdd(link)
	for _, f := range link.Fds {
		f.Close()
	}
	return err
}

func TestReopenNoNamespace(t *testing.T) {
	c := newContainer(t)
	ns := c.open()
	if err := c.Remove(); err != nil {
		t.Fatal(err)
	}
	if _, err := Reopen(ns, testConfig()); !errors.Is(err, ErrNoNamespace) {
		t.Errorf("error = %v, want ErrNoNamespace", err)
	}
}

func TestAdopt(t *testing.T) {
	c := newContainer(t)
	cfg := testConfig("10.1.1.2/24")
	d := c.create(cfg)
	dup, err := unix.FcntlInt(uintptr(d.FD()), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.SetNonblock(dup, false); err != nil {
		t.Fatal(err)
	}
	a, err := Adopt(dup)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if a.Pins() {
		t.Error("Pins() = true for a descriptor opened on the host")
	}
	for { // whatever the container's IPv6 said is read; a wait would hang here
		if _, err := a.Read(make([]byte, 70000)); err != nil {
			if err != unix.EAGAIN {
				t.Errorf("Read = %v, want EAGAIN", err)
			}
			break
		}
	}
	if name, err := a.IfName(); name != "eth1" || err != nil {
		t.Errorf("IfName() = %q, %v, want eth1", name, err)
	}
}

// Adopt knows a descriptor that was opened inside.
func TestAdoptPins(t *testing.T) {
	c := newContainer(t)
	c.create(testConfig()).Close()
	d := c.reopen(testConfig())
	dup, err := unix.FcntlInt(uintptr(d.FD()), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	a, err := Adopt(dup)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if !a.Pins() {
		t.Error("Pins() = false for a descriptor opened in the container")
	}
}

func TestAdoptRefuses(t *testing.T) {
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pipe[0])
	defer unix.Close(pipe[1])
	if _, err := Adopt(pipe[0]); err == nil {
		t.Error("Adopt took a pipe")
	}
	if _, err := unix.FcntlInt(uintptr(pipe[0]), unix.F_GETFD, 0); err != nil {
		t.Errorf("the refused descriptor was closed: %v", err)
	}
}

func BenchmarkReopen(b *testing.B) {
	c := newContainer(b)
	cfg := testConfig("10.1.1.2/24", "fd00:1::2/64")
	c.create(cfg).Close()
	ns := c.open()
	for b.Loop() {
		d, err := Reopen(ns, cfg)
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		d.Close()
		b.StartTimer()
	}
}
