package encap

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/vishvananda/netlink"
)

// Config describes the underlay.
type Config struct {
	Local []netip.Addr // own outer addresses, IPv4 [IPv6 later]: the first is the source, only these are heard; empty: the route picks, all are heard
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

// Underlay carries inner frames between hosts. SetPeers, LinkMTU and Overhead
// may be called from any goroutine at any time until Close.
type Underlay struct {
	local   []netip.Addr
	log     *slog.Logger
	sockets Sockets
	links   *netlink.Handle // of the namespace of the sockets; nil where they are none of Open
	peers   atomic.Pointer[peerTable]

	receiver   *Receiver
	mtuUnknown atomic.Bool // LinkMTU has said so in the log

	mu     sync.Mutex // guards closed, and is held while peers changes
	closed bool
}

// Open makes the raw sockets in the network namespace of the calling thread.
// It needs CAP_NET_RAW, and CAP_NET_ADMIN for large buffers. Nobody is heard
// until SetPeers.
func Open(cfg Config) (*Underlay, error) {
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("open underlay: %w", err)
	}
	s, err := openSockets(&cfg)
	if err != nil {
		return nil, fmt.Errorf("open underlay: %w", err)
	}
	u, err := OpenSockets(cfg, s)
	if err != nil {
		return nil, err // OpenSockets has closed them
	}
	if u.links, err = openLinks(); err != nil {
		_ = u.Close()
		return nil, fmt.Errorf("open underlay: %w", err)
	}
	return u, nil
}

// Sockets are the three descriptors of an Underlay, each non-blocking.
type Sockets struct {
	Peers     int // datagrams of peers are read from here, outer header included
	Strangers int // datagrams of anybody else, to be counted
	Send      int // outer datagrams are written here, headers included

	raw bool // made by Open
}

// OpenSockets makes an Underlay of sockets that are open already and keep
// datagram boundaries. It takes them over, also when it fails. Open is built on
// it; it is exported as the seam for encaptest, whose sockets are socketpairs
// (filters work on those too).
func OpenSockets(cfg Config, s Sockets) (*Underlay, error) {
	u := &Underlay{sockets: s}
	u.peers.Store(&peerTable{})
	u.receiver = newReceiver(u)
	err := cfg.check()
	if err == nil {
		u.local, u.log = cfg.Local, cfg.Log
		err = u.SetPeers(nil)
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
	defer u.mu.Unlock()
	if u.closed {
		return nil
	}
	u.closed = true
	if u.links != nil {
		u.links.Close()
	}
	return u.sockets.close()
}

// SetPeers replaces the set of peers that are spoken to and heard, at once or,
// when it returns an error, not at all. Datagrams of peers that stay are not
// lost and keep their sequence numbers. What a removed peer sent before is still
// returned by Recv, with drop.GREPeer.
//
// The two filters change one after the other: a stranger's datagram that arrives
// between them, within microseconds, may be counted twice or not at all.
func (u *Underlay) SetPeers(peers []Peer) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	old := u.peers.Load()
	t, err := newPeerTable(peers, u.local, old)
	if err != nil {
		return fmt.Errorf("set peers: %w", err)
	}
	addrs := t.addrs()
	hear, err := peersFilter(u.local, addrs)
	if err != nil {
		return fmt.Errorf("set peers: %w", err)
	}
	count, err := strangersFilter(u.local, addrs)
	if err != nil {
		return fmt.Errorf("set peers: %w", err)
	}
	u.peers.Store(t) // before the filter: what it lets pass must be known
	if err := attach(u.sockets.Peers, hear); err != nil {
		u.peers.Store(old)
		return fmt.Errorf("set peers: %w", err)
	}
	if err := attach(u.sockets.Strangers, count); err != nil {
		u.peers.Store(old)
		if hear, err := peersFilter(u.local, old.addrs()); err == nil {
			_ = attach(u.sockets.Peers, hear)
		}
		return fmt.Errorf("set peers: %w", err)
	}
	return nil
}

// Room that a tunnel takes of the link's MTU, in bytes: outer IPv4 header, UDP
// header (so that GRE-in-UDP fits as well), GRE header with key, inner Ethernet
// header. Raw GRE leaves 8 of them free for a sequence number and a VLAN tag.
const (
	overheadIPv4     = 20 + 8 + 8 + 14
	overheadChecksum = 4
)

// Overhead returns how many bytes of the link's MTU a tunnel takes from a
// container's.
func (u *Underlay) Overhead(checksum bool) int {
	if checksum {
		return overheadIPv4 + overheadChecksum
	}
	return overheadIPv4
}
