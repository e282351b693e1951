package control

import (
	"cmp"
	"fmt"
	"time"

	"weft/dataplane"
	"weft/encap"
)

// heardFor is how many seconds a valid datagram keeps a peer up that is not weft.
const heardFor = 30

// health is what is known of a peer's being there.
type health struct {
	state  string // up, down or unknown
	reason string
	since  time.Time // of state; zero: not known
	failed bool      // down by an error or by a hello without an answer, not by silence
}

// healthOf returns the health of p. mu or change is held.
func (c *Controller) healthOf(p *peer) health {
	wall := time.Now()
	stats, now := c.sw.PeerStats(p.id), c.sw.Now()
	stats.Err = encap.RouteError(p.Address, stats.Err)
	h := plainHealth(stats, now, wall)
	if path := c.under.Path(p.id); path.Weft {
		heard := wall.Add(-time.Duration(now-stats.Heard) * time.Second)
		other := h.state == "up" && heard.Sub(path.Heard) > heardFor*time.Second // answers no hello, but sends
		if path.State != encap.PathUnknown && !(path.State == encap.PathDown && other) {
			return weftHealth(path, h, wall)
		}
	}
	if h.since.IsZero() && h.state == cmp.Or(p.last, "unknown") {
		h.since = p.since
	}
	if h.since.IsZero() {
		h.since = c.started
	}
	return h
}

// weftHealth reads the health of another weft off the hello, which can not be
// forged as datagrams and ICMP errors can. plain is what those say.
func weftHealth(path encap.Path, plain health, wall time.Time) health {
	h := health{state: path.State.String(), since: path.Since}
	if path.State == encap.PathUp {
		h.reason = fmt.Sprintf("speaks weft, round trip %v", path.RTT.Round(time.Microsecond))
		return h
	}
	h.failed = true
	h.reason = fmt.Sprintf("%s: last heard %d s ago, at %s", path.Why, int(wall.Sub(path.Heard).Seconds()), path.Heard.Format(time.RFC3339))
	if plain.failed {
		h.reason += "; " + plain.reason
	}
	return h
}

// plainHealth reads a peer's health off its counters at second now of the
// switch's clock, which is wall on the wall.
func plainHealth(s dataplane.PeerStats, now uint32, wall time.Time) health {
	at := func(second uint32) time.Time {
		return wall.Add(-time.Duration(now-second) * time.Second).Truncate(time.Second)
	}
	heard := func() string {
		if s.Heard == 0 {
			return "nothing heard yet"
		}
		return fmt.Sprintf("last datagram %d s ago, at %s", now-s.Heard, at(s.Heard).Format(time.RFC3339))
	}
	switch {
	case s.Failed > s.Heard: // an error is a hint: the next valid datagram refutes it
		why := fmt.Sprintf("%v since %s; %s", s.Err, at(s.Failed).Format(time.RFC3339), heard())
		return health{state: "down", reason: why, since: at(s.Failed), failed: true}
	case s.Heard == 0:
		return health{state: "unknown", reason: heard()}
	case now-s.Heard <= heardFor:
		return health{state: "up", reason: heard()}
	}
	return health{state: "down", reason: "silent: " + heard(), since: at(s.Heard + heardFor)}
}
