package encap

import (
	"math/bits"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"weft/internal/drop"
	"weft/internal/header"
	"weft/internal/offload"
)

const (
	udpSegments = 64    // UDP_MAX_SEGMENTS of kernels before 6.9 (linux/udp.h)
	udpLongest  = 65000 // bytes of one message: with its headers no longer than an IP packet
	udpQueue    = 2 * udpSegments

	ipv6FlowInfo = 11 // IPV6_FLOWINFO (linux/in6.h)
)

// udpCarrier sends GRE-in-UDP (RFC 8086). Segments of one size to one peer, of one
// flow, become one message, which the kernel cuts as late as it can (udp(7),
// UDP_SEGMENT). Each is a whole inner frame with its own checksum, headers of its
// own and the payload where it is:
//
//	message  [GRE, inner headers 1][payload 1][GRE, inner headers 2][payload 2] ...
//
// The checksum of UDP is on, as the kernel computes it; that of GRE would add
// nothing and is not sent (RFC 8086 section 3.3).
type udpCarrier struct {
	u     *Underlay
	split offload.Splitter
	env   envelope // of the packet at work; its outer header is not used

	// Messages that wait for flush.
	sockets *udpSockets
	fd      int    // all of them go there
	label   uint32 // and have this flow label, over IPv6
	n       int
	msgs    [udpQueue]mmsghdr
	control [udpQueue]udpControl
	size    [udpQueue]int // of the first segment of each message
	first   [udpQueue]int // number of that segment
	open    bool          // the last message may grow
	bytes   int           // of the last message
	tos     uint8         // of the last message
	proof   [udpQueue]*proof
	used    int // segments
	iovs    [2 * udpQueue]unix.Iovec
	iovUsed int
	heads   [udpQueue][headSpace]byte
	owner   [udpQueue]*Packet // of which the segment is

	single [udpQueue]mmsghdr // of a message that has to be sent segment by segment
}

// udpControl are the control messages of one message.
type udpControl struct {
	segment struct {
		unix.Cmsghdr
		size uint16
		_    [6]byte
	}
	tos, label control // label: over IPv6
}

func newUDPCarrier(u *Underlay) *udpCarrier { return &udpCarrier{u: u} }

func (c *udpCarrier) carry(to *peer, run []Packet) {
	sockets := c.u.family(to.Addr).udp
	for i := range run {
		p := &run[i]
		if sockets == nil {
			p.Reason, p.Err = drop.TxUnreachable, syscall.EPROTONOSUPPORT
			continue
		}
		c.env.address(c.u.seed, to, p)
		c.env.gre.HasChecksum = false
		c.env.len = c.env.gre.Len()
		if to.outer+header.UDPLen+c.env.len+offload.LongestSegment(p.Header, p.Frame)-c.env.skip > to.mtu {
			p.Reason, p.Err = drop.TxTooBig, syscall.EMSGSIZE
			continue
		}
		if i := sockets.source(c.u.seed, p.Frame); sockets.send[i] != c.fd {
			c.flush()
			c.sockets, c.fd, c.label = sockets, sockets.send[i], sockets.label(i)
		}
		if p.Header.IsGSO() {
			c.carrySegments(p)
		} else {
			c.queue(p, c.env.skip, p.Frame[c.env.skip:])
		}
	}
}

// carrySegments cuts a super-frame, and stops where a segment fails.
func (c *udpCarrier) carrySegments(p *Packet) {
	c.split.Init(p.Header, p.Frame)
	n, payload, ok := c.split.Next(c.heads[c.used][c.env.len:])
	if !ok { // a header that offload.Check has not seen
		p.Reason = drop.TapVirtio
	}
	for ok && p.Reason == drop.None {
		c.queue(p, n, payload)
		n, payload, ok = c.split.Next(c.heads[c.used][c.env.len:])
	}
}

// queue adds a segment: GRE, the n bytes of inner headers that stand behind its
// place already, and payload. Where the Ethernet header is left out, GRE is
// written over it.
func (c *udpCarrier) queue(p *Packet, n int, payload []byte) {
	head := c.heads[c.used][c.env.skip : c.env.len+n]
	if c.env.gre.HasSequence {
		c.env.gre.Sequence = c.env.to.numbers.next(c.env.gre.Key)
	}
	c.env.gre.Put(head)
	size := len(head) + len(payload)
	if !c.joins(size) {
		c.begin(size)
	}
	m := &c.msgs[c.n-1].hdr
	c.add(m, head)
	if len(payload) > 0 {
		c.add(m, payload)
	}
	c.bytes += size
	c.open = size == c.size[c.n-1] // a shorter one is the last
	c.owner[c.used] = p
	if c.used++; c.used == udpQueue {
		c.flush()
	}
}

// joins reports whether a segment may go into the last message.
func (c *udpCarrier) joins(size int) bool {
	return c.open && c.n > 0 && size <= c.size[c.n-1] && c.used-c.first[c.n-1] < udpSegments && c.bytes+size <= udpLongest &&
		c.tos == c.env.tos && c.msgs[c.n-1].hdr.Name == c.name() && !c.sockets.singly.Load()
}

// name returns the peer's address.
func (c *udpCarrier) name() *byte {
	name, _ := c.env.to.destUDP.name()
	return name
}

// begin begins a message with a segment of size bytes.
func (c *udpCarrier) begin(size int) {
	m := &c.msgs[c.n]
	m.hdr = unix.Msghdr{Iov: &c.iovs[c.iovUsed]}
	m.hdr.Name, m.hdr.Namelen = c.env.to.destUDP.name()
	c.size[c.n], c.first[c.n], c.proof[c.n] = size, c.used, &c.env.to.proof[CarrierUDP]
	c.control[c.n].tos.value = int32(c.env.tos)
	c.bytes, c.tos = 0, c.env.tos
	c.n++
}

func (c *udpCarrier) add(m *unix.Msghdr, b []byte) {
	v := &c.iovs[c.iovUsed]
	v.Base = &b[0]
	v.SetLen(len(b))
	c.iovUsed++
	m.SetIovlen(int(m.Iovlen) + 1)
}

// put writes the control messages of message i, of which segments are segments.
func (c *udpCarrier) put(i, segments int) {
	m, k := &c.msgs[i].hdr, &c.control[i]
	level, kind := int32(unix.IPPROTO_IP), int32(unix.IP_TOS)
	if c.env.to.Addr.Is6() {
		level, kind = unix.IPPROTO_IPV6, unix.IPV6_TCLASS
	}
	k.segment.Level, k.segment.Type, k.segment.size = unix.IPPROTO_UDP, unix.UDP_SEGMENT, uint16(c.size[i])
	k.segment.SetLen(unix.CmsgLen(2))
	k.tos.Level, k.tos.Type = level, kind
	k.tos.SetLen(unix.CmsgLen(4))
	k.label.Level, k.label.Type, k.label.value = unix.IPPROTO_IPV6, ipv6FlowInfo, int32(bits.ReverseBytes32(c.label))
	k.label.SetLen(unix.CmsgLen(4))
	c.attach(m, k, segments > 1)
}

// attach puts the control messages beside a message: those that it needs stand in a row.
func (c *udpCarrier) attach(m *unix.Msghdr, k *udpControl, cut bool) {
	size := int(unsafe.Sizeof(k.tos))
	if c.label != 0 {
		size += int(unsafe.Sizeof(k.label))
	}
	m.Control = (*byte)(unsafe.Pointer(&k.tos))
	if cut {
		m.Control = (*byte)(unsafe.Pointer(&k.segment))
		size += int(unsafe.Sizeof(k.segment))
	}
	m.SetControllen(size)
}

// segments returns how many segments message i has.
func (c *udpCarrier) segments(i int) int {
	if i+1 < c.n {
		return c.first[i+1] - c.first[i]
	}
	return c.used - c.first[i]
}

// flush sends the queued messages. Behind one that fails it goes on.
func (c *udpCarrier) flush() {
	for i := range c.n {
		c.put(i, c.segments(i))
	}
	retried, bare, label := -1, false, c.label
	for i := 0; i < c.n; {
		sent, errno := sendmmsg(c.fd, c.msgs[i:c.n])
		proven(c.proof[i : i+sent])
		if bare && sent > 0 { // so it was the label that the kernel did not take
			c.sockets.unlabelled.Store(true)
		}
		if i += sent; errno == 0 {
			continue
		}
		reason := sendReason(errno)
		switch {
		case (reason == drop.TxUnreachable || errno == syscall.EMSGSIZE) && retried != i:
			retried = i // an ICMP error may have been pending: it is gone now
			continue
		case errno == syscall.EINVAL && c.label != 0: // or the route is a blackhole
			c.label, bare = 0, true
			for k := i; k < c.n; k++ {
				c.put(k, c.segments(k))
			}
			continue
		case (errno == syscall.EIO || errno == syscall.EINVAL || errno == syscall.EMSGSIZE) && c.segments(i) > 1:
			// The kernel cannot cut for this device (udp_send_skb in net/ipv4/udp.c).
			if errno = c.sendSingly(i); errno == 0 {
				c.sockets.singly.Store(true)
			}
		}
		if errno != 0 {
			for _, p := range c.owner[c.first[i] : c.first[i]+c.segments(i)] {
				p.Reason, p.Err = sendReason(errno), errno
			}
		}
		i++
	}
	if bare && !c.sockets.unlabelled.Load() {
		c.label = label
	}
	c.n, c.used, c.iovUsed, c.open = 0, 0, 0, false
}

// sendSingly sends the segments of message i as datagrams of their own.
func (c *udpCarrier) sendSingly(i int) syscall.Errno {
	n := c.segments(i)
	iov := unsafe.Slice(c.msgs[i].hdr.Iov, c.msgs[i].hdr.Iovlen)
	for k := range n {
		m := &c.single[k].hdr
		*m = unix.Msghdr{Name: c.msgs[i].hdr.Name, Namelen: c.msgs[i].hdr.Namelen, Iov: &iov[0]}
		c.attach(m, &c.control[i], false)
		parts := 0
		for left := c.size[i]; left > 0 && parts < len(iov); parts++ {
			left -= int(iov[parts].Len)
		}
		m.SetIovlen(parts)
		iov = iov[parts:]
	}
	for k := 0; k < n; {
		sent, errno := sendmmsg(c.fd, c.single[k:n])
		if k += sent; errno != 0 {
			return errno
		}
	}
	return 0
}
