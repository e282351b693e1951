package control

import (
	"fmt"
	"maps"
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
	err = c.commit(func() { c.networks[n.Name] = add }, func() { delete(c.networks, n.Name) })
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
	return c.checkRoutes(add)
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

// SetNetwork changes properties of a network. A new MTU goes to its live ports
// too, but for those that were attached with one of their own.
func (c *Controller) SetNetwork(name string, ch spec.NetworkChange) (spec.NetworkStatus, error) {
	end, err := c.begin()
	if err != nil {
		return spec.NetworkStatus{}, err
	}
	defer end()
	n, err := c.networkNamed(name)
	if err != nil {
		return spec.NetworkStatus{}, err
	}
	was := *n
	next := n.Network.With(ch)
	if err := next.Validate(); err != nil {
		return spec.NetworkStatus{}, err
	}
	next = settle(next)
	if err := c.checkSetNetwork(n, next); err != nil {
		return spec.NetworkStatus{}, err
	}
	if !same(n.Network, next) {
		if err := c.commit(func() { n.Network = next }, func() { *n = was }); err != nil {
			return spec.NetworkStatus{}, fmt.Errorf("set network %q: %w", name, err)
		}
		c.log.Info("network set", "network", name, "now", next.String())
		if n.origin == declared && !n.kept {
			c.log.Warn("declared network changed: the next start takes the declaration again", "network", name, "source", c.opt.Source)
		}
	}
	if ch.MTU != nil {
		if err := c.setPortMTUs(n); err != nil {
			return spec.NetworkStatus{}, fmt.Errorf("set network %q: the network is changed, but %w", name, err)
		}
	}
	return c.networkStatus(n), nil
}

// checkSetNetwork refuses a change of n that other networks or its own ports
// stand against.
func (c *Controller) checkSetNetwork(n *network, next spec.Network) error {
	for _, other := range c.networks {
		if other != n {
			if err := clash(next, other.Network); err != nil {
				return err
			}
		}
	}
	for _, gw := range next.Gateways {
		for _, ep := range c.endpointsOf(n.Name) {
			for _, p := range ep.Addresses {
				if p.Addr() == gw {
					return fmt.Errorf("network %q: gateway %s is the address of port %s: detach it, or choose another gateway", n.Name, gw, c.portName(ep))
				}
			}
		}
	}
	return c.checkRoutes(&network{Network: next, origin: n.origin, kept: n.kept})
}

// setPortMTUs brings the ports of n to the network's MTU.
func (c *Controller) setPortMTUs(n *network) error {
	mtu := c.mtu(n)
	var changed []*endpoint
	for _, ep := range c.endpointsOf(n.Name) {
		if !ep.OwnMTU && ep.MTU != mtu {
			changed = append(changed, ep)
		}
	}
	was := make([]int, len(changed))
	do := func() {
		for i, ep := range changed {
			was[i], ep.MTU = ep.MTU, mtu
		}
	}
	undo := func() {
		for i, ep := range changed {
			ep.MTU = was[i]
		}
	}
	if err := c.commit(do, undo); err != nil {
		return err
	}
	var errs error
	for _, ep := range changed {
		if ep.dev == nil {
			continue
		}
		err := c.sw.SetPortMTU(ep.port, mtu)
		if err == nil {
			err = c.sys.setMTU(ep.namespace(), ep.IfName, mtu)
		}
		if err != nil {
			errs = both(errs, fmt.Errorf("port %s has its old MTU: %w", c.portName(ep), err))
		}
	}
	return errs
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
	if err := c.commit(do, func() { c.networks[name], c.statics, c.routes = n, statics, routes }); err != nil {
		return fmt.Errorf("remove network %q: %w", name, err)
	}
	c.log.Info("network removed", "network", name)
	return nil
}

// withoutRoutes returns routes without those of list that were made by command:
// declared ones stay, and status says what they lack.
func withoutRoutes(routes map[routeKey]*route, list []*route) map[routeKey]*route {
	routes = maps.Clone(routes)
	for _, r := range list {
		if r.origin == byAPI {
			delete(routes, r.key())
		}
	}
	return routes
}

// checkUnused refuses to remove a network that ports, peers or routes need.
func (c *Controller) checkUnused(n *network, force bool) error {
	if force {
		return nil
	}
	var ports []string
	for _, ep := range c.endpointsOf(n.Name) {
		ports = append(ports, c.portName(ep))
	}
	if len(ports) > 0 {
		slices.Sort(ports)
		return fmt.Errorf("network %q has %d ports (%s): detach them, or use --force", n.Name, len(ports), strings.Join(ports, ", "))
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
