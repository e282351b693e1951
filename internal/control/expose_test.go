package control

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"weft/internal/hostnet"
	"weft/internal/spec"
)

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// newExposed is a rig whose host forwards nothing yet.
func newExposed(t *testing.T) *rig {
	r := newRig(t)
	r.host.settings = map[string]string{"ipv4/conf/eth0/forwarding": "0"}
	return r
}

func mustExpose(t *testing.T, c *Controller, list string) spec.PortStatus {
	t.Helper()
	e, err := spec.ParseExpose(list)
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.Expose(e)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestExpose(t *testing.T) {
	r := newExposed(t)
	c := r.open("network blue=10.1.0.0/24,fd00:1::/64,gateway=10.1.0.1,gateway=fd00:1::1,vrf=v", "network red=10.2.0.0/24,gateway=10.2.0.1,vrf=v",
		"peer h2=192.0.2.2", "route 172.17.0.0/16=h2,vrf=v")
	got := mustExpose(t, c, "blue")
	want := spec.PortStatus{
		Name: "host", Network: "blue", Kind: "host", Target: "host", Namespace: "/proc/self/ns/net", IfName: "weft-blue", MAC: got.MAC, MTU: 1450, Up: true, MACLimit: 1, Storm: 2000,
		Addresses: []netip.Prefix{prefix("10.1.0.2/24"), prefix("fd00:1::2/64")},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	plan := hostnet.Plan{
		Links: []hostnet.Link{{
			Name: "weft-blue", SNAT: true, Addrs: want.Addresses,
			Routes: []hostnet.Via{{Prefix: prefix("10.2.0.0/24"), Gateway: netip.MustParseAddr("10.1.0.1")}, {Prefix: prefix("172.17.0.0/16"), Gateway: netip.MustParseAddr("10.1.0.1")}},
		}},
		Sysctls: []hostnet.Sysctl{{Key: "ipv4/conf/eth0/forwarding", Was: "0", Want: "1"}},
	}
	if !reflect.DeepEqual(r.host.plan, plan) {
		t.Errorf("plan is %+v, want %+v", r.host.plan, plan)
	}
	for _, tt := range []struct{ to, via string }{{"8.8.8.8", "10.1.0.2"}, {"2001:db8::1", "fd00:1::2"}, {"172.17.1.1", "h2"}, {"10.2.0.7", "red"}} {
		route, err := c.RouteTo(netip.MustParseAddr(tt.to), "v")
		if err != nil || route.Via != tt.via {
			t.Errorf("route to %s: %+v, %v, want via %s", tt.to, route, err, tt.via)
		}
	}
	all, _ := routeRowsOf(c, "v")
	if i := slices.IndexFunc(all, func(s spec.RouteStatus) bool { return s.Prefix == prefix("0.0.0.0/0") }); i < 0 || all[i].Origin != "expose" || all[i].Kind != kindStatic || all[i].Network != "blue" {
		t.Errorf("routes are %+v, want the host's default route among them", all)
	}
	if err := c.RemoveRoute(prefix("0.0.0.0/0"), "v"); err == nil || !strings.Contains(err.Error(), "weft hide blue") {
		t.Errorf("removing the host's default route: %v", err)
	}

	// Again is no error; otherwise is one.
	mustExpose(t, c, "blue,10.1.0.2/24,fd00:1::2/64")
	for list, want := range map[string]string{
		"blue,10.1.0.9/24": "exposed with address 10.1.0.2/24 fd00:1::2/64, not 10.1.0.9/24: weft hide",
		"blue,no-snat":     "exposed with SNAT",
		"red":              `the host is in vrf "v" already, by network "blue"`,
		"green":            "does not exist",
	} {
		e, _ := spec.ParseExpose(list)
		if _, err := c.Expose(e); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("expose %s: %v, want %s", list, err, want)
		}
	}

	// Routes and networks follow.
	if _, err := c.AddRoute(spec.Route{Prefix: prefix("172.18.0.0/16"), Via: "h2", VRF: "v"}, false); err != nil {
		t.Fatal(err)
	}
	if n := len(r.host.plan.Links[0].Routes); n != 3 {
		t.Errorf("plan has %d routes after one more, want 3", n)
	}
	if err := c.RemoveNetwork("blue", false); err == nil {
		t.Error("an exposed network was removed")
	}

	if err := c.Hide("blue"); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(r.host.plan, hostnet.Plan{}) || r.host.settings["ipv4/conf/eth0/forwarding"] != "0" || r.tap("/proc/self/ns/net", "weft-blue") != nil {
		t.Errorf("after hide there is %+v, %v", r.host.plan, r.host.settings)
	}
	if route, err := c.RouteTo(netip.MustParseAddr("8.8.8.8"), "v"); err == nil {
		t.Errorf("after hide the default route is %+v", route)
	}
	if err := c.Hide("blue"); err != nil {
		t.Errorf("hide again: %v", err)
	}
}

func TestExposeRefused(t *testing.T) {
	r := newExposed(t)
	r.host.routes = []hostnet.HostRoute{{Prefix: prefix("192.168.18.0/24"), Dev: "eth0"}, {Prefix: prefix("203.0.113.0/24")}}
	c := r.open("network lan=192.168.0.0/16", "network blue=10.1.0.0/24,gateway=10.1.0.1", "network hole=203.0.113.0/25", "network under=192.0.2.0/24", "peer h2=192.0.2.2",
		"network full=10.3.0.0/30,gateway=10.3.0.1")
	r.container("/run/netns/web")
	mustAttach(t, c, "blue", "netns:web", "10.1.0.5/24")
	before := r.state()
	for list, want := range map[string]string{
		"lan":              "prefix 192.168.0.0/16 overlaps the host's own route 192.168.18.0/24 dev eth0",
		"hole":             "prefix 203.0.113.0/25 overlaps the host's own route 203.0.113.0/24",
		"under":            `holds 192.0.2.2, the underlay address of peer "h2"`,
		"blue,10.1.0.5/24": "taken by port web",
		"blue,10.1.0.1/24": "gateway",
		"blue,10.9.0.1/24": "lies outside its prefix",
		"blue,10.1.0.9/16": "wider than the /24",
	} {
		e, err := spec.ParseExpose(list)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Expose(e); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("expose %s: %v, want %s", list, err, want)
		}
	}
	r.host.fail = errors.New("set the rules of nftables: operation not supported")
	if _, err := c.Expose(spec.Expose{Network: "blue"}); err == nil || !strings.Contains(err.Error(), "nftables") {
		t.Errorf("nftables refuses: %v", err)
	}
	r.host.fail = nil
	c.look()
	if after := r.state(); after != before {
		t.Errorf("the state is\n%s\nand was\n%s", after, before)
	}
	if len(r.containers["/proc/self/ns/net"].taps) > 0 || r.host.settings["ipv4/conf/eth0/forwarding"] != "0" || len(r.host.plan.Links) > 0 {
		t.Errorf("something is left: %v %v %+v", r.containers["/proc/self/ns/net"].taps, r.host.settings, r.host.plan)
	}

	// What would put the host's own routes into an exposed vrf.
	mustExpose(t, c, "blue")
	if _, err := c.AddRoute(spec.Route{Prefix: prefix("192.168.18.0/25"), Via: "10.1.0.9", VRF: "blue"}, false); err == nil || !strings.Contains(err.Error(), "192.168.18.0/24 dev eth0") {
		t.Errorf("a route over the host's: %v", err)
	}
}

// Two exposed networks do not overlap: neither at first, nor by a change.
func TestExposeOverlapping(t *testing.T) {
	r := newExposed(t)
	c := r.open("network apps=172.17.1.0/24,fd00:17::/64,gateway=172.17.1.1", "network half=172.17.1.0/25", "network same=172.17.1.0/24,gateway=172.17.1.1", "network wide=fd00:17::/48",
		"network side=10.4.0.0/24,gateway=10.4.0.1,vrf=s", "network apart=172.18.0.0/24", "network routed=10.5.0.0/24,gateway=10.5.0.1", "peer h2=192.0.2.2", "route 172.19.0.0/24=h2,vrf=routed")
	mustExpose(t, c, "apps")
	mustExpose(t, c, "routed")
	before, plan := r.state(), r.host.plan
	for list, want := range map[string]string{
		"half": `prefix 172.17.1.0/25 overlaps 172.17.1.0/24 of network "apps", which is exposed`,
		"same": `prefix 172.17.1.0/24 overlaps 172.17.1.0/24 of network "apps"`,
		"wide": `prefix fd00:17::/48 overlaps fd00:17::/64 of network "apps"`,
	} {
		e, err := spec.ParseExpose(list)
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Expose(e)
		wantError(t, err, want, "weft hide apps")
	}
	if after := r.state(); after != before || !reflect.DeepEqual(r.host.plan, plan) {
		t.Errorf("what was refused changed something:\n%s\n%s", before, after)
	}

	// Later changes that come to the same.
	mustExpose(t, c, "side")
	_, err := c.AddNetwork(mustNetwork(t, "beside=172.17.0.0/16,gateway=172.17.255.1,vrf=s"))
	wantError(t, err, "overlaps 172.17.1.0/24", "apps")
	_, err = c.AddRoute(spec.Route{Prefix: prefix("172.17.1.128/25"), Via: "10.4.0.9", VRF: "s"}, false)
	wantError(t, err, "overlaps 172.17.1.0/24", "apps")
	_, err = c.AddRoute(spec.Route{Prefix: prefix("172.19.0.0/16"), Via: "10.4.0.9", VRF: "s"}, false)
	wantError(t, err, "overlaps 172.19.0.0/24", "routed")
	mustExpose(t, c, "apart")
	if d := c.Status().Degraded; len(d) > 0 {
		t.Errorf("degraded: %v", d)
	}
	r.close(c)
	c = r.open("network apps=172.17.1.0/24,fd00:17::/64,gateway=172.17.1.1", "network half=172.17.1.0/25", "network same=172.17.1.0/24,gateway=172.17.1.1", "network wide=fd00:17::/48",
		"network side=10.4.0.0/24,gateway=10.4.0.1,vrf=s", "network apart=172.17.1.0/24", "network routed=10.5.0.0/24,gateway=10.5.0.1", "peer h2=192.0.2.2")
	if d := fmt.Sprint(c.Status().Degraded); !strings.Contains(d, "does not know whether 172.17.1.0/24 is in network apart or apps") {
		t.Errorf("declared so since: degraded is %s", d)
	}
}

// What others change of the host's interface is put back, also by a restart.
func TestHostInterfaceMended(t *testing.T) {
	r := newExposed(t)
	c := r.open("network blue=10.1.0.0/24,gateway=10.1.0.1")
	mustExpose(t, c, "blue")
	for _, how := range []string{"look", "restart"} {
		f := r.tap("/proc/self/ns/net", "weft-blue")
		r.mu.Lock()
		f.down, f.cfg.MTU = true, 1280
		r.mu.Unlock()
		if how == "look" {
			c.look()
		} else {
			r.close(c)
			c = r.open("network blue=10.1.0.0/24,gateway=10.1.0.1")
		}
		if f = r.tap("/proc/self/ns/net", "weft-blue"); f.down || f.cfg.MTU != 1450 {
			t.Errorf("%s: the interface is down: %t, MTU %d", how, f.down, f.cfg.MTU)
		}
		if d := fmt.Sprint(c.Status().Degraded); !strings.Contains(d, "somebody changed interface weft-blue (it was down, with MTU 1280)") {
			t.Errorf("%s: degraded is %s", how, d)
		}
		c.faults.host.repaired = ""
	}
}

// state returns what is on the disk, but for the boot's and the host's settings.
func (r *rig) state() string {
	b, err := os.ReadFile(filepath.Join(r.dir, "state.json"))
	if err != nil {
		r.t.Fatal(err)
	}
	return string(b)
}

func mustAttach(t *testing.T, c *Controller, network, target string, addrs ...string) {
	t.Helper()
	a := spec.Attach{Network: network, Target: target}
	for _, s := range addrs {
		addr, err := spec.ParseAddress(s)
		if err != nil {
			t.Fatal(err)
		}
		a.Addresses = append(a.Addresses, addr)
	}
	if _, err := c.Attach(a); err != nil {
		t.Fatal(err)
	}
}

func TestExposeOutlivesRestart(t *testing.T) {
	r := newExposed(t)
	c := r.open("network blue=10.1.0.0/24,gateway=10.1.0.1", "network long-name-of-net=10.2.0.0/24")
	mustExpose(t, c, "blue,10.1.0.254/24")
	if got := mustExpose(t, c, "long-name-of-net,no-snat"); len(got.IfName) != 15 || !strings.HasPrefix(got.IfName, "weft-long") {
		t.Errorf("link is called %s", got.IfName)
	}
	ports, plan := c.Ports(), r.host.plan
	for _, how := range []string{"restart", "reboot"} {
		r.close(c)
		if how == "reboot" {
			r.boot = "boot-2"
			r.container("/proc/self/ns/net")
			r.host.plan, r.host.settings["ipv4/conf/eth0/forwarding"] = hostnet.Plan{}, "0"
		}
		c = r.open("network blue=10.1.0.0/24,gateway=10.1.0.1", "network long-name-of-net=10.2.0.0/24")
		for i, p := range c.Ports() {
			if p.Up = true; !reflect.DeepEqual(p, ports[i]) {
				t.Errorf("%s: port is %+v, was %+v", how, p, ports[i])
			}
		}
		if !reflect.DeepEqual(r.host.plan, plan) {
			t.Errorf("%s: plan is %+v, was %+v", how, r.host.plan, plan)
		}
		if d := c.Status().Degraded; len(d) > 0 {
			t.Errorf("%s: degraded: %v", how, d)
		}
	}
	// Deleted by hand: back with the next look, and said.
	r.deleteTAP(r.containers["/proc/self/ns/net"], "weft-blue")
	eventually(t, "the port is down", func() bool { return slices.ContainsFunc(c.Ports(), func(p spec.PortStatus) bool { return !p.Up }) })
	c.look()
	if p := c.Ports(); !p[0].Up || !p[1].Up {
		t.Errorf("ports are %+v", p)
	}
	r.host.edited = []string{"nftables table inet weft"}
	c.look()
	if d := fmt.Sprint(c.Status().Degraded); !strings.Contains(d, "somebody changed nftables table inet weft") {
		t.Errorf("degraded is %s", d)
	}
}

func TestExposeDeclared(t *testing.T) {
	r := newExposed(t)
	c := r.open("network blue=10.1.0.0/24", "expose blue,10.1.0.254/24")
	if len(r.host.plan.Links) != 1 {
		t.Fatalf("plan is %+v", r.host.plan)
	}
	if err := c.Hide("blue"); err == nil || !strings.Contains(err.Error(), "weft.yaml") {
		t.Errorf("hide of a declared one: %v", err)
	}
	r.close(c)
	c = r.open("network blue=10.1.0.0/24", "expose blue,10.1.0.253/24,no-snat")
	if l := r.host.plan.Links; len(l) != 1 || l[0].SNAT || l[0].Addrs[0] != prefix("10.1.0.253/24") {
		t.Errorf("declared otherwise: %+v", l)
	}
	r.close(c)
	c = r.open("network blue=10.1.0.0/24")
	if len(r.host.plan.Links) != 0 || len(c.Ports()) != 0 {
		t.Errorf("no longer declared: %+v", r.host.plan)
	}
	r.close(c)
	if _, err := r.tryOpen("network blue=10.1.0.0/24", "expose red"); err == nil || !strings.Contains(err.Error(), `network "red"`) {
		t.Errorf("a network that is not there: %v", err)
	}
	r.host.routes = []hostnet.HostRoute{{Prefix: prefix("10.0.0.0/8"), Dev: "vpn"}}
	c = r.open("network blue=10.1.0.0/24", "expose blue")
	if d := fmt.Sprint(c.Status().Degraded); !strings.Contains(d, "10.0.0.0/8 dev vpn") {
		t.Errorf("degraded is %s", d)
	}
	r.host.routes = nil
	c.look()
	if d := c.Status().Degraded; len(d) > 0 || len(r.host.plan.Links) != 1 {
		t.Errorf("after the route went: %v, %+v", d, r.host.plan)
	}
}

func TestPublish(t *testing.T) {
	r := newExposed(t)
	r.container("/run/netns/web")
	r.host.busy = map[string]bool{"80/tcp": true}
	c := r.open("network blue=10.1.0.0/24,fd00:1::/64,gateway=10.1.0.1,gateway=fd00:1::1")
	publish := func(target, ports string) (spec.PublishStatus, error) {
		p, err := spec.PublishFrom("blue", target, ports)
		if err != nil {
			t.Fatal(err)
		}
		return c.Publish(p)
	}
	if _, err := publish("netns:web", "2222:22"); err == nil || !strings.Contains(err.Error(), "not attached") {
		t.Errorf("a target that is not attached: %v", err)
	}
	mustAttach(t, c, "blue", "netns:web")
	before := r.state()
	for ports, want := range map[string]string{
		"80:80":             "port 80/tcp of the host is taken",
		"203.0.113.9:81:80": "203.0.113.9 is not an address of this host",
		"79-81:79-81":       "port 80/tcp of the host is taken",
	} {
		if _, err := publish("netns:web", ports); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("publish %s: %v, want %s", ports, err, want)
		}
	}
	if after := r.state(); after != before || len(c.Published()) > 0 || len(r.host.plan.Links) > 0 {
		t.Error("what was refused changed something")
	}
	got, err := publish("netns:web", "2222:22")
	if want := (spec.PublishStatus{Network: "blue", Target: "netns:web", Port: 2222, Count: 1, TargetPort: 22, Proto: "tcp", Origin: "api"}); err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	want := []hostnet.Published{
		{Proto: "tcp", First: 2222, Count: 1, Target: netip.MustParseAddr("10.1.0.2"), To: 22, Comment: "blue netns:web"},
		{Proto: "tcp", First: 2222, Count: 1, Target: netip.MustParseAddr("fd00:1::2"), To: 22, Comment: "blue netns:web"},
	}
	held := []hostnet.Held{{Proto: "tcp", First: 2222, Count: 1, Comment: "blue netns:web"}}
	if !reflect.DeepEqual(r.host.plan.Published, want) || !reflect.DeepEqual(r.host.plan.Held, held) || len(r.host.plan.Links) != 1 {
		t.Errorf("plan is %+v", r.host.plan)
	}
	if _, err := publish("netns:web", "2222:22"); err != nil {
		t.Errorf("again: %v", err)
	}
	if _, err := publish("netns:web", "2222:23"); err == nil || !strings.Contains(err.Error(), "weft unpublish blue netns:web") {
		t.Errorf("the same port: %v", err)
	}
	if err := c.Hide("blue"); err == nil || !strings.Contains(err.Error(), "weft unpublish blue netns:web first") {
		t.Errorf("hide while published: %v", err)
	}

	// It follows its target, and outlives a restart.
	if err := c.Detach("blue", "netns:web"); err != nil {
		t.Fatal(err)
	}
	if len(r.host.plan.Published) > 0 || !reflect.DeepEqual(r.host.plan.Held, held) || !strings.Contains(fmt.Sprint(c.Status().Degraded), "netns:web is not attached") {
		t.Errorf("after detach: %+v, %v", r.host.plan, c.Status().Degraded)
	}
	r.close(c)
	c = r.open("network blue=10.1.0.0/24,fd00:1::/64,gateway=10.1.0.1,gateway=fd00:1::1")
	mustAttach(t, c, "blue", "netns:web", "10.1.0.77/24")
	if p := r.host.plan.Published; len(p) != 1 || p[0].Target != netip.MustParseAddr("10.1.0.77") {
		t.Errorf("after attach: %+v", p)
	}
	for _, part := range []string{"2222:23", "192.0.2.1:2222:22", "2221-2222:21-22"} {
		wantError(t, c.Unpublish("blue", "netns:web", part), "goes as a whole: weft unpublish blue netns:web 2222:22/tcp")
	}
	if err := c.Unpublish("blue", "netns:web", "2222:22/udp"); err != nil { // which is not published
		t.Error(err)
	}
	if err := c.Unpublish("blue", "netns:web", "2222:22"); err != nil {
		t.Fatal(err)
	}
	if len(c.Published()) > 0 || len(r.host.plan.Links) > 0 || len(c.Ports()) != 1 {
		t.Errorf("the last one went, and what was exposed for it stays: %+v", r.host.plan)
	}
	if err := c.Unpublish("blue", "netns:web", ""); err != nil {
		t.Errorf("again: %v", err)
	}

	// What the user exposes stays.
	if _, err := publish("netns:web", "2222:22"); err != nil {
		t.Fatal(err)
	}
	mustExpose(t, c, "blue")
	if err := c.Unpublish("blue", "netns:web", ""); err != nil || len(r.host.plan.Links) != 1 {
		t.Errorf("unpublish: %v, plan %+v", err, r.host.plan)
	}
	if _, err := c.AddNetwork(mustNetwork(t, "green=10.3.0.0/24")); err != nil {
		t.Fatal(err)
	}
	r.container("/run/netns/app")
	mustAttach(t, c, "green", "netns:app")
	if err := c.Hide("blue"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Publish(spec.Publish{Network: "green", Target: "netns:app", Port: 80 + 1, To: 80}); err != nil {
		t.Fatal(err)
	}
	if err := c.RemoveNetwork("green", true); err != nil || len(r.host.plan.Links) > 0 || len(c.Published()) > 0 {
		t.Errorf("remove by force: %v, plan %+v", err, r.host.plan)
	}
}

// A published port that is dead is named, and since when.
func TestPublishDead(t *testing.T) {
	r := newExposed(t)
	r.addrs = append(r.addrs, netip.MustParseAddr("fd09::1"))
	r.container("/run/netns/web")
	r.container("/run/netns/own")
	c := r.open()
	add(t, c, "blue=10.1.0.0/24,fd00:1::/64,gateway=10.1.0.1,gateway=fd00:1::1")
	mustAttach(t, c, "blue", "netns:web")
	r.attach(c, spec.Attach{Network: "blue", Target: "netns:own", NoAddress: true})
	for _, ports := range []string{"10.9.9.9:8080:80", "[fd09::1]:9100:80"} {
		p, err := spec.PublishFrom("blue", "netns:web", ports)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Publish(p); err != nil {
			t.Fatal(err)
		}
	}
	_, err := c.Publish(spec.Publish{Network: "blue", Target: "netns:own", Port: 9200, To: 80})
	wantError(t, err, "netns:own has no address that was given to it here")
	problems := func(want ...string) {
		t.Helper()
		for i, p := range c.Published() {
			if want[i] == "" && p.Problem != "" || !strings.Contains(p.Problem, want[i]) {
				t.Errorf("problem of %s is %q, want %q", p.Ports(), p.Problem, want[i])
			}
		}
	}
	problems("", "")
	began := time.Now().Add(-time.Hour).Truncate(time.Second)
	c.started = began // long ago
	had := r.addrs
	r.addrs = slices.DeleteFunc(slices.Clone(r.addrs), func(a netip.Addr) bool { return a == netip.MustParseAddr("10.9.9.9") })
	c.look()
	problems("10.9.9.9 is no address of this host any more", "")
	for range 2 {
		d := c.Status().Degraded
		if len(d) != 1 || d[0].What != "published port 10.9.9.9:8080:80/tcp" || d[0].Since.Before(began.Add(30*time.Minute)) {
			t.Errorf("degraded is %+v", d)
		}
		for k, since := range c.faults.seen { // as if found some minutes ago
			if c.faults.seen[k] = since.Add(-10 * time.Minute); !since.After(began.Add(30 * time.Minute)) {
				t.Errorf("%v is wrong since %v", k, since)
			}
		}
		c.look()
	}
	if d := c.Status().Degraded; len(d) != 1 || time.Since(d[0].Since) < 19*time.Minute {
		t.Errorf("a look later degraded is %+v", d)
	}
	r.addrs = had
	c.look()
	problems("", "")
	prefixes := []netip.Prefix{prefix("10.1.0.0/24")}
	if _, err := c.SetNetwork("blue", spec.NetworkChange{Prefixes: &prefixes}, false); err != nil {
		t.Fatal(err)
	}
	problems("", "netns:web has no address of the family of fd09::1")
	if len(c.Status().Degraded) != 1 {
		t.Errorf("degraded is %+v", c.Status().Degraded)
	}
}

// Answers must find the way back.
func TestPublishProblem(t *testing.T) {
	r := newExposed(t)
	for _, name := range []string{"a", "b", "c"} {
		r.container("/run/netns/" + name)
	}
	c := r.open("network flat=10.1.0.0/24", "network gw=10.2.0.0/24,gateway=10.2.0.1")
	mustExpose(t, c, "flat,10.1.0.254/24")
	mustAttach(t, c, "flat", "netns:a")
	mustAttach(t, c, "flat", "netns:b", "10.1.0.9/24@10.1.0.254")
	mustAttach(t, c, "gw", "netns:c")
	for i, tt := range []struct{ network, target, problem string }{
		{"flat", "netns:a", "no default route by the host"}, {"flat", "netns:b", ""}, {"gw", "netns:c", ""},
	} {
		p, _ := spec.PublishFrom(tt.network, tt.target, fmt.Sprintf("%d:80", 8000+i))
		got, err := c.Publish(p)
		if err != nil || (got.Problem == "") != (tt.problem == "") || !strings.Contains(got.Problem, tt.problem) {
			t.Errorf("%s: %+v, %v, want problem %q", tt.target, got, err, tt.problem)
		}
	}
	if _, err := c.AddRoute(spec.Route{Prefix: prefix("0.0.0.0/0"), Via: "10.2.0.99", VRF: "gw"}, false); err != nil {
		t.Fatal(err)
	}
	if p := c.Published()[2]; !strings.Contains(p.Problem, "default route of vrf") {
		t.Errorf("a default route elsewhere: %+v", p)
	}
}

// The host's interface is found by the network's name, and is never taken for an
// egress TAP.
func TestHostLink(t *testing.T) {
	for network, want := range map[string]string{
		"blue": "weft-blue", "exactly10c": "weft-exactly10c", "out": "weft-out", "outer0": "weft-outer0",
		"out0": "weft-out-" + hashDigits("out0"), "out12": "weft-out-" + hashDigits("out12"), "eleven-char": "weft-elev" + hashDigits("eleven-char"),
	} {
		got := hostLink(network)
		if got != want || len(got) > spec.IfNameMax {
			t.Errorf("%s: interface %q, want %q", network, got, want)
		}
	}
}
