package control

import (
	"time"

	"weft/dataplane"
	"weft/internal/header"
)

// announceAt is when a port that came up tells the network where its addresses
// are: three times, since a frame may be lost and a peer may not be ready. The
// ports of this switch are told once.
var announceAt = []time.Duration{0, time.Second, 3 * time.Second}

// announce sends gratuitous ARP and unsolicited neighbour advertisements for
// ep now, and arranges for the rest. change is held.
func (c *Controller) announce(ep *endpoint) {
	var frames [][]byte
	for _, p := range ep.Addresses {
		if p.Addr().Is4() {
			frames = append(frames, header.GratuitousARP(ep.MAC, p.Addr()))
		} else {
			frames = append(frames, header.UnsolicitedNA(ep.MAC, p.Addr()))
		}
	}
	port, dev := ep.port, ep.dev
	send := func(announce func(dataplane.PortID, []byte) error) {
		c.mu.RLock() // held until the frames are handed over: Close waits for it
		defer c.mu.RUnlock()
		if c.silent || ep.dev != dev || ep.port != port {
			return
		}
		for _, f := range frames {
			if err := announce(port, f); err != nil { // the container's first frame will do the same
				c.log.Debug("address not announced", "network", ep.Network, "port", ep.Target, "err", err)
			}
		}
	}
	for _, after := range announceAt {
		if after == 0 {
			send(c.sw.Announce)
		} else {
			again := func() { send(c.sw.AnnounceFar) }
			ep.timers = append(ep.timers, time.AfterFunc(after, again)) // owned by ep, stopped with its port
		}
	}
}

// stopAnnouncing cancels what announce arranged.
func (ep *endpoint) stopAnnouncing() {
	for _, t := range ep.timers {
		t.Stop()
	}
	ep.timers = nil
}
