package tap

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weft/internal/header"
)

// configurator sets up one link inside a container. It is used on the thread
// that is in there.
type configurator struct {
	h    *netlink.Handle
	link netlink.Link // carries the index; its name may be out of date
	cfg  Config
}

// all turns a nameless link that is down into what cfg says.
func (c configurator) all() error {
	err := c.h.LinkSetName(c.link, c.cfg.IfName)
	if errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("interface %s: %w: choose another name with -i NAME", c.cfg.IfName, ErrNameTaken)
	}
	if err != nil {
		return fmt.Errorf("name interface %s: %w", c.cfg.IfName, err)
	}
	if err := c.setMAC(); err != nil {
		return err
	}
	if err := c.setMTU(); err != nil {
		return err
	}
	if err := c.setIPv6(); err != nil { // before the link is up: nothing is solicited then
		return err
	}
	c.addLinkLocal()
	if err := c.addAddrs(c.cfg.Addrs); err != nil {
		return err
	}
	if err := c.h.LinkSetUp(c.link); err != nil {
		return fmt.Errorf("set interface %s up: %w", c.cfg.IfName, err)
	}
	for _, gw := range c.cfg.Gateways {
		if err := c.addDefaultRoute(gw); err != nil {
			return err
		}
	}
	return nil
}

// repair puts back, on a TAP that is reopened, what the switch relies on: the
// MAC that it knows the port by, an MTU that is not above the network's, and
// addresses that were taken away, with the default routes that went with them.
// Everything else is the container's: a link that is down stays down.
func (c configurator) repair() error {
	if c.link.Attrs().HardwareAddr.String() != c.cfg.MAC.String() {
		if err := c.setMAC(); err != nil {
			return err
		}
	}
	if c.link.Attrs().MTU > c.cfg.MTU {
		if err := c.setMTU(); err != nil {
			return err
		}
	}
	missing, err := c.missingAddrs()
	if err != nil || len(missing) == 0 {
		return err
	}
	if err := c.setIPv6(); err != nil {
		return err
	}
	if err := c.addAddrs(missing); err != nil {
		return err
	}
	return c.restoreRoutes()
}

func (c configurator) setMAC() error {
	if err := c.h.LinkSetHardwareAddr(c.link, c.cfg.MAC.HardwareAddr()); err != nil {
		return fmt.Errorf("set MAC %v of %s: %w", c.cfg.MAC, c.cfg.IfName, err)
	}
	return nil
}

func (c configurator) setMTU() error {
	if err := c.h.LinkSetMTU(c.link, c.cfg.MTU); err != nil {
		return fmt.Errorf("set MTU %d of %s: %w", c.cfg.MTU, c.cfg.IfName, err)
	}
	return nil
}

// setIPv6 turns off what would give the container addresses that nobody
// manages, has its link-local address made of the MAC (the only one that the
// switch lets pass), and turns IPv6 on where an address asks for it: Docker
// disables it in containers by default. A container without addresses looks for
// some itself, so that it may take those of a router (RFC 4862) as it is set. A
// kernel without IPv6 is an error only for an IPv6 address.
func (c configurator) setIPv6() error {
	dir := "/proc/sys/net/ipv6/conf/" + c.cfg.IfName + "/" // as the thread's namespace has it
	type key struct{ name, value string }
	keys := []key{{"addr_gen_mode", "0"}}
	if len(c.cfg.Addrs) > 0 {
		keys = append(keys, key{"accept_ra", "0"}, key{"autoconf", "0"})
	}
	if c.cfg.wantsIPv6() {
		keys = append(keys, key{"disable_ipv6", "0"})
	}
	for _, k := range keys {
		err := os.WriteFile(dir+k.name, []byte(k.value), 0)
		if errors.Is(err, os.ErrNotExist) {
			if c.cfg.wantsIPv6() {
				return fmt.Errorf("give %s an IPv6 address: this kernel runs without IPv6 (ipv6.disable=1?): attach with an IPv4 address only", c.cfg.IfName)
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("set %s of %s: %w", k.name, c.cfg.IfName, err)
		}
	}
	return nil
}

// addLinkLocal gives the link, before it is up, the link-local address that the
// kernel would make of the MAC, without duplicate address detection: the switch
// lets nobody else have it. The container can use it at once, and half of what it
// would say to all at its start (the question for the address, multicast groups
// joined anew) is not said. Where this is refused IPv6 is off, or the kernel
// makes the address after all.
func (c configurator) addLinkLocal() {
	_ = c.addAddrs([]netip.Prefix{netip.PrefixFrom(header.LinkLocal(c.cfg.MAC), 64)})
}

func (c configurator) addAddrs(addrs []netip.Prefix) error {
	for _, p := range addrs {
		addr := &netlink.Addr{IPNet: ipNet(p)}
		if p.Addr().Is6() {
			addr.Flags = unix.IFA_F_NODAD // addresses are managed; nothing waits a second for them
		}
		if err := c.h.AddrAdd(c.link, addr); err != nil {
			return fmt.Errorf("add address %v to %s: %w", p, c.cfg.IfName, err)
		}
	}
	return nil
}

// missingAddrs returns the addresses of cfg that the link lacks.
func (c configurator) missingAddrs() ([]netip.Prefix, error) {
	list, err := c.h.AddrList(c.link, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list addresses of %s: %w", c.cfg.IfName, err)
	}
	var missing []netip.Prefix
next:
	for _, p := range c.cfg.Addrs {
		for _, a := range list {
			if have, ok := netip.AddrFromSlice(a.IP); ok && have.Unmap() == p.Addr() {
				continue next
			}
		}
		missing = append(missing, p)
	}
	return missing, nil
}

// Metrics of default routes. The first one in a container has the kernel's own;
// later ones stand behind it in the order in which they came, so that the first
// network with a gateway is the way out, and the next takes over when it goes.
const (
	standbyMetric  = 2048 // above the kernel's 0 for IPv4 and 1,024 for IPv6
	standbyMetrics = 64
)

// addDefaultRoute makes gw a way out of the container.
func (c configurator) addDefaultRoute(gw netip.Addr) error {
	r := netlink.Route{LinkIndex: c.link.Attrs().Index, Dst: ipNet(netip.PrefixFrom(anyAddr(gw), 0)), Gw: gw.AsSlice(), Protocol: unix.RTPROT_STATIC}
	err := c.h.RouteAdd(&r)
	for i := 0; errors.Is(err, unix.EEXIST) && i < standbyMetrics; i++ {
		r.Priority = standbyMetric + i
		err = c.h.RouteAdd(&r)
	}
	if err != nil {
		return fmt.Errorf("add default route via %v to %s: %w", gw, c.cfg.IfName, err)
	}
	return nil
}

// restoreRoutes adds the default routes of cfg that the link lacks.
func (c configurator) restoreRoutes() error {
	for _, gw := range c.cfg.Gateways {
		family := netlink.FAMILY_V4
		if gw.Is6() {
			family = netlink.FAMILY_V6
		}
		routes, err := c.h.RouteListFiltered(family, &netlink.Route{LinkIndex: c.link.Attrs().Index, Gw: gw.AsSlice()}, netlink.RT_FILTER_OIF|netlink.RT_FILTER_GW)
		if err != nil {
			return fmt.Errorf("list routes of %s: %w", c.cfg.IfName, err)
		}
		if len(routes) > 0 || c.link.Attrs().Flags&net.FlagUp == 0 {
			continue // a link that is down has no routes; the container sets it up itself
		}
		if err := c.addDefaultRoute(gw); err != nil {
			return err
		}
	}
	return nil
}

// ipNet returns p as netlink wants it, host bits kept.
func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// anyAddr returns 0.0.0.0 or ::, whichever is of a's family.
func anyAddr(a netip.Addr) netip.Addr {
	if a.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}
