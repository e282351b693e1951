package control

import (
	"fmt"
	"net/netip"
	"strings"

	"weft/internal/ipam"
	"weft/internal/spec"
)

// chooseAddresses returns the addresses of a new endpoint of n: those that are
// asked for, when they lie in the network and nobody has them, the machines
// behind an uplink neither, else the next free one of each prefix.
func (c *Controller) chooseAddresses(n *network, asked []spec.Address) ([]netip.Prefix, error) {
	pools, err := c.pools(n)
	if err != nil {
		return nil, err
	}
	var list []netip.Prefix
	for _, a := range asked {
		if err := claim(n, pools, a.Prefix.Addr()); err != nil {
			return nil, err
		}
		if err := checkLength(n, a); err != nil {
			return nil, err
		}
		list = append(list, a.Prefix)
	}
	if len(asked) > 0 {
		return list, c.checkUnheld(n, list)
	}
	for i, pool := range pools {
		a, err := c.nextUnheld(n, pool)
		if err != nil {
			return nil, err
		}
		list = append(list, netip.PrefixFrom(a, n.Prefixes[i].Bits()))
	}
	return list, nil
}

// claim takes a from the pool that has it.
func claim(n *network, pools []*ipam.Pool, a netip.Addr) error {
	for _, pool := range pools {
		if pool.Contains(a) {
			if err := pool.Claim(a, "this port"); err != nil {
				return fmt.Errorf("network %q: %w: choose another, or none to get the next free one", n.Name, err)
			}
			return nil
		}
	}
	prefixes := make([]string, len(n.Prefixes))
	for i, p := range n.Prefixes {
		prefixes[i] = p.String()
	}
	return fmt.Errorf("network %q: address %s lies outside its prefix %s: choose one from there", n.Name, a, strings.Join(prefixes, " and "))
}

// checkLength refuses an address whose prefix is wider than the network's: the
// container would look on the link for what lies elsewhere. A narrower one is
// taken as it is written.
func checkLength(n *network, a spec.Address) error {
	p, ok := n.prefixFor(a.Prefix.Addr())
	if !ok || a.Prefix.Bits() >= p.Bits() {
		return nil
	}
	cure := spec.Address{Prefix: netip.PrefixFrom(a.Prefix.Addr(), p.Bits())}
	if a.Gateway.IsValid() && p.Contains(a.Gateway) {
		cure.Gateway = a.Gateway
	}
	return fmt.Errorf("address %s is wider than the /%d of network %q, outside of which the container would look for addresses in vain; maybe you meant %s", a, p.Bits(), n.Name, cure)
}

// chooseGateways returns the default routes of an endpoint, one per family at
// most: the @GW of an address, else the network's gateway where the address
// reaches it.
func chooseGateways(n *network, asked []spec.Address, have []netip.Prefix) []netip.Addr {
	var list []netip.Addr
	for _, is4 := range []bool{true, false} {
		if gw, ok := gatewayOf(n, asked, have, is4); ok {
			list = append(list, gw)
		}
	}
	return list
}

// gatewayOf is chooseGateways for one family.
func gatewayOf(n *network, asked []spec.Address, have []netip.Prefix, is4 bool) (netip.Addr, bool) {
	for _, a := range asked {
		if a.Gateway.IsValid() && a.Gateway.Is4() == is4 {
			return a.Gateway, true // spec saw to it that there is one at most
		}
	}
	if n.vlan != 0 {
		return netip.Addr{}, false
	}
	for _, p := range have {
		if p.Addr().Is4() != is4 {
			continue
		}
		if gw, ok := n.gatewayFor(p.Addr()); ok && p.Contains(gw) { // a longer prefix may leave it out
			return gw, true
		}
	}
	return netip.Addr{}, false
}
