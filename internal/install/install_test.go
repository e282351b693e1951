package install

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weft/internal/lab"
	"weft/internal/lab/probe"
)

// run runs a program to its end, which must be a good one.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "MAKE") }) // of a make around this test
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, &out)
	}
	return out.String()
}

var once sync.Once

// build makes the program and its manual.
func build(t *testing.T) {
	t.Helper()
	once.Do(func() { run(t, "make", "-C", "../..", "build", "man") })
}

// files lists what is below dir.
func files(t *testing.T, dir string) (list []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(dir, path) // below dir
			list = append(list, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// What make install puts below DESTDIR is whole, and make uninstall takes it away,
// but for the configuration, which neither overwrites.
func TestMakeInstall(t *testing.T) {
	build(t)
	dest := t.TempDir()
	run(t, "make", "-C", "../..", "-o", "build", "-o", "man", "install", "DESTDIR="+dest)
	for _, want := range []string{
		"usr/local/bin/weft", "usr/local/lib/systemd/system/weft.service", "etc/weft/weft.yaml", "usr/local/share/doc/weft/cli.md",
		"usr/local/share/man/man8/weft.8", "usr/local/share/man/man8/weft-network-add.8", "usr/local/share/bash-completion/completions/weft",
		"usr/local/share/zsh/vendor-completions/_weft", "usr/local/share/fish/vendor_completions.d/weft.fish",
	} {
		if fi, err := os.Stat(filepath.Join(dest, want)); err != nil || fi.Size() < 200 {
			t.Errorf("%s: %v, want more than that", want, err)
		}
	}
	unit := read(t, filepath.Join(dest, "usr/local/lib/systemd/system/weft.service"))
	if !strings.Contains(unit, "ExecStart=/usr/local/bin/weft run ") || strings.Contains(unit, "@") {
		t.Errorf("unit:\n%s", unit)
	}
	page := read(t, filepath.Join(dest, "usr/local/share/man/man8/weft-attach.8"))
	for _, want := range []string{`.TH "WEFT-ATTACH" "8"`, "NAME", "allow-spoof", "weft attach blue"} {
		if !strings.Contains(page, want) {
			t.Errorf("manual of attach lacks %q", want)
		}
	}
	config := filepath.Join(dest, "etc/weft/weft.yaml")
	if err := os.WriteFile(config, []byte("name: mine\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, "make", "-C", "../..", "-o", "build", "-o", "man", "install", "DESTDIR="+dest)
	if got := read(t, config); got != "name: mine\n" {
		t.Errorf("configuration became %q", got)
	}
	run(t, "make", "-C", "../..", "uninstall", "DESTDIR="+dest)
	if got := files(t, dest); !slices.Equal(got, []string{"etc/weft/weft.yaml"}) {
		t.Errorf("left: %q", got)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// The package installs, keeps a configuration that was changed, and a purge
// leaves nothing. systemd finds no fault with its unit, and the unit's command
// works with the unit's capabilities.
func TestPackage(t *testing.T) {
	lab.Need(t, "dpkg", "dpkg", "dpkg-deb")
	l := lab.ForTest(t) // for the unit, and since dpkg needs root
	build(t)
	deb := filepath.Join(t.TempDir(), "weft.deb")
	run(t, "make", "-C", "../..", "-o", "build", "-o", "man", "deb", "DEB="+deb)
	root := t.TempDir()
	dpkg := func(args ...string) {
		t.Helper()
		run(t, "dpkg", append([]string{"--root=" + root, "--force-script-chrootless", "--force-unsafe-io"}, args...)...)
	}
	for _, dir := range []string{"var/lib/dpkg/info", "var/lib/dpkg/updates"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "var/lib/dpkg/status"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	dpkg("--install", deb)
	if got := run(t, "dpkg-query", "--admindir="+filepath.Join(root, "var/lib/dpkg"), "-W", "-f", "${db:Status-Status} ${Conffiles}", "weft"); !strings.HasPrefix(got, "installed") || !strings.Contains(got, "/etc/weft/weft.yaml") {
		t.Errorf("installed: %s", got)
	}

	t.Run("unit", func(t *testing.T) {
		lab.Need(t, "systemd", "systemd-analyze")
		text := strings.ReplaceAll(read(t, filepath.Join(root, "lib/systemd/system/weft.service")), "=/usr/bin/weft", "="+root+"/usr/bin/weft")
		unit := filepath.Join(t.TempDir(), "weft.service")
		if err := os.WriteFile(unit, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if out := run(t, "systemd-analyze", "verify", "--man=no", unit); strings.Contains(out, "weft.service") {
			t.Errorf("systemd-analyze: %s", out)
		}
	})
	t.Run("capabilities", func(t *testing.T) { runUnit(t, l, root) })

	state := filepath.Join(root, "var/lib/weft")
	if err := os.MkdirAll(state, 0o700); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(root, "etc/weft/weft.yaml")
	if err := os.WriteFile(config, []byte("name: mine\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	dpkg("--install", "--force-confold", deb)
	dpkg("--remove", "weft")
	if got := read(t, config); got != "name: mine\n" {
		t.Errorf("configuration became %q", got)
	}
	if _, err := os.Stat(state); err != nil {
		t.Errorf("the state went without a purge: %v", err)
	}
	dpkg("--purge", "weft")
	left := slices.DeleteFunc(files(t, root), func(f string) bool {
		return strings.HasPrefix(f, "var/lib/dpkg/") || strings.HasPrefix(f, "var/log/")
	})
	if _, err := os.Stat(state); len(left) > 0 || err == nil {
		t.Errorf("left: %q, state %v", left, err)
	}
}

// daemon is the unit's command in a lab, as systemd would run it.
type daemon struct {
	t                   *testing.T
	ns                  *lab.NS
	weft, socket, state string
	proc                *lab.Proc
	log                 bytes.Buffer // whole once proc is done
}

// start runs the command with the capabilities of the unit but for those in
// without, and waits for its READY=1. The configuration is that of the package.
func start(t *testing.T, ns *lab.NS, root string, without ...string) *daemon {
	t.Helper()
	unit := read(t, filepath.Join(root, "lib/systemd/system/weft.service"))
	caps := strings.Fields(setting(t, unit, "CapabilityBoundingSet"))
	caps = slices.DeleteFunc(caps, func(c string) bool { return slices.Contains(without, c) })
	bound := "-all"
	for _, c := range caps {
		bound += ",+" + strings.ToLower(strings.TrimPrefix(c, "CAP_"))
	}
	dir, err := os.MkdirTemp("", "w") // short: sockets live in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	command := strings.Fields(setting(t, unit, "ExecStart"))
	d := &daemon{t: t, ns: ns, weft: root + command[0], socket: filepath.Join(dir, "s"), state: dir + "/state"}
	args := []string{"--bounding-set", bound, "--inh-caps", "-all", "--no-new-privs", d.weft, "run", "--config", root + command[3], "--socket", d.socket, "--state-dir", d.state, "--name", "host"}

	ready, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: dir + "/notify", Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer ready.Close()
	cmd := exec.Command("setpriv", args...)
	cmd.Stderr = &d.log
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+dir+"/notify")
	if d.proc, err = ns.Start(cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.proc.Stop(10 * time.Second); err != nil {
			t.Errorf("daemon: %v", err)
		}
		if t.Failed() {
			t.Logf("log:\n%s", &d.log)
		}
	})
	buf := make([]byte, 64)
	if err := ready.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if n, _, err := ready.ReadFrom(buf); err != nil || string(buf[:n]) != "READY=1" {
		t.Fatalf("told systemd %q, %v", buf[:n], err)
	}
	return d
}

// setting returns the value of a setting of a unit.
func setting(t *testing.T, unit, name string) string {
	t.Helper()
	m := regexp.MustCompile(`(?m)^` + name + `=(.*)$`).FindStringSubmatch(unit)
	if m == nil {
		t.Fatalf("the unit has no %s", name)
	}
	return m[1]
}

// cli runs a command against the daemon.
func (d *daemon) cli(line string) (string, error) {
	ctx, cancel := context.WithTimeout(d.t.Context(), 30*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, d.weft, append([]string{"--socket", d.socket}, strings.Fields(line)...)...).CombinedOutput()
	return string(out), err
}

// must is cli for a command that must succeed.
func (d *daemon) must(line string) string {
	d.t.Helper()
	out, err := d.cli(line)
	if err != nil {
		d.t.Fatalf("weft %s: %v: %s", line, err, out)
	}
	return out
}

// runUnit attaches a namespace and a process that has every capability, as a
// container may have some that the switch lacks, and sends between them.
func runUnit(t *testing.T, l *lab.Lab, root string) {
	lab.Need(t, "util-linux", "setpriv", "unshare")
	lab.Need(t, "nftables", "nft")
	host, err := l.Host("host")
	if err != nil {
		t.Fatal(err)
	}
	var boxes []*lab.NS
	for _, name := range []string{"a", "b"} {
		ns, err := l.Host(name)
		if err != nil {
			t.Fatal(err)
		}
		boxes = append(boxes, ns)
	}
	if err := l.Link(lab.End{NS: host, Name: "eth0"}, lab.End{NS: boxes[0], Name: "eth0"}); err != nil {
		t.Fatal(err)
	}
	p, err := boxes[1].Start(exec.Command("sleep", "600"))
	if err != nil {
		t.Fatal(err)
	}
	pid := fmt.Sprintf("pid:%d", p.PID())

	d := start(t, host, root)
	if has, want := capabilities(t, d.proc.PID()), capabilityMask(); has != want {
		t.Errorf("the daemon has capabilities %#x, want %#x", has, want)
	}
	d.must("status --check") // answers as soon as systemd was told
	d.must("network add blue 10.9.0.0/24,fd09::/64,gateway=10.9.0.254,gateway=fd09::ff")
	d.must("attach blue netns:" + boxes[0].Name() + " 10.9.0.1/24 fd09::1/64")
	d.must("attach blue " + pid + " 10.9.0.2/24 fd09::2/64")
	for _, to := range []string{"10.9.0.2", "fd09::2"} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		if err := probe.Reach(ctx, boxes[0], netip.MustParseAddr(to)); err != nil {
			t.Errorf("%s: %v", to, err)
		}
		cancel()
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tr, err := probe.TCP(ctx, boxes[0], boxes[1], netip.MustParseAddrPort("10.9.0.2:0"), 8<<20)
	if err != nil || tr.Sent != tr.Received {
		t.Errorf("stream: %v", err)
	}
	d.must("network set blue --mtu 1400")
	d.must("expose blue")
	d.must("publish blue " + pid + " 80:8080")
	d.must("network add lan 10.8.0.0/24")
	d.must("uplink add lan eth0")
	if s := d.must("status -o json"); !strings.Contains(s, `"degraded": []`) && !strings.Contains(s, `"degraded":[]`) {
		t.Errorf("exposed, published and with an uplink: %s", s)
	}
	if err := d.proc.Stop(5 * time.Second); err != nil {
		t.Errorf("end: %v", err)
	}
	removed(t, d, filepath.Join(root, "var/lib/dpkg/info/weft.prerm"))

	// What each capability is for: without it, a message says so.
	d = start(t, host, root, "CAP_SYS_PTRACE")
	d.must("network add blue 10.9.0.0/24")
	if out, err := d.cli("attach blue " + pid); err == nil || !strings.Contains(out, "CAP_SYS_PTRACE") {
		t.Errorf("without CAP_SYS_PTRACE: %v, %s", err, out)
	}
}

// removed runs what dpkg runs before an upgrade, which keeps the rules of a switch
// that has ended, and before a removal, which does not. It sees neither systemd nor
// a switch of this machine, and the state of d in the place of the machine's.
func removed(t *testing.T, d *daemon, prerm string) {
	t.Helper()
	const rooms = "mount -t tmpfs tmpfs /run && mount -t tmpfs tmpfs /var/lib && mkdir /var/lib/weft && mount --bind %s /var/lib/weft && PATH=%s:$PATH exec sh %s %s"
	for _, tt := range []struct {
		step  string
		rules bool
	}{{"upgrade", true}, {"remove", false}, {"remove", false}} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		script := fmt.Sprintf(rooms, d.state, filepath.Dir(d.weft), prerm, tt.step)
		out, err := d.ns.Output(ctx, "unshare", "-m", "--propagation", "private", "sh", "-c", script)
		if err != nil || strings.Contains(out, "did not finish") {
			t.Errorf("prerm %s: %v: %s", tt.step, err, out)
		}
		rules, err := d.ns.Output(ctx, "nft", "list", "ruleset")
		cancel()
		if err != nil || strings.Contains(rules, "table inet weft") != tt.rules {
			t.Errorf("after prerm %s: rules %v, want some: %v\n%s", tt.step, err, tt.rules, rules)
		}
	}
}

// capabilities returns the permitted set of a process.
func capabilities(t *testing.T, pid int) (mask uint64) {
	t.Helper()
	m := regexp.MustCompile(`(?m)^CapPrm:\s+([0-9a-f]+)$`).FindStringSubmatch(read(t, fmt.Sprintf("/proc/%d/status", pid)))
	if m == nil {
		t.Fatal("no CapPrm")
	}
	if _, err := fmt.Sscanf(m[1], "%x", &mask); err != nil {
		t.Fatal(err)
	}
	return mask
}

// capabilityMask returns the five that a switch has.
func capabilityMask() (mask uint64) {
	for _, bit := range []int{unix.CAP_NET_ADMIN, unix.CAP_NET_RAW, unix.CAP_SYS_ADMIN, unix.CAP_SYS_PTRACE, unix.CAP_NET_BIND_SERVICE} {
		mask |= 1 << bit
	}
	return mask
}
