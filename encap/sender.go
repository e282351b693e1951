package encap

import (
	"syscall"

	"golang.org/x/sys/unix"

	"weft/internal/drop"
	"weft/internal/header"
	"weft/internal/offload"
)

const (
	sendBatch = 64 // messages handed to the kernel at once
	outerTTL  = 64

	// headSpace is room for the headers of one message, in whole cache lines.
	headSpace = (header.IPv6Len + GREMaxLen + offload.MaxHeaders + 63) / 64 * 64
)

// Packet is one inner frame on its way to a peer, a super-frame uncut. Copies of
// one frame for several peers follow one another and share Frame. With ProtoIPv4
// and ProtoIPv6 the frame has no VLAN tag, and its Ethernet header stays here.
type Packet struct {
	Peer   PeerID
	Proto  uint16 // ProtoTEB, ProtoIPv4 or ProtoIPv6
	Key    uint32 // left out where the peer is keyless
	Header offload.Header
	Frame  []byte      // borrowed until Send returns; its checksum may be completed in place
	Reason drop.Reason // set by Send: None when every segment was handed to the kernel
	Err    error       // set by Send beside a Reason: what the kernel said, a syscall.Errno
}

// Sender encapsulates and sends. Each worker has its own.
type Sender struct {
	u     *Underlay
	split offload.Splitter

	// The packet at work.
	current int // its index
	to      *peer
	skip    int // bytes of the frame that are left out: its Ethernet header, or none
	inner   int // behind the outer headers of a frame that is sent from its first byte
	gre     GREFields
	tos     uint8
	label   uint32 // outer flow label, over IPv6

	// Messages that wait for flush.
	n     int
	fd    int // all of them go there
	msgs  [sendBatch]mmsghdr
	iovs  [sendBatch][2]unix.Iovec // headers, payload
	heads [sendBatch][headSpace]byte
	owner [sendBatch]int // index of the packet that the message is of
}

// NewSender returns a Sender.
func (u *Underlay) NewSender() *Sender {
	s := &Sender{u: u}
	for i := range s.msgs {
		s.msgs[i].hdr.Iov = &s.iovs[i][0]
	}
	return s
}

// Send sends the packets in order and sets each one's Reason. It completes
// checksums in place and clears the headers' flags accordingly. A packet that
// fails does not hold up those behind it.
func (s *Sender) Send(pkts []Packet) {
	peers := s.u.peers.Load()
	var completed *byte // the frame of the packet before, where its checksum was completed
	for i := range pkts {
		p := &pkts[i]
		p.Reason, p.Err = drop.None, nil
		if s.to = peers.peer(p.Peer); s.to == nil { // removed meanwhile
			p.Reason, p.Err = drop.TxUnreachable, syscall.EDESTADDRREQ
			continue
		}
		if !s.to.src.IsValid() {
			p.Reason, p.Err = drop.TxUnreachable, syscall.ENETUNREACH
			continue
		}
		if fd := s.u.family(s.to.Addr).sockets.Send; fd != s.fd {
			s.flush(pkts)
			s.fd = fd
		}
		s.begin(i, p)
		if len(p.Frame) <= s.skip {
			p.Reason = drop.TapShort
			continue
		}
		if p.Header.IsGSO() {
			s.sendSegments(pkts, p)
			continue
		}
		if p.Header.NeedsCsum() {
			if frame := &p.Frame[0]; frame != completed {
				offload.Complete(p.Header, p.Frame)
				completed = frame
			}
			p.Header = offload.Header{}
		}
		s.sendFrame(pkts, p)
	}
	s.flush(pkts)
}

// begin prepares what all segments of a packet share.
func (s *Sender) begin(i int, p *Packet) {
	s.current = i
	s.tos = innerECN(p.Frame)
	s.gre = GREFields{
		Protocol:    p.Proto,
		HasChecksum: s.to.Checksum,
		HasKey:      !s.to.Keyless,
		HasSequence: s.to.Sequence,
	}
	if s.gre.HasKey {
		s.gre.Key = p.Key
	}
	s.skip, s.inner = 0, s.to.outer+s.gre.Len()
	if p.Proto != ProtoTEB {
		s.skip = header.EthernetLen
	}
	if s.to.Addr.Is6() {
		s.label = flowLabel(s.u.seed, p.Frame)
	}
}

// sendFrame queues a frame that needs no cutting.
func (s *Sender) sendFrame(pkts []Packet, p *Packet) {
	if s.inner+len(p.Frame)-s.skip > s.to.longest() {
		p.Reason, p.Err = drop.TxTooBig, syscall.EMSGSIZE
		return
	}
	s.queue(pkts, s.skip, p.Frame[s.skip:])
}

// sendSegments cuts a super-frame, and stops where a segment fails: TCP sends
// the rest again in any case.
func (s *Sender) sendSegments(pkts []Packet, p *Packet) {
	s.split.Init(p.Header, p.Frame)
	n, payload, ok := s.split.Next(s.heads[s.n][s.inner:])
	if !ok { // a header that offload.Check has not seen
		p.Reason = drop.TapVirtio
	}
	for ok && p.Reason == drop.None {
		s.queue(pkts, n, payload)
		n, payload, ok = s.split.Next(s.heads[s.n][s.inner:])
	}
}

// queue makes a message of outer headers, the n bytes of inner headers that
// stand behind their place already, and payload. Where the Ethernet header is
// left out, the outer headers are written over it.
func (s *Sender) queue(pkts []Packet, n int, payload []byte) {
	head := s.heads[s.n][s.skip : s.inner+n]
	if s.gre.HasSequence {
		s.gre.Sequence = s.to.numbers.next(s.gre.Key)
	}
	s.gre.Put(head[s.to.outer:])
	if s.gre.HasChecksum {
		PutGREChecksum(head[s.to.outer:], payload)
	}
	s.putOuter(head, len(head)+len(payload))

	iov := &s.iovs[s.n]
	iov[0].Base = &head[0]
	iov[0].SetLen(len(head))
	parts := 1
	if len(payload) > 0 {
		iov[1].Base = &payload[0]
		iov[1].SetLen(len(payload))
		parts = 2
	}
	m := &s.msgs[s.n].hdr
	m.SetIovlen(parts)
	m.Name, m.Namelen = s.to.dest.name()
	s.owner[s.n] = s.current
	if s.n++; s.n == sendBatch {
		s.flush(pkts)
	}
}

// putOuter writes the outer header. The identification is 0: with DF set nothing
// reads it (RFC 6864 section 4.1).
func (s *Sender) putOuter(head []byte, length int) {
	if s.to.Addr.Is6() {
		header.IPv6Fields{
			TrafficClass: s.tos, FlowLabel: s.label, PayloadLength: length - header.IPv6Len,
			NextHeader: header.ProtoGRE, HopLimit: outerTTL, Src: s.to.src, Dst: s.to.Addr,
		}.Put(head)
		return
	}
	header.IPv4Fields{
		TOS: s.tos, Length: length, DF: true, TTL: outerTTL, Protocol: header.ProtoGRE,
		Src: s.to.src, Dst: s.to.Addr,
	}.Put(head)
}

// longest returns the size of the longest datagram: in IPv6, the length field
// does not count the header.
func (p *peer) longest() int {
	if p.Addr.Is6() {
		return header.IPv6Len + 0xffff
	}
	return 0xffff
}

// flush hands the queued messages to the kernel. Behind one that fails it goes
// on with the next packet.
func (s *Sender) flush(pkts []Packet) {
	retried := -1
	for i := 0; i < s.n; {
		sent, errno := sendmmsg(s.fd, s.msgs[i:s.n])
		if i += sent; errno == 0 {
			continue
		}
		reason := sendReason(errno)
		if reason == drop.TxUnreachable && retried != i {
			retried = i // an ICMP error may have been pending (forged, on older kernels): it is gone now
			continue
		}
		failed := s.owner[i]
		pkts[failed].Reason, pkts[failed].Err = reason, errno
		for i < s.n && s.owner[i] == failed {
			i++
		}
	}
	s.n = 0
}

// sendReason says what an error of send(2) on a raw socket means.
func sendReason(errno syscall.Errno) drop.Reason {
	switch errno {
	case syscall.EMSGSIZE:
		return drop.TxTooBig
	case syscall.ENOBUFS, syscall.EAGAIN, syscall.ENOMEM:
		return drop.TxNoBufs
	default: // ENETUNREACH, EHOSTUNREACH, ENETDOWN, EPERM (netfilter), EINVAL, ECONNREFUSED on a test's socketpair ...
		return drop.TxUnreachable
	}
}
