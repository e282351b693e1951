package tap

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Change brings the TAP in ns from one Config to another of the same IfName: MAC,
// MTU, addresses and default routes. The link keeps its index, and whatever else
// the container gave it. Only what from has and to has not is taken away, so
// that from may be what is left of several changes; what is so already is no
// error, so that a change can be repeated. An address that stays keeps its place
// before those that come.
//
// Errors wrap ErrNoNamespace and ErrNoTAP, and nothing is changed then. After any
// other, some of it may be: Change with from and to swapped takes that back.
func Change(ns Namespace, from, to Config) error {
	if err := to.check(); err != nil {
		return fmt.Errorf("change TAP: %w", err)
	}
	err := ns.enter(func(h *netlink.Handle) error {
		link, err := findTAP(h, to.IfName)
		if err != nil {
			return err
		}
		return configurator{h, link, to}.change(from)
	})
	if err != nil {
		return fmt.Errorf("change TAP %s in %s: %w", to.IfName, ns.Path, err)
	}
	return nil
}

// change goes through steps of which none needs a later one: IPv6 wants an MTU of
// 1280 for as long as it is there, and a default route an address that reaches it.
func (c configurator) change(from Config) error {
	at := c.link.Attrs()
	if at.HardwareAddr.String() != c.cfg.MAC.String() {
		if err := c.setMAC(); err != nil {
			return err
		}
	}
	if at.MTU < c.cfg.MTU {
		if err := c.setMTU(); err != nil {
			return err
		}
	}
	for _, gw := range from.Gateways {
		if !slices.Contains(c.cfg.Gateways, gw) {
			if err := c.removeDefaultRoutes(gw); err != nil {
				return err
			}
		}
	}
	if err := c.addIPv4(without(c.cfg.Addrs, from.Addrs)); err != nil {
		return err
	}
	if err := c.removeAddrs(without(from.Addrs, c.cfg.Addrs)); err != nil {
		return err
	}
	if at.MTU > c.cfg.MTU {
		if err := c.setMTU(); err != nil {
			return err
		}
	}
	missing, err := c.missingAddrs()
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		if err := c.setIPv6(); err != nil {
			return err
		}
		if err := c.addAddrs(missing); err != nil {
			return err
		}
	}
	return c.restoreRoutes()
}

// without returns the prefixes of list that are not in other.
func without(list, other []netip.Prefix) (rest []netip.Prefix) {
	for _, p := range list {
		if !slices.Contains(other, p) {
			rest = append(rest, p)
		}
	}
	return rest
}

// addIPv4 adds those of addrs that are IPv4, before others go: with its last
// address a link loses all its routes (net/ipv4/fib_frontend.c), the container's
// own too.
func (c configurator) addIPv4(addrs []netip.Prefix) error {
	for _, p := range addrs {
		if !p.Addr().Is4() {
			continue
		}
		if err := c.h.AddrAdd(c.link, &netlink.Addr{IPNet: ipNet(p)}); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("add address %v to %s: %w", p, c.cfg.IfName, err)
		}
	}
	return nil
}

// removeAddrs takes addresses away. A secondary address of IPv4 may go with its
// primary one (net/ipv4/devinet.c); missingAddrs finds it.
func (c configurator) removeAddrs(addrs []netip.Prefix) error {
	for _, p := range addrs {
		err := c.h.AddrDel(c.link, &netlink.Addr{IPNet: ipNet(p)})
		if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) && !errors.Is(err, unix.ENXIO) { // ENXIO: the link has no IPv6
			return fmt.Errorf("remove address %v from %s: %w", p, c.cfg.IfName, err)
		}
	}
	return nil
}

// removeDefaultRoutes takes the default routes via gw on the link away.
func (c configurator) removeDefaultRoutes(gw netip.Addr) error {
	family := netlink.FAMILY_V4
	if gw.Is6() {
		family = netlink.FAMILY_V6
	}
	routes, err := c.h.RouteListFiltered(family, &netlink.Route{LinkIndex: c.link.Attrs().Index, Gw: gw.AsSlice()}, netlink.RT_FILTER_OIF|netlink.RT_FILTER_GW)
	if err != nil {
		return fmt.Errorf("list routes of %s: %w", c.cfg.IfName, err)
	}
	for _, r := range routes {
		if r.Dst != nil {
			if ones, _ := r.Dst.Mask.Size(); ones > 0 {
				continue // the container's own
			}
		}
		if err := c.h.RouteDel(&r); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("remove default route via %v from %s: %w", gw, c.cfg.IfName, err)
		}
	}
	return nil
}
