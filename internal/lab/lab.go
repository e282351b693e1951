package lab

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// netnsDir is where named namespaces are bound, as ip-netns(8) has it.
const netnsDir = "/run/netns"

// Lab owns namespaces, links and processes. Its methods may be called from any
// goroutine.
type Lab struct {
	prefix string // of every namespace and directory: weft-<pid>-<hex>-

	mu     sync.Mutex // guards the following
	hosts  []*NS
	procs  []*Proc
	dirs   []string
	closed bool
}

// New returns an empty Lab. It fails where the process may not make namespaces.
func New() (*Lab, error) {
	if err := Check(); err != nil {
		return nil, err
	}
	tag := make([]byte, 2)
	if _, err := rand.Read(tag); err != nil {
		return nil, fmt.Errorf("name lab: %w", err)
	}
	return &Lab{prefix: fmt.Sprintf("weft-%d-%s-", os.Getpid(), hex.EncodeToString(tag))}, nil
}

// Check says what is missing for a Lab: capabilities or the TUN device. A nil
// error means that everything is there.
func Check() error {
	if missing := missingCaps(); missing != "" {
		return fmt.Errorf("make network namespaces: needs %s: run as root", missing)
	}
	f, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("open TUN device: %w: load the tun module, or give the container --device /dev/net/tun", err)
	}
	return f.Close()
}

// missingCaps names the capabilities of capabilities(7) that the process
// lacks; empty when it has all.
func missingCaps() string {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return "capget(2)"
	}
	var missing []string
	for _, c := range []struct {
		bit  uint
		name string
	}{{unix.CAP_SYS_ADMIN, "CAP_SYS_ADMIN"}, {unix.CAP_NET_ADMIN, "CAP_NET_ADMIN"}, {unix.CAP_NET_RAW, "CAP_NET_RAW"}} {
		if data[0].Effective&(1<<c.bit) == 0 {
			missing = append(missing, c.name)
		}
	}
	return strings.Join(missing, ", ")
}

// Dir makes a directory for files of what runs in the lab, which goes with it.
func (l *Lab) Dir() (string, error) {
	dir, err := os.MkdirTemp("", l.prefix)
	if err != nil {
		return "", fmt.Errorf("make directory: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dirs = append(l.dirs, dir)
	return dir, nil
}

// Close kills the processes that were started in the lab and waits for them,
// then removes its namespaces, and with them every link, and its directories. It
// may be called twice, and after anything went wrong; it returns what it could
// not remove.
func (l *Lab) Close() error {
	l.mu.Lock()
	procs, hosts, dirs := l.procs, l.hosts, l.dirs
	l.procs, l.hosts, l.dirs, l.closed = nil, nil, nil, true
	l.mu.Unlock()

	var errs []error
	for _, p := range procs {
		p.Kill()
	}
	for _, h := range hosts {
		errs = append(errs, h.remove())
	}
	for _, dir := range dirs {
		errs = append(errs, os.RemoveAll(dir))
	}
	return errors.Join(errs...)
}

// Sweep removes the namespaces and directories of labs whose process is dead.
// Those of living processes, this one included, stay.
func Sweep() error {
	err := sweepIn(netnsDir, removeNamed)
	return errors.Join(err, sweepIn(os.TempDir(), func(name string) error {
		return os.RemoveAll(filepath.Join(os.TempDir(), name))
	}))
}

// sweepIn calls remove for what labs of dead processes left in a directory.
func sweepIn(dir string, remove func(name string) error) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("sweep what killed runs left: %w", err)
	}
	var errs []error
	for _, e := range entries {
		if pid, ok := ownerOf(e.Name()); ok && !alive(pid) {
			errs = append(errs, remove(e.Name()))
		}
	}
	return errors.Join(errs...)
}

// ownerOf returns the process id in the name of a namespace or directory; ok is false for names
// that no Lab gives.
func ownerOf(name string) (pid int, ok bool) {
	rest, ok := strings.CutPrefix(name, "weft-")
	if !ok {
		return 0, false
	}
	digits, _, ok := strings.Cut(rest, "-")
	if !ok {
		return 0, false
	}
	pid, err := strconv.Atoi(digits)
	return pid, err == nil && pid > 0
}

func alive(pid int) bool {
	return !errors.Is(unix.Kill(pid, 0), unix.ESRCH)
}

// removeNamed unbinds and removes /run/netns/name. The kernel destroys the
// namespace with its links once no process or descriptor holds it.
func removeNamed(name string) error {
	path := filepath.Join(netnsDir, name)
	// EINVAL: not a mount point, left by a run that died between making the file and binding it.
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("unmount %s: %w", path, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove namespace: %w", err)
	}
	return nil
}
