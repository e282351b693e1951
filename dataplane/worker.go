package dataplane

import (
	"fmt"
	"math"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"weft/encap"
	"weft/fib"
	"weft/internal/offload"
	"weft/tap"
)

const (
	// batchFrames and batchBytes bound what a worker takes from one source
	// before it turns to the next: a port that floods hurts itself. The bytes
	// of a batch stay in the second-level cache between read and write.
	batchFrames = 64
	batchBytes  = 128 << 10

	// frameSpace is room for the largest frame behind its virtio header.
	frameSpace = offload.HeaderLen + offload.MaxFrame

	// maxCopies bounds the egress list; it is flushed early when a flood fills it.
	maxCopies = 512

	// idle is the version of a worker that waits and holds no snapshot.
	idle = math.MaxUint64
)

// worker is one locked thread. All of its fields but the first group are its own.
type worker struct {
	sw      *Switch
	index   int
	epoll   int           // epoll set, see poll.go
	wakefd  int           // eventfd in it
	stop    atomic.Bool   // written by Close
	version atomic.Uint64 // of the snapshot in use, or idle; read by settle
	waits   atomic.Bool   // whether it waits for next hops; read by anyone
	gathers atomic.Bool   // whether it holds fragments; read by tick
	probing atomic.Bool   // written by tick: look for loops
	total   totals        // read by anyone
	sheet   sheet         // of total, as of the last whole batch; read by anyone

	mu       sync.Mutex  // guards announce
	announce []announced // frames that control wants sent

	events   [64]unix.EpollEvent
	snap     *snapshot
	now      uint32 // second, once per round
	arena    []byte // frames of the batch lie here one after another
	at       int    // where in it the frame from a port lies that was read last; tagRoom before it is free
	frames   []frame
	made     []frame // by the switch, see compose.go
	space    []byte  // of made frames
	composed int     // bytes of space in use
	copies   []outCopy
	packets  []encap.Packet
	origin   []uint16       // index in frames of each packet
	merger   offload.Merger // of what leaves at ports
	sender   *encap.Sender

	receivers []encap.Receiver // of worker 0, where there is an underlay
	strangers []*encap.Strangers

	awaiting map[awaitKey]*awaited // next hops asked for
	asked    uint32                // second in which they were last asked for
	teller   teller

	assemblies [maxAssemblies]assembly // packets for the gateways, see reassemble.go
}

// frame is one frame of the batch.
type frame struct {
	buf       []byte // virtio header, then the frame
	header    offload.Header
	from      fib.Dest // port or peer that it came from
	domain    *domain  // nil for bare IP that came from a peer
	bare      bool     // came from a peer as IP without Ethernet; has a header of zeros
	tunnel    *vrf     // leaves to a peer as bare IP of this vrf; nil: as Ethernet
	generated bool     // made by the switch, not read

	// Of a VLAN (vlan.go).
	wide   []byte // buf in its form with tag: it begins tagRoom earlier; nil: of no VLAN
	tci    uint16 // of the tag
	tagged bool   // buf has the tag now
	held   bool   // the merger may have it
	alien  bool   // has a tag, of a VLAN that no port names, and is in the network's domain
}

// bytes returns the frame without its virtio header.
func (f *frame) bytes() []byte { return f.buf[offload.HeaderLen:] }

// outCopy says that a frame of the batch leaves at a destination.
type outCopy struct {
	frame uint16 // for worker.frame
	to    fib.Dest
}

func newWorker(s *Switch, index int) (*worker, error) {
	w := &worker{
		sw: s, index: index, epoll: -1, wakefd: -1,
		arena:   make([]byte, batchBytes+frameSpace+tap.TagRoom),
		frames:  make([]frame, 0, batchFrames),
		made:    make([]frame, 0, maxMade),
		space:   make([]byte, composeSpace),
		copies:  make([]outCopy, 0, maxCopies),
		packets: make([]encap.Packet, 0, maxCopies),
		origin:  make([]uint16, 0, maxCopies),

		awaiting: map[awaitKey]*awaited{},
	}
	w.version.Store(idle)
	var err error
	if w.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("create epoll set: %w", err)
	}
	if w.wakefd, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		w.closeDescriptors()
		return nil, fmt.Errorf("create eventfd: %w", err)
	}
	if err := w.watch(w.wakefd, sourceWake, 0); err != nil {
		w.closeDescriptors()
		return nil, err
	}
	if u := s.cfg.Underlay; u != nil {
		w.sender = u.NewSender()
		if index == 0 { // every raw socket gets a copy of every packet: one reader
			if err := w.receive(u); err != nil {
				w.closeDescriptors()
				return nil, err
			}
		}
	}
	return w, nil
}

// receive makes the worker the reader of the underlay.
func (w *worker) receive(u *encap.Underlay) error {
	w.receivers, w.strangers = u.Receivers(), u.Strangers()
	for i, r := range w.receivers {
		if err := w.watch(r.FD(), sourceUnderlay, int32(i)); err != nil {
			return err
		}
	}
	for i, s := range w.strangers {
		if err := w.watch(s.FD(), sourceStrangers, int32(i)); err != nil {
			return err
		}
	}
	return nil
}

func (w *worker) closeDescriptors() {
	for _, fd := range []int{w.epoll, w.wakefd} {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
	w.epoll, w.wakefd = -1, -1
}

// run is the worker's thread: wait, load the snapshot, take one batch from
// every source that is ready, again.
func (w *worker) run() {
	runtime.LockOSThread() // own thread, whose epoll wait never holds up another
	defer w.sw.running.Done()
	for !w.stop.Load() {
		w.version.Store(idle)
		events := w.wait()
		w.version.Store(0) // before the load: settle must not miss a reader of the old snapshot
		w.snap = w.sw.snapshot.Load()
		w.version.Store(w.snap.version)
		w.now = w.sw.second.Load()
		for i := range events {
			w.serve(&events[i])
		}
		w.snap = nil
	}
	w.version.Store(idle)
}

// serve takes one batch from the source of an event.
func (w *worker) serve(ev *unix.EpollEvent) {
	switch source(ev.Pad) {
	case sourceWake:
		w.drainWake()
		w.sendAnnounced()
		w.settleAwaited()
		w.ageAssemblies()
		if w.probing.Swap(false) {
			w.sendProbes()
		}
	case sourcePort:
		// An event may outlive its port; the number may even be another worker's by now.
		if p := w.snap.port(PortID(ev.Fd)); p != nil && p.worker == w.index {
			w.drainPort(p, ev.Events&(unix.EPOLLERR|unix.EPOLLHUP) != 0)
		}
	case sourceUplink:
		if p := w.snap.port(PortID(ev.Fd)); p != nil && p.worker == w.index && p.uplink != nil {
			w.drainUplink(p)
		}
	case sourceUnderlay:
		w.drainUnderlay(w.receivers[ev.Fd], ev.Events&unix.EPOLLERR != 0)
	case sourceStrangers:
		w.countStrangers(w.strangers[ev.Fd])
	}
	w.balance()
}
