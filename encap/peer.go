package encap

import (
	"fmt"
	"net/netip"
	"slices"
)

// PeerID numbers a peer, 1 to MaxPeerID; 0 is no peer.
type PeerID uint16

// MaxPeerID is the highest number a peer can have.
const MaxPeerID = 32767

// Peer says how to speak to one remote switch.
type Peer struct {
	ID       PeerID
	Addr     netip.Addr // outer address, IPv4 or IPv6
	Keyless  bool       // sends no key; hears only packets without one
	Checksum bool       // sends GRE checksums; received ones are verified in any case
	Sequence bool       // sends sequence numbers and drops late datagrams (RFC 2890 section 2.2)
	Choice   Choice     // of what carries its tunnel
}

// check refuses what cannot be a peer.
func (p *Peer) check(local []netip.Addr) error {
	switch {
	case p.ID == 0 || p.ID > MaxPeerID:
		return fmt.Errorf("peer number %d is not in 1 to %d", p.ID, MaxPeerID)
	case !p.Addr.IsValid():
		return fmt.Errorf("peer %d has no address", p.ID)
	}
	if err := checkOuter(p.Addr); err != nil {
		return fmt.Errorf("peer %d: %w", p.ID, err)
	}
	if slices.Contains(local, p.Addr.Unmap()) {
		return fmt.Errorf("peer %d: %s is an address of this host", p.ID, p.Addr)
	}
	return nil
}

// checkOuter refuses addresses that cannot stand in an outer header.
func checkOuter(a netip.Addr) error {
	switch a = a.Unmap(); {
	case a.Is6() && a.IsLinkLocalUnicast():
		return fmt.Errorf("%s is an address of one link: name a global or unique local one", a)
	case a.Zone() != "":
		return fmt.Errorf("%s has a zone, which only addresses of one link have", a)
	case a.IsUnspecified(), a.IsMulticast(), a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return fmt.Errorf("%s is not the address of one host", a)
	}
	return nil
}

// peer is a Peer as the frame path sees it. Immutable but for the two tables
// that the sequence option needs.
type peer struct {
	Peer
	path
	wire     Carrier               // in use; changed by the hello
	way      *way                  // the same as long as the Peer is
	carrier  carrierKind           // as picked by what else is known (choose)
	egress   [carriers]*egressPath // nil where no egress TAP leads to it
	noEgress [carriers]error       // why not, said by the last look; nil: nobody has looked
	packet   *packetPath           // nil where no packet socket leads to it
	dest     sockaddr
	destUDP  sockaddr
	outer    int // bytes of the outer IP header
	proof    *[carriers]proof
	numbers  *numbers // nil without Sequence
	order    *order   // nil without Sequence
}

// peerTable is an immutable set of peers, published behind an atomic pointer.
type peerTable struct {
	numbered []*peer // by PeerID; nil where there is none
	byAddr   map[netip.Addr]*peer
}

// newPeerTable checks peers and builds their table. Sequence numbers go on where
// a peer was in the old table already.
func newPeerTable(peers []Peer, local []netip.Addr, old *peerTable) (*peerTable, error) {
	t := &peerTable{byAddr: make(map[netip.Addr]*peer, len(peers))}
	for _, cfg := range peers {
		if err := cfg.check(local); err != nil {
			return nil, err
		}
		cfg.Addr = cfg.Addr.Unmap()
		if t.peer(cfg.ID) != nil {
			return nil, fmt.Errorf("peer number %d is taken twice", cfg.ID)
		}
		if other := t.byAddr[cfg.Addr]; other != nil {
			return nil, fmt.Errorf("peers %d and %d have the same address %s", other.ID, cfg.ID, cfg.Addr)
		}
		p := &peer{Peer: cfg, dest: sockaddrOf(cfg.Addr), outer: outerLen(cfg.Addr), proof: new([carriers]proof)}
		p.destUDP = p.dest
		p.dest.sayGRE()
		p.destUDP.setPort(udpPort)
		if before := old.peer(cfg.ID); before != nil && before.Peer == cfg {
			p.carrier, p.egress, p.noEgress, p.packet, p.proof = before.carrier, before.egress, before.noEgress, before.packet, before.proof
			p.wire, p.way = before.wire, before.way
		} else {
			p.way = new(way)
			if cfg.Choice == ChooseUDP {
				p.wire = CarrierUDP
				p.choose()
			}
		}
		if cfg.Sequence {
			p.sequenceFrom(old.peer(cfg.ID))
		}
		if n := int(cfg.ID) + 1; n > len(t.numbered) {
			t.numbered = append(t.numbered, make([]*peer, n-len(t.numbered))...)
		}
		t.numbered[cfg.ID] = p
		t.byAddr[cfg.Addr] = p
	}
	return t, nil
}

// choose picks the carrier by what is known of the peer.
func (p *peer) choose() {
	p.carrier = [carriers]carrierKind{CarrierGRE: byRaw, CarrierUDP: byUDP}[p.wire]
	switch {
	case p.egress[p.wire] != nil:
		p.carrier = [carriers]carrierKind{CarrierGRE: byRawEgress, CarrierUDP: byUDPEgress}[p.wire]
	case p.wire == CarrierGRE && p.packet != nil:
		p.carrier = byPacket
	}
}

// sequenceFrom takes over the sequence numbers of before, or starts new ones.
func (p *peer) sequenceFrom(before *peer) {
	if before != nil && before.Sequence && before.Addr == p.Addr {
		p.numbers, p.order = before.numbers, before.order
		return
	}
	p.numbers, p.order = new(numbers), new(order)
}

// peer returns the peer with this number, nil where there is none.
func (t *peerTable) peer(id PeerID) *peer {
	if int(id) < len(t.numbered) {
		return t.numbered[id]
	}
	return nil
}

// changed returns a copy of t in which change was applied to a copy of each peer.
func (t *peerTable) changed(change func(p *peer)) *peerTable {
	c := &peerTable{numbered: make([]*peer, len(t.numbered)), byAddr: make(map[netip.Addr]*peer, len(t.byAddr))}
	for id, was := range t.numbered {
		if was != nil {
			p := *was
			change(&p)
			c.numbered[id], c.byAddr[p.Addr] = &p, &p
		}
	}
	return c
}

// addrs returns the addresses of all peers of one version of IP, sorted.
func (t *peerTable) addrs(v6 bool) []netip.Addr {
	as := make([]netip.Addr, 0, len(t.byAddr))
	for a := range t.byAddr {
		if a.Is6() == v6 {
			as = append(as, a)
		}
	}
	slices.SortFunc(as, netip.Addr.Compare)
	return as
}
