package tap

import (
	"sync"
	"time"
)

// lookEvery is how often a Watcher looks: a dead namespace is let go of within
// about this time, for the price of one stat(2) per namespace.
const lookEvery = time.Second

// Watcher looks after namespaces that a descriptor pins (Device.Pins), which
// would otherwise live on, TAP, addresses and all, long after their container.
// A namespace is gone when its path no longer leads to it and no process but
// this one lives in it. So a container whose path was taken away under it keeps
// its network for as long as it runs.
//
// Its methods may be called from any goroutine.
type Watcher struct {
	quit chan struct{}
	done chan struct{} // closed when the goroutine has ended

	mu    sync.Mutex // guards the following
	next  int
	watch map[int]*watched
}

// watched is one namespace. All but the watcher's goroutine only make and forget it.
type watched struct {
	ns       Namespace
	gone     func()
	resident int // a process last seen in the namespace after its path had gone; 0: none
}

// NewWatcher starts the goroutine that looks. Close ends it.
func NewWatcher() *Watcher { return newWatcher(lookEvery) }

func newWatcher(every time.Duration) *Watcher {
	w := &Watcher{quit: make(chan struct{}), done: make(chan struct{}), watch: map[int]*watched{}}
	go w.run(every) // owned by w, ends with Close
	return w
}

// Watch calls gone once, from the watcher's goroutine, when ns is gone: its
// owner closes the Device then, which lets the kernel take the namespace down.
// gone must not wait for Close. ns comes from OpenNamespace, or has its inode
// from the state of a former process.
//
// forget ends the watch. It does not wait for a call of gone under way, and may be
// called from within, and more than once.
func (w *Watcher) Watch(ns Namespace, gone func()) (forget func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	id := w.next
	w.next++
	w.watch[id] = &watched{ns: ns, gone: gone}
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.watch, id)
	}
}

// Close ends the goroutine and waits for it, so for a call of gone under way.
// It is called once.
func (w *Watcher) Close() {
	close(w.quit)
	<-w.done
}

func (w *Watcher) run(every time.Duration) {
	defer close(w.done)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-w.quit:
			return
		case <-tick.C:
			w.look()
		}
	}
}

// look calls gone for what is gone. No lock is held meanwhile.
func (w *Watcher) look() {
	w.mu.Lock()
	all := make(map[int]*watched, len(w.watch))
	for id, e := range w.watch {
		all[id] = e
	}
	w.mu.Unlock()

	for id, e := range all {
		if e.alive() {
			continue
		}
		w.mu.Lock()
		_, still := w.watch[id]
		delete(w.watch, id)
		w.mu.Unlock()
		if still {
			e.gone()
		}
	}
}

// alive reports whether the namespace is still some container's. A process seen
// inside once is asked for first: all of /proc is searched only when it left.
func (e *watched) alive() bool {
	if e.ns.Alive() {
		return true
	}
	if e.resident != 0 && e.ns.houses(e.resident) {
		return true
	}
	pid, err := e.ns.resident()
	e.resident = pid
	return pid != 0 || err != nil // unreadable /proc proves nothing
}
