package control

import (
	"cmp"
	"maps"
	"net/netip"

	"weft/internal/spec"
)

// desired is what the user wants, apart from ports: what decides whether
// networks, peers and routes fit each other. A copy with one map changed is how
// a change is tried before it is made.
type desired struct {
	networks map[string]*network
	peers    map[string]*peer
	routes   routeTable
}

// withNetwork returns d with n, under its name, added or replaced.
func (d desired) withNetwork(n *network) desired {
	d.networks = maps.Clone(d.networks)
	d.networks[n.Name] = n
	return d
}

// withoutNetwork returns d without the network name.
func (d desired) withoutNetwork(name string) desired {
	d.networks = maps.Clone(d.networks)
	delete(d.networks, name)
	return d
}

// withoutPeer returns d without the peer name.
func (d desired) withoutPeer(name string) desired {
	d.peers = maps.Clone(d.peers)
	delete(d.peers, name)
	return d
}

// routeList returns all routes, by vrf and prefix.
func (d desired) routeList() []*route {
	list := make([]*route, 0, d.routes.len())
	for r := range d.routes.all() {
		list = append(list, r.copy())
	}
	return list
}

// broken returns the routes that work as things are, and would not as in next.
func (d desired) broken(next desired) (list []*route) {
	now, then := d.vrfs(), next.vrfs()
	for r := range d.routes.all() {
		if d.problem(now, r) == nil && next.problem(then, r) != nil {
			list = append(list, r.copy())
		}
	}
	return list
}

// networkNames returns the names of networks.
func networkNames(list []*network) []string {
	names := make([]string, len(list))
	for i, n := range list {
		names[i] = n.Name
	}
	return names
}

// routeKey tells routes apart.
type routeKey struct {
	vrf    string
	prefix netip.Prefix
}

func (k routeKey) compare(o routeKey) int {
	return cmp.Or(
		cmp.Compare(k.vrf, o.vrf),
		k.prefix.Addr().Compare(o.prefix.Addr()), // IPv4 before IPv6
		cmp.Compare(k.prefix.Bits(), o.prefix.Bits()),
	)
}

// route is a static route as it is: its vrf is filled in, and its next hop is a
// peer's name or an address inside the vrf.
type route struct {
	spec.Route
	addr   netip.Addr // next hop inside the vrf; invalid: Via is a peer
	origin string
}

// newRoute makes a route of what resolve returned.
func newRoute(r spec.Route, origin string) *route {
	a, _ := r.ViaAddr()
	return &route{Route: r, addr: a, origin: origin}
}

func (r *route) copy() *route {
	c := *r
	return &c
}

func (r *route) key() routeKey { return routeKey{r.VRF, r.Prefix} }
