package offload

import (
	"encoding/binary"

	"weft/internal/header"
)

// Train recognises, in the frames of one batch, the TCP segments that follow one
// of the same flow, as a super-frame that was cut for a wire arrives. What was
// decided of the first holds for them too, and they need no more than one
// comparison of headers. The zero value follows nothing.
type Train struct {
	packet
	first []byte // frame that the train began with
}

// Start begins a train with a frame of which FromWire said that it needs nothing.
// It is borrowed until the next Start or Stop. Of what is no plain TCP segment
// (IP options, fragments) there is no train.
func (t *Train) Start(frame []byte) {
	t.first = nil
	p, _, ok := ipPacket(frame)
	if !ok || p.proto != header.ProtoTCP {
		return
	}
	if _, ok = tcpSegment(frame, p); ok {
		t.packet, t.first = p, frame
	}
}

// Stop ends the train.
func (t *Train) Stop() { t.first = nil }

// Follows reports whether frame is a TCP segment of the train's flow, differs in
// Ethernet and IP header by nothing but length, identification and checksum, is no
// longer than the first, and needs nothing either.
func (t *Train) Follows(frame []byte) bool {
	if t.first == nil || len(frame) > len(t.first) {
		return false
	}
	p, ok := t.again(t.first, frame)
	if !ok {
		return false
	}
	_, partial := partialHeader(frame, p)
	return !partial
}

// again returns where the headers of frame are, if it holds a TCP packet with the
// Ethernet and IP header and ports of first, which p describes and which has a
// plain IP header (see tcpSegment): the same but for length, identification and
// checksum of IP.
func (p packet) again(first, frame []byte) (packet, bool) {
	if len(frame) < p.l4+header.TCPLen || string(frame[:p.l3]) != string(first[:p.l3]) {
		return p, false
	}
	a, b := first[p.l3:p.l4+4], frame[p.l3:p.l4+4]
	var length int
	if p.v6 {
		length = header.IPv6Len + int(binary.BigEndian.Uint16(b[4:]))
		if [4]byte(a) != [4]byte(b) || [38]byte(a[6:]) != [38]byte(b[6:]) {
			return p, false
		}
	} else {
		length = int(binary.BigEndian.Uint16(b[2:]))
		if [2]byte(a) != [2]byte(b) || [4]byte(a[6:]) != [4]byte(b[6:]) || [12]byte(a[12:]) != [12]byte(b[12:]) {
			return p, false
		}
	}
	p.end = p.l3 + length
	return p, p.end >= p.l4+header.TCPLen && p.end <= len(frame)
}
