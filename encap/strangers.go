package encap

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// strangersBatch is the most datagrams that one call of Strangers reads.
const strangersBatch = 64

// A raw socket whose queue is full refuses a datagram before its filter has seen
// it (raw_v4_input in net/ipv4/raw.c) and counts it. The filter's own refusals
// are not counted. SO_RXQ_OVFL would tell that number beside the next datagram
// that is queued, if one ever is; SO_MEMINFO tells the same number at any time.
//
// So the two counts below are exact, unless datagrams of the one kind arrive while
// the queue of the other is full: those are counted there as well. No datagram
// goes uncounted.

// StrangersFD returns the descriptor of the socket that only strangers reach.
func (r *Receiver) StrangersFD() int { return r.f.sockets.Strangers }

// Strangers reads what strangers sent, a bounded number at a time, and returns
// how many datagrams arrived from them since the last call, overflow included.
func (r *Receiver) Strangers() uint64 {
	fd := r.f.sockets.Strangers
	n, _ := recvmmsg(fd, r.strangers[:])
	return uint64(n) + uint64(dropped(fd, &r.lostStrangers))
}

// Overflow returns how many datagrams the kernel dropped for want of room in the
// peers' queue, as far as Recv has read it, since the last call. It is cheap to
// call after every Recv: a queue that was full has more than one datagram for the
// Recv that follows, so only then the kernel is asked.
func (r *Receiver) Overflow() uint64 {
	if !r.backlog {
		return 0
	}
	r.backlog = false
	return uint64(dropped(r.f.sockets.Peers, &r.lostPeers))
}

// dropped returns by how much a socket's drop counter grew since it was *last.
func dropped(fd int, last *uint32) uint32 {
	const skMeminfoDrops = 8 // SK_MEMINFO_DROPS (linux/sock_diag.h)
	var info [skMeminfoDrops + 1]uint32
	size := uint32(unsafe.Sizeof(info))
	_, _, errno := syscall.RawSyscall6(syscall.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return 0
	}
	grown := info[skMeminfoDrops] - *last
	*last = info[skMeminfoDrops]
	return grown
}
