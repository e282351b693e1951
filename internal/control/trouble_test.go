package control

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"weft/dataplane"
	"weft/fib"
	"weft/internal/header"
	"weft/internal/spec"
)

// A loop and an address in two places are named in status, with both places.
func TestTroubleFound(t *testing.T) {
	r := newRig(t)
	c := r.open("network blue=10.32.0.0/24", "peer h2=192.0.2.2")
	var ports []fib.Dest
	for _, name := range []string{"a", "b", "c"} {
		r.container("/run/netns/" + name)
		r.attach(c, ask(t, "blue", "netns:"+name))
		ports = append(ports, fib.PortDest(uint16(c.endpoints[endpointKey{"blue", "/run/netns/" + name}].port)))
	}
	d := c.domains["blue"].id
	for range 3 { // it is told again while it lasts
		c.troubleFound(dataplane.Event{Kind: dataplane.EventLoop, Domain: d, At: ports[0], Other: ports[1]})
		c.troubleFound(dataplane.Event{Kind: dataplane.EventFlap, Domain: d, MAC: 0x0200_0000_0007, At: ports[2], Other: fib.PeerDest(1)})
	}
	c.troubleFound(dataplane.Event{Kind: dataplane.EventLoop, Domain: d + 7, At: ports[0], Other: ports[1]}) // of a network that is gone
	got := map[string]string{}
	for _, dg := range c.Status().Degraded {
		got[dg.What] = dg.Why
	}
	if len(got) != 2 || !strings.Contains(got["port a"], "port b") || !strings.Contains(got["port a"], "loop") ||
		!strings.Contains(got["network blue"], "02:00:00:00:00:07") || !strings.Contains(got["network blue"], "port c and peer h2") {
		t.Errorf("got %q", got)
	}
	if n := strings.Count(r.log.String(), "trouble found"); n != 2 {
		t.Errorf("the log says it %d times, want 2", n)
	}
}

// A loop comes first, and whom it accuses falsely is not accused: neither before
// the loop was found nor while it lasts.
func TestLoopExplainsMoves(t *testing.T) {
	r := newRig(t)
	c := r.open("network blue=10.32.0.0/24", "network red=10.33.0.0/24", "peer h2=192.0.2.2")
	var ports []fib.Dest
	for _, name := range []string{"a", "b", "c"} {
		r.container("/run/netns/" + name)
		r.attach(c, ask(t, "blue", "netns:"+name))
		ports = append(ports, fib.PortDest(uint16(c.endpoints[endpointKey{"blue", "/run/netns/" + name}].port)))
	}
	c.faults.noteSave(errors.New("disk full"))
	blue, red := c.domains["blue"].id, c.domains["red"].id
	flap := func(d dataplane.DomainID, mac header.MAC, at, other fib.Dest) {
		c.troubleFound(dataplane.Event{Kind: dataplane.EventFlap, Domain: d, MAC: mac, At: at, Other: other})
	}
	flap(blue, 1, ports[0], ports[1])
	flap(blue, 2, ports[2], fib.PeerDest(1))
	c.troubleFound(dataplane.Event{Kind: dataplane.EventLoop, Domain: blue, At: ports[2], Other: ports[1]})
	flap(blue, 3, ports[0], ports[2])
	flap(blue, 4, ports[0], fib.PeerDest(1)) // has nothing to do with it
	flap(red, 5, ports[1], fib.PeerDest(1))
	var got []string
	for _, dg := range c.degraded() {
		got = append(got, dg.What)
	}
	if want := []string{"port c", "state file", "network blue", "network red"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// What is said of a port or a peer goes with it.
func TestTroubleGoesWithItsPlace(t *testing.T) {
	r := newRig(t)
	c := r.open("network blue=10.32.0.0/24")
	if _, err := c.AddPeer(spec.Peer{Name: "h2", Address: netip.MustParseAddr("192.0.2.2")}); err != nil {
		t.Fatal(err)
	}
	ports := map[string]fib.Dest{}
	for _, name := range []string{"a", "b", "c", "d"} {
		r.container("/run/netns/" + name)
		r.attach(c, ask(t, "blue", "netns:"+name))
		ports[name] = fib.PortDest(uint16(c.endpoints[endpointKey{"blue", "/run/netns/" + name}].port))
	}
	d := c.domains["blue"].id
	find := func() {
		c.troubleFound(dataplane.Event{Kind: dataplane.EventLoop, Domain: d, At: ports["a"], Other: ports["b"]})
		c.troubleFound(dataplane.Event{Kind: dataplane.EventFlap, Domain: d, MAC: 7, At: ports["c"], Other: fib.PeerDest(1)})
		c.troubleFound(dataplane.Event{Kind: dataplane.EventFlap, Domain: d, MAC: 8, At: ports["c"], Other: ports["d"]})
	}
	want := func(what string, n int) {
		t.Helper()
		if list := c.degraded(); len(list) != n {
			t.Errorf("%s: got %v, want %d", what, list, n)
		}
	}
	find()
	want("all there", 3)
	if err := c.Detach("blue", "netns:b"); err != nil {
		t.Fatal(err)
	}
	want("b detached", 2)
	find() // what was on its way
	want("b detached, and told once more", 2)
	if err := c.RemovePeer("h2"); err != nil {
		t.Fatal(err)
	}
	want("h2 removed", 1)
	if err := c.Detach("blue", "netns:c"); err != nil {
		t.Fatal(err)
	}
	want("c detached", 0)
}

// What is over is forgotten, and what there is too much of is not kept.
func TestTroubleIsBounded(t *testing.T) {
	var f faults
	now := time.Now()
	for i := range 1000 {
		f.noteTrouble(trouble{what: "network a", why: fmt.Sprint("MAC ", i)}, now)
	}
	if len(f.troubles) != maxTroubles {
		t.Errorf("got %d, want %d", len(f.troubles), maxTroubles)
	}
	later := now.Add(troubleShown)
	if f.noteTrouble(trouble{what: "network a", why: "MAC 3"}, later) {
		t.Error("what lasts is new")
	}
	if got := f.troubles["network a MAC 3"]; !got.since.Equal(now) || !got.last.Equal(later) {
		t.Errorf("got %+v", got)
	}
	if !f.noteTrouble(trouble{what: "network a", why: "MAC 2000"}, later.Add(time.Second)) || len(f.troubles) != 2 {
		t.Errorf("what is over stays: %d", len(f.troubles))
	}
}
