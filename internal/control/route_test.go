package control

import (
	"encoding/json"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"weft/internal/spec"
)

var update = flag.Bool("update", false, "write the golden files anew")

// routed has a vrf v of blue and red, one of green alone, and peers of every kind.
func routed(t testing.TB) (*rig, *Controller) {
	r := newRig(t)
	return r, r.open(
		"network blue=10.1.0.0/24,fd01::/64,gateway=10.1.0.1,gateway=fd01::1,vrf=v",
		"network red=10.2.0.0/24,gateway=10.2.0.1,vrf=v",
		"network bare=10.3.0.0/24,vrf=v", // no gateway
		"network green=10.1.0.0/24,gateway=10.1.0.1",
		"peer h2=192.0.2.2",
		"peer blueonly=192.0.2.3,networks=blue",
		"peer greenonly=192.0.2.4,networks=green",
		"peer keyless=192.0.2.5,networks=green,key=none",
		"peer twin=10.1.0.77",
	)
}

func TestAddRoute(t *testing.T) {
	tests := []struct {
		name, list string
		want       []string // in the error; none: done
		via        string   // as it is shown
	}{
		{"via a peer", "10.9.0.0/16=h2,vrf=v", nil, "h2"},
		{"via a peer's underlay address", "10.9.0.0/16=192.0.2.2,vrf=v", nil, "h2"},
		{"IPv6 via an IPv4 underlay", "fd09::/64=192.0.2.2,vrf=v", nil, "h2"},
		{"via a container", "10.9.0.0/16=10.1.0.5,vrf=v", nil, "10.1.0.5"},
		{"via a container, IPv6", "fd09::/64=fd01::5,vrf=v", nil, "fd01::5"},
		{"default route", "0.0.0.0/0=h2,vrf=v", nil, "h2"},
		{"default route, IPv6", "::/0=fd01::5,vrf=v", nil, "fd01::5"},
		{"within a connected prefix", "10.1.0.128/25=h2,vrf=v", nil, "h2"},
		{"around a connected prefix", "10.1.0.0/16=10.1.0.5,vrf=v", nil, "10.1.0.5"}, // the connected one is longer
		{"in the vrf of one network", "10.9.0.0/16=keyless,vrf=green", nil, "keyless"},
		{"via one of the networks", "10.9.0.0/16=blueonly,vrf=v", nil, "blueonly"},

		{"unknown peer", "10.9.0.0/16=h9,vrf=v", []string{`peer "h9" does not exist`, "weft peer add"}, ""},
		{"unknown vrf", "10.9.0.0/16=h2,vrf=w", []string{`vrf "w" does not exist`, "green, v"}, ""},
		{"which vrf", "10.9.0.0/16=h2", []string{"several vrfs", "green, v", "--vrf"}, ""},
		{"unknown address", "10.9.0.0/16=10.4.0.1,vrf=v", []string{"10.4.0.1", "neither a peer's address nor in a connected prefix", "10.1.0.0/24, fd01::/64, 10.2.0.0/24"}, ""},
		{"address of a network without gateway", "10.9.0.0/16=10.3.0.5,vrf=v", []string{"10.3.0.5", "connected prefix"}, ""},
		{"address of the other family", "fd09::/64=10.1.0.5,vrf=v", []string{"10.1.0.5", "another family"}, ""},
		{"via the gateway", "10.9.0.0/16=10.1.0.1,vrf=v", []string{"10.1.0.1", "gateway", `"blue"`, "this switch itself"}, ""},
		{"via the broadcast address", "10.9.0.0/16=10.1.0.255,vrf=v", []string{"broadcast"}, ""},
		{"via itself", "10.1.0.0/25=10.1.0.5,vrf=v", []string{"10.1.0.0/25", "via itself", "10.1.0.5"}, ""},
		{"host route via itself", "10.1.0.5/32=10.1.0.5,vrf=v", []string{"via itself"}, ""},
		{"through its own tunnel", "192.0.2.0/24=h2,vrf=v", []string{"its own tunnel", "192.0.2.2", `"h2"`}, ""},
		{"through its own tunnel, half of all", "128.0.0.0/1=h2,vrf=v", []string{"its own tunnel"}, ""},
		{"another peer's tunnel", "192.0.2.3/32=h2,vrf=v", nil, "h2"},
		{"connected prefix", "10.1.0.0/24=h2,vrf=v", []string{"10.1.0.0/24", `network "blue"`, "connected"}, ""},
		{"prefix of a network without gateway", "10.3.0.0/24=h2,vrf=v", nil, "h2"},
		{"peer without the vrf", "10.9.0.0/16=greenonly,vrf=v", []string{`"greenonly"`, `vrf "v"`, "bare, blue, red", "networks=green+bare"}, ""},
		{"keyless peer of another vrf", "10.9.0.0/16=keyless,vrf=v", []string{`"keyless"`, "key=none", `"green"`, `"v"`}, ""},
		{"both peer and container", "10.9.0.0/16=10.1.0.77,vrf=v", []string{"10.1.0.77", `"twin"`, `"blue"`, "via twin"}, ""},
		{"peer's name for that", "10.9.0.0/16=twin,vrf=v", nil, "twin"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, c := routed(t)
			before, err := os.ReadFile(filepath.Join(r.dir, "state.json"))
			if err != nil {
				t.Fatal(err)
			}
			route := mustRoute(t, tt.list)
			got, err := c.AddRoute(route, false)
			if tt.want != nil {
				wantError(t, err, append(tt.want, "route "+route.Prefix.String())...)
				if after, _ := os.ReadFile(filepath.Join(r.dir, "state.json")); string(after) != string(before) || c.routes.len() != 0 {
					t.Error("a refused route changed something")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got.Via != tt.via || got.Kind != "static" || got.Origin != "api" || got.Problem != "" {
				t.Errorf("got %+v", got)
			}
			again, err := c.AddRoute(route, false)
			if err != nil || again != got {
				t.Errorf("the same again: got %+v, %v", again, err)
			}
			to, err := c.RouteTo(spec.LastAddr(route.Prefix), route.VRF)
			if err != nil || to != got {
				t.Errorf("the switch has %+v, %v", to, err)
			}
			if err := c.RemoveRoute(route.Prefix, route.VRF); err != nil {
				t.Error(err)
			}
			if err := c.RemoveRoute(route.Prefix, route.VRF); err != nil {
				t.Errorf("removed again: %v", err)
			}
			wantTable(t, c, "v", "10.1.0.0/24 blue", "10.2.0.0/24 red", "fd01::/64 blue")
		})
	}
}

// Routes that get in each other's way.
func TestAddRouteBesideOthers(t *testing.T) {
	_, c := routed(t)
	must := func(list string) {
		t.Helper()
		if _, err := c.AddRoute(mustRoute(t, list), false); err != nil {
			t.Fatal(err)
		}
	}
	refused := func(list string, want ...string) {
		t.Helper()
		_, err := c.AddRoute(mustRoute(t, list), false)
		wantError(t, err, want...)
	}
	must("10.9.0.0/16=h2,vrf=v")
	refused("10.9.0.0/16=blueonly,vrf=v", "10.9.0.0/16", "exists via h2", "weft route rm 10.9.0.0/16 --vrf v")
	must("10.9.0.0/16=h2,vrf=green") // another vrf
	must("10.9.1.0/24=10.1.0.5,vrf=v")
	refused("10.1.0.0/28=h2,vrf=v", "10.1.0.5", "10.9.1.0/24", "weft route rm 10.9.1.0/24 --vrf v")
	must("10.1.0.128/25=h2,vrf=v")
	refused("10.8.0.0/16=10.1.0.200,vrf=v", "10.1.0.200", "not reached directly", "10.1.0.128/25")
	must("10.1.0.0/16=h2,vrf=v") // shorter than the connected one
	wantTable(t, c, "v", "10.1.0.0/16 peer 3", "10.1.0.0/24 blue", "10.1.0.128/25 peer 3", "10.2.0.0/24 red",
		"10.9.0.0/16 peer 3", "10.9.1.0/24 10.1.0.5", "fd01::/64 blue")
	wantTable(t, c, "green", "10.1.0.0/24 green", "10.9.0.0/16 peer 3")

	_, err := c.AddNetwork(mustNetwork(t, "new=10.9.0.0/16,gateway=10.9.0.1,vrf=v"))
	wantError(t, err, `"new"`, "10.9.0.0/16", "h2", "weft route rm")
	if _, err := c.AddNetwork(mustNetwork(t, "new=10.9.0.0/16,vrf=v")); err != nil { // bridged only
		t.Fatal(err)
	}
	gws := []netip.Addr{netip.MustParseAddr("10.9.0.1")}
	_, err = c.SetNetwork("new", spec.NetworkChange{Gateways: &gws}, false)
	wantError(t, err, `"new"`, "10.9.0.0/16", "h2", "weft route rm")
	if cfg := c.domains["new"].cfg; cfg.VRF != 0 {
		t.Errorf("a refused gateway is in the switch: %+v", cfg)
	}
}

func TestRemoveRoute(t *testing.T) {
	r := newRig(t)
	c := r.open("network blue=10.1.0.0/24,gateway=10.1.0.1", "peer h2=192.0.2.2", "route 10.9.0.0/16=h2")
	wantError(t, c.RemoveRoute(netip.MustParsePrefix("10.9.0.0/16"), ""), "10.9.0.0/16", "declared in weft.yaml")
	wantError(t, c.RemoveRoute(netip.MustParsePrefix("10.1.0.0/24"), ""), "10.1.0.0/24", "connected", "weft network set blue --gateway none")
	wantError(t, c.RemoveRoute(netip.MustParsePrefix("10.1.0.0/24"), "w"), `"w" does not exist`, "blue")
	if err := c.RemoveRoute(netip.MustParsePrefix("10.8.0.0/16"), ""); err != nil {
		t.Error(err)
	}
	wantTable(t, c, "blue", "10.1.0.0/24 blue", "10.9.0.0/16 peer 1")
}

// What routes need is not removed from under them.
func TestRemoveWhatRoutesUse(t *testing.T) {
	r := newRig(t)
	c := r.open()
	for _, list := range []string{"blue=10.1.0.0/24,gateway=10.1.0.1,vrf=v", "red=10.2.0.0/24,gateway=10.2.0.1,vrf=v", "green=10.3.0.0/24,gateway=10.3.0.1"} {
		if _, err := c.AddNetwork(mustNetwork(t, list)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.AddPeer(mustPeer(t, "h2=192.0.2.2")); err != nil {
		t.Fatal(err)
	}
	for _, list := range []string{"10.8.0.0/16=10.1.0.5,vrf=v", "10.9.0.0/16=h2,vrf=v", "10.9.0.0/16=h2,vrf=green"} {
		if _, err := c.AddRoute(mustRoute(t, list), false); err != nil {
			t.Fatal(err)
		}
	}
	set := func(name string, options ...string) error {
		ch, err := spec.ChangeFrom(options)
		if err == nil {
			_, err = c.SetNetwork(name, ch, false)
		}
		return err
	}
	wantError(t, c.RemovePeer("h2"), `"h2"`, `10.9.0.0/16 of vrf "green"`, `10.9.0.0/16 of vrf "v"`, "weft route rm")
	wantError(t, c.RemoveNetwork("blue", false), `"blue"`, "10.8.0.0/16", "--force")
	wantError(t, c.RemoveNetwork("green", false), `"green"`, `10.9.0.0/16 of vrf "green"`, "--force")
	wantError(t, set("blue", "gateway=none"), `"blue"`, "10.8.0.0/16", "weft route rm")
	wantError(t, set("blue", "gateway=10.1.0.5"), `"blue"`, "10.8.0.0/16", "weft route rm")
	wantError(t, set("blue", "vrf=w"), `"blue"`, "10.8.0.0/16", "weft route rm")
	wantError(t, set("green", "gateway=none"), `"green"`, "10.9.0.0/16", "weft route rm")
	if err := set("red", "gateway=10.2.0.9"); err != nil { // nobody's next hop
		t.Error(err)
	}
	if err := c.RemoveNetwork("red", false); err != nil {
		t.Error(err)
	}
	wantTable(t, c, "v", "10.1.0.0/24 blue", "10.8.0.0/16 10.1.0.5", "10.9.0.0/16 peer 1")

	if err := c.RemoveNetwork("green", true); err != nil {
		t.Error(err)
	}
	if err := c.RemoveNetwork("blue", true); err != nil { // the last of its vrf
		t.Error(err)
	}
	if c.routes.len() != 0 || len(c.tables) != 0 {
		t.Errorf("left: %v %v", c.routeList(), c.tables)
	}
	if err := c.RemovePeer("h2"); err != nil {
		t.Error(err)
	}
}

// A declared route waits for what was taken away by force, and works again when
// it is back.
func TestRouteWaits(t *testing.T) {
	r := newRig(t)
	c := r.open()
	if _, err := c.AddNetwork(mustNetwork(t, "blue=10.1.0.0/24,gateway=10.1.0.1")); err != nil {
		t.Fatal(err)
	}
	r.close(c)
	c = r.open("peer h2=192.0.2.2", "route 10.9.0.0/16=h2")
	wantTable(t, c, "blue", "10.1.0.0/24 blue", "10.9.0.0/16 peer 1")
	if err := c.RemoveNetwork("blue", true); err != nil {
		t.Fatal(err)
	}
	rows, err := routeRowsOf(c, "")
	if err != nil || len(rows) != 1 || !strings.Contains(rows[0].Problem, `vrf "blue" does not exist`) {
		t.Errorf("got %+v, %v", rows, err)
	}
	if d := c.Status().Degraded; len(d) != 1 || d[0].What != "route 10.9.0.0/16" || !strings.Contains(d[0].Why, "weft route rm 10.9.0.0/16 --vrf blue") {
		t.Errorf("got degraded %+v", d)
	}
	if _, err := c.AddNetwork(mustNetwork(t, "blue=10.1.0.0/24,gateway=10.1.0.1")); err != nil {
		t.Fatal(err)
	}
	wantTable(t, c, "blue", "10.1.0.0/24 blue", "10.9.0.0/16 peer 1")
	if d := c.Status().Degraded; len(d) != 0 {
		t.Errorf("got degraded %+v", d)
	}
}

// Without a name, a route is in the only vrf, or in the only one with a gateway.
func TestRouteDefaultVRF(t *testing.T) {
	c := newRig(t).open("peer h2=192.0.2.2")
	steps := []struct{ network, vrf, err string }{
		{"", "", "weft network set NAME --gateway ADDR"},
		{"plain=10.1.0.0/24", "", "weft network set NAME --gateway ADDR"},
		{"nogw=10.2.0.0/24,vrf=w", "w", ""},
		{"blue=10.3.0.0/24,gateway=10.3.0.1,vrf=v", "v", ""},
		{"red=10.4.0.0/24,gateway=10.4.0.1", "", "name one of red, v, w with --vrf"},
	}
	for _, s := range steps {
		if s.network != "" {
			if _, err := c.AddNetwork(mustNetwork(t, s.network)); err != nil {
				t.Fatal(err)
			}
		}
		got, err := c.AddRoute(mustRoute(t, "10.9.0.0/16=h2"), false)
		if s.err != "" {
			wantError(t, err, s.err)
			_, err = c.RouteTo(netip.MustParseAddr("10.9.0.1"), "")
			wantError(t, err, s.err)
			continue
		}
		if err != nil || got.VRF != s.vrf {
			t.Errorf("%s: got %+v, %v; want vrf %s", s.network, got, err, s.vrf)
		}
		if err := c.RemoveRoute(got.Prefix, ""); err != nil || c.routes.len() != 0 {
			t.Errorf("%s: %v, left %v", s.network, err, c.routeList())
		}
	}
}

// The fields are what other programs rely on; rows are sorted by vrf and prefix.
func TestRoutesGolden(t *testing.T) {
	_, c := routed(t)
	for _, list := range []string{"fd09::/64=h2,vrf=v", "10.20.0.0/16=10.1.0.5,vrf=v", "10.9.0.0/24=h2,vrf=v", "10.9.0.0/16=192.0.2.2,vrf=v", "0.0.0.0/0=keyless,vrf=green"} {
		if _, err := c.AddRoute(mustRoute(t, list), false); err != nil {
			t.Fatal(err)
		}
	}
	rows, err := routeRowsOf(c, "")
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.MarshalIndent(rows, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	golden := filepath.Join("testdata", "routes.golden.json")
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil || string(got) != string(want) {
		t.Errorf("%v, got\n%s\nwant\n%s", err, got, want)
	}
	one, err := routeRowsOf(c, "green")
	if err != nil || !slices.Equal(one, rows[:2]) {
		t.Errorf("vrf green: got %+v, %v", one, err)
	}
	_, err = c.Routes("w")
	wantError(t, err, `vrf "w" does not exist`, "green, v")
}

func TestRouteTo(t *testing.T) {
	_, c := routed(t)
	for _, list := range []string{"10.9.0.0/16=h2,vrf=v", "10.9.1.0/24=10.1.0.5,vrf=v", "::/0=h2,vrf=v"} {
		if _, err := c.AddRoute(mustRoute(t, list), false); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct{ addr, vrf, want string }{ // prefix, via, kind, network
		{"10.1.0.9", "v", "10.1.0.0/24 blue connected blue"},
		{"10.1.0.9", "green", "10.1.0.0/24 green connected green"},
		{"10.9.9.9", "v", "10.9.0.0/16 h2 static "},
		{"10.9.1.1", "v", "10.9.1.0/24 10.1.0.5 static blue"},
		{"fd01::9", "v", "fd01::/64 blue connected blue"},
		{"2001:db8::1", "v", "::/0 h2 static "},
		{"10.10.0.1", "v", `route to 10.10.0.1: there is none in vrf "v": add one with weft route add PREFIX via PEER|ADDR --vrf v`},
		{"10.10.0.1", "w", `route to 10.10.0.1: vrf "w" does not exist: there is green, v, or make it with weft network set NAME --vrf w`},
	}
	for _, tt := range tests {
		r, err := c.RouteTo(netip.MustParseAddr(tt.addr), tt.vrf)
		got := strings.Join([]string{r.Prefix.String(), r.Via, r.Kind, r.Network}, " ")
		if err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%s in %s: got %s, want %s", tt.addr, tt.vrf, got, tt.want)
		}
	}
}

// Routes outlive a restart; what was declared goes with its declaration.
func TestRoutesRestored(t *testing.T) {
	r := newRig(t)
	objects := []string{"network blue=10.1.0.0/24,gateway=10.1.0.1,vrf=v", "peer h2=192.0.2.2"}
	c := r.open(append(objects, "route 10.9.0.0/16=h2", "route 10.8.0.0/16=192.0.2.2,vrf=v")...)
	for _, list := range []string{"10.7.0.0/16=10.1.0.5", "10.6.0.0/16=192.0.2.2"} {
		if _, err := c.AddRoute(mustRoute(t, list), false); err != nil {
			t.Fatal(err)
		}
	}
	r.close(c)
	c = r.open(append(objects, "route 10.9.0.0/16=10.1.0.6")...)
	wantTable(t, c, "v", "10.1.0.0/24 blue", "10.6.0.0/16 peer 1", "10.7.0.0/16 10.1.0.5", "10.9.0.0/16 10.1.0.6")
	var origins []string
	rows, _ := routeRowsOf(c, "")
	for _, row := range rows {
		origins = append(origins, row.Prefix.String()+" "+row.Origin)
	}
	if want := []string{"10.1.0.0/24 declared", "10.6.0.0/16 api", "10.7.0.0/16 api", "10.9.0.0/16 declared"}; !slices.Equal(origins, want) {
		t.Errorf("got %q, want %q", origins, want)
	}
	if log := r.log.String(); !strings.Contains(log, "10.8.0.0/16=h2,vrf=v") {
		t.Errorf("the log does not say that a declared route went:\n%s", log)
	}
	_, err := c.AddRoute(mustRoute(t, "10.9.0.0/16=h2"), false)
	wantError(t, err, "exists via 10.1.0.6")
	r.close(c)

	c = r.open("network blue=10.1.0.0/24,gateway=10.1.0.1,vrf=v") // h2 is gone
	wantTable(t, c, "v", "10.1.0.0/24 blue", "10.7.0.0/16 10.1.0.5")
	if d := c.Status().Degraded; len(d) != 1 || !strings.Contains(d[0].Why, `peer "h2" does not exist`) {
		t.Errorf("got degraded %+v", d)
	}
}

// The switch knows a port's addresses, its own MAC, and what a peer takes.
func TestRoutingConfigs(t *testing.T) {
	r, c := routed(t)
	r.container("/run/netns/a")
	p := r.attach(c, ask(t, "blue", "netns:a"))
	ep := c.endpointList()[0]
	if got := ep.addrs(); len(got) != 2 || got[0] != p.Addresses[0].Addr() {
		t.Errorf("got addresses %v", got)
	}
	if got := ep.Gateways; len(got) != 2 || got[0].String() != "10.1.0.1" || got[1].String() != "fd01::1" {
		t.Errorf("got default routes %v, want the network's gateways", got)
	}
	for _, cfg := range c.sent {
		want := uint32(0)
		if cfg.Addr == netip.MustParseAddr("192.0.2.5") {
			want = nameID("green")
		}
		if cfg.VRF != want || cfg.MTU != 1450 {
			t.Errorf("peer %v: got vrf %d, MTU %d; want %d, 1450", cfg.Addr, cfg.VRF, cfg.MTU, want)
		}
	}
	r.container("/run/netns/b")
	own := ask(t, "blue", "netns:b")
	own.MAC = hostMAC("h1").String()
	_, err := c.Attach(own)
	wantError(t, err, own.MAC, "this switch", "--mac")
}

// routeRowsOf returns the rows of Routes in a slice.
func routeRowsOf(c *Controller, vrf string) ([]spec.RouteStatus, error) {
	rows, err := c.Routes(vrf)
	if err != nil {
		return nil, err
	}
	return slices.Collect(rows), nil
}

// What is shown is what was there when it was asked for; whoever is slow to read
// it keeps nobody from changing routes.
func TestRoutesReadSlowly(t *testing.T) {
	_, c := routed(t)
	if _, err := c.AddRoute(mustRoute(t, "10.9.0.0/16=h2,vrf=v"), false); err != nil {
		t.Fatal(err)
	}
	rows, err := c.Routes("v")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for r := range rows {
		if len(got) == 0 {
			if err := c.RemoveRoute(mustRoute(t, "10.9.0.0/16=h2").Prefix, "v"); err != nil {
				t.Fatal(err)
			}
		}
		got = append(got, r.Prefix.String())
	}
	if want := []string{"10.1.0.0/24", "10.2.0.0/24", "10.9.0.0/16", "fd01::/64"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// A change of a peer to which no route leads touches no route of the switch: one
// that is there and should not, and would go when all are sent, stays.
func TestPeerChangeAndRoutes(t *testing.T) {
	_, c := routed(t)
	if _, err := c.AddRoute(mustRoute(t, "10.9.0.0/16=h2,vrf=v"), false); err != nil {
		t.Fatal(err)
	}
	mark := prefix("203.0.113.0/24")
	table := c.sw.Routes(c.vrfs()["v"].key)
	table.Insert(mark, c.nextHop(c.routes.get(routeKey{"v", prefix("10.9.0.0/16")})))
	marked := func() bool { _, ok := table.Get(mark); return ok }
	change := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err := c.AddPeer(mustPeer(t, "other=192.0.2.77"))
	change(err)
	change(c.RemovePeer("other"))
	if !marked() {
		t.Error("all routes were sent for a peer that none leads to")
	}
	_, err = c.AddPeer(mustPeer(t, "other=192.0.2.77"))
	change(err)
	_, err = c.AddRoute(mustRoute(t, "10.8.0.0/16=other,vrf=v"), false)
	change(err)
	wantError(t, c.RemovePeer("other"), "10.8.0.0/16")
	change(c.RemoveRoute(prefix("10.8.0.0/16"), "v"))
	change(c.RemovePeer("other"))
	if marked() {
		t.Error("routes were not sent for a peer that some led to")
	}
}
