package control

import (
	"fmt"
	"slices"
	"strings"

	"weft/internal/spec"
)

// AddNetwork makes a network. One that exists with the same properties is no error.
func (c *Controller) AddNetwork(n spec.Network) (spec.NetworkStatus, error) {
	if err := n.Validate(); err != nil {
		return spec.NetworkStatus{}, err
	}
	end, err := c.begin()
	if err != nil {
		return spec.NetworkStatus{}, err
	}
	defer end()
	add := &network{Network: settle(n), origin: byAPI}
	if was := c.networks[n.Name]; was != nil {
		if !same(was.Network, add.Network) {
			return spec.NetworkStatus{}, fmt.Errorf("network %q exists as %s: change it with weft network set %s, or remove it first", n.Name, was, n.Name)
		}
		return c.networkStatus(was), nil
	}
	if err := c.checkNewNetwork(add); err != nil {
		return spec.NetworkStatus{}, err
	}
	err = c.commitDesired(func() { c.networks[n.Name] = add }, func() { delete(c.networks, n.Name) })
	if err != nil {
		return spec.NetworkStatus{}, fmt.Errorf("add network %q: %w", n.Name, err)
	}
	c.log.Info("network added", "network", n.Name, "id", add.ID)
	return c.networkStatus(add), nil
}

// checkNewNetwork refuses what would break networks and peers that are there.
func (c *Controller) checkNewNetwork(add *network) error {
	for _, n := range c.networks {
		if err := clash(add.Network, n.Network); err != nil {
			return err
		}
	}
	for _, p := range c.peers {
		if p.Keyless && len(p.Networks) == 0 && len(c.networks) > 0 {
			return fmt.Errorf("network %q: peer %q has key=none, so it can share one network only, which is %q now: remove the peer and add it with networks=%s",
				add.Name, p.Name, sortedKeys(c.networks)[0], sortedKeys(c.networks)[0])
		}
	}
	if err := c.checkRoutes(add); err != nil {
		return err
	}
	return c.checkHostReach(c.withNetwork(add))
}

// checkRoutes refuses a network, new or changed, with which routes that work now
// would not any more.
func (c *Controller) checkRoutes(n *network) error {
	next := c.withNetwork(n)
	for _, r := range c.broken(next) {
		return fmt.Errorf("network %q: route %s via %s could not stand beside that (%w): remove it first with weft route rm %s --vrf %s",
			n.Name, r.Prefix, r.Via, next.problem(next.vrfs(), r), r.Prefix, r.VRF)
	}
	return nil
}

// SetNetwork changes properties of a network, and its ports with it: addresses
// and default routes in the containers, and, where ch names an MTU, that of the
// ports without one of their own. Either all of it is done or nothing; with dryRun
// nothing is, and the answer tells what would be.
func (c *Controller) SetNetwork(name string, ch spec.NetworkChange, dryRun bool) (spec.NetworkSet, error) {
	end, err := c.begin()
	if err != nil {
		return spec.NetworkSet{}, err
	}
	defer end()
	n, err := c.networkNamed(name)
	if err != nil {
		return spec.NetworkSet{}, err
	}
	next, t, err := c.planSetNetwork(n, ch)
	if err != nil {
		return spec.NetworkSet{}, err
	}
	got := spec.NetworkSet{Ports: []spec.PortChange{}}
	names := portNames(c.endpointList())
	for _, a := range t.alter {
		if !a.same() {
			got.Ports = append(got.Ports, a.portChange(names[a.ep]))
		}
	}
	if !dryRun && !t.empty(c) {
		if err := c.carryOut(t); err != nil {
			return spec.NetworkSet{}, Cured(fmt.Errorf("set network %q: nothing is changed: %w", name, err))
		}
		c.log.Info("network set", "network", name, "now", next.String())
	}
	got.NetworkStatus = c.networkStatus(next)
	got.MTU = c.mtuIn(t.desired, next)
	return got, nil
}

// planSetNetwork works out what a change of n leads to.
func (c *Controller) planSetNetwork(n *network, ch spec.NetworkChange) (*network, *transition, error) {
	want := n.Network.With(ch)
	if err := want.Validate(); err != nil {
		if ch.Prefixes != nil && (ch.Gateways == nil && len(want.Gateways) > 0 || ch.Range == nil && !want.Range.IsZero()) {
			err = fmt.Errorf("%w: say where gateway and range are in the new prefix, or none, with --gateway and --range", err)
		}
		return nil, nil, err
	}
	next := &network{Network: settle(want), origin: n.origin, kept: n.kept}
	if n.origin == declared && !n.kept && !same(n.Network, next.Network) {
		return nil, nil, fmt.Errorf("network %q is declared in %s: change it there and restart weft run", n.Name, c.opt.Source)
	}
	if err := c.checkSetNetwork(n, next); err != nil {
		return nil, nil, err
	}
	t := &transition{desired: c.withNetwork(next), statics: c.statics}
	var err error
	t.alter, err = c.follow(n.Network, next, t.desired, ch.MTU != nil)
	return next, t, err
}

// checkSetNetwork refuses a change of n that other networks or routes stand against.
func (c *Controller) checkSetNetwork(n, next *network) error {
	for _, other := range c.networks {
		if other != n {
			if err := clash(next.Network, other.Network); err != nil {
				return err
			}
		}
	}
	if err := c.checkRoutes(next); err != nil {
		return err
	}
	return c.checkHostReach(c.withNetwork(next))
}

// RemoveNetwork removes a network, with its ports where force is set. One that
// does not exist is no error.
func (c *Controller) RemoveNetwork(name string, force bool) error {
	end, err := c.begin()
	if err != nil {
		return err
	}
	defer end()
	n := c.networks[name]
	if n == nil {
		return nil
	}
	if n.origin == declared && !n.kept {
		return fmt.Errorf("network %q is declared in %s: take it out there and restart weft run", name, c.opt.Source)
	}
	if err := c.checkUnused(n, force); err != nil {
		return err
	}
	if err := c.leaveNetwork(n); err != nil {
		return fmt.Errorf("remove network %q: %w", name, err)
	}
	for _, u := range c.uplinksOf(name) {
		if err := c.removeUplink(u); err != nil {
			return fmt.Errorf("remove network %q: %w", name, err)
		}
	}
	for _, ep := range c.endpointsOf(name) {
		if err := c.detach(ep); err != nil {
			return fmt.Errorf("remove network %q: %w", name, err)
		}
	}
	statics, routes := c.statics, c.routes
	do := func() {
		c.routes = withoutRoutes(routes, c.broken(c.withoutNetwork(name)))
		delete(c.networks, name)
		c.statics = slices.DeleteFunc(slices.Clone(statics), func(s staticRecord) bool { return s.Network == name })
	}
	if err := c.commitDesired(do, func() { c.networks[name], c.statics, c.routes = n, statics, routes }); err != nil {
		return fmt.Errorf("remove network %q: %w", name, err)
	}
	c.log.Info("network removed", "network", name)
	return nil
}

// withoutRoutes returns routes without those of list that were made by command:
// declared ones stay, and status says what they lack.
func withoutRoutes(routes routeTable, list []*route) routeTable {
	routes = routes.clone()
	for _, r := range list {
		if r.origin == byAPI {
			routes.remove(r.key())
		}
	}
	return routes
}

// portsText says how many ports there are, and which.
func portsText(names []string) string {
	if len(names) == 1 {
		return "1 port (" + names[0] + ")"
	}
	return fmt.Sprintf("%d ports (%s)", len(names), strings.Join(names, ", "))
}

// checkUnused refuses to remove a network that ports, peers or routes need.
func (c *Controller) checkUnused(n *network, force bool) error {
	if force {
		return nil
	}
	if c.hostPlace(n.Name) != nil {
		return fmt.Errorf("network %q is exposed: weft hide %s first, or use --force", n.Name, n.Name)
	}
	var ports []string
	for _, ep := range c.endpointsOf(n.Name) {
		ports = append(ports, c.portName(ep))
	}
	if len(ports) > 0 {
		slices.Sort(ports)
		return fmt.Errorf("network %q has %s: detach what is attached, or use --force", n.Name, portsText(ports))
	}
	if list := c.uplinksOf(n.Name); len(list) > 0 {
		return fmt.Errorf("network %q has uplink %s: remove it with weft uplink rm %s %s, or use --force", n.Name, list[0].Device, n.Name, list[0].Device)
	}
	for _, name := range sortedKeys(c.peers) {
		if slices.Contains(c.peers[name].Networks, n.Name) {
			return fmt.Errorf("network %q is shared by name with peer %q: remove the peer, or use --force", n.Name, name)
		}
	}
	if broken := c.broken(c.withoutNetwork(n.Name)); len(broken) > 0 {
		return fmt.Errorf("network %q is used by %s: remove them with weft route rm, or use --force", n.Name, routesText(broken))
	}
	return nil
}
