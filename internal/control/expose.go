package control

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/gaissmai/bart"

	"weft/internal/hostnet"
	"weft/internal/spec"
	"weft/tap"
)

// The host's own place in a network is an endpoint like a container's, in the
// host's namespace: its TAP has addresses of the network, and the switch a port
// for it. What is around it (hostplan.go) follows from the endpoints there are.

// hostTargetName is the target of the host's place, and its port's name.
const hostTargetName = "host"

// hostPart is what an endpoint of the host has beyond a container's.
type hostPart struct {
	NoSNAT     bool   `json:"no_snat,omitempty"`
	ForPublish bool   `json:"for_publish,omitempty"` // made by a published port, and goes with the last one
	Origin     string `json:"origin"`
}

// hostTarget is the target of all of the host's places.
func (c *Controller) hostTarget() target {
	return target{text: hostTargetName, key: c.hostNS.Path, path: c.hostNS.Path, base: hostTargetName}
}

// egressName is what follows hostnet.LinkPrefix in the names of the TAPs by which
// datagrams leave (encap/egress.go).
var egressName = regexp.MustCompile(`^out[0-9]+$`)

// hostLink returns the name of the host's TAP in a network: names over 15 bytes,
// and those that an egress TAP has, end in six hex digits of a hash.
func hostLink(network string) string {
	const max = spec.IfNameMax - len(hostnet.LinkPrefix)
	switch {
	case egressName.MatchString(network):
		return hostnet.LinkPrefix + "out-" + hashDigits(network)
	case len(network) <= max:
		return hostnet.LinkPrefix + network
	}
	return hostnet.LinkPrefix + network[:max-6] + hashDigits(network)
}

// hostPlaces returns the endpoints of the host, by network, but for one that is
// being taken away.
func (c *Controller) hostPlaces() []*endpoint {
	return slices.DeleteFunc(c.endpointList(), func(ep *endpoint) bool { return ep.Host == nil || ep.leaving })
}

// hostPlace returns the host's place in a network; nil where there is none.
func (c *Controller) hostPlace(network string) *endpoint {
	return c.endpoints[endpointKey{network, c.hostNS.Path}]
}

// placeToward returns the host's place by which it reaches a network: the one in
// it, or one in a network of the same vrf; nil where there is none.
func (c *Controller) placeToward(n *network) *endpoint {
	if ep := c.hostPlace(n.Name); ep != nil {
		return ep
	}
	for _, ep := range c.hostPlaces() {
		if sameVRF(n, c.networks[ep.Network]) {
			return ep
		}
	}
	return nil
}

// sameVRF reports whether two networks route to each other.
func sameVRF(a, b *network) bool {
	nameA, _, okA := vrfOf(a.Network)
	nameB, _, okB := vrfOf(b.Network)
	return okA && okB && nameA == nameB && len(a.Gateways) > 0 && len(b.Gateways) > 0
}

// Expose gives the host a place in a network. When the network is exposed like
// that already, it is done.
func (c *Controller) Expose(e spec.Expose) (spec.PortStatus, error) {
	if err := e.Validate(); err != nil {
		return spec.PortStatus{}, err
	}
	end, err := c.begin()
	if err != nil {
		return spec.PortStatus{}, err
	}
	defer end()
	n, err := c.networkNamed(e.Network)
	if err != nil {
		return spec.PortStatus{}, err
	}
	ep, err := c.expose(n, e, hostPart{NoSNAT: e.NoSNAT, Origin: byAPI})
	if err != nil {
		return spec.PortStatus{}, Cured(fmt.Errorf("expose network %q: %w", e.Network, err))
	}
	return c.portStatus(ep, c.portName(ep)), nil
}

// expose is Expose for what can be told apart.
func (c *Controller) expose(n *network, e spec.Expose, part hostPart) (*endpoint, error) {
	if ep := c.hostPlace(n.Name); ep != nil {
		if err := ep.exposedOtherwise(e); err != nil {
			return nil, err
		}
		return ep, c.keepPlace(ep, part)
	}
	ep, err := c.newHostEndpoint(n, e, part)
	if err != nil {
		return nil, err
	}
	c.routesSent = false // the vrf gets a default route
	if err := c.addEndpoint(n, ep); err != nil {
		c.routesSent = false
		if errors.Is(err, tap.ErrNameTaken) {
			err = fmt.Errorf("interface %s is there already: weft cleanup removes what a former run left, else ip link del %s", ep.IfName, ep.IfName)
		}
		return nil, err
	}
	if err := c.bringHost(); err != nil {
		return nil, both(err, c.abandon(ep))
	}
	return ep, nil
}

// exposedOtherwise says what of e is not as ep has it.
func (ep *endpoint) exposedOtherwise(e spec.Expose) error {
	const cure = "weft hide it first to change that"
	have, want := prefixTexts(ep.Addresses), prefixTexts(e.Addresses)
	switch {
	case len(want) > 0 && !slices.Equal(have, want):
		return fmt.Errorf("it is exposed with address %s, not %s: %s", strings.Join(have, " "), strings.Join(want, " "), cure)
	case e.NoSNAT && !ep.Host.NoSNAT:
		return fmt.Errorf("it is exposed with SNAT: %s", cure)
	case !e.NoSNAT && ep.Host.NoSNAT:
		return fmt.Errorf("it is exposed with --no-snat: %s", cure)
	}
	return nil
}

// prefixTexts returns prefixes as text, in order.
func prefixTexts(list []netip.Prefix) []string {
	texts := make([]string, len(list))
	for i, p := range list {
		texts[i] = p.String()
	}
	slices.Sort(texts)
	return texts
}

// keepPlace notes that a place is wanted for itself, and by whom.
func (c *Controller) keepPlace(ep *endpoint, part hostPart) error {
	was := ep.Host
	next := *was
	next.ForPublish = was.ForPublish && part.ForPublish
	if part.Origin == declared {
		next.Origin = declared
	}
	if next == *was {
		return nil
	}
	return c.commit(func() { ep.Host = &next }, func() { ep.Host = was })
}

// newHostEndpoint works out the host's place in n, and refuses what is not
// possible. It changes nothing.
func (c *Controller) newHostEndpoint(n *network, e spec.Expose, part hostPart) (*endpoint, error) {
	for _, other := range c.hostPlaces() {
		if sameVRF(n, c.networks[other.Network]) {
			name, _, _ := vrfOf(n.Network)
			return nil, fmt.Errorf("the host is in vrf %q already, by network %q, and reaches this one through it: nothing is missing, or weft hide %s first", name, other.Network, other.Network)
		}
	}
	a := spec.Attach{Network: n.Name, Target: hostTargetName, IfName: hostLink(n.Name)}
	for _, p := range e.Addresses {
		a.Addresses = append(a.Addresses, spec.Address{Prefix: p})
	}
	ep, err := c.newEndpoint(n, c.hostTarget(), c.hostNS, a)
	if err != nil {
		return nil, err
	}
	ep.Host, ep.Gateways = &part, nil
	return ep, c.checkHostRoutes(c.desired, ep)
}

// checkHostRoutes refuses a place whose prefixes, as in d, the host reaches
// otherwise: it would be cut off from what is there, perhaps from all.
func (c *Controller) checkHostRoutes(d desired, ep *endpoint) error {
	routes, err := c.host.Routes()
	if err != nil {
		return err
	}
	elsewhere := c.reachedElsewhere(d, ep)
	for _, p := range d.prefixesAt(ep) {
		if q, other, ok := elsewhere.overlap(p); ok {
			return fmt.Errorf("prefix %s overlaps %s of network %q, which is exposed: the host would not know which one is meant: give one of them another prefix, or weft hide %s", p, q, other, other)
		}
		if r, ok := overlap(routes, p); ok {
			return fmt.Errorf("prefix %s overlaps the host's own route %s: give the network another prefix, or remove that route if nothing needs it", p, r)
		}
		for _, name := range sortedKeys(d.peers) {
			if p.Contains(d.peers[name].Address) {
				return fmt.Errorf("prefix %s holds %s, the underlay address of peer %q: the host would not reach it any more", p, d.peers[name].Address, name)
			}
		}
	}
	return nil
}

// reached are prefixes that the host reaches by places, with their networks.
type reached struct{ bart.Table[string] }

// reachedElsewhere returns what the host reaches, as in d, by other places than ep.
func (c *Controller) reachedElsewhere(d desired, ep *endpoint) *reached {
	all := new(reached)
	for _, other := range c.hostPlaces() {
		if other.Network == ep.Network {
			continue
		}
		for _, p := range d.prefixesAt(other) {
			all.Insert(p, other.Network)
		}
	}
	return all
}

// overlap returns one that p has a part of, and its network.
func (r *reached) overlap(p netip.Prefix) (q netip.Prefix, network string, ok bool) {
	if !r.OverlapsPrefix(p) {
		return q, "", false
	}
	for q, network := range r.All() {
		if q.Overlaps(p) {
			return q, network, true
		}
	}
	return q, "", false
}

// checkHostReach refuses a change after which the host would have to reach by one
// of its places what it reaches otherwise.
func (c *Controller) checkHostReach(next desired) error {
	for _, ep := range c.hostPlaces() {
		if len(next.prefixesAt(ep)) == 0 || slices.Equal(next.prefixesAt(ep), c.prefixesAt(ep)) {
			continue
		}
		if err := c.checkHostRoutes(next, ep); err != nil {
			return fmt.Errorf("%w; or weft hide %s, since only an exposed network has to do with the host's routes", err, ep.Network)
		}
	}
	return nil
}

// checkHostRoute refuses a route by which the host would have to reach what it
// reaches otherwise.
func (c *Controller) checkHostRoute(r *route) error {
	for _, ep := range c.hostPlaces() {
		n := c.networks[ep.Network]
		if name, _, ok := vrfOf(n.Network); !ok || name != r.VRF || r.Prefix.Bits() == 0 {
			continue
		}
		if q, other, ok := c.reachedElsewhere(c.desired, ep).overlap(r.Prefix); ok {
			return fmt.Errorf("it overlaps %s of network %q, which is exposed as network %q is: choose another prefix, or weft hide one of them", q, other, ep.Network)
		}
		routes, err := c.host.Routes()
		if err != nil {
			return err
		}
		if own, ok := overlap(routes, r.Prefix); ok {
			return fmt.Errorf("it overlaps the host's own route %s, and network %q is exposed: choose another prefix, or weft hide %s", own, ep.Network, ep.Network)
		}
	}
	return nil
}

// leaveNetwork unpublishes what leads into n, and hides it.
func (c *Controller) leaveNetwork(n *network) error {
	for _, p := range slices.Clone(c.published) {
		if p.Network == n.Name {
			if err := c.unpublish(p); err != nil {
				return err
			}
		}
	}
	ep := c.hostPlace(n.Name)
	if ep == nil {
		return nil
	}
	return c.leave(ep)
}

// overlap returns the route of the host that leads into p, or holds it.
func overlap(routes []hostnet.HostRoute, p netip.Prefix) (string, bool) {
	for _, r := range routes {
		if r.Prefix.Overlaps(p) {
			if r.Dev == "" {
				return r.Prefix.String(), true
			}
			return fmt.Sprintf("%s dev %s", r.Prefix, r.Dev), true
		}
	}
	return "", false
}

// Hide takes the host's place in a network away, and all that was set up around
// it. A network that is not exposed is no error.
func (c *Controller) Hide(network string) error {
	end, err := c.begin()
	if err != nil {
		return err
	}
	defer end()
	n, err := c.networkNamed(network)
	if err != nil {
		return err
	}
	ep := c.hostPlace(n.Name)
	if ep == nil {
		return nil
	}
	if ep.Host.Origin == declared {
		return fmt.Errorf("network %q is exposed by %s: take that out there and restart weft run", network, c.opt.Source)
	}
	if list := c.publishedThrough(ep); len(list) > 0 {
		p := list[0]
		return fmt.Errorf("hide network %q: %d published ports need it, as %s of %s: weft unpublish %s %s first", network, len(list), p.Ports(), p.Target, p.Network, p.Target)
	}
	if err := c.leave(ep); err != nil {
		return fmt.Errorf("hide network %q: %w", network, err)
	}
	c.log.Info("network hidden", "network", network)
	return nil
}

// abandon takes a place away that could not be made whole. What stays of what is
// around it goes with one of the next looks.
func (c *Controller) abandon(ep *endpoint) error {
	c.locked(func() { ep.leaving, c.routesSent = true, false })
	if err := c.bringHost(); err != nil {
		c.log.Error("host is not set up as it should be", "err", err)
	}
	return c.detach(ep)
}

// leave takes a place of the host away: what is around it first, then the TAP,
// and the record last, so that after a crash in between all of it is made again.
func (c *Controller) leave(ep *endpoint) error {
	c.locked(func() { ep.leaving, c.routesSent = true, false })
	err := c.bringHost()
	if err == nil {
		err = c.detach(ep)
	}
	if err == nil {
		return nil
	}
	c.locked(func() { ep.leaving, c.routesSent = false, false })
	return both(err, c.bringHost())
}
