package encap

import (
	"crypto/rand"
	"encoding/binary"
	mathrand "math/rand/v2"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"weft/internal/header"
)

const (
	helloQueue = 1024                   // hellos that wait to be looked at; more are dropped
	helloGrain = 25 * time.Millisecond  // sendings that are due together are sent together
	helloDoubt = 200 * time.Millisecond // between readings of ICMP errors, at least
	helloTry   = 500 * time.Millisecond // between trials of the host's firewall, at least
	helloLate  = 500 * time.Millisecond // that the goroutine may be late; beyond, the clock of the hello stands still
)

// heardHello is the start of a hello that a Receiver found.
type heardHello struct {
	peer    *peer
	carrier Carrier
	at      time.Time
	size    int // of the datagram, from its outer IP header on
	n       int // bytes in use
	bytes   [helloMax]byte
}

// helloer is the hello of an Underlay: one goroutine, which owns all sessions.
// Receivers hand it what they find, and it sends by sockets of its own accord;
// no worker waits for it.
type helloer struct {
	u     *Underlay
	boot  uint64
	start time.Time
	lost  time.Duration // that the clock stood still
	last  time.Time     // when the goroutine was last there

	errorsAt time.Duration // when ICMP errors were read
	tried    time.Duration // when the firewall was
	trying   atomic.Bool   // it is to be tried again; set by anyone

	heard chan heardHello
	poke  chan struct{} // the peers are others
	stop  chan struct{} // closed by Close
	ended chan struct{} // closed when the goroutine has ended

	sessions map[*way]*helloSession
	table    *peerTable // that sessions are of
	space    []byte     // of the datagram at work
}

// helloSession is a session and what it is with.
type helloSession struct {
	*session
	peer    *peer // as of the last table
	way     *way
	said    Path          // as published
	heardAt time.Duration // when Path.Heard was, by the clock of the sessions
}

// StartHello starts the hello with all peers, present and future. It ends with
// Close. Without it, hellos that arrive are dropped as drop.GREProto. Called once.
func (u *Underlay) StartHello() {
	h := &helloer{
		u: u, boot: nonce(), start: time.Now(), last: time.Now(),
		heard: make(chan heardHello, helloQueue), poke: make(chan struct{}, 1), stop: make(chan struct{}), ended: make(chan struct{}),
		sessions: map[*way]*helloSession{}, space: make([]byte, 1<<16),
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed || u.hello.Load() != nil {
		return
	}
	u.hello.Store(h)
	go h.run() // owner: the Underlay; ends when Close closes stop
}

// nonce returns a random number that nobody can guess; never 0.
func nonce() uint64 {
	var b [8]byte
	for {
		_, _ = rand.Read(b[:]) // never fails (crypto/rand)
		if n := binary.NativeEndian.Uint64(b[:]); n != 0 {
			return n
		}
	}
}

// take hands a hello to the goroutine; false where it is none, or nobody is
// there to look. Receivers only; it never waits.
func (h *helloer) take(p *peer, c Carrier, g GRE) bool {
	if h == nil || !g.HasKey() || g.Key() != helloKey {
		return false
	}
	payload := g.Payload()
	if _, ok := parseHello(payload); !ok {
		return false
	}
	m := heardHello{peer: p, carrier: c, at: time.Now(), size: p.outer + len(g)}
	if c == CarrierUDP {
		m.size += header.UDPLen
	}
	m.n = copy(m.bytes[:], payload)
	select {
	case h.heard <- m:
	default: // a flood: what is missed is asked for again
	}
	return true
}

// changed says that peers or paths are others.
func (h *helloer) changed() {
	if h == nil {
		return
	}
	select {
	case h.poke <- struct{}{}:
	default:
	}
}

// try has a hello sent to each peer that is reached past the host's firewall, through
// it: see proof. Any goroutine; however often, it costs next to nothing.
func (h *helloer) try() {
	if !h.trying.Swap(true) {
		h.changed()
	}
}

// end stops the goroutine and waits for it.
func (h *helloer) end() {
	if h != nil {
		close(h.stop)
		<-h.ended
	}
}

func (h *helloer) run() {
	defer close(h.ended)
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		select {
		case <-h.stop:
			return
		case <-h.poke:
		case <-t.C:
		case m := <-h.heard:
			h.follow()
			h.hear(&m)
			for range len(h.heard) {
				m = <-h.heard
				h.hear(&m)
			}
		}
		t.Reset(h.round())
	}
}

// now returns the clock of the sessions. It is monotonic, and stands still while
// the goroutine was kept from running (a machine asleep, or too busy): nobody is
// lost because this host did not listen.
func (h *helloer) now(at time.Time) time.Duration { return at.Sub(h.start) - h.lost }

// round sends what is due and returns for how long nothing is.
func (h *helloer) round() time.Duration {
	real := time.Now()
	h.follow()
	now := h.now(real)
	next := now + helloSeldom
	if now-h.errorsAt >= helloDoubt {
		h.errorsAt = now
		h.readErrors()
	}
	try := now-h.tried >= helloTry && h.trying.Swap(false)
	if try {
		h.tried = now
	}
	for _, s := range h.sessions {
		if claimed := s.way.doubt.Swap(0); claimed != 0 {
			s.doubt(now, int(claimed)-1)
		}
		for c := range Carrier(carriers) {
			if try && s.peer.passesBy(c) {
				h.send(s, now, []sending{{carrier: c, echo: s.peerNonce}})
			}
		}
		h.send(s, now, s.tick(now))
		h.publish(s, real, now)
		next = min(next, s.due(now))
	}
	if h.trying.Load() {
		next = min(next, h.tried+helloTry)
	}
	wait := (next - now + helloGrain).Truncate(helloGrain)
	h.last = real.Add(wait)
	return wait
}

// readErrors has a look at what routers say of datagrams.
func (h *helloer) readErrors() {
	for _, f := range h.u.families {
		if f.udp != nil {
			f.udp.readErrors(h.table)
		}
	}
}

// follow brings the sessions in line with the peers, and the clock with reality.
func (h *helloer) follow() {
	if late := time.Since(h.last); late > helloLate {
		h.lost += late
		h.last = time.Now()
	}
	table := h.u.peers.Load()
	if table == h.table {
		return
	}
	h.table = table
	now := h.now(time.Now())
	present := make(map[*way]bool, len(table.byAddr))
	for _, p := range table.byAddr {
		present[p.way] = true
		s := h.sessions[p.way]
		if s == nil {
			s = &helloSession{session: newSession(now, p.Choice, h.u.able(p), h.boot, nonce(), mathrand.Float64), way: p.way}
			s.next += time.Duration(mathrand.Int64N(int64(helloGrain))) // not all peers at once
			h.sessions[p.way] = s
		}
		s.peer = p
		// Measured: where an egress TAP carries both, TCP is as fast by either, and small
		// datagrams are faster in UDP. Where it carries only raw GRE, TCP is 1.8 times as fast by that.
		s.faster = CarrierUDP
		if p.egress[CarrierGRE] != nil && p.egress[CarrierUDP] == nil {
			s.faster = CarrierGRE
		}
		s.setMTU(now, p.mtu)
	}
	for w := range h.sessions {
		if !present[w] {
			delete(h.sessions, w)
		}
	}
}

// hear takes one message.
func (h *helloer) hear(m *heardHello) {
	s := h.sessions[m.peer.way]
	if s == nil { // removed meanwhile
		return
	}
	msg, _ := parseHello(m.bytes[:m.n])
	now := h.now(m.at)
	h.send(s, now, s.receive(now, m.carrier, m.size, &msg))
}

// send sends what a session wants sent.
func (h *helloer) send(s *helloSession, now time.Duration, list []sending) {
	for _, out := range list {
		msg := s.message(now, out)
		h.u.sendHello(s.peer, out.carrier, h.space, &msg, out.size)
	}
}

// publish shows what a session knows to those who send and to those who ask.
func (h *helloer) publish(s *helloSession, real time.Time, now time.Duration) {
	wall := func(at time.Duration) time.Time { return real.Add(at - now) }
	known := Path{
		Weft: s.verified != never, State: s.state, Why: s.why, RTT: s.rtt,
		Carrier: s.active, CarrierWhy: s.because, MTU: s.mtu(),
		Since: s.said.Since, Heard: s.said.Heard, MTUSince: s.said.MTUSince,
	}
	if known.MTU != s.said.MTU {
		known.MTUSince = wall(now)
	}
	if known.State != s.said.State {
		known.Since = wall(s.since)
	}
	if s.verified != never && s.heardAt != s.verified {
		s.heardAt = s.verified
		known.Heard = wall(s.verified)
	}
	if known == s.said {
		return
	}
	s.said = known
	if known.Carrier != s.peer.wire {
		h.u.setWire(s.way, known.Carrier)
	}
	s.way.mtu.Store(uint32(known.MTU))
	s.way.path.Store(&known)
}

// able returns the carriers that this host can send to p by. GRE-in-UDP leaves
// no room for sequence numbers.
func (u *Underlay) able(p *peer) [carriers]bool {
	return [carriers]bool{CarrierGRE: true, CarrierUDP: u.family(p.Addr).udp != nil && !p.Sequence}
}

// sendHello sends a message in a datagram of size bytes; 0: as short as it is.
// What the kernel says to it is no matter: a hello that does not arrive is
// missed at the other side.
func (u *Underlay) sendHello(p *peer, c Carrier, space []byte, m *hello, size int) {
	if !p.src.IsValid() {
		return
	}
	e := envelope{to: p, src: p.src, gre: GREFields{Protocol: ProtoHello, HasKey: true, Key: helloKey}}
	at := p.outer
	if c == CarrierUDP {
		at += header.UDPLen
	}
	e.gre.Put(space[at:])
	start := at + e.gre.Len()
	end := start + len(m.appendTo(space[start:start]))
	if size > end {
		clear(space[end:size])
		end = size
	}
	f := u.family(p.Addr)
	var errno unix.Errno
	if c == CarrierUDP {
		errno = sendOne(f.udp.send[0], space[at:end], &p.destUDP)
	} else {
		e.putOuter(space, end)
		errno = sendOne(f.sockets.Send, space[:end], &p.dest)
	}
	switch errno {
	case 0:
		p.proof[c].sent.Store(true)
	case unix.EPERM: // the host's firewall
		if p.proof[c].sent.Swap(false) {
			u.egress.look()
		}
	}
}

// sendOne sends a datagram without waiting, and returns what the kernel said.
func sendOne(fd int, b []byte, dest *sockaddr) unix.Errno {
	var iov unix.Iovec
	iov.Base = &b[0]
	iov.SetLen(len(b))
	var m [1]mmsghdr
	m[0].hdr.Iov = &iov
	m[0].hdr.SetIovlen(1)
	dest.address(&m[0].hdr)
	_, errno := sendmmsg(fd, m[:])
	if errno != 0 {
		_, errno = sendmmsg(fd, m[:]) // an ICMP error may have been pending: it is gone now
	}
	return errno
}
