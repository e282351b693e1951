package load

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Place runs f on a thread inside a network namespace: what f opens belongs to
// it. The method Do of a lab's namespace is one; nil is where the process is.
type Place func(f func() error) error

func (p Place) do(f func() error) error {
	if p == nil {
		return f()
	}
	return p(f)
}

// tick is how often a blocked socket looks whether its time is over.
const tick = 20 * time.Millisecond

// socket is a blocking descriptor that is used by one thread.
type socket struct{ fd int }

// take makes a socket of a connection, which it closes.
func take(conn syscall.Conn) (socket, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return socket{-1}, err
	}
	s := socket{-1}
	cerr := raw.Control(func(fd uintptr) {
		if s.fd, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0); err == nil {
			err = s.block()
		}
	})
	if c, ok := conn.(net.Conn); ok {
		_ = c.Close()
	}
	if err == nil {
		err = cerr
	}
	if err != nil {
		s.close()
		return socket{-1}, fmt.Errorf("make socket: %w", err)
	}
	return s, nil
}

// block has reads and writes wait, but never longer than a tick.
func (s socket) block() error {
	tv := unix.NsecToTimeval(tick.Nanoseconds())
	for _, opt := range []int{unix.SO_RCVTIMEO, unix.SO_SNDTIMEO} {
		if err := unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, opt, &tv); err != nil {
			return err
		}
	}
	return unix.SetNonblock(s.fd, false)
}

// Congestions returns the congestion controls that the kernel has loaded
// (tcp_available_congestion_control in tcp(7)); nil where it does not say.
func Congestions() []string {
	b, _ := os.ReadFile("/proc/sys/net/ipv4/tcp_available_congestion_control")
	return strings.Fields(string(b))
}

// setCongestion returns what sets the congestion control of a TCP socket before it
// connects or listens: a connection that began under BBR stays paced under any other
// (sk_pacing_status in net/sock.h). Empty leaves it. Some need CAP_NET_ADMIN
// (tcp_allowed_congestion_control in tcp(7)).
func setCongestion(name string) func(network, address string, conn syscall.RawConn) error {
	if name == "" {
		return nil
	}
	return func(_, _ string, conn syscall.RawConn) (err error) {
		cerr := conn.Control(func(fd uintptr) {
			if err = unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, name); err != nil {
				err = fmt.Errorf("set congestion control %q: %w", name, err)
			}
		})
		return errors.Join(err, cerr)
	}
}

func (s socket) close() {
	if s.fd >= 0 {
		_ = unix.Close(s.fd)
	}
}

// read returns 0 when the other end is done, and EAGAIN when a tick passed, or a
// signal of the runtime that wants to preempt the thread.
func (s socket) read(b []byte) (int, error) { return s.call(syscall.SYS_READ, b) }

func (s socket) write(b []byte) (int, error) { return s.call(syscall.SYS_WRITE, b) }

func (s socket) call(nr uintptr, b []byte) (int, error) {
	n, _, errno := syscall.RawSyscall(nr, uintptr(s.fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	switch errno {
	case 0:
		return int(n), nil
	case syscall.EINTR:
		return 0, syscall.EAGAIN
	default:
		return 0, errno
	}
}

// onThread runs f on a thread of its own and closes done behind it. The caller has
// made room for it.
func onThread(f func()) (done chan struct{}) {
	done = make(chan struct{})
	go func() { // ends with f, which watches the time
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(done)
		f()
	}()
	return done
}

var procs sync.Mutex // of GOMAXPROCS

// makeRoom raises GOMAXPROCS by n, for threads that keep their place in the runtime
// while they wait in the kernel, until the function that it returns is called. To
// hand the place over at each call would take a sixth of a core, by which the
// containers' kernels would have less.
func makeRoom(n int) (giveBack func()) {
	add := func(n int) {
		procs.Lock()
		defer procs.Unlock()
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + n)
	}
	add(n)
	return func() { add(-n) }
}
