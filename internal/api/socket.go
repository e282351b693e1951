package api

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// DefaultSocket is where the daemon listens unless told otherwise.
const DefaultSocket = "/run/weft/weft.sock"

// SocketPathMax is the greatest length of a socket's path in bytes: sun_path of
// unix(7), which has 108, less a terminating NUL.
const SocketPathMax = 107

const socketMode = 0o660

// CheckSocketPath reports a path that no socket can have.
func CheckSocketPath(path string) error {
	switch {
	case path == "":
		return errors.New("the path of the socket is empty; name one with --socket")
	case len(path) > SocketPathMax:
		return fmt.Errorf("the path of the socket has %d bytes and the kernel takes at most %d; choose a shorter one with --socket: %s", len(path), SocketPathMax, path)
	case path[0] == '@' || strings.ContainsRune(path, 0):
		return fmt.Errorf("socket %q: want the path of a file; name one with --socket", path)
	}
	return nil
}

// Socket is the daemon's listening socket.
type Socket struct {
	net.Listener
	path string
	file *os.File // O_PATH: while it is open, nothing else can have the same inode
}

// Listen makes the socket at path, with its directory where that is missing.
// It has mode 0660 from the first moment. A socket that a dead daemon left is
// replaced; one that somebody listens on is an error, as is any other file.
// Connections wait until they are accepted.
func Listen(path string) (*Socket, error) {
	if err := CheckSocketPath(path); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("make directory of socket: %w; choose another with --socket", err)
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	return bind(path)
}

// bind makes the socket where nothing is.
func bind(path string) (*Socket, error) {
	// bind(2) takes the mode of the file from the socket's own inode, less the
	// umask (unix_bind_bsd in net/unix/af_unix.c), so there is no moment in
	// which it is wider. The umask may have made it narrower.
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		ctlErr := c.Control(func(fd uintptr) { err = syscall.Fchmod(int(fd), socketMode) })
		return errors.Join(ctlErr, err)
	}}
	ln, err := lc.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, fmt.Errorf("make socket: %w", err)
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false)
	s := &Socket{Listener: ln, path: path}
	if err = os.Chmod(path, socketMode); err == nil {
		s.file, err = os.OpenFile(path, unix.O_PATH|unix.O_NOFOLLOW, 0)
	}
	if err != nil {
		ln.Close()
		return nil, fmt.Errorf("make socket: %w", err)
	}
	return s, nil
}

// Path returns where the socket was made.
func (s *Socket) Path() string { return s.path }

// Reachable reports whether the socket's path still leads to it.
func (s *Socket) Reachable() bool {
	ours, err1 := s.file.Stat()
	there, err2 := os.Lstat(s.path)
	return err1 == nil && err2 == nil && os.SameFile(ours, there)
}

// Again makes another socket at the path of s, with its directory where that is
// missing, when nothing is there any more. It takes the place of no file and no
// socket, dead or alive. s stays open.
func (s *Socket) Again() (*Socket, error) {
	if _, err := os.Lstat(s.path); err == nil {
		return nil, fmt.Errorf("%s is another's now; move it away, and the switch takes its place again", s.path)
	}
	if err := os.MkdirAll(filepath.Dir(s.path), 0o755); err != nil {
		return nil, fmt.Errorf("make directory of socket: %w", err)
	}
	return bind(s.path)
}

// removeStale clears the way for a new socket.
func removeStale(path string) error {
	fi, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at socket: %w", err)
	}
	if fi.Mode().Type() != os.ModeSocket {
		return fmt.Errorf("%s is there and is no socket; move it away or choose another path with --socket", path)
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		conn.Close()
	}
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
	case err == nil, errors.Is(err, syscall.EAGAIN): // EAGAIN: its queue of connections is full
		return fmt.Errorf("a daemon listens on %s already; stop it or choose another path with --socket", path)
	default:
		return fmt.Errorf("ask whether socket is in use: %w; choose another path with --socket", err)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("remove socket of a dead daemon: %w", err)
	}
	return nil
}

// Close closes the socket and removes its file, unless another has taken its
// place. It may be called twice.
func (s *Socket) Close() error {
	err := s.Listener.Close()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	defer s.file.Close()
	if s.Reachable() {
		err = errors.Join(err, os.Remove(s.path))
	}
	return err
}
