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
// So what the two counts below add up to is exact as long as not both kinds of
// sender meet a full queue: while the strangers' queue is full, datagrams of
// peers count as strangers' too, and while the peers' queue is full, those of
// strangers count as overflow too. No count is ever too low.

// StrangersFD returns the descriptor of the socket that only strangers reach.
func (r *Receiver) StrangersFD() int { return r.u.sockets.Strangers }

// Strangers reads what strangers sent, a bounded number at a time, and returns
// how many datagrams arrived from them since the last call, overflow included.
func (r *Receiver) Strangers() uint64 {
	fd := r.u.sockets.Strangers
	n, _ := recvmmsg(fd, r.strangers[:])
	return uint64(n) + uint64(dropped(fd, &r.lostStrangers))
}

// Overflow returns how many datagrams the kernel dropped for want of room in the
// peers' queue since the last call. It costs one system call.
func (r *Receiver) Overflow() uint64 {
	return uint64(dropped(r.u.sockets.Peers, &r.lostPeers))
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
