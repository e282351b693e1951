package control

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"weft/internal/spec"
)

// AddRoute makes a route. One that exists with the same next hop is no error;
// with another it is, unless replace says so.
func (c *Controller) AddRoute(r spec.Route, replace bool) (spec.RouteStatus, error) {
	if err := r.Validate(); err != nil {
		return spec.RouteStatus{}, err
	}
	end, err := c.begin()
	if err != nil {
		return spec.RouteStatus{}, err
	}
	defer end()
	resolved, err := c.resolve(r)
	if err != nil {
		return spec.RouteStatus{}, fmt.Errorf("route %s: %w", r.Prefix, err)
	}
	add := newRoute(resolved, byAPI)
	was := c.routes.get(add.key())
	if was != nil && was.String() == add.String() {
		return c.routeStatus(c.vrfs(), was), nil
	}
	if was != nil {
		if err := replaceable(was, replace); err != nil {
			return spec.RouteStatus{}, fmt.Errorf("route %s: %w", r.Prefix, err)
		}
	}
	err = c.checkNewRoute(add)
	if err == nil {
		err = c.checkHostRoute(add)
	}
	if err != nil {
		return spec.RouteStatus{}, fmt.Errorf("route %s: %w", r.Prefix, err)
	}
	undo := func() { c.routes.remove(add.key()) }
	if was != nil {
		undo = func() { c.routes.set(was) }
	}
	if err := c.commitRoute(add.key(), func() { c.routes.set(add) }, undo); err != nil {
		return spec.RouteStatus{}, fmt.Errorf("add route %s: %w", r.Prefix, err)
	}
	c.log.Info("route added", "prefix", add.Prefix, "via", add.Via, "vrf", add.VRF)
	return c.routeStatus(c.vrfs(), add), nil
}

// checkNewRoute refuses a route that cannot be followed, or takes another's next
// hop away.
func (d desired) checkNewRoute(add *route) error {
	all := d.vrfs()
	if err := d.problem(all, add); err != nil {
		return err
	}
	if r := d.divertedBy(all[add.VRF], add); r != nil {
		return fmt.Errorf("it would lead to the next hop %s of route %s: choose a prefix without that address, or remove that route with weft route rm %s --vrf %s", r.Via, r.Prefix, r.Prefix, r.VRF)
	}
	return nil
}

// divertedBy returns a route of v whose next hop would be reached by add instead
// of directly; nil where there is none.
func (d desired) divertedBy(v *vrf, add *route) *route {
	if !d.routes.hopIn(add.Prefix) {
		return nil
	}
	for r := range d.routes.in(add.VRF) {
		if !r.addr.IsValid() || !add.Prefix.Contains(r.addr) {
			continue
		}
		if n, conn := v.connectedAt(r.addr); n != nil && add.Prefix.Bits() > conn.Bits() {
			return r.copy()
		}
	}
	return nil
}

// RemoveRoute removes a route. One that does not exist is no error.
func (c *Controller) RemoveRoute(prefix netip.Prefix, vrf string) error {
	end, err := c.begin()
	if err != nil {
		return err
	}
	defer end()
	r, err := c.routeToRemove(prefix, vrf)
	if err != nil {
		return fmt.Errorf("route %s: %w", prefix, err)
	}
	if r == nil {
		return c.checkNoHostRoute(prefix, vrf)
	}
	if r.origin == declared {
		return fmt.Errorf("route %s is declared in %s: take it out there and restart weft run", prefix, c.opt.Source)
	}
	if err := c.commitRoute(r.key(), func() { c.routes.remove(r.key()) }, func() { c.routes.set(r) }); err != nil {
		return fmt.Errorf("remove route %s: %w", prefix, err)
	}
	c.log.Info("route removed", "prefix", r.Prefix, "via", r.Via, "vrf", r.VRF)
	return nil
}

// routeToRemove finds a route; nil where there is none. It may be in a vrf that
// is gone.
func (d desired) routeToRemove(prefix netip.Prefix, name string) (*route, error) {
	if !prefix.IsValid() {
		return nil, errors.New("its prefix is missing, as in 172.17.2.0/24")
	}
	if r := d.routes.get(routeKey{name, prefix}); r != nil {
		return r, nil
	}
	v, err := d.vrfNamed(name)
	if err != nil {
		if name == "" && len(d.vrfs()) == 0 {
			if found := d.routes.everywhere(prefix); len(found) == 1 {
				return found[0], nil
			}
		}
		return nil, err
	}
	for _, n := range v.networks {
		if slices.Contains(n.connected(), prefix) {
			return nil, fmt.Errorf("it is connected: it goes when network %s has no gateway any more, as with weft network set %s --gateway none", n.Name, n.Name)
		}
	}
	return d.routes.get(routeKey{v.name, prefix}), nil
}

// routesText names routes, for errors.
func routesText(list []*route) string {
	const few = 5
	var names []string
	for _, r := range list[:min(len(list), few)] {
		names = append(names, fmt.Sprintf("route %s of vrf %q", r.Prefix, r.VRF))
	}
	if n := len(list) - few; n > 0 {
		names = append(names, fmt.Sprintf("%d more", n))
	}
	return strings.Join(names, " and ")
}
