package main

import (
	"context"
	"net/netip"

	"weft/internal/lab"
)

// kernelBridge is the usual way on one host: a bridge device and a veth pair
// for each container.
func kernelBridge() system {
	return system{
		name:  "kernel bridge + veth",
		group: "one host",
		needs: nothing,
		setUp: func(_ context.Context, b *bed) (from, to container, err error) {
			br, err := b.Switch("host1")
			if err != nil {
				return from, to, err
			}
			ends := [2]container{{addr: addr1.Addr()}, {addr: addr2.Addr()}}
			for i, p := range []netip.Prefix{addr1, addr2} {
				if ends[i].ns, err = b.Host([]string{"c1", "c2"}[i]); err != nil {
					return from, to, err
				}
				if err = b.Plug(br, lab.End{NS: ends[i].ns, Name: "eth1", Addrs: []netip.Prefix{p}}); err != nil {
					return from, to, err
				}
			}
			return ends[0], ends[1], nil
		},
	}
}
