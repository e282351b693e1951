package control

import (
	"fmt"
	"maps"
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

	loop      bool
	domain    dataplane.DomainID
	at, other fib.Dest
}

// names reports whether t is about a place: a port, or a peer.
func (t trouble) names(d fib.Dest) bool { return d != 0 && (t.at == d || t.other == d) }

// follows reports whether t is an address in two places that a loop explains:
// what goes round in it comes back by its ports, whoever sent it.
func (t trouble) follows(loop trouble) bool {
	return loop.loop && !t.loop && t.domain == loop.domain && (t.names(loop.at) || t.names(loop.other))
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
	if at == "" || other == "" { // it went meanwhile, and the trouble with it
		return
	}
	t := trouble{what: "network " + network, loop: e.Kind == dataplane.EventLoop, domain: e.Domain, at: e.At, other: e.Other}
	if t.loop {
		t.what = at
		t.why = fmt.Sprintf("blocked, since it is part of a loop in network %q: what leaves by %s comes back by it: %s", network, other, c.loopCure(e))
	} else {
		t.why = fmt.Sprintf("MAC %s is used in two places%s, %s and %s: give one of them another", e.MAC, inVLAN(e.VLAN), at, other)
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

// placeName names a port or a peer; empty where it is gone. mu is held.
func (c *Controller) placeName(d fib.Dest) string {
	ports, peers := c.namesByID()
	kind, name := "port", ports[dataplane.PortID(d.ID())]
	if d.IsPeer() {
		kind, name = "peer", peers[encap.PeerID(d.ID())]
	}
	if name == "" {
		return ""
	}
	return kind + " " + name
}

// noteTrouble notes t at now and reports whether it is new. What a loop explains
// is not noted, and forgotten once the loop is found: it would accuse others.
func (f *faults) noteTrouble(t trouble, now time.Time) bool {
	for key, old := range f.troubles {
		switch {
		case now.Sub(old.last) > troubleShown, old.follows(t):
			delete(f.troubles, key)
		case t.follows(old):
			return false
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

// forgetTroubles forgets the troubles of ports and peers that are gone: nobody
// can mend them, and their numbers may be others' soon. mu is held.
func (c *Controller) forgetTroubles() {
	maps.DeleteFunc(c.faults.troubles, func(_ string, t trouble) bool {
		return c.placeName(t.at) == "" || c.placeName(t.other) == ""
	})
}

// degradedTroubles adds the loops, or else the other troubles, that the switch
// found and still finds.
func (c *Controller) degradedTroubles(loops bool, add addDegraded) {
	for _, key := range sortedKeys(c.faults.troubles) {
		if t := c.faults.troubles[key]; t.loop == loops && time.Since(t.last) <= troubleShown {
			add(t.since, t.what, "%s", t.why)
		}
	}
}
