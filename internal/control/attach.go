package control

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"weft/dataplane"
	"weft/internal/spec"
	"weft/tap"
)

// Attach gives a container a port. It makes reality what a says: when the same
// was asked before and the TAP is there, it is done; a TAP that is gone is made
// again, in whatever namespace the target leads to now, with the same addresses
// and MAC.
func (c *Controller) Attach(a spec.Attach) (spec.PortStatus, error) {
	if err := a.Validate(); err != nil {
		return spec.PortStatus{}, err
	}
	t, err := parseTarget(a.Target)
	if err != nil {
		return spec.PortStatus{}, err
	}
	var ns tap.Namespace
	if t.isDocker() { // which may take its time: no other change waits for it
		c.asking.Lock()
		defer c.asking.Unlock()
		if t, ns, err = c.findContainer(t); err != nil {
			return spec.PortStatus{}, fmt.Errorf("attach %s to network %q: %w", a.Target, a.Network, err)
		}
	}
	end, err := c.begin()
	if err != nil {
		return spec.PortStatus{}, err
	}
	defer end()
	n, err := c.networkNamed(a.Network)
	if err != nil {
		return spec.PortStatus{}, err
	}
	ep, err := c.attach(n, t, ns, a)
	if err != nil {
		return spec.PortStatus{}, Cured(fmt.Errorf("attach %s to network %q: %w", a.Target, a.Network, err))
	}
	if t.isDocker() {
		c.followDocker()
	}
	return c.portStatus(ep, c.portName(ep)), nil
}

// attach is Attach for what can be told apart. ns is that of a Docker container.
func (c *Controller) attach(n *network, t target, ns tap.Namespace, a spec.Attach) (_ *endpoint, err error) {
	if !t.isDocker() {
		if ns, err = c.sys.namespace(t.path); err != nil {
			return nil, err
		}
	}
	if c.isHost(ns) {
		return nil, errors.New("that is the network namespace of this host itself: name a container's")
	}
	now := c.endpointOf(n.Name, t)
	if now != nil && c.ended(now) {
		if err := c.reap(now); err != nil {
			return nil, err
		}
		now = nil
	}
	if now == nil {
		return c.attachNew(n, t, ns, a)
	}
	if err := now.differs(a); err != nil {
		return nil, err
	}
	return now, c.attachThere(n, now, t, ns)
}

// isHost reports whether ns is the namespace that this switch serves.
func (c *Controller) isHost(ns tap.Namespace) bool {
	return ns.Dev == c.hostNS.Dev && ns.Ino == c.hostNS.Ino
}

// attachThere sees to it that ep has its TAP in ns, where t leads to.
func (c *Controller) attachThere(n *network, ep *endpoint, t target, ns tap.Namespace) error {
	if err := c.rename(ep, t); err != nil {
		return err
	}
	here := ns.Dev == ep.Life.Device && ns.Ino == ep.Life.Inode && t.container == ep.target.container
	if here && ep.dev != nil && !c.sys.gone(ep.dev) {
		return nil
	}
	return c.attachAgain(n, ep, t, ns)
}

// attachNew makes an endpoint.
func (c *Controller) attachNew(n *network, t target, ns tap.Namespace, a spec.Attach) (*endpoint, error) {
	ep, err := c.newEndpoint(n, t, ns, a)
	if err != nil {
		return nil, err
	}
	return ep, c.addEndpoint(n, ep)
}

// addEndpoint is attachNew for an endpoint that has all it needs. The state has it
// before its TAP persists, so that a crash leaves no TAP that nobody knows of; it
// is written while the kernel moves the TAP.
func (c *Controller) addEndpoint(n *network, ep *endpoint) error {
	undo := func() { delete(c.endpoints, ep.key()) }
	recorded := meanwhile(func() error { return c.commit(func() { c.endpoints[ep.key()] = ep }, undo) })
	err := c.plugNew(ep, n, recorded)
	if rerr := recorded(); rerr != nil {
		return rerr // there is no TAP then
	}
	if err != nil {
		if cerr := c.commit(undo, func() {}); cerr != nil {
			c.log.Error("failed attach stays in the state file", "network", ep.Network, "port", ep.Target, "err", cerr)
		}
		return err
	}
	c.log.Info("port attached", "network", ep.Network, "port", ep.Target, "mac", ep.MAC, "addresses", ep.Addresses)
	return nil
}

// attachAgain makes the TAP of an endpoint that has lost it, in ns, where t leads to.
func (c *Controller) attachAgain(n *network, ep *endpoint, t target, ns tap.Namespace) error {
	next := &endpoint{endpointRecord: ep.endpointRecord, target: t}
	var err error
	if next.Life, err = c.lifeOf(t, ns); err != nil {
		return err
	}
	if next.Life != ep.Life && !ep.OwnMTU { // another container
		next.MTU = max(c.portMTU(c.desired, n, next.endpointRecord), leastMTU(ep.Addresses))
	}
	if err := c.checkIfName(next); err != nil {
		return err
	}
	same := next.Life == ep.Life
	if same {
		c.unplug(ep, "its TAP is being made again")
	} else {
		c.unplugAndRemove(ep, "it is being attached to another container")
	}
	was, wasAt := ep.endpointRecord, ep.target
	err = c.commit(func() { ep.endpointRecord, ep.target = next.endpointRecord, t }, func() { ep.endpointRecord, ep.target = was, wasAt })
	if err != nil {
		return err
	}
	if same { // the TAP may be there, if the switch only let go of it
		err = c.plugFormer(ep)
	} else {
		err = c.plug(ep, nil)
	}
	if err != nil {
		c.locked(func() { ep.down = err.Error() })
		return err
	}
	c.log.Info("port attached again", "network", ep.Network, "port", ep.Target, "mac", ep.MAC, "addresses", ep.Addresses)
	return nil
}

// meanwhile runs f in a goroutine of its own, which the caller waits for by the
// function that it returns; that may be called again, and has f's error.
func meanwhile(f func() error) (wait func() error) {
	done := make(chan error, 1)
	go func() { done <- f() }() // ends with f
	return sync.OnceValue(func() error { return <-done })
}

// plugNew is plug for an endpoint that the state may have lost.
func (c *Controller) plugNew(ep *endpoint, n *network, recorded func() error) error {
	err := c.plug(ep, recorded)
	if !errors.Is(err, tap.ErrNameTaken) {
		return err
	}
	if recorded != nil {
		if err := recorded(); err != nil {
			return err
		}
	}
	if c.known(ep) {
		return err
	}
	return c.plugLost(ep, n)
}

// plug makes ep's TAP and gives it a port of the switch. Until recorded returns,
// if it is not nil, the maps and the state file are another's.
func (c *Controller) plug(ep *endpoint, recorded func() error) error {
	dev, err := c.sys.create(ep.namespace(), ep.config(), recorded)
	if err != nil {
		return err
	}
	if err := c.connect(ep, dev, 0); err != nil {
		return both(err, c.sys.remove(dev))
	}
	c.announce(ep)
	return nil
}

// plugLost is plug for a TAP that ep would have made, and that is in the container
// since a former run whose state was lost. An error names the interface that
// stands in the way.
func (c *Controller) plugLost(ep *endpoint, n *network) error {
	dev, err := c.sys.recover(ep.namespace(), ep.config(), n.Prefixes)
	if err != nil {
		return err
	}
	dropped, _ := c.sys.dropped(ep.namespace(), ep.IfName) // unreadable: then all counts as new
	if err := c.connect(ep, dev, dropped); err != nil {
		return both(err, dev.Close())
	}
	c.log.Warn("interface of a lost state taken up", "network", ep.Network, "port", ep.Target, "mac", ep.MAC)
	c.announce(ep)
	return nil
}

// known reports whether ep's interface belongs to another endpoint, which is down.
func (c *Controller) known(ep *endpoint) bool {
	for _, other := range c.endpoints {
		if other.key() != ep.key() && other.IfName == ep.IfName && other.Life.BootID == ep.Life.BootID &&
			other.Life.Device == ep.Life.Device && other.Life.Inode == ep.Life.Inode {
			return true
		}
	}
	return false
}

// plugFormer is plug for a TAP that may be in the container.
func (c *Controller) plugFormer(ep *endpoint) error {
	o := c.openFormer(ep)
	if o.err != nil {
		return o.err
	}
	if err := c.connect(ep, o.dev, o.dropped); err != nil {
		return both(err, o.dev.Close())
	}
	c.announce(ep)
	return nil
}

// connect gives ep, which owns dev from now on, a port of the switch. base is
// what the TAP had counted as dropped. On error dev is the caller's.
func (c *Controller) connect(ep *endpoint, dev *tap.Device, base uint64) error {
	if err := c.checkVLANs(ep.Network, ep.endpointRecord); err != nil {
		return err
	}
	id, err := c.sw.AddPort(dataplane.PortConfig{
		Device: dev, Domain: c.domains[ep.Network].id, MAC: ep.MAC, Addrs: ep.addrs(), MTU: ep.MTU, AllowSpoof: ep.AllowSpoof, Isolated: ep.Isolated, Host: ep.Host != nil,
		VLAN: uint16(ep.VLAN), Trunk: ep.Trunk.VLANs(), Stations: portLimit(ep.MACLimit), FloodRate: portLimit(ep.Storm),
	})
	if err != nil {
		return err
	}
	var forget func()
	if dev.Pins() && ep.Host == nil { // the host outlives its switch
		forget = c.watcher.Watch(ep.namespace(), func() { c.post(event{dev: dev}) })
	}
	c.locked(func() {
		ep.dev, ep.port, ep.forget, ep.down = dev, id, forget, ""
		ep.dropped, ep.droppedBase = 0, base
		ep.Former = nil
	})
	c.restoreStatics(ep)
	return nil
}

// portLimit returns a limit as the switch has it.
func portLimit(asked *int) int {
	switch {
	case asked == nil:
		return 0 // the standard one
	case *asked == 0:
		return -1 // none
	}
	return *asked
}

// unplug takes ep's port off the switch and closes its TAP, which stays where
// it is. why is what status says.
func (c *Controller) unplug(ep *endpoint, why string) {
	if dev := c.disconnect(ep, why); dev != nil {
		if err := dev.Close(); err != nil {
			c.log.Error("TAP was not closed", "network", ep.Network, "port", ep.Target, "err", err)
		}
	}
}

// unplugAndRemove is unplug for a TAP that may still be in some container, where
// it has nothing to do any more.
func (c *Controller) unplugAndRemove(ep *endpoint, why string) {
	if dev := c.disconnect(ep, why); dev != nil {
		if err := c.sys.remove(dev); err != nil {
			c.log.Error("TAP was not removed", "network", ep.Network, "port", ep.Target, "err", err)
		}
	}
}

// disconnect takes ep's port off the switch and returns its TAP; nil where ep
// is down already.
func (c *Controller) disconnect(ep *endpoint, why string) *tap.Device {
	dev := ep.dev
	if dev == nil {
		return nil
	}
	c.readDropped(ep)
	if ep.forget != nil {
		ep.forget()
	}
	ep.stopAnnouncing()
	if err := c.sw.RemovePort(ep.port); err != nil {
		c.log.Error("port was not removed", "network", ep.Network, "port", ep.Target, "err", err)
	}
	c.locked(func() {
		c.lostGone += ep.dropped
		ep.dev, ep.port, ep.forget, ep.dropped = nil, 0, nil, 0
		ep.down, ep.since = why, time.Now()
		c.forgetTroubles()
	})
	return dev
}

// Detach takes a container's port away, also when the container is gone. What
// is not attached is no error.
func (c *Controller) Detach(network, target string) error {
	t, err := parseTarget(target)
	if err != nil {
		return err
	}
	if t.isDocker() {
		if t, err = c.findAttached(network, t); err != nil {
			return fmt.Errorf("detach %s from network %q: %w", target, network, err)
		}
	}
	end, err := c.begin()
	if err != nil {
		return err
	}
	defer end()
	n, err := c.networkNamed(network)
	if err != nil {
		return err
	}
	delete(c.vacant, endpointKey{n.Name, t.key})
	ep := c.endpointOf(n.Name, t)
	if ep == nil {
		return nil
	}
	if err := c.detach(ep); err != nil {
		return fmt.Errorf("detach %s from network %q: %w", target, network, err)
	}
	return nil
}

// detach removes ep and its TAP. The TAP goes first: after a crash in between
// the state still knows of the endpoint.
func (c *Controller) detach(ep *endpoint) error {
	name := c.portName(ep)
	var err error
	if dev := c.disconnect(ep, "it is being detached"); dev != nil {
		err = c.sys.remove(dev)
	} else {
		err = c.removeLeft(ep)
	}
	if err != nil {
		return err
	}
	if err := c.dropEndpoint(ep); err != nil {
		return err
	}
	c.log.Info("port detached", "network", ep.Network, "port", name)
	return nil
}
