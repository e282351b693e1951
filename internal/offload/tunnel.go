package offload

import "encoding/binary"

// TunnelHeaderLen is the size of struct virtio_net_hdr_v1_hash_tunnel
// (linux/virtio_net.h), which TAPs of Linux 6.17 take before a frame that holds
// a super-frame in a tunnel.
const TunnelHeaderLen = 24

// GSO types and a flag that are or'ed in where the super-frame is in a tunnel. They
// speak of UDP, but segmentation goes by the outer header's protocol (inet_gso_segment in
// net/ipv4/af_inet.c), and so to GRE just as well.
const (
	gsoTunnel4     = 0x20 // over IPv4
	gsoTunnel6     = 0x40 // over IPv6
	flagTunnelCsum = 8    // the outer UDP checksum holds only the pseudo-header sum
)

// Tunnel says where a super-frame is in a frame that carries it through a tunnel.
// Offsets are in bytes from the frame's start.
type Tunnel struct {
	V6    bool // outer header is IPv6's
	Outer int  // of what follows the outer IP header
	Inner int  // of the super-frame, of which Header speaks
	L3    int  // of the inner IP header
	Csum  bool // the outer header is UDP's, with a checksum that is partial too
}

// PutTunnel writes the header of a super-frame in a tunnel to the first
// TunnelHeaderLen bytes of b. h is that of the super-frame.
func (h Header) PutTunnel(b []byte, t Tunnel) {
	if t.V6 {
		h.GSOType |= gsoTunnel6
	} else {
		h.GSOType |= gsoTunnel4
	}
	if t.Csum {
		h.Flags |= flagTunnelCsum
	}
	h.HdrLen += uint16(t.Inner)
	h.CsumStart += uint16(t.Inner)
	h.Put(b)
	clear(b[HeaderLen : TunnelHeaderLen-4])
	binary.LittleEndian.PutUint16(b[TunnelHeaderLen-4:], uint16(t.Outer))
	binary.LittleEndian.PutUint16(b[TunnelHeaderLen-2:], uint16(t.L3))
}
