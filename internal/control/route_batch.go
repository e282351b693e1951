package control

import (
	"fmt"
	"net/netip"

	"weft/internal/spec"
)

// AddRoutes makes many routes in one step, or none where one of them cannot be
// made; the error names its Line. One that exists with the same next hop is no
// error; with another it is, unless replace says so.
func (c *Controller) AddRoutes(list []spec.Route, replace bool) (spec.RoutesAdded, error) {
	end, err := c.begin()
	if err != nil {
		return spec.RoutesAdded{}, err
	}
	defer end()
	next, done, err := c.withRoutes(list, replace)
	if err != nil || next.routes.vrfs == nil {
		return done, err
	}
	was := c.routes
	if err := c.commitDesired(func() { c.routes = next.routes }, func() { c.routes = was }); err != nil {
		return spec.RoutesAdded{}, fmt.Errorf("add routes: %w", err)
	}
	c.log.Info("routes added", "new", done.Added, "replaced", done.Replaced)
	return done, nil
}

// withRoutes returns d with the routes of list, and how many of them are new;
// without a table of routes where none is.
func (d desired) withRoutes(list []spec.Route, replace bool) (next desired, done spec.RoutesAdded, err error) {
	next = d
	next.routes = d.routes.clone()
	all := next.vrfs()
	resolved := map[[2]string]*route{} // by next hop and vrf, on which alone it depends
	var added []int
	for i := range list {
		r := &list[i]
		at := func(err error) error { return fmt.Errorf("line %d: route %s: %w", r.Line, r.Prefix, err) }
		names := [2]string{r.Via, r.VRF}
		common := resolved[names]
		if common == nil {
			full, err := next.resolve(*r)
			if err != nil {
				return desired{}, spec.RoutesAdded{}, at(err)
			}
			common = newRoute(full, byAPI)
			resolved[names] = common
		}
		r.Via, r.VRF = common.Via, common.VRF
		add := common.to(r.Prefix)
		if was := next.routes.get(add.key()); was != nil {
			if was.Via == add.Via {
				done.Unchanged++
				continue
			}
			if err := replaceable(was, replace); err != nil {
				return desired{}, spec.RoutesAdded{}, at(err)
			}
			done.Replaced++
		} else {
			done.Added++
		}
		next.routes.set(&add)
		added = append(added, i)
	}
	if len(added) == 0 {
		return desired{}, done, nil
	}
	for _, i := range added { // when all are there: they may lead to each other's next hops
		r := next.routes.get(routeKey{list[i].VRF, list[i].Prefix})
		if err := next.problem(all, r); err != nil {
			return desired{}, spec.RoutesAdded{}, fmt.Errorf("line %d: route %s: %w", list[i].Line, list[i].Prefix, err)
		}
	}
	return next, done, d.checkDiverted(next, all)
}

// to returns the route of p that leads where r does, and stands on no line.
func (r *route) to(p netip.Prefix) route {
	c := *r
	c.Prefix, c.Line = p, 0
	return c
}

// checkDiverted refuses next where it takes the next hop of a route away that
// works in d.
func (d desired) checkDiverted(next desired, all map[string]*vrf) error {
	type nextHop struct {
		vrf  string
		addr netip.Addr
	}
	seen := map[nextHop]bool{}
	for r := range d.routes.all() {
		n := nextHop{r.VRF, r.addr}
		if !r.addr.IsValid() || seen[n] {
			continue
		}
		seen[n] = true
		if via := next.routeToHop(all[r.VRF], r); via != nil && d.routeToHop(all[r.VRF], r) == nil {
			return fmt.Errorf("route %s would lead to the next hop %s of route %s: leave it out, or remove that route with weft route rm %s --vrf %s", via.Prefix, r.Via, r.Prefix, r.Prefix, r.VRF)
		}
	}
	return nil
}

// replaceable says why a route may not be replaced, and nil where it may.
func replaceable(was *route, replace bool) error {
	switch {
	case !replace:
		return fmt.Errorf("it exists via %s in vrf %q: change it with weft route replace, or remove it with weft route rm %s --vrf %s", was.Via, was.VRF, was.Prefix, was.VRF)
	case was.origin == declared:
		return fmt.Errorf("it is declared, via %s: change it there and restart weft run", was.Via)
	}
	return nil
}
