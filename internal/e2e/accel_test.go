package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"weft/internal/lab"
)

// routed is a pair whose underlay has a router in the middle, which may drop and
// delay what it likes. From the router to the second host a slow link leads as well.
func routed(t *testing.T, accel, encap string) (p *pair, router *lab.NS) {
	t.Helper()
	l := lab.ForTest(t)
	p = &pair{l: l, h1: newHost(t, l, "host1"), h2: newHost(t, l, "host2")}
	router, err := l.Host("router")
	if err != nil {
		t.Fatal(err)
	}
	alone := func(a netip.Addr) []netip.Prefix { return []netip.Prefix{netip.PrefixFrom(a, 32)} }
	gw := netip.MustParseAddr("192.0.2.254")
	for _, link := range [][2]lab.End{
		{{NS: p.h1.NS, Name: "eth0", Addrs: alone(addr1)}, {NS: router, Name: "to1", Addrs: alone(gw)}},
		{{NS: p.h2.NS, Name: "eth0", Addrs: alone(addr2)}, {NS: router, Name: "to2", Addrs: alone(gw)}},
		{{NS: p.h2.NS, Name: "slow"}, {NS: router, Name: "slow"}},
	} {
		if err := l.Link(link[0], link[1]); err != nil {
			t.Fatal(err)
		}
	}
	shell(t, p.h1.NS, "ip route add 192.0.2.254 dev eth0; ip route add 192.0.2.2 via 192.0.2.254")
	shell(t, p.h2.NS, "ip route add 192.0.2.254 dev eth0; ip route add 192.0.2.1 via 192.0.2.254")
	shell(t, router, `echo 1 > /proc/sys/net/ipv4/ip_forward
		ip route add 192.0.2.1 dev to1; ip route add 192.0.2.2 dev to2
		ip rule add fwmark 1 lookup 7; ip route add 192.0.2.2 dev slow src 192.0.2.254 table 7
		tc qdisc add dev slow root tbf rate 30mbit burst 4k limit 500k`)
	p.h1.Start(runArgs(1, ",encap="+encap) + " --accel=" + accel)
	p.h2.Start(runArgs(2, ",encap="+encap) + " --accel=" + accel)
	p.c1, p.c2 = newContainer(t, l, "c1", "10.1.0.11"), newContainer(t, l, "c2", "10.1.0.12")
	p.h1.attach("net1", p.c1)
	p.h2.attach("net1", p.c2)
	for _, h := range []*Host{p.h1, p.h2} {
		h.accelerated(t, p, accelerator(accel, encap))
	}
	return p, router
}

// accelerator returns what carries to a peer with these options.
func accelerator(accel, encap string) string {
	switch {
	case accel == "off":
		return "none"
	case strings.HasSuffix(encap, ",csum"):
		return "packet-socket"
	}
	return "egress-tap"
}

func shell(t *testing.T, n *lab.NS, command string) {
	t.Helper()
	if out, err := n.Output(t.Context(), "sh", "-e", "-c", command); err != nil {
		t.Fatalf("%s: %v: %s", command, err, out)
	}
}

// accelerated waits until the host's only peer is reached as wanted.
func (h *Host) accelerated(t *testing.T, p *pair, want string) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		pe := h.status().Peers[0]
		if pe.Accel == want && (want != "none" || pe.NoAccel != "") {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s: peer is reached by %q, %q; want %q", h.Name(), pe.Accel, pe.NoAccel, want)
		}
		move(t, p.c1, p.c2, p.c2.Addr, 1000)
	}
}

// What leaves a container arrives bit by bit, whatever carries it and whatever
// the network does to it.
func TestStreams(t *testing.T) {
	for _, way := range []struct{ accel, encap string }{{"auto", "gre"}, {"auto", "gre,csum"}, {"auto", "gre-udp"}, {"off", "gre"}, {"off", "gre-udp"}} {
		for _, uncut := range []bool{true, false} {
			for _, trouble := range []struct{ name, rules string }{
				{"", ""},
				{"loss", "ip protocol { gre, udp } numgen random mod 100 == 0 drop"},
				{"reordering", "ip protocol { gre, udp } ip daddr 192.0.2.2 numgen random mod 20 == 0 meta mark set 1"},
				{"merging", ""},
			} {
				t.Run(fmt.Sprintf("accel %s, encap %s, uncut %v, %s", way.accel, way.encap, uncut, trouble.name), func(t *testing.T) {
					t.Parallel()
					p, router := routed(t, way.accel, way.encap)
					feature(t, lab.TSO, uncut, "eth0", p.h1.NS, p.h2.NS)
					if trouble.name == "merging" {
						mergeOn(t, p.h1.NS, "eth0")
						mergeOn(t, p.h2.NS, "eth0")
						mergeOn(t, router, "to1")
						mergeOn(t, router, "to2")
					}
					if trouble.rules != "" {
						shell(t, router, "nft add table ip t; nft 'add chain ip t p { type filter hook prerouting priority -150; }'; nft add rule ip t p "+trouble.rules)
					}
					moveBothWays(t, p, 8<<20)
					// Uncut, the stream is little more than a hundred datagrams: none of them may be hit.
					for tries := 0; trouble.rules != "" && outOfOrder(t, p.c2) == 0; tries++ {
						if tries == 20 {
							t.Fatalf("%s: every segment came in order: this test proves nothing", trouble.name)
						}
						moveBothWays(t, p, 8<<20)
					}
					for _, h := range []*Host{p.h1, p.h2} {
						h.onlyDrops(h.settled(), append(loadDrops, "tx_egress")...)
					}
				})
			}
		}
	}
}

// outOfOrder returns how many segments reached a container's TCP before others
// that were sent earlier.
func outOfOrder(t *testing.T, c *Container) (n int) {
	t.Helper()
	out, err := c.Output(t.Context(), "nstat", "-asz", "TcpExtTCPOFOQueue")
	if err != nil {
		t.Fatalf("nstat: %v: %s", err, out)
	}
	if _, err := fmt.Sscanf(out[strings.Index(out, "TcpExt"):], "TcpExtTCPOFOQueue %d", &n); err != nil {
		t.Fatalf("nstat: %v: %s", err, out)
	}
	return n
}

// A stream goes on, and stays what it is, while its carrier changes again and
// again: a policy of IPsec, though for another host, takes the faster one away.
func TestStreamsChangeCarrier(t *testing.T) {
	p, _ := routed(t, "auto", "auto")
	stop, stopped := make(chan struct{}), make(chan struct{})
	changes := 0
	go func() { // ends with stop
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case <-time.After(200 * time.Millisecond):
			}
			if changes++; changes%2 == 0 {
				shell(t, p.h1.NS, "ip xfrm policy flush")
			} else {
				shell(t, p.h1.NS, "ip xfrm policy add dst 203.0.113.1 dir out tmpl proto esp mode transport")
			}
		}
	}()
	moveBothWays(t, p, 300<<20)
	close(stop)
	<-stopped
	shell(t, p.h1.NS, "ip xfrm policy flush")
	t.Logf("%d changes, %d segments out of order", changes, outOfOrder(t, p.c2))
	for _, h := range []*Host{p.h1, p.h2} {
		h.onlyDrops(h.settled(), append(loadDrops, "tx_egress")...)
	}
	p.h1.accelerated(t, p, "egress-tap")
}
