package e2e

import (
	"strings"
	"testing"
	"time"
)

// TestPeersLink lowers the MTU of one host's uplink, at that end alone, so that no
// router could tell the other: the host says so itself. 1390 is none of the sizes that
// the other would find out. What is wrong is so since then, not since the peer is up.
func TestPeersLink(t *testing.T) {
	p := newPair(t, 1500)
	p.h1.untilPeer("up", isUp)
	first := time.Now() // so much later at least it shall be that the path is smaller
	eventually(t, time.Minute, func() string {
		if time.Since(first) < 2*time.Second {
			return "it is too early"
		}
		return ""
	})
	began := time.Now()
	if _, err := p.h2.NS.Output(t.Context(), "ip", "link", "set", "eth0", "mtu", "1390"); err != nil {
		t.Fatal(err)
	}
	p.h1.untilPeer("told of 1390", func(s peerStatus) bool { return s.MTU == 1390-50 })
	t.Logf("told after %v", time.Since(began).Round(time.Millisecond))
	found := false
	for _, d := range p.h1.status().Degraded {
		if strings.HasPrefix(d.What, "peer ") {
			found = true
			if d.Since.Before(began.Truncate(time.Second)) {
				t.Errorf("%s: %s since %v, want since after %v", d.What, d.Why, d.Since, began)
			}
		}
	}
	if !found {
		t.Errorf("not degraded: %+v", p.h1.status().Degraded)
	}
	moveBothWays(t, p, 1<<20) // ports have larger MTUs than that: what they send is cut, or answered
	if _, err := p.h2.NS.Output(t.Context(), "ip", "link", "set", "eth0", "mtu", "1500"); err != nil {
		t.Fatal(err)
	}
	p.h1.untilPeer("told of 1500", func(s peerStatus) bool { return s.MTU == 1500-50 })
}
