package encap

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mmsghdr is struct mmsghdr of recvmmsg(2) and sendmmsg(2) on 64-bit machines.
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32 // bytes received or sent, set by the kernel
	_   [4]byte
}

// recvmmsg fills msgs from the start without waiting and returns how many it
// filled. EAGAIN: nothing is there.
func recvmmsg(fd int, msgs []mmsghdr) (int, syscall.Errno) {
	return mmsg(syscall.SYS_RECVMMSG, fd, msgs)
}

// sendmmsg sends msgs from the start without waiting and returns how many went.
// The error is about the first one: about a later one it is returned by the call
// that begins with it.
func sendmmsg(fd int, msgs []mmsghdr) (int, syscall.Errno) {
	return mmsg(unix.SYS_SENDMMSG, fd, msgs)
}

// mmsg issues the call past the Go scheduler, which need not know of a call that
// never waits.
func mmsg(call uintptr, fd int, msgs []mmsghdr) (int, syscall.Errno) {
	for {
		n, _, errno := syscall.RawSyscall6(call, uintptr(fd), uintptr(unsafe.Pointer(&msgs[0])), uintptr(len(msgs)), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			return int(n), 0
		case syscall.EINTR:
		default:
			return 0, errno
		}
	}
}
