package offload

import (
	"encoding/binary"

	"weft/internal/drop"
	"weft/internal/header"
)

// FromLink is Check for a frame that a packet socket read from a link of the
// host (packet(7), PACKET_VNET_HDR). Its header is the kernel's own, but a
// network card that merges segments itself (LRO) verifies their checksums and
// leaves them as they were, so that none fits the whole. Then the checksum is
// made the partial one that FlagNeedsCsum means.
func FromLink(h Header, frame []byte) (Header, drop.Reason) {
	if h.GSOType != GSONone && h.Flags == FlagDataValid && len(frame) >= header.EthernetLen {
		p, _, ok := ipPacket(frame)
		if !ok {
			return Header{}, drop.TapVirtio
		}
		_, offset, ok := p.headersEnd(frame)
		if !ok {
			return Header{}, drop.TapVirtio
		}
		binary.BigEndian.PutUint16(frame[p.l4+offset:], header.Fold(p.pseudoSum(frame, p.end-p.l4)))
		h.Flags, h.CsumStart, h.CsumOffset = FlagNeedsCsum, uint16(p.l4), uint16(offset)
	}
	return Check(h, frame)
}
