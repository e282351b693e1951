package offload

import (
	"encoding/binary"
	"syscall"

	"weft/internal/header"
)

const (
	// MergeFrames is how many frames a Merger takes, and so how many segments
	// it puts into one super-frame at most.
	MergeFrames = 128

	// mergeFlows bounds the flows that grow at a time; a further one ends the
	// oldest.
	mergeFlows = 8
)

// Merger joins TCP segments that arrived one by one into super-frames, so that a
// port takes them in one write: what tcp_gro_receive does in a kernel
// (net/ipv4/tcp_offload.c). It copies no payload and changes no frame: a
// super-frame is a vector over new headers and the payloads where they are.
//
//	Add  A1 B1 A2 a A3          A, B: flows; a: an ACK of A without data
//	Item [A1 A2] [B1] [a] [A3]
//
// Frames that nothing can be joined with are items of their own. Items come in
// the order of their first frames, and the frames of a flow stay in order: what
// does not fit a flow's item ends it.
//
// Only what a Splitter would take apart again to the same segments is joined.
// Two things get lost, and mean nothing: padding behind the packet, and the
// identification of an IPv4 packet that must not be fragmented (RFC 6864
// section 4.1). Without DF, identifications must count up, since routers behind
// the receiver may fragment what it cuts again.
//
// One goroutine uses it: Add a batch, write the Items, Reset. The zero value is
// ready.
type Merger struct {
	items    [MergeFrames]item
	count    int // items in use
	payloads [MergeFrames][]byte
	next     [MergeFrames]uint8 // index of the payload that follows in the same item
	used     int                // frames taken

	open   [mergeFlows]uint8 // items that may grow, the oldest first, one per flow
	opened int

	head [HeaderLen + MaxHeaders]byte // of the item asked for last
	iov  [1 + MergeFrames]syscall.Iovec
}

// item is one write to a port: a frame as it came, or a super-frame to be.
type item struct {
	buf         []byte // of the first frame: virtio header, then the frame
	to          uint16
	first, last uint8 // payloads
	frames      int
	bytes       int // of the frames as they came

	// Of an item with TCP data that may grow.
	packet
	headers int    // bytes of headers in buf, without the virtio header
	size    int    // payload bytes of the first segment
	payload int    // payload bytes of all
	seq     uint32 // sequence number behind them
	id      uint16 // IPv4 identification of the last segment
	flags   uint8  // TCP flags of all, or'ed
}

// Item is what one write to a port consists of.
type Item struct {
	To     uint16          // as given to Add
	Frames int             // how many frames are in it
	Bytes  int             // of these frames as they came, without virtio headers
	Vector []syscall.Iovec // virtio header, headers and payload
}

// Reset forgets all frames.
func (m *Merger) Reset() { m.count, m.used, m.opened = 0, 0, 0 }

// Len returns the number of items.
func (m *Merger) Len() int { return m.count }

// Add takes a frame for the destination to: buf is a virtio header from FromWire
// or Check and the frame behind it, borrowed until Reset. It may be added again
// for another destination. Only frames with the same destination are joined.
// Each must fit the destination's MTU. Add reports false, and took nothing, when
// there are MergeFrames: write the items and Reset first.
func (m *Merger) Add(to uint16, buf []byte) bool {
	if m.used == MergeFrames {
		return false
	}
	frame := buf[HeaderLen:]
	if len(frame) < header.EthernetLen {
		m.push(to, buf)
		return true
	}
	p, _, ok := ipPacket(frame)
	if !ok || p.proto != header.ProtoTCP && !p.fragment { // another protocol: of no flow that grows
		m.push(to, buf)
		return true
	}
	s, ok := tcpSegment(frame, p)
	if !ok { // of some flow, but not easily said which
		m.opened = 0
		m.push(to, buf)
		return true
	}
	sound := ParseHeader(buf) == Header{} && s.plain()
	if at := m.find(to, &s); at >= 0 {
		it := &m.items[m.open[at]]
		if sound && it.fits(&s) && s.checksumsOK() {
			m.join(it, &s)
			if len(s.payload) < it.size || s.flags&header.TCPPsh != 0 {
				m.end(at)
			}
			return true
		}
		m.end(at)
	}
	it := m.push(to, buf)
	if sound && s.flags&header.TCPPsh == 0 && len(s.payload) >= minTCPSegment && s.checksumsOK() {
		m.start(it, &s)
	}
	return true
}

// Item returns item i, 0 to Len-1. Its Vector is valid until the next call of
// Item, and holds the very bytes of buf where it is of one frame.
func (m *Merger) Item(i int) Item {
	it := &m.items[i]
	out := Item{To: it.to, Frames: it.frames, Bytes: it.bytes, Vector: m.iov[:1]}
	if it.frames == 1 {
		setVector(&m.iov[0], it.buf)
		return out
	}
	setVector(&m.iov[0], m.putHead(it))
	n := it.first
	for k := 1; k <= it.frames; k++ {
		setVector(&m.iov[k], m.payloads[n])
		n = m.next[n]
	}
	out.Vector = m.iov[:1+it.frames]
	return out
}

func setVector(v *syscall.Iovec, b []byte) {
	v.Base = &b[0]
	v.SetLen(len(b))
}

// push makes the frame an item, which does not grow.
func (m *Merger) push(to uint16, buf []byte) *item {
	it := &m.items[m.count]
	it.buf, it.to, it.frames, it.bytes = buf, to, 1, len(buf)-HeaderLen
	m.count++
	m.used++
	return it
}

// start lets the item that was pushed last grow from its first segment s.
func (m *Merger) start(it *item, s *segment) {
	n := uint8(m.used - 1)
	m.payloads[n] = s.payload
	it.first, it.last = n, n
	it.packet, it.headers, it.size, it.payload = s.packet, s.headers, len(s.payload), len(s.payload)
	it.seq, it.id, it.flags = s.seq()+uint32(len(s.payload)), s.id(), s.flags
	if m.opened == mergeFlows {
		m.end(0)
	}
	m.open[m.opened] = uint8(m.count - 1)
	m.opened++
}

// join appends a segment that fits.
func (m *Merger) join(it *item, s *segment) {
	n := uint8(m.used)
	m.used++
	m.payloads[n] = s.payload
	m.next[it.last], it.last = n, n
	it.frames++
	it.bytes += len(s.frame)
	it.payload += len(s.payload)
	it.seq += uint32(len(s.payload))
	it.id = s.id()
	it.flags |= s.flags
}

// find returns where in open the flow's item is, or -1.
func (m *Merger) find(to uint16, s *segment) int {
	for i, n := range m.open[:m.opened] {
		it := &m.items[n]
		if it.to == to && string(it.ends(it.buf[HeaderLen:])) == string(s.ends(s.frame)) {
			return i
		}
	}
	return -1
}

// end keeps the item at open[at] from growing.
func (m *Merger) end(at int) {
	copy(m.open[at:], m.open[at+1:m.opened])
	m.opened--
}

// putHead writes the headers of the super-frame: lengths and flags are those of
// the whole, and the TCP checksum is the pseudo-header sum (NEEDS_CSUM).
func (m *Merger) putHead(it *item) []byte {
	b := m.head[:copy(m.head[:], it.buf[:HeaderLen+it.headers])]
	h := Header{Flags: FlagNeedsCsum, GSOType: GSOTCPv4, HdrLen: uint16(it.headers), GSOSize: uint16(it.size),
		CsumStart: uint16(it.l4), CsumOffset: header.TCPChecksumOffset}
	frame := b[HeaderLen:]
	ip, tcp := frame[it.l3:it.l4], frame[it.l4:]
	length := len(tcp) + it.payload
	if it.v6 {
		h.GSOType = GSOTCPv6
		binary.BigEndian.PutUint16(ip[4:], uint16(length))
	} else {
		binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)+length))
		binary.BigEndian.PutUint16(ip[10:], 0)
		binary.BigEndian.PutUint16(ip[10:], ^header.Fold(header.Sum(ip)))
	}
	h.Put(b)
	tcp[13] = it.flags
	binary.BigEndian.PutUint16(tcp[header.TCPChecksumOffset:], header.Fold(it.pseudoSum(frame, length)))
	return b
}
