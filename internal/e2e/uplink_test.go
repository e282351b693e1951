package e2e

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"weft/internal/lab"
	"weft/internal/lab/probe"
)

// site is a LAN, a Linux bridge, with three machines that know nothing of weft,
// and two weft hosts, a container each.
type site struct {
	l        *lab.Lab
	bridge   *lab.Switch
	machines [3]*Container
	h1, h2   *Host
	c1, c2   *Container
}

// Addresses on the LAN: hosts .1 and .2, machines .31 to .33, containers .11 and .12.
const siteNetwork = "--network lan=10.1.0.0/24,range=10.1.0.100-10.1.0.120"

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{l: lab.ForTest(t)}
	var err error
	if s.bridge, err = s.l.Switch("lan"); err != nil {
		t.Fatal(err)
	}
	for i := range s.machines {
		s.machines[i] = newContainer(t, s.l, fmt.Sprintf("m%d", i+1), fmt.Sprintf("10.1.0.%d", 31+i))
		s.plug(t, s.machines[i].NS, "eth0", s.machines[i].Addr)
	}
	s.h1, s.h2 = newHost(t, s.l, "host1"), newHost(t, s.l, "host2")
	s.plug(t, s.h1.NS, "eth0", netip.MustParseAddr("10.1.0.1"))
	s.plug(t, s.h2.NS, "eth0", netip.MustParseAddr("10.1.0.2"))
	s.h1.Start("--name host1 --local 10.1.0.1 --peer host2=10.1.0.2 " + siteNetwork)
	s.h2.Start("--name host2 --local 10.1.0.2 --peer host1=10.1.0.1 " + siteNetwork)
	s.c1, s.c2 = newContainer(t, s.l, "c1", "10.1.0.11"), newContainer(t, s.l, "c2", "10.1.0.12")
	return s
}

func (s *site) plug(t *testing.T, n *lab.NS, name string, addr netip.Addr) {
	t.Helper()
	e := lab.End{NS: n, Name: name}
	if addr.IsValid() {
		e.Addrs = []netip.Prefix{netip.PrefixFrom(addr, 24)}
	}
	if err := s.l.Plug(s.bridge, e); err != nil {
		t.Fatal(err)
	}
}

// join makes both uplinks and attaches both containers.
func (s *site) join(t *testing.T) {
	t.Helper()
	s.h1.Weft("uplink add lan eth0")
	s.h2.Weft("uplink add lan eth0")
	s.h1.attach("lan", s.c1)
	s.h2.attach("lan", s.c2)
}

// everybody is who is on the LAN.
func (s *site) everybody() []*Container {
	host := func(h *Host, addr string) *Container { return &Container{NS: h.NS, Addr: netip.MustParseAddr(addr)} }
	return []*Container{s.c1, s.c2, s.machines[0], s.machines[1], s.machines[2], host(s.h1, "10.1.0.1"), host(s.h2, "10.1.0.2")}
}

// meet makes sure that a reaches b.
func meet(t *testing.T, a, b *Container) {
	t.Helper()
	if err := reach(t, a, b, 15*time.Second); err != nil {
		t.Errorf("%s to %s (%s): %v", a.Name(), b.Name(), b.Addr, err)
	}
}

// wantBalanced holds the balance sheet of a host, once nothing moves.
func (h *Host) wantBalanced() {
	h.t.Helper()
	var f struct {
		Frames struct {
			In, Forwarded, Local, Generated, Copies, Transmitted uint64
			DroppedIn                                            uint64 `json:"dropped_ingress"`
			DroppedOut                                           uint64 `json:"dropped_egress"`
		}
	}
	if err := json.Unmarshal([]byte(h.Weft("status -o json")), &f); err != nil {
		h.t.Fatal(err)
	}
	if n := f.Frames; n.In != n.Forwarded+n.Local+n.DroppedIn || n.Copies+n.Generated != n.Transmitted+n.DroppedOut {
		h.t.Errorf("%s: balance sheet is off: %+v", h.Name(), n)
	}
}

// Containers, the machines of the LAN and the hosts see each other, in every
// direction, and what is big arrives whole, with offloads on and off.
func TestUplink(t *testing.T) {
	s := newSite(t)
	s.join(t)
	all := s.everybody()
	for _, a := range all {
		for _, b := range all {
			if a != b {
				meet(t, a, b)
			}
		}
	}
	for _, tso := range []bool{true, false} {
		t.Run(fmt.Sprintf("offloads %t", tso), func(t *testing.T) {
			for _, f := range []lab.Feature{lab.TSO, lab.TxCsum} {
				feature(t, f, tso, "eth0", s.h1.NS, s.machines[0].NS)
				feature(t, f, tso, "eth1", s.c1.NS)
			}
			const length = 8 << 20
			host1 := all[5]
			for _, way := range [][2]*Container{
				{s.c1, s.machines[0]}, {s.machines[0], s.c1}, // LAN
				{s.c1, host1}, {host1, s.c1}, // own host
				{s.c1, s.c2}, {s.c2, s.c1}, // other host's
				{host1, s.machines[0]}, {s.machines[0], host1}, // past the switch
			} {
				move(t, way[0], way[1], way[1].Addr, length)
			}
		})
	}
	for _, h := range []*Host{s.h1, s.h2} {
		h.wantBalanced()
		if out := h.Weft("drops"); strings.Contains(out, "tap_vnet") && !strings.Contains(out, "none:") {
			t.Errorf("%s:\n%s", h.Name(), out)
		}
	}
	t.Log(s.h1.Weft("status"))
	t.Log(s.h1.Weft("drops"))
	t.Log(s.h1.Weft("fdb show"))
	s.wantSuperFrames(t)
}

// wantSuperFrames moves a stream both ways by an uplink, and looks how large the
// frames were in which it passed.
func (s *site) wantSuperFrames(t *testing.T) {
	t.Helper()
	for _, f := range []lab.Feature{lab.TSO, lab.TxCsum} {
		feature(t, f, true, "eth0", s.h1.NS, s.machines[0].NS)
		feature(t, f, true, "eth1", s.c1.NS)
	}
	was := s.h1.status().port(t, "eth0")
	move(t, s.c1, s.machines[0], s.machines[0].Addr, 8<<20)
	mid := s.h1.status().port(t, "eth0")
	move(t, s.machines[0], s.c1, s.c1.Addr, 8<<20)
	now := s.h1.status().port(t, "eth0")
	sent, heard := (mid.TxBytes-was.TxBytes)/(mid.TxFrames-was.TxFrames), (now.RxBytes-mid.RxBytes)/(now.RxFrames-mid.RxFrames)
	if sent < 3000 || heard < 3000 {
		t.Errorf("frames by the uplink have %d bytes on their way out and %d in, want super-frames", sent, heard)
	}
	t.Logf("frames by the uplink: %d bytes out, %d in", sent, heard)
}

// dump is what the host has of links, addresses, queueing disciplines, rules and routes.
func dump(t *testing.T, h *Host) string {
	t.Helper()
	var all strings.Builder
	err := h.Do(func() error {
		for _, line := range []string{
			"ip -d -o link", "ip -o address show dev eth0", "tc qdisc show", "tc filter show dev eth0 ingress",
			"ip route show table all", "ip rule", "ip maddress show dev eth0", "sysctl -a --pattern ^net\\.ipv[46]\\.conf\\.(eth0|all|default)\\.",
		} {
			args := strings.Fields(line)
			out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
			if err != nil {
				return fmt.Errorf("%s: %w: %s", line, err, out)
			}
			for text := range strings.Lines(string(out)) {
				if !strings.Contains(text, "weft-out") { // the way out of super-frames, which is there as long as the daemon
					all.WriteString(text)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}

// settled waits until the host has its link-local address for good.
func settled(t *testing.T, h *Host) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); strings.Contains(dump(t, h), "tentative"); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("duplicate address detection does not end")
		}
	}
}

// wantSame compares dumps and shows the lines that differ.
func wantSame(t *testing.T, before, after string) {
	t.Helper()
	was, is := strings.Split(before, "\n"), strings.Split(after, "\n")
	for _, line := range was {
		if !slices.Contains(is, line) {
			t.Errorf("gone: %s", line)
		}
	}
	for _, line := range is {
		if !slices.Contains(was, line) {
			t.Errorf("new: %s", line)
		}
	}
}

func flushNeighbours(t *testing.T, c *Container) {
	t.Helper()
	if err := c.Do(func() error { return exec.Command("ip", "neigh", "flush", "all").Run() }); err != nil {
		t.Fatal(err)
	}
}

// The host's connections do not notice that its network card becomes an uplink,
// nor that it ceases to be one; afterwards everything is as it was.
func TestUplinkUndone(t *testing.T) {
	s := newSite(t)
	settled(t, s.h1)
	before := dump(t, s.h1)
	m := s.machines[0]
	done := make(chan probe.Transfer)
	go func() { // ends when the stream has passed
		tr, err := probe.TCP(t.Context(), m.NS, s.h1.NS, netip.MustParseAddrPort("10.1.0.1:0"), 256<<20)
		if err != nil {
			t.Error(err)
		}
		done <- tr
	}()
	rounds := 0
	for passed := false; !passed || rounds < 3; rounds++ {
		s.h1.Weft("uplink add lan eth0")
		s.h1.attach("lan", s.c1)
		meet(t, s.c1, m)
		s.h1.Weft("detach lan " + s.c1.target())
		s.h1.Weft("uplink rm lan eth0")
		select {
		case tr := <-done:
			passed = true
			t.Logf("%d MB passed meanwhile in %v", tr.Bytes>>20, tr.Elapsed)
		default:
		}
	}
	t.Logf("%d times an uplink and none", rounds)
	wantSame(t, before, dump(t, s.h1))

	s.h1.Weft("uplink add lan eth0")
	s.h1.attach("lan", s.c1)
	meet(t, s.c1, m)
	s.h1.Kill()
	wantSame(t, before, dump(t, s.h1))
	s.h1.Restart()
	meet(t, s.c1, m)
	meet(t, m, s.c1)
	s.h1.Weft("status --check")
}

// An uplink follows its link: down, gone and back, by itself.
func TestUplinkFollowsLink(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.join(t)
	m := s.machines[0]
	meet(t, s.c1, m)
	wait := func(what string, ok func() bool) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s: %s", what, s.h1.Weft("status"))
			}
		}
	}
	degraded := func(text string) func() bool {
		return func() bool {
			a := s.h1.CLI("status --check")
			return a.code == 1 && strings.Contains(a.err, "eth0") && strings.Contains(a.err, text)
		}
	}
	well := func() bool { return s.h1.CLI("status --check").code == 0 }
	if err := s.h1.SetLink("eth0", false); err != nil {
		t.Fatal(err)
	}
	wait("link down", degraded("down"))
	if err := s.h1.SetLink("eth0", true); err != nil {
		t.Fatal(err)
	}
	wait("link up", well)
	meet(t, s.c1, m)
	in(t, s.h1.NS, "ip link set eth0 name lan9")
	wait("link renamed", degraded("no such link"))
	eventually(t, 5*time.Second, func() string { // status says so just before
		if out := in(t, s.h1.NS, "ip -d -o link show lan9; ip -o link"); !strings.Contains(out, "promiscuity 0") || strings.Contains(out, "weftup") {
			return "a link that was renamed is not let go of: " + out
		}
		return ""
	})
	in(t, s.h1.NS, "ip link set lan9 name eth0")
	wait("link has its name again", well)
	meet(t, s.c1, m)
	if err := s.h1.RemoveLink("eth0"); err != nil {
		t.Fatal(err)
	}
	wait("link gone", degraded("no such link"))
	s.plug(t, s.h1.NS, "eth0", netip.MustParseAddr("10.1.0.1"))
	wait("link back", well)
	meet(t, s.c1, m)
	meet(t, &Container{NS: s.h1.NS, Addr: netip.MustParseAddr("10.1.0.1")}, s.c1)
	setMTU := func(mtu string) {
		t.Helper()
		if err := s.h1.Do(func() error { return exec.Command("ip", "link", "set", "eth0", "mtu", mtu).Run() }); err != nil {
			t.Fatal(err)
		}
		wait("MTU", func() bool { return strings.Contains(s.h1.Weft("uplink ls"), " "+mtu+" ") })
	}
	setMTU("1400")
	wait("MTU below that of the ports", func() bool { return strings.Contains(s.h1.CLI("status --check").err, "no more than 1400") })
	move(t, s.c1, m, m.Addr, 1<<20)
	move(t, m, s.c1, s.c1.Addr, 1<<20)
	setMTU("1500")
	wait("MTU back", well)
	if err := s.h1.Do(func() error { return exec.Command("ip", "link", "set", "eth0", "address", "02:aa:00:00:00:07").Run() }); err != nil {
		t.Fatal(err)
	}
	wait("MAC", func() bool { return strings.Contains(s.h1.Weft("port ls"), "02:aa:00:00:00:07") && well() })
	flushNeighbours(t, s.c1) // the host tells nobody of its new address (arp_notify)
	meet(t, s.c1, &Container{NS: s.h1.NS, Addr: netip.MustParseAddr("10.1.0.1")})
	if err := s.h1.RemoveLink("weftup-eth0"); err != nil {
		t.Fatal(err)
	}
	wait("way to the host", func() bool {
		return probe.Reach(t.Context(), s.c1.NS, netip.MustParseAddr("10.1.0.1")) == nil
	})
}
