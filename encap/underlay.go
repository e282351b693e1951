package encap

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Config describes the underlay.
type Config struct {
	// Local are the own outer addresses, IPv4, IPv6 or both: the first of each is
	// the source, only these are heard, and peers are of these versions of IP.
	// Empty: the route picks, all are heard, of each version that the host has.
	Local []netip.Addr
	Accel bool         // look for ways that are faster than raw sockets (Open only)
	Log   *slog.Logger // nil: no log
}

// check unmaps the local addresses and refuses what cannot be one.
func (c *Config) check() error {
	c.Local = slices.Clone(c.Local)
	for i, a := range c.Local {
		if !a.IsValid() {
			return fmt.Errorf("local address %d is empty", i+1)
		}
		if err := checkOuter(a); err != nil {
			return fmt.Errorf("local address %w", err)
		}
		c.Local[i] = a.Unmap()
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

// localOf returns the local addresses of one version of IP.
func (c *Config) localOf(v6 bool) (as []netip.Addr) {
	for _, a := range c.Local {
		if a.Is6() == v6 {
			as = append(as, a)
		}
	}
	return as
}

// Underlay carries inner frames between hosts. SetPeers, Refresh, Room and what
// returns an MTU or an overhead may be called from any goroutine at any time
// until Close.
type Underlay struct {
	local    []netip.Addr
	log      *slog.Logger
	families []*family       // one or two
	links    *netlink.Handle // of the namespace of the sockets; nil where they are none of Open
	seed     uint64          // of flow labels
	peers    atomic.Pointer[peerTable]
	egress   *egress                 // nil without Config.Accel
	hello    atomic.Pointer[helloer] // nil before StartHello

	mtuUnknown atomic.Bool // LinkMTU has said so in the log

	mu     sync.Mutex // guards closed, and is held while peers changes
	closed bool
}

// family is what an Underlay has for one version of IP.
type family struct {
	v6        bool
	local     []netip.Addr
	sockets   Sockets
	packet    int // packet socket that raw GRE may leave by; -1: none
	receiver  *rawReceiver
	strangers *Strangers
	udp       *udpSockets // nil where there is no GRE-in-UDP
	noUDP     error       // why not
	inUDP     *udpReceiver
	udpOthers *Strangers
	heard     bool // the filters were set once; under mu of the Underlay
}

// Open makes the raw sockets in the network namespace of the calling thread.
// It needs CAP_NET_RAW, and CAP_NET_ADMIN for large buffers. Until SetPeers nobody
// is heard, and nobody a stranger: what peers send meanwhile, to a host that
// starts again, is lost as if it were down still.
func Open(cfg Config) (*Underlay, error) {
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("open underlay: %w", err)
	}
	s, err := openSockets(&cfg)
	if err != nil {
		return nil, fmt.Errorf("open underlay: %w", err)
	}
	links, err := openLinks()
	if err != nil {
		return nil, fmt.Errorf("open underlay: %w", errors.Join(err, closeAll(s)))
	}
	u, err := newUnderlay(cfg, s, links)
	if err != nil {
		return nil, err
	}
	u.openUDP(&cfg)
	if cfg.Accel {
		u.openPacket(&cfg)
		if u.egress, err = startEgress(u); err != nil {
			return nil, errors.Join(err, u.Close())
		}
	}
	return u, nil
}

// openUDP adds GRE-in-UDP. Where its port is taken, or UDP_GRO is not known, raw
// GRE has to do.
func (u *Underlay) openUDP(cfg *Config) {
	for _, f := range u.families {
		f.udp, f.noUDP = openUDP(cfg, f.v6)
		if f.noUDP != nil {
			u.log.Warn("no GRE-in-UDP", "err", f.noUDP)
			continue
		}
		f.inUDP, f.udpOthers = newUDPReceiver(u, f), &Strangers{fd: f.udp.strangers}
	}
}

// Sockets are the three descriptors that an Underlay has for one version of IP,
// each non-blocking.
type Sockets struct {
	V6        bool
	Peers     int // datagrams of peers are read from here, outer header included
	Strangers int // datagrams of anybody else, to be counted
	Send      int // outer datagrams are written here, headers included

	raw bool // made by Open: over IPv6 the outer header is not included, and errors are queued
}

// OpenSockets makes an Underlay of sockets that are open already and keep
// datagram boundaries, for one version of IP or for each. It takes them over,
// also when it fails. It is the seam for encaptest, whose sockets are socketpairs
// (filters work on those too).
func OpenSockets(cfg Config, s ...Sockets) (*Underlay, error) {
	return newUnderlay(cfg, s, nil)
}

// newUnderlay takes over sockets and links.
func newUnderlay(cfg Config, sockets []Sockets, links *netlink.Handle) (*Underlay, error) {
	u := &Underlay{links: links, seed: rand.Uint64()}
	u.peers.Store(&peerTable{})
	err := cfg.check()
	for _, s := range sockets {
		f := &family{v6: s.V6, local: cfg.localOf(s.V6), sockets: s, packet: -1}
		f.receiver, f.strangers = newRawReceiver(u, f), &Strangers{fd: s.Strangers}
		u.families = append(u.families, f)
	}
	u.local, u.log = cfg.Local, cfg.Log
	for _, f := range u.families {
		err = errors.Join(err, attach(f.sockets.Peers, dropAll), attach(f.sockets.Strangers, dropAll))
	}
	if err != nil {
		_ = u.Close()
		return nil, fmt.Errorf("open underlay: %w", err)
	}
	return u, nil
}

// Close closes the sockets. No worker may use the Underlay any more. It may be
// called twice.
func (u *Underlay) Close() error {
	u.mu.Lock()
	closed := u.closed
	u.closed = true
	u.mu.Unlock()
	if closed {
		return nil
	}
	u.hello.Load().end() // it may wait for mu
	if u.egress != nil {
		u.egress.close()
	}
	if u.links != nil {
		u.links.Close()
	}
	var errs []error
	for _, f := range u.families {
		errs = append(errs, f.sockets.close(), f.udp.close())
		if f.packet >= 0 {
			errs = append(errs, unix.Close(f.packet))
		}
	}
	return errors.Join(errs...)
}

// family returns what there is for the version of IP of a, nil where nothing is.
func (u *Underlay) family(a netip.Addr) *family {
	for _, f := range u.families {
		if f.v6 == a.Is6() {
			return f
		}
	}
	return nil
}

// Speaks reports whether the Underlay speaks a's version of IP: SetPeers refuses
// peers of another one.
func (u *Underlay) Speaks(a netip.Addr) bool { return u.family(a.Unmap()) != nil }

// SetPeers replaces the set of peers that are spoken to and heard, at once or,
// when it returns an error, not at all. Datagrams of peers that stay are not
// lost and keep their sequence numbers. What a removed peer sent before is still
// returned by Recv, with drop.GREPeer.
//
// The filters change one after the other: a stranger's datagram that arrives
// between them, within microseconds, may be counted twice or not at all.
func (u *Underlay) SetPeers(peers []Peer) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	old := u.peers.Load()
	t, err := newPeerTable(peers, u.local, old)
	if err != nil {
		return fmt.Errorf("set peers: %w", err)
	}
	for _, p := range t.byAddr {
		if !u.Speaks(p.Addr) {
			return fmt.Errorf("set peers: peer %d: %s: no local address of this version of IP: name one", p.ID, p.Addr)
		}
	}
	u.peers.Store(t.changed(u.pathFinder())) // before the filters: what they let pass must be known
	defer u.egress.look()
	for i, f := range u.families {
		if err := f.hear(t); err != nil {
			u.peers.Store(old)
			for _, done := range u.families[:i+1] {
				_ = done.hear(old)
			}
			return fmt.Errorf("set peers: %w", err)
		}
	}
	u.hello.Load().changed()
	return nil
}

// changePeers lets change say what is new about each peer, and picks carriers by
// it. Workers see it from their next Send on; what they sent before is the kernel's
// by then, so that a flow whose carrier changes stays in order as far as the host's
// queues keep it.
func (u *Underlay) changePeers(change func(p *peer)) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.peers.Store(u.peers.Load().changed(func(p *peer) {
		change(p)
		p.choose()
	}))
}

// hear sets the filters of a family to the peers of t.
func (f *family) hear(t *peerTable) error {
	addrs := t.addrs(f.v6)
	hear, err := peersFilter(f.v6, f.local, addrs)
	if err != nil {
		return err
	}
	count, err := strangersFilter(f.v6, f.local, addrs)
	if err != nil {
		return err
	}
	if err := attach(f.sockets.Peers, hear); err != nil {
		return err
	}
	if f.udp != nil {
		if err := f.udp.hear(f.v6, f.local, addrs); err != nil {
			return err
		}
		if !f.heard { // a UDP socket's filter counts what it refused until now
			dropped(f.udp.peers, &f.inUDP.lost)
			dropped(f.udp.strangers, &f.udpOthers.lost)
			f.heard = true
		}
	}
	return attach(f.sockets.Strangers, count)
}
