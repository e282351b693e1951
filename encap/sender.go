package encap

import (
	"syscall"

	"weft/internal/drop"
	"weft/internal/header"
	"weft/internal/offload"
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
	u         *Underlay
	carriers  [carrierKinds]carrier
	completed *byte // the frame of the packet before, where its checksum was completed
}

// NewSender returns a Sender.
func (u *Underlay) NewSender() *Sender { return &Sender{u: u, carriers: u.newCarriers()} }

// Send sends the packets in order and sets each one's Reason. It completes
// checksums in place and clears the headers' flags accordingly. A packet that
// fails does not hold up those behind it.
//
// What follows one another to one peer is a run, and goes to that peer's carrier
// in one call. Until Send returns, a peer keeps its carrier.
func (s *Sender) Send(pkts []Packet) {
	peers := s.u.peers.Load()
	s.completed = nil
	var last carrier
	for i := 0; i < len(pkts); {
		to, n := peers.peer(pkts[i].Peer), 0
		for i+n < len(pkts) && pkts[i+n].Peer == pkts[i].Peer && s.ready(to, &pkts[i+n]) {
			n++
		}
		if n == 0 {
			i++
			continue
		}
		c := s.carriers[to.carrier]
		if last != nil && last != c {
			last.flush()
		}
		c.carry(to, pkts[i:i+n])
		last, i = c, i+n
	}
	if last != nil {
		last.flush()
	}
}

// ready reports whether a packet can be carried, and else says why not. One that
// is no super-frame has its checksum completed, once for all copies that follow
// one another.
func (s *Sender) ready(to *peer, p *Packet) bool {
	p.Reason, p.Err = drop.None, nil
	switch {
	case to == nil: // removed meanwhile
		p.Reason, p.Err = drop.TxUnreachable, syscall.EDESTADDRREQ
		return false
	case !to.src.IsValid():
		p.Reason, p.Err = drop.TxUnreachable, syscall.ENETUNREACH
		return false
	case len(p.Frame) <= p.skip():
		p.Reason = drop.TapShort
		return false
	}
	if p.Header.NeedsCsum() && !p.Header.IsGSO() {
		if frame := &p.Frame[0]; frame != s.completed {
			offload.Complete(p.Header, p.Frame)
			s.completed = frame
		}
		p.Header = offload.Header{}
	}
	return true
}

// skip returns how many bytes of the frame stay here: its Ethernet header, or none.
func (p *Packet) skip() int {
	if p.Proto != ProtoTEB {
		return header.EthernetLen
	}
	return 0
}
