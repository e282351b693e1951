package encap

import (
	"net/netip"

	"weft/internal/header"
	"weft/internal/offload"
)

const (
	outerTTL = 64

	// headSpace is room for the headers of one message, in whole cache lines.
	headSpace = (header.IPv6Len + GREMaxLen + offload.MaxHeaders + 63) / 64 * 64
)

// envelope is what stands before the inner frame of one packet: outer IP header,
// UDP's for GRE-in-UDP, and GRE, the same for all segments but for lengths and what is
// counted.
type envelope struct {
	to    *peer
	src   netip.Addr
	gre   GREFields
	tos   uint8
	label uint32 // outer flow label, over IPv6
	port  uint16 // UDP source port; 0: raw GRE
	len   int    // bytes of outer headers and GRE
	skip  int    // bytes of the frame that are left out: its Ethernet header, or none
}

// address begins an envelope for a packet to a peer.
func (e *envelope) address(seed uint64, to *peer, p *Packet) {
	e.to, e.src, e.tos, e.port = to, to.src, innerECN(p.Frame), 0
	e.gre = GREFields{
		Protocol:    p.Proto,
		HasChecksum: to.Checksum,
		HasKey:      !to.Keyless,
		HasSequence: to.Sequence,
	}
	if e.gre.HasKey {
		e.gre.Key = p.Key
	}
	e.len, e.skip = to.outer+e.gre.Len(), p.skip()
	if to.Addr.Is6() {
		e.label = flowLabel(seed, p.Frame)
	}
}

// inUDP makes it an envelope of GRE-in-UDP from one of the sockets' source ports.
// The checksum of GRE would add nothing to UDP's (RFC 8086 section 3.3).
func (e *envelope) inUDP(s *udpSockets, source int) {
	e.port, e.label = s.ports[source], s.label(source)
	e.gre.HasChecksum = false
	e.len = e.to.outer + header.UDPLen + e.gre.Len()
}

// greAt returns where the GRE header begins.
func (e *envelope) greAt() int {
	if e.port != 0 {
		return e.to.outer + header.UDPLen
	}
	return e.to.outer
}

// put writes the envelope to the front of head, which holds inner headers behind
// it; payload follows head on the wire. UDP's checksum is left partial.
func (e *envelope) put(head, payload []byte) {
	if e.gre.HasSequence {
		e.gre.Sequence = e.to.numbers.next(e.gre.Key)
	}
	e.gre.Put(head[e.greAt():])
	if e.gre.HasChecksum {
		PutGREChecksum(head[e.to.outer:], payload)
	}
	e.putOuter(head, len(head)+len(payload))
}

// putOuter writes the outer headers of a datagram of length bytes. The identification
// is 0: with DF set nothing reads it (RFC 6864 section 4.1).
func (e *envelope) putOuter(head []byte, length int) {
	proto, inner := uint8(header.ProtoGRE), length-e.to.outer
	if e.port != 0 {
		proto = header.ProtoUDP
	}
	if e.to.Addr.Is6() {
		header.IPv6Fields{
			TrafficClass: e.tos, FlowLabel: e.label, PayloadLength: inner,
			NextHeader: proto, HopLimit: outerTTL, Src: e.src, Dst: e.to.Addr,
		}.Put(head)
	} else {
		header.IPv4Fields{
			TOS: e.tos, Length: length, DF: true, TTL: outerTTL, Protocol: proto,
			Src: e.src, Dst: e.to.Addr,
		}.Put(head)
	}
	if e.port != 0 {
		header.UDPFields{SrcPort: e.port, DstPort: udpPort, Length: inner, Checksum: e.pseudo(head, inner)}.Put(head[e.to.outer:])
	}
}

// pseudo returns the sum of UDP's pseudo-header: the outer header is that of head.
func (e *envelope) pseudo(head []byte, length int) uint16 {
	if e.to.Addr.Is6() {
		return header.Fold(header.IPv6(head).PseudoSum(header.ProtoUDP, length))
	}
	return header.Fold(header.IPv4(head).PseudoSum(header.ProtoUDP, length))
}

// longest returns the size of the longest datagram: in IPv6, the length field
// does not count the header.
func (p *peer) longest() int {
	if p.Addr.Is6() {
		return header.IPv6Len + 0xffff
	}
	return 0xffff
}
