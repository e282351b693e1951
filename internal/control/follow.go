package control

import (
	"fmt"
	"net/netip"
	"slices"

	"weft/internal/ipam"
	"weft/internal/spec"
)

// place is an endpoint's part of a network that is being planned.
type place struct {
	rec   endpointRecord
	addrs []netip.Prefix // that it has for sure
	free  []netip.Prefix // of the network, from which it gets the next free address
}

// follow returns what the endpoints of a network become when was gives way to
// next. Addresses keep their host part where a prefix gives way to one of the
// same length; those that a prefix still has stay; for all others, and where a
// prefix is new, there is the next free one. Default routes that lead to the
// network's gateway, or to another endpoint of it, follow it. With mtu, the
// endpoints take the network's MTU, those with one of their own excepted.
func (c *Controller) follow(was spec.Network, next *network, in desired, mtu bool) ([]alteration, error) {
	eps := c.endpointsOf(next.Name)
	names := portNames(c.endpointList())
	places := make([]*place, len(eps))
	for i, ep := range eps {
		if len(ep.Addresses) == 0 { // attached without any
			places[i] = &place{rec: ep.endpointRecord}
			continue
		}
		places[i] = moved(was, next, ep.endpointRecord)
		if len(places[i].addrs)+len(places[i].free) == 0 {
			return nil, fmt.Errorf("network %q: port %s has %v alone and would be left without an address: detach it, or keep that prefix", next.Name, names[ep], ep.Addresses)
		}
	}
	if _, err := c.allotUnheld(next, c.lansOf(next.Name), places, func(i int) string { return "port " + names[eps[i]] }); err != nil {
		return nil, err
	}
	list := make([]alteration, len(eps))
	for i, ep := range eps {
		rec := places[i].rec
		rec.Addresses = places[i].addrs
		gws, err := followGateways(was, next, ep.endpointRecord, rec.Addresses, eps, places)
		if err != nil {
			return nil, fmt.Errorf("network %q: port %s: %w", next.Name, names[ep], err)
		}
		if ep.Host == nil { // the host has its own
			rec.Gateways = gws
		}
		if mtu && !rec.OwnMTU {
			rec.MTU = c.portMTU(in, next, rec)
		}
		if least := leastMTU(rec.Addresses); rec.MTU < least {
			if rec.OwnMTU {
				return nil, fmt.Errorf("network %q: port %s has an MTU of its own, %d, and its addresses need at least %d: detach it first", next.Name, names[ep], rec.MTU, least)
			}
			rec.MTU = least
		}
		list[i] = alteration{ep: ep, was: ep.endpointRecord, next: rec}
	}
	return list, nil
}

// followDeclared has the ports follow networks that are declared otherwise than
// they were in the last run.
func (c *Controller) followDeclared(old []networkRecord) {
	for _, r := range old {
		n := c.networks[r.Network.Name]
		if n == nil || slices.Equal(n.Prefixes, r.Network.Prefixes) && slices.Equal(n.Gateways, r.Network.Gateways) && n.MTU == r.Network.MTU {
			continue
		}
		list, err := c.follow(r.Network, n, c.desired, n.MTU != r.Network.MTU)
		if err == nil {
			err = c.carryOut(&transition{desired: c.desired, statics: c.statics, alter: list})
		}
		if err != nil {
			c.log.Error("ports stay as they are while their network is declared anew", "network", n.Name, "reason", err)
		}
	}
}

// moved returns the place in next of an endpoint of was.
func moved(was spec.Network, next *network, rec endpointRecord) *place {
	pl := &place{rec: rec}
	for _, p := range rec.Addresses {
		to, ok := next.PrefixOf(p.Addr())
		from, _ := was.PrefixOf(p.Addr())
		if !ok {
			continue
		}
		a, _ := next.Moved(was, p.Addr())
		bits := max(p.Bits(), to.Bits())
		if p.Bits() == from.Bits() {
			bits = to.Bits()
		}
		kept := netip.PrefixFrom(a, bits)
		if !to.Contains(a) || (spec.Address{Prefix: kept}).Validate() != nil {
			pl.free = append(pl.free, to) // outside of a smaller prefix, or its broadcast address
			continue
		}
		pl.addrs = append(pl.addrs, kept)
	}
	for _, to := range next.Prefixes {
		if _, had := was.PrefixOf(to.Addr()); !had {
			pl.free = append(pl.free, to)
		}
	}
	return pl
}

// allot gives every place its addresses: what it has for sure first, then the next
// free ones of pools, those of held left out. name names a place in errors, i is the
// place that one is about.
func allot(n *network, pools []*ipam.Pool, held map[inVLANOf]string, places []*place, name func(i int) string) (i int, err error) {
	for i, pl := range places {
		for _, p := range pl.addrs {
			for _, pool := range pools {
				if !pool.Contains(p.Addr()) {
					continue
				}
				if err := pool.Claim(p.Addr(), name(i)); err != nil {
					return i, fmt.Errorf("network %q: %s cannot have it: %w: detach one of them, or choose another address", n.Name, name(i), err)
				}
			}
		}
	}
	for at, by := range held {
		for _, pool := range pools {
			_ = pool.Claim(at.addr, by) // a place may have it in another VLAN
		}
	}
	for i, pl := range places {
		for _, want := range pl.free {
			a, err := nextFree(n, pools, want, name(i))
			if err != nil {
				return i, fmt.Errorf("network %q: %w for %s: widen its range or its prefix, or detach what is not needed", n.Name, err, name(i))
			}
			pl.addrs = append(pl.addrs, netip.PrefixFrom(a, want.Bits()))
		}
		slices.SortStableFunc(pl.addrs, func(a, b netip.Prefix) int { return a.Addr().BitLen() - b.Addr().BitLen() })
	}
	return 0, nil
}

// nextFree takes the next free address of a prefix of n for holder.
func nextFree(n *network, pools []*ipam.Pool, prefix netip.Prefix, holder string) (netip.Addr, error) {
	pool := pools[slices.Index(n.Prefixes, prefix)]
	a, err := pool.Next()
	if err == nil {
		err = pool.Claim(a, holder)
	}
	return a, err
}

// emptyPools returns the addresses of n, one pool per prefix, with only the
// gateways taken.
func emptyPools(n *network) ([]*ipam.Pool, error) {
	var pools []*ipam.Pool
	for _, prefix := range n.Prefixes {
		r := n.Range
		if r.From.Is4() != prefix.Addr().Is4() {
			r = spec.Range{}
		}
		p, err := ipam.New(prefix, r.From, r.To)
		if err != nil {
			return nil, fmt.Errorf("network %q: %w", n.Name, err)
		}
		if gw, ok := n.gatewayFor(prefix.Addr()); ok {
			_ = p.Claim(gw, "the network's gateway") // lies inside, as Validate saw to
		}
		pools = append(pools, p)
	}
	return pools, nil
}

// followGateways returns the default routes of an endpoint that has addrs in next.
func followGateways(was spec.Network, next *network, rec endpointRecord, addrs []netip.Prefix, eps []*endpoint, places []*place) ([]netip.Addr, error) {
	if rec.VLAN != 0 { // where no gateway is: all were chosen
		was.Gateways = nil
	}
	var list []netip.Addr
	reached := func(gw netip.Addr) bool {
		return slices.ContainsFunc(addrs, func(p netip.Prefix) bool { return p.Contains(gw) && p.Addr() != gw })
	}
	for _, is4 := range []bool{true, false} {
		i := slices.IndexFunc(rec.Gateways, func(a netip.Addr) bool { return a.Is4() == is4 })
		j := slices.IndexFunc(addrs, func(p netip.Prefix) bool { return p.Addr().Is4() == is4 })
		if j < 0 {
			continue // there is nothing left to send from
		}
		gw, has := next.gatewayFor(addrs[j].Addr())
		has = has && rec.VLAN == 0
		if i >= 0 && !slices.Contains(was.Gateways, rec.Gateways[i]) { // it was chosen with @GW
			gw, has = movedGateway(was, next, rec.Gateways[i], eps, places), true
			if !reached(gw) {
				return nil, fmt.Errorf("its default route via %s would be out of reach of %v: detach it, and attach it with another", gw, addrs)
			}
		}
		if has && reached(gw) { // a longer prefix may leave the network's gateway out
			list = append(list, gw)
		}
	}
	return list, nil
}

// movedGateway returns where the next hop gw of a default route is in next: where
// the endpoint goes that has it, else at the same host part.
func movedGateway(was spec.Network, next *network, gw netip.Addr, eps []*endpoint, places []*place) netip.Addr {
	for i, ep := range eps {
		for _, p := range ep.Addresses {
			if p.Addr() != gw {
				continue
			}
			for _, to := range places[i].addrs {
				if to.Addr().Is4() == gw.Is4() {
					return to.Addr()
				}
			}
		}
	}
	a, _ := next.Moved(was, gw)
	return a
}
