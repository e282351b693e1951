package control

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"weft/internal/header"
	"weft/internal/spec"
	"weft/tap"
)

func TestAttach(t *testing.T) {
	r := newRig(t)
	c := r.open("network blue=10.32.0.0/24,fd00::/64,gateway=10.32.0.1,range=10.32.0.10-10.32.0.20")
	r.container("/run/netns/a")
	got := r.attach(c, ask(t, "blue", "netns:a"))
	want := spec.PortStatus{
		Name: "a", Network: "blue", Kind: "tap", Target: "netns:a", Namespace: "/run/netns/a", IfName: "eth1",
		MAC:       defaultMAC(nameID("blue"), netip.MustParseAddr("10.32.0.10"), "h1", "netns:a"),
		Addresses: []netip.Prefix{netip.MustParsePrefix("10.32.0.10/24"), netip.MustParsePrefix("fd00::1/64")},
		MTU:       1450, Up: true, MACLimit: 1, Storm: 2000,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	cfg := tap.Config{IfName: "eth1", MAC: want.MAC, MTU: 1450, Addrs: want.Addresses, Gateways: []netip.Addr{netip.MustParseAddr("10.32.0.1")}}
	if f := r.tap("/run/netns/a", "eth1"); f == nil || !reflect.DeepEqual(f.cfg, cfg) {
		t.Errorf("got TAP %+v, want %+v", f, cfg)
	}
	first := r.tap("/run/netns/a", "eth1")
	if again := r.attach(c, ask(t, "blue", "netns:a")); !reflect.DeepEqual(again, want) || r.tap("/run/netns/a", "eth1") != first {
		t.Errorf("the same again: got %+v", again)
	}
	r.attach(c, ask(t, "blue", "netns:/var/run/netns/a", "10.32.0.10/24", "fd00::1/64")) // written in another way
	if len(c.Ports()) != 1 {
		t.Errorf("got %+v", c.Ports())
	}
}

// A range is of one family; addresses of the other come from the whole prefix.
func TestAttachRange6(t *testing.T) {
	r := newRig(t)
	c := r.open("network blue=10.32.0.0/24,fd00::/64,range=fd00::a0-fd00::af")
	r.container("/run/netns/a")
	if got := fmt.Sprint(r.attach(c, ask(t, "blue", "netns:a")).Addresses); got != "[10.32.0.1/24 fd00::a0/64]" {
		t.Errorf("got %s", got)
	}
}

func TestAttachCarriesFrames(t *testing.T) {
	r := newRig(t)
	c := r.open("network blue=10.32.0.0/24", "network red=10.32.0.0/24")
	for _, name := range []string{"a", "b", "x"} {
		r.container("/run/netns/" + name)
	}
	r.attach(c, ask(t, "blue", "netns:a"))
	r.attach(c, ask(t, "blue", "netns:b"))
	r.attach(c, ask(t, "red", "netns:x"))
	a, b, x := r.tap("/run/netns/a", "eth1"), r.tap("/run/netns/b", "eth1"), r.tap("/run/netns/x", "eth1")
	if !hears(t, a, b) || !hears(t, b, a) {
		t.Error("a and b do not hear each other")
	}
	if hears(t, a, x) {
		t.Error("networks are not apart")
	}
}

func TestAttachRefuses(t *testing.T) {
	r := newRig(t)
	c := r.open("network blue=10.32.0.0/24,gateway=10.32.0.1", "network six=fd00::/64", "network tiny=10.40.0.0/30", "network red=10.32.0.0/24")
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		r.container("/run/netns/" + name)
	}
	r.attach(c, ask(t, "blue", "netns:a", "10.32.0.5/24"))
	r.attach(c, ask(t, "tiny", "netns:d"))
	r.attach(c, ask(t, "tiny", "netns:e"))
	if err := c.AddFDB("blue", "02:00:00:00:00:99", "a", 0); err != nil {
		t.Fatal(err)
	}
	with := func(a spec.Attach, f func(*spec.Attach)) spec.Attach { f(&a); return a }
	tests := []struct {
		name string
		ask  spec.Attach
		want []string
	}{
		{"unknown network", ask(t, "green", "netns:b"), []string{`"green"`, "blue"}},
		{"no such container", ask(t, "blue", "netns:zzz"), []string{"netns:zzz", "/run/netns/zzz"}},
		{"no such process", ask(t, "blue", "pid:99"), []string{"pid:99"}},
		{"docker", ask(t, "blue", "web"), []string{"pid:N"}},
		{"the host", ask(t, "blue", "netns:/proc/self/ns/net"), []string{"this host"}},
		{"outside", ask(t, "blue", "netns:b", "10.33.0.5/24"), []string{"10.33.0.5", "10.32.0.0/24", `"blue"`}},
		{"other family", ask(t, "blue", "netns:b", "fd00::5/64"), []string{"fd00::5", "10.32.0.0/24"}},
		{"taken", ask(t, "blue", "netns:b", "10.32.0.5/24"), []string{"10.32.0.5", "port a"}},
		{"gateway", ask(t, "blue", "netns:b", "10.32.0.1/24"), []string{"10.32.0.1", "gateway"}},
		{"broadcast", ask(t, "blue", "netns:b", "10.32.0.255/16"), []string{"10.32.0.255", "broadcast"}},
		{"anycast", ask(t, "six", "netns:b", "fd00::/128"), []string{"fd00::", "anycast"}},
		{"another address", ask(t, "blue", "netns:a", "10.32.0.6/24"), []string{"netns:a", "10.32.0.5/24", "10.32.0.6/24", "detach"}},
		{"one more address", ask(t, "blue", "netns:a", "10.32.0.5/24", "10.32.0.6/24"), []string{"10.32.0.5/24"}},
		{"another route", ask(t, "blue", "netns:a", "10.32.0.5/24@10.32.0.2"), []string{"10.32.0.1", "10.32.0.2"}},
		{"another MAC", with(ask(t, "blue", "netns:a"), func(a *spec.Attach) { a.MAC = "02:00:00:00:00:01" }), []string{"MAC", "detach"}},
		{"another interface", with(ask(t, "blue", "netns:a"), func(a *spec.Attach) { a.IfName = "eth2" }), []string{"eth1", "eth2"}},
		{"another MTU", with(ask(t, "blue", "netns:a"), func(a *spec.Attach) { a.MTU = 1000 }), []string{"1450", "1000"}},
		{"spoofing", with(ask(t, "blue", "netns:a"), func(a *spec.Attach) { a.AllowSpoof = true }), []string{"--allow-spoof"}},
		{"another storm", with(ask(t, "blue", "netns:a"), func(a *spec.Attach) { a.Storm = new(int) }), []string{"--storm 2000", "not 0", "detach"}},
		{"MAC taken", with(ask(t, "blue", "netns:b"), func(a *spec.Attach) { a.MAC = r.tap("/run/netns/a", "eth1").cfg.MAC.String() }), []string{"port a", "--mac"}},
		{"MAC of gateway", with(ask(t, "blue", "netns:b"), func(a *spec.Attach) { a.MAC = gatewayMAC(nameID("blue")).String() }), []string{"gateway", "--mac"}},
		{"MAC of static entry", with(ask(t, "blue", "netns:b"), func(a *spec.Attach) { a.MAC = "02:00:00:00:00:99" }), []string{"static", "fdb rm"}},
		{"interface taken", ask(t, "red", "netns:a"), []string{"eth1", `"blue"`, "-i"}},
		{"interface name", with(ask(t, "blue", "netns:b"), func(a *spec.Attach) { a.IfName = "a-name-of-sixteen" }), []string{"a-name-of-sixteen", "15"}},
		{"MTU too small for IPv6", with(ask(t, "six", "netns:b"), func(a *spec.Attach) { a.MTU = 1000 }), []string{"1000", "1280"}},
		{"no address left", ask(t, "tiny", "netns:b"), []string{`"tiny"`, "no free address", "detach"}},
	}
	before := c.Ports()
	state, _ := os.ReadFile(c.store.path())
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := c.Attach(tt.ask)
			wantError(t, err, tt.want...)
		})
	}
	if after := c.Ports(); !reflect.DeepEqual(stills(before), stills(after)) {
		t.Errorf("refusals changed something:\n%+v\n%+v", before, after)
	}
	if now, _ := os.ReadFile(c.store.path()); string(now) != string(state) {
		t.Error("refusals changed the state file")
	}
	for _, ns := range []string{"b", "c"} {
		if r.tap("/run/netns/"+ns, "eth1") != nil {
			t.Errorf("a TAP is left in %s", ns)
		}
	}
}

func TestAttachGateways(t *testing.T) {
	r := newRig(t)
	c := r.open("network blue=10.32.0.0/16,fd00::/64,gateway=10.32.0.1,gateway=fd00::1", "network red=10.33.0.0/24")
	tests := []struct {
		network string
		addrs   []string
		want    string
	}{
		{"blue", nil, "[10.32.0.1 fd00::1]"},
		{"blue", []string{"10.32.0.7/16"}, "[10.32.0.1]"},
		{"blue", []string{"10.32.0.8/16@10.32.0.9"}, "[10.32.0.9]"},
		{"blue", []string{"10.32.0.10/16", "10.32.0.11/16@10.32.0.9"}, "[10.32.0.9]"},
		{"blue", []string{"10.32.5.5/24"}, "[]"}, // the length is taken as written, and leaves the gateway out
		{"blue", []string{"fd00::7/64"}, "[fd00::1]"},
		{"red", nil, "[]"},
	}
	for i, tt := range tests {
		path := fmt.Sprintf("/run/netns/c%d", i)
		r.container(path)
		r.attach(c, ask(t, tt.network, "netns:"+path, tt.addrs...))
		if got := fmt.Sprint(r.tap(path, "eth1").cfg.Gateways); got != tt.want {
			t.Errorf("%s %v: got %s, want %s", tt.network, tt.addrs, got, tt.want)
		}
	}
}

func TestAttachMAC(t *testing.T) {
	r := newRig(t)
	c := r.open("network blue=10.32.0.0/24")
	for in, want := range map[string]string{"02:00:00:00:00:01": "02:00:00:00:00:01", "U:web1": "02:66:ee:60:6d:50"} { // echo web1 | md5sum
		path := "/run/netns/" + in[:1]
		r.container(path)
		a := ask(t, "blue", "netns:"+path)
		a.MAC = in
		if got := r.attach(c, a).MAC.String(); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
		r.attach(c, a) // the same again
	}
}

// A TAP that cannot be made leaves nothing behind, in state or FDB.
func TestAttachFails(t *testing.T) {
	r := newRig(t)
	c := r.open("network blue=10.32.0.0/24")
	r.container("/run/netns/a")
	r.failCreate = errors.New("make TAP: operation not permitted: run as root")
	before, _ := os.ReadFile(c.store.path())
	_, err := c.Attach(ask(t, "blue", "netns:a"))
	wantError(t, err, "netns:a", `"blue"`, "run as root")
	after, _ := os.ReadFile(c.store.path())
	entries, _ := c.FDB("")
	if len(c.Ports()) != 0 || len(entries) != 0 || string(before) != string(after) {
		t.Errorf("left: %+v %+v", c.Ports(), entries)
	}
	r.failCreate = nil
	if got := r.attach(c, ask(t, "blue", "netns:a")).Addresses[0].String(); got != "10.32.0.1/24" {
		t.Errorf("got %s, want the address that was not used", got)
	}
}

// Without room for the state nothing is attached.
func TestAttachWithoutDisk(t *testing.T) {
	r := newRig(t)
	c := r.open("network blue=10.32.0.0/24")
	r.container("/run/netns/a")
	c.store.dir += "/state.json" // a file: no state can be written in it
	_, err := c.Attach(ask(t, "blue", "netns:a"))
	wantError(t, err, "netns:a", "write state", "writable directory")
	if len(c.Ports()) != 0 || r.tap("/run/netns/a", "eth1") != nil {
		t.Errorf("attached all the same: %+v", c.Ports())
	}
	if s := c.Status(); len(s.Degraded) != 0 { // nothing was lost
		t.Errorf("got degraded %+v", s.Degraded)
	}
	c.store.dir = r.dir
	r.attach(c, ask(t, "blue", "netns:a"))
}

func TestDetach(t *testing.T) {
	r := newRig(t)
	c := r.open("network blue=10.32.0.0/24")
	r.container("/run/netns/a")
	mac := r.attach(c, ask(t, "blue", "netns:a")).MAC
	if err := c.AddFDB("blue", "02:00:00:00:00:99", "a", 0); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := c.Detach("blue", "netns:a"); err != nil {
			t.Error(err)
		}
	}
	wantError(t, c.Detach("green", "netns:a"), `"green"`)
	entries, err := c.FDB("blue")
	if err != nil || len(entries) != 0 || len(c.Ports()) != 0 || r.tap("/run/netns/a", "eth1") != nil {
		t.Errorf("left: %+v %+v, %v", entries, c.Ports(), err)
	}
	if got := r.attach(c, ask(t, "blue", "netns:a")).MAC; got != mac { // the address is free again
		t.Errorf("got MAC %s, want %s", got, mac)
	}
	r.kill("/run/netns/a")
	eventually(t, "a is down", func() bool { return !c.Ports()[0].Up })
	if err := c.Detach("blue", "netns:a"); err != nil || len(c.Ports()) != 0 {
		t.Errorf("detach of what is gone: %v, %+v", err, c.Ports())
	}
}

// A container that dies takes its port down, but keeps its place; a new one
// under its name gets the same address and MAC.
func TestContainerDies(t *testing.T) {
	r := newRig(t)
	c := r.open("network blue=10.32.0.0/24")
	r.container("/run/netns/a")
	r.container("/run/netns/b")
	was := r.attach(c, ask(t, "blue", "netns:a", "10.32.0.77/24"))
	r.attach(c, ask(t, "blue", "netns:b"))
	if err := c.AddFDB("blue", "02:00:00:00:00:99", "a", 0); err != nil {
		t.Fatal(err)
	}
	r.kill("/run/netns/a")
	eventually(t, "a is down", func() bool { return !c.Ports()[0].Up })
	if e, _ := c.FDB("blue"); slices.ContainsFunc(e, func(e spec.FDBEntry) bool { return e.Port == "a" || e.Port == "" }) {
		t.Errorf("entries of a dead port: %+v", e)
	}
	d := c.Status().Degraded
	if len(d) != 1 || d[0].What != "port a" || !strings.Contains(d[0].Why, "weft attach blue netns:a") || time.Since(d[0].Since) > time.Minute {
		t.Errorf("got degraded %+v", d)
	}
	_, err := c.Attach(ask(t, "blue", "netns:b", "10.32.0.77/24"))
	wantError(t, err, "10.32.0.1/24") // b has another one
	r.container("/run/netns/c")
	_, err = c.Attach(ask(t, "blue", "netns:c", "10.32.0.77/24"))
	wantError(t, err, "port a") // it keeps its address
	r.container("/run/netns/a")
	if now := r.attach(c, ask(t, "blue", "netns:a")); !reflect.DeepEqual(still(now), still(was)) {
		t.Errorf("got %+v, want %+v", now, was)
	}
	if !hears(t, r.tap("/run/netns/b", "eth1"), r.tap("/run/netns/a", "eth1")) {
		t.Error("the new container hears nothing")
	}
	e, _ := c.FDB("blue")
	if !slices.ContainsFunc(e, func(e spec.FDBEntry) bool { return e.Port == "a" && e.Kind == "static" }) {
		t.Errorf("the static entry did not come back: %+v", e)
	}
	if len(c.Status().Degraded) != 0 {
		t.Errorf("got degraded %+v", c.Status().Degraded)
	}
}

// A TAP that somebody deleted is made again by attach, whether or not the
// switch has noticed yet.
func TestTAPDeleted(t *testing.T) {
	r := newRig(t)
	c := r.open("network blue=10.32.0.0/24")
	ns := r.container("/run/netns/a")
	was := r.attach(c, ask(t, "blue", "netns:a"))
	for _, wait := range []bool{true, false} {
		r.deleteTAP(ns, "eth1")
		if wait {
			eventually(t, "a is down", func() bool { return !c.Ports()[0].Up })
		}
		if now := r.attach(c, ask(t, "blue", "netns:a")); now.MAC != was.MAC || !now.Up || r.tap("/run/netns/a", "eth1") == nil {
			t.Errorf("got %+v, want %+v", now, was)
		}
	}
	eventually(t, "a is up", func() bool { return c.Ports()[0].Up })
}

// A thread's namespace is there for a while, as of a bench: its port goes with it,
// also where it ends while the switch is down, and is none of the host's that is
// exported, or applied.
func TestThreadEnds(t *testing.T) {
	r := newRig(t)
	c := r.open()
	if _, err := c.AddNetwork(mustNetwork(t, "blue=10.32.0.0/24")); err != nil {
		t.Fatal(err)
	}
	const path = "/proc/12/task/13/ns/net"
	attach := func() {
		t.Helper()
		r.container(path)
		r.started[13] = 500
		r.attach(c, ask(t, "blue", "netns:"+path, "10.32.0.77/24"))
	}
	attach()
	if got := c.Export().Attachments; len(got) != 0 {
		t.Errorf("exported: %+v", got)
	}
	for text, want := range map[string]string{
		"networks: [{name: blue, prefixes: [10.32.0.0/24], range: 10.32.0.70-10.32.0.99}]":                                                                           "",
		"networks: [{name: blue, prefixes: [10.32.0.0/24]}]\nattachments: [{network: blue, target: 'netns:a', addresses: [10.32.0.77/24]}]":                          "10.32.0.77",
		"networks: [{name: blue, prefixes: [10.32.0.0/24]}]\nattachments: [{network: blue, target: 'netns:" + path + "', addresses: [10.32.0.77/24], ifname: eth1}]": "",
	} {
		r.container("/run/netns/a")
		if _, err := apply(c, text, false); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) || len(c.Ports()) != 1 {
			t.Errorf("applied %s: got %v, ports %+v", text, err, c.Ports())
		}
	}
	delete(r.started, 13)
	r.kill(path)
	eventually(t, "it is forgotten", func() bool { return len(c.Ports()) == 0 })

	attach()
	r.close(c)
	delete(r.started, 13)
	r.kill(path)
	c = r.open()
	if got := c.Ports(); len(got) != 0 {
		t.Errorf("after a restart: %+v", got)
	}
}

// Process ids are given out again, so an endpoint ends with its process.
func TestProcessEnds(t *testing.T) {
	r := newRig(t)
	c := r.open("network blue=10.32.0.0/24")
	r.container("/proc/12/ns/net")
	r.started[12] = 500
	r.attach(c, ask(t, "blue", "pid:12", "10.32.0.77/24"))
	delete(r.started, 12)
	r.kill("/proc/12/ns/net")
	eventually(t, "pid-12 is forgotten", func() bool { return len(c.Ports()) == 0 })
	eventually(t, "it is said", func() bool { return strings.Contains(r.log.String(), "process ended") })

	// The number is another process's before anybody noticed.
	r.container("/proc/12/ns/net")
	r.started[12] = 600
	r.attach(c, ask(t, "blue", "pid:12", "10.32.0.77/24"))
	r.started[12] = 700
	got := r.attach(c, ask(t, "blue", "pid:12", "10.32.0.78/24"))
	if got.Addresses[0].String() != "10.32.0.78/24" || len(c.Ports()) != 1 {
		t.Errorf("got %+v", c.Ports())
	}
}

// A name that now leads to another container moves the port there at once: the
// former one loses its TAP.
func TestTargetLeadsElsewhere(t *testing.T) {
	r := newRig(t)
	c := r.open("network blue=10.32.0.0/24")
	old := r.container("/run/netns/a")
	was := r.attach(c, ask(t, "blue", "netns:a"))
	r.mu.Lock()
	r.containers["/kept"] = old // it lives on, held by a process
	r.mu.Unlock()
	r.container("/run/netns/a")
	if now := r.attach(c, ask(t, "blue", "netns:a")); !reflect.DeepEqual(still(now), still(was)) {
		t.Errorf("got %+v, want %+v", now, was)
	}
	if len(old.taps) != 0 || r.tap("/run/netns/a", "eth1") == nil {
		t.Error("the former container kept its TAP, or the new one has none")
	}
}

// Where a port is, the ports of this switch are told once; that peers are told
// three times is seen in package e2e.
func TestAnnounce(t *testing.T) {
	defer func(was []time.Duration) { announceAt = was }(announceAt)
	announceAt = []time.Duration{0, time.Millisecond, 3 * time.Millisecond}
	r := newRig(t)
	c := r.open("network blue=10.32.0.0/24,fd00::/64")
	r.container("/run/netns/a")
	r.container("/run/netns/b")
	r.attach(c, ask(t, "blue", "netns:a"))
	b := r.attach(c, ask(t, "blue", "netns:b"))
	counts := map[string]int{}
	a := r.tap("/run/netns/a", "eth1").inside
	for counts["arp"] < 1 || counts["na"] < 1 {
		_, f := a.Recv(5 * time.Second)
		switch {
		case f == nil:
			t.Fatalf("got %v", counts)
		case string(f) == string(header.GratuitousARP(b.MAC, b.Addresses[0].Addr())):
			counts["arp"]++
		case string(f) == string(header.UnsolicitedNA(b.MAC, b.Addresses[1].Addr())):
			counts["na"]++
		}
	}
	if _, f := a.Recv(20 * time.Millisecond); f != nil {
		t.Errorf("a second time: % x", f)
	}
}

// Status does not wait for an attach that takes its time.
func TestStatusDuringSlowAttach(t *testing.T) {
	r := newRig(t)
	c := r.open("network blue=10.32.0.0/24")
	r.container("/run/netns/a")
	r.slow = make(chan struct{})
	done := make(chan error)
	go func() { _, err := c.Attach(ask(t, "blue", "netns:a")); done <- err }() // ends below
	eventually(t, "a is being attached", func() bool { return len(c.Ports()) == 1 })
	s := c.Status()
	if len(s.Ports) != 1 || s.Ports[0].Up || len(s.Degraded) != 0 {
		t.Errorf("got %+v, degraded %+v", s.Ports, s.Degraded)
	}
	if _, err := c.FDB(""); err != nil {
		t.Error(err)
	}
	c.Drops()
	close(r.slow)
	if err := <-done; err != nil || !c.Ports()[0].Up {
		t.Error(err, c.Ports())
	}
}

// An event about a port that is gone may come late, when its number is another
// port's already.
func TestLateEvent(t *testing.T) {
	r := newRig(t)
	c := r.open("network blue=10.32.0.0/24")
	r.container("/run/netns/a")
	r.attach(c, ask(t, "blue", "netns:a"))
	c.portGone(c.endpointList()[0].port)
	c.post(event{port: 77})
	c.post(event{port: 77}) // taken, so the first two are done
	if p := c.Ports(); len(p) != 1 || !p[0].Up {
		t.Errorf("got %+v", p)
	}
}

// After Close nothing is changed any more, and nothing hangs.
func TestAfterClose(t *testing.T) {
	r := newRig(t)
	c := r.open("network blue=10.32.0.0/24")
	r.container("/run/netns/a")
	r.attach(c, ask(t, "blue", "netns:a"))
	r.close(c)
	r.close(c)
	_, err := c.Attach(ask(t, "blue", "netns:a"))
	wantError(t, err, "shutting down")
	wantError(t, c.Detach("blue", "netns:a"), "shutting down")
	c.portGone(1)
	c.Status()
}

// The MTU is fixed at attach; another container is attached anew.
func TestMTUFixedAtAttach(t *testing.T) {
	r := newRig(t)
	c := r.open("network blue=10.32.0.0/24")
	r.container("/run/netns/a")
	r.attach(c, ask(t, "blue", "netns:a"))
	if _, err := c.AddPeer(mustPeer(t, "h2=192.0.2.2,csum")); err != nil {
		t.Fatal(err)
	}
	if n, p := c.Networks()[0].MTU, c.Ports()[0].MTU; n != 1446 || p != 1450 {
		t.Errorf("got MTU %d of the network and %d of the port, want 1446 and 1450", n, p)
	}
	r.container("/run/netns/a")
	if got := r.attach(c, ask(t, "blue", "netns:a")).MTU; got != 1446 {
		t.Errorf("got MTU %d in another container, want 1446", got)
	}
}

// An address with a shorter prefix than the network's is refused: the container
// would look for the rest of it on its link. A longer one is the user's choice.
func TestAttachPrefixLength(t *testing.T) {
	tests := []struct{ addr, cure string }{
		{"10.10.0.5/24", ""},
		{"10.10.0.5/28", ""},
		{"10.10.0.5/32", ""},
		{"fd10::5/64", ""},
		{"fd10::5/96", ""},
		{"10.10.0.5/23", "10.10.0.5/24"},
		{"10.10.0.5/16", "10.10.0.5/24"},
		{"10.10.0.5/8@10.10.0.1", "10.10.0.5/24@10.10.0.1"},
		{"10.10.0.5/8@10.99.0.1", "10.10.0.5/24"},
		{"fd10::5/48", "fd10::5/64"},
	}
	for _, tt := range tests {
		r := newRig(t)
		c := r.open("network blue=10.10.0.0/24,fd10::/64")
		r.container("/run/netns/a")
		_, err := c.Attach(ask(t, "blue", "netns:a", tt.addr))
		switch {
		case tt.cure == "" && err != nil:
			t.Errorf("%s: got %v", tt.addr, err)
		case tt.cure != "":
			_, length, _ := strings.Cut(strings.TrimSuffix(tt.cure, "@10.10.0.1"), "/")
			wantError(t, err, tt.addr, "/"+length+" of network", "maybe you meant "+tt.cure)
			if err != nil && !strings.HasSuffix(err.Error(), tt.cure) || len(c.Ports()) != 0 || r.tap("/run/netns/a", "eth1") != nil {
				t.Errorf("%s: got %v and ports %+v", tt.addr, err, c.Ports())
			}
		}
	}
}

// What was asked for once need not be asked for again.
func TestAttachAgainLeavesOut(t *testing.T) {
	r := newRig(t)
	c := r.open("network blue=10.10.0.0/24")
	r.container("/run/netns/a")
	a := ask(t, "blue", "netns:a", "10.10.0.5/24")
	a.IfName, a.MAC, a.MTU = "net0", "U:web", 1300
	was := r.attach(c, a)
	if got := r.attach(c, ask(t, "blue", "netns:a")); got.IfName != "net0" || got.MAC != was.MAC || got.MTU != 1300 {
		t.Errorf("got %+v, want %+v", got, was)
	}
	a.IfName = "eth1"
	_, err := c.Attach(a)
	wantError(t, err, "net0", "eth1", "detach")
}
