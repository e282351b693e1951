package dataplane

import (
	"encoding/binary"
	"maps"
	"net/netip"
	"sync/atomic"

	"weft/encap"
	"weft/fib"
	"weft/internal/header"
	"weft/internal/policy"
	"weft/tap"
)

// snapshot is the configuration that workers see. It never changes once it is
// published; the pieces that stay the same are shared with the next one.
type snapshot struct {
	version uint64
	ports   []*port            // by PortID; nil: none
	peers   []*peer            // by encap.PeerID; nil: none
	domains []*domain          // by DomainID; nil: none
	byKey   map[uint32]*domain // by GRE key
	vrfs    map[uint32]*vrf    // by GRE key
}

// port is a switch attachment. An uplink is two: one leads to the LAN, and its
// twin to the host's own stack (uplink.go).
type port struct {
	id         PortID
	device     *tap.Device // nil for an uplink
	uplink     *tap.Uplink // nil for all others
	twin       PortID      // of an uplink and its host side, each other's; 0: none
	worker     int         // the only one that reads the device
	network    DomainID    // the domain of its network
	domain     DomainID    // of its untagged frames: network, or a VLAN of it
	trunk      *vlanSet    // VLANs that it has tagged; nil: none. An uplink has all
	mac        header.MAC
	addrs      []netip.Addr // attached addresses
	mtu        int
	allowSpoof bool
	isolated   bool
	host       bool           // forwards for others (guardHost)
	filter     *policy.Filter // what it may send, unless allowSpoof
	tagged     *policy.Filter // the same in the VLANs of its trunk
	flooding   *flooding      // of the worker that reads it
	floodRate  int            // tokens a second; negative: no limit
	stations   int            // that the FDB learns from it, at most
	loop       *looping       // of the same
	gone       *atomic.Bool   // set by the worker that found the device dead
	lossRead   *atomic.Uint32 // of an uplink: second in which the kernel was last asked for losses
	counters   []portCounters // by worker
}

// peer is a remote switch.
type peer struct {
	id       encap.PeerID
	domain   DomainID // of a keyless peer; 0: demultiplexed by key
	vrf      uint32   // of a keyless peer's bare IP
	mtu      int      // L3, of bare IP to it
	health   *health
	counters []peerCounters // by worker
}

// health is what workers note about a peer; control reads it.
type health struct {
	heard  atomic.Uint32         // second of the last valid datagram
	failed atomic.Uint32         // second of the last error
	err    atomic.Pointer[error] // that error
}

// domain is the scope of learning and flooding: a network, or a VLAN of it (vlan.go).
type domain struct {
	id       DomainID
	network  DomainID   // itself, or of which it is a VLAN
	vid      uint16     // 0: it is the network
	aware    bool       // tags are looked at: it has VLANs, or is one
	vlans    *vlanTable // of a network; nil: none
	key      uint32
	mtu      int
	fdb      *fib.FDB
	ports    []*port
	uplinks  []*port // those of ports that lead to a LAN
	routers  []*port // those of ports where a multicast router may be (listener.go)
	apart    bool    // no frame goes from one container of the network to another
	isolates bool    // whether a port is isolated, or all are apart
	peers    []*peer // that share it; head-end replication
	shared   bitset  // the same peers, by number

	vrf      uint32 // that routes for it; 0: bridged only
	prefixes []netip.Prefix
	gw       *gateway // nil: none
	attached map[netip.Addr]*port
	reserved map[netip.Addr]bool // no port without addresses may speak for one
	neigh    *neighbours
	defence  *defence
}

// clone returns a copy of s whose slices and maps may be changed.
func (s *snapshot) clone() *snapshot {
	c := &snapshot{
		version: s.version + 1,
		ports:   append([]*port(nil), s.ports...),
		peers:   append([]*peer(nil), s.peers...),
		domains: append([]*domain(nil), s.domains...),
		byKey:   make(map[uint32]*domain, len(s.byKey)+1),
		vrfs:    maps.Clone(s.vrfs),
	}
	for k, d := range s.byKey {
		c.byKey[k] = d
	}
	return c
}

// setDomain puts d in the place of the domain with its number.
func (s *snapshot) setDomain(d *domain) {
	s.domains[d.id] = d
	if d.vid == 0 {
		s.byKey[d.key] = d
		s.setOwn()
	}
}

// portOf returns the port that a destination is, nil for peers and nowhere.
func (s *snapshot) portOf(d fib.Dest) *port {
	if d.IsPeer() {
		return nil
	}
	return s.port(PortID(d.ID()))
}

// contains reports whether a is in a prefix of the domain.
func (d *domain) contains(a netip.Addr) bool {
	for _, p := range d.prefixes {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// isBroadcast reports whether a is the network or the broadcast address of a
// prefix of the domain. Point-to-point prefixes have neither (RFC 3021).
func (d *domain) isBroadcast(a netip.Addr) bool {
	for _, p := range d.prefixes {
		if !a.Is4() || !p.Contains(a) || p.Bits() > 30 {
			continue
		}
		host := ^uint32(0) >> p.Bits()
		b := a.As4()
		n := binary.BigEndian.Uint32(b[:]) & host
		return n == 0 || n == host
	}
	return false
}

// port returns the port with number id, nil where there is none.
func (s *snapshot) port(id PortID) *port {
	if int(id) < len(s.ports) {
		return s.ports[id]
	}
	return nil
}

// peer returns the peer with number id, nil where there is none.
func (s *snapshot) peer(id encap.PeerID) *peer {
	if int(id) < len(s.peers) {
		return s.peers[id]
	}
	return nil
}

// domain returns the domain with number id, nil where there is none.
func (s *snapshot) domain(id DomainID) *domain {
	if int(id) < len(s.domains) {
		return s.domains[id]
	}
	return nil
}

// bitset is a set of small numbers.
type bitset []uint64

func (b bitset) has(n uint16) bool {
	return int(n/64) < len(b) && b[n/64]>>(n%64)&1 != 0
}

func (b *bitset) add(n uint16) {
	for int(n/64) >= len(*b) {
		*b = append(*b, 0)
	}
	(*b)[n/64] |= 1 << (n % 64)
}
