package offload

import (
	"encoding/binary"

	"weft/internal/header"
)

// segment is a view of a frame with a TCP segment directly behind IPv4 without
// options or IPv6 without extension headers.
type segment struct {
	frame []byte
	packet
	headers int // bytes before the payload
	payload []byte
	flags   uint8 // of TCP
}

// tcpSegment returns the segment in a frame, of which p is the packet. It is
// false for fragments, IP options and a TCP header that is not whole.
func tcpSegment(frame []byte, p packet) (segment, bool) {
	plain := header.IPv4Len
	if p.v6 {
		plain = header.IPv6Len
	}
	if p.fragment || p.l4 != p.l3+plain {
		return segment{}, false
	}
	t, ok := header.ParseTCP(frame[p.l4:p.end])
	if !ok {
		return segment{}, false
	}
	headers := p.l4 + t.HeaderLen()
	return segment{frame: frame, packet: p, headers: headers, payload: frame[headers:p.end], flags: t.Flags()}, true
}

// ends returns addresses and ports, which stand in a row.
func (p packet) ends(frame []byte) []byte {
	if p.v6 {
		return frame[p.l3+8 : p.l4+4]
	}
	return frame[p.l3+12 : p.l4+4]
}

func (s *segment) tcp() header.TCP { return header.TCP(s.frame[s.l4:s.end]) }

func (s *segment) seq() uint32 { return s.tcp().Seq() }

// id returns the identification; 0 for IPv6, which has none.
func (s *segment) id() uint16 {
	if s.v6 {
		return 0
	}
	return header.IPv4(s.frame[s.l3:]).ID()
}

// plain reports whether the segment is data and nothing else: no flag but ACK
// and PSH is set, the ninth one in byte 12 included, and no urgent pointer.
func (s *segment) plain() bool {
	t := s.tcp()
	return len(s.payload) > 0 && s.flags&^header.TCPPsh == header.TCPAck && t[12]&0x0f == 0 && t[18]|t[19] == 0
}

// checksumsOK verifies the checksums of IPv4 and TCP in full: of a super-frame
// nobody does so again.
func (s *segment) checksumsOK() bool {
	if !s.v6 && !header.IPv4(s.frame[s.l3:]).ChecksumOK() {
		return false
	}
	l4 := s.frame[s.l4:s.end]
	return header.Fold(s.pseudoSum(s.frame, len(l4))+header.Sum(l4)) == 0xffff
}

// fits reports whether a plain segment of the item's flow carries on where the
// item ends: in sequence, not longer than the first, and all that a segment of
// the super-frame would inherit from the first is the same.
func (it *item) fits(s *segment) bool {
	first := it.buf[HeaderLen:]
	if s.headers != it.headers || s.seq() != it.seq || len(s.payload) > it.size ||
		it.headers+it.payload+len(s.payload) > header.EthernetLen+65535 || // lengths have 16 bits
		string(s.frame[:s.l3]) != string(first[:it.l3]) {
		return false
	}
	a, b := first[s.l3:s.l4], s.frame[s.l3:s.l4]
	if s.v6 {
		if string(a[:4]) != string(b[:4]) || a[7] != b[7] { // traffic class, flow label; hop limit
			return false
		}
	} else {
		counts := a[6]&0x40 != 0 || s.id() == it.id+1                    // DF
		if a[1] != b[1] || string(a[6:9]) != string(b[6:9]) || !counts { // TOS; flags; TTL
			return false
		}
	}
	a, b = first[s.l4:s.headers], s.frame[s.l4:s.headers]
	return binary.BigEndian.Uint32(a[8:]) == binary.BigEndian.Uint32(b[8:]) && // ACK
		string(a[14:16]) == string(b[14:16]) && string(a[20:]) == string(b[20:]) // window, options
}
