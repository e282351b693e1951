package tap

import (
	"context"
	"os"
	"sync/atomic"
	"testing"
	"time"
)

const testEvery = 5 * time.Millisecond

// counter counts calls of gone.
type counter struct{ atomic.Int32 }

func (c *counter) gone() { c.Add(1) }

func TestWatcherCallsOnce(t *testing.T) {
	ns, path := ownNamespace(t)
	ns.Ino++                                // one that no process lives in
	if err := os.Remove(path); err != nil { // and no path leads to
		t.Fatal(err)
	}
	w := newWatcher(testEvery)
	var calls counter
	w.Watch(ns, calls.gone)
	until(t, "gone is called", func() bool { return calls.Load() > 0 })
	time.Sleep(4 * testEvery)
	w.Close()
	if got := calls.Load(); got != 1 {
		t.Errorf("gone was called %d times, want 1", got)
	}
}

func TestWatcherLeavesTheLivingAlone(t *testing.T) {
	ns, _ := ownNamespace(t)
	dead := ns
	dead.Ino++
	w := newWatcher(testEvery)
	var living, forgotten, other counter
	w.Watch(ns, living.gone)
	forget := w.Watch(dead, forgotten.gone) // its path leads to another
	forget()
	forget()
	w.Watch(dead, other.gone)
	until(t, "the dead one is called", func() bool { return other.Load() == 1 })
	time.Sleep(4 * testEvery)
	if got := living.Load(); got != 0 {
		t.Errorf("gone was called %d times for a namespace that is alive", got)
	}
	if got := forgotten.Load(); got != 0 {
		t.Errorf("gone was called %d times after forget", got)
	}
	w.Close()
}

// The owner may forget from within gone, and close without having forgotten.
func TestWatcherForgetWithin(t *testing.T) {
	ns, _ := ownNamespace(t)
	ns.Ino++
	w := newWatcher(testEvery)
	done := make(chan struct{})
	forget := make(chan func(), 1)
	forget <- w.Watch(ns, func() {
		(<-forget)()
		close(done)
	})
	<-done
	w.Close()
}

// A container whose path is taken away keeps its network while it runs.
func TestWatcherWaitsForProcesses(t *testing.T) {
	c := newContainer(t)
	ns := c.open()
	p, err := c.Start(c.Command(context.Background(), "sleep", "60"))
	if err != nil {
		t.Fatal(err)
	}
	w := newWatcher(testEvery)
	defer w.Close()
	var calls counter
	w.Watch(ns, calls.gone)
	if err := c.Remove(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(20 * testEvery)
	if got := calls.Load(); got != 0 {
		t.Fatalf("gone was called %d times while a process lives inside", got)
	}
	p.Kill()
	until(t, "gone is called after the process ended", func() bool { return calls.Load() == 1 })
}

// With a Watcher a reopened Device lets its dead namespace go.
func TestWatcherLetsGo(t *testing.T) {
	c := newContainer(t)
	ns := c.open()
	c.create(testConfig("10.1.1.2/24")).Close()
	d := c.reopen(testConfig("10.1.1.2/24"))
	canary := c.create(Config{IfName: "eth2", MAC: 0x0200_0000_0009, MTU: 1450})
	w := newWatcher(testEvery)
	defer w.Close()
	w.Watch(ns, func() { d.Close() })
	if err := c.Remove(); err != nil {
		t.Fatal(err)
	}
	wantGone(t, canary)
}
