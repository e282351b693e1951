package e2e

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"

	"weft/internal/lab"
)

// Network cards merge GRE packets before a raw socket sees them. A veth does so
// when its receiver has GRO on, its sender TSO off, and the queue is flushed
// late. What arrives merged has only a partial checksum inside.
func TestMergedByKernel(t *testing.T) {
	for _, checksum := range []bool{false, true} {
		name, options := "plain", ",encap=gre" // raw: countMerged looks for GRE
		if checksum {
			name, options = "gre checksum", ",encap=gre,csum"
		}
		t.Run(name, func(t *testing.T) {
			l := lab.ForTest(t)
			h1, h2 := newHost(t, l, "host1"), newHost(t, l, "host2")
			underlay(t, l, h1.NS, h2.NS, 1500)
			for _, h := range []*Host{h1, h2} {
				mergeOn(t, h.NS, "eth0")
			}
			h1.Start(runArgs(1, options))
			h2.Start(runArgs(2, options))
			c1, c2 := newContainer(t, l, "c1", "10.1.0.11"), newContainer(t, l, "c2", "10.1.0.12")
			h1.attach("net1", c1)
			h2.attach("net1", c2)

			caps := map[string]*capture{"host1": newCapture(t, h1.NS, "eth0"), "host2": newCapture(t, h2.NS, "eth0")}
			inside := newCapture(t, c2.NS, "eth1")
			for _, way := range []struct{ from, to *Container }{{c1, c2}, {c2, c1}} {
				tr := move(t, way.from, way.to, way.to.Addr, 16<<20)
				t.Logf("%.2f Gbit/s", tr.Rate()/1e9)
			}
			for name, c := range caps {
				if n := countMerged(c.stop(), 1500); n == 0 {
					t.Errorf("%s: nothing was merged: this test proves nothing", name)
				} else {
					t.Logf("%s: %d datagrams larger than the MTU", name, n)
				}
			}
			super := 0
			for _, f := range inside.stop() {
				if !f.outgoing && len(f.data) > 1500+14 {
					super++
				}
			}
			if super == 0 {
				t.Error("no super-frame reached the container")
			}
			for _, h := range []*Host{h1, h2} {
				h.onlyDrops(h.settled(), loadDrops...)
			}
		})
	}
}

// mergeOn makes an interface merge what it receives, as network cards do.
func mergeOn(t *testing.T, n *lab.NS, ifname string) {
	t.Helper()
	feature(t, lab.TSO, false, ifname, n) // of the sender: the far end merges
	feature(t, lab.GRO, true, ifname, n)
	for file, value := range map[string]string{"gro_flush_timeout": "2000000", "napi_defer_hard_irqs": "10"} {
		if err := n.SetLinkFile(ifname, file, value); err != nil {
			t.Fatal(err)
		}
	}
}

// countMerged counts received GRE datagrams larger than the link's MTU.
func countMerged(frames []captured, mtu int) (n int) {
	for _, f := range frames {
		if !f.outgoing && len(f.data) > 14+mtu && f.data[23] == unix.IPPROTO_GRE && int(binary.BigEndian.Uint16(f.data[16:])) > mtu {
			n++
		}
	}
	return n
}
