package dataplane

import (
	"syscall"

	"weft/fib"
	"weft/internal/drop"
	"weft/internal/header"
	"weft/internal/offload"
)

// drainPort takes one batch from a port.
func (w *worker) drainPort(p *port, failed bool) {
	c := &p.counters[w.index]
	var frames, bytes uint64
	w.reset()
	used := cacheLine
	for len(w.frames) < batchFrames && used <= batchBytes {
		n, err := p.device.Read(w.arena[used : used+frameSpace])
		if err != nil || n < offload.HeaderLen {
			if err != syscall.EAGAIN {
				failed = true
			}
			break
		}
		buf := w.arena[used : used+n : used+n]
		w.at = used
		used += (n + tagRoom + cacheLine - 1) &^ (cacheLine - 1) // the next frame starts on one
		frames++
		bytes += uint64(n - offload.HeaderLen)
		w.frames = append(w.frames, frame{buf: buf, from: fib.PortDest(uint16(p.id))})
		if r := w.ingress(p, uint16(len(w.frames)-1)); r != drop.None {
			w.dropIn(&c.drops[r], r)
		}
	}
	c.rxFrames.Add(frames)
	c.rxBytes.Add(bytes)
	w.total.in.Add(frames)
	w.flush()
	if failed && frames == 0 { // EBADFD or POLLERR: the container or its TAP is gone
		w.unwatch(p.device.FD())
		w.sw.portGone(p)
	}
}

const cacheLine = 64

// reset begins a batch.
func (w *worker) reset() {
	w.frames, w.made, w.composed = w.frames[:0], w.made[:0], 0
}

// ingress guards a frame that a container sent, and forwards it.
func (w *worker) ingress(p *port, index uint16) drop.Reason {
	f := &w.frames[index]
	eth, ok := header.ParseEthernet(f.bytes())
	if !ok {
		return drop.TapShort
	}
	// A container can lie in the virtio header; from here on it is true.
	h, reason := offload.Check(offload.ParseHeader(f.buf), f.bytes())
	if reason != drop.None {
		return reason
	}
	f.header = h
	h.Put(f.buf)
	f.domain = w.snap.domain(p.domain)
	if f.domain.aware {
		if r := w.classify(p, f); r != drop.None {
			return r
		}
		eth = f.bytes()
	}
	if src := eth.Src(); src.IsMulticast() || src == 0 {
		return drop.L2SourceMAC
	}
	if r := w.guard(p, f, eth); r != drop.None {
		return r
	}
	if !fits(f, p.mtu) { // the container raised its MTU above what was attached
		return w.tellTooBig(f, p.mtu)
	}
	if dst := eth.Dst(); dst.IsMulticast() && !w.mayFlood(p, f, dst) {
		return drop.L2Storm
	}
	return w.forward(index, eth)
}

// dropIn counts a frame that ended at ingress.
func (w *worker) dropIn(at counter, r drop.Reason) {
	at.Add(1)
	w.total.drops[r].Add(1)
	w.total.droppedIn.Add(1)
}

// fits reports whether a frame, or each segment of a super-frame, stays within
// mtu, VLAN tags not counted (802.3 section 3.2.7).
func fits(f *frame, mtu int) bool {
	size := len(f.bytes())
	if f.header.IsGSO() {
		size = int(f.header.HdrLen) + int(f.header.GSOSize)
	}
	if size <= header.EthernetLen+mtu {
		return true
	}
	_, l3 := header.Ethernet(f.bytes()).L3()
	return size <= l3+mtu
}
