package control

import (
	"slices"
	"strings"
	"time"

	"weft/internal/spec"
)

// Status returns everything on one page.
func (c *Controller) Status() spec.Status {
	c.readAllDropped()
	s := spec.Status{
		Name: c.opt.Config.Name, Version: c.opt.Version, UptimeSeconds: int64(time.Since(c.started).Seconds()),
		Networks: c.Networks(), Ports: c.Ports(), Peers: c.Peers(),
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	s.Frames, s.Drops, s.Degraded = c.frames(), c.totals(), c.degraded()
	return s
}

// namedPort is an endpoint and the name of its port.
type namedPort struct {
	name string
	ep   *endpoint
}

// namedPorts returns all endpoints, sorted by the names of their ports.
func (c *Controller) namedPorts() []namedPort {
	var list []namedPort
	for ep, name := range portNames(c.endpointList()) {
		list = append(list, namedPort{name, ep})
	}
	slices.SortFunc(list, func(a, b namedPort) int { return strings.Compare(a.name, b.name) })
	return list
}

// Ports returns all ports, sorted by name.
func (c *Controller) Ports() []spec.PortStatus {
	c.mu.RLock()
	defer c.mu.RUnlock()
	list := []spec.PortStatus{}
	for _, p := range c.namedPorts() {
		list = append(list, c.portStatus(p.ep, p.name))
	}
	for u, name := range c.uplinkNames() {
		list = append(list, c.uplinkPort(u, name))
	}
	slices.SortFunc(list, func(a, b spec.PortStatus) int { return strings.Compare(a.Name, b.Name) })
	return list
}

func (c *Controller) portStatus(ep *endpoint, name string) spec.PortStatus {
	s := spec.PortStatus{
		Name: name, Network: ep.Network, Kind: "tap", Target: ep.Target, Namespace: ep.target.path, IfName: ep.IfName, MAC: ep.MAC,
		Addresses: orEmpty(ep.Addresses), MTU: ep.MTU, Up: ep.dev != nil, AllowSpoof: ep.AllowSpoof, Isolated: ep.Isolated, VLAN: ep.VLAN, Trunk: ep.Trunk,
		MACLimit: 1, Storm: limitOf(ep.Storm, spec.DefaultStorm),
	}
	if ep.AllowSpoof {
		s.MACLimit = limitOf(ep.MACLimit, spec.DefaultMACLimit)
	}
	if ep.Host != nil {
		s.Kind = "host"
	}
	if ep.dev != nil {
		stats := c.sw.PortStats(ep.port)
		s.RxFrames, s.TxFrames, s.RxBytes, s.TxBytes = stats.RxFrames, stats.TxFrames, stats.RxBytes, stats.TxBytes
		s.NotLearned, s.Blocked = stats.NotLearned, stats.Blocked
	}
	return s
}
