package control

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"weft/encap"
	"weft/encap/encaptest"
	"weft/internal/header"
	"weft/internal/hostnet"
	"weft/internal/offload"
	"weft/internal/spec"
	"weft/tap"
	"weft/tap/taptest"
)

// rig is a machine without a kernel: containers in memory, an underlay of
// socketpairs. The controller, the switch and the state file are real.
type rig struct {
	t       testing.TB
	dir     string
	local   netip.Addr
	addrs   []netip.Addr
	routers []netip.Addr // behind every link
	boot    string
	log     logBuffer
	onEncap func(*encap.Underlay, *encaptest.Wire)
	docker  Docker
	host    fakeHost

	mu         sync.Mutex // guards the following
	inode      uint64
	containers map[string]*container // by path
	links      map[string]*fakeLink
	onLAN      map[netip.Addr]header.MAC // who has which address behind every link
	started    map[int]uint64            // start times of processes
	failCreate error
	failReopen error
	onCreate   func() error
	failChange func(tap.Namespace, tap.Config) error // called with mu held
	changes    int                                   // calls of change
	slow       chan struct{}                         // where not nil, create waits for it
	failOpen   error                                 // of an uplink
}

// container is a namespace.
type container struct {
	ns   tap.Namespace
	taps map[string]*fakeTAP // by interface name
}

// fakeTAP is a TAP in a container, and the container's own end of it.
type fakeTAP struct {
	cfg     tap.Config
	dev     *tap.Device // that has it open now
	inside  *taptest.Container
	dropped uint64
	down    bool // by hand
}

func newRig(t testing.TB) *rig {
	local := netip.MustParseAddr("192.0.2.1")
	r := &rig{t: t, dir: t.TempDir(), local: local, addrs: []netip.Addr{local, netip.MustParseAddr("10.9.9.9")},
		boot: "boot-1", inode: 1000, containers: map[string]*container{}, started: map[int]uint64{}}
	r.container("/proc/self/ns/net")
	return r
}

// container makes a container at path, or a new one in its place.
func (r *rig) container(path string) *container {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.inode++
	c := &container{ns: tap.Namespace{Path: path, Dev: 4, Ino: r.inode}, taps: map[string]*fakeTAP{}}
	r.containers[path] = c
	return c
}

// kill ends the container at path: its TAPs are gone.
func (r *rig) kill(path string) {
	r.mu.Lock()
	c := r.containers[path]
	delete(r.containers, path)
	r.mu.Unlock()
	for name := range c.taps {
		r.deleteTAP(c, name)
	}
}

// deleteTAP deletes an interface of a container, as `ip link del` does inside.
func (r *rig) deleteTAP(c *container, name string) {
	r.mu.Lock()
	f := c.taps[name]
	delete(c.taps, name)
	r.mu.Unlock()
	f.inside.Close()
}

// tap returns the TAP ifName of the container at path; nil where there is none.
func (r *rig) tap(path, ifName string) *fakeTAP {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.containers[path]; c != nil {
		return c.taps[ifName]
	}
	return nil
}

func (r *rig) system() system {
	return system{
		lock: func(string) (io.Closer, error) { return io.NopCloser(nil), nil },
		underlay: func(encap.Config) (*encap.Underlay, error) {
			u, w := encaptest.New(r.t, r.local)
			if r.onEncap != nil {
				r.onEncap(u, w)
			}
			return u, nil
		},
		addrs:     func() ([]netip.Addr, error) { return r.addrs, nil },
		bootID:    func() (string, error) { return r.boot, nil },
		startTime: r.startTime,
		namespace: r.namespace,
		create:    r.create,
		reopen:    r.reopen,
		recover: func(tap.Namespace, tap.Config, []netip.Prefix) (*tap.Device, error) {
			return nil, tap.ErrNameTaken
		},
		gone:     func(d *tap.Device) bool { return r.find(d) == nil },
		remove:   r.remove,
		removeIn: r.removeIn,
		sweep:    func() (int, error) { return 0, nil },
		dropped: func(ns tap.Namespace, ifName string) (uint64, error) {
			f, err := r.lookup(ns, ifName)
			if err != nil {
				return 0, err
			}
			return f.dropped, nil
		},
		change:     r.change,
		mend:       r.mend,
		link:       r.link,
		routers:    func(string) ([]netip.Addr, error) { return r.routers, nil },
		openUplink: r.openUplink,
		inUse:      r.inUse,
		watchLinks: func(changed chan<- string, done <-chan struct{}) error { return nil },
		host:       func() hostNet { return &r.host },
		listen: func(proto string, host netip.Addr, port uint16, _ hostnet.Target) (*hostnet.Listener, error) {
			return nil, r.host.taken(proto, port)
		},
	}
}

// change does what tap.Change does: from names what goes.
func (r *rig) change(ns tap.Namespace, from, to tap.Config) error {
	if r.host.crash("change") {
		return errCrashed
	}
	f, err := r.lookup(ns, to.IfName)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.changes++
	if r.failChange != nil {
		if err := r.failChange(ns, to); err != nil {
			return err
		}
	}
	for _, p := range f.cfg.Addrs {
		if !slices.Contains(from.Addrs, p) && !slices.Contains(to.Addrs, p) {
			to.Addrs = append(slices.Clone(to.Addrs), p)
		}
	}
	f.cfg = to
	return nil
}

// mend does what tap.Mend does.
func (r *rig) mend(cfg tap.Config) (found []string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.containers["/proc/self/ns/net"].taps[cfg.IfName]
	if f == nil {
		return nil, nil
	}
	if f.down {
		found = append(found, "down")
	}
	if f.cfg.MTU != cfg.MTU {
		found = append(found, fmt.Sprintf("with MTU %d", f.cfg.MTU))
	}
	f.cfg, f.down = cfg, false
	return found, nil
}

func (r *rig) startTime(pid int) (uint64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if at, ok := r.started[pid]; ok {
		return at, nil
	}
	return 0, fmt.Errorf("find process %d: no such process", pid)
}

func (r *rig) namespace(path string) (tap.Namespace, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.containers[path]; c != nil {
		return c.ns, nil
	}
	return tap.Namespace{}, fmt.Errorf("open %s: %w", path, tap.ErrNoNamespace)
}

func (r *rig) lookup(ns tap.Namespace, ifName string) (*fakeTAP, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.containers[ns.Path]
	if c == nil || c.ns != ns {
		return nil, tap.ErrNoNamespace
	}
	if f := c.taps[ifName]; f != nil {
		return f, nil
	}
	return nil, tap.ErrNoTAP
}

func (r *rig) create(ns tap.Namespace, cfg tap.Config, recorded func() error) (*tap.Device, error) {
	r.mu.Lock()
	slow, fail := r.slow, r.failCreate
	if fail == nil && r.onCreate != nil {
		fail = r.onCreate()
	}
	r.mu.Unlock()
	if slow != nil {
		<-slow
	}
	if r.host.crash("create") {
		return nil, errCrashed
	}
	if fail != nil {
		return nil, fail
	}
	if _, err := r.lookup(ns, cfg.IfName); err == nil {
		return nil, tap.ErrNameTaken
	} else if !errors.Is(err, tap.ErrNoTAP) {
		return nil, err
	}
	if recorded != nil {
		if err := recorded(); err != nil {
			return nil, err
		}
	}
	dev, inside := taptest.New(r.t)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.containers[ns.Path].taps[cfg.IfName] = &fakeTAP{cfg: cfg, dev: dev, inside: inside}
	return dev, nil
}

func (r *rig) reopen(ns tap.Namespace, cfg tap.Config) (*tap.Device, error) {
	if r.failReopen != nil {
		return nil, r.failReopen
	}
	f, err := r.lookup(ns, cfg.IfName)
	if err != nil {
		return nil, err
	}
	dev, inside := taptest.New(r.t)
	r.mu.Lock()
	defer r.mu.Unlock()
	f.dev, f.inside, f.cfg.MAC = dev, inside, cfg.MAC
	return dev, nil
}

// find returns the TAP that d has open, nil where it is gone.
func (r *rig) find(d *tap.Device) *fakeTAP {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.containers {
		for _, f := range c.taps {
			if f.dev == d {
				return f
			}
		}
	}
	return nil
}

func (r *rig) remove(d *tap.Device) error {
	if r.host.crash("remove") {
		return errCrashed
	}
	r.mu.Lock()
	for _, c := range r.containers {
		maps.DeleteFunc(c.taps, func(_ string, f *fakeTAP) bool { return f.dev == d })
	}
	r.mu.Unlock()
	return d.Close()
}

func (r *rig) removeIn(ns tap.Namespace, ifName string) error {
	if r.host.crash("remove") {
		return errCrashed
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.containers[ns.Path]; c != nil && c.ns == ns {
		delete(c.taps, ifName)
	}
	return nil
}

// open starts a controller on the rig, with networks and peers declared by
// option lists. The test's end closes it.
func (r *rig) open(declare ...string) *Controller {
	r.t.Helper()
	c, err := r.tryOpen(declare...)
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

func (r *rig) tryOpen(declare ...string) (*Controller, error) {
	r.t.Helper()
	cfg := spec.Config{Name: "h1", Local: []netip.Addr{r.local}, StateDir: r.dir}
	for _, d := range declare {
		kind, list, _ := strings.Cut(d, " ")
		switch kind {
		case "network":
			cfg.Networks = append(cfg.Networks, mustNetwork(r.t, list))
		case "peer":
			cfg.Peers = append(cfg.Peers, mustPeer(r.t, list))
		case "expose":
			e, err := spec.ParseExpose(list)
			if err != nil {
				r.t.Fatal(err)
			}
			cfg.Exposed = append(cfg.Exposed, e)
		case "publish":
			p, err := spec.ParsePublish(list)
			if err != nil {
				r.t.Fatal(err)
			}
			cfg.Published = append(cfg.Published, p)
		case "route":
			cfg.Routes = append(cfg.Routes, mustRoute(r.t, list))
		case "uplink":
			u, err := spec.ParseUplink(list)
			if err != nil {
				r.t.Fatal(err)
			}
			cfg.Uplinks = append(cfg.Uplinks, u)
		default:
			r.t.Fatalf("declare %q", d)
		}
	}
	c, err := open(Options{Config: cfg, Source: "weft.yaml", Log: slog.New(slog.NewTextHandler(&r.log, nil)), Docker: r.docker}, r.system())
	if err == nil {
		r.t.Cleanup(func() { r.close(c) })
		c.store.onWrite = func() error {
			if r.host.crash("write") {
				return errCrashed
			}
			return nil
		}
	}
	return c, err
}

func (r *rig) close(c *Controller) {
	r.t.Helper()
	if err := c.Close(); err != nil {
		r.t.Errorf("close: %v", err)
	}
}

func mustNetwork(t testing.TB, list string) spec.Network {
	t.Helper()
	n, err := spec.ParseNetwork(list)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func mustPeer(t testing.TB, list string) spec.Peer {
	t.Helper()
	p, err := spec.ParsePeer(list)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func mustRoute(t testing.TB, list string) spec.Route {
	t.Helper()
	r, err := spec.ParseRoute(list)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// ask makes an Attach of a network, a target and addresses.
func ask(t testing.TB, network, target string, addrs ...string) spec.Attach {
	t.Helper()
	a := spec.Attach{Network: network, Target: target}
	for _, s := range addrs {
		addr, err := spec.ParseAddress(s)
		if err != nil {
			t.Fatal(err)
		}
		a.Addresses = append(a.Addresses, addr)
	}
	return a
}

// add makes networks by command.
func add(t testing.TB, c *Controller, networks ...string) {
	t.Helper()
	for _, n := range networks {
		if _, err := c.AddNetwork(mustNetwork(t, n)); err != nil {
			t.Fatal(err)
		}
	}
}

// attach must succeed.
func (r *rig) attach(c *Controller, a spec.Attach) spec.PortStatus {
	r.t.Helper()
	p, err := c.Attach(a)
	if err != nil {
		r.t.Fatal(err)
	}
	return p
}

// wantError checks that err is one line with all of the words.
func wantError(t testing.TB, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("got no error, want one with %q", words)
		return
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("error on several lines: %v", err)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("got %q, want %q in it", err, w)
		}
	}
}

// eventually waits until f holds.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	const limit = time.Minute // the kernel takes namespaces down one after the other, of the whole machine
	for deadline := time.Now().Add(limit); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", limit, what)
		}
	}
}

// hears reports whether frames that from sends to mac come out of the other TAP.
func hears(t testing.TB, from, to *fakeTAP) bool {
	t.Helper()
	frame := make([]byte, 60)
	to.cfg.MAC.Put(frame)
	from.cfg.MAC.Put(frame[6:])
	frame[12], frame[13], frame[14] = 0x88, 0xb6, byte(time.Now().UnixNano()) // local experimental
	from.inside.Send(offload.Header{}, frame)
	for deadline := time.Now().Add(2 * time.Second); time.Now().Before(deadline); {
		if _, got := to.inside.Recv(100 * time.Millisecond); string(got) == string(frame) {
			return true
		}
	}
	return false
}

// logBuffer collects what is logged.
type logBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// join connects the underlays of two rigs, the second of which becomes
// 192.0.2.2, once both are open.
func join(t testing.TB, r1, r2 *rig) {
	t.Helper()
	r2.addrs = []netip.Addr{netip.MustParseAddr("192.0.2.2")}
	r2.local = r2.addrs[0]
	var first *encaptest.Wire
	r1.onEncap = func(_ *encap.Underlay, w *encaptest.Wire) { first = w }
	r2.onEncap = func(_ *encap.Underlay, w *encaptest.Wire) { encaptest.Join(t, first, w) }
}

// still returns a port without its counters, which announcements change at any time.
func still(p spec.PortStatus) spec.PortStatus {
	p.RxFrames, p.TxFrames, p.RxBytes, p.TxBytes = 0, 0, 0, 0
	return p
}

// stills is still for many.
func stills(list []spec.PortStatus) []spec.PortStatus {
	out := make([]spec.PortStatus, len(list))
	for i, p := range list {
		out[i] = still(p)
	}
	return out
}
