package hostnet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// LinkPrefix starts the names of the links of weft on the host.
const LinkPrefix = "weft-"

// protoWeft marks the kernel routes that weft made (rtnetlink(7), rtm_protocol;
// the number is free in /etc/iproute2/rt_protos).
const protoWeft = 119

// HostRoute is a route of the host that weft did not make.
type HostRoute struct {
	Prefix netip.Prefix
	Dev    string // empty: it leads nowhere, as a blackhole
}

// Routes returns the host's routes of the main table and its own addresses, but
// for default routes and for what belongs to links of weft.
func (h *Host) Routes() ([]HostRoute, error) {
	var list []HostRoute
	links, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	names := map[int]string{}
	for _, l := range links {
		names[l.Attrs().Index] = l.Attrs().Name
	}
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	for _, r := range routes {
		p, ok := prefixOf(r.Dst)
		dev := names[r.LinkIndex]
		if !ok || p.Bits() == 0 || strings.HasPrefix(dev, LinkPrefix) || p.Addr().IsLinkLocalUnicast() || p.Addr().IsMulticast() {
			continue
		}
		list = append(list, HostRoute{p, dev})
	}
	addrs, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range addrs {
		ip, ok := netip.AddrFromSlice(a.IP)
		ip = ip.Unmap()
		if dev := names[a.LinkIndex]; ok && !ip.IsLinkLocalUnicast() && !strings.HasPrefix(dev, LinkPrefix) {
			list = append(list, HostRoute{netip.PrefixFrom(ip, ip.BitLen()), dev})
		}
	}
	return list, nil
}

// setRoutes makes the routes through l what the plan says. A link that is gone
// or down is passed over: its routes come with it.
func setRoutes(l Link) (edited bool, err error) {
	link, err := netlink.LinkByName(l.Name)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("find interface %s: %w", l.Name, err)
	}
	if link.Attrs().Flags&net.FlagUp == 0 {
		return false, nil
	}
	have, err := netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{LinkIndex: link.Attrs().Index, Protocol: protoWeft}, netlink.RT_FILTER_OIF|netlink.RT_FILTER_PROTOCOL)
	if err != nil {
		return false, fmt.Errorf("list routes of %s: %w", l.Name, err)
	}
	there := map[Via]bool{}
	for _, r := range have {
		p, _ := prefixOf(r.Dst)
		gw, _ := netip.AddrFromSlice(r.Gw)
		v := Via{p, gw.Unmap()}
		if l.hasRoute(v) {
			there[v] = true
			continue
		}
		if err := netlink.RouteDel(&r); err != nil && !errors.Is(err, unix.ESRCH) {
			return edited, fmt.Errorf("remove route %s from %s: %w", p, l.Name, err)
		}
		edited = true
	}
	for _, v := range l.Routes {
		if there[v] {
			continue
		}
		r := netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(v.Prefix), Gw: v.Gateway.AsSlice(), Protocol: protoWeft}
		for _, a := range l.Addrs {
			if a.Addr().Is4() == v.Prefix.Addr().Is4() && r.Src == nil {
				r.Src = a.Addr().AsSlice()
			}
		}
		if err := netlink.RouteAdd(&r); err != nil && !errors.Is(err, unix.EEXIST) {
			return edited, fmt.Errorf("add route %s via %s to %s: %w", v.Prefix, v.Gateway, l.Name, err)
		}
		edited = true
	}
	return edited, nil
}

func (l Link) hasRoute(v Via) bool {
	for _, w := range l.Routes {
		if v == w {
			return true
		}
	}
	return false
}

// prefixOf returns n as a prefix; nil is no prefix.
func prefixOf(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	a, ok := netip.AddrFromSlice(n.IP)
	ones, bits := n.Mask.Size()
	if !ok || bits == 0 {
		return netip.Prefix{}, false
	}
	if a.Is4In6() && bits == 32 {
		a = a.Unmap()
	}
	return netip.PrefixFrom(a, ones), true
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
