package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"weft/internal/lab"
	"weft/internal/lab/ovs"
	"weft/internal/lab/probe"
)

// vlanSite is two hosts that share a network, with containers in VLANs of it.
type vlanSite struct {
	*pair
	all map[string]*Container
}

func newVLANSite(t *testing.T, peerOptions string) *vlanSite {
	t.Helper()
	p := &pair{l: lab.ForTest(t)}
	p.h1, p.h2 = newHost(t, p.l, "host1"), newHost(t, p.l, "host2")
	underlay(t, p.l, p.h1.NS, p.h2.NS, 1500)
	p.h1.Start(runArgs(1, peerOptions))
	p.h2.Start(runArgs(2, peerOptions))
	return &vlanSite{pair: p, all: map[string]*Container{}}
}

// add attaches a container to net1 with options.
func (s *vlanSite) add(t *testing.T, h *Host, name, addr, options string) *Container {
	t.Helper()
	c := newContainer(t, s.l, name, addr)
	h.Weft("attach net1 " + c.target() + " " + addr + "/24 " + options)
	s.all[name] = c
	return c
}

// meets reports whether an echo comes back from b.
func meets(t *testing.T, a, b *Container) bool {
	t.Helper()
	got, err := probe.Ping(t.Context(), a.NS, b.Addr, probe.Echo{Count: 1, Size: 56, Timeout: 100 * time.Millisecond})
	return err == nil && got.Lost() == 0
}

// trunkSwitch makes the container of a trunk a switch: an Open vSwitch with a port
// for each VLAN, which has that VLAN untagged and an address.
func trunkSwitch(t *testing.T, c *Container, addrs map[int]string) map[int]*Container {
	t.Helper()
	ovs.Need(t)
	dir, err := os.MkdirTemp(scratch, "o")
	if err != nil {
		t.Fatal(err)
	}
	s, err := ovs.Start(t.Context(), c.NS, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	if err := s.Bridge("br0", "eth1"); err != nil {
		t.Fatal(err)
	}
	inside := map[int]*Container{}
	for vid, addr := range addrs {
		name := fmt.Sprintf("v%d", vid)
		add := []string{"add-port", "br0", name, "--", "set", "interface", name, "type=internal"}
		if vid != 0 {
			add = append(add, "--", "set", "port", name, fmt.Sprintf("tag=%d", vid))
		}
		if _, err := s.VSCtl(add...); err != nil {
			t.Fatal(err)
		}
		// Each in a table of its own: the addresses are of one prefix.
		shell(t, c.NS, fmt.Sprintf("ip link set %s up && ip address add %s/32 dev %s && ip rule add from %s table %d && ip route add 10.1.0.0/24 dev %s table %d",
			name, addr, name, addr, 100+vid, name, 100+vid))
		inside[vid] = &Container{NS: c.NS, Addr: netip.MustParseAddr(addr)}
	}
	return inside
}

// TestVLANs has access ports, plain ones and a trunk on two hosts. Who is in one
// VLAN meets, on whatever host, and nobody else does.
func TestVLANs(t *testing.T) {
	s := newVLANSite(t, ",encap=gre")
	vlanOf := map[string]int{}
	for _, c := range []struct {
		h       *Host
		name    string
		addr    string
		vlan    int
		options string
	}{
		{s.h1, "p1", "10.1.0.11", 0, ""},
		{s.h1, "a10", "10.1.0.12", 10, "--vlan 10"},
		{s.h1, "a20", "10.1.0.13", 20, "--vlan 20"},
		{s.h2, "p2", "10.1.0.14", 0, ""},
		{s.h2, "b10", "10.1.0.15", 10, "--vlan 10"},
		{s.h2, "b20", "10.1.0.16", 20, "--vlan 20"},
		{s.h2, "b10too", "10.1.0.17", 10, "--vlan 10"},
	} {
		s.add(t, c.h, c.name, c.addr, c.options)
		vlanOf[c.name] = c.vlan
	}
	tr := newContainer(t, s.l, "trunk", "10.1.0.30")
	s.h2.Weft("attach net1 " + tr.target() + " 0/0 --trunk 10,20 --allow-spoof")
	inside := trunkSwitch(t, tr, map[int]string{0: "10.1.0.40", 10: "10.1.0.41", 20: "10.1.0.42"})

	check := func(when string) {
		t.Helper()
		for a, from := range s.all {
			for b, to := range s.all {
				if a == b {
					continue
				}
				if vlanOf[a] == vlanOf[b] {
					meet(t, from, to)
				} else if meets(t, from, to) {
					t.Errorf("%s: %s meets %s, which is in another VLAN", when, a, b)
				}
			}
			for vid, to := range inside {
				if vlanOf[a] == vid {
					meet(t, from, to)
				} else if meets(t, from, to) {
					t.Errorf("%s: %s meets VLAN %d of the trunk", when, a, vid)
				}
			}
		}
	}
	check("at first")

	// The tag is inside of the tunnel, which has the key of the network.
	wire := newCapture(t, s.h1.NS, "eth0")
	meet(t, s.all["a10"], s.all["b10"])
	tagged := 0
	for _, f := range wire.stop() {
		if b := f.data; len(b) > 14+20+8+18 && b[23] == 47 && string(b[14+20:14+20+4]) == "\x20\x00\x65\x58" && string(b[14+20+8+12:14+20+8+16]) == "\x81\x00\x00\x0a" {
			tagged++
		}
	}
	if tagged == 0 {
		t.Error("no frame of VLAN 10 in GRE was seen")
	}

	// Where tags stand, nothing hops: by raw frames of any kind.
	for _, from := range []string{"p1", "a10", "p2"} {
		ifi, err := s.all[from].Interface("eth1")
		if err != nil {
			t.Fatal(err)
		}
		ears := map[string]*capture{}
		for name, c := range s.all {
			if name != from {
				ears[name] = newCapture(t, c.NS, "eth1")
			}
		}
		out := newSender(t, s.all[from].NS, "eth1")
		body := []byte("hop over " + from + strings.Repeat(".", 50))
		for _, tags := range []string{"\x81\x00\x00\x14", "\x81\x00\x00\x0a", "\x81\x00\x00\x0a\x81\x00\x00\x14", "\x81\x00\x00\x00\x81\x00\x00\x14", "\x88\xa8\x00\x00\x81\x00\x00\x14", "\x81\x00\x0f\xff"} {
			f := frame("ff:ff:ff:ff:ff:ff", ifi.HardwareAddr.String(), 0x88b6, body)
			out.send(append(append(f[:12:12], tags...), f[12:]...))
		}
		out.send(frame("ff:ff:ff:ff:ff:ff", ifi.HardwareAddr.String(), 0x88b6, body))
		for name, ear := range ears {
			same := vlanOf[name] == vlanOf[from]
			until := time.Now().Add(5 * time.Second)
			n := 0
			for {
				n = 0
				for _, f := range ear.seen() {
					if strings.Contains(string(f.data), "hop over "+from) && !f.outgoing {
						n++
					}
				}
				if n > 0 || !same || time.Now().After(until) {
					break
				}
				time.Sleep(10 * time.Millisecond)
			}
			if same != (n == 1) {
				t.Errorf("%s heard %d frames of %s, want the untagged one: %v", name, n, from, same)
			}
		}
		for _, ear := range ears {
			ear.stop()
		}
	}
	if drops := s.h1.status().Drops["l2_vlan"]; drops != 12 {
		t.Errorf("host1 dropped %d frames as l2_vlan, want 12", drops)
	}
	for _, h := range []*Host{s.h1, s.h2} {
		h.wantBalanced()
	}

	// After a crash all is as it was.
	before := s.h2.Weft("port ls -o json")
	s.h2.Kill()
	s.h2.Restart()
	after := s.h2.Weft("port ls -o json")
	for _, want := range []string{`"vlan": 10`, `"vlan": 20`, `"trunk": "10,20"`} {
		if strings.Count(after, want) != strings.Count(before, want) || !strings.Contains(after, want) {
			t.Errorf("after a restart: %s, want as many %s as in\n%s", after, want, before)
		}
	}
	check("after a restart")
}

// TestVLANStreams moves TCP, super-frames of the kernel's, between an access port and a
// trunk whose kernel puts the tags on, on one host and across two, by each carrier.
func TestVLANStreams(t *testing.T) {
	for _, peer := range []string{"", ",encap=gre-udp", ",encap=gre", ",csum"} {
		t.Run("peer"+peer, func(t *testing.T) {
			s := newVLANSite(t, peer)
			near, far := s.add(t, s.h1, "near", "10.1.0.11", "--vlan 10"), s.add(t, s.h2, "far", "10.1.0.12", "--vlan 10")
			tr, tr2 := s.add(t, s.h1, "trunk", "10.1.0.13", "--trunk 5,10"), s.add(t, s.h2, "trunk2", "10.1.0.14", "--trunk 10")
			for _, c := range []*Container{tr, tr2} {
				if err := c.Tag("eth1", 10); err != nil {
					t.Fatal(err)
				}
			}
			for _, tso := range []bool{true, false} {
				feature(t, lab.TSO, tso, "eth1", near.NS, far.NS, tr.NS, tr2.NS)
				for _, way := range [][2]*Container{{near, tr}, {tr, near}, {near, far}, {far, near}, {tr, far}, {far, tr}, {tr, tr2}, {tr2, tr}} {
					meet(t, way[0], way[1])
					got := move(t, way[0], way[1], way[1].Addr, 20<<20)
					t.Logf("tso %v, %s to %s: %v", tso, way[0].Name(), way[1].Name(), got.Elapsed)
				}
			}
			// The trunk gives whole super-frames, and gets them.
			feature(t, lab.TSO, true, "eth1", tr.NS)
			ear := newCapture(t, near.NS, "eth1")
			move(t, tr, near, near.Addr, 1<<20)
			supers := 0
			for _, f := range ear.stop() {
				if len(f.data) > 3000 && !f.outgoing {
					supers++
				}
			}
			if supers == 0 {
				t.Error("no super-frame came from the trunk")
			}
			for _, h := range []*Host{s.h1, s.h2} {
				h.onlyDrops(h.settled(), loadDrops...)
				h.wantBalanced()
			}
		})
	}
}
