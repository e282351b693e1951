package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	"weft/internal/lab/probe"
)

// A switch that is killed and started again is not noticed by a TCP connection.
func TestKillDuringTransfer(t *testing.T) {
	p := newPair(t, 1500)
	before, err := p.c1.Interface("eth1")
	if err != nil {
		t.Fatal(err)
	}
	run := startIperf(t, p.c1, p.c2, "--time 5 --interval 0.5")
	time.Sleep(1500 * time.Millisecond)
	p.h1.Kill()
	during, err := p.c1.Interface("eth1")
	if err != nil {
		t.Fatalf("while the switch is down: %v", err)
	}
	p.h1.Restart()
	after, err := p.c1.Interface("eth1")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(after.Index, after.HardwareAddr, after.MTU), fmt.Sprint(before.Index, before.HardwareAddr, before.MTU); got != want || during.Index != before.Index {
		t.Errorf("interface after the restart: %s, want %s", got, want)
	}
	addrs, err := p.c1.addresses("eth1")
	if err != nil || len(addrs) != 1 || addrs[0] != "10.1.0.11/24" {
		t.Errorf("addresses after the restart: %v, %v", addrs, err)
	}
	r := run.wait() // one connection for data, which would have failed
	last := r.Intervals[len(r.Intervals)-1].Sum
	if last.Bytes == 0 {
		t.Errorf("no bytes in the last half second of %d", len(r.Intervals))
	}
	for _, i := range r.Intervals {
		t.Logf("until %.1f s: %.1f MB", i.Sum.End, i.Sum.Bytes/1e6)
	}
	if got := p.h1.status().port(t, p.c1.Name()); got.IfName != "eth1" || got.MAC != before.HardwareAddr.String() || !got.Up {
		t.Errorf("port after the restart: %+v", got)
	}
	p.h1.onlyDrops(p.h1.settled(), loadDrops...)
	p.h2.onlyDrops(p.h2.settled(), loadDrops...)
}

// What was asked for through the API survives, what was declared too, and
// SIGTERM is as good as a crash.
func TestRestartKeepsState(t *testing.T) {
	t.Parallel()
	p := newPair(t, 1500)
	p.h1.Weft("network add blue 10.2.0.0/24 --id 77 --mtu 1400")
	p.h1.Weft("peer add extra 192.0.2.9,networks=blue,csum")
	blue := newContainer(t, p.l, "blue", "10.2.0.5")
	p.h1.attach("blue", blue)
	want := p.h1.stable()
	p.h1.Stop()
	p.h1.Restart()
	if got := p.h1.stable(); got != want {
		t.Errorf("after SIGTERM and restart:\n%s\nwant\n%s", got, want)
	}
	p.h1.Kill()
	p.h1.Restart()
	if got := p.h1.stable(); got != want {
		t.Errorf("after kill -9 and restart:\n%s\nwant\n%s", got, want)
	}
	if err := reach(t, p.c1, p.c2, 10*time.Second); err != nil {
		t.Error(err)
	}
	// Another namespace under the old name is another container: the port is
	// not carried over to it.
	p.h1.Stop()
	name := blue.Name()
	if err := blue.Remove(); err != nil {
		t.Fatal(err)
	}
	again := newContainer(t, p.l, "blue", "10.2.0.5")
	if again.Name() != name {
		t.Fatalf("%s is not %s", again.Name(), name)
	}
	p.h1.Restart()
	if _, err := again.Interface("eth1"); err == nil {
		t.Error("a restart attached a namespace that nobody asked for")
	}
	p.h1.attach("blue", again)
	if _, err := again.Interface("eth1"); err != nil {
		t.Errorf("attach to the new namespace: %v", err)
	}
}

// reach pings until an answer comes.
func reach(t *testing.T, from, to *Container, within time.Duration) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	return probe.Reach(ctx, from.NS, to.Addr)
}

// stable is what does not change by itself: names, ids, addresses.
func (h *Host) stable() string {
	h.t.Helper()
	s := h.status()
	text := ""
	for _, n := range s.Networks {
		text += fmt.Sprintf("network %s %d %v %d\n", n.Name, n.ID, n.Prefixes, n.MTU)
	}
	for _, p := range s.Ports {
		text += fmt.Sprintf("port %s %s %s %s %s %v %d\n", p.Name, p.Network, p.Target, p.IfName, p.MAC, p.Addresses, p.MTU)
	}
	for _, p := range s.Peers {
		text += fmt.Sprintf("peer %s %s\n", p.Name, p.Address) // its carrier and MTU are found out anew
	}
	return text
}
