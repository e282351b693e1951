package main

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"weft/internal/lab"
)

// system is one way to join two containers.
type system struct {
	name  string
	group string       // systems of a group do the same work; the first one is what the others are compared with
	needs func() error // nil, or why it cannot run here
	setUp func(context.Context, *bed) (from, to container, err error)
}

// container is one end of a load.
type container struct {
	ns   *lab.NS
	addr netip.Addr
}

// Addresses of the two containers and of the two hosts, everywhere the same.
var (
	addr1 = netip.MustParsePrefix("10.10.0.1/24")
	addr2 = netip.MustParsePrefix("10.10.0.2/24")
	host1 = netip.MustParsePrefix("198.51.100.1/24") // TEST-NET-2 (RFC 5737)
	host2 = netip.MustParsePrefix("198.51.100.2/24")
)

// tunnelMTU is what every system between hosts gives its containers, so that
// all of them send segments of one size: 1500 less weft's room for a tunnel.
const tunnelMTU = 1450

// choose returns the systems that can run here, in the order of measurement,
// and a line for each that cannot.
func choose(weft, only string) (systems []system, missing []string) {
	all := []system{
		kernelBridge(),
		weftLocal(weft),
		openvswitchGRE(),
		weftGRE(weft),
	}
	for _, s := range all {
		if !strings.Contains(s.name, only) {
			continue
		}
		if err := s.needs(); err != nil {
			missing = append(missing, fmt.Sprintf("%s (%v)", s.name, err))
			continue
		}
		systems = append(systems, s)
	}
	return systems, missing
}

func nothing() error { return nil }

// hosts makes two hosts with an underlay of MTU 1500 between them, and one
// container for each.
func hosts(b *bed) (h, c [2]*lab.NS, err error) {
	for i, name := range []string{"host1", "host2"} {
		if h[i], err = b.Host(name); err != nil {
			return h, c, err
		}
	}
	for i, name := range []string{"c1", "c2"} {
		if c[i], err = b.Host(name); err != nil {
			return h, c, err
		}
	}
	return h, c, b.Link(
		lab.End{NS: h[0], Name: "eth0", Addrs: []netip.Prefix{host1}},
		lab.End{NS: h[1], Name: "eth0", Addrs: []netip.Prefix{host2}},
	)
}
