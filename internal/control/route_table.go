package control

import (
	"cmp"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"slices"

	"github.com/gaissmai/bart"

	"weft/internal/spec"
)

// routeTable holds static routes. There may be a million of them, with few
// next hops among them, so what they have in common is kept once, and a change
// of one costs the same among many. Copies share their content until clone; the
// zero value takes no routes.
type routeTable struct {
	vrfs  map[string]*bart.Table[*hop] // by vrf; none is empty
	known map[hop]*hop                 // every hop that was ever set; used by writers alone
	saved *savedRoutes
}

// hop is what a route is apart from its key.
type hop struct {
	via    string
	addr   netip.Addr
	origin string
	line   int
}

func newRouteTable() routeTable {
	return routeTable{vrfs: map[string]*bart.Table[*hop]{}, known: map[hop]*hop{}, saved: &savedRoutes{}}
}

func (t routeTable) clone() routeTable {
	c := routeTable{vrfs: make(map[string]*bart.Table[*hop], len(t.vrfs)), known: t.known, saved: t.saved.clone()}
	for name, v := range t.vrfs {
		c.vrfs[name] = v.Clone()
	}
	return c
}

func (t routeTable) len() (n int) {
	for _, v := range t.vrfs {
		n += v.Size()
	}
	return n
}

// get returns a copy of a route; nil where there is none.
func (t routeTable) get(k routeKey) *route {
	if h := t.hop(k); h != nil {
		r := k.with(h)
		return &r
	}
	return nil
}

// everywhere returns the routes of p in every vrf.
func (t routeTable) everywhere(p netip.Prefix) (list []*route) {
	for _, vrf := range sortedKeys(t.vrfs) {
		if r := t.get(routeKey{vrf, p}); r != nil {
			list = append(list, r)
		}
	}
	return list
}

// has reports whether there is a route.
func (t routeTable) has(k routeKey) bool { return t.hop(k) != nil }

func (t routeTable) hop(k routeKey) *hop {
	if v := t.vrfs[k.vrf]; v != nil {
		h, _ := v.Get(k.prefix)
		return h
	}
	return nil
}

// with returns the route that k and h make.
func (k routeKey) with(h *hop) route {
	return route{Route: spec.Route{Prefix: k.prefix, Via: h.via, VRF: k.vrf, Line: h.line}, addr: h.addr, origin: h.origin}
}

// set adds a route or replaces the one with its key.
func (t routeTable) set(r *route) {
	h := hop{via: r.Via, addr: r.addr, origin: r.origin, line: r.Line}
	if t.known[h] == nil {
		t.known[h] = &h
	}
	if t.vrfs[r.VRF] == nil {
		t.vrfs[r.VRF] = new(bart.Table[*hop])
	}
	t.vrfs[r.VRF].Insert(r.Prefix, t.known[h])
	t.saved.note(r.key())
}

func (t routeTable) remove(k routeKey) {
	v := t.vrfs[k.vrf]
	if v == nil {
		return
	}
	if v.Delete(k.prefix); v.Size() == 0 {
		delete(t.vrfs, k.vrf)
	}
	t.saved.note(k)
}

// all ranges over the routes, sorted. Each is valid until the next.
func (t routeTable) all() iter.Seq[*route] {
	return func(yield func(*route) bool) {
		for _, vrf := range sortedKeys(t.vrfs) {
			for r := range t.in(vrf) {
				if !yield(r) {
					return
				}
			}
		}
	}
}

// in ranges over the routes of one vrf, sorted. Each is valid until the next.
func (t routeTable) in(vrf string) iter.Seq[*route] {
	return func(yield func(*route) bool) {
		v := t.vrfs[vrf]
		if v == nil {
			return
		}
		var r route
		for p, h := range v.AllSorted() {
			r = routeKey{vrf, p}.with(h)
			if !yield(&r) {
				return
			}
		}
	}
}

// same reports whether t and o lead the same prefixes to the same next hops.
func (t routeTable) same(o routeTable) bool {
	if t.len() != o.len() {
		return false
	}
	for r := range t.all() {
		if h := o.hop(r.key()); h == nil || h.via != r.Via {
			return false
		}
	}
	return true
}

// hopIn reports whether there is, or was, a route whose next hop is an address
// in p. Only a change of such a prefix can matter to other routes. It does not
// look at all routes.
func (t routeTable) hopIn(p netip.Prefix) bool {
	for h := range t.known {
		if h.addr.IsValid() && p.Contains(h.addr) {
			return true
		}
	}
	return false
}

// leadTo reports whether there is, or was, a route whose next hop is the peer of
// that name. It does not look at all routes.
func (t routeTable) leadTo(peer string) bool {
	for h := range t.known {
		if h.via == peer && !h.addr.IsValid() {
			return true
		}
	}
	return false
}

// routeGroup is the routes with one next hop, as the state has them.
type routeGroup struct {
	VRF      string         `json:"vrf"`
	Via      string         `json:"via,omitempty"`
	Origin   string         `json:"origin,omitempty"`
	Prefixes []netip.Prefix `json:"prefixes"`
}

func (g *routeGroup) compare(o *routeGroup) int {
	return cmp.Or(cmp.Compare(g.VRF, o.VRF), cmp.Compare(g.Via, o.Via), cmp.Compare(g.Origin, o.Origin))
}

// groupRoutes returns routes as the state has them: in whatever order they
// come, the same routes give the same bytes.
func groupRoutes(routes iter.Seq[*route]) json.RawMessage {
	type name struct{ vrf, via, origin string }
	groups := map[name]*routeGroup{}
	for r := range routes {
		n := name{r.VRF, r.Via, r.origin}
		if groups[n] == nil {
			groups[n] = &routeGroup{VRF: n.vrf, Via: n.via, Origin: n.origin}
		}
		groups[n].Prefixes = append(groups[n].Prefixes, r.Prefix)
	}
	list := slices.SortedFunc(maps.Values(groups), (*routeGroup).compare)
	for _, g := range list {
		slices.SortFunc(g.Prefixes, func(a, b netip.Prefix) int { return routeKey{prefix: a}.compare(routeKey{prefix: b}) })
	}
	if list == nil {
		list = []*routeGroup{}
	}
	b, err := json.Marshal(list)
	if err != nil {
		panic(err) // strings and prefixes have a JSON form
	}
	return b
}

// ungroupRoutes reads what groupRoutes wrote or, up to version 2 of the state,
// routes one by one.
func ungroupRoutes(b json.RawMessage) (list []routeRecord, err error) {
	if len(b) == 0 {
		return nil, nil
	}
	var groups []struct {
		routeGroup
		Route *spec.Route `json:"route"` // up to version 2
	}
	if err := json.Unmarshal(b, &groups); err != nil {
		return nil, fmt.Errorf("routes: %w", err)
	}
	for _, g := range groups {
		if g.Route != nil {
			list = append(list, routeRecord{*g.Route, g.Origin})
		}
		list = slices.Grow(list, len(g.Prefixes))
		for _, p := range g.Prefixes {
			list = append(list, routeRecord{spec.Route{Prefix: p, Via: g.Via, VRF: g.VRF}, g.Origin})
		}
	}
	return list, nil
}
