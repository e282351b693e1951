package encap

import (
	"net/netip"

	"weft/internal/header"
)

// Room that a tunnel takes of the link's MTU, in bytes: outer header, UDP header
// (so that GRE-in-UDP fits as well), GRE header with key, inner Ethernet header.
// Raw GRE leaves 8 of them free for a sequence number and a VLAN tag.
const (
	overheadIPv4     = header.IPv4Len + 8 + 8 + 14
	overheadIPv6     = header.IPv6Len + 8 + 8 + 14
	overheadChecksum = 4
)

// OverheadTo returns how many bytes of the link's MTU a tunnel to peer takes
// from a container's.
func (u *Underlay) OverheadTo(peer netip.Addr, checksum bool) int {
	overhead := overheadIPv4
	if peer.Unmap().Is6() {
		overhead = overheadIPv6
	}
	if checksum {
		overhead += overheadChecksum
	}
	return overhead
}

// Overhead is OverheadTo any peer of the first local address's version of IP.
func (u *Underlay) Overhead(checksum bool) int { return u.OverheadTo(u.first(), checksum) }

// first returns the first local address, 0.0.0.0 where there is none.
func (u *Underlay) first() netip.Addr {
	if len(u.local) > 0 {
		return u.local[0]
	}
	return netip.IPv4Unspecified()
}

// Room returns how long Packet.Frame, or each segment of it, may be so that its
// datagram fits the link towards the peer, and the path as far as hellos have
// found it to carry less: in bytes, Ethernet header and tags
// counted also where the former stays here. It is exact, unlike Overhead, and as
// of the last SetPeers or Refresh; 0 where there is no such peer. Any goroutine
// may ask, for every frame: it costs an atomic load.
func (u *Underlay) Room(id PeerID, proto uint16) int {
	p := u.peers.Load().peer(id)
	if p == nil {
		return 0
	}
	mtu := p.mtu
	if learned := int(p.way.mtu.Load()); learned != 0 {
		mtu = min(mtu, learned)
	}
	if p.wire == CarrierUDP {
		mtu -= header.UDPLen
	}
	gre := GREFields{HasChecksum: p.Checksum && p.wire == CarrierGRE, HasKey: !p.Keyless, HasSequence: p.Sequence}
	room := mtu - p.outer - gre.Len()
	if proto != ProtoTEB {
		room += header.EthernetLen
	}
	return room
}

// outerLen returns the size of the outer IP header to an address.
func outerLen(to netip.Addr) int {
	if to.Is6() {
		return header.IPv6Len
	}
	return header.IPv4Len
}
