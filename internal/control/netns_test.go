package control

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"weft/internal/lab"
	"weft/internal/lab/probe"
	"weft/internal/spec"
)

// host is a controller on the real machine, in the namespace of the tests.
func hostNetns(t testing.TB, dir string, networks ...string) *Controller {
	t.Helper()
	cfg := spec.Config{Name: "h1", StateDir: dir}
	for _, n := range networks {
		cfg.Networks = append(cfg.Networks, mustNetwork(t, n))
	}
	c, err := Open(Options{Config: cfg, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return c
}

func attachNetns(t testing.TB, c *Controller, a spec.Attach) spec.PortStatus {
	t.Helper()
	p, err := c.Attach(a)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func containerNetns(t testing.TB, l *lab.Lab, name string) *lab.NS {
	t.Helper()
	ns, err := l.Host(name)
	if err != nil {
		t.Fatal(err)
	}
	return ns
}

// reach checks that to answers from's ping.
func reach(t *testing.T, from *lab.NS, to netip.Addr) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := probe.Reach(ctx, from, to); err != nil {
		t.Errorf("%v", err)
	}
}

// links describes the interfaces of a container.
func links(t *testing.T, ns *lab.NS) string {
	t.Helper()
	var lines []string
	err := ns.Do(func() error {
		all, err := netlink.LinkList()
		for _, l := range all {
			addrs, _ := netlink.AddrList(l, netlink.FAMILY_V4)
			var list []string
			for _, a := range addrs {
				list = append(list, a.IPNet.String())
			}
			at := l.Attrs()
			lines = append(lines, fmt.Sprintf("%s %s %d %v", at.Name, at.HardwareAddr, at.MTU, list))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(lines, "\n")
}

func TestAttachNetns(t *testing.T) {
	l := lab.ForTest(t)
	a, b := containerNetns(t, l, "a"), containerNetns(t, l, "b")
	c := hostNetns(t, t.TempDir())
	add(t, c, "blue=10.32.0.0/24,fd32::/64,gateway=10.32.0.1")
	pa := attachNetns(t, c, ask(t, "blue", "netns:"+a.Name()))
	pb := attachNetns(t, c, ask(t, "blue", "netns:"+b.Path(), "10.32.0.9/24", "fd32::9/64"))
	for _, to := range pb.Addresses {
		reach(t, a, to.Addr())
	}
	reach(t, b, pa.Addresses[0].Addr())
	if want := fmt.Sprintf("eth1 %s 1450 [10.32.0.2/24]", pa.MAC); !strings.Contains(links(t, a), want) {
		t.Errorf("got\n%s\nwant %s", links(t, a), want)
	}
	err := a.Do(func() error {
		routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
		for _, r := range routes {
			if r.Gw.String() == "10.32.0.1" {
				return nil
			}
		}
		return fmt.Errorf("no default route: %v, %v", routes, err)
	})
	if err != nil {
		t.Error(err)
	}
	if s := c.Status(); s.Frames.In == 0 || s.Frames.In != s.Frames.Forwarded+s.Frames.Local+s.Frames.DroppedIn {
		t.Errorf("got %+v", s.Frames)
	}

	_, err = c.Attach(ask(t, "blue", "netns:"+a.Name(), "10.32.0.50/24"))
	wantError(t, err, "10.32.0.2/24", "10.32.0.50/24")
	mtu := 1300
	if _, err := c.SetNetwork("blue", spec.NetworkChange{MTU: &mtu}, false); err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("eth1 %s 1300", pa.MAC); !strings.Contains(links(t, a), want) {
		t.Errorf("got\n%s\nwant %s", links(t, a), want)
	}
	if err := c.Detach("blue", "netns:"+a.Name()); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(links(t, a), "eth1") {
		t.Errorf("left in a:\n%s", links(t, a))
	}
}

// An interface that the container has is not taken from it.
func TestAttachNameTakenNetns(t *testing.T) {
	l := lab.ForTest(t)
	a := containerNetns(t, l, "a")
	err := a.Do(func() error {
		return netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth1"}, PeerName: "other"})
	})
	if err != nil {
		t.Fatal(err)
	}
	c := hostNetns(t, t.TempDir(), "blue=10.32.0.0/24")
	before := links(t, a)
	_, err = c.Attach(ask(t, "blue", "netns:"+a.Name()))
	wantError(t, err, "eth1", "-i")
	if links(t, a) != before || len(c.Ports()) != 0 {
		t.Errorf("got\n%s\nwant\n%s", links(t, a), before)
	}
	ask := ask(t, "blue", "netns:"+a.Name())
	ask.IfName = "net0"
	attachNetns(t, c, ask)
}

// A second daemon on the host, or with the state, is refused, and by whom is said.
func TestOnlyOneNetns(t *testing.T) {
	lab.ForTest(t)
	dir := t.TempDir()
	c := hostNetns(t, dir, "blue=10.32.0.0/24")
	me := fmt.Sprintf("process %d (", os.Getpid())
	other := filepath.Join(t.TempDir(), "other")
	_, err := Open(Options{Config: spec.Config{Name: "h2", StateDir: other}})
	wantError(t, err, me, "@weft", "stop")
	if _, err := os.Stat(other); err == nil {
		t.Error("the second daemon made its state directory")
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	hostNetns(t, dir)
}

// A restart leaves the container's interface as it is and takes it up again.
func TestRestartNetns(t *testing.T) {
	l := lab.ForTest(t)
	a, b := containerNetns(t, l, "a"), containerNetns(t, l, "b")
	dir := t.TempDir()
	c := hostNetns(t, dir, "blue=10.32.0.0/24")
	attachNetns(t, c, ask(t, "blue", "netns:"+a.Name()))
	pb := attachNetns(t, c, ask(t, "blue", "netns:"+b.Name()))
	before, err := b.Interface("eth1")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	err = a.RemoveLink("eth1") // somebody tidies up meanwhile
	if err != nil {
		t.Fatal(err)
	}
	c = hostNetns(t, dir, "blue=10.32.0.0/24")
	after, err := b.Interface("eth1")
	if err != nil || after.Index != before.Index || after.HardwareAddr.String() != pb.MAC.String() {
		t.Errorf("got %+v, %v; want %+v", after, err, before)
	}
	reach(t, a, pb.Addresses[0].Addr())
	for _, p := range c.Ports() {
		if !p.Up {
			t.Errorf("%s is down", p.Name)
		}
	}
	if d := c.Status().Degraded; len(d) != 0 {
		t.Errorf("got degraded %+v", d)
	}
	if err := c.Detach("blue", "netns:"+b.Name()); err != nil || strings.Contains(links(t, b), "eth1") {
		t.Errorf("detach of a reopened TAP: %v\n%s", err, links(t, b))
	}
}

// When a container goes, so do its port and its namespace, whether the TAP was
// made by this process or opened again.
func TestContainerDiesNetns(t *testing.T) {
	for _, reopened := range []bool{false, true} {
		t.Run(fmt.Sprintf("reopened=%v", reopened), func(t *testing.T) {
			l := lab.ForTest(t)
			a := containerNetns(t, l, "a")
			dir := t.TempDir()
			c := hostNetns(t, dir, "blue=10.32.0.0/24")
			was := attachNetns(t, c, ask(t, "blue", "netns:"+a.Name()))
			if reopened {
				if err := c.Close(); err != nil {
					t.Fatal(err)
				}
				c = hostNetns(t, dir, "blue=10.32.0.0/24")
			}
			if err := a.Remove(); err != nil {
				t.Fatal(err)
			}
			eventually(t, "a is down", func() bool { return !c.Ports()[0].Up })
			eventually(t, "no descriptor is left", func() bool { return descriptors(t, "/dev/net/tun") == 0 })
			if e, _ := c.FDB(""); len(e) != 0 {
				t.Errorf("got FDB %+v", e)
			}
			b := containerNetns(t, l, "b")
			if _, err := c.Attach(ask(t, "blue", "netns:"+b.Name(), was.Addresses[0].String())); err == nil {
				t.Error("the address of a port that is down was given away")
			}
			if err := c.Detach("blue", "netns:"+a.Name()); err != nil {
				t.Error(err)
			}
		})
	}
}

// descriptors counts the open files of this process whose path starts with prefix.
func descriptors(t *testing.T, prefix string) (n int) {
	t.Helper()
	fds, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if link, err := os.Readlink(fd); err == nil && strings.HasPrefix(link, prefix) {
			n++
		}
	}
	return n
}

// A new container under the old name gets the same address and MAC.
func TestContainerReplacedNetns(t *testing.T) {
	l := lab.ForTest(t)
	a, b := containerNetns(t, l, "a"), containerNetns(t, l, "b")
	c := hostNetns(t, t.TempDir(), "blue=10.32.0.0/24")
	was := attachNetns(t, c, ask(t, "blue", "netns:"+a.Name()))
	attachNetns(t, c, ask(t, "blue", "netns:"+b.Name()))
	if err := a.Remove(); err != nil {
		t.Fatal(err)
	}
	a = containerNetns(t, l, "a")
	now := attachNetns(t, c, ask(t, "blue", "netns:"+a.Name()))
	if now.MAC != was.MAC || now.Addresses[0] != was.Addresses[0] || !now.Up {
		t.Errorf("got %+v, want %+v", now, was)
	}
	reach(t, b, now.Addresses[0].Addr())
	if err := a.RemoveLink("eth1"); err != nil {
		t.Fatal(err)
	}
	attachNetns(t, c, ask(t, "blue", "netns:"+a.Name())) // made again
	reach(t, b, now.Addresses[0].Addr())
}

// A process that ends takes its port with it, for good, also while its parent has
// not waited for it.
func TestProcessNetns(t *testing.T) {
	for _, waited := range []bool{true, false} {
		t.Run(fmt.Sprint("waited for ", waited), func(t *testing.T) {
			l := lab.ForTest(t)
			holder := containerNetns(t, l, "a")
			cmd := exec.Command("sleep", "60")
			if err := holder.Do(cmd.Start); err != nil {
				t.Fatal(err)
			}
			wait := sync.OnceFunc(func() { _ = cmd.Wait() })
			defer wait()
			defer func() { _ = cmd.Process.Kill() }()
			c := hostNetns(t, t.TempDir(), "blue=10.32.0.0/24")
			target := fmt.Sprintf("pid:%d", cmd.Process.Pid)
			got := attachNetns(t, c, ask(t, "blue", target))
			if want := fmt.Sprintf("pid-%d", cmd.Process.Pid); got.Name != want || c.endpointList()[0].Life.StartTime == 0 {
				t.Errorf("got %+v", got)
			}
			attachNetns(t, c, ask(t, "blue", target))
			if err := holder.Remove(); err != nil { // the process alone holds the namespace now
				t.Fatal(err)
			}
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			if waited {
				wait()
			}
			eventually(t, "the port is forgotten", func() bool { return len(c.Ports()) == 0 })
			if _, err := c.Attach(ask(t, "blue", target)); err == nil {
				t.Error("attached to a process that ended")
			}
		})
	}
}

// Close leaves no goroutine and no descriptor.
func TestNothingIsLeftNetns(t *testing.T) {
	l := lab.ForTest(t)
	a := containerNetns(t, l, "a")
	dir := t.TempDir()
	round := func() {
		c := hostNetns(t, dir, "blue=10.32.0.0/24")
		attachNetns(t, c, ask(t, "blue", "netns:"+a.Name()))
		if _, err := c.AddPeer(mustPeer(t, "h2=192.0.2.2")); err != nil {
			t.Fatal(err)
		}
		c.Status()
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	round()
	goroutines, files := runtime.NumGoroutine(), descriptors(t, "")
	for range 5 {
		round()
	}
	eventually(t, "goroutines and descriptors are as before", func() bool {
		return runtime.NumGoroutine() <= goroutines && descriptors(t, "") <= files
	})
}

// BenchmarkRestart is what a container notices of a restart: from Open to the
// moment that all ports carry frames.
func BenchmarkRestart(b *testing.B) {
	for _, ports := range []int{1, 100} {
		b.Run(fmt.Sprintf("ports=%d", ports), func(b *testing.B) {
			l := lab.ForTest(b)
			dir := b.TempDir()
			c := hostNetns(b, dir, "blue=10.32.0.0/16")
			for i := range ports {
				attachNetns(b, c, ask(b, "blue", "netns:"+containerNetns(b, l, fmt.Sprint("c", i)).Name()))
			}
			if err := c.Close(); err != nil {
				b.Fatal(err)
			}
			b.ResetTimer()
			for b.Loop() {
				c := hostNetns(b, dir, "blue=10.32.0.0/16")
				b.StopTimer()
				for _, p := range c.Ports() {
					if !p.Up {
						b.Fatalf("%s is down", p.Name)
					}
				}
				if err := c.Close(); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		})
	}
}
