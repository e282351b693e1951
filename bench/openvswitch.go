package main

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"

	"weft/internal/lab"
	"weft/internal/lab/ovs"
)

// openvswitchGRE is Open vSwitch between two hosts as its documentation sets
// it up without a kernel module: userspace datapath, a gre port, a bridge that
// holds the underlay.
func openvswitchGRE() system {
	return system{
		id: "ovs", name: "Open vSwitch userspace GRE", group: twoHosts, needs: ovs.Installed,
		setUp: func(ctx context.Context, b *bed) (from, to container, err error) {
			h, c, err := hosts(b)
			if err != nil {
				return from, to, err
			}
			local, inner := [2]netip.Prefix{host1, host2}, [2]netip.Prefix{addr1, addr2}
			for i := range h {
				if err := ovsHost(ctx, b, h[i], c[i], local[i], local[1-i].Addr(), inner[i]); err != nil {
					return from, to, err
				}
			}
			return containers(c, addr1, addr2)
		},
	}
}

// ovsHost starts a switch on one host and joins its container to it.
func ovsHost(ctx context.Context, b *bed, host, c *lab.NS, local netip.Prefix, remote netip.Addr, inner netip.Prefix) error {
	dir := filepath.Join(b.dir, "ovs"+local.Addr().String())
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	sw, err := ovs.Start(ctx, host, dir)
	if err != nil {
		return err
	}
	b.onClose(sw.Close)
	b.switchedBy(host, sw.PIDs()...)
	if err := b.Link(
		lab.End{NS: c, Name: "eth1", Addrs: []netip.Prefix{inner}, MTU: tunnelMTU},
		lab.End{NS: host, Name: "veth1", MTU: tunnelMTU},
	); err != nil {
		return err
	}
	// Without this TCP through it breaks: see package ovs.
	if err := c.SetFeature("eth1", lab.TxCsum, false); err != nil {
		return err
	}
	if err := sw.Underlay("eth0", local); err != nil {
		return err
	}
	if err := sw.Bridge("br-int", "veth1"); err != nil {
		return err
	}
	return sw.GRE("br-int", "gre0", remote, "key=7")
}
