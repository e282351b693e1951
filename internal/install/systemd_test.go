package install

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weft/internal/lab"
)

// boot starts systemd as the first process of namespaces of its own, with units and
// nothing else: $1 is its directory, where weft is installed, $2 its control group.
const boot = `set -e
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /var/lib
mount -t tmpfs tmpfs /etc/systemd
mkdir -p /run/systemd/system /run/lock /run/netns
cp $1/usr/lib/systemd/system/weft.service /run/systemd/system/
cp -r $1/units/* /run/systemd/system/
[ -d /etc/weft ] || { mkdir $1/etc.upper $1/etc.work; mount -t overlay -o lowerdir=/etc,upperdir=$1/etc.upper,workdir=$1/etc.work overlay /etc; mkdir -p /etc/weft; }
mount --bind $1/etc/weft /etc/weft
mount --bind $1/console /dev/console
mount --make-rshared / # as systemd does where it is not in a container
export container=weft
exec /lib/systemd/systemd --system --unit=test.target --log-target=console --log-level=info`

// machine is a systemd with the unit of weft.
type machine struct {
	t     *testing.T
	root  string
	proc  *lab.Proc
	first int // the process id of systemd, seen from here
}

// bootMachine installs weft and starts a systemd with its unit, a stand-in for Docker's,
// and a target that wants both. What it cannot do here skips the test with what it said.
func bootMachine(t *testing.T) *machine {
	t.Helper()
	lab.Need(t, "systemd", "/lib/systemd/systemd", "systemctl")
	lab.Need(t, "util-linux", "unshare", "nsenter")
	build(t)
	l := lab.ForTest(t)
	host, err := l.Host("machine")
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{t: t}
	if m.root, err = os.MkdirTemp("", "weftsys"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(m.root) })
	run(t, "make", "-C", "../..", "-o", "build", "-o", "man", "install", "DESTDIR="+m.root, "PREFIX=/usr")
	unit := read(t, filepath.Join(m.root, "usr/lib/systemd/system/weft.service"))
	m.write("usr/lib/systemd/system/weft.service", strings.ReplaceAll(unit, "=/usr/bin/weft", "="+m.root+"/usr/bin/weft"))
	m.write("console", "")
	m.write("units/test.target", "[Unit]\nWants=docker.service weft.service\nAfter=docker.service weft.service\n")
	m.write("units/docker.service", "[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart="+m.root+"/usr/bin/weft status\n")
	// Without what only a whole machine has: sysinit.target and what it wants.
	m.write("units/weft.service.d/here.conf", "[Unit]\nDefaultDependencies=no\n")

	group, err := newGroup(host.Name())
	if err != nil {
		t.Skipf("no control group of version 2 here for a systemd: %v", err)
	}
	t.Cleanup(group.remove)
	cmd := exec.Command("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--mount", "--ipc", "--uts", "--cgroup", "--propagation", "private", "sh", "-c", boot, "sh", m.root)
	cmd.SysProcAttr = &unix.SysProcAttr{UseCgroupFD: true, CgroupFD: int(group.dir.Fd())}
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	if m.proc, err = host.Start(cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		m.proc.Kill()
		if t.Failed() {
			t.Logf("console:\n%s%s", &said, read(t, filepath.Join(m.root, "console")))
		}
	})
	m.wait("systemd runs", func() bool {
		m.first = childOf(m.proc.PID())
		return m.first != 0 && comm(m.first) == "systemd"
	})
	m.wait("the units are up", func() bool { return m.show("test.target", "ActiveState") == "active" })
	return m
}

func (m *machine) write(name, text string) {
	m.t.Helper()
	path := filepath.Join(m.root, name)
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = os.WriteFile(path, []byte(text), 0o644)
	}
	if err != nil {
		m.t.Fatal(err)
	}
}

// wait waits until f holds.
func (m *machine) wait(what string, f func() bool) {
	m.t.Helper()
	for deadline := time.Now().Add(time.Minute); !f(); time.Sleep(20 * time.Millisecond) {
		select {
		case <-m.proc.Done():
			m.t.Fatalf("not so: %s: systemd ended: %v", what, m.proc.Wait())
		default:
		}
		if time.Now().After(deadline) {
			m.t.Fatalf("not within a minute: %s", what)
		}
	}
}

// in runs a program inside the machine.
func (m *machine) in(words ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "nsenter", append([]string{"--target", strconv.Itoa(m.first), "--all", "--"}, words...)...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// must is in for what must succeed.
func (m *machine) must(words ...string) string {
	m.t.Helper()
	out, err := m.in(words...)
	if err != nil {
		m.t.Fatalf("%s: %v: %s", strings.Join(words, " "), err, out)
	}
	return out
}

// show returns a property of a unit.
func (m *machine) show(unit, property string) string {
	out, _ := m.in("systemctl", "show", "--value", "--property", property, unit)
	return out
}

func (m *machine) weft(words ...string) string {
	m.t.Helper()
	return m.must(append([]string{m.root + "/usr/bin/weft"}, words...)...)
}

// mainPID returns the process id of the switch, as the machine has it.
func (m *machine) mainPID() string { return m.show("weft.service", "MainPID") }

// A real systemd runs the unit as it is installed: started before Docker, with the
// five capabilities, restarted when it is killed, stopped when it is told to.
func TestSystemd(t *testing.T) {
	m := bootMachine(t)
	if got := m.show("weft.service", "ActiveState"); got != "active" {
		t.Fatalf("weft.service is %s", got)
	}
	if got := m.show("docker.service", "Result"); got != "success" { // weft status, which needs a switch that answers
		t.Errorf("docker.service started before weft answered: %s", got)
	}
	if before := m.show("weft.service", "Before"); !strings.Contains(before, "docker.service") {
		t.Errorf("the unit is before %s", before)
	}
	status := m.must("cat", "/proc/"+m.mainPID()+"/status")
	for _, set := range []string{"CapPrm", "CapEff", "CapBnd"} {
		if want := fmt.Sprintf("%s:\t%016x\n", set, capabilityMask()); !strings.Contains(status, want) {
			t.Errorf("status of the switch lacks %q:\n%s", want, status)
		}
	}
	if !strings.Contains(status, "NoNewPrivs:\t1\n") || !strings.Contains(status, "Seccomp:\t0\n") {
		t.Errorf("no_new_privs or seccomp are otherwise:\n%s", status)
	}
	m.weft("network", "add", "blue", "10.9.0.0/24,gateway=10.9.0.254")
	m.must("ip", "netns", "add", "web")
	m.weft("attach", "blue", "netns:web", "10.9.0.1/24")
	m.weft("expose", "blue")
	m.weft("publish", "blue", "netns:web", "80:8080")

	killed := m.mainPID()
	since, at := time.Now(), monotonic(t)
	m.must("kill", "-9", killed)
	m.wait("it is restarted", func() bool {
		pid := m.mainPID()
		return pid != killed && pid != "0" && m.show("weft.service", "ActiveState") == "active"
	})
	t.Logf("killed: started again after %v, answered this test after %v", m.started()-at, time.Since(since).Round(time.Millisecond))
	if got := m.show("weft.service", "RestartUSec"); got != "100ms" {
		t.Errorf("it is restarted after %s", got)
	}
	if got := m.show("weft.service", "NRestarts"); got != "1" {
		t.Errorf("%s restarts", got)
	}
	if out := m.weft("status"); !strings.Contains(out, "10.9.0.1/24") || !strings.Contains(out, "weft-blue") {
		t.Errorf("after the restart:\n%s", out)
	}
	m.must("systemctl", "restart", "weft.service")
	m.weft("status", "--check")
	if _, err := m.in("systemctl", "reload", "weft.service"); err == nil {
		t.Error("the unit can be reloaded, which docs/install.md does not say")
	}
	pid := m.mainPID()
	since = time.Now()
	m.must("systemctl", "stop", "weft.service")
	if got, took := m.show("weft.service", "Result"), time.Since(since); got != "success" || took > 5*time.Second {
		t.Errorf("stop: %s, after %v", got, took)
	}
	if _, err := os.Stat("/proc/" + strconv.Itoa(m.first) + "/root/proc/" + pid); err == nil {
		t.Error("it runs after a stop")
	}
	if rules := m.must("nft", "list", "ruleset"); !strings.Contains(rules, "dport 80 ") {
		t.Errorf("a stop took the rules away:\n%s", rules)
	}
	m.weft("cleanup")
	if rules := m.must("nft", "list", "ruleset"); strings.Contains(rules, "weft") {
		t.Errorf("after cleanup there is\n%s", rules)
	}
	m.must("systemctl", "start", "weft.service")
	m.weft("status", "--check")
	m.must("systemctl", "stop", "weft.service")

	// What does not parse is not tried again.
	m.must("sh", "-c", "printf '[Service]\\nExecStart=\\nExecStart="+m.root+"/usr/bin/weft run --nonsense\\n' >/run/systemd/system/weft.service.d/bad.conf")
	m.must("systemctl", "daemon-reload")
	m.in("systemctl", "start", "weft.service")
	m.wait("it stays down", func() bool { return m.show("weft.service", "ActiveState") == "failed" })
	if got := m.show("weft.service", "ExecMainStatus"); got != "2" {
		t.Errorf("ended with %s", got)
	}
}

// started returns when the switch that runs was started, by the clock of monotonic.
func (m *machine) started() time.Duration {
	n, _ := strconv.Atoi(m.show("weft.service", "ExecMainStartTimestampMonotonic"))
	return time.Duration(n) * time.Microsecond
}

// monotonic returns the clock that systemd goes by.
func monotonic(t *testing.T) time.Duration {
	t.Helper()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		t.Fatal(err)
	}
	return time.Duration(now.Nano())
}

// childOf returns the only child of a process; 0: none.
func childOf(pid int) int {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	child, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	return child
}

func comm(pid int) string {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return strings.TrimSpace(string(b))
}

// group is a control group, of version 2, for one systemd.
type group struct{ dir *os.File }

func newGroup(name string) (*group, error) {
	for _, root := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		var st unix.Statfs_t
		if unix.Statfs(root, &st) != nil || st.Type != unix.CGROUP2_SUPER_MAGIC {
			continue
		}
		path := filepath.Join(root, name)
		if err := os.Mkdir(path, 0o755); err != nil {
			return nil, err
		}
		dir, err := os.Open(path)
		return &group{dir}, err
	}
	return nil, fmt.Errorf("it is not mounted")
}

// remove removes the group and those below, whose processes have been killed.
func (g *group) remove() {
	defer g.dir.Close()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		var dirs []string
		_ = filepath.WalkDir(g.dir.Name(), func(path string, d os.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
		for i := len(dirs) - 1; i >= 0; i-- {
			_ = os.Remove(dirs[i]) // fails while something is in it
		}
		if _, err := os.Stat(g.dir.Name()); err != nil {
			return
		}
	}
}
