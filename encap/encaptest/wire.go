package encaptest

import (
	"errors"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weft/encap"
)

// past is a deadline that has passed.
var past = time.Unix(1, 0)

// patience is how long Read waits for a datagram that should come.
const patience = 5 * time.Second

// Wire is the far side of an Underlay. Its methods may be called from any
// goroutine, but only one at a time may Read or have it in a Join.
type Wire struct {
	t      testing.TB
	local  []netip.Addr
	v4, v6 inlet
	sent   *os.File // what the Underlay sent
	buf    []byte
}

// inlet leads to the sockets of one version of IP; its files are nil where the
// Underlay has none.
type inlet struct {
	peers     *os.File // leads to the peers' socket
	strangers *os.File // leads to the strangers' socket
}

// New returns an Underlay with the given local addresses, IPv4, IPv6 or both, the
// first of each the source of what it sends, and its Wire. Without an address it
// speaks IPv4. The test's end closes both.
func New(t testing.TB, local ...netip.Addr) (*encap.Underlay, *Wire) {
	t.Helper()
	w := &Wire{t: t, local: local, buf: make([]byte, 1<<16)}
	send, sent := pair(t)
	w.sent = sent
	var sockets []encap.Sockets
	for _, v6 := range []bool{false, true} {
		if !speaks(local, v6) {
			continue
		}
		s, in := encap.Sockets{V6: v6}, w.inlet(v6)
		s.Peers, in.peers = pair(t)
		s.Strangers, in.strangers = pair(t)
		var err error
		if s.Send, err = unix.FcntlInt(uintptr(send), unix.F_DUPFD_CLOEXEC, 0); err != nil {
			t.Fatalf("duplicate socket: %v", err)
		}
		sockets = append(sockets, s)
	}
	_ = unix.Close(send)
	u, err := encap.OpenSockets(encap.Config{Local: local}, sockets...)
	if err != nil {
		t.Fatalf("open underlay: %v", err)
	}
	t.Cleanup(func() {
		if err := errors.Join(u.Close(), w.v4.close(), w.v6.close(), w.sent.Close()); err != nil {
			t.Errorf("close underlay and wire: %v", err)
		}
	})
	return u, w
}

// speaks reports whether an Underlay with these addresses speaks a version of IP.
func speaks(local []netip.Addr, v6 bool) bool {
	if len(local) == 0 {
		return !v6
	}
	return slices.ContainsFunc(local, func(a netip.Addr) bool { return a.Is6() == v6 })
}

func (w *Wire) inlet(v6 bool) *inlet {
	if v6 {
		return &w.v6
	}
	return &w.v4
}

func (in *inlet) close() error {
	if in.peers == nil {
		return nil
	}
	return errors.Join(in.peers.Close(), in.strangers.Close())
}

// pair returns a non-blocking descriptor for the Underlay and the other end of it.
func pair(t testing.TB) (int, *os.File) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatalf("make socketpair: %v", err)
	}
	for _, fd := range fds {
		// Room for more than a few super-frames, where the test has the rights.
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 8<<20) != nil {
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 8<<20)
		}
	}
	return fds[0], os.NewFile(uintptr(fds[1]), "wire")
}

// Read returns the next outer datagram that the Underlay sent, a copy of it.
// The test fails where none comes.
func (w *Wire) Read() []byte {
	w.t.Helper()
	d := w.next(patience)
	if d == nil {
		w.t.Fatal("nothing was sent")
	}
	return d
}

// TryRead is Read for what may not come: it returns nil then, after a millisecond.
func (w *Wire) TryRead() []byte {
	w.t.Helper()
	return w.next(time.Millisecond)
}

// Idle fails the test where the Underlay has sent something that was not read.
func (w *Wire) Idle() {
	w.t.Helper()
	if d := w.next(time.Millisecond); d != nil {
		w.t.Fatalf("sent unexpectedly: % x", d)
	}
}

func (w *Wire) next(wait time.Duration) []byte {
	w.t.Helper()
	if err := w.sent.SetReadDeadline(time.Now().Add(wait)); err != nil {
		w.t.Fatalf("set deadline: %v", err)
	}
	n, err := w.sent.Read(w.buf)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	if err != nil {
		w.t.Fatalf("read wire: %v", err)
	}
	return append([]byte(nil), w.buf[:n]...)
}

// Inject hands an outer datagram to the Underlay as the network would: each of
// the two sockets for its version of IP gets a copy, unless its filter refuses
// it. The test fails where a queue is full.
func (w *Wire) Inject(outer []byte) {
	w.t.Helper()
	if err := w.inject(outer); err != nil {
		w.t.Fatalf("inject datagram: %v", err)
	}
}

func (w *Wire) inject(outer []byte) error {
	in := w.inlet(len(outer) > 0 && outer[0]>>4 == 6)
	if in.peers == nil {
		return errors.New("the Underlay does not speak this version of IP")
	}
	return errors.Join(send(in.peers, outer), send(in.strangers, outer))
}

// send writes without waiting for room.
func send(f *os.File, b []byte) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	err = c.Write(func(fd uintptr) bool {
		sent = unix.Send(int(fd), b, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		return true
	})
	return errors.Join(err, sent)
}
