package control

import (
	"cmp"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"slices"

	"weft/internal/spec"
)

// routeTable holds static routes. There may be a million of them, with few
// next hops among them, so what they have in common is kept once. Copies share
// their content until Clone; the zero value takes no routes.
type routeTable struct {
	hops  map[routeKey]*hop
	known map[hop]*hop // every hop that was ever set
}

// hop is what a route is apart from its key.
type hop struct {
	via    string
	addr   netip.Addr
	origin string
	line   int
}

func newRouteTable() routeTable {
	return routeTable{hops: map[routeKey]*hop{}, known: map[hop]*hop{}}
}

func (t routeTable) clone() routeTable {
	return routeTable{hops: maps.Clone(t.hops), known: t.known}
}

func (t routeTable) len() int { return len(t.hops) }

// get returns a copy of a route; nil where there is none.
func (t routeTable) get(k routeKey) *route {
	if h := t.hops[k]; h != nil {
		return k.with(h)
	}
	return nil
}

// with returns the route that k and h make.
func (k routeKey) with(h *hop) *route {
	return &route{Route: spec.Route{Prefix: k.prefix, Via: h.via, VRF: k.vrf, Line: h.line}, addr: h.addr, origin: h.origin}
}

// set adds a route or replaces the one with its key.
func (t routeTable) set(r *route) {
	h := hop{via: r.Via, addr: r.addr, origin: r.origin, line: r.Line}
	if t.known[h] == nil {
		t.known[h] = &h
	}
	t.hops[r.key()] = t.known[h]
}

func (t routeTable) remove(k routeKey) { delete(t.hops, k) }

// all ranges over the routes in no order. Each is valid until the next.
func (t routeTable) all() iter.Seq[*route] {
	return func(yield func(*route) bool) {
		var r route
		for k, h := range t.hops {
			r = route{Route: spec.Route{Prefix: k.prefix, Via: h.via, VRF: k.vrf, Line: h.line}, addr: h.addr, origin: h.origin}
			if !yield(&r) {
				return
			}
		}
	}
}

// routeGroup is the routes with one next hop, as the state has them.
type routeGroup struct {
	VRF      string         `json:"vrf"`
	Via      string         `json:"via"`
	Origin   string         `json:"origin"`
	Prefixes []netip.Prefix `json:"prefixes"`
}

func (g *routeGroup) compare(o *routeGroup) int {
	return cmp.Or(cmp.Compare(g.VRF, o.VRF), cmp.Compare(g.Via, o.Via), cmp.Compare(g.Origin, o.Origin))
}

// encode returns the routes as the state has them: equal tables give equal bytes.
func (t routeTable) encode() json.RawMessage {
	type name struct{ vrf, via, origin string }
	groups := map[name]*routeGroup{}
	for k, h := range t.hops {
		n := name{k.vrf, h.via, h.origin}
		if groups[n] == nil {
			groups[n] = &routeGroup{VRF: n.vrf, Via: n.via, Origin: n.origin}
		}
		groups[n].Prefixes = append(groups[n].Prefixes, k.prefix)
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

// decodeRoutes reads what encode wrote or, up to version 2 of the state, routes
// one by one.
func decodeRoutes(b json.RawMessage) (list []routeRecord, err error) {
	if len(b) == 0 {
		return nil, nil
	}
	var groups []struct {
		VRF      string         `json:"vrf"`
		Via      string         `json:"via"`
		Origin   string         `json:"origin"`
		Prefixes []netip.Prefix `json:"prefixes"`
		Route    *spec.Route    `json:"route"` // up to version 2
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
