package e2e

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"weft/internal/lab"
	"weft/internal/lab/dockerd"
)

// dockerHost is a host with a Docker engine beside its switch.
type dockerHost struct {
	*Host
	engine *dockerd.Engine
}

// newDockerHost makes a host and starts its engine, but not its switch.
func newDockerHost(t *testing.T, l *lab.Lab, name string) *dockerHost {
	t.Helper()
	h := newHost(t, l, name)
	return h.withDocker(t, func(dir string) (*dockerd.Engine, error) { return dockerd.Start(t.Context(), h.NS, dir) })
}

// withDocker starts an engine beside h's switch, which must not run yet where it is
// to know of it.
func (h *Host) withDocker(t *testing.T, start func(dir string) (*dockerd.Engine, error)) *dockerHost {
	t.Helper()
	dir, err := os.MkdirTemp(scratch, "d")
	if err != nil {
		t.Fatal(err)
	}
	e, err := start(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	h.env = []string{"DOCKER_HOST=" + e.Host()}
	return &dockerHost{h, e}
}

// docker runs a command of Docker that must succeed.
func (d *dockerHost) docker(line string) string {
	d.t.Helper()
	out, err := d.engine.Docker(d.t.Context(), strings.Fields(line)...)
	if err != nil {
		d.t.Fatal(err)
	}
	return out
}

// inside runs a program of the host in the network of a container.
func (d *dockerHost) inside(container string, words ...string) string {
	d.t.Helper()
	pid, err := d.engine.PID(d.t.Context(), container)
	if err != nil {
		d.t.Fatal(err)
	}
	out, err := d.Output(d.t.Context(), "nsenter", append([]string{fmt.Sprintf("--net=/proc/%d/ns/net", pid)}, words...)...)
	if err != nil {
		d.t.Fatal(err)
	}
	return out
}

// up waits until a container has its port, and returns that.
func (d *dockerHost) up(name string) (p port) {
	d.t.Helper()
	d.until(func() string {
		s := d.status()
		i := slices.IndexFunc(s.Ports, func(p port) bool { return p.Name == name })
		if i < 0 || !s.Ports[i].Up {
			return fmt.Sprintf("%s is not attached: %+v", name, s.Degraded)
		}
		p = s.Ports[i]
		return ""
	})
	return p
}

// gone waits until nothing knows of a port any more.
func (d *dockerHost) gone(name string) {
	d.t.Helper()
	d.until(func() string {
		if slices.ContainsFunc(d.status().Ports, func(p port) bool { return p.Name == name }) {
			return name + " is not forgotten"
		}
		return ""
	})
	d.until(func() string { // written right behind
		if b, err := os.ReadFile(filepath.Join(d.Host.dir, "state", "state.json")); err != nil || strings.Contains(string(b), `"docker:`+name+`"`) {
			return fmt.Sprintf("the state still knows %s: %v", name, err)
		}
		return ""
	})
}

// same checks that a container has the interface that p describes, alone.
func (d *dockerHost) same(name string, p port) {
	d.t.Helper()
	var links []struct {
		Name  string `json:"ifname"`
		MAC   string `json:"address"`
		MTU   int    `json:"mtu"`
		Addrs []struct {
			Local string `json:"local"`
			Len   int    `json:"prefixlen"`
			Scope string `json:"scope"`
		} `json:"addr_info"`
	}
	parse(d.t, "ip addr", d.inside(name, "ip", "-j", "addr"), &links)
	var got []string
	for _, l := range links {
		if l.Name == "lo" {
			continue
		}
		for _, a := range l.Addrs {
			if a.Scope == "global" {
				got = append(got, fmt.Sprintf("%s %s %d %s/%d", l.Name, l.MAC, l.MTU, a.Local, a.Len))
			}
		}
	}
	if want := fmt.Sprintf("%s %s %d %s", p.IfName, p.MAC, p.MTU, p.Addresses[0]); len(got) != 1 || got[0] != want {
		d.t.Errorf("%s has %q, want %q", name, got, want)
	}
}

// until waits until f finds nothing to complain of any more.
func (d *dockerHost) until(f func() string) {
	d.t.Helper()
	eventually(d.t, 30*time.Second, f)
}

// reaches has a container ping an address.
func (d *dockerHost) reaches(container, addr string) {
	d.t.Helper()
	if out := d.docker("exec " + container + " ping -c 3 -W 5 " + addr); !strings.Contains(out, " 0% packet loss") {
		d.t.Errorf("%s does not reach %s: %s", container, addr, out)
	}
}

// Two hosts with a Docker engine each: containers made with --network none find
// each other, and keep their places whatever happens to them, the switch or Docker.
func TestDocker(t *testing.T) {
	t.Parallel()
	dockerd.Need(t)
	lab.Need(t, "iproute2", "ip")
	l := lab.ForTest(t)
	h1, h2 := newDockerHost(t, l, "host1"), newDockerHost(t, l, "host2")
	underlay(t, l, h1.NS, h2.NS, 1500)
	h1.Start(runArgs(1, ""))
	h2.Start(runArgs(2, ""))

	id := h1.docker("run -d --stop-timeout 1 --network none --name web busybox sleep 1000")
	h2.docker("run -d --stop-timeout 1 --network none --name app busybox sleep 1000")
	h1.Weft("attach net1 docker:web 10.1.0.11/24@10.1.0.1 --mac U:web")
	h2.Weft("attach net1 app 10.1.0.12/24") // a bare name is a container's
	web := h1.up("web")
	h1.same("web", web)
	h1.reaches("web", "10.1.0.12")
	h2.reaches("app", "10.1.0.11")
	h1.dockerIperf(h2, "web", "app", "10.1.0.12")

	t.Run("named by id", func(t *testing.T) {
		h1.t, h2.t = t, t
		for _, name := range []string{id, id[:12], "docker:" + id[:4]} {
			h1.Weft("attach net1 " + name)
		}
		if ports := h1.status().Ports; len(ports) != 1 || ports[0].Target != "docker:web" {
			t.Errorf("got %+v, want web alone", ports)
		}
	})
	t.Run("restart", func(t *testing.T) {
		h1.t, h2.t = t, t
		h1.docker("restart -t 0 web")
		h1.attachedAgain("web", web)
		h2.reaches("app", "10.1.0.11")
	})
	t.Run("restart while the switch is down", func(t *testing.T) {
		h1.t = t
		h1.Kill()
		h1.docker("restart -t 0 web")
		h1.Restart()
		h1.attachedAgain("web", web)
	})
	t.Run("another of its name while the switch is down", func(t *testing.T) {
		h1.t = t
		h1.Stop()
		h1.docker("rm -f web")
		h1.docker("run -d --stop-timeout 1 --network none --name web busybox sleep 1000")
		h1.Restart()
		h1.attachedAgain("web", web)
	})
	t.Run("engine killed", func(t *testing.T) {
		h1.t = t
		h1.engine.Kill()
		h1.until(func() string {
			if slices.ContainsFunc(h1.status().Degraded, func(d degraded) bool { return d.What == "docker" }) {
				return ""
			}
			return "status does not say that Docker is gone"
		})
		oneLine(t, h1.CLI("attach net1 docker:other"), 1, "dockerd", "other")
		if !h1.up("web").Up {
			t.Error("the port went with the engine")
		}
		if err := h1.engine.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		h1.docker("start web") // an engine that starts ends what its predecessor left
		h1.attachedAgain("web", web)
		h1.until(func() string {
			if d := h1.status().Degraded; len(d) > 0 {
				return fmt.Sprintf("degraded: %+v", d)
			}
			return ""
		})
	})
	t.Run("renamed", func(t *testing.T) {
		h1.t = t
		h1.Weft("publish net1 web 8080:7777")
		h1.docker("rename web shop")
		h1.up("shop")
		h1.docker("restart -t 0 shop")
		h1.attachedAgain("shop", web)
		h1.docker("exec -d shop nc -ll -p 7777 -e /bin/echo hello")
		h1.until(func() string {
			if got := told(h1.NS, "127.0.0.1", "8080"); got != "hello\n" {
				return "the published port of a container that was renamed says " + got
			}
			return ""
		})
		if out := h1.Weft("publish ls"); !strings.Contains(out, "docker:shop") || strings.Contains(out, "not attached") {
			t.Errorf("published: %s", out)
		}
	})
	t.Run("removed and made anew", func(t *testing.T) {
		h1.t, h2.t = t, t
		h1.docker("rm -f shop")
		h1.gone("shop")
		if out := h1.Weft("publish ls"); !strings.Contains(out, "no ports are published") {
			t.Errorf("published for a container that is gone: %s", out)
		}
		if got := h1.status().Degraded; len(got) != 0 {
			t.Errorf("degraded: %+v", got)
		}
		h1.docker("run -d --stop-timeout 1 --network none --name shop busybox sleep 1000")
		h1.attachedAgain("shop", web)
		h2.reaches("app", "10.1.0.11")
		h1.until(func() string {
			if out := h1.Weft("publish ls"); !strings.Contains(out, "8080:7777") {
				return "published for a container that was made anew: " + out
			}
			return ""
		})
		h1.Weft("unpublish net1 shop")
	})
	t.Run("network of another", func(t *testing.T) {
		h1.t = t
		h1.docker("run -d --stop-timeout 1 --network container:shop --name side busybox sleep 1000")
		h1.Weft("attach net1 side")
		h1.docker("rm -f side")
		h1.same("shop", web)
		h1.docker("run -d --stop-timeout 1 --network container:shop --name side busybox sleep 1000")
		h1.Weft("detach net1 side")
		h1.gone("shop")
		h1.docker("rm -f side shop")
	})
	t.Run("refused", func(t *testing.T) {
		h1.t = t
		h1.docker("run -d --stop-timeout 1 --network host --name onhost busybox sleep 1000")
		h1.docker("create --network none --name idle busybox sleep 1000")
		h1.docker("run -d --stop-timeout 1 --network none --name frozen busybox sleep 1000")
		h1.docker("pause frozen")
		oneLine(t, h1.CLI("attach net1 onhost"), 1, "onhost", "--network none")
		oneLine(t, h1.CLI("attach net1 idle"), 1, "idle", "docker start idle")
		oneLine(t, h1.CLI("attach net1 frozen"), 1, "frozen", "docker unpause frozen")
		oneLine(t, h1.CLI("attach net1 nobody"), 1, "nobody", "docker ps -a")
		h1.Weft("detach net1 nobody") // is not attached
		h1.docker("unpause frozen")
		h1.Weft("attach net1 frozen")
		h1.docker("pause frozen")
		if p := h1.up("frozen"); !p.Up {
			t.Error("a pause took the port down")
		}
	})
	h1.t, h2.t = t, t
	h2.docker("rm -f app")
	h2.gone("app")
	for _, h := range []*dockerHost{h1, h2} {
		out, err := h.Output(t.Context(), "ip", "-o", "link", "show", "type", "tun")
		left := slices.DeleteFunc(strings.Split(out, "\n"), func(line string) bool {
			return line == "" || strings.Contains(line, ": weft-out") // the switch's own
		})
		if err != nil || len(left) > 0 {
			t.Errorf("%s: left behind: %q, %v", h.Name(), left, err)
		}
	}
}

// attachedAgain waits until a container is back in its place.
func (d *dockerHost) attachedAgain(name string, was port) {
	d.t.Helper()
	var now port
	d.until(func() string {
		now = d.up(name)
		if out := d.links(name); !strings.Contains(out, was.IfName) {
			return fmt.Sprintf("%s has no %s: %s", name, was.IfName, out)
		}
		return ""
	})
	if now.MAC != was.MAC || !slices.Equal(now.Addresses, was.Addresses) || now.IfName != was.IfName || now.MTU != was.MTU {
		d.t.Errorf("came back as %+v, was %+v", now, was)
	}
	d.same(name, was)
}

// links lists the interfaces of a container, as far as it runs.
func (d *dockerHost) links(name string) string {
	out, _ := d.engine.Docker(d.t.Context(), "exec", name, "ip", "-o", "link")
	return out
}

// dockerIperf has a container of d send to one of another host.
func (d *dockerHost) dockerIperf(to *dockerHost, from, name, addr string) {
	d.t.Helper()
	lab.Need(d.t, "iperf3", "iperf3")
	enter := func(h *dockerHost, name string) string {
		pid, err := h.engine.PID(d.t.Context(), name)
		if err != nil {
			d.t.Fatal(err)
		}
		return fmt.Sprintf("--net=/proc/%d/ns/net", pid)
	}
	cmd := to.Command(d.t.Context(), "nsenter", enter(to, name), "iperf3", "--server", "--one-off", "--forceflush", "--bind", netip.MustParseAddr(addr).String())
	ready := &signalWriter{mark: "listening", seen: make(chan struct{})}
	cmd.Stdout = ready
	server, err := to.NS.Start(cmd)
	if err != nil {
		d.t.Fatal(err)
	}
	select {
	case <-ready.seen:
	case <-server.Done():
		d.t.Fatalf("iperf3 server: %v", server.Wait())
	}
	out, err := d.Output(d.t.Context(), "nsenter", enter(d, from), "iperf3", "--client", addr, "--time", "1", "--json")
	var r iperf
	if err := json.Unmarshal([]byte(out), &r); err != nil || r.Error != "" || r.End.Received.Bytes == 0 {
		d.t.Errorf("iperf3: %v, %s", err, r.Error)
	}
	if err != nil || server.Wait() != nil {
		d.t.Errorf("iperf3: %v", err)
	}
	d.t.Logf("iperf3 %s to %s: %.2f Gbit/s", from, name, r.End.Received.Rate/1e9)
}
