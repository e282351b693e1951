package encap

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/safchain/ethtool"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Frames written to an egress TAP, or to a packet socket, leave by the uplink as they
// are, past routing, neighbours, IPsec and the firewall of the host. So a peer gets
// these carriers only while all of these have nothing to do with its datagrams: the host's routes lead
// there by an Ethernet link (egressFinder), and rules let sockets send (proof).
// The kernel says when any of it may have changed, and then all is looked at anew;
// whatever does not hold makes the peer's packets go by raw or UDP socket again. Rules that
// change (egressRules) are tried by a hello meanwhile.

const (
	egressEvery  = 2 * time.Second        // between looks when nothing happens
	egressPause  = 50 * time.Millisecond  // between looks at least
	egressSoon   = 500 * time.Millisecond // until the next where this one changed something: a socket may have sent by then
	egressNaming = "weft-out%d"
)

var (
	errEgressUntested = errors.New("the kernel is being tested")
	errEgressUnproved = errors.New("nothing was sent by socket yet, which shows that the host's firewall lets it pass")
)

// egress keeps up the carrying by egress TAPs and packet sockets: one goroutine, which owns
// everything but what is said otherwise.
type egress struct {
	u     *Underlay
	ns    netns.NsHandle                  // of the underlay
	lost  atomic.Uint64                   // frames that were dropped behind the TAPs; read by anyone
	down  [carriers]atomic.Pointer[error] // why no peer can have it; nil: nothing is in the way. Read by anyone
	kick  chan struct{}                   // something may have changed
	rules egressRules                     // of the host's firewall
	stop  chan struct{}                   // closed by close
	ended sync.WaitGroup
	links *netlink.Handle
	tool  *ethtool.Ethtool
	taps  []*egressTAP
}

// startEgress begins to look for peers that an egress TAP leads to. The calling
// thread is in the underlay's namespace.
func startEgress(u *Underlay) (*egress, error) {
	ns, err := netns.Get()
	if err != nil {
		return nil, fmt.Errorf("open underlay: open network namespace: %w", err)
	}
	e := &egress{u: u, ns: ns, kick: make(chan struct{}, 1), stop: make(chan struct{})}
	for c := range e.down {
		e.down[c].Store(&errEgressUntested)
	}
	e.ended.Add(1)
	go e.run() // owner: the Underlay; ends when close closes stop
	return e, nil
}

// close ends it; TAPs go with their descriptors.
func (e *egress) close() {
	close(e.stop)
	e.ended.Wait()
	for _, t := range e.taps {
		_ = unix.Close(t.fd)
	}
	_ = e.ns.Close()
}

// look makes the goroutine look again.
func (e *egress) look() {
	if e == nil {
		return
	}
	select {
	case e.kick <- struct{}{}:
	default:
	}
}

func (e *egress) run() {
	defer e.ended.Done()
	runtime.LockOSThread() // and never unlocked: the thread ends with its namespace
	if err := e.work(); err != nil {
		for c := range e.down {
			e.fail(Carrier(c), err)
		}
	}
}

// fail says that no peer can have it for a carrier; nil that any may.
func (e *egress) fail(c Carrier, err error) {
	if err == nil {
		e.down[c].Store(nil)
		return
	}
	e.down[c].Store(&err)
	e.u.log.Info("no egress TAP: super-frames to peers are cut here", "encap", c, "reason", err)
}

// work is run until stop, or until it turns out that nobody can look.
func (e *egress) work() error {
	tested := selfTestEgress()
	var err error
	if err := netns.Set(e.ns); err != nil {
		return fmt.Errorf("enter network namespace: %w", err)
	}
	if e.links, err = openLinks(); err != nil {
		return err
	}
	defer e.links.Close()
	if e.tool, err = ethtool.NewEthtool(); err != nil {
		return fmt.Errorf("open ethtool socket: %w", err)
	}
	defer e.tool.Close()
	closeEvents, err := e.follow()
	if err != nil {
		return err
	}
	defer closeEvents()
	e.rules.stale.Store(true)
	for c, err := range tested {
		e.fail(Carrier(c), err)
	}
	for {
		again := time.NewTimer(e.lookAtAll())
		select {
		case <-e.stop:
			again.Stop()
			return nil
		case <-again.C:
		case <-e.kick:
			again.Stop()
			time.Sleep(egressPause) // what changes seldom changes alone
		}
	}
}

// follow makes events of the kernel kick. What is returned ends that.
func (e *egress) follow() (end func(), err error) {
	groups := func(numbers ...uint) []uint { return numbers }
	var sockets []*nl.NetlinkSocket
	var readers sync.WaitGroup
	end = func() {
		for _, s := range sockets {
			s.Close()
		}
		readers.Wait()
	}
	for _, source := range []struct {
		protocol int
		groups   []uint
		firewall bool
	}{
		{unix.NETLINK_ROUTE, groups(unix.RTNLGRP_LINK, unix.RTNLGRP_NEIGH, unix.RTNLGRP_TC, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV4_ROUTE,
			unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV6_RULE, unix.RTNLGRP_NEXTHOP), false},
		{unix.NETLINK_XFRM, groups(nl.XFRMNLGRP_POLICY), false},
		{unix.NETLINK_NETFILTER, groups(unix.NFNLGRP_NFTABLES), true},
	} {
		s, err := nl.Subscribe(source.protocol, source.groups...)
		if errors.Is(err, unix.EPROTONOSUPPORT) { // a kernel without IPsec or netfilter
			continue
		}
		if err != nil {
			end()
			return nil, fmt.Errorf("follow events of the kernel: %w", err)
		}
		sockets = append(sockets, s)
		readers.Go(func() { // ends when end closes the socket
			for {
				messages, _, err := s.Receive()
				if err != nil && !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.EINTR) {
					return
				}
				if source.firewall && err == nil {
					e.ruled(messages)
					continue
				}
				if source.firewall { // some events were missed
					e.rules.stale.Store(true)
					e.try()
				}
				e.look()
			}
		})
	}
	return end, nil
}

// ruled takes what the kernel says of the firewall.
func (e *egress) ruled(messages []syscall.NetlinkMessage) {
	list, try := e.rules.event(messages)
	if try {
		e.try()
	}
	if list {
		e.look()
	}
}

// try finds out whether the host's firewall still lets sockets send: the hello
// sends, or, where there is none, whoever has something for a peer.
func (e *egress) try() {
	if h := e.u.hello.Load(); h != nil {
		h.try()
		return
	}
	for _, p := range e.u.peers.Load().byAddr {
		for c := range p.proof {
			p.proof[c].sent.Store(false)
		}
	}
	e.look()
}

// lookAtAll looks at every peer, and returns how long that is good for.
func (e *egress) lookAtAll() time.Duration {
	f := &egressFinder{egress: e}
	changed, err := e.rules.list()
	if err != nil {
		e.u.log.Warn("firewall cannot be looked at", "err", err)
	}
	if changed || err != nil {
		e.try()
	}
	type found struct {
		path   [carriers]*egressPath
		err    [carriers]error
		packet *packetPath
	}
	all := map[Peer]found{}
	changed = false
	for _, p := range e.u.peers.Load().numbered {
		if p == nil {
			continue
		}
		var now found
		for c := range Carrier(carriers) {
			path, err := e.pathTo(f, p, c)
			now.path[c], now.err[c] = path, err
			if !path.equal(p.egress[c]) || errorText(err) != errorText(p.noEgress[c]) {
				changed = true
				e.say(p, c, path, err)
			}
		}
		now.packet = e.packetTo(f, p)
		if !now.packet.equal(p.packet) {
			changed = true
			e.u.log.Info("what raw GRE leaves by has changed", "peer", p.ID, "address", p.Addr, "packet_socket", now.packet != nil)
		}
		p.proof[CarrierGRE].due.Store(now.packet != nil)
		all[p.Peer] = now
	}
	e.count()
	if changed {
		e.u.changePeers(func(p *peer) {
			if now, ok := all[p.Peer]; ok {
				p.egress, p.noEgress, p.packet = now.path, now.err, now.packet
			}
		})
		return egressSoon
	}
	return egressEvery
}

// pathTo says how a peer is reached by a carrier's egress TAP, or why it is not.
func (e *egress) pathTo(f *egressFinder, p *peer, c Carrier) (*egressPath, error) {
	if down := e.down[c].Load(); down != nil {
		return nil, *down
	}
	path, err := f.find(p, c)
	if err == nil && !p.proof[c].sent.Load() {
		return nil, errEgressUnproved
	}
	return path, err
}

// packetTo says how a peer is reached by packet socket; nil where it is not.
func (e *egress) packetTo(f *egressFinder, p *peer) *packetPath {
	if !p.proof[CarrierGRE].sent.Load() || e.u.family(p.Addr).packet < 0 {
		return nil
	}
	out := f.exit(p)
	if out.err != nil {
		return nil
	}
	return newPacketPath(out.src, out.up.link.Attrs().Index, out.hop)
}

// passesBy reports whether packets to p pass by the host's firewall.
func (p *peer) passesBy(c Carrier) bool {
	return p.egress[c] != nil || c == CarrierGRE && p.packet != nil
}

// say writes to the log that the carrier of a peer changes.
func (e *egress) say(p *peer, c Carrier, path *egressPath, err error) {
	switch {
	case path != nil && p.egress[c] == nil:
		e.u.log.Info("peer is reached by egress TAP", "peer", p.ID, "address", p.Addr, "encap", c)
	case path == nil && p.egress[c] != nil:
		e.u.log.Info("peer is reached by socket", "peer", p.ID, "address", p.Addr, "encap", c, "reason", err)
	}
}

func (e *egressPath) equal(o *egressPath) bool {
	return (e == nil) == (o == nil) && (e == nil || *e == *o)
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// Accel says what carries packets to a peer faster than raw and UDP sockets do: an
// "egress-tap", a "packet-socket", or "none"; and why it is no egress TAP. Any
// goroutine may ask.
func (u *Underlay) Accel(id PeerID) (name, reason string) {
	p := u.peers.Load().peer(id)
	switch {
	case p == nil:
		return "none", ""
	case p.egress[p.wire] != nil:
		return "egress-tap", ""
	case p.carrier == byPacket:
		return "packet-socket", u.noEgress(p)
	case p.carrier == byUDP && u.family(p.Addr).udp.refused():
		return "none", "the kernel refuses UDP_SEGMENT here: every segment is sent as a datagram of its own"
	case u.egress == nil:
		return "none", "switched off"
	}
	return "none", u.noEgress(p)
}

// noEgress says why a peer is not reached by egress TAP.
func (u *Underlay) noEgress(p *peer) string {
	err := p.noEgress[p.wire]
	if down := u.egress.down[p.wire].Load(); down != nil {
		err = *down
	}
	if err == nil {
		return "not looked at yet"
	}
	return err.Error()
}

// EgressDropped returns how many packets that Send had handed to the kernel were
// dropped behind an egress TAP: by the queue of the uplink, or because it was down.
// It is as of the last look, a few seconds ago at most.
func (u *Underlay) EgressDropped() uint64 {
	if u.egress == nil {
		return 0
	}
	return u.egress.lost.Load()
}
