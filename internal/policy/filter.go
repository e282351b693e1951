package policy

import (
	"encoding/binary"
	"net/netip"

	"weft/internal/drop"
	"weft/internal/header"
)

// Filter holds a port to its own addresses. It never changes; any goroutine may
// use it.
type Filter struct {
	mac  header.MAC
	open bool // no addresses: any may be used
	pass bool // IP from any source, since it is forwarded for others
	v4   []uint32
	v6   [][16]byte // the link-local address of mac included
}

// New returns the Filter of a port with a MAC and addresses. Of link-local
// addresses it allows the one that is made of mac (RFC 4291 appendix A) and those
// among addrs: any other might be somebody else's.
func New(mac header.MAC, addrs []netip.Addr) *Filter {
	f := &Filter{mac: mac, open: true, v6: [][16]byte{header.LinkLocal(mac).As16()}}
	for _, a := range addrs {
		if !a.IsValid() || a.IsUnspecified() {
			continue
		}
		f.open = false
		if a.Is4() {
			b := a.As4()
			f.v4 = append(f.v4, binary.BigEndian.Uint32(b[:]))
		} else {
			f.v6 = append(f.v6, a.As16())
		}
	}
	return f
}

// NewForwarding returns the Filter of a port that forwards for others: it holds
// ARP and neighbour discovery to the port's addresses as New does, and IP to
// nothing but its form. Whose packets it may forward the caller must ask.
func NewForwarding(mac header.MAC, addrs []netip.Addr) *Filter {
	f := New(mac, addrs)
	f.pass = true
	return f
}

// Open reports whether the Filter knows no addresses and allows any.
func (f *Filter) Open() bool { return f.open }

// Check returns the reason to drop a frame whose source MAC is the port's;
// drop.None lets it pass. The frame is only read.
func (f *Filter) Check(eth header.Ethernet) drop.Reason {
	typ, off := eth.L3()
	switch typ {
	case header.TypeIPv4:
		return f.ipv4(eth[off:])
	case header.TypeIPv6:
		return f.ipv6(eth[off:])
	case header.TypeARP:
		return f.arp(eth[off:])
	case header.TypeVLAN, header.TypeQinQ: // a third tag, or one that is cut off
		return drop.InnerVLAN
	}
	if typ < minType {
		return llc(eth[off:])
	}
	return drop.None
}

// minType is the lowest EtherType; below it the field is a length, and an 802.2
// header follows (IEEE 802.3 section 3.2.6).
const minType = 0x600

// llc drops IP and ARP behind an 802.2 SNAP header (RFC 1042): nobody on
// Ethernet sends them so, except to get past a guard.
func llc(b []byte) drop.Reason {
	const snap = 0xaaaa_0300_0000
	if len(b) < 8 || binary.BigEndian.Uint64(b)>>16 != snap {
		return drop.None
	}
	switch binary.BigEndian.Uint16(b[6:]) {
	case header.TypeIPv4, header.TypeIPv6, header.TypeARP, header.TypeVLAN, header.TypeQinQ:
		return drop.L2Spoof
	}
	return drop.None
}

// has4 reports whether the port may be a.
func (f *Filter) has4(a uint32) bool {
	for _, own := range f.v4 {
		if own == a {
			return true
		}
	}
	return f.open
}

// has6 reports whether the port may be a.
func (f *Filter) has6(a [16]byte) bool {
	for i := range f.v6 {
		if f.v6[i] == a {
			return true
		}
	}
	return f.open
}

// arp holds both sender addresses to the port's. A sender of 0.0.0.0 asks
// without claiming anything (RFC 5227 section 1.1).
func (f *Filter) arp(b []byte) drop.Reason {
	a, ok := header.ParseARP(b)
	if !ok { // Linux takes hardware type 6 for Ethernet too: what is not understood is not let pass
		return drop.ARPBad
	}
	sender := a.SenderAddr().As4()
	if n := binary.BigEndian.Uint32(sender[:]); a.SenderMAC() != f.mac || n != 0 && !f.has4(n) {
		return drop.L2Spoof
	}
	return drop.None
}

// ipv4 lets 0.0.0.0 pass, from which a DHCP client speaks.
func (f *Filter) ipv4(b []byte) drop.Reason {
	p, ok := header.ParseIPv4(b)
	if !ok {
		return drop.L3Header
	}
	if src := p.Src(); src != 0 && !f.pass && !f.has4(src) {
		return drop.L3Source
	}
	switch p.Protocol() {
	case header.ProtoUDP, header.ProtoICMPv4:
		return upper4(p)
	}
	return drop.None
}

// Ports of DHCP (RFC 2131 section 4.1) and DHCPv6 (RFC 8415 section 7.2). A client
// takes what comes to its port, wherever it was sent from.
const (
	dhcpServer, dhcpClient   = 67, 68
	dhcp6Server, dhcp6Client = 547, 546
)

// icmpv4RouterAdvert is a router that announces itself (RFC 1256).
const icmpv4RouterAdvert = 9

// upper4 drops what only a DHCP server or a router sends. It is at the start of
// the first fragment or nowhere: offsets count in units of 8 bytes.
func upper4(p header.IPv4) drop.Reason {
	if p.FragmentOffset() != 0 {
		return drop.None
	}
	b := p.Payload()
	if len(b) < header.UDPLen {
		return drop.L3Header
	}
	if p.Protocol() == header.ProtoUDP {
		if u := header.UDP(b); u.SrcPort() == dhcpServer || u.DstPort() == dhcpClient {
			return drop.L2Spoof
		}
		return drop.None
	}
	if t := header.ICMPv4(b).Type(); t == header.ICMPv4Redirect || t == icmpv4RouterAdvert {
		return drop.L2Spoof
	}
	return drop.None
}

// ipv6 lets :: pass, which claims nothing.
func (f *Filter) ipv6(b []byte) drop.Reason {
	p, ok := header.ParseIPv6(b)
	if !ok {
		return drop.L3Header
	}
	if src := [16]byte(p[8:24]); src != [16]byte{} && !f.pass && !f.has6(src) {
		return drop.L3Source
	}
	if p.NextHeader() == header.ProtoTCP {
		return drop.None
	}
	u, ok := p.Upper()
	switch {
	case !ok:
		return drop.L3Header
	case !u.First: // the first fragment has the upper header, or was dropped
		return drop.None
	case u.Proto == header.ProtoICMPv6:
		return f.icmpv6(p, u)
	case u.Proto == header.ProtoUDP:
		if len(p) < u.Off+header.UDPLen {
			return drop.L3Header
		}
		if d := header.UDP(p[u.Off:]); d.SrcPort() == dhcp6Server || d.DstPort() == dhcp6Client {
			return drop.L2Spoof
		}
	}
	return drop.None
}

// icmpv6 drops what only a router sends, and holds neighbour discovery to the
// port's addresses. Solicitations may ask about anybody.
func (f *Filter) icmpv6(p header.IPv6, u header.Upper) drop.Reason {
	m, ok := header.ParseICMPv6(p[u.Off:])
	if !ok {
		return drop.L3Header
	}
	switch m.Type() {
	case header.ICMPv6RouterAdvert, header.ICMPv6Redirect:
		return drop.L2Spoof
	case header.ICMPv6RouterSolicit, header.ICMPv6NeighbourSolicit, header.ICMPv6NeighbourAdvert:
	default:
		return drop.None
	}
	n, ok := header.ParseNDP(m)
	switch {
	case !ok || u.Fragment || p.HopLimit() != 255:
		return drop.NDBad
	case m.Type() == header.ICMPv6NeighbourAdvert && !f.has6([16]byte(n[8:24])):
		return drop.L2Spoof
	case !n.LinkAddrsAre(f.mac):
		return drop.L2Spoof
	}
	return drop.None
}
