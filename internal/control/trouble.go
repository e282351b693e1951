package control

import (
	"fmt"
	"time"

	"weft/dataplane"
	"weft/encap"
	"weft/fib"
)

const (
	troubleShown = 30 * time.Second // after it was last heard of; the switch repeats what lasts within 5 s
	maxTroubles  = 64               // of the switch at one time; what is beyond is not shown
)

// trouble is what the switch found wrong in a network: a loop, or an address
// that is used in two places.
type trouble struct {
	what, why   string
	since, last time.Time
}

// troubleFound is called by the switch. It only takes notes: the switch has done
// what can be done.
func (c *Controller) troubleFound(e dataplane.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	network := ""
	for name, d := range c.domains {
		if d.id == e.Domain {
			network = name
		}
	}
	if c.silent || network == "" { // closing, or the network is gone
		return
	}
	at, other := c.placeName(e.At), c.placeName(e.Other)
	t := trouble{what: "network " + network}
	if e.Kind == dataplane.EventLoop {
		t.what = at
		t.why = fmt.Sprintf("blocked, since it is part of a loop in network %q: what leaves by %s comes back by it: %s", network, other, c.loopCure(e))
	} else {
		t.why = fmt.Sprintf("MAC %s is used in two places, %s and %s: give one of them another", e.MAC, at, other)
	}
	if c.faults.noteTrouble(t, time.Now()) {
		c.log.Warn("trouble found", "network", network, "at", t.what, "reason", t.why)
	}
}

// loopCure says how to open a loop. mu is held.
func (c *Controller) loopCure(e dataplane.Event) string {
	switch up := c.uplinkAt(dataplane.PortID(e.At.ID())); {
	case up != nil && e.Other.IsPeer():
		return fmt.Sprintf("both hosts join the network to one LAN and use peers; only one of them may have --transit: weft uplink rm %s %s", up.Network, up.Device)
	case up != nil:
		return fmt.Sprintf("the network is joined twice to one LAN: weft uplink rm %s %s", up.Network, up.Device)
	}
	return "do not bridge the two in a container"
}

// placeName names a port or a peer. mu is held.
func (c *Controller) placeName(d fib.Dest) string {
	ports, peers := c.namesByID()
	kind, name := "port", ports[dataplane.PortID(d.ID())]
	if d.IsPeer() {
		kind, name = "peer", peers[encap.PeerID(d.ID())]
	}
	if name == "" {
		return "a " + kind + " that is gone"
	}
	return kind + " " + name
}

// noteTrouble notes t at now and reports whether it is new.
func (f *faults) noteTrouble(t trouble, now time.Time) bool {
	for key, old := range f.troubles {
		if now.Sub(old.last) > troubleShown {
			delete(f.troubles, key)
		}
	}
	key := t.what + " " + t.why
	old, known := f.troubles[key]
	if !known && len(f.troubles) >= maxTroubles {
		return false
	}
	t.since, t.last = now, now
	if known {
		t.since = old.since
	}
	if f.troubles == nil {
		f.troubles = map[string]trouble{}
	}
	f.troubles[key] = t
	return !known
}

// degradedTroubles adds what the switch found and still finds.
func (c *Controller) degradedTroubles(add addDegraded) {
	for _, key := range sortedKeys(c.faults.troubles) {
		if t := c.faults.troubles[key]; time.Since(t.last) <= troubleShown {
			add(t.since, t.what, "%s", t.why)
		}
	}
}
