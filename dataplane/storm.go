package dataplane

import "weft/internal/header"

// Storm control: what a port sends to many costs many, so each port has a
// bucket of tokens for broadcast, one for multicast and one for unknown unicast.
// Known unicast never pays. The frames that the switch itself makes are exempt,
// and so is what comes from peers, which paid at its own port.
const (
	floodRate  = 2000 // frames a second, each segment of a super-frame counted
	floodBurst = 4000
)

// floodKind names a bucket.
type floodKind uint8

const (
	floodBroadcast floodKind = iota
	floodMulticast
	floodUnknown
	floodKinds
)

// flooding is the buckets of one port. The worker that reads the port owns them.
type flooding [floodKinds]struct {
	second uint32 // in which it was last filled; 0: full
	tokens int
}

// take takes n tokens at second now and reports whether they were there.
func (f *flooding) take(kind floodKind, n int, now uint32) bool {
	b := &f[kind]
	if b.second != now {
		b.tokens += floodRate * int(min(now-b.second, floodBurst/floodRate))
		if b.second == 0 || b.tokens > floodBurst {
			b.tokens = floodBurst
		}
		b.second = now
	}
	if b.tokens < n {
		return false
	}
	b.tokens -= n
	return true
}

// mayFlood takes tokens for a frame from p that goes to many.
func (w *worker) mayFlood(p *port, f *frame, dst header.MAC) bool {
	kind := floodUnknown
	switch {
	case dst == header.Broadcast:
		kind = floodBroadcast
	case dst.IsMulticast():
		kind = floodMulticast
	}
	n := 1
	if f.header.IsGSO() {
		n = (len(f.bytes()) - int(f.header.HdrLen) + int(f.header.GSOSize) - 1) / int(f.header.GSOSize)
	}
	return p.flooding.take(kind, n, w.now)
}
