package control

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"weft/dataplane"
	"weft/internal/spec"
)

func TestAddPeer(t *testing.T) {
	c := newRig(t).open("network blue=10.32.0.0/24", "network red=10.33.0.0/24")
	tests := []struct {
		list string
		want []string // in the error; none: done
	}{
		{list: "h2=192.0.2.2,networks=red+blue"},
		{list: "h2=192.0.2.2,networks=blue+red"}, // the same again
		{"h2=192.0.2.3", []string{`"h2"`, "192.0.2.2", "remove"}},
		{"h3=192.0.2.2", []string{`"h3"`, "192.0.2.2", `"h2"`}},
		{"me=192.0.2.1", []string{`"me"`, "192.0.2.1", "this host"}},
		{"me=10.9.9.9", []string{`"me"`, "this host"}}, // an address of another interface
		{"me=127.0.0.5", []string{`"me"`, "this host"}},
		{"six=fd00::2", []string{`"six"`, "fd00::2", "IPv6", "--local"}},
		{"h4=192.0.2.4,networks=green", []string{`"h4"`, `"green"`, "add it first"}},
		{"h5=192.0.2.5,key=none", []string{`"h5"`, "blue, red", "networks="}},
		{list: "h5=192.0.2.5,key=none,networks=red"},
		{list: "h6=192.0.2.6,csum,seq,encap=gre"},
	}
	for _, tt := range tests {
		_, err := c.AddPeer(mustPeer(t, tt.list))
		if tt.want != nil {
			wantError(t, err, tt.want...)
		} else if err != nil {
			t.Errorf("%s: %v", tt.list, err)
		}
	}
	var got []string
	for _, p := range c.Peers() {
		got = append(got, p.Name+":"+strings.Join(p.Networks, "+")+":"+p.State)
	}
	if want := []string{"h2:blue+red:unknown", "h5:red:unknown", "h6:blue+red:unknown"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A peer of a version of IP that this host no longer speaks waits, and does not
// keep the others from being heard.
func TestPeerOfOtherVersion(t *testing.T) {
	r := newRig(t)
	six := netip.MustParseAddr("2001:db8::1")
	r.addrs = append(r.addrs, six)
	v4 := r.local
	r.local = six
	c := r.open("network blue=10.32.0.0/24")
	if got := c.Networks()[0].MTU; got != 1430 {
		t.Errorf("got MTU %d over IPv6, want 1430", got)
	}
	if _, err := c.AddPeer(mustPeer(t, "h6=2001:db8::2,csum")); err != nil {
		t.Fatal(err)
	}
	if p, n := c.Peers()[0].MTU, c.Networks()[0].MTU; p != 1426 || n != 1426 {
		t.Errorf("got MTUs %d and %d, want 1426", p, n)
	}
	_, err := c.AddPeer(mustPeer(t, "h4=192.0.2.4"))
	wantError(t, err, `"h4"`, "192.0.2.4", "IPv4", "--local")
	r.close(c)

	r.local = v4
	c = r.open("network blue=10.32.0.0/24", "peer h2=192.0.2.2")
	if len(c.sent) != 1 || len(c.Peers()) != 2 {
		t.Errorf("the switch has %+v, there are %+v", c.sent, c.Peers())
	}
	if d := c.Status().Degraded; len(d) != 1 || d[0].What != "peer h6" || !strings.Contains(d[0].Why, "--local") {
		t.Errorf("got degraded %+v", d)
	}
	_, err = r.tryOpen("peer h6=2001:db8::2")
	wantError(t, err, "weft.yaml", `"h6"`, "IPv6", "--local")
}

func TestRemovePeer(t *testing.T) {
	c := newRig(t).open("peer h2=192.0.2.2")
	wantError(t, c.RemovePeer("h2"), `"h2"`, "weft.yaml")
	if _, err := c.AddPeer(mustPeer(t, "h3=192.0.2.3")); err != nil {
		t.Fatal(err)
	}
	id := c.peers["h3"].id
	for range 2 {
		if err := c.RemovePeer("h3"); err != nil {
			t.Error(err)
		}
	}
	if _, err := c.AddPeer(mustPeer(t, "h4=192.0.2.3")); err != nil {
		t.Errorf("the address is not free again: %v", err)
	}
	if got := c.peers["h4"].id; got != id {
		t.Errorf("got number %d, want %d again", got, id)
	}
}

// A peer without key carries one network, so a second one must not appear
// beside it unnoticed.
func TestKeylessPeer(t *testing.T) {
	c := newRig(t).open()
	_, err := c.AddPeer(mustPeer(t, "h2=192.0.2.2,key=none"))
	wantError(t, err, `"h2"`, "add it first")
	if _, err := c.AddNetwork(mustNetwork(t, "blue=10.32.0.0/24")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.AddPeer(mustPeer(t, "h2=192.0.2.2,key=none")); err != nil {
		t.Fatal(err)
	}
	_, err = c.AddNetwork(mustNetwork(t, "red=10.33.0.0/24"))
	wantError(t, err, `"red"`, `"blue"`, `"h2"`, "networks=blue")
	if err := c.RemovePeer("h2"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.AddPeer(mustPeer(t, "h2=192.0.2.2,key=none,networks=blue")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.AddNetwork(mustNetwork(t, "red=10.33.0.0/24")); err != nil {
		t.Error(err)
	}
	if got := c.Peers()[0].Networks; !slices.Equal(got, []string{"blue"}) {
		t.Errorf("got networks %q, want blue alone", got)
	}
}

func TestHealth(t *testing.T) {
	wall := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	refused := errors.New("protocol unreachable")
	tests := []struct {
		name          string
		heard, failed uint32
		want, reason  string
		since         time.Duration // before wall, of down
	}{
		{"never", 0, 0, "unknown", "nothing heard yet", 0},
		{"now", 100, 0, "up", "last datagram 0 s ago", 0},
		{"just in time", 70, 0, "up", "30 s ago", 0},
		{"silent", 69, 0, "down", "silent: last datagram 31 s ago", time.Second},
		{"long silent", 10, 0, "down", "90 s ago", 60 * time.Second},
		{"refused", 0, 98, "down", "protocol unreachable since 2026-01-02T03:04:03Z", 2 * time.Second},
		{"refused after it was up", 95, 98, "down", "last datagram 5 s ago", 2 * time.Second},
		{"refused before it was up", 98, 95, "up", "", 0},
		{"refused in the same second", 98, 98, "up", "", 0}, // an error is a hint, not proof
		{"refused, then silent", 60, 55, "down", "silent", 10 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := plainHealth(dataplane.PeerStats{Heard: tt.heard, Failed: tt.failed, Err: refused}, 100, wall)
			if got.state != tt.want || !strings.Contains(got.reason, tt.reason) {
				t.Errorf("got %s (%s), want %s (%s)", got.state, got.reason, tt.want, tt.reason)
			}
			if got.failed != (tt.want == "down" && !strings.HasPrefix(got.reason, "silent")) {
				t.Errorf("failed is %t for %s (%s)", got.failed, got.state, got.reason)
			}
			if got.state == "down" && !got.since.Equal(wall.Add(-tt.since)) {
				t.Errorf("since %s, want %s before %s", got.since, tt.since, wall)
			}
		})
	}
}

// A peer that is silent may have nothing to say; one that cannot be reached is a fault.
func TestSilenceIsNoFault(t *testing.T) {
	wall := time.Now()
	for _, tt := range []struct {
		stats dataplane.PeerStats
		want  int
	}{
		{dataplane.PeerStats{}, 0},
		{dataplane.PeerStats{Heard: 10}, 0},
		{dataplane.PeerStats{Heard: 10, Failed: 10, Err: syscall.ECONNREFUSED}, 0},
		{dataplane.PeerStats{Heard: 10, Failed: 11, Err: syscall.ECONNREFUSED}, 1},
		{dataplane.PeerStats{Failed: 11, Err: syscall.ECONNREFUSED}, 1},
	} {
		n := 0
		degradedHealth("h2", plainHealth(tt.stats, 100, wall), func(_ time.Time, what, format string, args ...any) {
			n++
			if why := fmt.Sprintf(format, args...); what != "peer h2" || !strings.Contains(why, "refused") {
				t.Errorf("got %s: %s", what, why)
			}
		})
		if n != tt.want {
			t.Errorf("%+v: got %d faults, want %d", tt.stats, n, tt.want)
		}
	}
}

// Datagrams of a peer make it up.
func TestPeerComesUp(t *testing.T) {
	r1, r2 := newRig(t), newRig(t)
	join(t, r1, r2)
	c1 := r1.open("network blue=10.32.0.0/24", "peer h2=192.0.2.2")
	c2 := r2.open("network blue=10.32.0.0/24", "peer h1=192.0.2.1")
	r1.container("/run/netns/a")
	r2.container("/run/netns/b")
	r1.attach(c1, ask(t, "blue", "netns:a", "10.32.0.1/24"))
	r2.attach(c2, ask(t, "blue", "netns:b", "10.32.0.2/24")) // announces itself
	eventually(t, "h2 is up", func() bool { return c1.Peers()[0].State == "up" })
	if !hears(t, r1.tap("/run/netns/a", "eth1"), r2.tap("/run/netns/b", "eth1")) {
		t.Error("a frame did not cross")
	}
	eventually(t, "b is learned behind h2", func() bool { // a hello may have come before what b says
		entries, err := c1.FDB("blue")
		if err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(entries, func(e spec.FDBEntry) bool { return e.Peer == "h2" && e.Kind == "learned" })
	})
	c1.look()
	c1.look()
	if got := strings.Count(r1.log.String(), "peer is up"); got != 1 {
		t.Errorf("the log says %d times that h2 came up, want once", got)
	}
}
