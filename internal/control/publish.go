package control

import (
	"net/netip"
	"reflect"
	"slices"
	"time"

	"weft/dataplane"
	"weft/fib"
	"weft/internal/spec"
)

// publish brings the switch in line with networks, peers and routes. It sends
// only what differs from the last time. What refers to something comes after it,
// and goes before it. change is held.
func (c *Controller) publish() error {
	steps := []func() error{
		c.addTables, c.addDomains, c.publishPeers, c.setDomains, c.publishRoutes, c.removeDomains, c.removeTables,
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (c *Controller) addDomains() error {
	largest := c.largestMTUs()
	for name, n := range c.networks {
		if _, ok := c.domains[name]; ok {
			continue
		}
		cfg := c.domainConfig(n, largest[name])
		cfg.Peers = nil // which the switch may not know yet
		id, err := c.sw.AddDomain(cfg)
		if err != nil {
			return err
		}
		c.locked(func() { c.domains[name] = domain{id, cfg} })
	}
	return nil
}

func (c *Controller) setDomains() error {
	largest := c.largestMTUs()
	for name, n := range c.networks {
		d, cfg := c.domains[name], c.domainConfig(n, largest[name])
		if reflect.DeepEqual(d.cfg, cfg) {
			continue
		}
		if err := c.sw.SetDomain(d.id, cfg); err != nil {
			return err
		}
		c.locked(func() { c.domains[name] = domain{d.id, cfg} })
	}
	return nil
}

func (c *Controller) removeDomains() error {
	for name, d := range c.domains {
		if c.networks[name] != nil {
			continue
		}
		if err := c.sw.RemoveDomain(d.id); err != nil {
			return err
		}
		c.locked(func() { delete(c.domains, name) })
	}
	return nil
}

// publishPeers sends the peers to the switch. One that goes is forgotten there,
// in every domain, when this returns.
func (c *Controller) publishPeers() error {
	peers := c.peerConfigs()
	if slices.Equal(peers, c.sent) {
		return nil
	}
	if err := c.sw.SetPeers(peers); err != nil {
		return err
	}
	c.sent = peers
	return nil
}

// domainConfig returns what the switch is to know of n. Its MTU is that of the
// port that may send the most: ports keep theirs when the network's changes.
func (c *Controller) domainConfig(n *network, largest int) dataplane.DomainConfig {
	cfg := dataplane.DomainConfig{
		Key: n.ID, MTU: max(c.mtu(n), largest), Ageing: time.Duration(n.Ageing) * time.Second,
		Prefixes: n.Prefixes, Gateways: n.Gateways, Apart: n.ICC == spec.ICCOff,
	}
	if _, key, ok := vrfOf(n.Network); ok && len(n.Gateways) > 0 {
		cfg.VRF = key
	}
	for _, u := range c.uplinksOf(n.Name) {
		cfg.Reserved = append(cfg.Reserved, u.reserved...)
	}
	for _, name := range sortedKeys(c.peers) {
		if p := c.peers[name]; p.shares(n.Name, c.networks) && !c.isAlone(n.Name) {
			cfg.Peers = append(cfg.Peers, p.id)
		}
	}
	return cfg
}

// largestMTUs returns the largest MTU of an endpoint, by network.
func (c *Controller) largestMTUs() map[string]int {
	largest := map[string]int{}
	for key, ep := range c.endpoints {
		largest[key.network] = max(largest[key.network], ep.MTU)
	}
	return largest
}

func (c *Controller) addTables() error {
	for _, v := range c.vrfs() {
		if c.tables[v.key] {
			continue
		}
		if err := c.sw.AddVRF(v.key); err != nil {
			return err
		}
		c.tables[v.key] = true
		c.routesSent = false
	}
	return nil
}

// publishRoutes changes the tables of the switch, each in one step, so that no
// packet finds a table half made.
func (c *Controller) publishRoutes() error {
	all := c.vrfs()
	for _, k := range c.routesDue {
		if !c.routesSent {
			break
		}
		c.publishRoute(all, k)
	}
	c.routesDue = nil
	if c.routesSent {
		return nil
	}
	var unused []routeKey
	waits := map[routeKey]bool{}
	used := map[string]int{} // routes of each vrf
	for r := range c.routes.all() {
		if c.problem(all, r) != nil {
			unused = append(unused, r.key())
			waits[r.key()] = true
		} else {
			used[r.VRF]++
		}
	}
	c.locked(func() { c.unused = unused })
	byKey := map[uint32]*vrf{}
	for _, v := range all {
		byKey[v.key] = v
	}
	for key := range c.tables {
		if v := byKey[key]; v != nil {
			c.publishTable(v, waits, used[v.name])
		} else { // it goes in a moment
			c.sw.Routes(key).Update(func(b *fib.Batch) { b.Clear() })
		}
	}
	c.routesSent = true
	return nil
}

// publishRoute is publishRoutes for one route, without a look at the others.
// Where it may matter to them it only says that they are to be sent.
func (c *Controller) publishRoute(all map[string]*vrf, k routeKey) {
	v, r := all[k.vrf], c.routes.get(k)
	if v == nil || k.prefix.Bits() == 0 || v.isConnected(k.prefix) || c.routes.hopIn(k.prefix) { // a default route may be the host's
		c.routesSent = false
		return
	}
	waits := r != nil && c.problem(all, r) != nil
	c.locked(func() {
		i, was := slices.BinarySearchFunc(c.unused, k, routeKey.compare)
		switch {
		case waits && !was:
			c.unused = slices.Insert(slices.Clone(c.unused), i, k)
		case was && !waits:
			c.unused = slices.Delete(slices.Clone(c.unused), i, i+1)
		}
	})
	if table := c.sw.Routes(v.key); r == nil || waits {
		table.Delete(k.prefix)
	} else {
		table.Insert(k.prefix, c.nextHop(r))
	}
}

// nextHop returns where a route that can be followed leads.
func (c *Controller) nextHop(r *route) fib.NextHop {
	if r.addr.IsValid() {
		return fib.NextHop{Kind: fib.HopAddr, Via: r.addr}
	}
	return fib.NextHop{Kind: fib.HopPeer, Dest: fib.PeerDest(uint16(c.peers[r.Via].id))}
}

// publishTable brings the table of v in line: its connected prefixes, and those
// of its routes, used in number, that do not wait for something.
func (c *Controller) publishTable(v *vrf, waits map[routeKey]bool, used int) {
	table, defaults := c.sw.Routes(v.key), c.hostDefaults(v)
	for p := range defaults {
		if k := (routeKey{v.name, p}); c.routes.has(k) && !waits[k] {
			delete(defaults, p) // the user's own stands
		}
	}
	table.Update(func(b *fib.Batch) {
		put := func(p netip.Prefix, hop fib.NextHop) {
			if have, ok := b.Get(p); !ok || have != hop {
				b.Insert(p, hop)
			}
		}
		for _, conn := range v.connected {
			put(conn.prefix, fib.NextHop{Kind: fib.HopConnected, Domain: uint16(c.domains[conn.network.Name].id)})
		}
		for r := range c.routes.in(v.name) {
			if !waits[r.key()] {
				put(r.Prefix, c.nextHop(r))
			}
		}
		for p, hop := range defaults {
			put(p, hop)
		}
		if b.Len() == used+len(v.connected)+len(defaults) { // nothing else is there
			return
		}
		for p := range table.All() { // as before this update
			k := routeKey{v.name, p}
			if _, host := defaults[p]; (!c.routes.has(k) || waits[k]) && !v.isConnected(p) && !host {
				b.Delete(p)
			}
		}
	})
}

func (c *Controller) removeTables() error {
	wanted := map[uint32]bool{}
	for _, v := range c.vrfs() {
		wanted[v.key] = true
	}
	for key := range c.tables {
		if wanted[key] {
			continue
		}
		if err := c.sw.RemoveVRF(key); err != nil {
			return err
		}
		delete(c.tables, key)
	}
	return nil
}
