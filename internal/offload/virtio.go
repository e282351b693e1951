package offload

import "encoding/binary"

// HeaderLen is the size of struct virtio_net_hdr without num_buffers, the form
// that every TAP of weft uses (TUNSETVNETHDRSZ, linux/virtio_net.h).
const HeaderLen = 10

// MaxFrame is the largest frame that crosses a TAP: a 65,535-byte IP packet
// behind an Ethernet header with one VLAN tag.
const MaxFrame = 14 + 4 + 65535

// Flags and GSO types of struct virtio_net_hdr (linux/virtio_net.h).
const (
	FlagNeedsCsum = 1 // L4 checksum field holds only the pseudo-header sum
	FlagDataValid = 2 // L4 checksum was verified

	GSONone  = 0
	GSOTCPv4 = 1
	GSOTCPv6 = 4
	GSOUDPL4 = 5
	GSOECN   = 0x80 // or'ed in: TCP has CWR set
)

// Header is struct virtio_net_hdr: what the kernel left undone in the frame
// behind it. The zero value says that the frame is complete.
type Header struct {
	Flags      uint8
	GSOType    uint8
	HdrLen     uint16 // bytes up to the end of the L4 header; not to be trusted as read
	GSOSize    uint16 // L4 payload bytes per segment
	CsumStart  uint16 // from here to the end the checksum runs
	CsumOffset uint16 // behind CsumStart it is stored
}

// ParseHeader reads the first HeaderLen bytes of b, which must have them.
// Legacy virtio is host-endian; weft runs on little-endian machines only.
func ParseHeader(b []byte) Header {
	_ = b[HeaderLen-1]
	return Header{
		Flags:      b[0],
		GSOType:    b[1],
		HdrLen:     binary.LittleEndian.Uint16(b[2:]),
		GSOSize:    binary.LittleEndian.Uint16(b[4:]),
		CsumStart:  binary.LittleEndian.Uint16(b[6:]),
		CsumOffset: binary.LittleEndian.Uint16(b[8:]),
	}
}

// Put writes h to the first HeaderLen bytes of b.
func (h Header) Put(b []byte) {
	_ = b[HeaderLen-1]
	b[0], b[1] = h.Flags, h.GSOType
	binary.LittleEndian.PutUint16(b[2:], h.HdrLen)
	binary.LittleEndian.PutUint16(b[4:], h.GSOSize)
	binary.LittleEndian.PutUint16(b[6:], h.CsumStart)
	binary.LittleEndian.PutUint16(b[8:], h.CsumOffset)
}

// IsGSO reports whether the frame is a super-frame, to be cut into segments.
func (h Header) IsGSO() bool { return h.GSOType&^GSOECN != GSONone }

// NeedsCsum reports whether the L4 checksum is still to be completed.
func (h Header) NeedsCsum() bool { return h.Flags&FlagNeedsCsum != 0 }

// Shift returns h for a frame that grew by n bytes before its L3 header: a VLAN
// tag, put in, or taken out where n is negative.
func (h Header) Shift(n int) Header {
	if h.NeedsCsum() {
		h.CsumStart = uint16(int(h.CsumStart) + n)
	}
	if h.HdrLen != 0 {
		h.HdrLen = uint16(int(h.HdrLen) + n)
	}
	return h
}
