package encap

import (
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"

	"weft/internal/drop"
	"weft/internal/header"
	"weft/internal/offload"
)

const (
	// Headroom is how many bytes Receiver leaves free before Datagram.Frame.
	Headroom = 64

	// recvBatch is the most datagrams that Recv returns.
	recvBatch = 16

	// recvSlot is room for the largest IPv4 packet behind the headroom: the kernel
	// merges GRE datagrams up to that size before a raw socket sees them.
	recvSlot = Headroom + 1<<16
)

// Datagram is what came from the underlay, opened.
type Datagram struct {
	Peer   PeerID // 0 where the source is no peer
	Proto  uint16
	Key    uint32
	HasKey bool
	TOS    uint8       // of the outer header, for RFC 6040
	Frame  []byte      // inner frame or packet, of 14 bytes at least where Proto is ProtoTEB; borrowed until the next Recv
	Buf    []byte      // Headroom bytes that may be overwritten, then Frame
	Reason drop.Reason // why it must be dropped, and Frame, Buf are nil; None: not decided here
}

// Receiver reads the raw sockets. Exactly one worker uses it: every raw socket
// gets a copy of every datagram, so that a second reader gains nothing, and
// sequence numbers are checked without a lock.
type Receiver struct {
	u     *Underlay
	msgs  [recvBatch]mmsghdr
	iovs  [recvBatch]unix.Iovec
	space []byte // recvBatch slots
	out   [recvBatch]Datagram

	strangers     [strangersBatch]mmsghdr // without room: nobody looks into the datagrams
	backlog       bool                    // Recv found more than one datagram since the last Overflow
	lostPeers     uint32                  // drops of the peers' socket at the last Overflow
	lostStrangers uint32                  // drops of the strangers' socket at the last Strangers
}

func newReceiver(u *Underlay) *Receiver {
	r := &Receiver{u: u, space: make([]byte, recvBatch*recvSlot)}
	for i := range r.msgs {
		slot := r.slot(i)
		r.iovs[i].Base = &slot[Headroom]
		r.iovs[i].SetLen(recvSlot - Headroom)
		r.msgs[i].hdr.Iov = &r.iovs[i]
		r.msgs[i].hdr.SetIovlen(1)
	}
	return r
}

func (r *Receiver) slot(i int) []byte { return r.space[i*recvSlot : (i+1)*recvSlot : (i+1)*recvSlot] }

// Receiver returns the only Receiver.
func (u *Underlay) Receiver() *Receiver { return u.receiver }

// FD returns the descriptor to wait on for datagrams of peers, with EPOLLIN,
// and for ICMP errors, with EPOLLERR.
func (r *Receiver) FD() int { return r.u.sockets.Peers }

// Recv reads a batch without waiting; an empty one when nothing is there. An
// error of the socket is returned when it persists.
func (r *Receiver) Recv() ([]Datagram, error) {
	n, err := r.read()
	r.backlog = r.backlog || n > 1
	peers := r.u.peers.Load()
	for i := range n {
		m := &r.msgs[i]
		r.out[i] = Datagram{}
		r.out[i].open(peers, r.slot(i), int(m.len), m.hdr.Flags&unix.MSG_TRUNC != 0)
	}
	return r.out[:n], err
}

func (r *Receiver) read() (n int, err error) {
	for range 3 {
		n, errno := recvmmsg(r.u.sockets.Peers, r.msgs[:])
		switch errno {
		case 0:
			return n, nil
		case syscall.EAGAIN:
			return 0, nil
		}
		// An ICMP error that was pending, and is not any more: Errors tells of it.
		err = errno
	}
	return 0, err
}

// open parses the n bytes of an outer datagram behind the slot's headroom; cut
// says that there were more.
func (d *Datagram) open(peers *peerTable, slot []byte, n int, cut bool) {
	outer := slot[Headroom : Headroom+n]
	if n < header.IPv4Len {
		d.Reason = drop.L3Header
		return
	}
	p := peers.byAddr[netip.AddrFrom4([4]byte(outer[12:16]))]
	if p == nil { // was a peer when the filter let it pass
		d.Reason = drop.GREPeer
		return
	}
	d.Peer = p.ID
	if cut {
		d.Reason = drop.InnerBig
		return
	}
	ip, ok := header.ParseIPv4(outer)
	switch {
	case !ok || ip.Protocol() != header.ProtoGRE:
		d.Reason = drop.L3Header
		return
	case ip.IsFragment(): // the kernel reassembles
		d.Reason = drop.GREFrag
		return
	}
	d.TOS = ip.TOS()
	g, reason := ParseGRE(ip.Payload())
	if reason == drop.None {
		reason = d.openGRE(p, g)
	}
	if d.Reason = reason; reason != drop.None {
		return
	}
	start := Headroom + ip.HeaderLen() + g.HeaderLen()
	end := Headroom + len(ip)
	d.Frame, d.Buf = slot[start:end:end], slot[start-Headroom:end:end]
}

// openGRE checks all but the lengths of the header.
func (d *Datagram) openGRE(p *peer, g GRE) drop.Reason {
	d.Proto = g.Protocol()
	if g.HasChecksum() && !g.ChecksumOK() && !merged(g) {
		return drop.GREChecksum
	}
	switch d.Proto {
	case ProtoTEB, ProtoIPv4, ProtoIPv6:
	case 0: // a Cisco keepalive, which asks for an answer that could be forged into a loop
		return drop.GREKeepalive
	default:
		return drop.GREProto
	}
	d.HasKey = g.HasKey()
	if d.HasKey {
		d.Key = g.Key()
	}
	if d.HasKey == p.Keyless {
		return drop.GREKey
	}
	if p.order != nil && g.HasSequence() && p.order.late(d.Key, g.Sequence()) {
		return drop.GRESeqOld
	}
	if d.Proto == ProtoTEB && len(g.Payload()) < header.EthernetLen {
		return drop.InnerRunt
	}
	return drop.None
}

// merged reports whether kernel GRO made the packet of several. It verified the
// checksum of each (gre_gro_receive in net/ipv4/gre_offload.c), then kept that
// of the first, which no longer matches. Such a packet shows by its inner L4
// checksum, which the kernel left partial.
func merged(g GRE) bool {
	return g.Protocol() == ProtoTEB && offload.Partial(g.Payload())
}
