package dataplane

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// source says what a descriptor in a worker's epoll set is. It travels in the
// event, beside the number of the port or receiver.
type source int32

const (
	sourceWake      source = iota // the worker's eventfd
	sourcePort                    // a TAP
	sourceUplink                  // a link of the host
	sourceUnderlay                // datagrams of peers
	sourceStrangers               // datagrams of strangers, to be counted
)

// watch adds fd to the worker's epoll set, level-triggered; any goroutine.
func (w *worker) watch(fd int, src source, id int32) error {
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: id, Pad: int32(src)}
	if err := unix.EpollCtl(w.epoll, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		return fmt.Errorf("watch descriptor: %w", err)
	}
	return nil
}

// unwatch takes fd out of the epoll set. It may be out already.
func (w *worker) unwatch(fd int) {
	_ = unix.EpollCtl(w.epoll, unix.EPOLL_CTL_DEL, fd, nil)
}

// wake makes the worker return from its wait; any goroutine.
func (w *worker) wake() {
	one := [8]byte{0: 1}
	_, _ = unix.Write(w.wakefd, one[:])
}

// drainWake empties the eventfd.
func (w *worker) drainWake() {
	var count [8]byte
	_, _ = unix.Read(w.wakefd, count[:])
}

// wait blocks until a descriptor is ready and returns the events.
func (w *worker) wait() []unix.EpollEvent {
	n, err := unix.EpollWait(w.epoll, w.events[:], -1)
	if err != nil { // EINTR: the runtime's preemption signal
		return nil
	}
	return w.events[:n]
}
