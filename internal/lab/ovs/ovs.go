package ovs

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"weft/internal/lab"
)

// Package is the Debian package that has everything that Start runs.
const Package = "openvswitch-switch"

// schema is where Debian keeps the layout of Open vSwitch's database.
const schema = "/usr/share/openvswitch/vswitch.ovsschema"

// maxSocketPath is the longest path of a Unix socket (unix(7): 108 with the
// final zero), less the longest file name that Start puts into its directory.
const maxSocketPath = 107 - len("/vswitchd.ctl")

// programs are what Start and the methods of Switch run.
var programs = []string{"ovsdb-tool", "ovsdb-server", "ovs-vswitchd", "ovs-vsctl", "ovs-appctl"}

// Installed returns nil when Start can run, else an error that says how to get
// what is missing.
func Installed() error {
	for _, name := range programs {
		if _, err := exec.LookPath(name); err != nil {
			return fmt.Errorf("start Open vSwitch: %s is missing: apt-get install %s", name, Package)
		}
	}
	return nil
}

// Need skips the test, or fails it where CI is set, when Open vSwitch is not
// installed.
func Need(t lab.TB) {
	t.Helper()
	lab.Need(t, Package, programs...)
	lab.Need(t, "iproute2", "ip")
}

// Switch is one Open vSwitch: a database server and a switch, in one namespace.
// One goroutine uses it.
type Switch struct {
	ns    *lab.NS
	dir   string
	procs []*lab.Proc // in the order of their start
}

// Start makes an empty database in dir and starts ovsdb-server and
// ovs-vswitchd in the namespace. dir must exist, be empty, and have a short
// path, since sockets live in it. The switch ends when ctx does, when Close or
// the Lab's is called, or when the calling process dies, however it dies.
func Start(ctx context.Context, ns *lab.NS, dir string) (*Switch, error) {
	if err := Installed(); err != nil {
		return nil, err
	}
	if len(dir) > maxSocketPath {
		return nil, fmt.Errorf("start Open vSwitch: %s is longer than %d bytes; take a shorter directory", dir, maxSocketPath)
	}
	s := &Switch{ns: ns, dir: dir}
	if err := s.start(ctx); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Switch) start(ctx context.Context) error {
	if _, err := output(exec.CommandContext(ctx, "ovsdb-tool", "create", s.path("conf.db"), schema)); err != nil {
		return err
	}
	if err := s.spawn(ctx, "ovsdb-server", s.path("conf.db"), "--remote=punix:"+s.path("db.sock"), "--unixctl="+s.path("ovsdb.ctl")); err != nil {
		return err
	}
	if err := s.poll(ctx, func() error {
		_, err := s.vsctl(ctx, "--no-wait", "init")
		return err
	}); err != nil {
		return err
	}
	if err := s.spawn(ctx, "ovs-vswitchd", "unix:"+s.path("db.sock"), "--unixctl="+s.path("vswitchd.ctl")); err != nil {
		return err
	}
	return s.poll(ctx, func() error {
		_, err := s.AppCtl("version")
		return err
	})
}

// spawn starts a daemon in the foreground, its log in a file beside its socket.
func (s *Switch) spawn(ctx context.Context, name string, args ...string) error {
	args = append(args, "-vconsole:off", "-vsyslog:off", "--log-file="+s.path(name+".log"))
	cmd := s.ns.Command(ctx, name, args...)
	cmd.Dir, cmd.Env = s.dir, s.env()
	p, err := s.ns.Start(cmd)
	if err != nil {
		return err
	}
	s.procs = append(s.procs, p)
	return nil
}

// env keeps every file of Open vSwitch inside dir.
func (s *Switch) env() []string {
	return append(os.Environ(), "OVS_RUNDIR="+s.dir, "OVS_LOGDIR="+s.dir, "OVS_DBDIR="+s.dir, "OVS_SYSCONFDIR="+s.dir)
}

// poll calls f until it succeeds, for 10 seconds at most.
func (s *Switch) poll(ctx context.Context, f func() error) error {
	for deadline := time.Now().Add(10 * time.Second); ; {
		err := f()
		if err == nil {
			return nil
		}
		for _, p := range s.procs {
			select {
			case <-p.Done():
				return fmt.Errorf("start Open vSwitch: a daemon ended at once, its log is in %s: %w", s.dir, err)
			default:
			}
		}
		if time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// VSCtl runs ovs-vsctl with args, waits until the switch has done what it
// says, and returns what it printed, without the last line break.
func (s *Switch) VSCtl(args ...string) (string, error) {
	return s.vsctl(context.Background(), args...)
}

func (s *Switch) vsctl(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "ovs-vsctl", append([]string{"--db=unix:" + s.path("db.sock"), "--timeout=10"}, args...)...)
	cmd.Env = s.env()
	return output(cmd)
}

// AppCtl runs ovs-appctl with args against ovs-vswitchd and returns what it printed.
func (s *Switch) AppCtl(args ...string) (string, error) {
	cmd := exec.Command("ovs-appctl", append([]string{"--timeout=10", "-t", s.path("vswitchd.ctl")}, args...)...)
	cmd.Env = s.env()
	return output(cmd)
}

// Underlay makes the bridge br-phy with link as its port, and moves addr, the
// host's own address, from the link to the bridge. Tunnels then leave by it.
func (s *Switch) Underlay(link string, addr netip.Prefix) error {
	if _, err := s.VSCtl("add-br", "br-phy", "--", "set", "Bridge", "br-phy", "datapath_type=netdev", "--", "add-port", "br-phy", link); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"link", "set", link, "up"},
		{"addr", "flush", "dev", link},
		{"addr", "add", addr.String(), "dev", "br-phy"},
		{"link", "set", "br-phy", "up"},
	} {
		if _, err := s.ns.Output(context.Background(), "ip", args...); err != nil {
			return err
		}
	}
	// Open vSwitch reads the kernel's routes only now and then, and sends
	// nothing to a peer before it has one. It takes this one once it has seen the
	// address above, from which it is to send.
	return s.poll(context.Background(), func() error {
		_, err := s.AppCtl("ovs/route/add", addr.Masked().String(), "br-phy")
		return err
	})
}

// Bridge makes a bridge with the userspace datapath and the given links as its ports.
func (s *Switch) Bridge(name string, links ...string) error {
	args := []string{"add-br", name, "--", "set", "Bridge", name, "datapath_type=netdev"}
	for _, link := range links {
		args = append(args, "--", "add-port", name, link)
	}
	_, err := s.VSCtl(args...)
	return err
}

// GRE adds a tunnel port to a bridge. options are those of ovs-vswitchd.conf.db(5)
// without their prefix, such as key=7, csum=true or seq=true.
func (s *Switch) GRE(bridge, port string, remote netip.Addr, options ...string) error {
	args := []string{"add-port", bridge, port, "--", "set", "Interface", port, "type=gre", "options:remote_ip=" + remote.String()}
	for _, o := range options {
		args = append(args, "options:"+o)
	}
	_, err := s.VSCtl(args...)
	return err
}

// PIDs returns the processes of both daemons.
func (s *Switch) PIDs() (pids []int) {
	for _, p := range s.procs {
		pids = append(pids, p.PID())
	}
	return pids
}

// Close ends both daemons and waits for them. It may be called twice.
func (s *Switch) Close() {
	for i := len(s.procs) - 1; i >= 0; i-- {
		_ = s.procs[i].Stop(3 * time.Second) // that it was killed is no news to anyone
	}
	s.procs = nil
}

func (s *Switch) path(name string) string { return filepath.Join(s.dir, name) }

// output runs cmd and returns its standard output; an error holds what it complained of.
func output(cmd *exec.Cmd) (string, error) {
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("run %s %s: %w: %s", filepath.Base(cmd.Path), strings.Join(cmd.Args[1:], " "), err, strings.TrimSpace(stderr.String()))
	}
	return strings.TrimSuffix(stdout.String(), "\n"), nil
}
