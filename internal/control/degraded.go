package control

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"weft/internal/spec"
)

// lossShown is how long a loss in the kernel's receive queue counts as something
// that is wrong now.
const lossShown = time.Minute

// faults are what is wrong apart from ports and peers.
type faults struct {
	badState error // why the state file could not be read at start

	save      error // of the last write of the state; nil: it is on disk
	saveSince time.Time

	noLocal      string // a local address that no interface has
	noLocalSince time.Time

	overflow                       uint64 // rx_overflow as last seen
	overflowSince, overflowNoticed time.Time

	docker      error // why Docker's events do not come; nil: they do, or nobody waits for them
	dockerSince time.Time
	host        hostFaults
	declared    error // why not all that is declared is exposed or published
	apply       error // why an apply that was cut short could not be taken back

	troubles map[string]trouble  // that the switch found, by what and why
	seen     map[wrong]time.Time // since when, of what was wrong at the last look
}

// noteSave notes how a write of the state went.
func (f *faults) noteSave(err error) {
	if err != nil && f.save == nil {
		f.saveSince = time.Now()
	}
	f.save = err
}

// noteDocker notes why Docker's events do not come; nil: they do.
func (f *faults) noteDocker(err error) {
	if err != nil && f.docker == nil {
		f.dockerSince = time.Now()
	}
	f.docker = err
}

// noteLocal notes which local address is missing; none where missing is empty.
func (f *faults) noteLocal(missing string) {
	if missing != f.noLocal {
		f.noLocal, f.noLocalSince = missing, time.Now()
	}
}

// noteOverflow notes at now how many datagrams were lost in the receive queue.
func (f *faults) noteOverflow(total uint64, now time.Time) {
	if total > f.overflow {
		if now.Sub(f.overflowNoticed) > lossShown {
			f.overflowSince = now
		}
		f.overflow, f.overflowNoticed = total, now
	}
}

// degraded returns what is wrong: loops first, since much else comes of them, then
// the daemon's own troubles.
func (c *Controller) degraded() []spec.Degraded {
	list := []spec.Degraded{}
	add := func(since time.Time, what, format string, args ...any) {
		d := spec.Degraded{What: what, Why: fmt.Sprintf(format, args...), Since: since}
		if since.IsZero() {
			d.Since = c.faults.firstSeen(d)
		}
		d.Since = d.Since.Truncate(time.Second)
		list = append(list, d)
	}
	c.degradedTroubles(true, add)
	c.degradedDaemon(add)
	for _, name := range sortedKeys(c.networks) {
		if n := c.networks[name]; n.kept {
			if ports := c.endpointsOf(name); len(ports) > 0 {
				add(c.started, "network "+name, "it is no longer declared in %s but kept for its ports (%s): declare it again, or weft network rm %s --force",
					c.opt.Source, strings.Join(c.portNamesOf(ports), ", "), name)
			}
		}
	}
	c.degradedMTUs(add)
	for _, p := range c.namedPorts() {
		c.degradedPort(p, add)
	}
	c.degradedUplinks(add)
	c.degradedTroubles(false, add)
	c.degradedHost(add)
	for _, name := range sortedKeys(c.peers) {
		p := c.peers[name]
		if _, err := carried(p, c.networks); err != nil {
			add(asSeen, "peer "+name, "%v", err)
		}
		if err := p.checkVersion(c.opt.Config.Local); err != nil {
			add(asSeen, "peer "+name, "%v", err)
		}
		degradedHealth(name, c.healthOf(p), add)
		if path := c.under.Path(p.id); path.MTU != 0 {
			add(path.MTUSince, "peer "+name, "the path to it passes no datagrams over %d bytes: give its networks an MTU of %d with weft network set, or make the path carry more", path.MTU, c.peerMTU(p))
		}
	}
	c.degradedRoutes(add)
	return list
}

// degradedRoutes adds routes that are not in use: each where there are few.
func (c *Controller) degradedRoutes(add addDegraded) {
	const few = 100
	all := c.vrfs()
	for _, k := range c.unused[:min(len(c.unused), few)] {
		r := c.routes.get(k)
		if r == nil {
			continue
		}
		if err := c.problem(all, r); err != nil {
			add(asSeen, "route "+r.Prefix.String(), "not in use in vrf %q: %v; or remove it with weft route rm %s --vrf %s", r.VRF, err, r.Prefix, r.VRF)
		}
	}
	if n := len(c.unused) - few; n > 0 {
		add(asSeen, "routes", "%d more are not in use: see the column PROBLEM of weft route show", n)
	}
}

// portNamesOf returns the sorted names of the ports of eps.
func (c *Controller) portNamesOf(eps []*endpoint) (list []string) {
	names := portNames(c.endpointList())
	for _, ep := range eps {
		list = append(list, names[ep])
	}
	slices.Sort(list)
	return list
}

// degradedMTUs adds networks whose ports have a larger MTU than the links carry,
// since those carry less now. Where only the path does, its peer is named.
func (c *Controller) degradedMTUs(add addDegraded) {
	for _, name := range sortedKeys(c.networks) {
		n := c.networks[name]
		fits, most := c.linkMTU(n), 0
		if fits == 0 {
			continue
		}
		fits = max(fits, leastMTU(n.Prefixes))
		for _, ep := range c.endpointsOf(name) {
			if !ep.OwnMTU && ep.MTU > max(fits, leastMTU(ep.Addresses)) {
				most = max(most, ep.MTU)
			}
		}
		if most == 0 {
			continue
		}
		cure := fmt.Sprintf("weft network set %s --mtu %d", name, fits)
		if n.origin == declared && !n.kept {
			cure = fmt.Sprintf("declare mtu=%d for it in %s and restart weft run", fits, c.opt.Source)
		}
		add(c.linksAt, "network "+name, "its ports have an MTU of %d, but the links carry no more than %d: %s, or give the links back their MTU", most, fits, cure)
	}
}

// addDegraded adds something that is wrong since a time, or asSeen.
type addDegraded func(since time.Time, what, format string, args ...any)

// asSeen stands for the time when something was first found wrong, where nothing
// else tells.
var asSeen time.Time

// wrong is what tells things apart that are wrong.
type wrong struct{ what, why string }

// firstSeen returns since when d is known to be wrong.
func (f *faults) firstSeen(d spec.Degraded) time.Time {
	if since, ok := f.seen[wrong{d.What, d.Why}]; ok {
		return since
	}
	return time.Now()
}

// noteWrong remembers since when what is wrong now is so. change is held, or
// nobody else knows c yet.
func (c *Controller) noteWrong() {
	seen := map[wrong]time.Time{}
	c.mu.RLock()
	for _, d := range c.degraded() {
		seen[wrong{d.What, d.Why}] = d.Since
	}
	c.mu.RUnlock()
	c.locked(func() { c.faults.seen = seen })
}

func (c *Controller) degradedDaemon(add addDegraded) {
	f := c.faults
	if f.badState != nil {
		if _, err := os.Stat(c.store.badPath()); err == nil { // until the user has seen to it
			add(c.started, "state file", "%v; it was kept as %s, and what was made by command is lost: attach again what is missing, then delete that file", f.badState, c.store.badPath())
		}
	}
	if err := c.store.badRoutes; err != nil {
		add(c.started, "routes", "those that were made by command are lost, since their file could not be read: %v: add them again, and restart weft run when that was done", err)
	}
	if f.save != nil {
		add(f.saveSince, "state file", "the last change would be lost by a restart: %v", f.save)
	}
	if f.apply != nil {
		add(c.started, "apply", "%v", f.apply)
	}
	if f.noLocal != "" {
		add(f.noLocalSince, "underlay", "no interface has the local address %s: give it back, or start with another --local", f.noLocal)
	}
	if f.docker != nil && c.followed() {
		add(f.dockerSince, "docker", "containers that start are not noticed: %v", f.docker)
	}
	if !f.overflowNoticed.IsZero() && time.Since(f.overflowNoticed) <= lossShown {
		add(f.overflowSince, "underlay", "%d datagrams were lost in the kernel's receive queue (rx_overflow), the last within a minute: the host is short of CPU", f.overflow)
	}
}

func (c *Controller) degradedPort(p namedPort, add addDegraded) {
	ep, n := p.ep, c.networks[p.ep.Network]
	if ep.dev == nil {
		if ep.down == "" { // it is being attached
			return
		}
		if ep.Host != nil {
			add(ep.since, "port "+p.name, "%s", ep.down)
			return
		}
		cure := fmt.Sprintf("start the container and run weft attach %s %s, or detach it", ep.Network, ep.Target)
		if ep.target.isDocker() {
			cure = "it is attached again when the container starts; or detach it"
		}
		add(ep.since, "port "+p.name, "%s: %s", ep.down, cure)
		return
	}
	for _, a := range ep.Addresses {
		if _, ok := n.prefixFor(a.Addr()); !ok {
			add(c.started, "port "+p.name, "address %s is outside network %q since its prefix changed: detach it and attach it again", a, n.Name)
		}
	}
}

// degradedHealth adds a peer that cannot be reached. One that is only silent may
// have nothing to say.
func degradedHealth(name string, h health, add addDegraded) {
	if h.failed {
		add(h.since, "peer "+name, "%s", h.reason)
	}
}
