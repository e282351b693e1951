package control

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"weft/internal/spec"
	"weft/tap"
)

// Docker says which containers there are, and when that changes. internal/docker
// asks the real one. Methods may be called from any goroutine.
type Docker interface {
	// Find returns the container that has ref as its name, its id or the beginning
	// of its id; where it uses the network of another container, that one. The error
	// wraps ErrNoContainer where there is none.
	Find(ctx context.Context, ref string) (Container, error)

	// Watch calls connected once Docker can be reached, and then changed for each
	// container that starts, ends, is renamed or is removed, until ctx ends or Docker
	// does: it always returns an error. No change after the call of connected is missed.
	Watch(ctx context.Context, connected func(), changed func(id, name string)) error
}

// ErrNoContainer says that Docker has no container of that name or id.
var ErrNoContainer = errors.New("no such container")

// Container is a Docker container as it is at the moment.
type Container struct {
	ID    string
	Name  string
	State string // running, paused, restarting, exited, created, removing or dead
	PID   int    // of its first process, on this host; 0 where it does not run
}

const (
	dockerTimeout = 10 * time.Second // for one answer
	dockerRetry   = time.Second      // between two attempts to reach it

	// vacancyKept is how long the place of a container that was removed is kept for
	// one that is made anew under the same name.
	vacancyKept = time.Minute
)

// vacancy is the place of a container that was removed. It holds nothing: others
// may take its addresses.
type vacancy struct {
	endpointRecord
	published []spec.Publish // that led to it
	until     time.Time
}

// findContainer asks Docker for the container that t names, which must run, and
// returns it with its namespace.
func (c *Controller) findContainer(t target) (target, tap.Namespace, error) {
	if c.opt.Docker == nil {
		return t, tap.Namespace{}, errors.New("this switch does not ask Docker: use netns:NAME or pid:N")
	}
	ctx, cancel := context.WithTimeout(context.Background(), dockerTimeout)
	defer cancel()
	found, err := c.opt.Docker.Find(ctx, t.dockerName())
	if errors.Is(err, ErrNoContainer) {
		return t, tap.Namespace{}, fmt.Errorf("%w: docker ps -a lists them; a namespace is netns:NAME", err)
	}
	if err != nil {
		return t, tap.Namespace{}, err
	}
	switch found.State {
	case "running":
	case "paused":
		return t, tap.Namespace{}, fmt.Errorf("container %s is paused: docker unpause %s", found.Name, found.Name)
	default:
		return t, tap.Namespace{}, fmt.Errorf("container %s does not run (%s): docker start %s", found.Name, found.State, found.Name)
	}
	return c.enterable(ctx, found)
}

// foundContainer is what Docker said of a target. err says why it cannot be attached
// now; t is then as it was written.
type foundContainer struct {
	t   target
	ns  tap.Namespace
	err error
}

// findContainers asks Docker for every container that a file attaches, by target
// as it is written. asking is held.
func (c *Controller) findContainers(list []spec.Attach) map[string]foundContainer {
	found := map[string]foundContainer{}
	for _, a := range list {
		t, err := parseTarget(a.Target)
		if _, ok := found[a.Target]; ok || err != nil || !t.isDocker() {
			continue // what is wrong is said where the file is read
		}
		var f foundContainer
		if f.t, f.ns, f.err = c.findContainer(t); f.err != nil {
			f.t = t
		}
		found[a.Target] = f
	}
	return found
}

// enterable returns a container that runs as a target, and its namespace. Process
// ids are given out again: after the look at the namespace the process must
// still be the container's.
func (c *Controller) enterable(ctx context.Context, found Container) (target, tap.Namespace, error) {
	t := dockerTarget(found.Name, found.ID, found.PID)
	ns, err := c.sys.namespace(t.path)
	if err == nil {
		var again Container
		if again, err = c.opt.Docker.Find(ctx, found.ID); err == nil && (again.PID != found.PID || again.ID != found.ID) {
			err = errors.New("it ended")
		}
	}
	if err != nil {
		return t, ns, fmt.Errorf("container %s was there a moment ago: %w: try again when it runs", found.Name, err)
	}
	if c.isHost(ns) {
		return t, ns, fmt.Errorf("container %s uses the network of this host itself, where there is nothing to attach: make it with docker run --network none", found.Name)
	}
	return t, ns, nil
}

// endpointOf returns the endpoint of t in a network, nil where it has none. A
// Docker container is known by its id first, since its name may have changed,
// then by its name, then by the beginning of its id. change is held, or mu.
func (c *Controller) endpointOf(network string, t target) *endpoint {
	if t.isDocker() {
		for key, ep := range c.endpoints {
			if key.network == network && t.container != "" && ep.target.container == t.container {
				return ep
			}
		}
	}
	if ep := c.endpoints[endpointKey{network, t.key}]; ep != nil || !t.isDocker() || t.container != "" {
		return ep
	}
	var only *endpoint
	for key, ep := range c.endpoints {
		if key.network == network && ep.target.isDocker() && hasPrefix(ep.target.container, t.dockerName()) {
			if only != nil {
				return nil
			}
			only = ep
		}
	}
	return only
}

func hasPrefix(id, ref string) bool { return len(ref) <= len(id) && id[:len(ref)] == ref }

// findAttached returns the target to be detached that t names. Docker is asked
// only where no port of the network is known by that name: it may be that of a
// container that uses the network of another.
func (c *Controller) findAttached(network string, t target) (target, error) {
	c.mu.RLock()
	ep, others := c.endpointOf(network, t), 0
	for key, ep := range c.endpoints {
		if key.network == network && ep.target.isDocker() {
			others++
		}
	}
	c.mu.RUnlock()
	if ep != nil {
		return ep.target, nil
	}
	if others == 0 || c.opt.Docker == nil {
		return t, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), dockerTimeout)
	defer cancel()
	found, err := c.opt.Docker.Find(ctx, t.dockerName())
	switch {
	case errors.Is(err, ErrNoContainer):
		return t, nil
	case err != nil:
		return t, fmt.Errorf("no port has that name, and %w", err)
	}
	return dockerTarget(found.Name, found.ID, found.PID), nil
}

// followDocker wakes the goroutine that follows Docker.
func (c *Controller) followDocker() {
	select {
	case c.docker <- struct{}{}:
	default:
	}
}

// followed reports whether a container is to be followed. change is held, or mu.
func (c *Controller) followed() bool {
	for _, ep := range c.endpoints {
		if ep.target.isDocker() {
			return true
		}
	}
	return false
}

// followContainers attaches containers again that come back, until Close. As long
// as no container is attached, Docker is left alone: to ask would start it,
// where systemd listens on its socket.
func (c *Controller) followContainers() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c.running.Go(func() { // ends with done
		<-c.done
		cancel()
	})
	for {
		c.mu.RLock()
		wanted := c.followed()
		c.mu.RUnlock()
		if !wanted {
			select {
			case <-c.docker:
				continue
			case <-c.done:
				return
			}
		}
		err := c.opt.Docker.Watch(ctx, func() { c.lookAtContainers(ctx) }, func(id, name string) { c.containerChanged(ctx, id, name) })
		if ctx.Err() != nil {
			return
		}
		c.noteDocker(err)
		select {
		case <-time.After(dockerRetry):
		case <-c.done:
			return
		}
	}
}

// noteDocker notes whether Docker is there, and says so when that changes.
func (c *Controller) noteDocker(err error) {
	var was error
	c.locked(func() {
		was = c.faults.docker
		c.faults.noteDocker(err)
	})
	switch {
	case err != nil && was == nil:
		c.log.Warn("docker is gone: containers that start are not noticed", "err", err)
	case err == nil && was != nil:
		c.log.Info("docker is back")
	}
}

// lookAtContainers brings all Docker containers in line: anything may have
// happened since Docker was last heard.
func (c *Controller) lookAtContainers(ctx context.Context) {
	c.noteDocker(nil)
	c.mu.RLock()
	var list []*endpoint
	for _, ep := range c.endpointList() {
		if ep.target.isDocker() {
			list = append(list, ep)
		}
	}
	c.mu.RUnlock()
	// One may have the name that another had, or each the other's: those wait until
	// the others are in line, then under their ids.
	for try := range 3 {
		list = slices.DeleteFunc(list, func(ep *endpoint) bool {
			err := c.lookAtContainer(ctx, ep)
			if try < 2 && errors.Is(err, errNameKept) {
				if try == 0 || c.nameByID(ep) == nil {
					return false
				}
			}
			if err != nil {
				c.notAttached(ep, err)
			}
			return true
		})
	}
}

// nameByID gives a port the id of its container for a name.
func (c *Controller) nameByID(ep *endpoint) error {
	end, err := c.begin()
	if err != nil {
		return err
	}
	defer end()
	if c.endpoints[ep.key()] != ep { // detached meanwhile
		return nil
	}
	id := ep.target.container
	return c.rename(ep, dockerTarget(id, id, ep.target.pid))
}

// notAttached says that a container was not brought in line.
func (c *Controller) notAttached(ep *endpoint, err error) {
	c.log.Error("container was not attached again", "network", ep.Network, "port", ep.Target, "err", err)
}

// containerChanged brings a container in line of which Docker says that
// something happened to it.
func (c *Controller) containerChanged(ctx context.Context, id, name string) {
	c.mu.RLock()
	var list []*endpoint
	for _, ep := range c.endpointList() {
		if ep.target.isDocker() && (ep.target.container == id || ep.target.dockerName() == name) {
			list = append(list, ep)
		}
	}
	c.mu.RUnlock()
	for _, ep := range list {
		if err := c.lookAtContainer(ctx, ep); err != nil {
			c.notAttached(ep, err)
		}
	}
	c.fillVacancies(ctx, name)
}

// lookAtContainer does what the state of a container asks for: its endpoint is
// attached, down, or gone.
func (c *Controller) lookAtContainer(ctx context.Context, ep *endpoint) error {
	c.asking.Lock()
	defer c.asking.Unlock()
	c.mu.RLock()
	id, name := ep.target.container, ep.target.dockerName()
	c.mu.RUnlock()
	found, err := c.find(ctx, id, name)
	if ctx.Err() != nil { // closing
		return nil
	}
	if err != nil && !errors.Is(err, ErrNoContainer) {
		return fmt.Errorf("ask Docker how it is: %w", err)
	}
	var t target
	var ns tap.Namespace
	var unfit error
	if err == nil && found.PID != 0 {
		t, ns, unfit = c.enterable(ctx, found)
	}
	end, closing := c.begin()
	if closing != nil {
		return nil
	}
	defer end()
	if c.endpoints[ep.key()] != ep || ep.target.container != id { // it was detached, or attached anew
		return nil
	}
	switch {
	case err != nil:
		c.containerRemoved(ep)
	case found.PID == 0:
		c.containerStopped(ep, fmt.Sprintf("its container does not run (%s)", found.State))
		return c.rename(ep, dockerTarget(found.Name, found.ID, 0))
	case unfit != nil:
		c.containerStopped(ep, unfit.Error())
	default:
		return c.containerRuns(ep, t, ns)
	}
	return nil
}

// find returns the container with the id; where it is gone, the one that has its
// name now.
func (c *Controller) find(ctx context.Context, id, name string) (Container, error) {
	ctx, cancel := context.WithTimeout(ctx, dockerTimeout)
	defer cancel()
	found, err := c.opt.Docker.Find(ctx, id)
	if !errors.Is(err, ErrNoContainer) {
		return found, err
	}
	if found, err = c.opt.Docker.Find(ctx, name); err == nil && found.Name != name { // an id that begins so
		err = ErrNoContainer
	}
	return found, err
}

// containerRuns attaches ep again, unless it is. t is where the container is now,
// under a new name perhaps.
func (c *Controller) containerRuns(ep *endpoint, t target, ns tap.Namespace) error {
	err := c.attachThere(c.networks[ep.Network], ep, t, ns)
	if err != nil {
		c.locked(func() {
			if ep.dev == nil {
				ep.down = err.Error()
			}
		})
	}
	return err
}

// errNameKept says that another endpoint has the name that a container has now.
var errNameKept = errors.New("a port of the network has that name already")

// rename gives ep, and the static entries of the FDB and the published ports that
// lead to it, the name that its container has now.
func (c *Controller) rename(ep *endpoint, t target) error {
	if ep.target.key == t.key { // always, where it is no Docker container
		return nil
	}
	if c.endpoints[endpointKey{ep.Network, t.key}] != nil {
		return fmt.Errorf("%s: %w", t.text, errNameKept)
	}
	was, wasAt, statics := ep.Target, ep.target, c.statics
	renamed := make([]staticRecord, len(statics))
	for i, s := range statics {
		if s.Network == ep.Network && s.Target == was {
			s.Target = t.text
		}
		renamed[i] = s
	}
	var led []*published
	for _, p := range c.published {
		if p.Network == ep.Network && p.target.key == wasAt.key {
			led = append(led, p)
		}
	}
	set := func(text string, at target, list []staticRecord) {
		delete(c.endpoints, ep.key())
		ep.Target, ep.target, c.statics = text, at, list
		c.endpoints[ep.key()] = ep
		for _, p := range led {
			p.Target, p.target = text, at
		}
		c.published = sortPublished(slices.Clone(c.published))
	}
	at := dockerTarget(t.dockerName(), wasAt.container, wasAt.pid)
	if err := c.commit(func() { set(t.text, at, renamed) }, func() { set(was, wasAt, statics) }); err != nil {
		return err
	}
	c.log.Info("port renamed, as its container was", "network", ep.Network, "port", ep.Target, "was", was)
	return nil
}

// containerStopped takes an endpoint down, which keeps its place.
func (c *Controller) containerStopped(ep *endpoint, why string) {
	if ep.dev != nil && !ep.namespace().Alive() {
		c.letGo(ep, why)
		return
	}
	if ep.dev == nil {
		c.locked(func() { ep.down = why })
	}
}

// containerRemoved detaches a container that was removed, and unpublishes what was
// published for it, but for what is declared. Both are remembered for a while. One that lives all the same belongs to another Docker.
func (c *Controller) containerRemoved(ep *endpoint) {
	if ep.dev != nil && ep.namespace().Alive() {
		return
	}
	gone := vacancy{endpointRecord: ep.endpointRecord, until: time.Now().Add(vacancyKept)}
	for _, p := range slices.Clone(c.published) {
		if p.Network != ep.Network || p.target.key != ep.target.key || p.origin == declared {
			continue
		}
		if err := c.unpublish(p); err != nil {
			c.log.Error("ports of a container that was removed stay published", "network", p.Network, "port", p.Target, "err", err)
			continue
		}
		gone.published = append(gone.published, p.Publish)
	}
	if err := c.detach(ep); err != nil {
		c.log.Error("port of a container that was removed stays", "network", ep.Network, "port", ep.Target, "err", err)
		return
	}
	c.vacant[endpointKey{gone.Network, ep.target.key}] = gone
}

// fillVacancies gives a container that was made anew the places that one of the
// same name had.
func (c *Controller) fillVacancies(ctx context.Context, name string) {
	end, err := c.begin()
	if err != nil {
		return
	}
	wanted := false
	for key, v := range c.vacant {
		if time.Now().After(v.until) || c.networks[key.network] == nil {
			delete(c.vacant, key)
		}
		wanted = wanted || key.target == dockerTarget(name, "", 0).key
	}
	end()
	if !wanted {
		return
	}
	c.asking.Lock()
	defer c.asking.Unlock()
	found, err := c.find(ctx, name, name)
	if err != nil || found.PID == 0 || found.Name != name {
		return
	}
	t, ns, err := c.enterable(ctx, found)
	if err != nil {
		c.log.Warn("container that was made anew cannot be attached", "port", t.text, "err", err)
		return
	}
	if end, err = c.begin(); err != nil {
		return
	}
	defer end()
	for _, n := range c.networks {
		key := endpointKey{n.Name, t.key}
		v, ok := c.vacant[key]
		if !ok || c.endpointOf(n.Name, t) != nil {
			continue
		}
		delete(c.vacant, key)
		if err := c.fill(n, v, t, ns); err != nil {
			c.log.Warn("container that was made anew did not get its place, or not all of it", "network", n.Name, "port", t.text, "err", err)
		}
	}
}

// fill attaches t as v was.
func (c *Controller) fill(n *network, v vacancy, t target, ns tap.Namespace) error {
	ep := &endpoint{endpointRecord: v.endpointRecord, target: t}
	ep.Former = nil
	pools, err := c.pools(n)
	if err != nil {
		return err
	}
	for _, p := range ep.Addresses {
		if err := claim(n, pools, p.Addr()); err != nil {
			return err
		}
	}
	if err := c.checkMAC(n, ep.MAC); err != nil {
		return err
	}
	if !ep.OwnMTU {
		ep.MTU = max(c.portMTU(c.desired, n, ep.endpointRecord), leastMTU(ep.Addresses))
	}
	if ep.Life, err = c.lifeOf(t, ns); err != nil {
		return err
	}
	if err := c.checkIfName(ep); err != nil {
		return err
	}
	if err := c.addEndpoint(n, ep); err != nil {
		return err
	}
	for _, p := range v.published {
		if _, perr := c.publishPorts(p, byAPI); perr != nil {
			err = both(err, perr)
		}
	}
	return err
}
