package tap

import (
	"fmt"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"weft/internal/rawdev"
)

// Device is one TAP, open at its first queue, with virtio headers. It comes
// from Create, Reopen, Recover or Adopt.
//
// One goroutine at a time may Read, any number may Write and WriteV beside it.
// Close and Remove are for when none of them is under way or will be called
// again: the kernel gives a closed descriptor's number to the next file that is
// opened.
type Device struct {
	fd   atomic.Int32 // -1 once closed
	pins bool
}

func newDevice(fd int, pins bool) *Device {
	d := &Device{pins: pins}
	d.fd.Store(int32(fd))
	return d
}

// FromSocket returns a Device over one end of a non-blocking SOCK_SEQPACKET
// pair, each of whose messages is [virtio header][frame]. It is the seam for
// tests (taptest) and knows no namespace, name or MTU. The Device owns fd.
func FromSocket(fd int) *Device { return newDevice(fd, false) }

// FD returns the descriptor, non-blocking, for epoll(7); -1 once closed. When
// the TAP is gone, poll reports POLLERR.
func (d *Device) FD() int { return int(d.fd.Load()) }

// Pins reports whether the descriptor keeps the container's namespace alive, so
// that neither Read nor Write ever notices the container's end. Its owner then
// registers the namespace with a Watcher.
func (d *Device) Pins() bool { return d.pins }

// Read reads one frame behind its virtio header into buf without waiting and
// returns the number of bytes. What does not fit is cut off: buf takes
// offload.HeaderLen + offload.MaxFrame bytes. Errors are bare syscall.Errno:
// EAGAIN when there is nothing, EBADFD when the TAP is gone.
func (d *Device) Read(buf []byte) (int, error) {
	if len(buf) == 0 {
		return 0, syscall.EINVAL
	}
	for {
		n, _, errno := syscall.RawSyscall(syscall.SYS_READ, uintptr(d.fd.Load()), uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)))
		switch {
		case errno == syscall.EINTR:
		case errno != 0:
			return 0, gone(errno)
		case n == 0: // only a socket whose other end is closed; a TAP never
			return 0, syscall.EBADFD
		default:
			return int(n), nil
		}
	}
}

// Write writes one frame behind its virtio header without waiting; buf is the
// caller's again on return. The kernel delivers into the container before the
// call returns. It does not hold frames to the MTU, so the switch must. Errors are
// bare syscall.Errno: EIO when the link is down, EBADFD when the TAP is gone,
// EINVAL for less than an Ethernet header or a virtio header that lies.
func (d *Device) Write(buf []byte) error {
	if len(buf) == 0 {
		return syscall.EINVAL
	}
	for {
		_, _, errno := syscall.RawSyscall(syscall.SYS_WRITE, uintptr(d.fd.Load()), uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)))
		switch errno {
		case 0:
			return nil
		case syscall.EINTR:
		default:
			return gone(errno)
		}
	}
}

// WriteV is Write for a frame in parts, the first of which begins with the
// virtio header; at most 1,024 parts, UIO_MAXIOV in linux/uio.h. Neither iov nor
// what it points to is kept. Errors are those of Write.
func (d *Device) WriteV(iov []syscall.Iovec) error {
	if len(iov) == 0 {
		return syscall.EINVAL
	}
	for {
		_, _, errno := syscall.RawSyscall(syscall.SYS_WRITEV, uintptr(d.fd.Load()), uintptr(unsafe.Pointer(&iov[0])), uintptr(len(iov)))
		switch errno {
		case 0:
			return nil
		case syscall.EINTR:
		default:
			return gone(errno)
		}
	}
}

// gone turns a socket's ways to say that the other end is closed into the
// TAP's; a TAP's own errors pass.
func gone(errno syscall.Errno) syscall.Errno {
	if errno == syscall.EPIPE || errno == syscall.ECONNRESET {
		return syscall.EBADFD
	}
	return errno
}

// IfName returns the name that the TAP has now, which its container may have
// changed. The error is EBADFD when the TAP is gone.
func (d *Device) IfName() (string, error) {
	name, _, err := rawdev.Interface(d.FD())
	if err != nil {
		return "", fmt.Errorf("name TAP: %w", err)
	}
	return name, nil
}

// Close closes the descriptor; the TAP stays in the container, without carrier.
// A second call does nothing.
func (d *Device) Close() error {
	fd := d.fd.Swap(-1)
	if fd < 0 {
		return nil
	}
	return unix.Close(int(fd))
}

// Remove deletes the TAP, whatever its name and namespace are by now, and
// closes the descriptor. A TAP that is gone already is no error. Other
// descriptors of the same TAP keep it until they are closed.
func (d *Device) Remove() error {
	err := rawdev.SetPersist(d.FD(), false)
	if cerr := d.Close(); cerr != nil {
		return fmt.Errorf("remove TAP: %w", cerr)
	}
	if err != nil && !isGone(err) {
		return fmt.Errorf("remove TAP: %w", err)
	}
	return nil
}
