package offload

import (
	"encoding/binary"

	"weft/internal/drop"
	"weft/internal/header"
)

// FromWire returns the virtio header for a frame that came out of a tunnel,
// whose offload state nobody reported: the partial-checksum rule. mtu is the L3
// MTU of the network, which bounds the segment size of a merged frame.
//
// The kernel merges TCP segments inside GRE before a raw socket sees them
// (net/ipv4/gre_offload.c) and then leaves in the checksum field only the sum of
// the pseudo-header, with the merged length. Such a frame is no longer than the
// MTU, or is a super-frame. Anything else over the MTU is drop.InnerBig; a frame
// without a whole Ethernet header is drop.InnerRunt. A wrong checksum is not
// judged here: the receiver's kernel does that.
//
// A frame that is padded and partial at once is completed in place.
func FromWire(frame []byte, mtu int) (Header, drop.Reason) {
	if len(frame) < header.EthernetLen {
		return Header{}, drop.InnerRunt
	}
	p, _, ok := ipPacket(frame)
	big := len(frame) > p.l3+mtu
	if ok {
		if h, partial := partialHeader(frame, p); partial {
			switch {
			case big:
				return merged(h, frame, p, mtu)
			case p.end == len(frame):
				return h, drop.None
			}
			complete(frame[p.l4:p.end], int(h.CsumOffset))
		}
	}
	if big {
		return Header{}, drop.InnerBig
	}
	return Header{}, drop.None
}

// Partial reports whether the frame's L4 checksum field holds only the
// pseudo-header sum, as the kernel leaves it in a packet that it merged. Then
// it also had verified an outer GRE checksum, which no longer fits the packet.
func Partial(frame []byte) bool {
	if len(frame) < header.EthernetLen {
		return false
	}
	p, _, ok := ipPacket(frame)
	if !ok {
		return false
	}
	_, partial := partialHeader(frame, p)
	return partial
}

// PartialBare is Partial for an IP packet without Ethernet header, of which typ
// is the EtherType.
func PartialBare(typ uint16, b []byte) bool {
	p, ok := packetAt(b, typ, 0)
	if !ok {
		return false
	}
	_, partial := partialHeader(b, p)
	return partial
}

// partialHeader returns the header for a packet whose checksum is partial.
//
// A complete checksum may happen to equal the pseudo-header sum, once in 65,535
// packets. It needs no telling apart: in ones' complement arithmetic the
// checksum is valid then exactly if completing it yields the same value again.
func partialHeader(frame []byte, p packet) (Header, bool) {
	end, offset, ok := p.headersEnd(frame)
	if !ok {
		return Header{}, false
	}
	check := binary.BigEndian.Uint16(frame[p.l4+offset:])
	if check != header.Fold(p.pseudoSum(frame, p.end-p.l4)) {
		return Header{}, false
	}
	return Header{Flags: FlagNeedsCsum, HdrLen: uint16(end), CsumStart: uint16(p.l4), CsumOffset: uint16(offset)}, true
}

// merged makes h the header of a super-frame, cut so that segments fit the MTU.
// The size of the segments that were merged is not known. UDP datagrams can
// not be taken apart again without it.
func merged(h Header, frame []byte, p packet, mtu int) (Header, drop.Reason) {
	size := mtu - (int(h.HdrLen) - p.l3)
	if p.proto != header.ProtoTCP || p.end != len(frame) || h.HdrLen > MaxHeaders || size < 1 {
		return Header{}, drop.InnerBig
	}
	h.GSOSize = uint16(size)
	return h.typed(p.v6, frame), drop.None
}

// typed gives the header of a TCP super-frame its type.
func (h Header) typed(v6 bool, frame []byte) Header {
	h.GSOType = GSOTCPv4
	if v6 {
		h.GSOType = GSOTCPv6
	}
	if header.TCP(frame[h.CsumStart:]).Flags()&header.TCPCwr != 0 {
		h.GSOType |= GSOECN
	}
	return h
}

// Refit returns h, which FromWire returned for frame, with segments that fit mtu,
// in bytes from L3, where the kernel merged the frame on its way here: then the size of
// its segments was guessed, or it was taken for one, and mtu is a better guess. It
// reports false for every other frame, which nobody may cut, and where mtu leaves
// less than the kernel's TCP would send.
func Refit(h Header, frame []byte, mtu int) (Header, bool) {
	const least = 48 // TCP_MIN_SND_MSS, linux/tcp.h
	if !h.NeedsCsum() || h.CsumOffset != header.TCPChecksumOffset || h.HdrLen > MaxHeaders {
		return h, false
	}
	typ, l3 := header.Ethernet(frame).L3()
	size := mtu - (int(h.HdrLen) - l3)
	if size < least {
		return h, false
	}
	h.GSOSize = uint16(size)
	return h.typed(typ == header.TypeIPv6, frame), true
}
