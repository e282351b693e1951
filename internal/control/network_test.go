package control

import (
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"weft/internal/spec"
)

func TestAddNetwork(t *testing.T) {
	c := newRig(t).open()
	got, err := c.AddNetwork(mustNetwork(t, "blue=10.32.0.0/24,gateway=10.32.0.1"))
	want := spec.NetworkStatus{
		Name: "blue", ID: 0x164776, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.32.0.0/24")},
		Gateways: []netip.Addr{netip.MustParseAddr("10.32.0.1")}, MTU: 1450, Ageing: 300, ICC: "on", Origin: "api",
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("got %+v, %v; want %+v", got, err, want)
	}
	tests := []struct {
		list string
		want []string // in the error; none: done
	}{
		{list: "blue=10.32.0.0/24,gateway=10.32.0.1"},                                // the same again
		{list: "blue=10.32.0.0/24,gateway=10.32.0.1,id=1460086,ageing=300"},          // what was left open, written out
		{"blue=10.32.0.0/24", []string{`"blue"`, "network set blue", "gateway="}},    // something else
		{"red=10.33.0.0/24,id=1460086", []string{`"red"`, `"blue"`, "id=N"}},         // id of blue
		{list: "red=10.32.0.0/24"},                                                   // the same prefix, another vrf
		{list: "v1=10.1.0.0/16,vrf=v"},                                               //
		{"v2=10.1.2.0/24,vrf=v", []string{`"v2"`, "10.1.2.0/24", `"v1"`, "vrf"}},     // overlaps in one vrf
		{list: "six=fd00::/64"},                                                      //
		{"dual=10.4.0.0/24,fd04::/64,mtu=1279", []string{"1280"}},                    // refused by spec already
		{"upper=10.5.0.0/24,range=10.5.0.1-10.6.0.1", []string{"range", "10.6.0.1"}}, //
	}
	for _, tt := range tests {
		n, err := spec.ParseNetwork(tt.list)
		if err == nil {
			_, err = c.AddNetwork(n)
		}
		if tt.want != nil {
			wantError(t, err, tt.want...)
		} else if err != nil {
			t.Errorf("%s: %v", tt.list, err)
		}
	}
	var names []string
	for _, n := range c.Networks() {
		names = append(names, n.Name)
	}
	if got, want := strings.Join(names, " "), "blue red six v1"; got != want {
		t.Errorf("got networks %s, want %s", got, want)
	}
}

// Two names whose hashes are the same cannot both go without an id.
func TestNetworkIDCollision(t *testing.T) {
	byID := map[uint32]string{}
	var a, b string
	for i := 0; a == ""; i++ {
		b = fmt.Sprintf("n%d", i)
		a = byID[nameID(b)]
		byID[nameID(b)] = b
	}
	c := newRig(t).open("network " + a + "=10.0.0.0/24")
	_, err := c.AddNetwork(mustNetwork(t, b+"=10.0.0.0/24"))
	wantError(t, err, a, b, "id=N")
	if _, err := c.AddNetwork(mustNetwork(t, b+"=10.0.0.0/24,id=5")); err != nil {
		t.Error(err)
	}
}

func TestSetNetwork(t *testing.T) {
	r := newRig(t)
	c := r.open()
	add(t, c, "blue=10.32.0.0/24")
	r.container("/run/netns/a")
	r.container("/run/netns/b")
	r.attach(c, ask(t, "blue", "netns:a"))
	own := ask(t, "blue", "netns:b")
	own.MTU = 1000
	r.attach(c, own)

	mtu := 1300
	got, err := c.SetNetwork("blue", spec.NetworkChange{MTU: &mtu}, false)
	if err != nil || got.MTU != 1300 {
		t.Fatalf("got %+v, %v", got, err)
	}
	if a, b := r.tap("/run/netns/a", "eth1").cfg.MTU, r.tap("/run/netns/b", "eth1").cfg.MTU; a != 1300 || b != 1000 {
		t.Errorf("got MTUs %d and %d, want 1300 and its own 1000", a, b)
	}
	for _, p := range c.Ports() {
		if want := map[string]int{"a": 1300, "b": 1000}[p.Name]; p.MTU != want {
			t.Errorf("port %s: got MTU %d, want %d", p.Name, p.MTU, want)
		}
	}
	gws := []netip.Addr{netip.MustParseAddr("10.32.0.1")}
	_, err = c.SetNetwork("blue", spec.NetworkChange{Gateways: &gws}, false)
	wantError(t, err, "10.32.0.1", "port a", "gateway")
	_, err = c.SetNetwork("green", spec.NetworkChange{MTU: &mtu}, false)
	wantError(t, err, `"green"`, "blue")
	bad := 50
	_, err = c.SetNetwork("blue", spec.NetworkChange{MTU: &bad}, false)
	wantError(t, err, "50")
	if got := c.Networks()[0]; got.MTU != 1300 || len(got.Gateways) != 0 {
		t.Errorf("refused changes were made: %+v", got)
	}
	ageing := 60
	if got, err := c.SetNetwork("blue", spec.NetworkChange{Ageing: &ageing}, false); err != nil || got.Ageing != 60 {
		t.Errorf("got %+v, %v", got, err)
	}
	if got := c.domains["blue"].cfg.Ageing; got != time.Minute {
		t.Errorf("the switch ages after %s", got)
	}
	zero := 0
	if got, err := c.SetNetwork("blue", spec.NetworkChange{Ageing: &zero, MTU: &zero}, false); err != nil || got.Ageing != 300 || got.MTU != 1450 {
		t.Errorf("back to defaults: got %+v, %v", got, err)
	}
	if got := r.tap("/run/netns/a", "eth1").cfg.MTU; got != 1450 {
		t.Errorf("got MTU %d, want 1450 again", got)
	}
}

func TestRemoveNetwork(t *testing.T) {
	r := newRig(t)
	c := r.open("network blue=10.32.0.0/24")
	r.container("/run/netns/a")
	for _, list := range []string{"red=10.33.0.0/24", "green=10.34.0.0/24"} {
		if _, err := c.AddNetwork(mustNetwork(t, list)); err != nil {
			t.Fatal(err)
		}
	}
	r.attach(c, ask(t, "red", "netns:a"))
	if _, err := c.AddPeer(mustPeer(t, "h2=192.0.2.2,networks=green")); err != nil {
		t.Fatal(err)
	}
	wantError(t, c.RemoveNetwork("blue", false), `"blue"`, "weft.yaml")
	wantError(t, c.RemoveNetwork("blue", true), "weft.yaml")
	wantError(t, c.RemoveNetwork("red", false), `"red"`, "has 1 port (a)", "--force")
	wantError(t, c.RemoveNetwork("green", false), `"green"`, `"h2"`, "--force")
	if len(c.Networks()) != 3 || len(c.Ports()) != 1 {
		t.Fatal("a refused removal was done")
	}
	for _, name := range []string{"red", "green", "green", "never-was"} {
		if err := c.RemoveNetwork(name, true); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(c.Networks()) != 1 || len(c.Ports()) != 0 || r.tap("/run/netns/a", "eth1") != nil {
		t.Errorf("left: %+v %+v", c.Networks(), c.Ports())
	}
	s := c.Status()
	if len(s.Degraded) != 1 || s.Degraded[0].What != "peer h2" || !strings.Contains(s.Degraded[0].Why, `"green" does not exist`) {
		t.Errorf("got degraded %+v", s.Degraded)
	}
}

// The MTU leaves room for the tunnel to every peer that shares the network.
func TestNetworkMTU(t *testing.T) {
	c := newRig(t).open("network blue=10.32.0.0/24", "network red=10.33.0.0/24", "network own=10.34.0.0/24,mtu=9000", "peer h2=192.0.2.2,networks=blue,csum")
	want := map[string]int{"blue": 1446, "red": 1450, "own": 9000}
	for _, n := range c.Networks() {
		if n.MTU != want[n.Name] {
			t.Errorf("%s: got %d, want %d", n.Name, n.MTU, want[n.Name])
		}
	}
	if got := c.Peers()[0].MTU; got != 1446 {
		t.Errorf("peer: got %d, want 1446", got)
	}
}
