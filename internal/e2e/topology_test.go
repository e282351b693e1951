package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"weft/internal/lab"
	"weft/internal/lab/probe"
)

// Underlay addresses of two hosts.
var (
	addr1 = netip.MustParseAddr("192.0.2.1")
	addr2 = netip.MustParseAddr("192.0.2.2")
)

const netID = 4242 // of the network "net1"

// underlay joins two namespaces by a link with addr1 and addr2 on it.
func underlay(t *testing.T, l *lab.Lab, a, b *lab.NS, mtu int) {
	t.Helper()
	err := l.Link(
		lab.End{NS: a, Name: "eth0", Addrs: []netip.Prefix{netip.PrefixFrom(addr1, 24)}, MTU: mtu},
		lab.End{NS: b, Name: "eth0", Addrs: []netip.Prefix{netip.PrefixFrom(addr2, 24)}, MTU: mtu})
	if err != nil {
		t.Fatal(err)
	}
}

// runArgs is the `weft run` line of host n of two, with the network net1.
// peerOptions begin with a comma.
func runArgs(n int, peerOptions string) string {
	local, remote := addr1, addr2
	if n == 2 {
		local, remote = addr2, addr1
	}
	return fmt.Sprintf("--name host%d --local %s --network net1=10.1.0.0/24,id=%d --peer host%d=%s%s",
		n, local, netID, 3-n, remote, peerOptions)
}

// pair is two weft hosts with a container each.
type pair struct {
	l      *lab.Lab
	h1, h2 *Host
	c1, c2 *Container
}

// newPair starts two hosts that share net1, with 10.1.0.11 on the first and
// 10.1.0.12 on the second.
func newPair(t *testing.T, mtu int) *pair {
	t.Helper()
	p := &pair{l: lab.ForTest(t)}
	p.h1, p.h2 = newHost(t, p.l, "host1"), newHost(t, p.l, "host2")
	underlay(t, p.l, p.h1.NS, p.h2.NS, mtu)
	p.h1.Start(runArgs(1, ""))
	p.h2.Start(runArgs(2, ""))
	p.c1, p.c2 = newContainer(t, p.l, "c1", "10.1.0.11"), newContainer(t, p.l, "c2", "10.1.0.12")
	p.h1.attach("net1", p.c1)
	p.h2.attach("net1", p.c2)
	return p
}

// end is one end of a link without addresses.
func end(n *lab.NS, name string) lab.End { return lab.End{NS: n, Name: name} }

// feature switches an offload of interfaces.
func feature(t *testing.T, f lab.Feature, on bool, ifname string, in ...*lab.NS) {
	t.Helper()
	for _, n := range in {
		if err := n.SetFeature(ifname, f, on); err != nil {
			t.Fatal(err)
		}
	}
}

// move moves a stream from one container to an address of another and fails
// where it does not arrive as it left.
func move(t *testing.T, from, to *Container, addr netip.Addr, length int64) probe.Transfer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tr, err := probe.TCP(ctx, from.NS, to.NS, netip.AddrPortFrom(addr, 0), length)
	if err != nil {
		t.Errorf("from %s to %s: %v", from.Name(), to.Name(), err)
	}
	return tr
}
