package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"

	"weft/internal/lab"
)

// kernelBridge is the usual way on one host: a bridge device and a veth pair
// for each container.
func kernelBridge() system {
	return system{
		id: "bridge", name: "kernel bridge + veth", group: oneHost, needs: nothing,
		setUp: func(_ context.Context, b *bed) (from, to container, err error) {
			br, err := b.Switch("host1")
			if err != nil {
				return from, to, err
			}
			var c [2]*lab.NS
			for i, p := range []netip.Prefix{addr1, addr2} {
				if c[i], err = b.Host([]string{"c1", "c2"}[i]); err != nil {
					return from, to, err
				}
				if err = b.Plug(br, lab.End{NS: c[i], Name: "eth1", Addrs: []netip.Prefix{p}}); err != nil {
					return from, to, err
				}
			}
			return containers(c, addr1, addr2)
		},
	}
}

// kernelRouting is two hosts that route, without a tunnel.
func kernelRouting() system {
	return system{
		id: "routing", name: "kernel routing, no tunnel", group: twoHosts, needs: nothing,
		setUp: func(_ context.Context, b *bed) (from, to container, err error) {
			h, c, err := hosts(b)
			if err != nil {
				return from, to, err
			}
			for i, via := range []netip.Prefix{host2, host1} {
				if err := routedContainer(b, h[i], c[i], i); err != nil {
					return from, to, err
				}
				if err := addRoute(h[i], routed(1-i).Masked(), via.Addr(), ""); err != nil {
					return from, to, err
				}
			}
			return containers(c, routed1, routed2)
		},
	}
}

func routed(i int) netip.Prefix { return [2]netip.Prefix{routed1, routed2}[i] }

// routedContainer joins container number i to its host by a veth pair, the host
// being its gateway.
func routedContainer(b *bed, host, c *lab.NS, i int) error {
	own := routed(i)
	gateway := own.Masked().Addr().Next()
	err := b.Link(
		lab.End{NS: c, Name: "eth1", Addrs: []netip.Prefix{own}, MTU: tunnelMTU},
		lab.End{NS: host, Name: "veth1", Addrs: []netip.Prefix{netip.PrefixFrom(gateway, own.Bits())}, MTU: tunnelMTU},
	)
	if err != nil {
		return err
	}
	if err := host.SetSysctl("ipv4/ip_forward", "1"); err != nil {
		return fmt.Errorf("let %s forward: %w", host.Name(), err)
	}
	return addRoute(c, netip.MustParsePrefix("0.0.0.0/0"), gateway, "")
}

// addRoute leads dst to a next hop, or out by an interface.
func addRoute(ns *lab.NS, dst netip.Prefix, via netip.Addr, ifname string) error {
	err := ns.Do(func() error {
		r := netlink.Route{Dst: &net.IPNet{IP: dst.Addr().AsSlice(), Mask: net.CIDRMask(dst.Bits(), dst.Addr().BitLen())}}
		if via.IsValid() {
			r.Gw = via.AsSlice()
		}
		if ifname != "" {
			link, err := netlink.LinkByName(ifname)
			if err != nil {
				return err
			}
			r.LinkIndex = link.Attrs().Index
		}
		return netlink.RouteAdd(&r)
	})
	if err != nil {
		return fmt.Errorf("add route to %s in %s: %w", dst, ns.Name(), err)
	}
	return nil
}

// kernelVXLAN is a bridge on each host, joined by VXLAN devices, as flannel and
// Docker's overlay networks set them up.
func kernelVXLAN() system {
	return system{
		id: "vxlan", name: "kernel bridge + VXLAN", group: twoHosts, needs: nothing,
		setUp: func(_ context.Context, b *bed) (from, to container, err error) {
			h, c, err := hosts(b)
			if err != nil {
				return from, to, err
			}
			local, inner := [2]netip.Prefix{host1, host2}, [2]netip.Prefix{addr1, addr2}
			for i := range h {
				err := b.Link(
					lab.End{NS: c[i], Name: "eth1", Addrs: []netip.Prefix{inner[i]}, MTU: tunnelMTU},
					lab.End{NS: h[i], Name: "veth1", MTU: tunnelMTU},
				)
				if err == nil {
					err = h[i].Do(func() error { return vxlanBridge("veth1", local[i].Addr(), local[1-i].Addr()) })
				}
				if err != nil {
					return from, to, err
				}
			}
			return containers(c, addr1, addr2)
		},
	}
}

// vxlanBridge joins a link and a VXLAN device by a bridge, in the namespace of
// the calling thread.
func vxlanBridge(link string, local, remote netip.Addr) error {
	under, err := netlink.LinkByName("eth0")
	if err != nil {
		return fmt.Errorf("find eth0: %w", err)
	}
	attrs := func(name string) netlink.LinkAttrs {
		a := netlink.NewLinkAttrs()
		a.Name, a.MTU = name, tunnelMTU
		return a
	}
	for _, l := range []netlink.Link{
		&netlink.Bridge{LinkAttrs: attrs("br0")},
		&netlink.Vxlan{
			LinkAttrs: attrs("vxlan7"), VxlanId: 7, SrcAddr: local.AsSlice(), Group: remote.AsSlice(),
			Port: 4789, VtepDevIndex: under.Attrs().Index, Learning: true, UDPCSum: true, // the kernel's defaults
		},
	} {
		if err := netlink.LinkAdd(l); err != nil {
			return fmt.Errorf("make %s: %w", l.Attrs().Name, err)
		}
	}
	br, err := netlink.LinkByName("br0")
	if err != nil {
		return fmt.Errorf("find br0: %w", err)
	}
	for _, name := range []string{link, "vxlan7"} {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return fmt.Errorf("find %s: %w", name, err)
		}
		if err := netlink.LinkSetMaster(l, br); err != nil {
			return fmt.Errorf("put %s on the bridge: %w", name, err)
		}
		if err := netlink.LinkSetUp(l); err != nil {
			return fmt.Errorf("set %s up: %w", name, err)
		}
	}
	if err := netlink.LinkSetUp(br); err != nil {
		return fmt.Errorf("set br0 up: %w", err)
	}
	return nil
}
