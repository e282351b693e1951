package control

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"weft/internal/spec"
	"weft/tap"
)

// transition is a change of many things at once, which happens whole or not at
// all. It is planned before anything is touched, and then
//
//	recorded   the state file has what shall be, and what of the old is to go
//	performed  ports that go off the switch, tables, ports that stay, new ports
//	settled    TAPs that nobody wants are removed, the state file forgets them
//
// A step that fails is led back: what was is recorded, then restored. Whatever is
// recorded last is what a restart makes true, so that an end of the daemon
// anywhere between leaves no half.
type transition struct {
	desired
	statics []staticRecord
	add     []*endpoint
	alter   []alteration
	remove  []*endpoint
}

// alteration is a port that stays, and what it becomes.
type alteration struct {
	ep        *endpoint
	was, next endpointRecord
}

// same reports whether nothing about the port changes.
func (a alteration) same() bool { return a.next.equal(a.was) }

// reconnects reports whether the switch has to take the port anew.
func (a alteration) reconnects(t, back *transition) bool {
	return a.was.MAC != a.next.MAC || a.was.AllowSpoof != a.next.AllowSpoof || a.was.Isolated != a.next.Isolated || !a.was.sameVLANs(a.next.vlans()) || !a.was.sameLimits(a.next) ||
		t.networks[a.next.Network].ID != back.networks[a.was.Network].ID
}

// moves reports whether others have to be told where the port is.
func (a alteration) moves() bool {
	return a.was.MAC != a.next.MAC || !slices.Equal(a.was.Addresses, a.next.Addresses)
}

// equal reports whether two records ask for the same.
func (r endpointRecord) equal(o endpointRecord) bool {
	return r.Network == o.Network && r.Target == o.Target && r.IfName == o.IfName && r.MAC == o.MAC &&
		slices.Equal(r.Addresses, o.Addresses) && slices.Equal(r.Gateways, o.Gateways) &&
		r.MTU == o.MTU && r.OwnMTU == o.OwnMTU && r.AllowSpoof == o.AllowSpoof && r.Isolated == o.Isolated && r.sameVLANs(o.vlans()) && r.sameLimits(o)
}

// empty reports whether t changes nothing.
func (t *transition) empty(c *Controller) bool {
	return len(t.add)+len(t.remove) == 0 && !slices.ContainsFunc(t.alter, func(a alteration) bool { return !a.same() }) &&
		slices.Equal(t.statics, c.statics) && t.desired.same(c.desired)
}

// same reports whether d and o hold the same objects.
func (d desired) same(o desired) bool {
	return maps.EqualFunc(d.networks, o.networks, func(a, b *network) bool { return a == b || same(a.Network, b.Network) }) &&
		maps.EqualFunc(d.peers, o.peers, func(a, b *peer) bool { return a == b || a.String() == b.String() }) &&
		d.routes.same(o.routes)
}

// carryOut makes t so. On error everything is as it was, but for what the error
// says could not be taken back. change is held.
func (c *Controller) carryOut(t *transition) error {
	back := t.reversed(c)
	if err := c.record(t); err != nil {
		_ = c.record(back) // which fails too, or tells what the failing one did
		c.forget(back)
		return err
	}
	p := performance{c: c, leavers: map[*endpoint]*tap.Device{}, held: map[*endpoint]*tap.Device{}}
	err := p.perform(t, back)
	if err == nil {
		p.settle(t)
		return nil
	}
	if rerr := c.record(back); rerr != nil {
		c.log.Error("state was not written", "err", rerr)
	}
	err = both(err, p.takeBack())
	c.forget(back)
	return err
}

// record notes t in maps and state file as what shall be.
func (c *Controller) record(t *transition) error {
	c.locked(func() {
		c.desired, c.statics, c.leaving = t.desired, t.statics, nil
		c.desiredChanged()
		for _, ep := range t.remove {
			if c.endpoints[ep.key()] == ep {
				delete(c.endpoints, ep.key())
			}
			c.leaving = append(c.leaving, ep.endpointRecord)
		}
		for _, a := range t.alter {
			next := a.next
			next.Life, next.Former = a.ep.Life, a.was.leftover(a.next)
			a.ep.endpointRecord = next
		}
		for _, ep := range t.add {
			c.endpoints[ep.key()] = ep
		}
	})
	return c.save()
}

// forget notes that nothing of what was before t is left.
func (c *Controller) forget(t *transition) {
	c.locked(func() {
		c.leaving = nil
		for _, a := range t.alter {
			if a.ep.dev != nil { // else its TAP may be as it was: the next opening sees to it
				a.ep.Former = nil
			}
		}
	})
	if err := c.save(); err != nil {
		c.log.Error("state was not written", "err", err)
	}
}

// former is what an interface may have left of earlier changes.
type former struct {
	Addresses []netip.Prefix `json:"addresses,omitempty"`
	Gateways  []netip.Addr   `json:"gateways,omitempty"`
}

// leftover returns what has to go from r's interface when it becomes next; nil
// where that is nothing.
func (r endpointRecord) leftover(next endpointRecord) *former {
	f := former{Addresses: slices.Clone(r.Addresses), Gateways: slices.Clone(r.Gateways)}
	if r.Former != nil {
		f.Addresses = append(f.Addresses, r.Former.Addresses...)
		f.Gateways = append(f.Gateways, r.Former.Gateways...)
	}
	f.Addresses = slices.DeleteFunc(f.Addresses, func(p netip.Prefix) bool { return slices.Contains(next.Addresses, p) })
	f.Gateways = slices.DeleteFunc(f.Gateways, func(a netip.Addr) bool { return slices.Contains(next.Gateways, a) })
	if len(f.Addresses)+len(f.Gateways) == 0 {
		return nil
	}
	return &f
}

// config returns f as the interface of ep, for tap.Change.
func (f *former) config(ep *endpoint) tap.Config {
	cfg := ep.config()
	cfg.Addrs, cfg.Gateways = nil, nil
	if f != nil {
		cfg.Addrs, cfg.Gateways = f.Addresses, f.Gateways
	}
	return cfg
}

// performance is a transition under way.
type performance struct {
	c       *Controller
	leavers map[*endpoint]*tap.Device // that go, off the switch, while their TAPs are open; nil: removed
	held    map[*endpoint]*tap.Device // that stay, and are off the switch meanwhile
	undo    []func() error            // last in, first out
}

// done notes how the last step is taken back.
func (p *performance) done(undo func() error) { p.undo = append(p.undo, undo) }

// takeBack undoes what was done.
func (p *performance) takeBack() (err error) {
	for _, f := range slices.Backward(p.undo) {
		if e := f(); e != nil {
			err = both(err, fmt.Errorf("take back: %w", e))
		}
	}
	return err
}

// perform does what t says. back is what there was.
func (p *performance) perform(t, back *transition) error {
	for _, ep := range t.remove {
		p.unplug(ep)
	}
	for _, a := range t.alter {
		if a.reconnects(t, back) {
			p.hold(a.ep)
		}
	}
	if err := p.publish(t, back); err != nil {
		return err
	}
	for _, a := range t.alter {
		if err := p.alter(a); err != nil {
			return fmt.Errorf("port %s: %w", p.c.portName(a.ep), err)
		}
	}
	for _, ep := range t.add {
		if err := p.plug(ep); err != nil {
			return fmt.Errorf("attach %s to network %q: %w", ep.Target, ep.Network, err)
		}
	}
	return nil
}

// unplug takes a port off the switch; its TAP stays open, to be put back.
func (p *performance) unplug(ep *endpoint) {
	c := p.c
	dev := c.disconnect(ep, "it is being detached")
	if dev == nil {
		return
	}
	p.leavers[ep] = dev
	p.done(func() error {
		if p.leavers[ep] == nil { // its TAP had to give its name to another
			return c.plug(ep, nil)
		}
		return p.reconnect(ep, dev)
	})
}

// hold takes a port off the switch that is about to come back as another.
func (p *performance) hold(ep *endpoint) {
	dev := p.c.disconnect(ep, "it is being changed")
	if dev == nil {
		return
	}
	p.held[ep] = dev
	p.done(func() error { return p.reconnect(ep, dev) })
}

// reconnect gives ep a port again, for the TAP that it has.
func (p *performance) reconnect(ep *endpoint, dev *tap.Device) error {
	dropped, _ := p.c.sys.dropped(ep.namespace(), ep.IfName) // unreadable: then all counts as new
	if err := p.c.connect(ep, dev, dropped); err != nil {
		p.c.locked(func() { ep.down = err.Error() })
		return both(err, dev.Close())
	}
	p.c.announce(ep)
	return nil
}

// publish brings networks, peers, routes and static entries to the switch. What
// goes, goes first, so that its id is free for others.
func (p *performance) publish(t, back *transition) error {
	p.done(func() error { return p.c.turn(t, back) })
	return p.c.turn(back, t)
}

// turn is performance.publish from one to another.
func (c *Controller) turn(from, to *transition) error {
	between := to.desired
	between.networks = maps.Clone(from.networks)
	maps.DeleteFunc(between.networks, func(name string, n *network) bool {
		stays := to.networks[name]
		return stays == nil || stays.ID != n.ID
	})
	for name, n := range to.networks {
		if between.networks[name] != nil {
			between.networks[name] = n
		}
	}
	c.locked(func() { c.desired = between; c.desiredChanged() })
	err := c.publish()
	c.locked(func() { c.desired = to.desired; c.desiredChanged() })
	if err == nil {
		err = c.publish()
	}
	if err != nil {
		return err
	}
	c.turnStatics(from.statics, to.statics)
	return nil
}

// turnStatics changes the static entries of the FDBs. Those that lead to ports
// that are not there yet come with them.
func (c *Controller) turnStatics(from, to []staticRecord) {
	for _, s := range from {
		if table := c.table(s.Network, s.VLAN); table != nil && !slices.Contains(to, s) {
			table.Delete(s.MAC)
		}
	}
	for _, s := range to {
		if dest, ok := c.staticDest(s); ok {
			c.setStatic(s, dest)
		}
	}
}

// alter changes a port that stays, in its container and on the switch.
func (p *performance) alter(a alteration) error {
	c, ep := p.c, a.ep
	dev := p.held[ep]
	if ep.dev == nil && dev == nil || a.same() && dev == nil {
		return nil // the record is enough: whoever opens its TAP brings it in line
	}
	p.done(func() error { return p.inside(ep, a.next, a.was) }) // also where it fails half way
	if err := p.inside(ep, a.was, a.next); err != nil {
		return err
	}
	if dev != nil {
		if err := p.reconnect(ep, dev); err != nil {
			return err
		}
		p.done(func() error { c.disconnect(ep, "it is being changed"); return nil })
		return nil
	}
	p.done(func() error { return p.set(a, a.was) })
	return p.set(a, a.next)
}

// inside changes the interface in ep's container.
func (p *performance) inside(ep *endpoint, from, to endpointRecord) error {
	old, now := *ep, *ep
	old.endpointRecord, now.endpointRecord = from, to
	err := p.c.sys.change(ep.namespace(), old.config(), now.config())
	if errors.Is(err, tap.ErrNoNamespace) || errors.Is(err, tap.ErrNoTAP) {
		return nil // it just went: the event is on its way
	}
	return err
}

// set changes the port on the switch, and tells others where it is.
func (p *performance) set(a alteration, to endpointRecord) error {
	now := endpoint{endpointRecord: to}
	if err := p.c.sw.SetPort(a.ep.port, now.addrs(), to.MTU); err != nil {
		return err
	}
	if a.moves() {
		a.ep.stopAnnouncing()
		p.c.announce(a.ep)
	}
	return nil
}

// plug makes a new port.
func (p *performance) plug(ep *endpoint) error {
	c := p.c
	for old, dev := range p.leavers {
		if dev != nil && old.IfName == ep.IfName && old.Life.Device == ep.Life.Device && old.Life.Inode == ep.Life.Inode {
			p.leavers[old] = nil
			if err := c.sys.remove(dev); err != nil {
				return err
			}
		}
	}
	if err := c.plugNew(ep, c.networks[ep.Network], nil); err != nil {
		return err
	}
	p.done(func() error { c.unplugAndRemove(ep, "it is not wanted after all"); return nil })
	c.log.Info("port attached", "network", ep.Network, "port", ep.Target, "mac", ep.MAC, "addresses", ep.Addresses)
	return nil
}

// settle removes what nobody wants any more. From here on there is no way back.
func (p *performance) settle(t *transition) {
	c := p.c
	var failed []endpointRecord
	for _, ep := range t.remove {
		var err error
		if dev, was := p.leavers[ep]; dev != nil {
			err = c.sys.remove(dev)
		} else if !was {
			err = c.removeLeft(ep)
		}
		if err != nil {
			c.log.Error("TAP was not removed: the next start tries again", "network", ep.Network, "port", ep.Target, "err", err)
			failed = append(failed, ep.endpointRecord)
			continue
		}
		c.log.Info("port detached", "network", ep.Network, "port", ep.Target)
	}
	c.forget(t)
	if len(failed) > 0 {
		c.locked(func() { c.leaving = failed })
		if err := c.save(); err != nil {
			c.log.Error("state was not written", "err", err)
		}
	}
}

// removeLeft removes the TAP that an endpoint that is down may have left.
func (c *Controller) removeLeft(ep *endpoint) error {
	if ep.Life.BootID != c.boot || c.ended(ep) {
		return nil
	}
	return c.sys.removeIn(ep.namespace(), ep.IfName)
}

// removeLeaving ends what a former run was about to remove.
func (c *Controller) removeLeaving(records []endpointRecord) {
	for _, r := range records {
		t, err := r.where()
		if err == nil {
			err = c.removeLeft(&endpoint{endpointRecord: r, target: t})
		}
		if err != nil {
			c.log.Error("TAP was not removed", "network", r.Network, "port", r.Target, "err", err)
		}
	}
}

// portChange shows an alteration to users.
func (a alteration) portChange(name string) spec.PortChange {
	place := func(r endpointRecord) spec.PortPlace {
		return spec.PortPlace{IfName: r.IfName, MAC: r.MAC, Addresses: orEmpty(r.Addresses), Gateways: orEmpty(r.Gateways), MTU: r.MTU}
	}
	return spec.PortChange{Name: name, Target: a.ep.Target, Was: place(a.was), Now: place(a.next)}
}
