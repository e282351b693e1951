package control

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"weft/internal/drop"
)

// watchEvery is how often the watch looks.
const watchEvery = 5 * time.Second

// watch notices what nobody asks for, until Close.
func (c *Controller) watch() {
	t := time.NewTicker(watchEvery)
	defer t.Stop()
	for {
		select {
		case <-c.done:
			return
		case <-t.C:
			c.look()
		}
	}
}

// look notes losses, says which peers came and went, and follows the
// underlay's link.
func (c *Controller) look() {
	end, err := c.begin()
	if err != nil {
		return
	}
	defer end()
	c.under.Refresh()
	if err := c.publish(); err != nil { // the MTU of networks that leave it open may be another
		c.log.Error("switch does not follow the underlay's MTU", "err", err)
	}
	c.followUplinks()
	c.lookAtHost()
	c.locked(func() {
		c.faults.noteOverflow(c.sw.Drops()[drop.RxOverflow], time.Now())
		for _, name := range sortedKeys(c.peers) {
			c.lookAtPeer(c.peers[name])
		}
	})
	c.noteWrong()
}

// lookAtPeer says whether p came or went since the last look.
func (c *Controller) lookAtPeer(p *peer) {
	h := c.healthOf(p)
	if h.state != p.last && (p.last != "" || h.state != "unknown") {
		c.log.Info("peer is "+h.state, "peer", p.Name, "address", p.Address, "reason", h.reason)
	}
	if h.state != cmp.Or(p.last, "unknown") {
		p.since = time.Now()
	}
	p.last = h.state
}

// lookAtLink finds out how large the underlay's link is now, or that a local
// address is missing. change is held, or nobody else knows c yet.
func (c *Controller) lookAtLink() {
	missing := ""
	own, err := c.sys.addrs()
	for _, a := range c.opt.Config.Local {
		if err == nil && !slices.Contains(own, a.Unmap()) {
			missing = a.String()
		}
	}
	links := c.links
	if missing == "" || links.first == 0 {
		links = linkMTUs{c.under.LinkMTU(), c.under.LinkMTUTo(netip.IPv4Unspecified()), c.under.LinkMTUTo(netip.IPv6Unspecified())}
	}
	c.locked(func() {
		if c.links != links {
			c.links, c.linksAt = links, time.Now()
		}
		if err == nil {
			c.own = own
		}
		c.faults.noteLocal(missing)
	})
}
