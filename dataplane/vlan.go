package dataplane

import (
	"encoding/binary"
	"fmt"

	"weft/fib"
	"weft/internal/drop"
	"weft/internal/header"
	"weft/internal/offload"
)

// VLANs (IEEE 802.1Q). A network is a domain of untagged frames and, beside it, one
// of each VLAN that a port of this host names. That one has its own FDB and members;
// in it frames have no tag. It is taken off where they come in and put on where
// they leave, in place:
//
//	                           untagged frames    frames with tag N
//	plain port                 the network        dropped where N is named; else as any frame
//	access port of VLAN N      VLAN N             dropped
//	trunk port                 the network, or    VLAN N where N is of the trunk,
//	                           its native VLAN    else dropped
//	peer, uplink               the network        VLAN N where N is named; else as any frame
//
// A priority tag, of VID 0, is none. What has a further tag behind that of a VLAN
// is dropped: a switch that takes one off would find the other (double tagging).
// Gateway and router are in the untagged domain.

const (
	tagRoom      = header.VLANLen // before a frame, for its tag
	macsEnd      = offload.HeaderLen + 12
	vidMask      = 0x0fff
	vidReserved  = 0x0fff // 802.1Q-2018 table 9-2
	leastVLANFDB = 256    // entries
)

// vlanTable says which VLANs of a network are domains; 0: it is none.
type vlanTable [4096]DomainID

// vlanSet is a set of VIDs.
type vlanSet [64]uint64

func newVLANSet(vids []uint16) *vlanSet {
	if len(vids) == 0 {
		return nil
	}
	s := new(vlanSet)
	for _, vid := range vids {
		s[vid>>6&63] |= 1 << (vid & 63)
	}
	return s
}

func (s *vlanSet) has(vid uint16) bool { return s != nil && s[vid>>6&63]>>(vid&63)&1 != 0 }

// has reports whether a port is a member of d.
func (d *domain) has(p *port) bool {
	if p.domain == d.id {
		return true
	}
	return d.vid != 0 && p.network == d.network && (p.twin != 0 || p.trunk.has(d.vid))
}

// names reports whether the VLAN vid, whose domain is id, is a domain because of p.
func (p *port) names(vid uint16, id DomainID) bool { return p.domain == id || p.trunk.has(vid) }

func isTPID(typ uint16) bool { return typ == header.TypeVLAN || typ == header.TypeQinQ }

// classify finds the domain of a frame in a network with VLANs, of which it has
// the untagged one so far, or the access VLAN, and takes the tag off. p is the
// port that it came from, nil for a peer.
func (w *worker) classify(p *port, f *frame) drop.Reason {
	b := f.bytes()
	eth := header.Ethernet(b)
	typ := eth.Type()
	if !isTPID(typ) {
		if f.domain.vid != 0 { // of a TAP: nothing else has a VLAN without tag
			f.wide = w.arena[w.at-tagRoom : w.at+len(f.buf)]
			f.tci = f.domain.vid
		}
		return drop.None
	}
	if len(b) < header.EthernetLen+header.VLANLen {
		return drop.L2VLAN
	}
	tci := binary.BigEndian.Uint16(b[header.EthernetLen:])
	vid := tci & vidMask
	double := isTPID(binary.BigEndian.Uint16(b[header.EthernetLen+2:]))
	switch {
	case vid == vidReserved, vid == 0 && double:
		return drop.L2VLAN
	case vid == 0:
		if f.domain.vid != 0 {
			f.tci = tci | f.domain.vid
			f.pop()
		}
		return drop.None
	}
	table := w.snap.domain(f.domain.network).vlans
	named := typ == header.TypeVLAN && table[vid] != 0
	switch {
	case p != nil && p.trunk != nil:
		if !named || !p.trunk.has(vid) {
			return drop.L2VLAN
		}
	case f.domain.vid != 0, named && p != nil && p.twin == 0: // access, plain
		return drop.L2VLAN
	case !named:
		f.alien = true
		return drop.None
	}
	if double {
		return drop.L2VLAN
	}
	f.domain, f.tci = w.snap.domain(table[vid]), tci
	f.pop()
	return drop.None
}

// pop takes the tag off a frame, in place.
func (f *frame) pop() {
	f.wide, f.tagged = f.buf, true
	f.untag()
}

// form brings a frame of a VLAN into the form with or without its tag.
func (w *worker) form(f *frame, tagged bool) {
	if f.tagged == tagged {
		return
	}
	if f.held { // the merger has it in the other form
		w.writeMerged()
		f.held = false
	}
	if tagged {
		f.tag()
	} else {
		f.untag()
	}
}

// tag puts the tag on; 802.1p priority is that of the tag that the frame came with.
func (f *frame) tag() {
	b := f.wide
	copy(b, b[tagRoom:tagRoom+macsEnd])
	binary.BigEndian.PutUint16(b[macsEnd:], header.TypeVLAN)
	binary.BigEndian.PutUint16(b[macsEnd+2:], f.tci)
	f.buf, f.tagged, f.header = b, true, f.header.Shift(header.VLANLen)
	f.header.Put(f.buf)
}

// untag is the way back.
func (f *frame) untag() {
	copy(f.wide[tagRoom:], f.wide[:macsEnd])
	f.buf, f.tagged, f.header = f.wide[tagRoom:], false, f.header.Shift(-header.VLANLen)
	f.header.Put(f.buf)
}

// VLAN returns the domain of a VLAN of a network; 0 where no port names it. VLAN 0
// is the network's own.
func (s *Switch) VLAN(network DomainID, vid uint16) DomainID {
	d := s.snapshot.Load().domain(network)
	switch {
	case d == nil:
		return 0
	case vid == 0:
		return d.id
	case d.vlans == nil:
		return 0
	}
	return d.vlans[vid&vidMask]
}

// VLANs returns the VLANs of a network that are domains, in rising order.
func (s *Switch) VLANs(network DomainID) (vids []uint16) {
	d := s.snapshot.Load().domain(network)
	if d == nil || d.vlans == nil {
		return nil
	}
	for vid, id := range d.vlans {
		if id != 0 {
			vids = append(vids, uint16(vid))
		}
	}
	return vids
}

// openVLANs makes domains of those of vids that are none yet in the network d of
// s, which is not published yet, and returns the network with them.
func (s *snapshot) openVLANs(d *domain, vids []uint16) (*domain, error) {
	if len(vids) == 0 {
		return d, nil
	}
	c := *d
	c.vlans, c.aware = new(vlanTable), true
	if d.vlans != nil {
		*c.vlans = *d.vlans
	}
	for _, vid := range vids {
		if vid == 0 || vid >= vidReserved {
			return nil, fmt.Errorf("VLAN %d is out of range", vid)
		}
		if c.vlans[vid] != 0 {
			continue
		}
		id, err := freeSlot(&s.domains)
		if err != nil {
			return nil, err
		}
		v := &domain{id: DomainID(id), network: d.id, vid: vid, aware: true, key: d.key, neigh: new(neighbours), defence: new(defence)}
		v.fdb = fib.NewFDB(fib.FDBConfig{Capacity: max(fib.DefaultCapacity/len(vids), leastVLANFDB), Ageing: d.fdb.Ageing(), Few: len(vids) > 1})
		v.inherit(d)
		for _, p := range s.ports {
			if p != nil && p.network == d.id && p.isHostSide() {
				v.fdb.Set(p.mac, fib.PortDest(uint16(p.id)), fib.Attached)
			}
		}
		s.domains[id], c.vlans[vid] = v, v.id
	}
	s.setDomain(&c)
	return &c, nil
}

// inherit takes over what a VLAN has from its network.
func (d *domain) inherit(network *domain) {
	d.mtu, d.peers, d.shared, d.apart = network.mtu, network.peers, network.shared, network.apart
}

// closeVLANs ends the domains of VLANs that no port names any more.
func (s *snapshot) closeVLANs(network DomainID) {
	d := *s.domain(network)
	if d.vlans == nil {
		return
	}
	left, table := 0, *d.vlans
	for vid, id := range table {
		if id == 0 {
			continue
		}
		if s.isNamed(network, uint16(vid), id) {
			left++
			continue
		}
		table[vid], s.domains[id] = 0, nil
	}
	d.vlans, d.aware = &table, left > 0
	if left == 0 {
		d.vlans = nil
	}
	s.domains[d.id] = &d
}

func (s *snapshot) isNamed(network DomainID, vid uint16, id DomainID) bool {
	for _, p := range s.ports {
		if p != nil && p.network == network && p.names(vid, id) {
			return true
		}
	}
	return false
}

// vlansOf returns the domains of the VLANs of a network.
func (s *snapshot) vlansOf(network DomainID) (list []*domain) {
	d := s.domain(network)
	if d == nil || d.vlans == nil {
		return nil
	}
	for _, id := range d.vlans {
		if id != 0 {
			list = append(list, s.domain(id))
		}
	}
	return list
}

// rejoin gives a network and its VLANs the ports that s has for them.
func (s *snapshot) rejoin(network DomainID) {
	for _, v := range s.vlansOf(network) {
		s.setDomain(v.withPorts(s))
	}
	s.setDomain(s.domain(network).withPorts(s))
}

// pin makes a port's address an entry of every domain that it is a member of. On
// false nothing is changed.
func (s *snapshot) pin(p *port) bool {
	to := fib.PortDest(uint16(p.id))
	var done []*domain
	for _, d := range append(s.vlansOf(p.network), s.domain(p.network)) {
		if !d.has(p) {
			continue
		}
		if !d.fdb.Set(p.mac, to, fib.Attached) {
			for _, d := range done {
				d.fdb.Sweep(to)
			}
			return false
		}
		done = append(done, d)
	}
	return true
}

// sweep removes what a port, which is no more, has in the FDBs of its network.
// Called with mu held.
func (s *Switch) sweep(p *port) {
	snap := s.snapshot.Load()
	for _, d := range append(snap.vlansOf(p.network), snap.domain(p.network)) {
		if d != nil {
			d.fdb.Sweep(fib.PortDest(uint16(p.id)))
		}
	}
}
