package control

import (
	"fmt"
	"iter"
	"net/netip"
	"runtime/debug"
	"slices"

	"weft/dataplane"
	"weft/encap"
	"weft/fib"
	"weft/internal/spec"
)

// Kinds of routes.
const (
	kindConnected = "connected"
	kindStatic    = "static"
)

// Routes returns the routes of one vrf, or of all where name is empty, sorted by
// vrf and prefix, as they are now. Those that are not in use are among them, with
// the reason. The rows may be ranged over once, at any pace: no lock is held.
func (c *Controller) Routes(name string) (iter.Seq[spec.RouteStatus], error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	all := c.vrfs()
	list := routeRows{rows: make([]routeRow, 0, c.routes.len()+2*len(c.networks)), shared: map[spec.RouteStatus]*spec.RouteStatus{}}
	add := func(r spec.RouteStatus) {
		if name == "" || r.VRF == name {
			list.add(r)
		}
	}
	for _, v := range all {
		for _, c := range v.connected {
			add(connectedStatus(v.name, c.network, c.prefix))
		}
	}
	for r := range c.routes.all() {
		add(c.routeStatus(all, r))
	}
	for _, r := range c.hostRouteRows(all) {
		add(r)
	}
	if name != "" && len(list.rows) == 0 { // a vrf that is gone is shown as long as routes wait for it
		if _, err := c.vrfNamed(name); err != nil {
			return nil, err
		}
	}
	return list.sorted(), nil
}

// routeRows are routes as they are shown. What they have in common is kept once:
// there may be a million.
type routeRows struct {
	rows   []routeRow
	shared map[spec.RouteStatus]*spec.RouteStatus
}

type routeRow struct {
	prefix netip.Prefix
	rest   *spec.RouteStatus // without a prefix
}

func (l *routeRows) add(r spec.RouteStatus) {
	p := r.Prefix
	r.Prefix = netip.Prefix{}
	if l.shared[r] == nil {
		l.shared[r] = &r
	}
	l.rows = append(l.rows, routeRow{p, l.shared[r]})
}

// sorted ranges over the rows by vrf and prefix.
func (l *routeRows) sorted() iter.Seq[spec.RouteStatus] {
	slices.SortFunc(l.rows, func(a, b routeRow) int {
		return routeKey{a.rest.VRF, a.prefix}.compare(routeKey{b.rest.VRF, b.prefix})
	})
	return func(yield func(spec.RouteStatus) bool) {
		for _, row := range l.rows {
			r := *row.rest
			r.Prefix = row.prefix
			if !yield(r) {
				break
			}
		}
		if len(l.rows) >= manyRoutes { // as in tidy
			*l = routeRows{}
			debug.FreeOSMemory()
		}
	}
}

// RouteTo returns the route that packets to a take in a vrf, which may be left
// out where there is one. It asks the table that the switch itself uses.
func (c *Controller) RouteTo(a netip.Addr, name string) (spec.RouteStatus, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	v, err := c.vrfNamed(name)
	if err != nil {
		return spec.RouteStatus{}, fmt.Errorf("route to %s: %w", a, err)
	}
	table := c.sw.Routes(v.key)
	if table == nil { // the vrf is being made or removed
		return spec.RouteStatus{}, fmt.Errorf("route to %s: vrf %q is not ready: try again", a, v.name)
	}
	prefix, hop, ok := table.Match(a)
	if !ok {
		return spec.RouteStatus{}, fmt.Errorf("route to %s: there is none in vrf %q: add one with weft route add PREFIX via PEER|ADDR --vrf %s", a, v.name, v.name)
	}
	if r := c.routes.get(routeKey{v.name, prefix}); r != nil && hop.Kind != fib.HopConnected {
		return c.routeStatus(c.vrfs(), r), nil
	}
	for _, n := range v.networks {
		if hop.Kind == fib.HopConnected && c.domains[n.Name].id == dataplane.DomainID(hop.Domain) {
			return connectedStatus(v.name, n, prefix), nil
		}
	}
	for _, r := range c.hostRouteRows(c.vrfs()) {
		if r.VRF == v.name && r.Prefix == prefix {
			return r, nil
		}
	}
	return c.foreignStatus(v, prefix, hop), nil
}

// foreignStatus describes a route that is in the table but not, or no longer,
// among the user's.
func (c *Controller) foreignStatus(v *vrf, prefix netip.Prefix, hop fib.NextHop) spec.RouteStatus {
	s := spec.RouteStatus{Prefix: prefix, Kind: kindStatic, VRF: v.name, Origin: byAPI}
	if hop.Kind == fib.HopPeer {
		_, peers := c.namesByID()
		s.Via = peers[encap.PeerID(hop.Dest.ID())]
	} else {
		s.Via = hop.Via.String()
	}
	return s
}

func connectedStatus(vrf string, n *network, p netip.Prefix) spec.RouteStatus {
	return spec.RouteStatus{Prefix: p, Via: n.Name, Kind: kindConnected, VRF: vrf, Network: n.Name, Origin: n.origin}
}

func (c *Controller) routeStatus(all map[string]*vrf, r *route) spec.RouteStatus {
	s := spec.RouteStatus{Prefix: r.Prefix, Via: r.Via, Kind: kindStatic, VRF: r.VRF, Origin: r.origin}
	if err := c.problem(all, r); err != nil {
		s.Problem = err.Error()
		return s
	}
	if r.addr.IsValid() {
		n, _ := all[r.VRF].connectedAt(r.addr)
		s.Network = n.Name
	}
	return s
}
