package control

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"weft/internal/spec"
)

// resolve fills in what r leaves open: its vrf, and the name of the peer whose
// underlay address it gives as next hop.
func (d desired) resolve(r spec.Route) (spec.Route, error) {
	v, err := d.vrfNamed(r.VRF)
	if err != nil {
		return r, err
	}
	r.VRF = v.name
	a, ok := r.ViaAddr()
	if !ok {
		return r, nil
	}
	for _, name := range sortedKeys(d.peers) {
		if d.peers[name].Address != a {
			continue
		}
		if n, _ := v.connectedAt(a); n != nil {
			return r, fmt.Errorf("next hop %s is the underlay address of peer %q, and lies in network %q too: name the peer instead, as in via %s", a, name, n.Name, name)
		}
		r.Via = name
	}
	return r, nil
}

// problem says why a route that resolve made cannot be followed as things are,
// and nil where it can. It may be one of d, or be meant to become one.
// all are the vrfs of d.
func (d desired) problem(all map[string]*vrf, r *route) error {
	v := all[r.VRF]
	if v == nil {
		return fmt.Errorf("vrf %q does not exist: no network names it and has a gateway", r.VRF)
	}
	for _, c := range v.connected {
		if c.prefix == r.Prefix {
			return fmt.Errorf("%s is the prefix of network %q, which is connected: choose another, longer or shorter", r.Prefix, c.network.Name)
		}
	}
	if r.addr.IsValid() {
		return d.addrProblem(v, r)
	}
	return d.peerProblem(v, r)
}

// peerProblem is problem for a route via a peer.
func (d desired) peerProblem(v *vrf, r *route) error {
	p := d.peers[r.Via]
	if p == nil {
		return fmt.Errorf("peer %q does not exist: add it first with weft peer add %s ADDR", r.Via, r.Via)
	}
	if err := d.checkCarries(p, v); err != nil {
		return err
	}
	// A default route says that nothing is known of where the rest is, and the
	// tunnel's own datagrams take the host's routes anyhow. Anything longer that
	// holds the tunnel's end is a mistake.
	if r.Prefix.Bits() > 0 && r.Prefix.Contains(p.Address) {
		return fmt.Errorf("it goes through its own tunnel: %s, the underlay address of peer %q, lies in it: choose longer prefixes that leave that address out", p.Address, p.Name)
	}
	return nil
}

// checkCarries refuses a peer that does not have v.
func (d desired) checkCarries(p *peer, v *vrf) error {
	if p.Keyless {
		names, problem := carried(p, d.networks)
		if len(names) != 1 {
			return fmt.Errorf("peer %q has key=none and no network: %w", p.Name, problem)
		}
		if name, _, _ := vrfOf(d.networks[names[0]].Network); name != v.name {
			return fmt.Errorf("peer %q has key=none, so it has the vrf of its network %q alone, and not vrf %q: add it again without key=none, or choose another peer", p.Name, names[0], v.name)
		}
		return nil
	}
	if len(p.Networks) == 0 || p.RoutesOnly() || slices.ContainsFunc(v.networks, func(n *network) bool { return slices.Contains(p.Networks, n.Name) }) {
		return nil
	}
	names := networkNames(v.networks)
	return fmt.Errorf("peer %q does not have vrf %q, since it shares none of its networks (%s): add it again with networks=%s",
		p.Name, v.name, strings.Join(names, ", "), strings.Join(append(slices.Clone(p.Networks), names[0]), "+"))
}

// addrProblem is problem for a route via an address: that has to be in a
// connected prefix, and nothing but that prefix may lead to it. The switch
// looks one step far, so that no route can lead back to itself.
func (d desired) addrProblem(v *vrf, r *route) error {
	a := r.addr
	if a.Is4() != r.Prefix.Addr().Is4() {
		return fmt.Errorf("next hop %s is of another family: choose one of the same, or a peer", a)
	}
	n, conn := v.connectedAt(a)
	if n == nil {
		return fmt.Errorf("next hop %s is neither a peer's address nor in a connected prefix of vrf %q%s", a, v.name, v.connectedText())
	}
	if gw, _ := n.gatewayFor(a); gw == a {
		return fmt.Errorf("next hop %s is the gateway of network %q, which is this switch itself: choose another", a, n.Name)
	}
	if err := (spec.Address{Prefix: netip.PrefixFrom(a, conn.Bits())}).Validate(); err != nil {
		return fmt.Errorf("next hop: %w", err)
	}
	if r.Prefix.Contains(a) && r.Prefix.Bits() > conn.Bits() {
		return fmt.Errorf("it goes via itself: its next hop %s lies in it: choose a next hop outside of %s", a, r.Prefix)
	}
	if via := d.routeToHop(v, r); via != nil {
		return fmt.Errorf("its next hop %s is not reached directly, but by route %s: choose another next hop, or remove that with weft route rm %s --vrf %s", a, via.Prefix, via.Prefix, v.name)
	}
	return nil
}

// routeToHop returns the longest route that leads to r's next hop instead of the
// connected prefix of v, its vrf; nil where none does.
func (d desired) routeToHop(v *vrf, r *route) *route {
	if !r.addr.IsValid() || v == nil {
		return nil
	}
	_, conn := v.connectedAt(r.addr)
	for bits := r.addr.BitLen(); conn.IsValid() && bits > conn.Bits(); bits-- {
		p, _ := r.addr.Prefix(bits)
		if via := d.routes.get(routeKey{r.VRF, p}); via != nil {
			return via
		}
	}
	return nil
}

// connectedText names the connected prefixes of v, for errors.
func (v *vrf) connectedText() string {
	var list []string
	for _, c := range v.connected {
		list = append(list, c.prefix.String())
	}
	if len(list) == 0 {
		return ", which has none: give a network of it a gateway"
	}
	return ": choose one of " + strings.Join(list, ", ")
}
