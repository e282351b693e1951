package dockerd

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"weft/internal/lab"
)

// Image is the name of the image that every engine has: busybox alone.
const Image = "busybox"

// applets are the commands that Image has.
var applets = []string{"sh", "sleep", "ping", "ip", "nc", "cat", "httpd", "wget", "echo"}

// shell hides the engine's places that no option moves behind empty ones.
const shell = `mkdir -p /etc/docker && mount -t tmpfs weft /etc/docker && mkdir -p /run/docker && mount -t tmpfs weft /run/docker && exec dockerd "$@"`

// Need skips the test, or fails it where CI is set, when Docker is not installed.
func Need(t lab.TB) {
	t.Helper()
	lab.Need(t, "docker.io", "dockerd", "docker", "containerd", "runc")
	lab.Need(t, "busybox-static", "busybox")
}

// Engine is one Docker engine. One goroutine uses it.
type Engine struct {
	ns     *lab.NS
	dir    string
	parent string // control group
	tables string // the program that sets its rules; empty: it has neither rules nor a bridge
	proc   *lab.Proc
}

// Start starts an engine in the namespace, with all its files in dir, which must
// exist and have a short path, since sockets live in it. It ends with Close; when
// the calling process dies, the engine dies with it, its containers do not.
func Start(ctx context.Context, ns *lab.NS, dir string) (*Engine, error) {
	return start(ctx, &Engine{ns: ns, dir: dir, parent: "/" + ns.Name()})
}

// StartBridged is Start for an engine as it is out of the box: with docker0, rules
// that drop what it does not know, and forwarding on. The rules are set by tables:
// iptables-nft or iptables-legacy.
func StartBridged(ctx context.Context, ns *lab.NS, dir, tables string) (*Engine, error) {
	return start(ctx, &Engine{ns: ns, dir: dir, parent: "/" + ns.Name(), tables: tables})
}

func start(ctx context.Context, e *Engine) (*Engine, error) {
	if err := e.Restart(ctx); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	if err := e.importImage(ctx); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

// Restart starts an engine that was killed, with what it had.
func (e *Engine) Restart(ctx context.Context) error {
	// Of processes that were killed: dockerd would wait for what has their numbers
	// now, or for nobody, where they are zombies.
	for _, f := range []string{"pid", "exec/containerd/containerd.pid"} {
		_ = os.Remove(e.path(f))
	}
	log, err := os.OpenFile(e.path("log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("start Docker: %w", err)
	}
	defer log.Close()
	args := []string{
		"-c", shell, "dockerd",
		"--data-root", e.path("data"), "--exec-root", e.path("exec"), "--pidfile", e.path("pid"), "--host", e.Host(),
		"--storage-driver", "vfs", "--cgroup-parent", e.parent, "--log-level", "warn",
	}
	path, err := e.setTables()
	if err != nil {
		return fmt.Errorf("start Docker: %w", err)
	}
	if e.tables == "" {
		args = append(args, "--bridge", "none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false")
	}
	cmd := exec.Command("sh", args...)
	cmd.Stdout, cmd.Stderr, cmd.Env = log, log, append(os.Environ(), "PATH="+path)
	cmd.SysProcAttr = &unix.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
	if e.proc, err = e.ns.Start(cmd); err != nil {
		return fmt.Errorf("start Docker: %w", err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		_, err := e.Docker(ctx, "version")
		if err == nil {
			return nil
		}
		select {
		case <-e.proc.Done():
			return fmt.Errorf("start Docker: it ended at once: %s", e.lastLog())
		default:
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("start Docker: %w", err)
		}
	}
}

// setTables makes the program of e what iptables means to the engine, and returns
// the PATH in which that is so.
func (e *Engine) setTables() (string, error) {
	path := os.Getenv("PATH")
	if e.tables == "" {
		return path, nil
	}
	program, err := exec.LookPath(e.tables)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(e.path("bin"), 0o755); err != nil {
		return "", err
	}
	if err := os.Symlink(program, e.path("bin/iptables")); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	return e.path("bin") + ":" + path, nil
}

// Host returns what DOCKER_HOST is to be for this engine.
func (e *Engine) Host() string { return "unix://" + e.path("s") }

// Docker runs docker with args and returns what it printed, without the last
// line break.
func (e *Engine) Docker(ctx context.Context, args ...string) (string, error) {
	return e.docker(ctx, nil, args...)
}

func (e *Engine) docker(ctx context.Context, stdin []byte, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "docker", append([]string{"--host", e.Host()}, args...)...)
	cmd.Env = append(os.Environ(), "DOCKER_CONFIG="+e.dir)
	cmd.Stdin = bytes.NewReader(stdin)
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("docker %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return strings.TrimSuffix(stdout.String(), "\n"), nil
}

// PID returns the process id of a container.
func (e *Engine) PID(ctx context.Context, name string) (int, error) {
	out, err := e.Docker(ctx, "inspect", "-f", "{{.State.Pid}}", name)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(out)
}

// importImage makes Image of the busybox of this machine.
func (e *Engine) importImage(ctx context.Context) error {
	program, err := exec.LookPath("busybox")
	if err != nil {
		return err
	}
	body, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	err = w.WriteHeader(&tar.Header{Name: "bin/busybox", Mode: 0o755, Size: int64(len(body))})
	if err == nil {
		_, err = w.Write(body)
	}
	for _, name := range applets {
		err = errors.Join(err, w.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + name, Linkname: "busybox"}))
	}
	if err = errors.Join(err, w.Close()); err != nil {
		return fmt.Errorf("make image: %w", err)
	}
	_, err = e.docker(ctx, b.Bytes(), "import", "-", Image)
	return err
}

// Kill ends the engine as a crash would. Containers live on.
func (e *Engine) Kill() { e.proc.Kill() }

// Close removes all containers, ends the engine, and takes away what it made
// outside of its directory.
func (e *Engine) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if out, err := e.Docker(ctx, "ps", "-aq"); err == nil && out != "" {
		_, _ = e.Docker(ctx, append([]string{"rm", "-f"}, strings.Fields(out)...)...) // what is left is killed below
	}
	if e.proc != nil {
		_ = e.proc.Stop(10 * time.Second) // how it ends is no news
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		left, err := e.killRest()
		if err == nil && left == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("end Docker: %d processes and control groups are left: %w", left, err)
		}
	}
}

// killRest kills what outlived the engine: processes in its control groups, and
// containerd with its shims, which name a socket in its directory. It returns how
// much there was.
func (e *Engine) killRest() (left int, err error) {
	procs, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return 0, err
	}
	for _, p := range procs {
		line, err := os.ReadFile(p)
		if err != nil || !bytes.Contains(line, []byte(e.path("exec")+"/")) {
			continue
		}
		left++
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(p))); err == nil {
			_ = unix.Kill(pid, unix.SIGKILL) // it may be gone
		}
	}
	err = filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() || !strings.Contains(path, e.parent) {
			return nil //nolint:nilerr // groups come and go
		}
		left++
		pids, _ := os.ReadFile(filepath.Join(path, "cgroup.procs"))
		for _, f := range strings.Fields(string(pids)) {
			if pid, err := strconv.Atoi(f); err == nil && pid != 0 {
				_ = unix.Kill(pid, unix.SIGKILL)
			}
		}
		_ = os.Remove(path) // fails until those below are gone: next time
		return nil
	})
	return left, err
}

// lastLog returns the end of the engine's log.
func (e *Engine) lastLog() string {
	b, _ := os.ReadFile(e.path("log"))
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return lines[len(lines)-1]
}

func (e *Engine) path(name string) string { return filepath.Join(e.dir, name) }
