package control

import (
	"fmt"
	"slices"

	"weft/internal/spec"
)

// hostChange is what a file for apply changes around the host's places: what goes
// before everything else changes, and what comes after.
type hostChange struct {
	unpublish []*published
	hide      []*endpoint
	expose    []spec.Expose
	publish   []spec.Publish
}

func (h *hostChange) empty() bool {
	return len(h.unpublish)+len(h.hide)+len(h.expose)+len(h.publish) == 0
}

// planHost finds what of exposed networks and published ports is not as the file says.
func (p *applying) planHost() (*hostChange, error) {
	c, h := p.c, &hostChange{}
	for _, e := range p.cfg.Exposed {
		place := c.hostPlace(e.Network)
		if place != nil && place.Host.Origin == declared && place.exposedOtherwise(e) != nil {
			return nil, p.at(e.Line, fmt.Errorf("network %q is exposed by %s otherwise: change it there and restart weft run, or take it out here", e.Network, c.opt.Source))
		}
		if place == nil || place.Host.ForPublish || !p.keepsPlace(place) {
			if err := p.checkExposed(e); err != nil {
				return nil, p.at(e.Line, fmt.Errorf("expose network %q: %w", e.Network, err))
			}
			h.expose = append(h.expose, e)
		}
	}
	for _, place := range c.hostPlaces() {
		if !p.keepsPlace(place) {
			h.hide = append(h.hide, place)
		}
	}
	for _, s := range p.cfg.Published {
		if t, err := parseTarget(s.Target); err != nil {
			return nil, p.at(s.Line, err)
		} else if p.stands[s.Network+" "+t.path] == nil {
			return nil, p.at(s.Line, fmt.Errorf("publish %s: %s is not attached to network %q: add it under attachments", s, s.Target, s.Network))
		}
		if !slices.ContainsFunc(c.published, func(was *published) bool { return was.isDeclaredBy(s) && !h.movesUnder(c, was) }) {
			h.publish = append(h.publish, s)
		}
	}
	for _, was := range c.published {
		wanted := slices.ContainsFunc(p.cfg.Published, was.isDeclaredBy)
		if was.origin != declared && !wanted || h.movesUnder(c, was) {
			h.unpublish = append(h.unpublish, was)
		}
	}
	return h, nil
}

// checkExposed refuses addresses that the host cannot have in a network: those that lie
// outside of it, and those of its gateways and ports.
func (p *applying) checkExposed(e spec.Expose) error {
	n := p.t.desired.networks[e.Network]
	pools, err := emptyPools(n)
	if err != nil {
		return err
	}
	for _, ep := range p.stands {
		if ep.Network != n.Name {
			continue
		}
		for _, a := range ep.Addresses {
			for _, pool := range pools {
				if pool.Contains(a.Addr()) {
					_ = pool.Claim(a.Addr(), "port "+ep.Target) // is free: it was planned before
				}
			}
		}
	}
	for _, a := range e.Addresses {
		if err := claim(n, pools, a.Addr()); err != nil {
			return err
		}
		if err := checkLength(n, spec.Address{Prefix: a}); err != nil {
			return err
		}
	}
	return nil
}

// movesUnder reports whether the place that was needs goes, be it to come again.
func (h *hostChange) movesUnder(c *Controller, was *published) bool {
	n := c.networks[was.Network]
	return n != nil && slices.Contains(h.hide, c.placeToward(n))
}

// keepsPlace reports whether a place of the host stays as it is. One that only
// published ports need goes by itself.
func (p *applying) keepsPlace(place *endpoint) bool {
	was, next := p.c.networks[place.Network], p.t.desired.networks[place.Network]
	if next == nil || was == nil || was.ID != next.ID || !slices.Equal(was.Prefixes, next.Prefixes) || !slices.Equal(was.Gateways, next.Gateways) {
		return false
	}
	if place.Host.Origin == declared || place.Host.ForPublish {
		return true
	}
	i := slices.IndexFunc(p.cfg.Exposed, place.isDeclaredBy)
	return i >= 0 && place.exposedOtherwise(p.cfg.Exposed[i]) == nil
}

// keptHost returns the host's place in a network, where it stays; nil where there
// is none.
func (p *applying) keptHost(network string) *place {
	ep := p.c.hostPlace(network)
	if ep == nil || !p.keepsPlace(ep) {
		return nil
	}
	return &place{rec: ep.endpointRecord, addrs: ep.Addresses}
}

// hostIn reports whether the host will have a place in a network.
func (p *applying) hostIn(network string) bool {
	return p.keptHost(network) != nil ||
		slices.ContainsFunc(p.cfg.Exposed, func(e spec.Expose) bool { return e.Network == network }) ||
		slices.ContainsFunc(p.cfg.Published, func(s spec.Publish) bool { return s.Network == network })
}

// exposure returns how the host's place was asked for.
func (ep *endpoint) exposure() spec.Expose {
	return spec.Expose{Network: ep.Network, Addresses: ep.Addresses, NoSNAT: ep.Host.NoSNAT}
}

// reversed returns the transition that takes t, which is still to come, back.
func (t *transition) reversed(c *Controller) *transition {
	back := &transition{desired: c.desired, statics: c.statics, add: t.remove, remove: t.add}
	for _, a := range t.alter {
		back.alter = append(back.alter, alteration{ep: a.ep, was: a.next, next: a.was})
	}
	return back
}

// exposedTexts describes the host's own places, by network.
func (c *Controller) exposedTexts() map[string]string {
	all := map[string]string{}
	for _, ep := range c.hostPlaces() {
		if !ep.Host.ForPublish {
			all[ep.Network] = ep.exposure().String()
		}
	}
	return all
}

// hostTexts describes what shall be exposed and published, by name, for differences.
func (p *applying) hostTexts(h *hostChange) (exposed, ports map[string]string) {
	exposed, ports = p.c.exposedTexts(), map[string]string{}
	for _, ep := range h.hide {
		delete(exposed, ep.Network)
	}
	for _, e := range h.expose {
		exposed[e.Network] = e.String()
	}
	for _, was := range p.c.published {
		ports[was.String()] = was.String()
	}
	for _, was := range h.unpublish {
		delete(ports, was.String())
	}
	for _, s := range h.publish {
		ports[s.String()] = s.String()
	}
	return exposed, ports
}

// publishedTexts describes the published ports.
func (c *Controller) publishedTexts() map[string]string {
	all := map[string]string{}
	for _, p := range c.published {
		all[p.String()] = p.String()
	}
	return all
}
