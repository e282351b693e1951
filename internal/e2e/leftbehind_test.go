package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"weft/internal/lab/probe"
)

// background sends datagrams from one container to another's address until the
// test ends it; what becomes of them is not its business.
func background(t *testing.T, from, to *Container) (stop func()) {
	t.Helper()
	s := newSender(t, from.NS, "eth1")
	src, err := from.Interface("eth1")
	if err != nil {
		t.Fatal(err)
	}
	dst, err := to.Interface("eth1")
	if err != nil {
		t.Fatal(err)
	}
	f := frame(dst.HardwareAddr.String(), src.HardwareAddr.String(), 0x88b5, make([]byte, 600))
	done, ended := make(chan struct{}), make(chan struct{})
	go func() { // ends with stop
		defer close(ended)
		for {
			select {
			case <-done:
				return
			case <-time.After(200 * time.Microsecond):
				s.try(f) // fails once the interface is gone
			}
		}
	}()
	return func() { close(done); <-ended }
}

// Containers, TAPs, peers and the underlay come and go under traffic.
func TestNothingIsLeftBehind(t *testing.T) {
	p := newPair(t, 1500)
	defer background(t, p.c2, p.c1)()
	defer background(t, p.c1, p.c2)()

	for _, tt := range []struct {
		name  string
		cycle func(t *testing.T, p *pair)
	}{
		{"container", cycleContainer},
		{"container after a restart", cycleRestartedContainer},
		{"process", cycleProcess},
		{"tap", cycleTAP},
		{"peer", cyclePeer},
		{"underlay", cycleUnderlay},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p.h1.t, p.h2.t = t, t
			defer func() { p.h1.t, p.h2.t = p.c1.t, p.c2.t }()
			tt.cycle(t, p) // the first may make what stays: threads, tables
			fds, threads := p.h1.quiet()
			for range 3 {
				tt.cycle(t, p)
			}
			eventually(t, 5*time.Second, func() string {
				if n := p.h1.held("fd"); n > fds {
					return fmt.Sprintf("%d descriptors, %d before", n, fds)
				}
				return ""
			})
			if n := p.h1.held("task"); n > threads+3 {
				t.Errorf("%d threads, %d before", n, threads)
			}
			p.h1.alive()
		})
	}
	if err := reach(t, p.c1, p.c2, 10*time.Second); err != nil {
		t.Error(err)
	}
	checkGoroutines(t, p)
}

// checkGoroutines compares the goroutines of the daemon with those of a fresh
// one that has the same ports and peers.
func checkGoroutines(t *testing.T, p *pair) {
	t.Helper()
	used := p.h1.goroutines()
	surplus := ""
	for range 5 { // some goroutines start behind the first answers
		p.h1.Restart()
		checkWorks(t, p.c2, p.c1)
		fresh := p.h1.goroutines()
		if len(fresh) == 0 {
			t.Fatal("no goroutine is listed: this test proves nothing")
		}
		surplus = ""
		for f, n := range used {
			if n > fresh[f] {
				surplus += fmt.Sprintf("%d goroutines were started by %s, %d in a fresh daemon\n", n, f, fresh[f])
			}
		}
		if surplus == "" {
			return
		}
	}
	t.Error(surplus)
}

// quiet returns how many descriptors and threads the daemon holds once that
// number stays.
func (h *Host) quiet() (fds, threads int) {
	h.t.Helper()
	for range 20 {
		fds = h.held("fd")
		time.Sleep(50 * time.Millisecond)
		if h.held("fd") == fds {
			break
		}
	}
	return fds, h.held("task")
}

// eventually waits until f returns "", and fails with its last word.
func eventually(t testing.TB, within time.Duration, f func() string) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		why := f()
		if why == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Error(why)
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// canary joins a namespace to h by a link whose end in h the kernel removes
// when the namespace is really gone, and not before.
func canary(t *testing.T, p *pair, c *Container) (gone func() string) {
	t.Helper()
	if err := p.l.Link(end(p.h2.NS, "canary"), end(c.NS, "canary")); err != nil {
		t.Fatal(err)
	}
	return func() string {
		if _, err := p.h2.Interface("canary"); err == nil {
			return "the namespace of a container that went is still held"
		}
		return ""
	}
}

func cycleContainer(t *testing.T, p *pair) {
	c := newContainer(t, p.l, "gone", "10.1.0.50")
	p.h1.attach("net1", c)
	gone := canary(t, p, c)
	checkWorks(t, p.c2, c)
	if err := c.Remove(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, gone)
	p.h1.portGone(c.Name())
	p.h1.Weft("detach net1 " + c.target()) // also when the target is gone
}

// After a restart the daemon holds a TAP that it opened inside the namespace,
// which would pin it.
func cycleRestartedContainer(t *testing.T, p *pair) {
	c := newContainer(t, p.l, "gone", "10.1.0.50")
	p.h1.attach("net1", c)
	gone := canary(t, p, c)
	p.h1.Kill()
	p.h1.Restart()
	checkWorks(t, p.c2, c)
	if err := c.Remove(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, gone)
	p.h1.portGone(c.Name())
	p.h1.Weft("detach net1 " + c.target())
}

// A container that is named by its process goes with it.
func cycleProcess(t *testing.T, p *pair) {
	c := newContainer(t, p.l, "gone", "10.1.0.50")
	proc, err := c.Start(c.Command(context.Background(), "sleep", "60"))
	if err != nil {
		t.Fatal(err)
	}
	target := fmt.Sprintf("pid:%d", proc.PID())
	p.h1.Weft(fmt.Sprintf("attach net1 %s 10.1.0.50/24", target))
	gone := canary(t, p, c)
	p.h1.Kill()
	p.h1.Restart()
	checkWorks(t, p.c2, c)
	if err := c.Remove(); err != nil { // the process alone holds it now
		t.Fatal(err)
	}
	proc.Kill()
	eventually(t, 5*time.Second, gone)
	p.h1.portGone(fmt.Sprintf("pid-%d", proc.PID()))
	p.h1.Weft("detach net1 " + target)
}

func cycleTAP(t *testing.T, p *pair) {
	c := newContainer(t, p.l, "tap", "10.1.0.50")
	p.h1.attach("net1", c)
	checkWorks(t, p.c2, c)
	if err := c.RemoveLink("eth1"); err != nil {
		t.Fatal(err)
	}
	p.h1.portGone(c.Name())
	p.h1.attach("net1", c) // idempotent against reality: a new TAP
	checkWorks(t, p.c2, c)
	p.h1.Weft("detach net1 " + c.target())
	eventually(t, 5*time.Second, func() string {
		if _, err := c.Interface("eth1"); err == nil {
			return "detach left the interface behind"
		}
		return ""
	})
	if err := c.Remove(); err != nil {
		t.Fatal(err)
	}
}

func cyclePeer(t *testing.T, p *pair) {
	p.h1.Weft("peer add other 192.0.2.77")
	probe.Ping(t.Context(), p.c1.NS, netip.MustParseAddr("10.1.0.99"), probe.Echo{Timeout: 50 * time.Millisecond}) // floods to it
	p.h1.Weft("peer rm other")
	checkWorks(t, p.c2, p.c1)
}

func cycleUnderlay(t *testing.T, p *pair) {
	if err := p.h1.RemoveLink("eth0"); err != nil {
		t.Fatal(err)
	}
	probe.Ping(t.Context(), p.c1.NS, p.c2.Addr, probe.Echo{Timeout: 50 * time.Millisecond})
	if s := p.h1.status(); s.Drops["tx_unreach"] == 0 {
		t.Errorf("no tx_unreach without an underlay: %v", nonZero(s.Drops))
	}
	underlay(t, p.l, p.h1.NS, p.h2.NS, 1500)
	checkWorks(t, p.c2, p.c1)
}

// checkWorks waits until one container reaches another.
func checkWorks(t *testing.T, from, to *Container) {
	t.Helper()
	if err := reach(t, from, to, 10*time.Second); err != nil {
		t.Fatal(err)
	}
}

// portGone waits until no port of that name is up.
func (h *Host) portGone(name string) {
	h.t.Helper()
	eventually(h.t, 5*time.Second, func() string {
		for _, p := range h.status().Ports {
			if p.Name == name && p.Up {
				return fmt.Sprintf("port %s is still up", name)
			}
		}
		for _, e := range h.fdb("") {
			if e.Port == name {
				return fmt.Sprintf("the FDB still has %s at %s", e.MAC, name)
			}
		}
		return ""
	})
}
