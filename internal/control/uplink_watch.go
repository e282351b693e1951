package control

import (
	"strings"
	"time"

	"github.com/vishvananda/netlink"
)

// linkPause is how long links may change before the underlay is asked about them:
// what changes seldom changes alone, and an attach makes links come and go.
const linkPause = 200 * time.Millisecond

// watchLinks follows the links of uplinks, and has the underlay follow those that it
// sends by, so that peers hear at once of an MTU that fell, until Close. A look every
// few seconds (watch.go) finds what it misses.
func (c *Controller) watchLinks() {
	changed := make(chan string, 256)
	if err := c.sys.watchLinks(changed, c.done); err != nil {
		c.log.Error("changes of links are noticed late", "err", err)
		return
	}
	var ask <-chan time.Time // nil: nothing has changed
	for {
		select {
		case <-c.done:
			return
		case <-ask:
			ask = nil
			c.under.Refresh()
		case name := <-changed:
			if ask == nil {
				ask = time.After(linkPause)
			}
			if c.isUplink(name) {
				c.lookAtUplinks()
			}
		}
	}
}

// isUplink reports whether a link is one that an uplink follows: its own, or the
// TAP that leads to the host.
func (c *Controller) isUplink(link string) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for _, u := range c.uplinks {
		if u.Device == link || strings.HasPrefix(link, "weftup-") {
			return true
		}
	}
	return false
}

// lookAtUplinks makes every uplink what its link allows.
func (c *Controller) lookAtUplinks() {
	end, err := c.begin()
	if err != nil {
		return
	}
	defer end()
	c.followUplinks()
}

// subscribeLinks sends the names of links that change to changed, until done.
// Names that do not fit are left out.
func subscribeLinks(changed chan<- string, done <-chan struct{}) error {
	updates := make(chan netlink.LinkUpdate)
	if err := netlink.LinkSubscribe(updates, done); err != nil {
		return err
	}
	go func() { // ends when done has closed updates
		for u := range updates {
			select {
			case changed <- u.Attrs().Name:
			default:
			}
		}
	}()
	return nil
}
