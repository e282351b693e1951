package e2e

import (
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"weft/internal/lab"
	"weft/internal/lab/probe"
)

// announced is the reason for which the announcement of the first container ends
// on a host that has none yet.
const announced = "l2_noport"

// loadDrops are the reasons that a queue may have under full load.
var loadDrops = []string{"rx_overflow", "tx_nobufs", "tap_full", announced}

func TestTwoHosts(t *testing.T) {
	for _, mtu := range []int{1500, 9000} {
		t.Run(fmt.Sprintf("mtu %d", mtu), func(t *testing.T) {
			p := newPair(t, mtu)
			t.Run("status", func(t *testing.T) { checkStatus(t, p, mtu-50) })
			t.Run("ping", func(t *testing.T) { pingBothWays(t, p, mtu-50) })
			for _, tso := range []bool{true, false} {
				t.Run(fmt.Sprintf("iperf3 tso %v", tso), func(t *testing.T) {
					feature(t, lab.TSO, tso, "eth1", p.c1.NS, p.c2.NS)
					feature(t, lab.TSO, tso, "eth0", p.h1.NS, p.h2.NS)
					for _, direction := range []string{"", "--reverse"} {
						r := runIperf(t, p.c1, p.c2, "--time 1 "+direction)
						t.Logf("TCP %s: %v", direction, r)
						if r.End.Received.Bytes < 1<<20 {
							t.Errorf("iperf3 %s moved %.0f bytes in a second", direction, r.End.Received.Bytes)
						}
					}
				})
			}
			t.Run("udp", func(t *testing.T) { udpBothWays(t, p) })
			t.Run("hash", func(t *testing.T) { moveBothWays(t, p, 100<<20) })
			for _, h := range []*Host{p.h1, p.h2} {
				h.onlyDrops(h.settled(), loadDrops...)
			}
		})
	}
}

// checkStatus compares what status says with what was asked for.
func checkStatus(t *testing.T, p *pair, mtu int) {
	s := p.h1.status()
	if s.Name != "host1" || s.Version == "" || s.Uptime == nil || s.Degraded == nil {
		t.Errorf("status: %+v", s)
	}
	if len(s.Networks) != 1 || s.Networks[0].Name != "net1" || s.Networks[0].ID != netID || s.Networks[0].MTU != mtu || s.Networks[0].Prefixes[0] != "10.1.0.0/24" {
		t.Errorf("networks: %+v, want net1 with id %d and MTU %d", s.Networks, netID, mtu)
	}
	got := s.port(t, p.c1.Name())
	if got.Network != "net1" || got.Kind != "tap" || got.Target != p.c1.target() || got.IfName != "eth1" || got.MTU != mtu || !got.Up ||
		len(got.Addresses) != 1 || got.Addresses[0] != "10.1.0.11/24" {
		t.Errorf("port: %+v", got)
	}
	ifi, err := p.c1.Interface("eth1")
	if err != nil {
		t.Fatal(err)
	}
	if ifi.HardwareAddr.String() != got.MAC || ifi.MTU != mtu {
		t.Errorf("eth1 has MAC %s and MTU %d, status says %s and %d", ifi.HardwareAddr, ifi.MTU, got.MAC, mtu)
	}
	if pe := s.peer(t, "host2"); pe.Address != addr2.String() {
		t.Errorf("peer: %+v", pe)
	}
}

// pingBothWays sends echoes of every size up to twice the MTU and at its edge.
func pingBothWays(t *testing.T, p *pair, mtu int) {
	for _, way := range []struct{ from, to *Container }{{p.c1, p.c2}, {p.c2, p.c1}} {
		for _, e := range []probe.Echo{
			{Count: 20, Size: 56},
			{Size: 0},
			{Size: mtu - 28, DF: true},
			{Size: mtu - 27},
			{Size: 2 * mtu},
			{Size: 65507},
		} {
			got, err := probe.Ping(t.Context(), way.from.NS, way.to.Addr, e)
			if err != nil || got.Lost() > 0 {
				t.Errorf("from %s, %d bytes: %+v, %v", way.from.Name(), e.Size, got, err)
			}
		}
	}
	// Both sides have heard each other by now.
	for _, x := range []struct {
		h    *Host
		peer string
	}{{p.h1, "host2"}, {p.h2, "host1"}} {
		if pe := x.h.status().peer(t, x.peer); pe.State != "up" || pe.RxFrames == 0 || pe.TxFrames == 0 {
			t.Errorf("%s: %+v, want it up", x.h.Name(), pe)
		}
	}
	for _, e := range p.h1.fdb("net1") {
		if e.Kind == "learned" && e.Peer != "host2" {
			t.Errorf("learned %+v, want it behind host2", e)
		}
	}
}

func udpBothWays(t *testing.T, p *pair) {
	for _, way := range []struct{ from, to *Container }{{p.c1, p.c2}, {p.c2, p.c1}} {
		for _, size := range []int{8, 600, 4000} {
			d, err := probe.UDP(t.Context(), way.from.NS, way.to.NS, netip.AddrPortFrom(way.to.Addr, 0), 200, size, 100*time.Microsecond)
			if want := (probe.Datagrams{Sent: 200, Received: 200}); err != nil || d != want {
				t.Errorf("from %s, %d bytes: %+v, %v", way.from.Name(), size, d, err)
			}
		}
		r := runIperf(t, way.from, way.to, "--udp --bitrate 20M --time 1 --length 1000")
		if r.End.Sum.Packets < 1000 || r.End.Sum.Lost > r.End.Sum.Packets/2 {
			t.Errorf("from %s, iperf3: %.0f of %.0f datagrams lost", way.from.Name(), r.End.Sum.Lost, r.End.Sum.Packets)
		}
	}
}

// moveBothWays moves a stream in each direction, both at the same time, and
// compares hashes.
func moveBothWays(t *testing.T, p *pair, length int64) {
	var wg sync.WaitGroup
	for _, way := range []struct{ from, to *Container }{{p.c1, p.c2}, {p.c2, p.c1}} {
		wg.Go(func() { // ends within a minute
			tr := move(t, way.from, way.to, way.to.Addr, length)
			t.Logf("from %s: %d bytes, sha256 %x, %.2f Gbit/s", way.from.Name(), length, tr.Received[:4], tr.Rate()/1e9)
		})
	}
	wg.Wait()
}

// Two networks with the same addresses and the same MACs on the same hosts see
// nothing of each other.
func TestNetworksStayApart(t *testing.T) {
	t.Parallel()
	l := lab.ForTest(t)
	h1, h2 := newHost(t, l, "host1"), newHost(t, l, "host2")
	underlay(t, l, h1.NS, h2.NS, 1500)
	nets := " --network red=10.1.0.0/24,id=100 --network blue=10.1.0.0/24,id=200"
	h1.Start("--name host1 --local 192.0.2.1 --peer host2=192.0.2.2" + nets)
	h2.Start("--name host2 --local 192.0.2.2 --peer host1=192.0.2.1" + nets)

	type side struct{ c1, c2 *Container }
	sides := map[string]side{}
	for _, name := range []string{"red", "blue"} {
		s := side{newContainer(t, l, name+"1", "10.1.0.11"), newContainer(t, l, name+"2", "10.1.0.12")}
		h1.attach(name, s.c1, "--mac 02:00:00:00:00:11")
		h2.attach(name, s.c2, "--mac 02:00:00:00:00:12")
		sides[name] = s
	}
	red, blue := sides["red"], sides["blue"]
	quiet := []*capture{newCapture(t, blue.c1.NS, "eth1"), newCapture(t, blue.c2.NS, "eth1")}

	if got, err := probe.Ping(t.Context(), red.c1.NS, red.c2.Addr, probe.Echo{Count: 3}); err != nil || got.Lost() > 0 {
		t.Fatalf("red: %+v, %v", got, err)
	}
	move(t, red.c1, red.c2, red.c2.Addr, 1<<20)
	// Broadcast, multicast and unknown unicast would leak first.
	s := newSender(t, red.c1.NS, "eth1")
	for _, dst := range []string{"ff:ff:ff:ff:ff:ff", "01:00:5e:01:02:03", "02:99:99:99:99:99", "02:00:00:00:00:12"} {
		s.send(frame(dst, "02:00:00:00:00:11", 0x88b5, []byte("red only")))
	}
	h1.settled()
	h2.settled()
	for _, c := range quiet {
		for _, f := range c.stop() {
			if f.outgoing || gratuitous(f.data) {
				continue // of blue's own attachment
			}
			t.Errorf("blue received %x", f.data)
		}
	}
	// The same addresses work in blue, and end in blue.
	move(t, blue.c1, blue.c2, blue.c2.Addr, 1<<20)
	for _, h := range []*Host{h1, h2} {
		h.onlyDrops(h.settled(), loadDrops...)
	}
}
