package offload

import (
	"weft/internal/drop"
	"weft/internal/header"
)

// Bounds on what a container may ask to be cut, so that one frame does not
// become a flood.
const (
	minTCPSegment  = 48    // bytes of payload; TCP_MIN_SND_MSS in linux/include/net/tcp.h
	maxUDPSegments = 128   // UDP_MAX_SEGMENTS in linux/include/linux/udp.h
	minEtherType   = 0x600 // below, the field is a length (IEEE 802.3 section 3.2.6)
	minFrame       = 60    // Ethernet pads shorter frames up to this, the FCS not counted
)

// Check compares the virtio header h, as a container's TAP gave it, with the
// frame behind it, and returns the header that may be used: lengths recomputed
// from the packet, everything that the frame does not need zero. The reason is
// drop.TapVirtio where the two contradict, drop.TapShort where there is no
// whole Ethernet header.
//
// A container that may open packet sockets can make its kernel say anything
// (packet(7), PACKET_VNET_HDR). Check therefore holds the header to what a
// kernel would say of this frame, and promises of its result:
//   - a checksum lies inside the frame, behind the addresses and whatever else
//     was looked at to let the frame in: completing it can not forge those;
//   - of TCP and UDP it is that of the packet, and runs to the frame's end;
//   - a super-frame is a whole TCP or UDP packet of the type's IP version that
//     fills its frame and is cut into at least two segments.
//
// FlagDataValid is not believed: whoever gets the frame verifies it. That costs
// little, since kernels set it only on packets that they route.
//
// In a padded frame the checksum is completed in place: it would run over the
// padding otherwise.
func Check(h Header, frame []byte) (Header, drop.Reason) {
	if len(frame) < header.EthernetLen {
		return Header{}, drop.TapShort
	}
	if h.Flags&^(FlagNeedsCsum|FlagDataValid) != 0 {
		return Header{}, drop.TapVirtio
	}
	if !h.NeedsCsum() {
		if h.GSOType != GSONone { // the segments' checksums could not be right
			return Header{}, drop.TapVirtio
		}
		return Header{}, drop.None
	}
	p, typ, ok := ipPacket(frame)
	if !ok {
		return checkOther(h, frame, p, typ)
	}
	end, checksum, ok := p.headersEnd(frame)
	if !ok || int(h.CsumStart) != p.l4 {
		return checkInner(h, frame, p)
	}
	if int(h.CsumOffset) != checksum {
		return Header{}, drop.TapVirtio
	}
	h.Flags, h.HdrLen = FlagNeedsCsum, uint16(end)
	if h.GSOType != GSONone {
		return checkGSO(h, frame, p)
	}
	h.GSOSize = 0
	if p.end == len(frame) {
		return h, drop.None
	}
	if len(frame)-(p.l3-header.EthernetLen) > minFrame {
		return Header{}, drop.TapVirtio
	}
	complete(frame[p.l4:p.end], checksum)
	return Header{}, drop.None
}

// checkGSO goes on with a whole TCP or UDP packet whose checksum is in order.
func checkGSO(h Header, frame []byte, p packet) (Header, drop.Reason) {
	bad := p.end != len(frame) || h.HdrLen > MaxHeaders
	payload, size := len(frame)-int(h.HdrLen), int(h.GSOSize)
	switch h.GSOType {
	case GSOTCPv4, GSOTCPv4 | GSOECN:
		bad = bad || p.proto != header.ProtoTCP || p.v6 || size < minTCPSegment
	case GSOTCPv6, GSOTCPv6 | GSOECN:
		bad = bad || p.proto != header.ProtoTCP || !p.v6 || size < minTCPSegment
	case GSOUDPL4:
		bad = bad || p.proto != header.ProtoUDP || payload > size*maxUDPSegments
	default:
		bad = true
	}
	if bad {
		return Header{}, drop.TapVirtio
	}
	if payload <= size { // nothing to cut, as the kernel sees it too
		h.GSOType, h.GSOSize = GSONone, 0
	}
	return h, drop.None
}

// checkInner goes on with an IP packet whose checksum is not that of its own
// TCP or UDP header: of another protocol, or of a packet that the container
// tunnels inside this one.
func checkInner(h Header, frame []byte, p packet) (Header, drop.Reason) {
	if p.fragment {
		return Header{}, drop.TapVirtio // its checksum covers other frames too
	}
	first := p.l4 // nothing before this may be written
	switch p.proto {
	case header.ProtoTCP:
		return Header{}, drop.TapVirtio // carries no packets
	case header.ProtoUDP:
		first += header.UDPLen
	case header.ProtoICMPv4, header.ProtoICMPv6:
		if h.CsumOffset != 2 || int(h.CsumStart) != p.l4 {
			return Header{}, drop.TapVirtio // type and code are looked at too
		}
	}
	return checkRange(h, frame, first)
}

// checkOther goes on with a frame that holds no sound IP packet.
func checkOther(h Header, frame []byte, p packet, typ uint16) (Header, drop.Reason) {
	switch typ {
	case header.TypeIPv4, header.TypeIPv6, header.TypeARP:
		return Header{}, drop.TapVirtio
	}
	if typ < minEtherType { // 802.2: completed, the checksum could become a protocol type
		return Header{}, drop.TapVirtio
	}
	return checkRange(h, frame, p.l3)
}

// checkRange takes a checksum that is not understood: it must lie behind first
// and inside the frame.
func checkRange(h Header, frame []byte, first int) (Header, drop.Reason) {
	end := int(h.CsumStart) + int(h.CsumOffset) + 2
	if h.GSOType != GSONone || int(h.CsumStart) < first || end > len(frame) {
		return Header{}, drop.TapVirtio
	}
	return Header{Flags: FlagNeedsCsum, HdrLen: uint16(end), CsumStart: h.CsumStart, CsumOffset: h.CsumOffset}, drop.None
}
