package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netns"
)

func TestLinkCarriesPackets(t *testing.T) {
	l := ForTest(t)
	a, b := mustHost(t, l, "a"), mustHost(t, l, "b")
	err := l.Link(
		End{NS: a, Name: "eth0", Addrs: prefixes("10.0.0.1/24", "fd00::1/64"), MTU: 9000},
		End{NS: b, Name: "eth0", Addrs: prefixes("10.0.0.2/24", "fd00::2/64"), MTU: 9000})
	if err != nil {
		t.Fatal(err)
	}
	for _, addr := range []string{"10.0.0.2", "fd00::2"} {
		exchange(t, a, b, addr)
	}
	ifi, err := a.Interface("eth0")
	if err != nil {
		t.Fatal(err)
	}
	if ifi.MTU != 9000 {
		t.Errorf("MTU = %d, want 9000", ifi.MTU)
	}
}

func TestSwitchJoinsThree(t *testing.T) {
	l := ForTest(t)
	sw, err := l.Switch("lan")
	if err != nil {
		t.Fatal(err)
	}
	var hosts []*NS
	for i := range 3 {
		h := mustHost(t, l, fmt.Sprintf("a-host-with-a-long-name-%d", i))
		hosts = append(hosts, h)
		if err := l.Plug(sw, End{NS: h, Name: "eth0", Addrs: prefixes(fmt.Sprintf("10.0.0.%d/24", i+1))}); err != nil {
			t.Fatal(err)
		}
	}
	exchange(t, hosts[0], hosts[2], "10.0.0.3")
	exchange(t, hosts[1], hosts[0], "10.0.0.1")
}

// exchange sends one UDP datagram from a to b's address.
func exchange(t *testing.T, a, b *NS, addr string) {
	t.Helper()
	var rx, tx net.PacketConn
	mustDo(t, b, func() (err error) { rx, err = net.ListenPacket("udp", net.JoinHostPort(addr, "7000")); return })
	defer rx.Close()
	mustDo(t, a, func() (err error) { tx, err = net.ListenPacket("udp", ":0"); return })
	defer tx.Close()
	if _, err := tx.WriteTo([]byte("hello"), rx.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 16)
	rx.SetReadDeadline(time.Now().Add(5 * time.Second))
	n, _, err := rx.ReadFrom(buf)
	if err != nil || string(buf[:n]) != "hello" {
		t.Errorf("%s received %q, %v; want hello", addr, buf[:n], err)
	}
}

func TestDoComesBack(t *testing.T) {
	l := ForTest(t)
	n := mustHost(t, l, "a")
	before := ownNamespace(t)
	want, err := n.Inode()
	if err != nil {
		t.Fatal(err)
	}
	mustDo(t, n, func() error {
		if got := ownNamespace(t); got != fmt.Sprintf("net:[%d]", want) {
			t.Errorf("inside: %s, want net:[%d]", got, want)
		}
		return nil
	})
	if got := ownNamespace(t); got != before {
		t.Errorf("after Do: %s, want %s", got, before)
	}
	sentinel := errors.New("sentinel")
	if err := n.Do(func() error { return sentinel }); err != sentinel {
		t.Errorf("Do returned %v, want the function's error", err)
	}
}

func TestProcessRunsInside(t *testing.T) {
	l := ForTest(t)
	n := mustHost(t, l, "a")
	want, err := n.Inode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := n.Output(t.Context(), "readlink", "/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	if strings.TrimSpace(got) != fmt.Sprintf("net:[%d]", want) {
		t.Errorf("process is in %s, want net:[%d]", got, want)
	}
	if _, err := n.Output(t.Context(), "sh", "-c", "echo the reason >&2; exit 3"); err == nil || !strings.Contains(err.Error(), "the reason") {
		t.Errorf("error of a failed command = %v, want one that names the reason", err)
	}
}

func TestStopAndContext(t *testing.T) {
	l := ForTest(t)
	n := mustHost(t, l, "a")
	p, err := n.Start(n.Command(t.Context(), "sleep", "60"))
	if err != nil {
		t.Fatal(err)
	}
	p.Stop(5 * time.Second)
	ctx, cancel := context.WithCancel(t.Context())
	q, err := n.Start(n.Command(ctx, "sh", "-c", "sleep 60 & wait"))
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if q.Wait() == nil {
		t.Error("a process whose context ended reported success")
	}
}

func TestCloseRemovesEverything(t *testing.T) {
	l := ForTest(t)
	a, b := mustHost(t, l, "a"), mustHost(t, l, "b")
	if err := l.Link(End{NS: a, Name: "eth0"}, End{NS: b, Name: "eth0"}); err != nil {
		t.Fatal(err)
	}
	p, err := a.Start(a.Command(t.Context(), "sh", "-c", "sleep 61 & sleep 62"))
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.Done():
	default:
		t.Error("process outlived Close")
	}
	for _, n := range []*NS{a, b} {
		if _, err := os.Stat(n.Path()); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there: %v", n.Path(), err)
		}
	}
	if err := l.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	if _, err := l.Host("late"); err == nil {
		t.Error("Host worked on a closed lab")
	}
	if _, err := a.Start(exec.Command("true")); err == nil {
		t.Error("Start worked on a closed lab")
	}
}

func TestCloseAfterFailure(t *testing.T) {
	l := ForTest(t)
	a := mustHost(t, l, "a")
	if _, err := l.Host("a"); err == nil {
		t.Error("two namespaces of one name")
	}
	if err := l.Link(End{NS: a, Name: "eth0"}, End{NS: a, Name: "a-name-that-is-too-long"}); err == nil {
		t.Error("a link name over 15 bytes was taken")
	}
	if err := a.Remove(); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Errorf("Close after the namespace went: %v", err)
	}
}

func TestSweep(t *testing.T) {
	l := ForTest(t)
	mine := mustHost(t, l, "mine")
	t.Setenv("TMPDIR", t.TempDir())
	dir, err := l.Dir()
	if err != nil {
		t.Fatal(err)
	}
	dead := exec.Command("true")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("weft-%d-beef-host1", dead.ProcessState.Pid())
	left, err := (&Lab{prefix: strings.TrimSuffix(name, "host1")}).Dir()
	if err != nil {
		t.Fatal(err)
	}
	err = onThread(func() error {
		ns, err := netns.NewNamed(name)
		if err == nil {
			ns.Close()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := Sweep(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(netnsDir + "/" + name); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("leftover of a dead process is still there: %v", err)
	}
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("directory of a dead process is still there: %v", err)
	}
	for _, path := range []string{mine.Path(), dir} {
		if _, err := os.Stat(path); err != nil {
			t.Errorf("Sweep removed what is in use: %v", err)
		}
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Close left the directory: %v", err)
	}
}

func TestOwnerOf(t *testing.T) {
	for _, tt := range []struct {
		name string
		pid  int
		ok   bool
	}{
		{"weft-12-3f2a-host1", 12, true},
		{"weft-12-3f2a-", 12, true},
		{"weft-0-3f2a-a", 0, false},
		{"weft--1-a", 0, false},
		{"weft-x-a", 0, false},
		{"weft-12", 0, false},
		{"web", 0, false},
		{"", 0, false},
	} {
		pid, ok := ownerOf(tt.name)
		if ok != tt.ok || ok && pid != tt.pid {
			t.Errorf("ownerOf(%q) = %d, %v, want %d, %v", tt.name, pid, ok, tt.pid, tt.ok)
		}
	}
}

func TestFeaturesAndFiles(t *testing.T) {
	l := ForTest(t)
	a, b := mustHost(t, l, "a"), mustHost(t, l, "b")
	if err := l.Link(End{NS: a, Name: "eth0"}, End{NS: b, Name: "eth0"}); err != nil {
		t.Fatal(err)
	}
	for _, f := range []Feature{TSO, GSO, GRO, TxCsum} {
		for _, on := range []bool{false, true} {
			if err := a.SetFeature("eth0", f, on); err != nil {
				t.Error(err)
			}
		}
	}
	if err := a.SetFeature("eth9", TSO, false); err == nil {
		t.Error("set a feature of an interface that does not exist")
	}
	if err := a.SetLinkFile("eth0", "gro_flush_timeout", "5000000"); err != nil {
		t.Error(err)
	}
	if err := a.SetLinkFile("eth9", "gro_flush_timeout", "5000000"); err == nil {
		t.Error("set a file of an interface that does not exist")
	}
	if err := a.SetSysctl("ipv4/conf/all/rp_filter", "0"); err != nil {
		t.Error(err)
	}
	if err := a.SetLink("eth0", false); err != nil {
		t.Error(err)
	}
	if err := a.RemoveLink("eth0"); err != nil {
		t.Error(err)
	}
	if _, err := b.Interface("eth0"); err == nil {
		t.Error("the far end of a removed link is still there")
	}
}

func mustHost(t *testing.T, l *Lab, name string) *NS {
	t.Helper()
	n, err := l.Host(name)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func mustDo(t *testing.T, n *NS, f func() error) {
	t.Helper()
	if err := n.Do(f); err != nil {
		t.Fatal(err)
	}
}

func prefixes(list ...string) (out []netip.Prefix) {
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func ownNamespace(t *testing.T) string {
	t.Helper()
	s, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Pdeathsig means the thread that forked: it must live as long as the process,
// whatever happens on other threads.
func TestProcessOutlivesThreads(t *testing.T) {
	l := ForTest(t)
	n := mustHost(t, l, "a")
	p, err := n.Start(n.Command(t.Context(), "sleep", "60"))
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(runtime.LockOSThread) // ends its thread
	}
	wg.Wait()
	select {
	case <-p.Done():
		t.Errorf("ended by itself: %v", p.Wait())
	case <-time.After(50 * time.Millisecond):
	}
}

func TestThreadsPinNothing(t *testing.T) {
	l := ForTest(t)
	n := mustHost(t, l, "a")
	if _, err := n.Start(n.Command(t.Context(), "sleep", "60")); err != nil {
		t.Fatal(err)
	}
	ino, err := n.Inode()
	if err != nil {
		t.Fatal(err)
	}
	links, err := filepath.Glob("/proc/self/task/*/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range links {
		if s, _ := os.Readlink(link); s == fmt.Sprintf("net:[%d]", ino) {
			t.Errorf("%s is in the namespace", link)
		}
	}
}
