package control

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"weft/dataplane"
	"weft/encap"
	"weft/internal/hostnet"
	"weft/internal/spec"
	"weft/tap"
)

// defaultStateDir is where state is kept when the user names no place.
const defaultStateDir = "/var/lib/weft"

// Options are what `weft run` was told, and the parts that it made.
type Options struct {
	Config  spec.Config // flags laid over the file
	Source  string      // where the declared objects come from, for messages: the file's path, or "flags"
	Version string
	Log     *slog.Logger // nil: slog.Default()
	Docker  Docker       // nil: no Docker container can be attached
}

// Controller holds the desired state and is the only writer of the dataplane.
// Its methods may be called from any goroutine; those that change something run
// one at a time, those that only read do not wait for them.
type Controller struct {
	opt     Options
	log     *slog.Logger
	sys     system
	started time.Time
	boot    string // id of this boot
	hostNS  tap.Namespace

	locks   io.Closer
	store   *store
	under   *encap.Underlay
	sw      *dataplane.Switch
	host    hostNet
	watcher *tap.Watcher
	events  chan event
	done    chan struct{}  // closed by Close
	running sync.WaitGroup // the goroutine that takes events, the watch, and the one that follows Docker
	docker  chan struct{}  // has room for one: there is a Docker container to follow

	// asking is held, before change, from a question to Docker until its answer was
	// acted upon: a newer answer never comes between.
	asking sync.Mutex

	change sync.Mutex              // held by whoever changes something, over system calls and writes to the disk
	closed bool                    // guarded by change
	sent   []dataplane.PeerConfig  // guarded by change: what the switch knows of the peers
	tables map[uint32]bool         // guarded by change: the vrfs that the switch has, by key
	vacant map[endpointKey]vacancy // guarded by change: places of containers that were removed

	// There may be a million routes. What is made of all of them is made anew only
	// when something changed on which they depend, not for each container, each
	// route or each second.
	routesSent bool       // guarded by change: the switch has the routes as they are, but for
	routesDue  []routeKey // guarded by change: these

	// Guarded by change: what was set up around the host's places.
	hostSet bool             // something is there, or may be
	hostWas hostnet.Plan     // what was set up last
	sysctls []hostnet.Sysctl // that were changed, with their former values

	// mu guards the following. They are written with change held too, so whoever
	// holds that may read them without mu. mu is never held over anything slow.
	mu sync.RWMutex
	desired
	domains     map[string]domain // what the switch knows of the networks, by name
	endpoints   map[endpointKey]*endpoint
	uplinks     map[uplinkKey]*uplink
	statics     []staticRecord
	leaving     []endpointRecord // whose TAPs are being removed
	beforeApply string           // the host before the apply that is under way, as a file for it; empty: none is
	published   []*published     // sorted
	links       linkMTUs         // as last seen
	linksAt     time.Time        // since when they are that
	own         []netip.Addr     // addresses of this host, as last seen
	unused      []routeKey       // routes that cannot be followed, sorted
	faults      faults
	lostGone    uint64 // what the kernel dropped at ports that are gone
	silent      bool   // closing: nothing is announced any more
}

// linkMTUs are the MTUs of the underlay's links: of that with the first local
// address, and of those towards peers of either version of IP.
type linkMTUs struct{ first, v4, v6 int }

// to returns the MTU of the link to a peer.
func (l linkMTUs) to(peer netip.Addr) int {
	if peer.Is6() {
		return l.v6
	}
	return l.v4
}

// domain is a network as the switch has it.
type domain struct {
	id  dataplane.DomainID
	cfg dataplane.DomainConfig
}

// Open takes the locks, reads the state, opens the underlay and starts the
// switch, and brings back every network, peer and port. When it returns, frames
// flow. On error nothing was changed.
func Open(o Options) (*Controller, error) { return open(o, machine) }

func open(o Options, sys system) (*Controller, error) {
	o, err := complete(o)
	if err != nil {
		return nil, err
	}
	c := &Controller{
		opt: o, log: o.Log, sys: sys, host: sys.host(), started: time.Now(),
		store:  &store{dir: o.Config.StateDir},
		events: make(chan event), done: make(chan struct{}),
		domains: map[string]domain{}, tables: map[uint32]bool{}, endpoints: map[endpointKey]*endpoint{},
		vacant: map[endpointKey]vacancy{}, docker: make(chan struct{}, 1),
	}
	if c.locks, err = sys.lock(o.Config.StateDir); err != nil {
		return nil, err
	}
	if err := c.start(); err != nil {
		return nil, both(err, c.Close())
	}
	return c, nil
}

// complete fills in what the user may leave out.
func complete(o Options) (Options, error) {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Source == "" {
		o.Source = "flags"
	}
	o.Config.StateDir = cmp.Or(o.Config.StateDir, defaultStateDir)
	if o.Config.Name == "" {
		host, err := os.Hostname()
		if err != nil {
			return o, fmt.Errorf("find host name: %w: give one with --name", err)
		}
		o.Config.Name = spec.NameFrom(host)
	}
	if err := spec.CheckName(o.Config.Name); err != nil {
		return o, fmt.Errorf("name of this host %q: %w", o.Config.Name, err)
	}
	return o, nil
}

// start does what Open says once the locks are held.
func (c *Controller) start() (err error) {
	if c.boot, err = c.sys.bootID(); err != nil {
		return err
	}
	if c.hostNS, err = c.sys.namespace("/proc/self/ns/net"); err != nil {
		return fmt.Errorf("find own network namespace: %w", err)
	}
	old, problem, err := c.store.load()
	if err != nil {
		return err
	}
	own, err := c.ownAddrs()
	if err != nil {
		return err
	}
	m, err := merge(c.opt.Config, c.opt.Source, old, own)
	if err != nil {
		return err
	}
	if c.under, err = c.sys.underlay(encap.Config{Local: c.opt.Config.Local, Accel: c.opt.Config.Accel != "off", Log: c.log}); err != nil {
		return err
	}
	c.watcher = tap.NewWatcher()
	c.sw, err = dataplane.New(dataplane.Config{Underlay: c.under, Log: c.log, HostMAC: hostMAC(c.opt.Config.Name), PortGone: c.portGone, Event: c.troubleFound})
	if err != nil {
		return err
	}
	c.desired, c.uplinks, c.statics, c.beforeApply = m.desired, m.uplinks, old.Static, old.BeforeApply
	c.lookAtLink()
	c.under.StartHello() // before the first peer is heard: its hello is no drop
	if err := c.publish(); err != nil {
		return err
	}
	// Nothing outside this process was touched up to here.
	c.store.sweep()
	c.noteBadState(problem)
	m.say(c.log)
	if _, err := c.sys.sweep(); err != nil { // they are in nobody's way
		c.log.Warn("what a killed switch was making stays", "err", err)
	}
	c.removeLeaving(old.Leaving)
	c.restorePeerStatics()
	c.restore(old.Endpoints)
	c.followUplinks()
	c.followDeclared(old.Networks)
	c.restoreHost(old)
	if err := c.save(); err != nil { // frames flow all the same; status says so
		c.log.Error("state was not written", "err", err)
	}
	c.tidy()
	c.restoreFormer()
	c.noteWrong()
	c.running.Go(c.takeEvents) // ends with done
	c.running.Go(c.watch)      // ends with done
	c.running.Go(c.watchLinks) // ends with done
	if c.opt.Docker != nil {
		c.running.Go(c.followContainers) // ends with done
	}
	return nil
}

// noteBadState keeps a state file that cannot be read out of the way.
func (c *Controller) noteBadState(problem error) {
	if err := c.store.badRoutes; err != nil {
		c.log.Error("file of routes is unusable: started without routes made by command", "reason", err)
	}
	if problem == nil {
		return
	}
	if err := c.store.setAside(); err != nil {
		c.log.Error("state file is unusable", "reason", problem, "err", err)
		return
	}
	c.log.Error("state file is unusable: started from the configuration alone", "file", c.store.path(), "reason", problem, "kept_as", c.store.badPath())
	c.faults.badState = problem
}

// Close stops the switch. TAPs stay in their containers, with their addresses
// and routes, for the next Open.
func (c *Controller) Close() error {
	c.change.Lock()
	if c.closed {
		c.change.Unlock()
		return nil
	}
	c.closed = true
	close(c.done)
	c.change.Unlock()
	c.running.Wait()
	c.locked(func() { c.silent = true })
	if c.watcher != nil {
		c.watcher.Close()
	}
	var err error
	if c.sw != nil {
		err = c.sw.Close()
	}
	for _, p := range c.published {
		err = both(err, p.free())
	}
	for _, ep := range c.endpoints {
		ep.stopAnnouncing()
		if ep.dev != nil {
			err = both(err, ep.dev.Close())
		}
	}
	for _, u := range c.uplinks {
		if u.link != nil {
			err = both(err, u.link.Close())
		}
	}
	if c.under != nil {
		err = both(err, c.under.Close())
	}
	return both(err, c.locks.Close())
}

// begin starts a change; end finishes it.
func (c *Controller) begin() (end func(), err error) {
	c.change.Lock()
	if c.closed {
		c.change.Unlock()
		return nil, errors.New("weft is shutting down: try again when it runs")
	}
	c.lookAtLink()
	return func() {
		c.followHost()
		c.change.Unlock()
	}, nil
}

// commit changes the maps by do, writes the state, and brings the switch in
// line. When that fails, undo takes the change back. change is held.
func (c *Controller) commit(do, undo func()) error {
	c.locked(do)
	err := c.save()
	if err == nil {
		err = c.publish()
	}
	if err == nil {
		return nil
	}
	c.locked(undo)
	if err := both(c.save(), c.publish()); err != nil {
		c.log.Error("change could not be taken back", "err", err)
	}
	return err
}

// commitDesired is commit for a change of networks, peers or routes, on which
// the tables of the vrfs depend.
func (c *Controller) commitDesired(do, undo func()) error {
	err := c.commit(func() { do(); c.desiredChanged() }, func() { undo(); c.desiredChanged() })
	c.tidy()
	return err
}

// commitRoute is commitDesired for a change of one route.
func (c *Controller) commitRoute(k routeKey, do, undo func()) error {
	return c.commit(func() { do(); c.routeChanged(k) }, func() { undo(); c.routeChanged(k) })
}

// desiredChanged says that networks, peers or routes may be others now. mu is held.
func (c *Controller) desiredChanged() {
	c.routesSent = false
	c.forgetTroubles()
}

// routeChanged says that one route may be another now. mu is held.
func (c *Controller) routeChanged(k routeKey) { c.routesDue = append(c.routesDue, k) }

// tidy gives memory back to the system after work on very many routes, which
// leaves more garbage than the switch needs otherwise. change is held.
func (c *Controller) tidy() {
	if c.routes.len() >= manyRoutes {
		debug.FreeOSMemory()
	}
}

// manyRoutes is where tidying takes less time than what made the garbage.
const manyRoutes = 100_000

// locked runs f with mu held.
func (c *Controller) locked(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}

// save writes the state. change is held.
func (c *Controller) save() error {
	err := c.store.saveRoutes(c.routes)
	if err == nil {
		err = c.store.save(c.state())
	}
	c.locked(func() { c.faults.noteSave(err) })
	return err
}

// state returns what is to outlive the daemon, in an order that depends on nothing else.
func (c *Controller) state() *state {
	s := &state{Networks: []networkRecord{}, Peers: []peerRecord{}, Uplinks: []uplinkRecord{}, Endpoints: []endpointRecord{}, Static: orEmpty(c.statics), Leaving: c.leaving, BeforeApply: c.beforeApply, Published: []publishRecord{}}
	for _, name := range sortedKeys(c.networks) {
		s.Networks = append(s.Networks, networkRecord{c.networks[name].Network, c.networks[name].origin})
	}
	for _, name := range sortedKeys(c.peers) {
		s.Peers = append(s.Peers, peerRecord{c.peers[name].Peer, c.peers[name].origin})
	}
	s.File = c.routes.saved.file
	s.Routes, s.Gone = c.routes.inState()
	for _, u := range c.uplinkList() {
		s.Uplinks = append(s.Uplinks, uplinkRecord{u.Uplink, u.origin})
	}
	for _, ep := range c.endpointList() {
		s.Endpoints = append(s.Endpoints, ep.endpointRecord)
	}
	for _, p := range c.published {
		s.Published = append(s.Published, publishRecord{p.Publish, p.origin})
	}
	s.Host = hostRecord{BootID: c.boot, Sysctls: orEmpty(c.sysctls)}
	return s
}

// both joins two errors, either of which may be nil, on one line.
func both(a, b error) error {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	return fmt.Errorf("%w; also: %w", a, b)
}

// sortedKeys returns the keys of m in order.
func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// orEmpty makes a nil slice an empty one, which JSON shows as [] and not null.
func orEmpty[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}
