package control

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weft/internal/spec"
)

// table reads a file of routes.
func table(t *testing.T, lines string) []spec.Route {
	t.Helper()
	list, err := spec.ReadRoutes(strings.NewReader(lines), spec.Route{VRF: "v"})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// Many routes are made in one step; each is what AddRoute would make.
func TestAddRoutes(t *testing.T) {
	r, c := routed(t)
	before := []string{"10.1.0.0/24 blue", "10.2.0.0/24 red", "fd01::/64 blue"}
	got, err := c.AddRoutes(table(t, "10.9.0.0/16 via 192.0.2.2\n10.8.0.0/16 via 10.1.0.5\n10.9.0.0/16 via h2\nfd09::/64 via h2"), false)
	if want := (spec.RoutesAdded{Added: 3, Unchanged: 1}); err != nil || got != want {
		t.Fatalf("got %+v, %v, want %+v", got, err, want)
	}
	after := []string{"10.1.0.0/24 blue", "10.2.0.0/24 red", "10.8.0.0/16 10.1.0.5", "10.9.0.0/16 peer 3", "fd01::/64 blue", "fd09::/64 peer 3"}
	wantTable(t, c, "v", after...)
	state, err := os.ReadFile(filepath.Join(r.dir, "state.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		lines string
		want  []string
	}{
		{"10.20.0.0/16 via h2\n10.9.0.0/16 via 10.1.0.5", []string{"line 2", "10.9.0.0/16", "exists via h2", "weft route replace"}},
		{"10.20.0.0/16 via h2\n10.20.0.0/16 via 10.1.0.5", []string{"line 2", "10.20.0.0/16", "exists via h2"}},
		{"10.20.0.0/16 via h2\n10.21.0.0/16 via nobody", []string{"line 2", "nobody", "does not exist"}},
		{"10.20.0.0/16 via h2\n10.1.0.0/24 via h2", []string{"line 2", "connected"}},
		{"10.20.0.0/16 via h2\n192.0.2.0/24 via h2", []string{"line 2", "its own tunnel"}},
		{"10.20.0.0/16 via h2\n10.1.0.0/28 via h2", []string{"10.1.0.0/28", "10.1.0.5", "10.8.0.0/16"}},           // diverts an old one
		{"10.20.0.0/16 via 10.2.0.5\n10.2.0.0/28 via h2", []string{"line 1", "10.2.0.5", "not reached directly"}}, // and a new one
		{"10.20.0.0/16 via h2 vrf nowhere", []string{"line 1", "nowhere"}},
	} {
		_, err := c.AddRoutes(table(t, tt.lines), false)
		wantError(t, err, tt.want...)
		wantTable(t, c, "v", after...)
		if now, _ := os.ReadFile(filepath.Join(r.dir, "state.json")); string(now) != string(state) {
			t.Errorf("%q was refused and changed the state", tt.lines)
		}
	}
	got, err = c.AddRoutes(table(t, "10.9.0.0/16 via 10.1.0.5\n10.8.0.0/16 via 10.1.0.5\n10.20.0.0/16 via h2"), true)
	if want := (spec.RoutesAdded{Added: 1, Replaced: 1, Unchanged: 1}); err != nil || got != want {
		t.Fatalf("got %+v, %v, want %+v", got, err, want)
	}
	wantTable(t, c, "v", "10.1.0.0/24 blue", "10.2.0.0/24 red", "10.8.0.0/16 10.1.0.5", "10.9.0.0/16 10.1.0.5", "10.20.0.0/16 peer 3", "fd01::/64 blue", "fd09::/64 peer 3")
	for _, p := range []string{"10.8.0.0/16", "10.9.0.0/16", "10.20.0.0/16", "fd09::/64"} {
		if err := c.RemoveRoute(netip.MustParsePrefix(p), "v"); err != nil {
			t.Fatal(err)
		}
	}
	wantTable(t, c, "v", before...)
}

// One route may be replaced, too.
func TestReplaceRoute(t *testing.T) {
	_, c := routed(t)
	for _, list := range []string{"10.9.0.0/16=h2,vrf=v", "10.9.0.0/16=10.1.0.5,vrf=v", "10.9.0.0/16=10.1.0.5,vrf=v", "10.9.0.0/16=h2,vrf=v"} {
		if got, err := c.AddRoute(mustRoute(t, list), true); err != nil || got.Problem != "" {
			t.Fatalf("%s: %+v, %v", list, got, err)
		}
	}
	_, err := c.AddRoute(mustRoute(t, "10.9.0.0/16=nobody,vrf=v"), true)
	wantError(t, err, "nobody", "does not exist")
	wantTable(t, c, "v", "10.1.0.0/24 blue", "10.2.0.0/24 red", "10.9.0.0/16 peer 3", "fd01::/64 blue")
}

// A table that lost its peer is one line of trouble, not a hundred thousand, and
// keeps the peer from being removed by mistake.
func TestManyRoutesInTrouble(t *testing.T) {
	r := newRig(t)
	c := r.open()
	if _, err := c.AddNetwork(mustNetwork(t, "blue=10.1.0.0/24,gateway=10.1.0.1,vrf=v")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.AddPeer(mustPeer(t, "h2=192.0.2.2")); err != nil {
		t.Fatal(err)
	}
	var lines strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&lines, "172.%d.%d.0/24 via h2\n", 16+i/256, i%256)
	}
	if _, err := c.AddRoutes(table(t, lines.String()), false); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	c = r.open() // they are all there again
	err := c.RemovePeer("h2")
	wantError(t, err, "172.16.0.0/24", "995 more")
	if len(err.Error()) > 1000 {
		t.Errorf("the error has %d bytes", len(err.Error()))
	}
	c.locked(func() { delete(c.peers, "h2") }) // as if its declaration had gone
	c.routesSent = false
	if err := c.publish(); err != nil {
		t.Fatal(err)
	}
	wantTable(t, c, "v", "10.1.0.0/24 blue")
	n, more := 0, ""
	for _, d := range c.Status().Degraded {
		if strings.HasPrefix(d.What, "route ") {
			n++
		}
		if d.What == "routes" {
			more = d.Why
		}
	}
	if n != 100 || !strings.HasPrefix(more, "900 more") {
		t.Errorf("%d routes are named, and %q", n, more)
	}
}

// A peer for routes alone shares no network, those that come later included,
// and carries every vrf.
func TestPeerForRoutesAlone(t *testing.T) {
	r := newRig(t)
	c := r.open("peer h2=192.0.2.2,networks=none")
	if _, err := c.AddNetwork(mustNetwork(t, "blue=10.1.0.0/24,gateway=10.1.0.1,vrf=v")); err != nil {
		t.Fatal(err)
	}
	if got, err := c.AddRoute(mustRoute(t, "10.9.0.0/16=h2,vrf=v"), false); err != nil || got.Problem != "" {
		t.Fatalf("%+v, %v", got, err)
	}
	wantTable(t, c, "v", "10.1.0.0/24 blue", "10.9.0.0/16 peer 1")
	if peers := c.domains["blue"].cfg.Peers; len(peers) != 0 {
		t.Errorf("network blue is shared with %v", peers)
	}
	if p := c.Peers(); len(p) != 1 || len(p[0].Networks) != 0 {
		t.Errorf("peers: %+v", p)
	}
	if d := c.Status().Degraded; len(d) != 0 {
		t.Errorf("degraded: %+v", d)
	}
	_, err := spec.ParseNetwork("none=10.2.0.0/24")
	wantError(t, err, "networks=none")
}
