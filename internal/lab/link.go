package lab

import (
	"fmt"
	"net"
	"net/netip"
	"unsafe"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// End is one end of a link: where it is, what it is called and what it has.
type End struct {
	NS    *NS
	Name  string // at most 15 bytes
	Addrs []netip.Prefix
	MTU   int              // bytes of an IP packet; 0: 1500
	MAC   net.HardwareAddr // nil: the kernel's choice
}

// Link joins a and b by a veth pair and brings both ends up.
func (l *Lab) Link(a, b End) error {
	if err := l.pair(a, b); err != nil {
		return fmt.Errorf("link %s in %s to %s in %s: %w", a.Name, a.NS.name, b.Name, b.NS.name, err)
	}
	return nil
}

func (l *Lab) pair(a, b End) error {
	far, err := netns.GetFromPath(b.NS.Path())
	if err != nil {
		return err
	}
	defer far.Close()
	err = a.NS.Do(func() error {
		return netlink.LinkAdd(&netlink.Veth{
			LinkAttrs:     netlink.LinkAttrs{Name: a.Name, TxQLen: -1},
			PeerName:      b.Name,
			PeerNamespace: netlink.NsFd(far),
		})
	})
	if err != nil {
		return err
	}
	for _, step := range []func(End) error{End.setUp, End.settle} {
		for _, e := range []End{a, b} {
			if err := step(e); err != nil {
				return err
			}
		}
	}
	return nil
}

// setUp gives the interface its addresses, MTU and MAC, and brings it up.
func (e End) setUp() error {
	return e.NS.Do(func() error {
		link, err := netlink.LinkByName(e.Name)
		if err != nil {
			return fmt.Errorf("find %s: %w", e.Name, err)
		}
		if e.MTU != 0 {
			if err := netlink.LinkSetMTU(link, e.MTU); err != nil {
				return fmt.Errorf("set MTU %d of %s: %w", e.MTU, e.Name, err)
			}
		}
		if e.MAC != nil {
			if err := netlink.LinkSetHardwareAddr(link, e.MAC); err != nil {
				return fmt.Errorf("set MAC %s of %s: %w", e.MAC, e.Name, err)
			}
		}
		for _, p := range e.Addrs {
			if err := netlink.AddrAdd(link, address(p)); err != nil {
				return fmt.Errorf("add address %s to %s: %w", p, e.Name, err)
			}
		}
		return netlink.LinkSetUp(link)
	})
}

// settle makes the kernel act now on the carrier that both ends have since the
// second came up; left alone it may wait a second, and IPv6 with it. Asking for
// the link state does that (net/core/link_watch.c, linkwatch_sync_dev).
func (e End) settle() error {
	value := ethtoolValue{cmd: unix.ETHTOOL_GLINK}
	return e.NS.Do(func() error { return ethtool(e.Name, unsafe.Pointer(&value)) })
}

func address(p netip.Prefix) *netlink.Addr {
	a := &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}}
	if p.Addr().Is6() {
		a.Flags = unix.IFA_F_NODAD // usable at once, without duplicate address detection
	}
	return a
}

// Switch is an Ethernet bridge in a namespace of its own, where more than two
// hosts share an underlay. One goroutine uses it.
type Switch struct {
	ns    *NS
	ports int
}

// Switch makes a bridge without ports.
func (l *Lab) Switch(name string) (*Switch, error) {
	n, err := l.Host(name)
	if err != nil {
		return nil, err
	}
	err = n.Do(func() error {
		br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0", TxQLen: -1}}
		if err := netlink.LinkAdd(br); err != nil {
			return err
		}
		return netlink.LinkSetUp(br)
	})
	if err != nil {
		return nil, fmt.Errorf("make bridge in %s: %w", n.name, err)
	}
	return &Switch{ns: n}, nil
}

// NS returns the namespace that the bridge is in: the place to capture what passes.
func (s *Switch) NS() *NS { return s.ns }

// Plug joins e to the switch by a veth pair whose far end is a port of the
// bridge: port1, port2 and so on.
func (l *Lab) Plug(s *Switch, e End) error {
	s.ports++
	port := End{NS: s.ns, Name: fmt.Sprintf("port%d", s.ports), MTU: e.MTU}
	if err := l.Link(e, port); err != nil {
		return err
	}
	return s.ns.Do(func() error {
		br, err := netlink.LinkByName("br0")
		if err != nil {
			return fmt.Errorf("find bridge in %s: %w", s.ns.name, err)
		}
		p, err := netlink.LinkByName(port.Name)
		if err != nil {
			return fmt.Errorf("find %s in %s: %w", port.Name, s.ns.name, err)
		}
		if err := netlink.LinkSetMaster(p, br); err != nil {
			return fmt.Errorf("put %s on the bridge in %s: %w", port.Name, s.ns.name, err)
		}
		return nil
	})
}

// SetLink brings an interface up or down.
func (n *NS) SetLink(name string, up bool) error {
	return n.Do(func() error {
		link := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: name}}
		if up {
			return netlink.LinkSetUp(link)
		}
		return netlink.LinkSetDown(link)
	})
}

// RemoveLink deletes an interface; both ends of a veth pair go.
func (n *NS) RemoveLink(name string) error {
	return n.Do(func() error {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return fmt.Errorf("find %s in %s: %w", name, n.name, err)
		}
		return netlink.LinkDel(link)
	})
}
