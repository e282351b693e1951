package control

import (
	"cmp"
	"encoding/json"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"weft/internal/drop"
	"weft/internal/spec"
)

func TestStatusJSON(t *testing.T) {
	c := newRig(t).open()
	c.opt.Version = "v1"
	b, err := json.Marshal(c.Status())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"name":"h1"`, `"version":"v1"`, `"degraded":[]`, `"networks":[]`, `"ports":[]`, `"peers":[]`, `"tap_full":0`} {
		if !strings.Contains(string(b), want) {
			t.Errorf("%s is missing in %s", want, b)
		}
	}
	if strings.Contains(string(b), "null") {
		t.Errorf("null in %s", b)
	}
	if got, want := len(c.Status().Drops), len(drop.All()); got != want {
		t.Errorf("got %d drop reasons, want %d", got, want)
	}
}

// Arrays are sorted by name, whatever the order in which things came.
func TestStatusOrder(t *testing.T) {
	r := newRig(t)
	c := r.open()
	for _, n := range []string{"m", "z", "a"} {
		if _, err := c.AddNetwork(mustNetwork(t, n+"=10.32.0.0/24")); err != nil {
			t.Fatal(err)
		}
		for _, target := range []string{"q", "b"} {
			r.container("/run/netns/" + n + target)
			r.attach(c, ask(t, n, "netns:"+n+target))
		}
	}
	for _, p := range []string{"h9=192.0.2.9", "h3=192.0.2.3"} {
		if _, err := c.AddPeer(mustPeer(t, p)); err != nil {
			t.Fatal(err)
		}
	}
	s := c.Status()
	byName := func(name func(i int) string, n int) bool {
		names := make([]string, n)
		for i := range n {
			names[i] = name(i)
		}
		return slices.IsSorted(names)
	}
	if !byName(func(i int) string { return s.Networks[i].Name }, 3) || !byName(func(i int) string { return s.Ports[i].Name }, 6) || !byName(func(i int) string { return s.Peers[i].Name }, 2) {
		t.Errorf("not sorted: %+v", s)
	}
}

// What the kernel dropped for a full TAP queue is on the balance sheet, also
// after the port is gone.
func TestKernelDrops(t *testing.T) {
	r := newRig(t)
	c := r.open("network blue=10.32.0.0/24")
	for _, name := range []string{"a", "b"} {
		r.container("/run/netns/" + name)
		r.attach(c, ask(t, "blue", "netns:"+name))
	}
	frames := c.Status().Frames
	r.tap("/run/netns/a", "eth1").dropped = 7
	r.tap("/run/netns/b", "eth1").dropped = 2
	check := func(when string, want uint64) {
		t.Helper()
		s := c.Status()
		if got := s.Frames.In - frames.In; got != want || s.Drops["tap_full"] != want {
			t.Errorf("%s: got %d frames in, %d tap_full, want %d of both", when, got, s.Drops["tap_full"], want)
		}
		if f := s.Frames; f.In != f.Forwarded+f.Local+f.DroppedIn {
			t.Errorf("%s: does not balance: %+v", when, f)
		}
		var sum uint64
		for _, d := range c.Drops() {
			if d.Reason == "tap_full" {
				sum += d.Count
			}
		}
		if sum != want {
			t.Errorf("%s: drops add up to %d, want %d", when, sum, want)
		}
	}
	check("up", 9)
	if !slices.Contains(c.Drops(), spec.Drop{At: "a", Reason: "tap_full", Count: 7}) {
		t.Errorf("not with the port: %+v", c.Drops())
	}
	if err := c.Detach("blue", "netns:a"); err != nil {
		t.Fatal(err)
	}
	check("detached", 9)
	r.kill("/run/netns/b")
	eventually(t, "b is down", func() bool { return !c.Ports()[0].Up })
	check("gone", 9)
	r.container("/run/netns/b")
	r.attach(c, ask(t, "blue", "netns:b"))
	check("back", 9)
}

// What the kernel dropped before the switch reopened a TAP entered no switch.
func TestKernelDropsBeforeRestart(t *testing.T) {
	r := newRig(t)
	c := r.open("network blue=10.32.0.0/24")
	r.container("/run/netns/a")
	r.attach(c, ask(t, "blue", "netns:a"))
	r.close(c)
	r.tap("/run/netns/a", "eth1").dropped = 5
	c = r.open("network blue=10.32.0.0/24")
	if got := c.Status().Drops["tap_full"]; got != 0 {
		t.Errorf("got %d, want 0", got)
	}
	r.tap("/run/netns/a", "eth1").dropped = 6
	if got := c.Status().Drops["tap_full"]; got != 1 {
		t.Errorf("got %d, want 1", got)
	}
}

func TestDropsListEveryReasonOnce(t *testing.T) {
	c := newRig(t).open("peer h2=192.0.2.2")
	list := c.Drops()
	if len(list) != len(drop.All()) {
		t.Errorf("got %d rows, want %d", len(list), len(drop.All()))
	}
	for _, r := range drop.All() {
		if !slices.Contains(list, spec.Drop{At: "switch", Reason: r.String()}) {
			t.Errorf("got %+v, want %s of the switch", list, r)
		}
	}
}

// Drops are sorted by place and reason, the switch's own among them like any name.
func TestDropsOrder(t *testing.T) {
	r := newRig(t)
	c := r.open("network blue=10.32.0.0/24", "peer h2=192.0.2.2")
	for _, name := range []string{"zebra", "ant"} {
		r.container("/run/netns/" + name)
		r.attach(c, ask(t, "blue", "netns:"+name))
		r.tap("/run/netns/"+name, "eth1").dropped = 3
	}
	list := c.Drops()
	if !slices.IsSortedFunc(list, func(a, b spec.Drop) int {
		return cmp.Or(strings.Compare(a.At, b.At), strings.Compare(a.Reason, b.Reason))
	}) {
		t.Errorf("not sorted: %+v", list)
	}
	if first, last := list[0].At, list[len(list)-1].At; first != "ant" || last != "zebra" {
		t.Errorf("got from %s to %s, want from ant to zebra", first, last)
	}
}

func TestOverflowIsShownForAWhile(t *testing.T) {
	var f faults
	start := time.Now()
	f.noteOverflow(0, start)
	if !f.overflowNoticed.IsZero() {
		t.Error("nothing was lost")
	}
	f.noteOverflow(10, start)
	f.noteOverflow(20, start.Add(30*time.Second))
	f.noteOverflow(20, start.Add(40*time.Second))
	if !f.overflowSince.Equal(start) || !f.overflowNoticed.Equal(start.Add(30*time.Second)) {
		t.Errorf("got %+v", f)
	}
	f.noteOverflow(30, start.Add(5*time.Minute))
	if !f.overflowSince.Equal(start.Add(5 * time.Minute)) {
		t.Errorf("a later loss is a new one: %+v", f)
	}
}

// A local address that is nowhere is said, and then no more.
func TestLocalAddressMissing(t *testing.T) {
	r := newRig(t)
	c := r.open()
	r.addrs = []netip.Addr{netip.MustParseAddr("10.9.9.9")}
	c.look()
	d := c.Status().Degraded
	if len(d) != 1 || d[0].What != "underlay" || !strings.Contains(d[0].Why, "192.0.2.1") {
		t.Errorf("got degraded %+v", d)
	}
	r.addrs = append(r.addrs, r.local)
	c.look()
	if d := c.Status().Degraded; len(d) != 0 {
		t.Errorf("got degraded %+v", d)
	}
}

// Where the links carry less than the ports may send, status says so, and how to
// mend it; ports with an MTU of their own are somebody's wish.
func TestLinkShrank(t *testing.T) {
	r := newRig(t)
	c := r.open("network blue=10.32.0.0/24", "network own=10.33.0.0/24", "network wide=10.34.0.0/24,mtu=2000", "peer h2=192.0.2.2,networks=blue+own")
	if _, err := c.AddNetwork(spec.Network{Name: "green", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.35.0.0/24")}}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"blue", "green", "own", "wide"} {
		r.container("/run/netns/" + name)
		a := ask(t, name, "netns:"+name)
		if name == "own" {
			a.MTU = 1500
		}
		r.attach(c, a)
	}
	if list := c.degraded(); len(list) != 0 {
		t.Errorf("got %v, want nothing", list)
	}
	c.links = linkMTUs{1400, 1400, 1400}
	list := c.degraded()
	if len(list) != 2 || list[0].What != "network blue" || list[1].What != "network green" {
		t.Fatalf("got %v, want blue and green", list)
	}
	for i, words := range [][]string{{"1450", "1350", "mtu=1350", "weft.yaml"}, {"1450", "1350", "weft network set green --mtu 1350"}} {
		wantError(t, errors.New(list[i].Why), words...)
	}
	mtu := 1350
	if _, err := c.SetNetwork("green", spec.NetworkChange{MTU: &mtu}, false); err != nil {
		t.Fatal(err)
	}
	c.links = linkMTUs{1400, 1400, 1400}
	if list := c.degraded(); len(list) != 1 {
		t.Errorf("got %v, want blue alone", list)
	}
}
