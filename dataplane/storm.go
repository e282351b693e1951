package dataplane

import "weft/internal/header"

// Storm control: what a port sends to many costs many, so each port has a
// bucket of tokens for broadcast, one for multicast and one for unknown unicast.
// Known unicast never pays. The frames that the switch itself makes are exempt,
// and so is what comes from peers, which paid at its own port.
// The bucket holds what comes in two seconds.
const floodSeconds = 2

// DefaultFloodRate is how many frames a port may send to many in a second, of each
// kind, and each segment of a super-frame counted.
const DefaultFloodRate = 2000

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

// take takes n tokens at second now, of rate a second, and reports whether they
// were there.
func (f *flooding) take(kind floodKind, n, rate int, now uint32) bool {
	b := &f[kind]
	if b.second != now {
		b.tokens += rate * int(min(now-b.second, floodSeconds))
		if b.second == 0 || b.tokens > floodSeconds*rate {
			b.tokens = floodSeconds * rate
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
	if p.floodRate < 0 {
		return true
	}
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
	return p.flooding.take(kind, n, p.floodRate, w.now)
}
