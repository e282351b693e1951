package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weft/internal/lab"
)

// Host is a namespace with a weft daemon in it.
type Host struct {
	*lab.NS
	t    testing.TB // at present: a subtest may borrow the host
	dir  string     // socket, state and logs
	args []string
	env  []string  // of the daemon, besides that of the test
	via  string    // the program that starts the daemon; empty: none
	proc *lab.Proc // nil while the daemon is down
	runs int
}

// newHost makes a host without starting its daemon.
func newHost(t testing.TB, l *lab.Lab, name string) *Host {
	t.Helper()
	ns, err := l.Host(name)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp(scratch, "h") // short: a socket's path has at most 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	h := &Host{NS: ns, t: t, dir: dir}
	t.Cleanup(func() {
		h.t = t
		h.Stop()
		h.report()
	})
	return h
}

// Start starts the daemon and waits until it answers. The line is what follows
// `weft run`.
func (h *Host) Start(line string) {
	h.t.Helper()
	h.args = strings.Fields(line)
	h.spawn()
	h.waitReady()
}

// Restart starts a daemon that was stopped or killed, with the same arguments.
func (h *Host) Restart() {
	h.t.Helper()
	h.spawn()
	h.waitReady()
}

func (h *Host) spawn() {
	h.t.Helper()
	path, err := weftBinary()
	if err != nil {
		h.t.Fatal(err)
	}
	h.runs++
	logPath := h.logPath()
	logFile, err := os.Create(logPath)
	if err != nil {
		h.t.Fatal(err)
	}
	defer logFile.Close()
	args := append([]string{"run", "--socket", h.socket(), "--state-dir", filepath.Join(h.dir, "state")}, otherwise(h.args)...)
	cmd := exec.Command(path, args...)
	if h.via != "" {
		cmd = exec.Command(h.via, append([]string{path}, args...)...)
	}
	cmd.Stdout, cmd.Stderr, cmd.Env = logFile, logFile, append(os.Environ(), h.env...)
	if h.proc, err = h.NS.Start(cmd); err != nil {
		h.t.Fatal(err)
	}
}

// otherwise returns the arguments of a daemon, changed as the environment of the
// tests wants: all tests pass with every accelerator on and off, and by either
// carrier. What a test sets itself stays.
func otherwise(args []string) []string {
	args = slices.Clone(args)
	if accel := os.Getenv("WEFT_TEST_ACCEL"); accel != "" && !strings.Contains(strings.Join(args, " "), "--accel") {
		args = append(args, "--accel="+accel)
	}
	encap := os.Getenv("WEFT_TEST_ENCAP")
	for i, a := range args {
		if encap != "" && i > 0 && args[i-1] == "--peer" && !strings.Contains(a, ",encap=") && !strings.Contains(a, ",seq") {
			args[i] += ",encap=" + encap
		}
	}
	return args
}

func (h *Host) socket() string  { return filepath.Join(h.dir, "s") }
func (h *Host) logPath() string { return filepath.Join(h.dir, fmt.Sprintf("log%d", h.runs)) }

func (h *Host) waitReady() {
	h.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		a := h.CLI("status -o json")
		if a.code == 0 {
			return
		}
		select {
		case <-h.proc.Done():
			h.t.Fatalf("%s: daemon ended: %v", h.Name(), h.proc.Wait())
		default:
		}
		if time.Now().After(deadline) {
			h.t.Fatalf("%s: daemon does not answer: %s", h.Name(), a.err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// Stop ends the daemon by SIGTERM, which it must obey.
func (h *Host) Stop() {
	h.t.Helper()
	if h.proc == nil {
		return
	}
	h.atHome()
	if err := h.proc.Stop(5 * time.Second); err != nil {
		h.t.Errorf("%s: daemon ended by SIGTERM: %v, want exit 0", h.Name(), err)
	}
	h.proc = nil
}

// atHome checks that the daemon's first thread, whose namespace it takes for its
// host's, is still there.
func (h *Host) atHome() {
	h.t.Helper()
	is, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", h.proc.PID()))
	if err != nil { // it has ended
		return
	}
	var want string
	if err := h.Do(func() (err error) { want, err = os.Readlink("/proc/thread-self/ns/net"); return err }); err != nil {
		h.t.Error(err)
	}
	if is != want {
		h.t.Errorf("%s: the first thread of the daemon is in %s, its host is %s", h.Name(), is, want)
	}
}

// Kill ends the daemon as a crash would.
func (h *Host) Kill() {
	h.proc.Kill()
	h.proc = nil
}

var crash = regexp.MustCompile(`(?m)^(panic:|fatal error:|WARNING: DATA RACE|SIGSEGV|unexpected fault)`)

// report looks for a crash in the logs, and prints those of a test that failed.
func (h *Host) report() {
	for ; h.runs > 0; h.runs-- {
		b, err := os.ReadFile(h.logPath())
		if err != nil {
			h.t.Error(err)
			continue
		}
		if m := crash.Find(b); m != nil {
			h.t.Errorf("%s: log has %q", h.Name(), m)
		}
		if h.t.Failed() {
			if len(b) > 16<<10 {
				b = append([]byte("[...]\n"), b[len(b)-16<<10:]...)
			}
			h.t.Logf("log %d of %s:\n%s", h.runs, h.Name(), b)
		}
	}
}

// CLI runs one command against the daemon.
func (h *Host) CLI(line string, args ...string) answer {
	h.t.Helper()
	return weft(h.t, "--socket "+h.socket()+" "+line, args...)
}

// Weft runs a command that must succeed.
func (h *Host) Weft(line string, args ...string) string {
	h.t.Helper()
	a := h.CLI(line, args...)
	if a.code != 0 {
		h.t.Fatalf("%s: weft %s: exit %d: %s", h.Name(), line, a.code, a.err)
	}
	return a.out
}

// startRefused runs a daemon in the foreground that shall refuse to start.
func (h *Host) startRefused(line string) answer {
	h.t.Helper()
	path, err := weftBinary()
	if err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	cmd := h.Command(ctx, path, strings.Fields(line)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := h.Run(cmd); ctx.Err() != nil {
		h.t.Errorf("weft %s: still running after 5 s: %v", line, err)
	}
	return answer{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

var age = regexp.MustCompile(`"age_seconds": \d+`)

// held counts what the daemon holds: "fd" or "task", threads.
func (h *Host) held(what string) int {
	h.t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/%s", h.proc.PID(), what))
	if err != nil {
		h.t.Fatal(err)
	}
	return len(entries)
}

// goroutines ends the daemon by SIGQUIT, at which the Go runtime prints every
// goroutine, and returns how many there were of each function that started one.
func (h *Host) goroutines() map[string]int {
	h.t.Helper()
	if err := h.proc.Signal(unix.SIGQUIT); err != nil {
		h.t.Fatal(err)
	}
	<-h.proc.Done()
	h.proc = nil
	b, err := os.ReadFile(h.logPath())
	if err != nil {
		h.t.Fatal(err)
	}
	counts := map[string]int{}
	for _, m := range startedBy.FindAllSubmatch(b, -1) {
		counts[string(m[1])]++
	}
	return counts
}

var startedBy = regexp.MustCompile(`(?m)^created by (weft\S+) in goroutine`)

// alive fails the test where the daemon has ended.
func (h *Host) alive() {
	h.t.Helper()
	select {
	case <-h.proc.Done():
		h.t.Fatalf("%s: daemon ended: %v", h.Name(), h.proc.Wait())
	default:
	}
	if err := h.proc.Signal(unix.Signal(0)); err != nil {
		h.t.Fatalf("%s: daemon: %v", h.Name(), err)
	}
}

// Container is a namespace to be attached.
type Container struct {
	*lab.NS
	t    testing.TB
	Addr netip.Addr
}

// newContainer makes a namespace. It speaks no IPv6 unless the test wants it:
// what the kernel sends by itself would blur the counts.
func newContainer(t testing.TB, l *lab.Lab, name, addr string) *Container {
	t.Helper()
	ns, err := l.Host(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, conf := range []string{"all", "default"} {
		if err := ns.SetSysctl("ipv6/conf/"+conf+"/disable_ipv6", "1"); err != nil {
			t.Fatal(err)
		}
	}
	return &Container{NS: ns, t: t, Addr: netip.MustParseAddr(addr)}
}

func (c *Container) target() string { return "netns:" + c.Name() }

// attach attaches c to a network of h with a /24 and further options.
func (h *Host) attach(network string, c *Container, options ...string) {
	h.t.Helper()
	h.Weft(fmt.Sprintf("attach %s %s %s/24 %s", network, c.target(), c.Addr, strings.Join(options, " ")))
}
