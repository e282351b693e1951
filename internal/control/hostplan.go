package control

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"weft/fib"
	"weft/internal/hostnet"
	"weft/internal/spec"
)

// hostNet is what control needs of a *hostnet.Host.
type hostNet interface {
	Routes() ([]hostnet.HostRoute, error)
	Sysctls(p hostnet.Plan, known []hostnet.Sysctl) ([]hostnet.Sysctl, error)
	Apply(p hostnet.Plan) error
	Check(p hostnet.Plan) (repaired []string, err error)
	Release(list []hostnet.Sysctl) error
	Barred(p hostnet.Plan) ([]hostnet.Barred, error)
	Clear(list []hostnet.Sysctl) (removed []string, err error)
}

// hostRecord is what weft changed of the host, and how it was before.
type hostRecord struct {
	BootID  string           `json:"boot_id"` // of the boot in which the values hold
	Sysctls []hostnet.Sysctl `json:"sysctls"`
}

// hostFaults are what is wrong around the host's places.
type hostFaults struct {
	err      error // of the last try to set the host up; nil: it is as it should be
	since    time.Time
	repaired string // what others had changed; shown for repairShown
	at       time.Time
	barred   []hostnet.Barred
	overlaps []string
}

// maxHostRoutes is up to how many routes of its vrfs the host follows.
const maxHostRoutes = 4096

// repairShown is how long something that others changed, and weft put back, is
// shown as wrong.
const repairShown = 5 * time.Minute

// prefixesAt returns the prefixes that the host reaches by a place: those of the
// network, of families that it has an address of, and those of the vrf.
func (d desired) prefixesAt(ep *endpoint) (list []netip.Prefix) {
	n := d.networks[ep.Network]
	if n == nil {
		return nil
	}
	for _, p := range n.Prefixes {
		if slices.ContainsFunc(ep.Addresses, func(a netip.Prefix) bool { return a.Addr().Is4() == p.Addr().Is4() }) {
			list = append(list, p)
		}
	}
	for _, v := range d.viasAt(ep) {
		list = append(list, v.Prefix)
	}
	return list
}

// viasAt returns the routes to what lies behind the gateway of ep's network: the
// other prefixes of its vrf, but for the default route, which is the host's own
// business.
func (d desired) viasAt(ep *endpoint) (list []hostnet.Via) {
	n := d.networks[ep.Network]
	name, _, ok := vrfOf(n.Network)
	if !ok || len(n.Gateways) == 0 {
		return nil
	}
	all := d.vrfs()
	add := func(p netip.Prefix) {
		gw, ok := n.gatewayFor(p.Addr())
		has := slices.ContainsFunc(ep.Addresses, func(a netip.Prefix) bool { return a.Addr().Is4() == p.Addr().Is4() })
		if ok && has && p.Bits() > 0 && !slices.Contains(n.Prefixes, p) {
			list = append(list, hostnet.Via{Prefix: p, Gateway: gw})
		}
	}
	for _, conn := range all[name].connected {
		add(conn.prefix)
	}
	if d.routes.len() > maxHostRoutes {
		return list
	}
	for _, r := range d.routeList() {
		if r.VRF == name && d.problem(all, r) == nil {
			add(r.Prefix)
		}
	}
	return list
}

// hostDefaults returns the default routes of v that lead out by the host.
func (c *Controller) hostDefaults(v *vrf) map[netip.Prefix]fib.NextHop {
	hops := map[netip.Prefix]fib.NextHop{}
	for _, ep := range c.hostPlaces() {
		n := c.networks[ep.Network]
		if !slices.Contains(v.networks, n) {
			continue
		}
		for _, a := range ep.Addresses {
			if _, routed := n.gatewayFor(a.Addr()); routed {
				hops[netip.PrefixFrom(zeroOf(a.Addr()), 0)] = fib.NextHop{Kind: fib.HopAddr, Via: a.Addr()}
			}
		}
	}
	return hops
}

// byExpose is the origin of the default routes that lead out by the host.
const byExpose = "expose"

// hostRouteRows returns the default routes that lead out by the host.
func (c *Controller) hostRouteRows(all map[string]*vrf) (list []spec.RouteStatus) {
	for _, v := range all {
		for p, hop := range c.hostDefaults(v) {
			if c.routes.get(routeKey{v.name, p}) != nil {
				continue
			}
			n, _ := v.connectedAt(hop.Via)
			list = append(list, spec.RouteStatus{Prefix: p, Via: hop.Via.String(), Kind: kindStatic, VRF: v.name, Network: n.Name, Origin: byExpose})
		}
	}
	return list
}

// checkNoHostRoute refuses to remove a default route that an exposed network has.
func (c *Controller) checkNoHostRoute(prefix netip.Prefix, vrf string) error {
	v, err := c.vrfNamed(vrf)
	if err != nil {
		return nil // there is none to remove
	}
	for _, r := range c.hostRouteRows(c.vrfs()) {
		if r.Prefix == prefix && r.VRF == v.name {
			return fmt.Errorf("route %s: it leads out by the host, since network %q is exposed: add another in its place, or weft hide %s", prefix, r.Network, r.Network)
		}
	}
	return nil
}

// zeroOf returns 0.0.0.0 or ::, of a's family.
func zeroOf(a netip.Addr) netip.Addr {
	if a.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// hostPlan returns what the host shall look like. A route that another of the
// host's own has come to overlap since is left out, and named.
func (c *Controller) hostPlan() (p hostnet.Plan, overlaps []string) {
	places := c.hostPlaces()
	if len(places) == 0 {
		return p, nil
	}
	routes, err := c.host.Routes()
	if err != nil {
		c.log.Error("host's routes cannot be read", "err", err)
	}
	for _, ep := range places {
		l := hostnet.Link{Name: ep.IfName, SNAT: !ep.Host.NoSNAT, Apart: c.networks[ep.Network].ICC == spec.ICCOff, Addrs: ep.Addresses}
		elsewhere := c.reachedElsewhere(c.desired, ep)
		for _, p := range c.networks[ep.Network].Prefixes { // commands are refused; file and flags may say so
			if q, other, ok := elsewhere.overlap(p); ok {
				overlaps = append(overlaps, fmt.Sprintf("the host does not know whether %s is in network %s or %s, since both are exposed: give one of them another prefix, or weft hide it", q, ep.Network, other))
			}
		}
		for _, v := range c.viasAt(ep) {
			if q, other, ok := elsewhere.overlap(v.Prefix); ok {
				overlaps = append(overlaps, fmt.Sprintf("the host does not reach %s of network %s, since it overlaps %s of network %s: remove one of them", v.Prefix, ep.Network, q, other))
				continue
			}
			if r, ok := overlap(routes, v.Prefix); ok {
				overlaps = append(overlaps, fmt.Sprintf("the host does not reach %s of network %s, since its own route %s is in the way: remove one of them", v.Prefix, ep.Network, r))
				continue
			}
			l.Routes = append(l.Routes, v)
		}
		p.Links = append(p.Links, l)
	}
	if n := c.routes.len(); n > maxHostRoutes {
		overlaps = append(overlaps, fmt.Sprintf("it reaches the prefixes of networks alone, since there are %d routes and it follows %d at most: join some of them", n, maxHostRoutes))
	}
	p.Published, p.Held = c.publishedPlan(), c.heldPlan()
	return p, overlaps
}

// bringHost makes the host what the endpoints and published ports say. change is
// held. Former values of what it changes are on the disk before.
func (c *Controller) bringHost() error {
	_, err := c.setHost(func(p hostnet.Plan) ([]string, error) { return nil, c.host.Apply(p) })
	if err == nil {
		c.lookAtFirewalls()
	}
	return err
}

// setHost brings the host to the plan by means of do.
func (c *Controller) setHost(do func(hostnet.Plan) ([]string, error)) (changed []string, err error) {
	plan, overlaps := c.hostPlan()
	if len(plan.Links) == 0 && !c.hostSet {
		return nil, nil
	}
	bare, former := !c.hostSet, c.sysctls
	if len(plan.Links) > 0 {
		list, err := c.host.Sysctls(plan, c.sysctls)
		if err == nil && !slices.Equal(list, c.sysctls) {
			was := c.sysctls
			c.sysctls = list
			if err = c.save(); err != nil {
				c.sysctls = was
			}
		}
		if err != nil {
			return nil, c.noteHost(err, nil)
		}
		plan.Sysctls, c.hostSet = c.sysctls, true
	}
	if reflect.DeepEqual(plan, c.hostWas) {
		changed, err = do(plan)
	} else {
		err = c.host.Apply(plan)
	}
	if bare && errors.Is(err, hostnet.ErrUntouched) { // it is as bare as it was
		c.sysctls, c.hostSet = former, false
		return nil, both(err, c.save())
	}
	if c.hostWas = plan; err != nil {
		c.hostWas = hostnet.Plan{Links: []hostnet.Link{{}}} // what is there is not known: like no plan
	}
	if err == nil && len(plan.Links) == 0 {
		err = c.releaseHost()
	}
	return changed, c.noteHost(err, overlaps)
}

// followHost sets the host up anew where a change made the plan another. change
// is held.
func (c *Controller) followHost() {
	if !c.hostSet || c.closed {
		return
	}
	plan, _ := c.hostPlan()
	plan.Sysctls = c.sysctls
	if reflect.DeepEqual(plan, c.hostWas) {
		return
	}
	if err := c.bringHost(); err != nil {
		c.log.Error("host is not set up as it should be", "err", err)
	}
}

// releaseHost puts back what was changed of the host itself.
func (c *Controller) releaseHost() error {
	if err := c.host.Release(c.sysctls); err != nil {
		return err
	}
	c.sysctls, c.hostSet, c.hostWas = nil, false, hostnet.Plan{}
	return c.save()
}

// noteHost notes how setting up the host went, for status.
func (c *Controller) noteHost(err error, overlaps []string) error {
	c.locked(func() {
		f := &c.faults.host
		if err != nil && f.err == nil {
			f.since = time.Now()
		}
		f.err, f.overlaps = err, overlaps
	})
	return err
}

// lookAtHost finds and repairs what others changed around the host's places.
// change is held.
func (c *Controller) lookAtHost() {
	repaired := c.mendPlaces()
	c.holdPublished()
	if c.faults.declared != nil {
		c.declareMore()
	}
	changed, err := c.setHost(c.host.Check)
	if err != nil {
		c.log.Error("host is not set up as it should be", "err", err)
	}
	if repaired = append(repaired, changed...); len(repaired) > 0 {
		c.noteRepair(strings.Join(repaired, ", "))
	}
	if err == nil {
		c.lookAtFirewalls()
	}
}

// mendPlaces puts back the host's interfaces that others removed, or changed, and
// says what that was. change is held.
func (c *Controller) mendPlaces() (repaired []string) {
	for _, ep := range c.hostPlaces() {
		if ep.dev == nil {
			if err := c.plugFormer(ep); err != nil {
				c.locked(func() { ep.down = err.Error() })
				continue
			}
			repaired = append(repaired, "interface "+ep.IfName)
		}
		found, err := c.sys.mend(ep.config())
		if len(found) > 0 {
			repaired = append(repaired, fmt.Sprintf("interface %s (it was %s)", ep.IfName, strings.Join(found, ", ")))
		}
		if err != nil {
			c.log.Error("interface of the host is not as it should be", "network", ep.Network, "err", err)
		}
	}
	return repaired
}

// lookAtFirewalls finds the firewalls of others that are in the way.
func (c *Controller) lookAtFirewalls() {
	var barred []hostnet.Barred
	if plan, _ := c.hostPlan(); len(plan.Links) > 0 {
		var err error
		if barred, err = c.host.Barred(plan); err != nil {
			c.log.Error("firewalls of the host cannot be read", "err", err)
		}
	}
	c.locked(func() { c.faults.host.barred = barred })
}

// noteRepair notes what was found changed.
func (c *Controller) noteRepair(what string) {
	c.log.Warn("changed by others, and put back", "reason", what)
	c.locked(func() { c.faults.host.repaired, c.faults.host.at = what, time.Now() })
}

// degradedHost adds what is wrong around the host's places.
func (c *Controller) degradedHost(add addDegraded) {
	f := c.faults.host
	if f.err != nil {
		add(f.since, "host", "it is not set up for what is exposed: %v", f.err)
	}
	if err := c.faults.declared; err != nil {
		add(asSeen, "host", "%v", err)
	}
	if f.repaired != "" && time.Since(f.at) <= repairShown {
		add(f.at, "host", "somebody changed %s, and weft put it back: change it by weft, or weft hide the network first", f.repaired)
	}
	for _, b := range f.barred {
		add(asSeen, "firewall "+b.Chain, "it drops what containers and the world send each other: let it pass with %s", b.Cure)
	}
	for _, text := range f.overlaps {
		add(asSeen, "host", "%s", text)
	}
	for _, p := range c.published {
		if problem := c.publishProblem(p); problem != "" {
			add(asSeen, "published port "+p.Ports(), "%s", problem)
		}
	}
}

// restoreHost takes up what the last run had set up around the host's places, and
// lays what is declared now over it.
func (c *Controller) restoreHost(old *state) {
	if old.Host.BootID == c.boot {
		c.sysctls = old.Host.Sysctls
	}
	c.restorePublished(old.Published)
	c.hostSet = len(c.sysctls)+len(c.published)+len(c.hostPlaces()) > 0
	if !c.hostSet {
		if err := c.host.Apply(hostnet.Plan{}); err != nil { // left by a run whose state is lost, perhaps
			c.log.Debug("nothing is known of the host's rules", "err", err)
		}
	}
	c.declareHost()
}

// declareHost exposes what file and flags declare, and hides what they no longer
// do. What cannot be done is shown in status, and tried again.
func (c *Controller) declareHost() {
	for _, p := range slices.Clone(c.published) {
		if p.origin == declared && !slices.ContainsFunc(c.opt.Config.Published, p.isDeclaredBy) {
			c.forgetPublished(p)
		}
	}
	for _, ep := range c.hostPlaces() {
		i := slices.IndexFunc(c.opt.Config.Exposed, ep.isDeclaredBy)
		if ep.Host.Origin == declared && i < 0 || i >= 0 && ep.exposedOtherwise(c.opt.Config.Exposed[i]) != nil {
			if err := c.leave(ep); err != nil {
				c.log.Error("network stays exposed", "network", ep.Network, "err", err)
			}
		}
	}
	c.holdPublished()
	if repaired := c.mendPlaces(); len(repaired) > 0 {
		c.noteRepair(strings.Join(repaired, ", "))
	}
	if err := c.bringHost(); err != nil {
		c.log.Error("host is not set up as it should be", "err", err)
	}
	if err := c.hideUnused(); err != nil {
		c.log.Error("network stays exposed", "err", err)
	}
	c.declareMore()
}

func (ep *endpoint) isDeclaredBy(e spec.Expose) bool { return e.Network == ep.Network }

// declareMore exposes and publishes what is declared and not there yet.
func (c *Controller) declareMore() {
	var failed error
	for _, e := range c.opt.Config.Exposed {
		n, err := c.networkNamed(e.Network)
		if err == nil {
			_, err = c.expose(n, e, hostPart{NoSNAT: e.NoSNAT, Origin: declared})
		}
		if err != nil {
			failed = fmt.Errorf("expose network %q, as %s declares: %w", e.Network, c.opt.Source, err)
		}
	}
	for _, p := range c.opt.Config.Published {
		if _, err := c.publishPorts(p, declared); err != nil {
			failed = err
		}
	}
	if failed != nil {
		c.log.Error("declared, and not done", "err", failed)
	}
	c.locked(func() { c.faults.declared = failed })
}
