package control

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"weft/dataplane"
	"weft/encap"
	"weft/fib"
	"weft/internal/header"
	"weft/internal/spec"
)

// kinds are the words for entries of the FDB.
var kinds = map[fib.Kind]string{fib.Attached: "attached", fib.Learned: "learned", fib.Static: "static"}

// FDB returns the entries of one network, or of all where network is empty,
// sorted by network and address.
func (c *Controller) FDB(network string) ([]spec.FDBEntry, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	names := sortedKeys(c.networks)
	if network != "" {
		if _, err := c.networkNamed(network); err != nil {
			return nil, err
		}
		names = []string{network}
	}
	ports, peers := c.namesByID()
	list := []spec.FDBEntry{}
	for _, name := range names {
		list = append(list, c.entriesOf(name, 0, ports, peers)...)
		for _, vid := range c.sw.VLANs(c.domains[name].id) {
			list = append(list, c.entriesOf(name, int(vid), ports, peers)...)
		}
	}
	return list, nil
}

// entriesOf returns the entries of one VLAN of a network.
func (c *Controller) entriesOf(network string, vlan int, ports map[dataplane.PortID]string, peers map[encap.PeerID]string) (list []spec.FDBEntry) {
	table := c.table(network, vlan)
	if table == nil { // it is being made or removed
		return nil
	}
	for _, e := range table.Entries(c.sw.Now()) {
		row := spec.FDBEntry{Network: network, VLAN: vlan, MAC: e.MAC, Kind: kinds[e.Kind], AgeSeconds: e.Age}
		if e.Dest.IsPeer() {
			row.Peer = peers[encap.PeerID(e.Dest.ID())]
		} else {
			row.Port = ports[dataplane.PortID(e.Dest.ID())]
		}
		list = append(list, row)
	}
	return list
}

// table returns the FDB of a VLAN of a network, or of the untagged one; nil where
// there is none.
func (c *Controller) table(network string, vlan int) *fib.FDB {
	return c.sw.FDB(c.sw.VLAN(c.domains[network].id, uint16(vlan)))
}

// namesByID returns the names of ports and peers by the switch's numbers.
func (c *Controller) namesByID() (map[dataplane.PortID]string, map[encap.PeerID]string) {
	ports, peers := map[dataplane.PortID]string{}, map[encap.PeerID]string{}
	for ep, name := range portNames(c.endpointList()) {
		if ep.dev != nil {
			ports[ep.port] = name
		}
	}
	for u, name := range c.uplinkNames() {
		if u.link != nil {
			ports[u.port], ports[c.sw.HostSide(u.port)] = name, name
		}
	}
	for name, p := range c.peers {
		peers[p.id] = name
	}
	return ports, peers
}

// AddFDB makes a static entry, which outlives a restart. to is a port's name,
// or peer:NAME; vlan 0 is the untagged one. The same entry again is no error.
func (c *Controller) AddFDB(network, mac, to string, vlan int) error {
	end, err := c.begin()
	if err != nil {
		return err
	}
	defer end()
	n, m, err := c.networkAndMAC(network, mac, vlan)
	if err != nil {
		return err
	}
	add, dest, err := c.staticTo(n, m, to, vlan)
	if err != nil {
		return err
	}
	if err := c.checkAttached(n, m, "it needs no entry"); err != nil {
		return err
	}
	for _, s := range c.statics {
		if s == add {
			return nil
		}
		if s.Network == network && s.VLAN == vlan && s.MAC == m {
			return fmt.Errorf("MAC %s has a static entry in network %q that leads to %s: remove it first with weft fdb rm %s %s%s", m, network, c.staticName(s), network, m, vlanFlag(vlan))
		}
	}
	statics := c.statics
	do := func() { c.statics = sortStatics(append(slices.Clone(statics), add)) }
	undo := func() { c.statics = statics }
	if err := c.commit(do, undo); err != nil {
		return fmt.Errorf("add FDB entry %s: %w", m, err)
	}
	if table := c.table(network, vlan); dest != 0 && table != nil && !table.Set(m, dest, fib.Static) {
		c.locked(undo)
		if err := c.save(); err != nil {
			c.log.Error("refused FDB entry stays in the state file", "network", network, "mac", m, "err", err)
		}
		return fmt.Errorf("add FDB entry %s: the FDB of network %q is full: remove entries with weft fdb rm", m, network)
	}
	return nil
}

// networkAndMAC looks both up.
func (c *Controller) networkAndMAC(network, mac string, vlan int) (*network, header.MAC, error) {
	n, err := c.networkNamed(network)
	if err == nil && vlan != 0 {
		err = spec.CheckVLAN(vlan)
	}
	if err != nil {
		return nil, 0, err
	}
	m, err := spec.ParseMAC(mac)
	return n, m, err
}

// staticTo returns the entry that leads mac to a port or peer:NAME. dest is 0
// for a port that is down.
func (c *Controller) staticTo(n *network, mac header.MAC, to string, vlan int) (s staticRecord, dest fib.Dest, err error) {
	s = staticRecord{Network: n.Name, VLAN: vlan, MAC: mac}
	if name, ok := strings.CutPrefix(to, "peer:"); ok {
		p := c.peers[name]
		switch {
		case p == nil:
			return s, 0, fmt.Errorf("peer %q does not exist: weft peer ls shows those that do", name)
		case !p.shares(n.Name, c.networks):
			return s, 0, fmt.Errorf("peer %q does not share network %q: choose another", name, n.Name)
		}
		s.Peer = name
		return s, fib.PeerDest(uint16(p.id)), nil
	}
	for ep, name := range portNames(c.endpointList()) {
		if name != to || ep.Network != n.Name {
			continue
		}
		if !ep.in(vlan) {
			return s, 0, fmt.Errorf("port %s is attached %s: it is not in %s", name, ep.vlans(), vlanName(vlan))
		}
		s.Target = ep.Target
		if ep.dev != nil {
			dest = fib.PortDest(uint16(ep.port))
		}
		return s, dest, nil
	}
	for u, name := range c.uplinkNames() {
		if (name == to || u.target() == to) && u.Network == n.Name {
			s.Target = u.target()
			if u.link != nil {
				dest = fib.PortDest(uint16(u.port))
			}
			return s, dest, nil
		}
	}
	return s, 0, fmt.Errorf("network %q has no port %q: weft port ls shows its ports; a peer is written peer:NAME", n.Name, to)
}

// checkAttached refuses the MAC of a port.
func (c *Controller) checkAttached(n *network, mac header.MAC, cure string) error {
	for _, ep := range c.endpointsOf(n.Name) {
		if ep.MAC == mac {
			return fmt.Errorf("MAC %s is that of port %s in network %q: %s", mac, c.portName(ep), n.Name, cure)
		}
	}
	if u := c.hasLinkMAC(n.Name, mac); u != nil {
		return fmt.Errorf("MAC %s is that of this host itself, on uplink %s of network %q: %s", mac, u.Device, n.Name, cure)
	}
	return nil
}

// RemoveFDB removes a static or learned entry. One that does not exist is no error.
func (c *Controller) RemoveFDB(network, mac string, vlan int) error {
	end, err := c.begin()
	if err != nil {
		return err
	}
	defer end()
	n, m, err := c.networkAndMAC(network, mac, vlan)
	if err != nil {
		return err
	}
	if err := c.checkAttached(n, m, "weft detach removes both"); err != nil {
		return err
	}
	statics := c.statics
	do := func() {
		c.statics = slices.DeleteFunc(slices.Clone(statics), func(s staticRecord) bool { return s.Network == network && s.VLAN == vlan && s.MAC == m })
	}
	if err := c.commit(do, func() { c.statics = statics }); err != nil {
		return fmt.Errorf("remove FDB entry %s: %w", m, err)
	}
	if table := c.table(network, vlan); table != nil {
		table.Delete(m)
	}
	return nil
}

// FlushFDB removes the learned entries of one network, or of all where network
// is empty, and returns how many.
func (c *Controller) FlushFDB(network string) (int, error) {
	end, err := c.begin()
	if err != nil {
		return 0, err
	}
	defer end()
	if network != "" {
		if _, err := c.networkNamed(network); err != nil {
			return 0, err
		}
	}
	n := 0
	for name, d := range c.domains {
		if network == "" || network == name {
			n += c.sw.FDB(d.id).Flush(0)
			for _, vid := range c.sw.VLANs(d.id) {
				n += c.table(name, int(vid)).Flush(0)
			}
		}
	}
	return n, nil
}

// restoreStatics puts the static entries that lead to ep into the FDB: its port
// is new there. With it VLANs may be new, and so all entries in them.
func (c *Controller) restoreStatics(ep *endpoint) {
	for _, s := range c.statics {
		if s.Network != ep.Network {
			continue
		}
		if s.Target == ep.Target {
			c.setStatic(s, fib.PortDest(uint16(ep.port)))
		} else if dest, ok := c.staticDest(s); ok && s.VLAN != 0 && ep.in(s.VLAN) {
			c.setStatic(s, dest)
		}
	}
}

// restorePeerStatics does the same for peers, after a start.
func (c *Controller) restorePeerStatics() {
	for _, s := range c.statics {
		if p := c.peers[s.Peer]; p != nil && s.Peer != "" {
			c.setStatic(s, fib.PeerDest(uint16(p.id)))
		}
	}
}

// staticDest returns where s leads to; false for a port that is down.
func (c *Controller) staticDest(s staticRecord) (fib.Dest, bool) {
	if p := c.peers[s.Peer]; p != nil && s.Peer != "" {
		return fib.PeerDest(uint16(p.id)), true
	}
	for _, ep := range c.endpoints {
		if ep.Network == s.Network && ep.Target == s.Target && ep.dev != nil {
			return fib.PortDest(uint16(ep.port)), true
		}
	}
	for _, u := range c.uplinks {
		if u.Network == s.Network && u.target() == s.Target && u.link != nil {
			return fib.PortDest(uint16(u.port)), true
		}
	}
	return 0, false
}

func (c *Controller) setStatic(s staticRecord, dest fib.Dest) {
	table := c.table(s.Network, s.VLAN)
	if table == nil && s.VLAN != 0 {
		return // until a port names the VLAN
	}
	if table == nil || !table.Set(s.MAC, dest, fib.Static) {
		c.log.Warn("static FDB entry was not restored", "network", s.Network, "mac", s.MAC, "to", c.staticName(s))
	}
}

// staticName names where s leads to, as `fdb add` takes it.
func (c *Controller) staticName(s staticRecord) string {
	if s.Peer != "" {
		return "peer:" + s.Peer
	}
	for ep, name := range portNames(c.endpointList()) {
		if ep.Network == s.Network && ep.Target == s.Target {
			return name
		}
	}
	for u, name := range c.uplinkNames() {
		if u.Network == s.Network && u.target() == s.Target {
			return name
		}
	}
	return s.Target
}

func sortStatics(list []staticRecord) []staticRecord {
	slices.SortFunc(list, func(a, b staticRecord) int {
		return cmp.Or(cmp.Compare(a.Network, b.Network), cmp.Compare(a.VLAN, b.VLAN), cmp.Compare(a.MAC, b.MAC))
	})
	return list
}
