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

// envelope is what stands before the inner frame of one packet: outer IP header
// and GRE, the same for all segments but for lengths and what is counted.
type envelope struct {
	to    *peer
	src   netip.Addr
	gre   GREFields
	tos   uint8
	label uint32 // outer flow label, over IPv6
	len   int    // bytes of outer header and GRE
	skip  int    // bytes of the frame that are left out: its Ethernet header, or none
}

// address begins an envelope for a packet to a peer.
func (e *envelope) address(seed uint64, to *peer, p *Packet) {
	e.to, e.src, e.tos = to, to.src, innerECN(p.Frame)
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

// put writes the envelope to the front of head, which holds inner headers behind
// it; payload follows head on the wire.
func (e *envelope) put(head, payload []byte) {
	if e.gre.HasSequence {
		e.gre.Sequence = e.to.numbers.next(e.gre.Key)
	}
	e.gre.Put(head[e.to.outer:])
	if e.gre.HasChecksum {
		PutGREChecksum(head[e.to.outer:], payload)
	}
	e.putOuter(head, len(head)+len(payload))
}

// putOuter writes the outer header. The identification is 0: with DF set nothing
// reads it (RFC 6864 section 4.1).
func (e *envelope) putOuter(head []byte, length int) {
	if e.to.Addr.Is6() {
		header.IPv6Fields{
			TrafficClass: e.tos, FlowLabel: e.label, PayloadLength: length - header.IPv6Len,
			NextHeader: header.ProtoGRE, HopLimit: outerTTL, Src: e.src, Dst: e.to.Addr,
		}.Put(head)
		return
	}
	header.IPv4Fields{
		TOS: e.tos, Length: length, DF: true, TTL: outerTTL, Protocol: header.ProtoGRE,
		Src: e.src, Dst: e.to.Addr,
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
