package encap

// carrier is one way of carrying packets to peers. A Sender has one of each
// kind, so that everything in it belongs to one worker.
type carrier interface {
	// carry takes a run of packets to one peer, each longer than what stays here of
	// it, with a complete checksum where it is no super-frame. What the carrier
	// cannot send gets a Reason, and an Err where the kernel gave one; the rest is
	// sent whole and in order. It may hold messages back until flush, and borrows
	// the packets until then.
	carry(to *peer, run []Packet)

	// flush hands to the kernel what carry held back. It is called before another
	// carrier's turn, so that order is kept, and before Send returns.
	flush()
}

// carrierKind says which carrier a peer has: peer.choose picks it, whenever
// Underlay.changePeers changes what is known of peers; the frame path only reads it.
type carrierKind uint8

const (
	byRaw        carrierKind = iota // raw_carrier.go; carries whatever the peer is
	byPacket                        // packet_carrier.go: the same datagrams by packet socket
	byRawEgress                     // egress_carrier.go: super-frames; the others by packet socket
	byUDP                           // udp_carrier.go
	byUDPEgress                     // egress_carrier.go: super-frames; the others by UDP socket
	carrierKinds                    // how many there are
)

// newCarriers makes one of each kind, in the order of carrierKind.
func (u *Underlay) newCarriers() [carrierKinds]carrier {
	raw, udp := newRawCarrier(u), newUDPCarrier(u)
	packet := newPacketCarrier(u, raw)
	return [carrierKinds]carrier{
		byRaw:       raw,
		byPacket:    packet,
		byRawEgress: &egressCarrier{u: u, of: CarrierGRE, others: packet},
		byUDP:       udp,
		byUDPEgress: &egressCarrier{u: u, of: CarrierUDP, others: udp},
	}
}
