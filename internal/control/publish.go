package control

import (
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"weft/dataplane"
	"weft/fib"
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
		Prefixes: n.Prefixes, Gateways: n.Gateways,
	}
	if _, key, ok := vrfOf(n.Network); ok && len(n.Gateways) > 0 {
		cfg.VRF = key
	}
	for _, name := range sortedKeys(c.peers) {
		if p := c.peers[name]; p.shares(n.Name, c.networks) {
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

// table is a routing table: what control put into that of a vrf.
type table map[netip.Prefix]fib.NextHop

// wantTables returns the tables as they should be, by key, for the domains that
// the switch has.
func (c *Controller) wantTables() map[uint32]table {
	want, all := map[uint32]table{}, c.vrfs()
	for _, v := range all {
		t := table{}
		for _, n := range v.networks {
			for _, p := range n.connected() {
				t[p] = fib.NextHop{Kind: fib.HopConnected, Domain: uint16(c.domains[n.Name].id)}
			}
		}
		want[v.key] = t
	}
	for _, r := range c.routes {
		if c.problem(all, r) != nil {
			continue
		}
		t := want[all[r.VRF].key]
		if r.addr.IsValid() {
			t[r.Prefix] = fib.NextHop{Kind: fib.HopAddr, Via: r.addr}
		} else {
			t[r.Prefix] = fib.NextHop{Kind: fib.HopPeer, Dest: fib.PeerDest(uint16(c.peers[r.Via].id))}
		}
	}
	return want
}

func (c *Controller) addTables() error {
	for _, v := range c.vrfs() {
		if _, ok := c.tables[v.key]; ok {
			continue
		}
		if err := c.sw.AddVRF(v.key); err != nil {
			return err
		}
		c.tables[v.key] = table{}
	}
	return nil
}

// publishRoutes changes the tables of the switch, each in one step, so that no
// packet finds a table half made.
func (c *Controller) publishRoutes() error {
	want := c.wantTables()
	for key, have := range c.tables {
		next := want[key]
		if maps.Equal(have, next) {
			continue
		}
		c.sw.Routes(key).Update(func(b *fib.Batch) {
			for p := range have {
				if _, ok := next[p]; !ok {
					b.Delete(p)
				}
			}
			for p, hop := range next {
				if have[p] != hop {
					b.Insert(p, hop)
				}
			}
		})
		c.tables[key] = next
	}
	return nil
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
