package encap

import (
	"net/netip"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"weft/internal/drop"
	"weft/internal/header"
	"weft/internal/offload"
)

const (
	// recvBatch is the most datagrams that Recv returns.
	recvBatch = 64

	// recvSlot is room for the largest IP packet behind the headroom: the kernel
	// merges GRE datagrams up to that size before a raw socket sees them.
	recvSlot = Headroom + 1<<16
)

// rawReceiver reads the peers' raw socket of one version of IP. Every raw socket
// gets a copy of every datagram: a second reader would gain nothing.
type rawReceiver struct {
	u     *Underlay
	f     *family
	msgs  [recvBatch]mmsghdr
	iovs  [recvBatch]unix.Iovec
	space []byte // recvBatch slots
	out   [recvBatch]Datagram

	// What a raw socket says beside a datagram without its IPv6 header.
	headless bool
	sources  [recvBatch]unix.RawSockaddrInet6
	controls [recvBatch]control

	backlog bool          // Recv found more than one datagram since the last Overflow
	lost    atomic.Uint32 // drops of the socket at the last Overflow
}

func newRawReceiver(u *Underlay, f *family) *rawReceiver {
	r := &rawReceiver{u: u, f: f, space: make([]byte, recvBatch*recvSlot), headless: f.v6 && f.sockets.raw}
	for i := range r.msgs {
		slot := r.slot(i)
		r.iovs[i].Base = &slot[Headroom]
		r.iovs[i].SetLen(recvSlot - Headroom)
		r.msgs[i].hdr.Iov = &r.iovs[i]
		r.msgs[i].hdr.SetIovlen(1)
		if r.headless {
			r.msgs[i].hdr.Name = (*byte)(unsafe.Pointer(&r.sources[i]))
			r.msgs[i].hdr.Control = (*byte)(unsafe.Pointer(&r.controls[i]))
			r.msgs[i].beside()
		}
	}
	return r
}

// control is a control message that holds an int.
type control struct {
	unix.Cmsghdr
	value int32
	_     [4]byte
}

// beside says how much room there is for what is said beside a datagram.
func (m *mmsghdr) beside() {
	m.hdr.Namelen = unix.SizeofSockaddrInet6
	m.hdr.SetControllen(int(unsafe.Sizeof(control{})))
}

func (r *rawReceiver) slot(i int) []byte {
	return r.space[i*recvSlot : (i+1)*recvSlot : (i+1)*recvSlot]
}

// FD returns the peers' socket.
func (r *rawReceiver) FD() int { return r.f.sockets.Peers }

// Recv reads a batch.
func (r *rawReceiver) Recv() ([]Datagram, error) {
	n, err := r.read()
	r.backlog = r.backlog || n > 1
	peers, hello := r.u.peers.Load(), r.u.hello.Load()
	kept := 0
	for i := range n {
		m, d := &r.msgs[i], &r.out[kept]
		slot, size, cut := r.slot(i), int(m.len), m.hdr.Flags&unix.MSG_TRUNC != 0
		*d = Datagram{}
		switch {
		case r.headless:
			if p := d.from(peers, netip.AddrFrom16(r.sources[i].Addr), cut); p != nil {
				d.TOS = r.controls[i].trafficClass(&m.hdr)
				d.openGRE(p, slot, Headroom, Headroom+size)
			}
			m.beside() // the kernel has written over the lengths
		case r.f.v6:
			d.open6(peers, slot, size, cut)
		default:
			d.open(peers, slot, size, cut)
		}
		if d.hello == nil || !hello.take(peers.peer(d.Peer), CarrierGRE, d.hello) {
			kept++
		}
	}
	return r.out[:kept], err
}

// Overflow asks the kernel only where there is something to ask for: a queue
// that was full has more than one datagram for the Recv that follows.
func (r *rawReceiver) Overflow() uint64 {
	if !r.backlog {
		return 0
	}
	r.backlog = false
	return uint64(dropped(r.f.sockets.Peers, &r.lost))
}

func (r *rawReceiver) read() (n int, err error) {
	for range 3 {
		n, errno := recvmmsg(r.f.sockets.Peers, r.msgs[:])
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

// open parses the n bytes of an outer IPv4 datagram behind the slot's headroom;
// cut says that there were more.
func (d *Datagram) open(peers *peerTable, slot []byte, n int, cut bool) {
	outer := slot[Headroom : Headroom+n]
	if n < header.IPv4Len {
		d.Reason = drop.L3Header
		return
	}
	p := d.from(peers, netip.AddrFrom4([4]byte(outer[12:16])), cut)
	if p == nil {
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
	d.openGRE(p, slot, Headroom+ip.HeaderLen(), Headroom+len(ip))
}

// open6 is open for IPv6. Extension headers are none: where there are any, the
// kernel takes them away, with the IPv6 header.
func (d *Datagram) open6(peers *peerTable, slot []byte, n int, cut bool) {
	outer := slot[Headroom : Headroom+n]
	if n < header.IPv6Len {
		d.Reason = drop.L3Header
		return
	}
	p := d.from(peers, netip.AddrFrom16([16]byte(outer[8:24])), cut)
	if p == nil {
		return
	}
	ip, ok := header.ParseIPv6(outer)
	if !ok || ip.NextHeader() != header.ProtoGRE {
		d.Reason = drop.L3Header
		return
	}
	d.TOS = ip.TrafficClass()
	d.openGRE(p, slot, Headroom+header.IPv6Len, Headroom+len(ip))
}

// from finds the peer that sent the datagram; nil where that settles that it is
// dropped.
func (d *Datagram) from(peers *peerTable, src netip.Addr, cut bool) *peer {
	p := peers.byAddr[src]
	if p == nil { // was a peer when the filter let it pass
		d.Reason = drop.GREPeer
		return nil
	}
	d.Peer = p.ID
	if cut {
		d.Reason = drop.InnerBig
		return nil
	}
	return p
}

// trafficClass returns what the only control message of m says (ipv6(7),
// IPV6_RECVTCLASS); 0 where there is none.
func (c *control) trafficClass(m *unix.Msghdr) uint8 {
	if m.Controllen < unix.SizeofCmsghdr+4 || c.Level != unix.IPPROTO_IPV6 || c.Type != unix.IPV6_TCLASS {
		return 0
	}
	return uint8(c.value)
}

// openGRE opens the GRE packet between two offsets of the slot.
func (d *Datagram) openGRE(p *peer, slot []byte, start, end int) {
	g, reason := ParseGRE(slot[start:end])
	if reason == drop.None {
		reason = d.check(p, g)
	}
	if d.Reason = reason; reason != drop.None {
		if reason == drop.GREProto && d.Proto == ProtoHello {
			d.hello = g
		}
		return
	}
	start += g.HeaderLen()
	d.Frame, d.Buf = slot[start:end:end], slot[start-Headroom:end:end]
}

// check takes what the header says and refuses what must not pass.
func (d *Datagram) check(p *peer, g GRE) drop.Reason {
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
	switch g.Protocol() {
	case ProtoTEB:
		return offload.Partial(g.Payload())
	case ProtoIPv4, ProtoIPv6:
		return offload.PartialBare(g.Protocol(), g.Payload())
	}
	return false
}
