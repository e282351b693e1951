package offload

import (
	"encoding/binary"

	"weft/internal/header"
)

// MaxHeaders is the most that Splitter.Next writes to hdr: Ethernet with two
// tags, IPv4 with options or IPv6 with extension headers, TCP with options.
// Check and FromWire let no super-frame with longer headers pass.
const MaxHeaders = 256

// Segments returns how many frames the super-frame is cut into; 1 where it is none.
func Segments(h Header, frame []byte) int {
	if !h.IsGSO() {
		return 1
	}
	return (len(frame) - int(h.HdrLen) + int(h.GSOSize) - 1) / int(h.GSOSize)
}

// LongestSegment returns the bytes of the longest frame that this one becomes on
// a wire, Ethernet header included: what an MTU has to be compared with.
func LongestSegment(h Header, frame []byte) int {
	if !h.IsGSO() {
		return len(frame)
	}
	return int(h.HdrLen) + int(h.GSOSize)
}

// Splitter cuts one super-frame into segments without copying its payload.
// The frame itself stays as it is, so that it can be cut again for another peer.
// One goroutine uses it; it is reused for frame after frame by Init. The zero
// value has no segments left.
type Splitter struct {
	payload []byte // what is left of it
	headers int    // bytes of headers before every segment; 0: no super-frame
	size    int    // payload bytes per segment

	// The headers as every segment has them. What differs, lengths, identification,
	// sequence number, flags and checksums, is zero where a sum covers it.
	template [MaxHeaders]byte
	ipSum    uint32 // of the IPv4 header
	l4Sum    uint32 // of pseudo-header and L4 header

	l3, l4  int
	v6, tcp bool
	id      uint16 // IPv4 identification of the next segment
	seq     uint32 // TCP sequence number of the next segment
	flags   uint8  // TCP flags of the segments to come
}

// Init starts on frame, whose header h came from Check or FromWire. frame is
// borrowed until the last Next. A frame that is no super-frame comes out in one
// piece, with no headers written: Complete it before.
func (s *Splitter) Init(h Header, frame []byte) {
	s.payload, s.headers = frame, 0
	if !h.IsGSO() {
		return
	}
	p, _, ok := ipPacket(frame)
	if !ok {
		s.payload = nil
		return
	}
	s.headers, s.size, s.payload = int(h.HdrLen), int(h.GSOSize), frame[h.HdrLen:]
	s.l3, s.l4, s.v6, s.tcp = p.l3, p.l4, p.v6, p.proto == header.ProtoTCP
	t := s.template[:copy(s.template[:], frame[:h.HdrLen])]

	ip, l4 := t[s.l3:s.l4], t[s.l4:]
	if !s.v6 {
		s.id = header.IPv4(ip).ID()
		clear(ip[2:6])
		clear(ip[10:12])
		s.ipSum = header.Sum(ip)
	}
	if s.tcp {
		s.seq, s.flags = header.TCP(l4).Seq(), header.TCP(l4).Flags()
		clear(l4[4:8])
		l4[13] = 0
		clear(l4[16:18])
	} else {
		clear(l4[4:8])
	}
	s.l4Sum = p.pseudoSum(frame, 0) + header.Sum(l4)
}

// Next writes the headers of the next segment to hdr (at least MaxHeaders
// bytes), lengths, identification, sequence number, flags and checksums
// complete, and returns how many bytes it wrote and the payload that follows
// them, a part of the frame. ok is false when no segment is left.
func (s *Splitter) Next(hdr []byte) (n int, payload []byte, ok bool) {
	if len(s.payload) == 0 {
		return 0, nil, false
	}
	if s.headers == 0 {
		payload, s.payload = s.payload, nil
		return 0, payload, true
	}
	size := min(s.size, len(s.payload))
	payload, s.payload = s.payload[:size], s.payload[size:]
	hdr = hdr[:copy(hdr, s.template[:s.headers])]
	s.putIP(hdr[s.l3:s.l4], len(hdr)-s.l3+size)
	if s.tcp {
		s.putTCP(hdr[s.l4:], payload)
	} else {
		s.putUDP(hdr[s.l4:], payload)
	}
	return len(hdr), payload, true
}

// putIP completes the IP header of a packet of length bytes.
func (s *Splitter) putIP(ip []byte, length int) {
	if s.v6 {
		binary.BigEndian.PutUint16(ip[4:], uint16(length-header.IPv6Len))
		return
	}
	binary.BigEndian.PutUint16(ip[2:], uint16(length))
	binary.BigEndian.PutUint16(ip[4:], s.id)
	binary.BigEndian.PutUint16(ip[10:], ^header.Fold(s.ipSum+uint32(length)+uint32(s.id)))
	s.id++
}

// putTCP completes the TCP header before payload. FIN and PSH belong to the last
// segment, CWR to the first, which alone answers an ECN echo (RFC 3168 section 6.1.2).
func (s *Splitter) putTCP(tcp, payload []byte) {
	flags := s.flags
	if len(s.payload) > 0 {
		flags &^= header.TCPFin | header.TCPPsh
	}
	binary.BigEndian.PutUint32(tcp[4:], s.seq)
	tcp[13] = flags
	sum := s.l4Sum + uint32(len(tcp)+len(payload)) + s.seq>>16 + s.seq&0xffff + uint32(flags) + header.Sum(payload)
	binary.BigEndian.PutUint16(tcp[16:], ^header.Fold(sum))
	s.seq += uint32(len(payload))
	s.flags &^= header.TCPCwr
}

// putUDP completes the UDP header before payload; its length is in the
// pseudo-header too. A checksum of 0 would say that there is none.
func (s *Splitter) putUDP(udp, payload []byte) {
	length := len(udp) + len(payload)
	binary.BigEndian.PutUint16(udp[4:], uint16(length))
	sum := ^header.Fold(s.l4Sum + 2*uint32(length) + header.Sum(payload))
	if sum == 0 {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(udp[6:], sum)
}
