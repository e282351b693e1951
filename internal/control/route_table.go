package control

import (
	"cmp"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"sync/atomic"

	"weft/internal/spec"
)

// routeTable holds static routes. There may be a million of them, with few
// next hops and vrfs among them, so what they have in common is kept once: an
// entry takes 24 bytes of a map without pointers. Copies share their content
// until clone; the zero value takes no routes.
type routeTable struct {
	vrfs  map[string]map[packedPrefix]hopIndex
	known *hopList
}

// hopIndex is the place of a hop in a hopList. 0 is none.
type hopIndex uint32

// hopList holds every hop that was ever set.
type hopList struct {
	list  atomic.Pointer[[]hop] // read by anyone, replaced by whoever sets routes
	index map[hop]hopIndex      // of whoever sets routes
}

func newHopList() *hopList {
	l := &hopList{index: map[hop]hopIndex{}}
	l.list.Store(&[]hop{{}})
	return l
}

func (l *hopList) at(i hopIndex) *hop { return &(*l.list.Load())[i] }

// add returns the place of h. Readers that have the shorter list do not see what
// is appended behind it.
func (l *hopList) add(h hop) hopIndex {
	i, ok := l.index[h]
	if !ok {
		list := append(*l.list.Load(), h)
		i = hopIndex(len(list) - 1)
		l.list.Store(&list)
		l.index[h] = i
	}
	return i
}

// packedPrefix is a prefix in 18 bytes instead of the 32 of a netip.Prefix.
type packedPrefix struct {
	addr [16]byte // IPv4 in the first four bytes
	bits uint8
	four bool
}

func pack(p netip.Prefix) (k packedPrefix) {
	k.bits, k.four = uint8(p.Bits()), p.Addr().Is4()
	if k.four {
		b := p.Addr().As4()
		copy(k.addr[:], b[:])
	} else {
		k.addr = p.Addr().As16()
	}
	return k
}

func (k packedPrefix) prefix() netip.Prefix {
	a := netip.AddrFrom16(k.addr)
	if k.four {
		a = netip.AddrFrom4([4]byte(k.addr[:4]))
	}
	return netip.PrefixFrom(a, int(k.bits))
}

// hop is what a route is apart from its key.
type hop struct {
	via    string
	addr   netip.Addr
	origin string
	line   int
}

func newRouteTable() routeTable {
	return routeTable{vrfs: map[string]map[packedPrefix]hopIndex{}, known: newHopList()}
}

func (t routeTable) clone() routeTable {
	c := routeTable{vrfs: make(map[string]map[packedPrefix]hopIndex, len(t.vrfs)), known: t.known}
	for vrf, hops := range t.vrfs {
		c.vrfs[vrf] = maps.Clone(hops)
	}
	return c
}

func (t routeTable) len() (n int) {
	for _, hops := range t.vrfs {
		n += len(hops)
	}
	return n
}

// get returns a copy of a route; nil where there is none.
func (t routeTable) get(k routeKey) *route {
	if i := t.vrfs[k.vrf][pack(k.prefix)]; i != 0 {
		return k.with(t.known.at(i))
	}
	return nil
}

// has reports whether there is a route of k.
func (t routeTable) has(k routeKey) bool { return t.vrfs[k.vrf][pack(k.prefix)] != 0 }

// equal reports whether o leads the same prefixes to the same next hops.
func (t routeTable) equal(o routeTable) bool {
	same := func(a, b hopIndex) bool { return t.known.at(a).via == o.known.at(b).via }
	return maps.EqualFunc(t.vrfs, o.vrfs, func(a, b map[packedPrefix]hopIndex) bool { return maps.EqualFunc(a, b, same) })
}

// with returns the route that k and h make.
func (k routeKey) with(h *hop) *route {
	return &route{Route: spec.Route{Prefix: k.prefix, Via: h.via, VRF: k.vrf, Line: h.line}, addr: h.addr, origin: h.origin}
}

// set adds a route or replaces the one with its key.
func (t routeTable) set(r *route) {
	if t.vrfs[r.VRF] == nil {
		t.vrfs[r.VRF] = map[packedPrefix]hopIndex{}
	}
	t.vrfs[r.VRF][pack(r.Prefix)] = t.known.add(hop{via: r.Via, addr: r.addr, origin: r.origin, line: r.Line})
}

func (t routeTable) remove(k routeKey) {
	delete(t.vrfs[k.vrf], pack(k.prefix))
	if len(t.vrfs[k.vrf]) == 0 {
		delete(t.vrfs, k.vrf)
	}
}

// each ranges over the keys and hops in no order.
func (t routeTable) each() iter.Seq2[routeKey, *hop] {
	return func(yield func(routeKey, *hop) bool) {
		for vrf, hops := range t.vrfs {
			for p, i := range hops {
				if !yield(routeKey{vrf: vrf, prefix: p.prefix()}, t.known.at(i)) {
					return
				}
			}
		}
	}
}

// all ranges over the routes in no order. Each is valid until the next.
func (t routeTable) all() iter.Seq[*route] {
	return func(yield func(*route) bool) {
		var r route
		for k, h := range t.each() {
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
	for k, h := range t.each() {
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
