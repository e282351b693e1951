package control

import (
	"fmt"
	"maps"
	"time"

	"weft/internal/spec"
	"weft/tap"
)

// planUplinks plans the uplinks: which there shall be, and that their links exist.
func (p *applying) planUplinks() error {
	p.up, p.links = map[uplinkKey]*uplink{}, map[uplinkKey]tap.LinkState{}
	for key, u := range p.c.uplinks {
		if u.origin == declared {
			p.up[key] = u
		}
	}
	for _, u := range p.cfg.Uplinks {
		if err := p.planUplink(u); err != nil {
			return p.at(u.Line, fmt.Errorf("uplink %q: %w", u.Device, err))
		}
	}
	for key, u := range p.up { // one stays a port of a domain only as long as that stays
		if was, next := p.c.networks[u.Network], p.t.desired.networks[u.Network]; u == p.c.uplinks[key] && was != nil && next != nil && was.ID != next.ID {
			p.up[key] = &uplink{Uplink: u.Uplink, origin: u.origin, since: time.Now()}
		}
	}
	return nil
}

// checkUplinks refuses uplinks that do not go with the ports.
func (p *applying) checkUplinks() error {
	lines := map[uplinkKey]int{} // of those that are declared elsewhere: none
	for _, u := range p.cfg.Uplinks {
		lines[uplinkKey{u.Network, u.Device}] = u.Line
	}
	for _, u := range p.up {
		if err := p.checkVLANs(u.Uplink); err != nil {
			return p.at(lines[u.key()], fmt.Errorf("uplink %q: %w", u.Device, err))
		}
		for _, ep := range p.stands {
			if ep.Network == u.Network && ep.MAC != 0 && ep.MAC == p.links[u.key()].MAC {
				return p.at(lines[u.key()], fmt.Errorf("uplink %q: the link has the MAC %s of port %s: give that another", u.Device, ep.MAC, ep.Target))
			}
		}
	}
	return nil
}

// lansOf returns what lies behind the uplinks that a network shall have, as far as
// their links are up. Who brings back what was before asks nobody.
func (p *applying) lansOf(network string) (list []lan) {
	if p.c.beforeApply != "" {
		return nil
	}
	for _, u := range p.up {
		if u.Network != network {
			continue
		}
		if s, isNew := p.links[u.key()]; isNew && s.Up {
			list = append(list, lan{device: u.Device, state: s, vlan: u.VLAN, isNew: true})
		} else if now := p.c.uplinks[u.key()]; now != nil && now.link != nil { // u, or what it is to be again
			list = append(list, lan{device: u.Device, state: now.state, vlan: u.VLAN})
		}
	}
	return list
}

// checkVLANs refuses an uplink that is one VLAN where a port of the network has VLANs.
func (p *applying) checkVLANs(u spec.Uplink) error {
	for _, ep := range p.stands {
		if ep.Network == u.Network && u.VLAN != 0 && ep.hasVLANs() {
			return vlanClash(u, ep.Target)
		}
	}
	return nil
}

func (p *applying) planUplink(u spec.Uplink) error {
	if err := u.Validate(); err != nil {
		return err
	}
	if p.t.desired.networks[u.Network] == nil {
		return fmt.Errorf("network %q does not exist: add it under networks", u.Network)
	}
	want := &uplink{Uplink: u, origin: byAPI, since: time.Now()}
	want.Line = 0
	switch was := p.c.uplinks[want.key()]; {
	case was != nil && was.String() == want.String():
		p.up[want.key()] = was
		return nil
	case was != nil && was.origin == declared:
		return fmt.Errorf("it is declared in %s as %s: change it there and restart weft run, or take it out here", p.c.opt.Source, was)
	}
	for _, o := range p.up {
		if err := u.Clash(o.Uplink); err != nil {
			return err
		}
	}
	s, err := p.c.sys.link(u.Device)
	if err != nil {
		return err
	}
	p.up[want.key()], p.links[want.key()] = want, s
	return nil
}

// partUplinks lets go of the uplinks that are not among next, and forgets them.
func (c *Controller) partUplinks(next map[uplinkKey]*uplink) {
	left := maps.Clone(c.uplinks)
	for key, u := range c.uplinks {
		if next[key] != u {
			c.disconnectUplink(u, "it is being removed")
			delete(left, key)
		}
	}
	c.locked(func() { c.uplinks = left })
}

// rejoinUplinks makes was the uplinks again.
func (c *Controller) rejoinUplinks(was map[uplinkKey]*uplink) {
	c.locked(func() { c.uplinks = was })
	c.followUplinks()
}

// joinUplinks makes next the uplinks. One whose link cannot be attached is down,
// as at a start, and status says why.
func (c *Controller) joinUplinks(next map[uplinkKey]*uplink) error {
	was := c.uplinks
	if maps.Equal(was, next) {
		return nil
	}
	if err := c.commit(func() { c.uplinks = next }, func() { c.uplinks = was }); err != nil {
		return fmt.Errorf("add uplinks: %w", err)
	}
	c.followUplinks()
	return nil
}

// uplinkTexts describes uplinks, by network and device.
func uplinkTexts(list map[uplinkKey]*uplink) map[string]string {
	all := map[string]string{}
	for key, u := range list {
		all[key.network+" "+key.device] = u.String()
	}
	return all
}
