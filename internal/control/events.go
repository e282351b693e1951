package control

import (
	"fmt"
	"slices"

	"weft/dataplane"
	"weft/tap"
)

// event says that a container or its TAP is gone. port or dev names it.
type event struct {
	port dataplane.PortID
	dev  *tap.Device
}

// post hands e to the goroutine that takes events, or forgets it when the
// controller is closed.
func (c *Controller) post(e event) {
	select {
	case c.events <- e:
	case <-c.done:
	}
}

// portGone is called by the switch when a port's TAP is gone.
func (c *Controller) portGone(id dataplane.PortID) { c.post(event{port: id}) }

// takeEvents handles events one after the other, until Close.
func (c *Controller) takeEvents() {
	for {
		select {
		case e := <-c.events:
			c.take(e)
		case <-c.done:
			return
		}
	}
}

// take lets go of the port that e names, unless that was done meanwhile: its
// number may be another port's by now, whose TAP is there.
func (c *Controller) take(e event) {
	end, err := c.begin()
	if err != nil {
		return
	}
	defer end()
	for _, ep := range c.endpointList() {
		if ep.dev == nil {
			continue
		}
		if ep.dev == e.dev || ep.port == e.port && c.sys.gone(ep.dev) {
			c.lose(ep)
			return
		}
	}
}

// lose takes an endpoint down whose container or TAP is gone. It keeps its
// place, unless nothing can come back under its name.
func (c *Controller) lose(ep *endpoint) {
	if c.ended(ep) {
		if err := c.reap(ep); err != nil {
			c.log.Error("port of a process that ended stays in the state file", "network", ep.Network, "port", ep.Target, "err", err)
		}
		return
	}
	why := "its container is gone"
	if ep.namespace().Alive() {
		why = fmt.Sprintf("its interface %s was deleted in the container", ep.IfName)
	}
	if ep.Host != nil {
		why = fmt.Sprintf("the host's interface %s was deleted", ep.IfName)
	}
	c.letGo(ep, why)
}

// letGo takes an endpoint down that keeps its place.
func (c *Controller) letGo(ep *endpoint, why string) {
	c.unplug(ep, why)
	c.log.Warn("port is down", "network", ep.Network, "port", ep.Target, "mac", ep.MAC, "reason", why)
}

// reap removes an endpoint whose process ended: the number will be another's.
func (c *Controller) reap(ep *endpoint) error {
	c.unplugAndRemove(ep, "its process ended")
	c.log.Info("port removed: its process ended", "network", ep.Network, "port", ep.Target, "mac", ep.MAC)
	return c.dropEndpoint(ep)
}

// dropEndpoint forgets an endpoint that has no port any more, and the static
// FDB entries that lead to it.
func (c *Controller) dropEndpoint(ep *endpoint) error {
	statics := c.statics
	do := func() {
		delete(c.endpoints, ep.key())
		c.statics = slices.DeleteFunc(slices.Clone(statics), func(s staticRecord) bool {
			return s.Network == ep.Network && s.Target == ep.Target
		})
	}
	return c.commit(do, func() { c.endpoints[ep.key()], c.statics = ep, statics })
}
