package control

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"weft/dataplane"
	"weft/fib"
)

// A loop and an address in two places are named in status, with both places.
func TestTroubleFound(t *testing.T) {
	r := newRig(t)
	c := r.open("network blue=10.32.0.0/24", "peer h2=192.0.2.2")
	var ports []fib.Dest
	for _, name := range []string{"a", "b"} {
		r.container("/run/netns/" + name)
		r.attach(c, ask(t, "blue", "netns:"+name))
		ports = append(ports, fib.PortDest(uint16(c.endpoints[endpointKey{"blue", "/run/netns/" + name}].port)))
	}
	d := c.domains["blue"].id
	for range 3 { // it is told again while it lasts
		c.troubleFound(dataplane.Event{Kind: dataplane.EventLoop, Domain: d, At: ports[0], Other: ports[1]})
		c.troubleFound(dataplane.Event{Kind: dataplane.EventFlap, Domain: d, MAC: 0x0200_0000_0007, At: ports[1], Other: fib.PeerDest(1)})
	}
	c.troubleFound(dataplane.Event{Kind: dataplane.EventLoop, Domain: d + 7, At: ports[0], Other: ports[1]}) // of a network that is gone
	got := map[string]string{}
	for _, dg := range c.Status().Degraded {
		got[dg.What] = dg.Why
	}
	if len(got) != 2 || !strings.Contains(got["port a"], "port b") || !strings.Contains(got["port a"], "loop") ||
		!strings.Contains(got["network blue"], "02:00:00:00:00:07") || !strings.Contains(got["network blue"], "port b and peer h2") {
		t.Errorf("got %q", got)
	}
	if n := strings.Count(r.log.String(), "trouble found"); n != 2 {
		t.Errorf("the log says it %d times, want 2", n)
	}
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
