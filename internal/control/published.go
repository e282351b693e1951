package control

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"weft/internal/hostnet"
	"weft/internal/spec"
)

// published are ports of the host that lead to a container. It stays when the
// container is detached, and leads there again when that is back.
type published struct {
	spec.Publish
	target    target
	origin    string
	listeners []*hostnet.Listener // that hold the ports; none: problem says why
	problem   string
	leaving   bool // being taken away
}

type publishRecord struct {
	Publish spec.Publish `json:"publish"`
	Origin  string       `json:"origin"`
}

// isDeclaredBy reports whether s is what p was made of.
func (p *published) isDeclaredBy(s spec.Publish) bool {
	_ = s.Validate() // fills in what was left out
	s.Line = 0
	return p.Publish == s
}

// Publish leads ports of the host to a container, which must be attached here.
// Where its network is not exposed yet, that is done too. Ports that lead there
// already are no error.
func (c *Controller) Publish(s spec.Publish) (spec.PublishStatus, error) {
	if err := s.Validate(); err != nil {
		return spec.PublishStatus{}, err
	}
	end, err := c.begin()
	if err != nil {
		return spec.PublishStatus{}, err
	}
	defer end()
	p, err := c.publishPorts(s, byAPI)
	if err != nil {
		return spec.PublishStatus{}, Cured(err)
	}
	return c.publishStatus(p), nil
}

// publishPorts is Publish for one of an origin. The ports are held first, then
// it is noted, and the rules come last.
func (c *Controller) publishPorts(s spec.Publish, origin string) (*published, error) {
	s.Line = 0
	fail := func(err error) (*published, error) { return nil, fmt.Errorf("publish %s: %w", s, err) }
	n, err := c.networkNamed(s.Network)
	if err != nil {
		return fail(err)
	}
	p := &published{Publish: s, origin: origin}
	if p.target, err = parseTarget(s.Target); err != nil {
		return fail(err)
	}
	if ep := c.endpointOf(n.Name, p.target); ep != nil && ep.Target != p.Target { // a container's id, or a path
		p.Target = ep.Target
		if p.target, err = parseTarget(ep.Target); err != nil {
			return fail(err)
		}
	}
	if was, err := c.publishedAs(p); was != nil || err != nil {
		if err != nil {
			return fail(err)
		}
		return was, nil
	}
	if err := c.checkPublish(n, p); err != nil {
		return fail(err)
	}
	if err := c.hold(p); err != nil {
		return fail(err)
	}
	if c.placeToward(n) == nil {
		if _, err := c.expose(n, spec.Expose{Network: n.Name}, hostPart{ForPublish: true, Origin: byAPI}); err != nil {
			return fail(both(fmt.Errorf("expose network %q for it: %w", n.Name, err), p.free()))
		}
	}
	list := c.published
	err = c.commit(func() { c.published = sortPublished(append(slices.Clone(list), p)) }, func() { c.published = list })
	if err == nil {
		if err = c.bringHost(); err != nil {
			err = both(err, c.commit(func() { c.published = list }, func() {}))
			err = both(err, c.bringHost())
		}
	}
	if err != nil {
		return fail(both(both(err, p.free()), c.hideUnused()))
	}
	c.log.Info("ports published", "network", p.Network, "port", p.Target, "ports", p.Ports())
	return p, nil
}

// publishedAs returns the published ports that p is; an error where others have them.
func (c *Controller) publishedAs(p *published) (*published, error) {
	for _, was := range c.published {
		switch {
		case was.Network == p.Network && was.target.key == p.target.key && was.Ports() == p.Ports():
			if p.origin == declared {
				was.origin = declared
			}
			return was, nil
		case was.Overlaps(p.Publish):
			return nil, fmt.Errorf("%s leads to %s in network %q already: weft unpublish %s %s %s first", was.Ports(), was.Target, was.Network, was.Network, was.Target, was.Ports())
		}
	}
	return nil, nil
}

// checkPublish refuses what cannot work.
func (c *Controller) checkPublish(n *network, p *published) error {
	ep := c.endpointOf(n.Name, p.target)
	if ep == nil && p.origin != declared {
		return fmt.Errorf("%s is not attached to network %q on this host: weft attach %s %s first; what is attached elsewhere is published there", p.Target, n.Name, n.Name, p.Target)
	}
	if ep != nil && ep.VLAN != 0 {
		return fmt.Errorf("%s is in VLAN %d of network %q, where the host is not: attach it without --vlan", p.Target, ep.VLAN, n.Name)
	}
	if p.Host.IsValid() {
		own, err := c.sys.addrs()
		if err != nil {
			return err
		}
		if !slices.Contains(own, p.Host) {
			return fmt.Errorf("%s is not an address of this host: choose one that is, or leave it out for every one", p.Host)
		}
	}
	switch {
	case ep == nil || len(c.targetsOf(p)) > 0:
		return nil
	case p.Host.IsValid():
		return fmt.Errorf("%s: choose another address of the host, or none", p.lacksAddress())
	}
	return fmt.Errorf("%s: attach it with one", p.lacksAddress())
}

// lacksAddress says that the target has no address that p can lead to.
func (p *published) lacksAddress() string {
	if p.Host.IsValid() {
		return fmt.Sprintf("%s has no address of the family of %s", p.Target, p.Host)
	}
	return fmt.Sprintf("%s has no address that was given to it here", p.Target)
}

// hold takes the ports of p.
func (c *Controller) hold(p *published) error {
	for i := range p.Count {
		to := p.To + uint16(i)
		l, err := c.sys.listen(p.Proto, p.Host, p.Port+uint16(i), func(client netip.Addr) netip.AddrPort { return c.leadsTo(p, client, to) })
		if err != nil {
			return both(err, p.free())
		}
		p.listeners = append(p.listeners, l)
	}
	c.locked(func() { p.problem = "" })
	return nil
}

// free lets go of the ports of p.
func (p *published) free() (err error) {
	for _, l := range p.listeners {
		if l != nil { // tests hold nothing
			err = both(err, l.Close())
		}
	}
	p.listeners = nil
	return err
}

// leadsTo returns where p leads a client of the host itself.
func (c *Controller) leadsTo(p *published, client netip.Addr, port uint16) netip.AddrPort {
	c.mu.RLock()
	defer c.mu.RUnlock()
	targets := c.targetsOf(p)
	for _, a := range targets {
		if a.Is4() == client.Is4() {
			return netip.AddrPortFrom(a, port)
		}
	}
	if len(targets) > 0 {
		return netip.AddrPortFrom(targets[0], port)
	}
	return netip.AddrPort{}
}

// targetsOf returns the addresses that p leads to: one of each family, or that of
// the host's address; none while the target is not attached.
func (c *Controller) targetsOf(p *published) (list []netip.Addr) {
	ep := c.endpointOf(p.Network, p.target)
	if ep == nil {
		return nil
	}
	for _, a := range ep.Addresses {
		same := func(b netip.Addr) bool { return b.Is4() == a.Addr().Is4() }
		if (!p.Host.IsValid() || same(p.Host)) && !slices.ContainsFunc(list, same) {
			list = append(list, a.Addr())
		}
	}
	return list
}

// publishedPlan returns the rules of the published ports whose targets are there.
func (c *Controller) publishedPlan() (list []hostnet.Published) {
	for _, p := range c.published {
		if p.leaving || c.networks[p.Network] == nil || c.placeToward(c.networks[p.Network]) == nil {
			continue
		}
		for _, a := range c.targetsOf(p) {
			list = append(list, hostnet.Published{
				Proto: p.Proto, Host: p.Host, First: p.Port, Count: p.Count, Target: a, To: p.To, Comment: commentOf(p),
			})
		}
	}
	return list
}

// heldPlan returns the ports that listeners hold.
func (c *Controller) heldPlan() (list []hostnet.Held) {
	for _, p := range c.published {
		if len(p.listeners) > 0 && !p.leaving {
			list = append(list, hostnet.Held{Proto: p.Proto, Host: p.Host, First: p.Port, Count: p.Count, Comment: commentOf(p)})
		}
	}
	return list
}

// commentOf names p for people who list the rules; the kernel takes 128 bytes.
func commentOf(p *published) string {
	s := p.Network + " " + p.Target
	return s[:min(len(s), 120)]
}

// publishedThrough returns what needs a place of the host.
func (c *Controller) publishedThrough(ep *endpoint) (list []*published) {
	for _, p := range c.published {
		if n := c.networks[p.Network]; n != nil && c.placeToward(n) == ep {
			list = append(list, p)
		}
	}
	return list
}

// publishProblem says why p does not lead there, or not from everywhere; empty
// where it does.
func (c *Controller) publishProblem(p *published) string {
	n, ep := c.networks[p.Network], c.endpointOf(p.Network, p.target)
	switch {
	case p.problem != "":
		return p.problem
	case n == nil:
		return fmt.Sprintf("network %q does not exist: add it again, or weft unpublish %s %s", p.Network, p.Network, p.Target)
	case ep == nil:
		return fmt.Sprintf("%s is not attached: weft attach %s %s, or weft unpublish %s %s", p.Target, p.Network, p.Target, p.Network, p.Target)
	}
	if ep.VLAN != 0 {
		return fmt.Sprintf("%s is in VLAN %d of the network, where the host is not: attach it without --vlan", p.Target, ep.VLAN)
	}
	if p.Host.IsValid() && len(c.own) > 0 && !slices.Contains(c.own, p.Host) {
		return fmt.Sprintf("%s is no address of this host any more: give it back, or weft unpublish %s %s %s", p.Host, p.Network, p.Target, p.Ports())
	}
	if len(c.targetsOf(p)) == 0 {
		return fmt.Sprintf("%s: attach it with one, or weft unpublish %s %s %s", p.lacksAddress(), p.Network, p.Target, p.Ports())
	}
	place := c.placeToward(n)
	if place == nil {
		return fmt.Sprintf("the network is not exposed: weft expose %s", p.Network)
	}
	for _, a := range c.targetsOf(p) {
		if why := c.noWayBack(n, ep, place, a); why != "" {
			return why
		}
	}
	return ""
}

// noWayBack says why answers of a container at a to the world do not come to the
// host; empty where they do.
func (c *Controller) noWayBack(n *network, ep, place *endpoint, a netip.Addr) string {
	var host netip.Addr
	for _, p := range place.Addresses {
		if p.Addr().Is4() == a.Is4() {
			host = p.Addr()
		}
	}
	if !host.IsValid() {
		return fmt.Sprintf("the host has no address of the family of %s in network %q: weft hide it and expose it with one", a, place.Network)
	}
	i := slices.IndexFunc(ep.Gateways, func(g netip.Addr) bool { return g.Is4() == a.Is4() })
	if i < 0 {
		return fmt.Sprintf("only this host and its containers reach it, since the container has no default route by the host: attach it with %s@%s, or give network %q a gateway and attach it again", a, host, n.Name)
	}
	gw, _ := n.gatewayFor(a)
	switch ep.Gateways[i] {
	case host:
		return ""
	case gw:
		name, _, _ := vrfOf(n.Network)
		all := netip.PrefixFrom(zeroOf(a), 0)
		if r := c.routes.get(routeKey{name, all}); r != nil && r.addr != host {
			return fmt.Sprintf("only this host and its containers reach it, since the default route of vrf %q leads to %s: remove it with weft route rm %s --vrf %s", name, r.Via, all, name)
		}
		return ""
	}
	return fmt.Sprintf("only this host and its containers reach it, since the container's default route leads to %s: attach it with %s@%s", ep.Gateways[i], a, host)
}

// Unpublish takes published ports away: those of ports, in the form of
// spec.ParsePorts, or all of the target where that is empty. What is not published
// is no error.
func (c *Controller) Unpublish(network, targetText, ports string) error {
	end, err := c.begin()
	if err != nil {
		return err
	}
	defer end()
	t, err := parseTarget(targetText)
	if err != nil {
		return err
	}
	if ports != "" {
		s, err := spec.ParsePorts(ports)
		if err != nil {
			return err
		}
		ports = s.Ports()
		for _, p := range c.published { // one that is named as it is overlaps no other
			if p.Network == network && p.target.key == t.key && p.Ports() != ports && p.Overlaps(s) {
				return fmt.Errorf("unpublish %s: published is %s, which goes as a whole: weft unpublish %s %s %s, then publish what shall stay", ports, p.Ports(), p.Network, p.Target, p.Ports())
			}
		}
	}
	for _, p := range slices.Clone(c.published) {
		if p.Network != network || p.target.key != t.key || ports != "" && p.Ports() != ports {
			continue
		}
		if p.origin == declared {
			return fmt.Errorf("%s of %s is published by %s: take it out there and restart weft run", p.Ports(), p.Target, c.opt.Source)
		}
		if err := c.unpublish(p); err != nil {
			return fmt.Errorf("unpublish %s: %w", p, err)
		}
	}
	return nil
}

// unpublish removes p: the rules, the record, the host's place that was made for it,
// and the sockets, which hold the ports for p until nothing can fail any more.
func (c *Controller) unpublish(p *published) error {
	list := c.published
	back := func() {
		p.leaving = false
		c.published = list
	}
	c.locked(func() { p.leaving = true })
	err := c.bringHost()
	if err == nil {
		err = c.commit(func() { c.published = without(list, p) }, func() {})
	}
	if err == nil {
		err = c.hideUnused()
	}
	if err != nil {
		return both(err, both(c.commit(back, func() {}), c.bringHost()))
	}
	c.log.Info("ports no longer published", "network", p.Network, "port", p.Target, "ports", p.Ports())
	return p.free()
}

// without returns list without p.
func without(list []*published, p *published) []*published {
	return slices.DeleteFunc(slices.Clone(list), func(q *published) bool { return q == p })
}

// forgetPublished takes p out of the maps.
func (c *Controller) forgetPublished(p *published) {
	c.locked(func() { c.published = without(c.published, p) })
}

// hideUnused takes away the places that published ports needed and none needs
// any more.
func (c *Controller) hideUnused() (err error) {
	for _, ep := range c.hostPlaces() {
		if ep.Host.ForPublish && len(c.publishedThrough(ep)) == 0 {
			err = both(err, c.leave(ep))
		}
	}
	return err
}

// Published returns the published ports, sorted.
func (c *Controller) Published() []spec.PublishStatus {
	c.mu.RLock()
	defer c.mu.RUnlock()
	list := []spec.PublishStatus{}
	for _, p := range c.published {
		list = append(list, c.publishStatus(p))
	}
	return list
}

func (c *Controller) publishStatus(p *published) spec.PublishStatus {
	s := spec.PublishStatus{
		Network: p.Network, Target: p.Target, Port: p.Port, Count: p.Count, TargetPort: p.To, Proto: p.Proto, Origin: p.origin,
		Problem: c.publishProblem(p),
	}
	if p.Host.IsValid() {
		s.Host = p.Host.String()
	}
	return s
}

func sortPublished(list []*published) []*published {
	slices.SortFunc(list, func(a, b *published) int {
		if d := strings.Compare(a.Network, b.Network); d != 0 {
			return d
		}
		if d := strings.Compare(a.Target, b.Target); d != 0 {
			return d
		}
		if d := a.Host.Compare(b.Host); d != 0 {
			return d
		}
		if d := int(a.Port) - int(b.Port); d != 0 {
			return d
		}
		return strings.Compare(a.Proto, b.Proto)
	})
	return list
}

// restorePublished takes up the published ports of the last run. A port that is
// taken by now is tried again later.
func (c *Controller) restorePublished(records []publishRecord) {
	for _, r := range records {
		p := &published{Publish: r.Publish, origin: r.Origin}
		err := p.Validate()
		if err == nil {
			p.target, err = parseTarget(p.Target)
		}
		if err != nil {
			c.log.Error("published ports cannot be restored", "network", p.Network, "port", p.Target, "err", err)
			continue
		}
		c.published = append(c.published, p)
	}
	c.published = sortPublished(c.published)
}

// holdPublished takes the ports that are not held yet.
func (c *Controller) holdPublished() {
	for _, p := range c.published {
		if len(p.listeners) > 0 {
			continue
		}
		if err := c.hold(p); err != nil {
			c.locked(func() { p.problem = err.Error() })
		}
	}
}
