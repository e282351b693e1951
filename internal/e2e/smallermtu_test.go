package e2e

import (
	"testing"

	"weft/internal/lab"
)

// TestSmallerPortsThanUnderlay moves TCP between ports whose MTU is much smaller than
// the network's. Nothing is cut on the way, so that what the kernel did not cut arrives
// with lengths that the network would allow as one packet, and the ports do not.
func TestSmallerPortsThanUnderlay(t *testing.T) {
	for _, tt := range []struct {
		name, encap string
		underlay    int
	}{
		{"gre", "gre", 9000}, {"gre-udp", "gre-udp", 9000}, {"gre of 1500", "gre", 1500},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := lab.ForTest(t)
			h1, h2 := newHost(t, l, "host1"), newHost(t, l, "host2")
			underlay(t, l, h1.NS, h2.NS, tt.underlay)
			h1.Start(runArgs(1, ",encap="+tt.encap))
			h2.Start(runArgs(2, ",encap="+tt.encap))
			c1, c2 := newContainer(t, l, "c1", "10.1.0.11"), newContainer(t, l, "c2", "10.1.0.12")
			h1.Weft("attach net1 " + c1.target() + " 10.1.0.11/24 --mtu 1300")
			h2.Weft("attach net1 " + c2.target() + " 10.1.0.12/24 --mtu 1300")
			p := &pair{l: l, h1: h1, h2: h2, c1: c1, c2: c2}
			moveBothWays(t, p, 16<<20)
			for _, h := range []*Host{h1, h2} {
				h.onlyDrops(h.settled(), loadDrops...)
			}
		})
	}
}
