package control

import (
	"net/netip"
	"slices"

	"weft/internal/spec"
)

// Export returns the whole host: what Apply, on a fresh one with the same
// containers, makes it again. Declared objects are in it like all others. What
// has its default value is left out, and what is there for a while only, as the
// place of a bench.
func (c *Controller) Export() spec.Config {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.export(byAPI, declared)
}

// export returns what is of certain origins. mu is held, or change.
func (c *Controller) export(origins ...string) spec.Config {
	cfg := spec.Config{}
	from := func(origin string) bool { return slices.Contains(origins, origin) }
	holds := map[string]bool{} // networks under which something stands
	for _, ep := range c.hostPlaces() {
		if !ep.Host.ForPublish && from(ep.Host.Origin) {
			cfg.Exposed = append(cfg.Exposed, ep.exposure())
			holds[ep.Network] = true
		}
	}
	for _, p := range c.published {
		if from(p.origin) {
			cfg.Published = append(cfg.Published, p.Publish)
			holds[p.Network] = true
		}
	}
	for _, name := range sortedKeys(c.networks) {
		if n := c.networks[name]; from(n.origin) || n.kept || holds[name] {
			cfg.Networks = append(cfg.Networks, unsettle(n.Network))
		}
	}
	for _, name := range sortedKeys(c.desired.peers) {
		if p := c.desired.peers[name]; from(p.origin) {
			cfg.Peers = append(cfg.Peers, p.Peer)
		}
	}
	for _, r := range c.routeList() {
		if from(r.origin) {
			cfg.Routes = append(cfg.Routes, r.Route)
		}
	}
	for _, ep := range c.endpointList() {
		if n := c.networks[ep.Network]; n != nil && ep.Host == nil && !ep.target.thread {
			cfg.Attachments = append(cfg.Attachments, exportPort(n, ep))
		}
	}
	for _, u := range c.uplinkList() {
		if from(u.origin) {
			cfg.Uplinks = append(cfg.Uplinks, u.Uplink)
		}
	}
	for _, s := range c.statics {
		cfg.FDB = append(cfg.FDB, spec.Static{Network: s.Network, VLAN: s.VLAN, MAC: s.MAC.String(), To: s.to()})
	}
	return cfg
}

// unsettle takes out again what settle fills in.
func unsettle(n spec.Network) spec.Network {
	if n.ID == nameID(n.Name) {
		n.ID = 0
	}
	if n.Ageing == defaultAgeing {
		n.Ageing = 0
	}
	return n
}

// exportPort returns the attachment that makes ep. Its MAC and addresses are
// written out, so that they stay.
func exportPort(n *network, ep *endpoint) spec.Attach {
	a := spec.Attach{Network: ep.Network, Target: ep.Target, MAC: ep.MAC.String(), AllowSpoof: ep.AllowSpoof, MACLimit: ep.MACLimit, Storm: ep.Storm, Isolated: ep.Isolated, VLAN: ep.VLAN, Trunk: ep.Trunk, NoAddress: len(ep.Addresses) == 0}
	if ep.IfName != spec.DefaultIfName {
		a.IfName = ep.IfName
	}
	if ep.OwnMTU {
		a.MTU = ep.MTU
	}
	implied := chooseGateways(n.in(ep.VLAN), nil, ep.Addresses)
	written := map[netip.Addr]bool{}
	for _, p := range ep.Addresses {
		addr := spec.Address{Prefix: p}
		for _, gw := range ep.Gateways {
			if !slices.Contains(implied, gw) && !written[gw] && p.Contains(gw) {
				addr.Gateway, written[gw] = gw, true
			}
		}
		a.Addresses = append(a.Addresses, addr)
	}
	return a
}
