package dataplane

import (
	"weft/internal/header"
	"weft/internal/offload"
)

// made marks the index of a frame that the switch made itself: it is in
// worker.made rather than in worker.frames.
const made = 1 << 15

const (
	maxMade      = 256
	composeSpace = 128 << 10 // bytes for made frames
)

// frame returns the frame with an index of the egress list.
func (w *worker) frame(index uint16) *frame {
	if index&made != 0 {
		return &w.made[index&^made]
	}
	return &w.frames[index]
}

// compose makes a frame of n bytes, zero, and a zero virtio header. It is valid
// until the next batch or the next compose, emitted or not.
func (w *worker) compose(n int, d *domain) (index uint16, b []byte) {
	lead := 0
	if d != nil && d.vid != 0 {
		lead = tagRoom
	}
	size := lead + offload.HeaderLen + n
	if len(w.made) == maxMade || w.composed+size > len(w.space) {
		w.flush()
		w.made, w.composed = w.made[:0], 0
	}
	buf := w.space[w.composed : w.composed+size : w.composed+size]
	clear(buf)
	w.composed += (size + 7) &^ 7
	m := frame{buf: buf[lead:], domain: d, generated: true}
	if lead > 0 {
		m.wide, m.tci = buf, d.vid
	}
	w.made = append(w.made, m)
	return uint16(len(w.made)-1) | made, m.bytes()
}

// reply sends a made frame back to where f came from.
func (w *worker) reply(index uint16, f *frame) {
	w.total.generated.Add(1)
	w.emit(index, f.from)
}

// send sends a made frame into its domain: to where its destination is, or,
// where that is unknown or multicast, to all but from.
func (w *worker) send(index uint16) {
	f := w.frame(index)
	dst := header.Ethernet(f.bytes()).Dst()
	if !dst.IsMulticast() {
		if to := f.domain.fdb.Lookup(dst); to != 0 {
			w.total.generated.Add(1)
			w.emit(index, to)
			return
		}
	}
	w.total.generated.Add(uint64(w.flood(index)))
}
