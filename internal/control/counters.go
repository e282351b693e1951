package control

import (
	"cmp"
	"slices"
	"strings"

	"weft/internal/drop"
	"weft/internal/spec"
)

// The kernel drops what a container sends while its TAP's queue is full, and
// counts that in the container's namespace. Those frames entered the switch as
// far as the container knows, so they stand on the balance sheet: in frames.in
// and under tap_full.

// readDropped asks the kernel what it dropped at ep, which is up. What cannot
// be read stays as it was.
func (c *Controller) readDropped(ep *endpoint) {
	c.mu.RLock()
	dev, ns, ifName, base := ep.dev, ep.namespace(), ep.IfName, ep.droppedBase
	c.mu.RUnlock()
	n, err := c.sys.dropped(ns, ifName)
	if err != nil || n < base {
		return
	}
	c.locked(func() {
		if ep.dev == dev && dev != nil { // still the same TAP
			ep.dropped = max(ep.dropped, n-base)
		}
	})
}

// readAllDropped does so for every port that is up.
func (c *Controller) readAllDropped() {
	c.mu.RLock()
	list := c.endpointList()
	up := list[:0]
	for _, ep := range list {
		if ep.dev != nil {
			up = append(up, ep)
		}
	}
	c.mu.RUnlock()
	for _, ep := range up {
		c.readDropped(ep)
	}
}

// lost returns what the kernel dropped at all ports, former ones included.
func (c *Controller) lost() uint64 {
	n := c.lostGone
	for _, ep := range c.endpoints {
		n += ep.dropped
	}
	return n
}

// What was handed to an egress TAP counts as transmitted; what the kernel drops
// behind it, as at a full queue of the uplink, it counts there, not by peer. It is
// taken off again here, and stands under tx_egress.

// frames returns the balance sheet, with what the kernel dropped.
func (c *Controller) frames() spec.Frames {
	f, lost, egress := c.sw.Frames(), c.lost(), c.under.EgressDropped()
	return spec.Frames{
		In: f.In + lost, Generated: f.Generated, Forwarded: f.Forwarded, Local: f.Local, Copies: f.Copies,
		Transmitted: f.Transmitted - egress, DroppedIn: f.DroppedIn + lost, DroppedOut: f.DroppedOut + egress,
	}
}

// totals returns the count of every reason.
func (c *Controller) totals() map[string]uint64 {
	counts := c.sw.Drops()
	counts[drop.TapFull] += c.lost()
	counts[drop.TxEgress] += c.under.EgressDropped()
	m := make(map[string]uint64, drop.Count)
	for _, r := range drop.All() {
		m[r.String()] = counts[r]
	}
	return m
}

const atSwitch = spec.AtSwitch // which no port is called

// Drops returns the drops of each port and peer, without zeros, and every reason
// for the rest, sorted by place and reason.
func (c *Controller) Drops() []spec.Drop {
	c.readAllDropped()
	c.mu.RLock()
	defer c.mu.RUnlock()
	list := []spec.Drop{}
	add := func(at string, counts [drop.Count]uint64) {
		for _, r := range drop.All() {
			if counts[r] > 0 || at == atSwitch {
				list = append(list, spec.Drop{At: at, Reason: r.String(), Count: counts[r]})
			}
		}
	}
	for _, p := range c.namedPorts() {
		if p.ep.dev != nil {
			counts := c.sw.PortStats(p.ep.port).Drops
			counts[drop.TapFull] += p.ep.dropped
			add(p.name, counts)
		}
	}
	for u, name := range c.uplinkNames() {
		if u.link != nil {
			add(name, c.sw.PortStats(u.port).Drops)
		}
	}
	for _, name := range sortedKeys(c.peers) {
		add(name, c.sw.PeerStats(c.peers[name].id).Drops)
	}
	other := c.sw.OtherDrops()
	other[drop.TapFull] += c.lostGone
	other[drop.TxEgress] += c.under.EgressDropped()
	add(atSwitch, other)
	slices.SortStableFunc(list, func(a, b spec.Drop) int {
		return cmp.Or(strings.Compare(a.At, b.At), strings.Compare(a.Reason, b.Reason))
	})
	return list
}
