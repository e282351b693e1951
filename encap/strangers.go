package encap

import (
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// strangersBatch is the most datagrams that one call of Count reads.
const strangersBatch = 64

// A raw socket whose queue is full refuses a datagram before its filter has seen
// it (raw_v4_input in net/ipv4/raw.c) and counts it. The filter's own refusals
// are not counted. SO_RXQ_OVFL would tell that number beside the next datagram
// that is queued, if one ever is; SO_MEMINFO tells the same number at any time.
//
// So the two counts below are exact, unless datagrams of the one kind arrive while
// the queue of the other is full: those are counted there as well. No datagram
// goes uncounted.

// Strangers counts what hosts that are no peers send, of one version of IP. The
// worker that has the Receivers uses it.
type Strangers struct {
	fd   int
	msgs [strangersBatch]mmsghdr // without room: nobody looks into the datagrams
	lost atomic.Uint32           // drops of the socket at the last Count
}

// Strangers returns one for each version of IP that the Underlay speaks. The
// list never changes.
func (u *Underlay) Strangers() []*Strangers {
	var all []*Strangers
	for _, f := range u.families {
		all = append(all, f.strangers)
	}
	for _, f := range u.families {
		if f.udpOthers != nil {
			all = append(all, f.udpOthers)
		}
	}
	return all
}

// FD returns the descriptor to wait on, with EPOLLIN.
func (s *Strangers) FD() int { return s.fd }

// Count reads what strangers sent, a bounded number at a time, and returns how
// many datagrams arrived from them since the last call, overflow included.
func (s *Strangers) Count() uint64 {
	n, _ := recvmmsg(s.fd, s.msgs[:])
	return uint64(n) + uint64(dropped(s.fd, &s.lost))
}

// dropped returns by how much a socket's drop counter grew since it was last.
func dropped(fd int, last *atomic.Uint32) uint32 {
	const skMeminfoDrops = 8 // SK_MEMINFO_DROPS (linux/sock_diag.h)
	var info [skMeminfoDrops + 1]uint32
	size := uint32(unsafe.Sizeof(info))
	_, _, errno := syscall.RawSyscall6(syscall.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return 0
	}
	now := info[skMeminfoDrops]
	return now - last.Swap(now)
}
