package encap

import (
	"net/netip"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"weft/internal/drop"
)

const (
	udpBatch    = 8       // messages that one Recv reads
	udpMost     = 128     // segments of a message (UDP_MAX_SEGMENTS, linux/udp.h)
	udpExpected = 1472    // bytes of a segment, before any came: those of a link of 1500
	udpUncut    = 1 << 16 // bytes that are expected of a super-frame that nobody cut

	// udpSlot is room for the segments of one message, each behind its headroom.
	udpSlot = udpUncut + udpMost*(Headroom+cacheLine)

	cacheLine = 64
)

// udpReceiver reads the peers' UDP socket of one version of IP. The kernel hands
// over datagrams of one flow and one size as a whole (udp(7), UDP_GRO). So that no
// segment has to be moved to get its headroom, the vector into which a message
// is read has one part for each, of the size that they had before:
//
//	[headroom][segment][headroom][segment] ...
//
// Where the size is another one, the segments are moved, and the next message is
// expected in it. What nobody cut on the way from a super-frame (egress_carrier.go) is
// one segment of up to 64 KB; while such come, that is the size that is expected.
type udpReceiver struct {
	u        *Underlay
	f        *family
	expected int // bytes of a segment
	parts    int // of each vector
	unlike   int // messages of several smaller segments than expected, since one that was as expected
	msgs     [udpBatch]mmsghdr
	iovs     [udpBatch][udpMost]unix.Iovec
	sources  [udpBatch]sockaddr
	controls [udpBatch][64]byte
	space    []byte // udpBatch slots
	moved    []byte // udpBatch slots for segments that had to be moved
	out      []Datagram

	backlog bool          // as in rawReceiver
	lost    atomic.Uint32 // as in rawReceiver
}

func newUDPReceiver(u *Underlay, f *family) *udpReceiver {
	r := &udpReceiver{
		u: u, f: f, space: make([]byte, udpBatch*udpSlot), moved: make([]byte, udpBatch*udpSlot),
		out: make([]Datagram, 0, udpBatch*udpMost),
	}
	r.expect(udpExpected)
	return r
}

func slotOf(space []byte, i int) []byte { return space[i*udpSlot : (i+1)*udpSlot : (i+1)*udpSlot] }

// stride returns how far apart segments of a size lie.
func stride(size int) int { return (Headroom + size + cacheLine - 1) &^ (cacheLine - 1) }

// expect sets the vectors up for segments of a size. The last part takes what
// is left.
func (r *udpReceiver) expect(size int) {
	r.expected, r.unlike = size, 0
	r.parts = min((udpUncut+size-1)/size, udpMost)
	for i := range r.msgs {
		slot := slotOf(r.space, i)
		left := udpUncut
		for k := range r.parts {
			n := size
			if k == r.parts-1 {
				n = left
			}
			left -= n
			r.iovs[i][k].Base = &slot[k*stride(size)+Headroom]
			r.iovs[i][k].SetLen(n)
		}
		r.prepare(i)
	}
}

// prepare resets what the kernel writes over.
func (r *udpReceiver) prepare(i int) {
	m := &r.msgs[i].hdr
	m.Iov = &r.iovs[i][0]
	m.SetIovlen(r.parts)
	m.Name = (*byte)(unsafe.Pointer(&r.sources[i].v4))
	m.Namelen = unix.SizeofSockaddrInet4
	if r.f.v6 {
		m.Name, m.Namelen = (*byte)(unsafe.Pointer(&r.sources[i].v6)), unix.SizeofSockaddrInet6
	}
	m.Control = &r.controls[i][0]
	m.SetControllen(len(r.controls[i]))
}

// FD returns the peers' socket.
func (r *udpReceiver) FD() int { return r.f.udp.peers }

// Recv reads a batch.
func (r *udpReceiver) Recv() ([]Datagram, error) {
	n, errno := recvmmsg(r.f.udp.peers, r.msgs[:])
	if errno != 0 {
		if errno == syscall.EAGAIN {
			return nil, nil
		}
		return nil, errno
	}
	r.backlog = r.backlog || n > 1
	r.out = r.out[:0]
	expect := 0
	for i := range n {
		size, tos := r.beside(i)
		total := int(r.msgs[i].len)
		if size == 0 || size > total {
			size = total
		}
		if next := r.next(size, total); next != 0 {
			expect = next
		}
		r.open(i, total, size, tos)
	}
	for i := range n {
		r.prepare(i)
	}
	if expect != 0 {
		// What was opened lies in the slots still: only the vectors are others.
		r.expect(expect)
	}
	return r.out, nil
}

// next learns from a message what size to expect from now on; 0: the same as before.
func (r *udpReceiver) next(size, total int) int {
	switch {
	case size == r.expected, size == total && total > udpExpected && r.expected == udpUncut:
		r.unlike = 0
		return 0
	case size == total && total > int(r.iovs[0][0].Len) && total > udpExpected:
		return udpUncut
	case size == total: // one segment, which is no matter to move
		return 0
	}
	if r.unlike++; size > r.expected || r.unlike > 64 {
		return size
	}
	return 0
}

// beside reads what the kernel said beside message i: the size of its segments,
// 0 where it is one, and the outer TOS or traffic class.
func (r *udpReceiver) beside(i int) (size int, tos uint8) {
	b := r.controls[i][:min(uint64(r.msgs[i].hdr.Controllen), uint64(len(r.controls[i])))]
	for len(b) >= unix.SizeofCmsghdr {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
		if h.Len < unix.SizeofCmsghdr || h.Len > uint64(len(b)) {
			break
		}
		value := b[unix.SizeofCmsghdr:h.Len]
		switch {
		case h.Level == unix.IPPROTO_UDP && h.Type == unix.UDP_GRO && len(value) >= 4:
			size = int(*(*int32)(unsafe.Pointer(&value[0])))
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_TOS && len(value) >= 1,
			h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_TCLASS && len(value) >= 1:
			tos = value[0]
		}
		b = b[min(uint64(len(b)), (h.Len+7)&^7):]
	}
	return size, tos
}

// open opens the segments of message i, of size bytes each but the last, total
// bytes in all.
func (r *udpReceiver) open(i, total, size int, tos uint8) {
	peers, hello := r.u.peers.Load(), r.u.hello.Load()
	var d Datagram
	p := d.from(peers, r.source(i), r.msgs[i].hdr.Flags&unix.MSG_TRUNC != 0)
	if p == nil || total == 0 {
		if d.Reason == drop.None {
			d.Reason = drop.GREShort
		}
		r.out = append(r.out, d)
		return
	}
	if total > size*udpMost { // no kernel does that
		size = total
	}
	slot, step := slotOf(r.space, i), stride(r.expected)
	inPlace := size == r.expected && total <= r.parts*size || size == total && total <= int(r.iovs[i][0].Len)
	if !inPlace {
		slot, step = r.move(i, total, size), stride(size)
	}
	for k := 0; k*size < total; k++ {
		start := k*step + Headroom
		d := Datagram{Peer: p.ID, TOS: tos}
		d.openGRE(p, slot, start, start+min(size, total-k*size))
		if d.hello == nil || !hello.take(p, CarrierUDP, d.hello) {
			r.out = append(r.out, d)
		}
	}
}

// move copies the segments of message i to where each has its headroom, and
// returns the place.
func (r *udpReceiver) move(i, total, size int) []byte {
	from, to := slotOf(r.space, i), slotOf(r.moved, i)
	left, in, out := 0, 0, 0 // of the segment at work; in the part of the vector
	part := 0
	at := Headroom
	for done := 0; done < total; {
		if left == 0 {
			at, left = out*stride(size)+Headroom, min(size, total-done)
			out++
		}
		n := min(left, int(r.iovs[i][part].Len)-in)
		source := part*stride(r.expected) + Headroom + in
		copy(to[at:at+n], from[source:source+n])
		at, left, in, done = at+n, left-n, in+n, done+n
		if in == int(r.iovs[i][part].Len) {
			part, in = part+1, 0
		}
	}
	return to
}

// source returns the address that message i came from.
func (r *udpReceiver) source(i int) netip.Addr {
	if r.f.v6 {
		return netip.AddrFrom16(r.sources[i].v6.Addr)
	}
	return netip.AddrFrom4(r.sources[i].v4.Addr)
}

// Errors: what hosts say of the datagrams goes to the sockets that send them, where
// the hello reads it (readErrors).
func (r *udpReceiver) Errors(func(PeerID, error)) {
	_, _ = unix.GetsockoptInt(r.f.udp.peers, unix.SOL_SOCKET, unix.SO_ERROR)
}

// Overflow asks the kernel only where there is something to ask for.
func (r *udpReceiver) Overflow() uint64 {
	if !r.backlog {
		return 0
	}
	r.backlog = false
	return uint64(dropped(r.f.udp.peers, &r.lost))
}
