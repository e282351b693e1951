package encap

import (
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"weft/internal/drop"
	"weft/internal/header"
	"weft/internal/offload"
)

// egressCarrier writes super-frames as whole outer frames to an egress TAP, from where
// the kernel moves them to the uplink: one call for each, which the kernel cuts as late
// as it can, or never. What needs no cutting, many packets in one call, and what
// the TAP does not take goes by the socket of the same carrier.
//
//	[virtio header][Ethernet][outer IP][GRE]      [inner frame, uncut, uncopied]
//	[virtio header][Ethernet][outer IP][UDP][GRE] [inner frame, uncut, uncopied]
type egressCarrier struct {
	u      *Underlay
	of     Carrier
	others carrier
	env    envelope // of the packet at work
	head   [egressHeadSpace]byte
	iov    [2]unix.Iovec // head, inner frame
}

const (
	egressOuter     = offload.TunnelHeaderLen + header.EthernetLen // of the outer IP header in head
	egressHeadSpace = egressOuter + header.IPv6Len + header.UDPLen + GREMaxLen
)

// egressPath is how a peer is reached by an egress TAP.
type egressPath struct {
	fd       int        // the TAP
	src      netip.Addr // outer source
	mtu      int        // L3, of uplink and route
	ethernet [header.EthernetLen]byte
}

func (c *egressCarrier) carry(to *peer, run []Packet) {
	for len(run) > 0 {
		n := 1
		if !c.carrySuper(to, &run[0]) {
			for n < len(run) && !run[n].Header.IsGSO() {
				n++
			}
			c.others.carry(to, run[:n])
		}
		run = run[n:]
	}
}

// carrySuper carries a super-frame, and reports whether that is done.
func (c *egressCarrier) carrySuper(to *peer, p *Packet) bool {
	if !p.Header.IsGSO() {
		return false
	}
	path := to.egress[c.of]
	c.address(to, p)
	if offload.LongestSegment(p.Header, p.Frame)-c.env.skip+c.env.len > path.mtu {
		p.Reason, p.Err = drop.TxTooBig, syscall.EMSGSIZE
		return true
	}
	if !c.fits(p) {
		return false
	}
	c.others.flush() // order
	return c.write(path, p)
}

func (c *egressCarrier) flush() { c.others.flush() }

// address begins the envelope.
func (c *egressCarrier) address(to *peer, p *Packet) {
	c.env.address(c.u.seed, to, p)
	c.env.src = to.egress[c.of].src
	if c.of == CarrierUDP {
		s := c.u.family(to.Addr).udp
		c.env.inUDP(s, s.source(c.u.seed, p.Frame))
	}
}

// fits reports whether the kernel cuts the packet as it should: a super-frame
// without VLAN tags, no longer with its envelope than an outer header can say, and
// where the inner IP header is far enough behind the outer one
// (virtio_net_hdr_tnl_to_skb in linux/virtio_net.h). Only TCP: datagrams that arrive
// uncut nobody could take apart again, since no header says how long each was.
func (c *egressCarrier) fits(p *Packet) bool {
	if p.Header.GSOType == offload.GSOUDPL4 {
		return false
	}
	_, l3 := header.Ethernet(p.Frame).L3()
	return l3 == header.EthernetLen && c.env.len-c.env.to.outer+l3-c.env.skip >= header.UDPLen &&
		c.env.len+len(p.Frame)-c.env.skip <= 0xffff
}

// write writes the packet at work, and reports whether it need not be tried
// otherwise.
func (c *egressCarrier) write(e *egressPath, p *Packet) bool {
	frame := p.Frame[c.env.skip:]
	head := c.head[:egressOuter+c.env.len]
	c.env.put(head[egressOuter:], frame)
	copy(head[offload.TunnelHeaderLen:], e.ethernet[:])
	inner := header.EthernetLen + c.env.len - c.env.skip
	p.Header.PutTunnel(head, offload.Tunnel{
		V6: c.env.to.Addr.Is6(), Outer: header.EthernetLen + c.env.to.outer, Inner: inner, L3: inner + header.EthernetLen,
		Csum: c.of == CarrierUDP,
	})
	c.iov[0].Base, c.iov[1].Base = &head[0], &frame[0]
	c.iov[0].SetLen(len(head))
	c.iov[1].SetLen(len(frame))
	for {
		_, _, errno := syscall.RawSyscall(syscall.SYS_WRITEV, uintptr(e.fd), uintptr(unsafe.Pointer(&c.iov)), uintptr(len(c.iov)))
		switch errno {
		case 0:
			return true
		case syscall.EINTR:
		case syscall.EAGAIN, syscall.ENOBUFS, syscall.ENOMEM:
			p.Reason, p.Err = drop.TxNoBufs, errno
			return true
		default: // EIO: the TAP is down. EBADFD: it was deleted. EINVAL: this one it does not take after all
			return false
		}
	}
}
