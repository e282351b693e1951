package control

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"weft/internal/spec"
)

// fakeDocker is an engine in memory, whose containers are the rig's.
type fakeDocker struct {
	r *rig

	mu      sync.Mutex // guards the following
	list    []Container
	down    bool
	nextPID int
	watch   func(id, name string) // of the only watcher; nil: none
	broken  chan struct{}         // closed when the engine goes
}

func newFakeDocker(r *rig) *fakeDocker {
	d := &fakeDocker{r: r, nextPID: 100, broken: make(chan struct{})}
	r.docker = d
	return d
}

func (d *fakeDocker) Find(_ context.Context, ref string) (Container, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.down {
		return Container{}, errors.New("ask Docker: nobody answers")
	}
	for _, fits := range []func(Container) bool{
		func(c Container) bool { return c.ID == ref || c.Name == ref },
		func(c Container) bool { return strings.HasPrefix(c.ID, ref) },
	} {
		for _, c := range d.list {
			if fits(c) {
				return c, nil
			}
		}
	}
	return Container{}, fmt.Errorf("container %s: %w", ref, ErrNoContainer)
}

func (d *fakeDocker) Watch(ctx context.Context, connected func(), changed func(id, name string)) error {
	d.mu.Lock()
	if d.down {
		d.mu.Unlock()
		return errors.New("ask Docker: nobody answers")
	}
	d.watch = changed
	broken := d.broken
	d.mu.Unlock()
	connected()
	select {
	case <-ctx.Done():
	case <-broken:
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.watch = nil
	return errors.New("ask Docker: it is gone")
}

// say tells the watcher.
func (d *fakeDocker) say(c Container) {
	d.mu.Lock()
	watch := d.watch
	d.mu.Unlock()
	if watch != nil {
		watch(c.ID, c.Name)
	}
}

// set changes the containers; start, where c is to run.
func (d *fakeDocker) set(c Container, start bool) Container {
	d.mu.Lock()
	if start {
		d.nextPID++
		c.PID, c.State = d.nextPID, "running"
	}
	found := false
	for i := range d.list {
		if d.list[i].ID == c.ID {
			d.list[i], found = c, true
		}
	}
	if !found {
		d.list = append(d.list, c)
	}
	d.mu.Unlock()
	if start {
		d.r.mu.Lock()
		d.r.started[c.PID] = uint64(c.PID)
		d.r.mu.Unlock()
		d.r.container(pidPath(fmt.Sprint(c.PID)))
	}
	return c
}

// run makes a container and starts it.
func (d *fakeDocker) run(id, name string) Container {
	c := d.set(Container{ID: id, Name: name}, true)
	d.say(c)
	return c
}

// stop ends a container's process.
func (d *fakeDocker) stop(c Container) Container {
	d.r.kill(pidPath(fmt.Sprint(c.PID)))
	c.PID, c.State = 0, "exited"
	c = d.set(c, false)
	d.say(c)
	return c
}

func (d *fakeDocker) remove(c Container) {
	if c.PID != 0 {
		c = d.stop(c)
	}
	d.mu.Lock()
	for i := range d.list {
		if d.list[i].ID == c.ID {
			d.list = append(d.list[:i], d.list[i+1:]...)
			break
		}
	}
	d.mu.Unlock()
	d.say(c)
}

// watched waits until somebody hears of changes.
func (d *fakeDocker) watched() {
	d.r.t.Helper()
	eventually(d.r.t, "Docker is watched", func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.watch != nil
	})
}

// anywhere returns a port without its counters and the namespace that it is in now.
func anywhere(p spec.PortStatus) spec.PortStatus {
	p = still(p)
	p.Namespace = ""
	return p
}

// onePort returns the only port, and "" in its Name where there is none.
func onePort(c *Controller) (p spec.PortStatus) {
	for _, p := range c.Ports() {
		return anywhere(p)
	}
	return p
}

// A container keeps its place through restarts, renaming and being made anew.
func TestDockerFollows(t *testing.T) {
	r := newRig(t)
	d := newFakeDocker(r)
	c := r.open("network blue=10.32.0.0/24")
	web := d.run("aaaa1111", "web")
	want := anywhere(r.attach(c, ask(t, "blue", "web", "10.32.0.7/24@10.32.0.1")))
	if want.Target != "docker:web" || want.Name != "web" {
		t.Fatalf("got %+v", want)
	}
	d.watched()
	for _, again := range []string{"docker:web", "aaaa", "docker:aaaa1111"} {
		if got := anywhere(r.attach(c, ask(t, "blue", again))); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: got %+v, want %+v", again, got, want)
		}
	}

	web = d.stop(web)
	if p := onePort(c); p.Up || p.Name != "web" {
		t.Errorf("stopped: got %+v", p)
	}
	wantError(t, errors.New(c.Status().Degraded[0].Why), "exited", "when the container starts")
	web = d.set(web, true)
	d.say(web)
	if got := onePort(c); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("restarted: got %+v, want %+v\n%s", got, want, &r.log)
	}
	if err := c.AddFDB("blue", "02:00:00:00:00:99", "web", 0); err != nil {
		t.Fatal(err)
	}
	web.Name = "shop"
	d.set(web, false)
	d.say(web)
	want.Name, want.Target = "shop", "docker:shop"
	if got := onePort(c); fmt.Sprint(got) != fmt.Sprint(want) || c.statics[0].Target != "docker:shop" {
		t.Errorf("renamed: got %+v, %+v, want %+v", got, c.statics, want)
	}
	web.Name = "idle" // also while it is stopped
	web = d.stop(web)
	if p := onePort(c); p.Up || p.Name != "idle" {
		t.Errorf("renamed while stopped: got %+v", p)
	}
	web.Name = "shop"
	web = d.set(web, true)
	d.say(web)
	if got := onePort(c); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("back: got %+v, want %+v", got, want)
	}

	d.remove(web)
	if got := c.Ports(); len(got) != 0 || len(c.statics) != 0 || len(c.state().Endpoints) != 0 {
		t.Errorf("removed: got %+v", got)
	}
	d.run("bbbb2222", "shop")
	if got := onePort(c); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("made anew: got %+v, want %+v", got, want)
	}
	if err := c.Detach("blue", "bbbb"); err != nil || len(c.Ports()) != 0 {
		t.Errorf("detach by id: %v, left %+v", err, c.Ports())
	}
}

// Published ports follow a container that is renamed, and not its name, also where
// another takes that, and while the switch is down.
func TestDockerRenamePublished(t *testing.T) {
	r := newExposed(t)
	d := newFakeDocker(r)
	c := r.open("network blue=10.32.0.0/24,gateway=10.32.0.1")
	old, young := d.run("aaaa1111", "web"), d.run("bbbb2222", "next")
	r.attach(c, ask(t, "blue", "web", "10.32.0.7/24"))
	r.attach(c, ask(t, "blue", "next", "10.32.0.8/24"))
	d.watched()
	if _, err := c.Publish(spec.Publish{Network: "blue", Target: "docker:web", Port: 8080, To: 80}); err != nil {
		t.Fatal(err)
	}
	leads := func(what, target string) {
		t.Helper()
		got := c.Published()
		if len(got) != 1 || got[0].Target != target || got[0].Problem != "" || r.host.plan.Published[0].Target.String() != "10.32.0.7" || r.host.plan.Published[0].Comment != "blue "+target {
			t.Errorf("%s: published is %+v, rules %+v, want %s without a problem", what, got, r.host.plan.Published, target)
		}
		if s := c.state().Published; len(s) != 1 || s[0].Publish.Target != target {
			t.Errorf("%s: the state has %+v", what, s)
		}
	}
	rename := func(c Container, name string) Container {
		c.Name = name
		d.say(d.set(c, false))
		return c
	}
	old = rename(old, "former")
	leads("renamed", "docker:former")
	rename(young, "web")
	leads("another has its name", "docker:former")
	r.close(c)
	rename(old, "web") // each other's, in one step
	rename(young, "former")
	c = r.open("network blue=10.32.0.0/24,gateway=10.32.0.1")
	d.watched()
	eventually(t, "the names are Docker's", func() bool { return c.Published()[0].Target == "docker:web" })
	c.look() // waits for the end of what renamed it
	leads("renamed meanwhile", "docker:web")
	if err := c.Unpublish("blue", "docker:web", "8080:80"); err != nil || len(c.Published()) > 0 {
		t.Errorf("unpublish by the new name: %v, left %+v", err, c.Published())
	}
}

// With a container that is removed go the ports that are published for it, and what was
// exposed for them; one that is made anew under its name gets them back.
func TestDockerRemovePublished(t *testing.T) {
	r := newExposed(t)
	d := newFakeDocker(r)
	c := r.open("network blue=10.32.0.0/24,gateway=10.32.0.1", "publish blue,docker:web,9000:90")
	web := d.run("aaaa", "web")
	r.attach(c, ask(t, "blue", "web", "10.32.0.7/24"))
	d.watched()
	for _, ports := range []string{"8080:80", "5353:53/udp"} {
		p, err := spec.PublishFrom("blue", "docker:web", ports)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Publish(p); err != nil {
			t.Fatal(err)
		}
	}
	published := func() (list []string) {
		for _, p := range c.Published() {
			list = append(list, p.Ports())
		}
		return list
	}
	all, declared := []string{"5353:53/udp", "8080:80/tcp", "9000:90/tcp"}, []string{"9000:90/tcp"}
	web = d.stop(web)
	if got := published(); !slices.Equal(got, all) {
		t.Errorf("stopped: published are %q, want %q", got, all)
	}
	d.remove(web)
	if got := published(); !slices.Equal(got, declared) || len(c.state().Published) != 1 {
		t.Errorf("removed: published are %q, want %q", got, declared)
	}
	anew := d.run("bbbb", "web")
	if got := published(); !slices.Equal(got, all) {
		t.Errorf("made anew: published are %q, want %q", got, all)
	}
	for _, p := range c.Published() {
		if p.Problem != "" || p.Origin == "declared" != (p.Port == 9000) {
			t.Errorf("made anew: %+v", p)
		}
	}
	if err := c.Unpublish("blue", "docker:web", "5353:53/udp"); err != nil {
		t.Fatal(err)
	}
	r.close(c)
	c = r.open("network blue=10.32.0.0/24,gateway=10.32.0.1")
	d.watched()
	d.remove(anew)
	if got := published(); len(got) > 0 || len(r.host.plan.Links) > 0 || len(c.Status().Degraded) > 0 {
		t.Errorf("removed, and nothing is declared: published are %q, plan %+v, degraded %v", got, r.host.plan, c.Status().Degraded)
	}
}

// What has the place of a removed container by then keeps it, and a command to
// detach ends the wait.
func TestDockerVacancy(t *testing.T) {
	r := newRig(t)
	d := newFakeDocker(r)
	c := r.open("network blue=10.32.0.0/24")
	web, app := d.run("aaaa", "web"), d.run("bbbb", "app")
	r.attach(c, ask(t, "blue", "web", "10.32.0.7/24"))
	r.attach(c, ask(t, "blue", "app", "10.32.0.8/24"))
	d.watched()
	d.remove(web)
	d.remove(app)
	r.container("/run/netns/other")
	r.attach(c, ask(t, "blue", "netns:other", "10.32.0.7/24"))
	if err := c.Detach("blue", "app"); err != nil {
		t.Fatal(err)
	}
	d.run("cccc", "web")
	d.run("dddd", "app")
	if p := c.Ports(); len(p) != 1 || p[0].Name != "other" {
		t.Errorf("got %+v, want other alone", p)
	}
	if len(c.vacant) != 0 {
		t.Errorf("still waits: %+v", c.vacant)
	}
}

// What happened while Docker was not heard is found when it is, by a switch that
// was restarted too.
func TestDockerUnheard(t *testing.T) {
	r := newRig(t)
	d := newFakeDocker(r)
	c := r.open("network blue=10.32.0.0/24")
	var want []spec.PortStatus
	var all []Container
	for i, name := range []string{"a", "b", "c", "d"} {
		all = append(all, d.run(strings.Repeat(name, 8), "n"+name))
		want = append(want, anywhere(r.attach(c, ask(t, "blue", "n"+name, fmt.Sprintf("10.32.0.%d/24", 7+i)))))
	}
	d.watched()
	r.close(c)
	d.down = true
	all[1] = d.set(d.stop(all[1]), true) // restarted
	d.remove(all[2])
	d.remove(all[3])
	d.run("eeee", "nd") // made anew

	c = r.open("network blue=10.32.0.0/24")
	up := func() (names string) {
		for _, p := range c.Ports() {
			names += fmt.Sprint(" ", p.Name, " ", p.Up)
		}
		return names
	}
	if got := up(); got != " na true nb false nc false nd false" {
		t.Errorf("without Docker: %s", got)
	}
	eventually(t, "status names Docker", func() bool {
		for _, deg := range c.Status().Degraded {
			if deg.What == "docker" {
				return true
			}
		}
		return false
	})
	if _, err := c.Attach(ask(t, "blue", "new")); err == nil || c.Detach("blue", "new") == nil {
		t.Errorf("without Docker: attached %v, or detached", err)
	}
	d.mu.Lock()
	d.down = false
	d.mu.Unlock()
	eventually(t, "all are as they should be", func() bool { return up() == " na true nb true nd true" })
	for i, p := range c.Ports() {
		if w := want[[]int{0, 1, 3}[i]]; fmt.Sprint(anywhere(p)) != fmt.Sprint(w) {
			t.Errorf("got %+v, want %+v", anywhere(p), w)
		}
	}
	if got := c.Status().Degraded; len(got) != 0 {
		t.Errorf("degraded: %+v", got)
	}

	close(d.broken)
	eventually(t, "the end of Docker is noticed", func() bool { return len(c.Status().Degraded) == 1 })
	for _, p := range c.Ports() {
		if !p.Up {
			t.Errorf("%s went with Docker", p.Name)
		}
	}
}

// As long as no container is attached, Docker is left alone.
func TestDockerLeftAlone(t *testing.T) {
	r := newRig(t)
	d := newFakeDocker(r)
	c := r.open("network blue=10.32.0.0/24")
	r.container("/run/netns/a")
	r.attach(c, ask(t, "blue", "netns:a"))
	if err := c.Detach("blue", "web"); err != nil {
		t.Error(err)
	}
	time.Sleep(20 * time.Millisecond)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.watch != nil {
		t.Error("Docker is watched for nobody")
	}
}

func TestDockerRefuses(t *testing.T) {
	r := newRig(t)
	d := newFakeDocker(r)
	c := r.open("network blue=10.32.0.0/24")
	d.set(Container{ID: "aaaa", Name: "idle", State: "created"}, false)
	frozen := d.run("bbbb", "frozen")
	frozen.State = "paused"
	d.set(frozen, false)
	onHost := d.run("cccc", "onhost")
	r.mu.Lock()
	host := *r.containers["/proc/self/ns/net"]
	host.ns.Path = pidPath(fmt.Sprint(onHost.PID))
	r.containers[host.ns.Path] = &host
	r.mu.Unlock()
	ended := d.run("dddd", "ended")
	r.kill(pidPath(fmt.Sprint(ended.PID)))
	for target, words := range map[string][]string{
		"idle":   {"idle", "created", "docker start idle"},
		"frozen": {"frozen", "docker unpause frozen"},
		"onhost": {"onhost", "--network none"},
		"ended":  {"ended", "try again"},
		"nobody": {"nobody", "docker ps -a", "netns:NAME"},
	} {
		_, err := c.Attach(ask(t, "blue", target))
		wantError(t, err, words...)
	}
	if len(c.Ports()) != 0 || len(c.vacant) != 0 {
		t.Errorf("left: %+v", c.Ports())
	}
	r.docker = nil
	c = r.open("network blue=10.32.0.0/24")
	_, err := c.Attach(ask(t, "blue", "idle"))
	wantError(t, err, "netns:NAME")
}

// A file attaches containers as a command does, and they are followed from then
// on. One that is stopped keeps its place; a new one that is stopped is refused.
func TestDockerApplied(t *testing.T) {
	r := newRig(t)
	d := newFakeDocker(r)
	c := r.open()
	web := d.run("aaaa1111", "web")
	d.run("bbbb2222", "app")
	const text = `
networks:
  - {name: blue, prefixes: [10.32.0.0/24]}
attachments:
  - {network: blue, target: web, addresses: [10.32.0.7/24]}
  - {network: blue, target: "docker:bbbb", addresses: [10.32.0.8/24]}
fdb:
  - {network: blue, mac: "02:00:00:00:00:99", to: "docker:web"}
`
	r.applied(c, text)
	if p := c.Ports(); len(p) != 2 || p[0].Target != "docker:app" || p[1].Target != "docker:web" || !p[0].Up || !p[1].Up {
		t.Fatalf("got %+v", p)
	}
	d.watched()
	if got := r.applied(c, text); got != "" {
		t.Errorf("applied again: %s", got)
	}
	if got := r.applied(c, r.exported(c)); got != "" {
		t.Errorf("applied what was exported: %s", got)
	}
	web = d.stop(web)
	if got := r.applied(c, text); got != "" {
		t.Errorf("applied while one is stopped: %s", got)
	}
	d.say(d.set(web, true))
	for _, p := range c.Ports() {
		if !p.Up {
			t.Errorf("%s is not followed", p.Name)
		}
	}
	d.set(Container{ID: "cccc", Name: "idle", State: "created"}, false)
	_, err := apply(c, strings.Replace(text, "target: web", "target: idle", 1), false)
	wantError(t, err, "host.yaml:5", "docker start idle")
}
