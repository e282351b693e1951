package main

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"weft/internal/lab"
)

// system is one way to join two containers.
type system struct {
	id, name string
	group    string       // systems of a group do the same work; the reference is what the others are compared with
	needs    func() error // nil, or why it cannot run here
	setUp    func(context.Context, *bed) (from, to container, err error)
}

// Groups, and the system that each is compared with.
const (
	oneHost  = "one host"
	twoHosts = "two hosts"
)

var references = map[string]string{oneHost: "bridge", twoHosts: "vxlan"}

// container is one end of a load.
type container struct {
	ns   *lab.NS
	addr netip.Addr
}

// Addresses of the two containers, bridged and routed, and of the two hosts;
// everywhere the same.
var (
	addr1   = netip.MustParsePrefix("10.10.0.1/24")
	addr2   = netip.MustParsePrefix("10.10.0.2/24")
	routed1 = netip.MustParsePrefix("172.17.1.2/24")
	routed2 = netip.MustParsePrefix("172.17.2.2/24")
	host1   = netip.MustParsePrefix("198.51.100.1/24") // TEST-NET-2 (RFC 5737)
	host2   = netip.MustParsePrefix("198.51.100.2/24")
)

// tunnelMTU is what every system between hosts gives its containers, so that
// all of them send segments of one size: 1500 less weft's room for a tunnel.
const tunnelMTU = 1450

// allSystems in the order of measurement.
func allSystems(weft string) []system {
	return []system{
		kernelBridge(), bareLoop(), weftLocal(weft),
		kernelRouting(), kernelVXLAN(), openvswitchGRE(), wireguardGo(),
		weftGRE(weft), weftGREPlain(weft), weftGREUDP(weft), weftRouted(weft),
	}
}

// choose returns the systems that can run here, and a line for each that cannot.
// only is a list of ids, or parts of names; empty is all.
func choose(all []system, only []string) (systems []system, missing []string, err error) {
	known := map[string]bool{}
	for _, s := range all {
		wanted := len(only) == 0
		for _, word := range only {
			if s.id == word || !slices.ContainsFunc(all, func(s system) bool { return s.id == word }) && strings.Contains(s.name, word) {
				wanted, known[word] = true, true
			}
		}
		if !wanted {
			continue
		}
		if err := s.needs(); err != nil {
			missing = append(missing, fmt.Sprintf("%s (%v)", s.name, err))
			continue
		}
		systems = append(systems, s)
	}
	for _, word := range only {
		if !known[word] {
			var ids []string
			for _, s := range all {
				ids = append(ids, s.id)
			}
			return nil, nil, fmt.Errorf("no system is called %q; there are %s", word, strings.Join(ids, ", "))
		}
	}
	return systems, missing, nil
}

// chooseLoads returns the generators that --loads names.
func chooseLoads(only []string) (chosen []generator, err error) {
	var ids []string
	for _, g := range generators {
		ids = append(ids, g.id)
		if len(only) == 0 && !g.extra || slices.Contains(only, g.id) {
			chosen = append(chosen, g)
		}
	}
	for _, word := range only {
		if !slices.Contains(ids, word) {
			return nil, fmt.Errorf("no load is called %q; there are %s", word, strings.Join(ids, ", "))
		}
	}
	return chosen, nil
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

// containers are the two ends of a load.
func containers(c [2]*lab.NS, a1, a2 netip.Prefix) (from, to container, err error) {
	return container{c[0], a1.Addr()}, container{c[1], a2.Addr()}, nil
}
