// Package taptest provides a tap.Device in memory, so that whatever reads and
// writes ports can be tested without root or a kernel TAP.
//
//	dataplane --- tap.Device ===[virtio header][frame]=== Container --- test
//
// It is a pair of SOCK_SEQPACKET sockets, pollable like a TAP. What differs:
// there is no name, MTU, namespace or link state (a write never gets EIO); the
// virtio header is passed on as written, nobody checks it, completes a checksum
// or cuts a super-frame; a queue that is full makes Write and WriteV return
// EAGAIN where a TAP delivers at once; and when the other end is closed epoll
// says EPOLLHUP where a TAP's says EPOLLERR. Read then returns EBADFD as with a
// TAP, but only behind what was sent before; Write and WriteV return it at once.
package taptest

import (
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weft/internal/offload"
	"weft/tap"
)

// queueBytes is asked of the kernel for each direction; root gets it, others at
// most net.core.wmem_max, which holds a few super-frames.
const queueBytes = 8 << 20

// Container is the other end of a Device: the container's kernel, played by
// the test. One goroutine uses it.
type Container struct {
	t   testing.TB
	fd  int
	buf [offload.HeaderLen + offload.MaxFrame]byte
}

// New returns a Device and its other end. Both are closed when the test ends.
func New(t testing.TB) (*tap.Device, *Container) {
	t.Helper()
	fds := socketpair(t)
	d, c := tap.FromSocket(fds[0]), &Container{t: t, fd: fds[1]}
	t.Cleanup(func() {
		c.Close()
		d.Close()
	})
	return d, c
}

// Send sends a frame as the container: the Device reads it next. frame is the
// caller's again on return. The test fails when the queue is full.
func (c *Container) Send(hdr offload.Header, frame []byte) {
	c.t.Helper()
	if err := c.TrySend(hdr, frame); err != nil {
		c.t.Fatalf("send frame of %d bytes as container: %v", len(frame), err)
	}
}

// TrySend is Send for tests that expect an error: EAGAIN when the queue is
// full, EPIPE or ECONNRESET when the Device is closed.
func (c *Container) TrySend(hdr offload.Header, frame []byte) error {
	msg := make([]byte, offload.HeaderLen+len(frame))
	hdr.Put(msg)
	copy(msg[offload.HeaderLen:], frame)
	return c.TrySendRaw(msg)
}

// TrySendRaw sends bytes as they are, for what a hostile or broken kernel would
// hand out: shorter than a virtio header, say.
func (c *Container) TrySendRaw(msg []byte) error {
	for {
		_, err := unix.Write(c.fd, msg)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// Recv returns the next frame that was written to the Device, and its virtio
// header; frame is nil when none came within timeout. It is a copy.
func (c *Container) Recv(timeout time.Duration) (hdr offload.Header, frame []byte) {
	c.t.Helper()
	deadline := time.Now().Add(timeout)
	for {
		n, err := unix.Read(c.fd, c.buf[:])
		switch {
		case err == nil && n >= offload.HeaderLen:
			return offload.ParseHeader(c.buf[:]), append([]byte{}, c.buf[offload.HeaderLen:n]...)
		case err == nil && n == 0: // the Device is closed
			return hdr, nil
		case err == nil:
			c.t.Fatalf("receive as container: %d bytes were written to the TAP, less than a virtio header", n)
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			if !c.wait(time.Until(deadline)) {
				return hdr, nil
			}
		default:
			c.t.Fatalf("receive as container: %v", err)
		}
	}
}

// Drain throws away what was written to the Device and not received yet, and
// returns how many frames that were.
func (c *Container) Drain() int {
	c.t.Helper()
	for n := 0; ; n++ {
		if _, frame := c.Recv(0); frame == nil {
			return n
		}
	}
}

// Close ends the container: the Device reads what was sent before, then EBADFD.
// What was written to the Device and not received is lost. A second call does
// nothing.
func (c *Container) Close() {
	if c.fd < 0 {
		return
	}
	// With something unread the Device would get ECONNRESET ahead of what was sent.
	for {
		n, err := unix.Read(c.fd, c.buf[:])
		if n <= 0 && !errors.Is(err, unix.EINTR) {
			break
		}
	}
	_ = unix.Close(c.fd)
	c.fd = -1
}

// wait waits until there is something to read. It reports false after timeout.
func (c *Container) wait(timeout time.Duration) bool {
	if timeout <= 0 {
		return false
	}
	fds := []unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLIN}}
	_, err := unix.Poll(fds, int(timeout/time.Millisecond)+1)
	if err != nil && !errors.Is(err, unix.EINTR) {
		c.t.Fatalf("wait as container: %v", err)
	}
	return true // the caller reads again, and comes back while time is left
}

// TryRecvRaw reads one message, virtio header and frame, into buf and returns
// its length, without waiting and without allocating; 0 when there is none.
func (c *Container) TryRecvRaw(buf []byte) int {
	n, err := unix.Read(c.fd, buf)
	if err != nil {
		return 0
	}
	return n
}
