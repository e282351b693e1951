package control

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// lockName is the abstract socket (unix(7)) whose holder serves a network
// namespace. The kernel frees it with the process, however that ends.
const lockName = "@weft"

// locks are what make a daemon the only one: on its host, which is a network
// namespace, and with its state.
type locks struct{ socket, dir int }

// takeLocks makes dir and takes both locks, without waiting; that of the host alone
// where dir is empty. The error names
// who holds one.
func takeLocks(dir string) (*locks, error) {
	socket, err := lockHost(lockName)
	if err != nil {
		return nil, err
	}
	if dir == "" {
		return &locks{socket, -1}, nil
	}
	d, err := lockDir(dir)
	if err != nil {
		unix.Close(socket)
		return nil, err
	}
	return &locks{socket, d}, nil
}

// Close frees the locks.
func (l *locks) Close() error {
	if l.dir < 0 {
		return unix.Close(l.socket)
	}
	return errors.Join(unix.Close(l.dir), unix.Close(l.socket))
}

// lockHost takes the abstract socket name of this network namespace.
func lockHost(name string) (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("lock host: %w", err)
	}
	err = unix.Bind(fd, &unix.SockaddrUnix{Name: name})
	if err == nil {
		err = unix.Listen(fd, 1) // so that who comes second can ask who it is
	}
	if err == nil {
		return fd, nil
	}
	defer unix.Close(fd)
	if errors.Is(err, unix.EADDRINUSE) {
		return -1, fmt.Errorf("lock host: %s serves this network namespace (abstract socket %s) already: use it, or stop it first", process(hostHolder(name)), name)
	}
	return -1, fmt.Errorf("lock host: bind abstract socket %s: %w", name, err)
}

// hostHolder returns the process that listens on the abstract socket; 0 where
// that cannot be told.
func hostHolder(name string) int {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0
	}
	defer unix.Close(fd)
	if unix.Connect(fd, &unix.SockaddrUnix{Name: name}) != nil {
		return 0
	}
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return 0
	}
	return int(cred.Pid)
}

// lockDir makes the state directory and locks it (flock(2)).
func lockDir(dir string) (int, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return -1, fmt.Errorf("make state directory: %w: choose another with --state-dir", err)
	}
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open state directory %s: %w: choose another with --state-dir", dir, err)
	}
	err = unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return fd, nil
	}
	defer unix.Close(fd)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return -1, fmt.Errorf("lock state directory: %s uses %s: stop it, or choose another with --state-dir", process(dirHolder(fd)), dir)
	}
	return -1, fmt.Errorf("lock state directory %s: %w: choose another with --state-dir", dir, err)
}

// dirHolder returns the process that has locked what fd is open on, by
// /proc/locks (proc_locks(5)); 0 where that cannot be told.
func dirHolder(fd int) int {
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil {
		return 0
	}
	f, err := os.Open("/proc/locks")
	if err != nil {
		return 0
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var n, pid, major, minor int
		var kind, mode, access string
		var inode uint64
		_, err := fmt.Sscanf(lines.Text(), "%d: %s %s %s %d %x:%x:%d", &n, &kind, &mode, &access, &pid, &major, &minor, &inode)
		if err == nil && kind == "FLOCK" && inode == st.Ino && unix.Mkdev(uint32(major), uint32(minor)) == st.Dev {
			return pid
		}
	}
	return 0
}

// process names a process for an error message.
func process(pid int) string {
	if pid <= 0 {
		return "another weft"
	}
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return fmt.Sprintf("process %d", pid)
	}
	return fmt.Sprintf("process %d (%s)", pid, strings.TrimSpace(string(comm)))
}
