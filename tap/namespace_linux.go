package tap

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// ErrNoNamespace says that the container's namespace is not there: its path
// leads nowhere, to something else, or to another namespace than before.
var ErrNoNamespace = errors.New("no such network namespace")

// Namespace names a network namespace and pins down which one it was: a path
// may later lead to another. Holding a Namespace holds no descriptor. Inodes are
// given out again once a namespace is gone, and all anew at boot: across restarts
// only the TAP inside proves that it is the same (Reopen).
type Namespace struct {
	Path string // /run/netns/NAME, /proc/PID/ns/net or any other nsfs file
	Dev  uint64 // device and inode of the nsfs file (namespaces(7)); zero: not looked up
	Ino  uint64
}

// OpenNamespace looks the path up and returns what is there now. It wraps
// ErrNoNamespace when there is nothing, or no network namespace.
func OpenNamespace(path string) (Namespace, error) {
	n := Namespace{Path: path}
	fd, err := n.open()
	if err != nil {
		return Namespace{}, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return Namespace{}, fmt.Errorf("stat namespace %s: %w", path, err)
	}
	n.Dev, n.Ino = st.Dev, st.Ino
	return n, nil
}

// Alive reports whether the path still leads to the same namespace; where Dev
// and Ino are zero, whether it leads to any.
func (n Namespace) Alive() bool {
	var st unix.Stat_t
	if err := unix.Stat(n.Path, &st); err != nil {
		return false
	}
	if n.Ino == 0 {
		return isNamespaceFile(n.Path)
	}
	return st.Dev == n.Dev && st.Ino == n.Ino
}

// Occupied reports whether a process other than this one lives in the
// namespace, by reading /proc/PID/ns/net of all: some 5 us each. What else can
// keep a namespace (a socket, a second bind mount) does not count, nor does a
// single thread of a process that lives elsewhere.
func (n Namespace) Occupied() (bool, error) {
	pid, err := n.resident()
	return pid != 0, err
}

// resident returns a process other than this one that lives in the namespace;
// 0 where there is none.
func (n Namespace) resident() (pid int, err error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return 0, fmt.Errorf("look for processes in namespace %s: %w", n.Path, err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return 0, fmt.Errorf("look for processes in namespace %s: %w", n.Path, err)
	}
	self := os.Getpid()
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil && pid != self && n.houses(pid) {
			return pid, nil
		}
	}
	return 0, nil
}

// houses reports whether process pid lives in the namespace.
func (n Namespace) houses(pid int) bool {
	link, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/ns/net")
	return err == nil && link == "net:["+strconv.FormatUint(n.Ino, 10)+"]"
}

// open opens the namespace after verifying that it is one, and the one that n
// was made for. The caller closes it soon: it keeps the namespace alive.
func (n Namespace) open() (int, error) {
	var st unix.Stat_t
	switch err := unix.Stat(n.Path, &st); {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
		return -1, fmt.Errorf("open %s: %w: is the container running?", n.Path, ErrNoNamespace)
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM): // ptrace(2) says who may look at whom
		return -1, fmt.Errorf("open namespace %s: %w: give the switch CAP_SYS_PTRACE, or run it as root", n.Path, err)
	case err != nil:
		return -1, fmt.Errorf("open namespace %s: %w", n.Path, err)
	}
	if !isNamespaceFile(n.Path) { // looked at before it is opened: opening a device or a pipe can do things
		return -1, fmt.Errorf("open %s: %w: the file is not a namespace; give one such as /run/netns/NAME or /proc/PID/ns/net", n.Path, ErrNoNamespace)
	}
	fd, err := unix.Open(n.Path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open namespace %s: %w", n.Path, err)
	}
	if err := n.verify(fd); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// verify compares what was opened with what n stands for.
func (n Namespace) verify(fd int) error {
	if kind, err := unix.IoctlRetInt(fd, unix.NS_GET_NSTYPE); err != nil || kind != unix.CLONE_NEWNET {
		return fmt.Errorf("open %s: %w: it is a namespace of another kind; give one such as /run/netns/NAME or /proc/PID/ns/net", n.Path, ErrNoNamespace)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("stat namespace %s: %w", n.Path, err)
	}
	if n.Ino != 0 && (st.Dev != n.Dev || st.Ino != n.Ino) {
		return fmt.Errorf("open %s: %w: the path now leads to another one, the container was replaced", n.Path, ErrNoNamespace)
	}
	return nil
}

func isNamespaceFile(path string) bool {
	var fs unix.Statfs_t
	return unix.Statfs(path, &fs) == nil && fs.Type == unix.NSFS_MAGIC
}

// enter runs f in the namespace, with a netlink handle for it, on a thread of
// its own. When enter returns, nothing of it is in the namespace any more, but
// for descriptors that f opened and kept.
func (n Namespace) enter(f func(*netlink.Handle) error) error {
	fd, err := n.open()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return enter(fd, f)
}

// enter is Namespace.enter for a namespace that is open already.
func enter(fd int, f func(*netlink.Handle) error) error {
	done := make(chan error)
	go func() { // ends with f, which the caller waits for
		runtime.LockOSThread() // never unlocked unless the thread is back: it then dies with the goroutine
		done <- onThread(fd, f)
	}()
	return <-done
}

func onThread(fd int, f func(*netlink.Handle) error) error {
	origin, err := netns.Get()
	if err != nil {
		return fmt.Errorf("open own namespace: %w", err)
	}
	defer origin.Close()
	if err := netns.Set(netns.NsHandle(fd)); err != nil {
		return fmt.Errorf("enter namespace: %w: run as root", err)
	}
	defer func() {
		if netns.Set(origin) == nil {
			runtime.UnlockOSThread()
		}
	}()
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	defer h.Close()
	return f(h)
}
