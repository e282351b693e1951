package encap

import (
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"weft/internal/drop"
	"weft/internal/offload"
)

// sendBatch is the most messages that are handed to the kernel at once.
const sendBatch = 64

// rawCarrier sends one datagram a segment through a raw socket. It needs nothing
// of the host or the peer, unless it is the half of a packetCarrier.
type rawCarrier struct {
	u      *Underlay
	packet bool // through the packet socket instead, to peers with a packetPath
	split  offload.Splitter
	env    envelope // of the packet at work

	// Messages that wait for flush.
	n     int
	fd    int // all of them go there
	msgs  [sendBatch]mmsghdr
	iovs  [sendBatch][2]unix.Iovec // headers, payload
	heads [sendBatch][headSpace]byte
	owner [sendBatch]*Packet // of which the message is
	to    [sendBatch]*peer
}

// proof says whether the host lets a carrier's datagrams to a peer pass: a socket's go
// through the rules that the host has for what it sends (netfilter's output and
// postrouting), and an error tells when they do not. Written by workers and the
// hello, which takes it back too, and read by the one who looks for faster ways.
type proof struct {
	sent atomic.Bool
	due  atomic.Bool // the next batch is to go by a socket that the rules see: see packetCarrier
}

// proven notes what was sent.
func proven(proofs []*proof) {
	for _, p := range proofs {
		p.proven()
	}
}

func (p *proof) proven() {
	if !p.sent.Load() {
		p.sent.Store(true)
	}
}

func newRawCarrier(u *Underlay) *rawCarrier {
	c := &rawCarrier{u: u}
	for i := range c.msgs {
		c.msgs[i].hdr.Iov = &c.iovs[i][0]
	}
	return c
}

func (c *rawCarrier) carry(to *peer, run []Packet) {
	f := c.u.family(to.Addr)
	fd := f.sockets.Send
	if c.packet {
		fd = f.packet
	}
	if fd != c.fd {
		c.flush()
		c.fd = fd
	}
	for i := range run {
		p := &run[i]
		c.env.address(c.u.seed, to, p)
		if c.packet {
			c.env.src = to.packet.src
		}
		if p.Header.IsGSO() {
			c.carrySegments(p)
		} else {
			c.carryFrame(p)
		}
	}
}

// carryFrame queues a frame that needs no cutting.
func (c *rawCarrier) carryFrame(p *Packet) {
	frame := p.Frame[c.env.skip:]
	if c.env.len+len(frame) > c.env.to.longest() {
		p.Reason, p.Err = drop.TxTooBig, syscall.EMSGSIZE
		return
	}
	c.queue(p, c.env.skip, frame)
}

// carrySegments cuts a super-frame, and stops where a segment fails: TCP sends
// the rest again in any case.
func (c *rawCarrier) carrySegments(p *Packet) {
	c.split.Init(p.Header, p.Frame)
	n, payload, ok := c.split.Next(c.heads[c.n][c.env.len:])
	if !ok { // a header that offload.Check has not seen
		p.Reason = drop.TapVirtio
	}
	for ok && p.Reason == drop.None {
		c.queue(p, n, payload)
		n, payload, ok = c.split.Next(c.heads[c.n][c.env.len:])
	}
}

// queue makes a message of outer headers, the n bytes of inner headers that
// stand behind their place already, and payload. Where the Ethernet header is
// left out, the outer headers are written over it.
func (c *rawCarrier) queue(p *Packet, n int, payload []byte) {
	head := c.heads[c.n][c.env.skip : c.env.len+n]
	c.env.put(head, payload)

	iov := &c.iovs[c.n]
	iov[0].Base = &head[0]
	iov[0].SetLen(len(head))
	parts := 1
	if len(payload) > 0 {
		iov[1].Base = &payload[0]
		iov[1].SetLen(len(payload))
		parts = 2
	}
	m := &c.msgs[c.n].hdr
	m.SetIovlen(parts)
	if c.packet {
		m.Name, m.Namelen = c.env.to.packet.destination()
		m.Control = nil
		m.SetControllen(0)
	} else {
		c.env.to.dest.address(m)
	}
	c.owner[c.n], c.to[c.n] = p, c.env.to
	if c.n++; c.n == sendBatch {
		c.flush()
	}
}

// flush sends the queued messages. Behind one that fails it goes on with the
// next packet.
func (c *rawCarrier) flush() {
	var retried *mmsghdr
	fd, packet := c.fd, c.packet
	for i := 0; i < c.n; {
		sent, errno := sendmmsg(fd, c.msgs[i:c.n])
		if !packet {
			for _, to := range c.to[i : i+sent] {
				to.proof[CarrierGRE].proven()
			}
		}
		if i += sent; errno == 0 {
			continue
		}
		reason := sendReason(errno)
		if packet && reason == drop.TxUnreachable { // its link is down or gone, say: the routes may know better
			fd, packet = c.turnToRaw(i), false
			continue
		}
		if reason == drop.TxUnreachable && retried != &c.msgs[i] {
			retried = &c.msgs[i] // an ICMP error may have been pending (forged, on older kernels): it is gone now
			continue
		}
		if errno == syscall.EPERM && c.to[i].proof[CarrierGRE].sent.Swap(false) { // the host's firewall
			c.u.egress.look()
		}
		failed := c.owner[i]
		failed.Reason, failed.Err = reason, errno
		for i < c.n && c.owner[i] == failed {
			i++
		}
	}
	c.n = 0
}

// turnToRaw makes the queued messages from i on ready for the raw socket, and
// returns that. All are of one version of IP, since each has its own sockets.
func (c *rawCarrier) turnToRaw(i int) int {
	for ; i < c.n; i++ {
		c.to[i].dest.address(&c.msgs[i].hdr)
	}
	return c.u.family(c.to[c.n-1].Addr).sockets.Send
}

// sendReason says what an error of send(2) on a raw socket means.
func sendReason(errno syscall.Errno) drop.Reason {
	switch errno {
	case syscall.EMSGSIZE:
		return drop.TxTooBig
	case syscall.ENOBUFS, syscall.EAGAIN, syscall.ENOMEM:
		return drop.TxNoBufs
	default: // ENETUNREACH, EHOSTUNREACH, ENETDOWN, EPERM (netfilter), EINVAL, ECONNREFUSED on a test's socketpair ...
		return drop.TxUnreachable
	}
}
