package control

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"weft/internal/spec"
)

// What was made by command is there after a restart, with its ports.
func TestRestart(t *testing.T) {
	r := newRig(t)
	c := r.open("network blue=10.32.0.0/24,gateway=10.32.0.1")
	if _, err := c.AddNetwork(mustNetwork(t, "red=10.33.0.0/24,mtu=1300,ageing=60")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.AddPeer(mustPeer(t, "h2=192.0.2.2,networks=red,csum")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b", "c", "d"} {
		r.container("/run/netns/" + name)
	}
	r.started[12] = 500
	r.container("/proc/12/ns/net")
	r.attach(c, ask(t, "blue", "netns:a", "10.32.0.9/24"))
	spoof := ask(t, "red", "netns:b")
	spoof.AllowSpoof, spoof.MTU, spoof.IfName, spoof.MAC = true, 1000, "data0", "U:b"
	r.attach(c, spoof)
	r.attach(c, ask(t, "blue", "netns:b"))
	r.attach(c, ask(t, "blue", "pid:12"))
	if err := c.AddFDB("red", "02:00:00:00:00:98", "peer:h2", 0); err != nil {
		t.Fatal(err)
	}
	if err := c.AddFDB("blue", "02:00:00:00:00:99", "a", 0); err != nil {
		t.Fatal(err)
	}
	before, fdb := c.Status(), entries(t, c)
	state, _ := os.ReadFile(c.store.path())
	r.close(c)
	if now, _ := os.ReadFile(c.store.path()); string(now) != string(state) {
		t.Error("the state was written at exit")
	}

	c = r.open("network blue=10.32.0.0/24,gateway=10.32.0.1")
	after := c.Status()
	if !reflect.DeepEqual(after.Networks, before.Networks) || !reflect.DeepEqual(stills(after.Ports), stills(before.Ports)) || len(after.Degraded) != 0 {
		t.Errorf("got %+v\nwant %+v", after, before)
	}
	if len(after.Peers) != 1 || !reflect.DeepEqual(after.Peers[0].Networks, []string{"red"}) || after.Peers[0].MTU != before.Peers[0].MTU {
		t.Errorf("got peers %+v, want %+v", after.Peers, before.Peers)
	}
	if got := entries(t, c); !reflect.DeepEqual(got, fdb) {
		t.Errorf("got FDB %+v, want %+v", got, fdb)
	}
	if now, _ := os.ReadFile(c.store.path()); string(now) != string(state) {
		t.Error("an unchanged state is another after a restart")
	}
	if !hears(t, r.tap("/run/netns/a", "eth1"), r.tap("/run/netns/b", "eth1")) {
		t.Error("restored ports do not carry frames")
	}
}

func entries(t *testing.T, c *Controller) []spec.FDBEntry {
	t.Helper()
	list, err := c.FDB("")
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// While the daemon was down, containers may have gone, or come back as others.
func TestRestartFindsOthers(t *testing.T) {
	r := newRig(t)
	c := r.open("network blue=10.32.0.0/24")
	for _, name := range []string{"deleted", "gone", "replaced", "same"} {
		r.container("/run/netns/" + name)
		r.attach(c, ask(t, "blue", "netns:"+name))
	}
	r.started[12], r.started[13] = 500, 500
	for _, path := range []string{"/proc/12/ns/net", "/proc/13/ns/net"} {
		r.container(path)
	}
	r.attach(c, ask(t, "blue", "pid:12"))
	r.attach(c, ask(t, "blue", "pid:13"))
	r.close(c)

	delete(r.tapsOf("/run/netns/deleted"), "eth1")
	r.kill("/run/netns/gone")
	r.container("/run/netns/replaced")
	r.kill("/proc/12/ns/net")
	delete(r.started, 12)
	r.started[13] = 600 // another process, which happens to be in the same namespace

	c = r.open("network blue=10.32.0.0/24")
	got := map[string]bool{}
	for _, p := range c.Ports() {
		got[p.Name] = p.Up
	}
	if want := map[string]bool{"deleted": true, "gone": false, "replaced": false, "same": true}; !reflect.DeepEqual(got, want) {
		t.Errorf("up: got %v, want %v", got, want)
	}
	if r.tap("/run/netns/replaced", "eth1") != nil {
		t.Error("a container that nobody attached got a TAP")
	}
	if r.tap("/run/netns/deleted", "eth1") == nil {
		t.Error("the deleted TAP was not made again")
	}
	for _, d := range c.Status().Degraded {
		want := map[string]string{"port gone": "its container is gone", "port replaced": "replaced by another"}[d.What]
		if want == "" || !strings.Contains(d.Why, want) {
			t.Errorf("got degraded %+v, want %q", d, want)
		}
	}
	for _, name := range []string{"gone", "replaced"} {
		if name == "gone" {
			r.container("/run/netns/gone")
		}
		if p := r.attach(c, ask(t, "blue", "netns:"+name)); !p.Up {
			t.Errorf("%s does not come back", name)
		}
	}
}

func (r *rig) tapsOf(path string) map[string]*fakeTAP {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.containers[path].taps
}

// After a reboot the numbers of namespaces are other containers'.
func TestRestartAfterReboot(t *testing.T) {
	r := newRig(t)
	c := r.open("network blue=10.32.0.0/24")
	r.container("/run/netns/a")
	r.started[12] = 500
	r.container("/proc/12/ns/net")
	r.attach(c, ask(t, "blue", "netns:a"))
	r.attach(c, ask(t, "blue", "pid:12"))
	r.close(c)
	r.boot = "boot-2"
	c = r.open("network blue=10.32.0.0/24")
	ports := c.Ports()
	if len(ports) != 1 || ports[0].Name != "a" || ports[0].Up {
		t.Fatalf("got %+v", ports)
	}
	r.container("/run/netns/a")
	if got := r.attach(c, ask(t, "blue", "netns:a")); !got.Up || got.MAC != ports[0].MAC {
		t.Errorf("got %+v", got)
	}
}

// The kernel gives the number of a dead namespace to a new one. The path leads
// there, but its TAP is missing, so it is made.
func TestRestartWithReusedInode(t *testing.T) {
	r := newRig(t)
	c := r.open("network blue=10.32.0.0/24")
	was := r.container("/run/netns/a").ns
	r.attach(c, ask(t, "blue", "netns:a"))
	r.close(c)
	r.container("/run/netns/a").ns = was
	c = r.open("network blue=10.32.0.0/24")
	if p := c.Ports(); !p[0].Up || r.tap("/run/netns/a", "eth1") == nil {
		t.Errorf("got %+v", p)
	}
}

// A state file that cannot be read is kept aside, said, and does not keep the
// daemon from starting. The containers can be attached again.
func TestRestartWithDamagedState(t *testing.T) {
	damage := map[string]func([]byte) []byte{
		"empty":     func([]byte) []byte { return nil },
		"cut off":   func(b []byte) []byte { return b[:len(b)/2] },
		"flipped":   func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
		"newer":     func([]byte) []byte { return sealState(stateVersion+1, []byte("{}")) },
		"not state": func([]byte) []byte { return []byte("hello\n") },
	}
	for name, f := range damage {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			c := r.open("network blue=10.32.0.0/24")
			r.container("/run/netns/a")
			was := r.attach(c, ask(t, "blue", "netns:a"))
			r.close(c)
			b, err := os.ReadFile(c.store.path())
			if err != nil {
				t.Fatal(err)
			}
			b = f(b)
			if err := os.WriteFile(c.store.path(), b, 0o600); err != nil {
				t.Fatal(err)
			}
			c = r.open("network blue=10.32.0.0/24")
			d := c.Status().Degraded
			if len(d) != 1 || d[0].What != "state file" || !strings.Contains(d[0].Why, c.store.badPath()) || d[0].Since.IsZero() {
				t.Fatalf("got degraded %+v", d)
			}
			if kept, err := os.ReadFile(c.store.badPath()); err != nil || string(kept) != string(b) {
				t.Errorf("the file was not kept as it was: %v", err)
			}
			if !strings.Contains(r.log.String(), "state file is unusable") {
				t.Error("the log says nothing")
			}
			if len(c.Networks()) != 1 || len(c.Ports()) != 0 {
				t.Errorf("got %+v %+v", c.Networks(), c.Ports())
			}
			if err := os.Remove(c.store.badPath()); err != nil {
				t.Fatal(err)
			}
			if d := c.Status().Degraded; len(d) != 0 {
				t.Errorf("still degraded after the user saw to it: %+v", d)
			}
			delete(r.tapsOf("/run/netns/a"), "eth1") // as the user has to: nobody knows of it
			if now := r.attach(c, ask(t, "blue", "netns:a")); now.MAC != was.MAC {
				t.Errorf("got %+v, want %+v", now, was)
			}
		})
	}
}

// A configuration with a mistake changes nothing, not even a bad state file.
func TestBadConfigChangesNothing(t *testing.T) {
	r := newRig(t)
	c := r.open("network blue=10.32.0.0/24")
	r.container("/run/netns/a")
	r.attach(c, ask(t, "blue", "netns:a"))
	r.close(c)
	bad := []byte("broken")
	if err := os.WriteFile(c.store.path(), bad, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := r.tryOpen("network blue=10.40.0.0/24", "peer h2=192.0.2.2,networks=nosuch")
	wantError(t, err, "weft.yaml", `"h2"`, `"nosuch"`)
	if b, _ := os.ReadFile(c.store.path()); string(b) != string(bad) {
		t.Error("the state file was touched")
	}
	if files, _ := filepath.Glob(filepath.Join(r.dir, "*")); len(files) != 1 {
		t.Errorf("got files %v", files)
	}
}

// A network that left the file while containers use it stays until they are gone.
func TestUndeclaredNetworkWithPorts(t *testing.T) {
	r := newRig(t)
	c := r.open("network blue=10.32.0.0/24")
	r.container("/run/netns/a")
	r.attach(c, ask(t, "blue", "netns:a"))
	r.close(c)

	c = r.open()
	d := c.Status().Degraded
	if len(d) != 1 || d[0].What != "network blue" || !strings.Contains(d[0].Why, "weft network rm blue --force") {
		t.Fatalf("got degraded %+v", d)
	}
	if p := c.Ports(); len(p) != 1 || !p[0].Up {
		t.Errorf("got %+v", p)
	}
	r.close(c)
	c = r.open("network blue=10.32.0.0/24") // declared again
	if len(c.Status().Degraded) != 0 {
		t.Errorf("got degraded %+v", c.Status().Degraded)
	}
	r.close(c)
	c = r.open()
	if err := c.RemoveNetwork("blue", true); err != nil {
		t.Fatal(err)
	}
	if len(c.Networks()) != 0 || r.tap("/run/netns/a", "eth1") != nil {
		t.Errorf("left: %+v", c.Networks())
	}
	r.close(c)
	c = r.open("network blue=10.32.0.0/24")
	r.attach(c, ask(t, "blue", "netns:a"))
	if err := c.Detach("blue", "netns:a"); err != nil {
		t.Fatal(err)
	}
	r.close(c)
	if c = r.open(); len(c.Networks()) != 0 {
		t.Errorf("without ports it goes: %+v", c.Networks())
	}
}

// The ports of a network that is declared anew follow it; where they cannot, they
// stay as they are, and status says so.
func TestDeclaredPrefixChanges(t *testing.T) {
	r := newRig(t)
	c := r.open("network blue=10.32.0.0/24,mtu=1400")
	r.container("/run/netns/a")
	r.attach(c, ask(t, "blue", "netns:a", "10.32.0.7/24"))
	r.close(c)
	c = r.open("network blue=10.50.0.0/24,gateway=10.50.0.1,mtu=1300")
	p := c.Ports()[0]
	if !p.Up || p.MTU != 1300 || fmt.Sprint(p.Addresses) != "[10.50.0.7/24]" || len(c.Status().Degraded) > 0 {
		t.Errorf("got %+v, degraded %+v", p, c.Status().Degraded)
	}
	if cfg := r.tap("/run/netns/a", "eth1").cfg; cfg.MTU != 1300 || fmt.Sprint(cfg.Addrs, cfg.Gateways) != "[10.50.0.7/24] [10.50.0.1]" {
		t.Errorf("the container has %+v", cfg)
	}
	r.close(c)
	c = r.open("network blue=10.60.0.0/24,gateway=10.60.0.7")
	d := c.Status().Degraded
	if len(d) != 1 || d[0].What != "port a" || !strings.Contains(d[0].Why, "10.50.0.7/24") {
		t.Errorf("got degraded %+v", d)
	}
	if cfg := r.tap("/run/netns/a", "eth1").cfg; !c.Ports()[0].Up || fmt.Sprint(cfg.Addrs, cfg.Gateways) != "[10.50.0.7/24] [10.50.0.1]" {
		t.Errorf("the container has %+v", cfg)
	}
}

// The state file goes through a crash at any moment of a change: what is read
// afterwards is the state before or after it.
func TestCrashDuringSave(t *testing.T) {
	s := &store{dir: t.TempDir()}
	if err := s.save(sampleState()); err != nil {
		t.Fatal(err)
	}
	next := sampleState()
	next.Endpoints = nil
	b, err := encodeState(next)
	if err != nil {
		t.Fatal(err)
	}
	for n := range b { // the temporary file got this far
		if err := os.WriteFile(filepath.Join(s.dir, ".state.json42"), b[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		got, problem, err := (&store{dir: s.dir}).load()
		if err != nil || problem != nil || !reflect.DeepEqual(got, sampleState()) {
			t.Fatalf("after %d bytes: %v %v", n, problem, err)
		}
	}
}

// What the start decided is said, and what a crash left is swept up.
func TestStartSaysAndSweeps(t *testing.T) {
	r := newRig(t)
	c := r.open()
	if _, err := c.AddNetwork(mustNetwork(t, "blue=10.32.0.0/24")); err != nil {
		t.Fatal(err)
	}
	r.close(c)
	left := filepath.Join(r.dir, ".state.json99")
	if err := os.WriteFile(left, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	c = r.open("network blue=10.50.0.0/24")
	if got := c.Networks()[0]; got.Prefixes[0].String() != "10.50.0.0/24" || got.Origin != "declared" {
		t.Errorf("got %+v", got)
	}
	if log := r.log.String(); !strings.Contains(log, "made by command") || !strings.Contains(log, "10.50.0.0/24") {
		t.Errorf("the log does not say which one holds: %s", log)
	}
	if _, err := os.Stat(left); err == nil {
		t.Error("a temporary file stays")
	}
}

// A port that could not be restored keeps its TAP in the container, until it is
// attached or detached.
func TestRestoreFails(t *testing.T) {
	r := newRig(t)
	c := r.open("network blue=10.32.0.0/24")
	for _, name := range []string{"a", "b"} {
		r.container("/run/netns/" + name)
		r.attach(c, ask(t, "blue", "netns:"+name))
	}
	r.close(c)
	r.failReopen = errors.New("reopen TAP: device or resource busy")
	c = r.open("network blue=10.32.0.0/24")
	if d := c.Status().Degraded; len(d) != 2 || !strings.Contains(d[0].Why, "busy") {
		t.Errorf("got degraded %+v", d)
	}
	_, err := c.Attach(ask(t, "blue", "netns:a"))
	wantError(t, err, "netns:a", "busy")
	r.failReopen = nil
	if p := r.attach(c, ask(t, "blue", "netns:a")); !p.Up {
		t.Errorf("got %+v", p)
	}
	if err := c.Detach("blue", "netns:b"); err != nil || r.tap("/run/netns/b", "eth1") != nil {
		t.Errorf("the TAP of a port that is down stays: %v", err)
	}
}
