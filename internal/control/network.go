package control

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"weft/internal/ipam"
	"weft/internal/spec"
)

// defaultAgeing is how many seconds a learned address stays without a frame (802.1D-2004 table 7-5).
const defaultAgeing = 300

// network is a network as it is. Its spec has id and ageing filled in.
type network struct {
	spec.Network
	origin string
	kept   bool // no longer declared, but its ports are attached
	vlan   int  // that is meant of it, see in; 0: the network itself
}

// settle fills in what the user may leave out.
func settle(n spec.Network) spec.Network {
	if n.ID == 0 {
		n.ID = nameID(n.Name)
	}
	if n.Ageing == 0 {
		n.Ageing = defaultAgeing
	}
	return n
}

// same reports whether two settled networks have the same properties.
func same(a, b spec.Network) bool { return a.String() == b.String() }

// clash says why two networks cannot stand beside each other, and nil where they can.
func clash(a, b spec.Network) error {
	if a.ID == b.ID {
		return fmt.Errorf("network %q: id %d is that of network %q too: give one of them another with id=N", a.Name, a.ID, b.Name)
	}
	if err := clashVRF(a, b); err != nil {
		return err
	}
	if a.VRF == "" || a.VRF != b.VRF {
		return nil
	}
	for _, gw := range a.Gateways {
		if slices.Contains(b.Gateways, gw) {
			return fmt.Errorf("network %q: gateway %s is that of network %q too, in the same vrf %q: give one of them another prefix and gateway, or another vrf", a.Name, gw, b.Name, a.VRF)
		}
	}
	for _, p := range a.Prefixes {
		for _, q := range b.Prefixes {
			if p.Overlaps(q) {
				return fmt.Errorf("network %q: prefix %s overlaps %s of network %q in the same vrf %q: give one of them another vrf", a.Name, p, q, b.Name, a.VRF)
			}
		}
	}
	return nil
}

// prefixFor returns the prefix of n that holds a.
func (n *network) prefixFor(a netip.Addr) (netip.Prefix, bool) {
	for _, p := range n.Prefixes {
		if p.Contains(a) {
			return p, true
		}
	}
	return netip.Prefix{}, false
}

// gatewayFor returns the gateway of n of a's family.
func (n *network) gatewayFor(a netip.Addr) (netip.Addr, bool) {
	for _, g := range n.Gateways {
		if g.Is4() == a.Is4() {
			return g, true
		}
	}
	return netip.Addr{}, false
}

// networkNamed returns a network that must exist.
func (c *Controller) networkNamed(name string) (*network, error) {
	if n := c.networks[name]; n != nil {
		return n, nil
	}
	if len(c.networks) == 0 {
		return nil, fmt.Errorf("network %q does not exist: make it with weft network add %s PREFIX", name, name)
	}
	return nil, fmt.Errorf("network %q does not exist: there is %s, or make it with weft network add", name, strings.Join(sortedKeys(c.networks), ", "))
}

// mtu returns the L3 MTU of new ports of n.
func (c *Controller) mtu(n *network) int { return c.mtuIn(c.desired, n) }

// mtuIn returns the L3 MTU of new ports of n, which is one of d: what n says, else
// what fits the underlay to all of its peers, but never less than IP asks of a link.
func (c *Controller) mtuIn(d desired, n *network) int {
	if n.MTU != 0 {
		return n.MTU
	}
	if mtu := c.uplinkMTU(n.Name); mtu != 0 && c.isAlone(n.Name) {
		return max(mtu, leastMTU(n.Prefixes))
	}
	mtu := c.links.first - c.under.Overhead(false)
	for _, p := range d.peers {
		if p.shares(n.Name, d.networks) {
			mtu = min(mtu, c.peerMTU(p))
		}
	}
	return max(mtu, leastMTU(n.Prefixes))
}

// linkMTU returns the largest packet of n that fits the links on which it leaves
// the host, whatever n says; 0 where none needs to be fitted.
func (c *Controller) linkMTU(n *network) (mtu int) {
	if c.isAlone(n.Name) {
		return c.uplinkMTU(n.Name)
	}
	if n.MTU == 0 {
		mtu = c.links.first - c.under.Overhead(false)
	}
	for _, p := range c.peers {
		if p.shares(n.Name, c.networks) {
			if fits := c.links.to(p.Address) - c.under.OverheadTo(p.Address, p.Checksum); mtu == 0 || fits < mtu {
				mtu = fits
			}
		}
	}
	return mtu
}

// leastMTU returns the smallest MTU that a link with these addresses may have.
func leastMTU(prefixes []netip.Prefix) int {
	for _, p := range prefixes {
		if p.Addr().Is6() {
			return spec.MTUMin6
		}
	}
	return spec.MTUMin
}

// pools returns the addresses of n, one pool per prefix, with all taken that
// have a holder: gateways, and endpoints.
func (c *Controller) pools(n *network) ([]*ipam.Pool, error) {
	pools, err := emptyPools(n)
	if err != nil {
		return nil, err
	}
	for ep, name := range portNames(slices.Collect(maps.Values(c.endpoints))) {
		if ep.Network != n.Name {
			continue
		}
		for _, a := range ep.Addresses {
			for _, p := range pools {
				if p.Contains(a.Addr()) {
					_ = p.Claim(a.Addr(), "port "+name) // was free when it was attached
				}
			}
		}
	}
	return pools, nil
}

// Networks returns all networks, sorted by name.
func (c *Controller) Networks() []spec.NetworkStatus {
	c.mu.RLock()
	defer c.mu.RUnlock()
	list := make([]spec.NetworkStatus, 0, len(c.networks))
	for _, name := range sortedKeys(c.networks) {
		list = append(list, c.networkStatus(c.networks[name]))
	}
	return list
}

func (c *Controller) networkStatus(n *network) spec.NetworkStatus {
	return spec.NetworkStatus{
		Name: n.Name, ID: n.ID, VRF: n.VRF, Prefixes: orEmpty(n.Prefixes), Gateways: orEmpty(n.Gateways),
		MTU: c.mtu(n), Ageing: n.Ageing, Range: n.Range.String(), ICC: cmp.Or(n.ICC, "on"), Origin: n.origin,
	}
}
