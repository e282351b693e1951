package control

import (
	"slices"
	"time"

	"weft/dataplane"
)

// publish brings the switch in line with networks and peers. It sends only what
// differs from the last time. change is held.
func (c *Controller) publish() error {
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
	if err := c.publishPeers(); err != nil {
		return err
	}
	for name, n := range c.networks {
		d, cfg := c.domains[name], c.domainConfig(n, largest[name])
		if d.cfg.MTU == cfg.MTU && d.cfg.Ageing == cfg.Ageing && slices.Equal(d.cfg.Peers, cfg.Peers) {
			continue
		}
		if err := c.sw.SetDomain(d.id, cfg); err != nil {
			return err
		}
		c.locked(func() { c.domains[name] = domain{d.id, cfg} })
	}
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
	cfg := dataplane.DomainConfig{Key: n.ID, MTU: max(c.mtu(n), largest), Ageing: time.Duration(n.Ageing) * time.Second}
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
