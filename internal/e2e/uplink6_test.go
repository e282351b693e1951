package e2e

import (
	"strings"
	"testing"

	"weft/internal/lab"
)

// A host reaches its own containers on the LAN, and they the host and the LAN, over
// IPv6 as over IPv4: each finds the other's MAC by neighbour discovery, both when it
// asks and when it is asked, and what is big arrives whole. An address that the host or
// the LAN has is given to nobody.
func TestUplinkIPv6(t *testing.T) {
	t.Parallel()
	lab.Need(t, "iproute2", "ip")
	s := newSite(t)
	s.h1.Stop()
	s.h1.Start("--name host1 --local 10.1.0.1 --network lan=10.1.0.0/24,fd00:1::/64")
	in(t, s.h1.NS, "ip -6 address add fd00:1::1/64 dev eth0 nodad")
	in(t, s.machines[0].NS, "sysctl -qw net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.eth0.disable_ipv6=0 && ip -6 address add fd00:1::31/64 dev eth0 nodad")
	for _, c := range []*Container{s.c1, s.c2} {
		in(t, c.NS, "sysctl -qw net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.default.disable_ipv6=0")
	}
	s.h1.Weft("uplink add lan eth0")
	s.h1.Weft("attach lan " + s.c1.target() + " 10.1.0.11/24 fd00:1::11/64")
	host, c1, machine := (&Container{NS: s.h1.NS, t: t}).at("fd00:1::1"), s.c1.at("fd00:1::11"), s.machines[0].at("fd00:1::31")

	for addr, has := range map[string]string{"fd00:1::1": "this host itself", "fd00:1::31": linkMAC(t, machine, "eth0")} {
		oneLine(t, s.h1.CLI("attach lan "+s.c2.target()+" 10.1.0.12/24 "+addr+"/64"), 1, addr, has)
	}
	s.h1.Weft("attach lan " + s.c2.target() + " 10.1.0.12/24 fd00:1::12/64")
	c2 := s.c2.at("fd00:1::12")

	link := map[*Container]string{host: "eth0", machine: "eth0", c1: "eth1", c2: "eth1"}
	knows := func(a, b *Container) {
		t.Helper()
		got := in(t, a.NS, "ip -6 neigh show "+b.Addr.String()+" dev "+link[a])
		if want := "lladdr " + linkMAC(t, b, link[b]); !strings.Contains(got, want) {
			t.Errorf("%s knows %s as %q, want %s", a.Name(), b.Addr, got, want)
		}
	}
	all := []*Container{host, machine, c1, c2}
	for _, a := range all {
		for _, b := range all {
			if a == b {
				continue
			}
			for _, c := range all { // each pair starts from nothing, in either direction
				in(t, c.NS, "ip -6 neigh flush all")
			}
			meet(t, a, b)
			knows(a, b)
			knows(b, a)
		}
	}
	for _, way := range [][2]*Container{{c1, host}, {host, c1}, {c1, machine}, {machine, c1}, {host, machine}} {
		move(t, way[0], way[1], way[1].Addr, 8<<20)
	}
	s.h1.wantBalanced()

	s.h1.Weft("uplink rm lan eth0")
	meet(t, host, machine)
	meet(t, c1, c2)
	if meets(t, c1, host) {
		t.Error("without an uplink a container reaches the host by the LAN")
	}
}
