package e2e

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"weft/internal/lab"
)

// TestContainersApart has a network with icc=off on two hosts, exposed on the first:
// containers reach gateway, host, the world and a published port, and not one another,
// neither by the gateway nor by the host, until icc is on.
func TestContainersApart(t *testing.T) {
	l := lab.ForTest(t)
	h1, h2 := newHost(t, l, "host1"), newHost(t, l, "host2")
	underlay(t, l, h1.NS, h2.NS, 1500)
	const network = " --network apart=10.1.0.0/24,gateway=10.1.0.1,icc=off"
	shell(t, h1.NS, "sysctl -w net.ipv4.ip_forward=1") // else nothing is forwarded in any case
	h1.Start("--name host1 --local 192.0.2.1 --peer host2=192.0.2.2")
	h1.Weft("network add apart 10.1.0.0/24 --gateway 10.1.0.1 --icc off")
	h2.Start("--name host2 --local 192.0.2.2 --peer host1=192.0.2.1" + network)
	a, b, c := newContainer(t, l, "a", "10.1.0.11"), newContainer(t, l, "b", "10.1.0.12"), newContainer(t, l, "c", "10.1.0.13")
	h1.attach("apart", a)
	h1.attach("apart", b)
	h2.attach("apart", c)
	h1.Weft("expose apart 10.1.0.254/24")
	h1.Weft("publish apart " + b.target() + " 8080:80")
	serve(t, b.NS, "tcp", 80)
	host := &Container{NS: h1.NS, Addr: netip.MustParseAddr("10.1.0.254")}
	gateway := &Container{NS: h1.NS, Addr: netip.MustParseAddr("10.1.0.1")}
	check := func() {
		t.Helper()
		meet(t, a, gateway)
		meet(t, a, host)
		meet(t, host, b)
		meet(t, a, &Container{NS: h2.NS, Addr: addr2}) // by the host
		if _, err := ask(a.NS, "tcp", "10.1.0.254", 8080, 5*time.Second); err != nil {
			t.Errorf("the published port: %v", err)
		}
		for _, p := range [][2]*Container{{a, b}, {b, a}, {a, c}, {c, a}} {
			if meets(t, p[0], p[1]) {
				t.Errorf("%s meets %s", p[0].Name(), p[1].Name())
			}
		}
	}
	check()
	if got := h1.Weft("export"); !strings.Contains(got, "icc: \"off\"") {
		t.Errorf("exported with icc off: %s", got)
	}
	for _, via := range []string{"10.1.0.1", "10.1.0.254"} { // ways around
		shell(t, a.NS, "ip route replace 10.1.0.12/32 via "+via+" dev eth1 onlink")
		if reach(t, a, b, 2*time.Second) == nil {
			t.Errorf("a meets b by %s", via)
		}
		shell(t, a.NS, "ip route del 10.1.0.12/32")
	}
	h1.Kill()
	h1.Restart()
	check()
	h1.Weft("network set apart --icc on")
	if meets(t, a, c) { // the other host keeps its own
		t.Error("a meets c, whose host keeps it apart")
	}
	meet(t, a, b)
	meet(t, b, a)
	if got := h1.Weft("export"); strings.Contains(got, "icc") {
		t.Errorf("exported with icc on: %s", got)
	}
	for _, h := range []*Host{h1, h2} {
		h.wantBalanced()
	}
}
