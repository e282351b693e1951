package dataplane

import (
	"weft/internal/drop"
	"weft/internal/header"
)

// Echo requests to a gateway may come in fragments: the only packets that the
// switch puts together, since nothing else that is sent to it is that large.
// A fragment that is kept counts as local. What is given up unfinished counts
// as an answer that was due and not sent: generated, and dropped.

// reassemble4 takes a fragment of ICMP for a gateway's address, and answers
// once it is the last that was missing.
func (w *worker) reassemble4(f *frame, p header.IPv4, v *vrf) drop.Reason {
	if p.MoreFragments() && len(p.Payload())%8 != 0 {
		return drop.L3Fragment
	}
	key := assemblyKey{from: f.from, vrf: v.key, src: p.SrcAddr(), dst: p.DstAddr(), id: uint32(p.ID())}
	a, r := w.gather(f, key, piece{p.FragmentOffset(), p.MoreFragments(), p.Payload()})
	if a == nil {
		return r
	}
	g := a.frame(f)
	p, m := header.IPv4(g.l3()), header.ICMPv4(g.l3()[header.IPv4Len:])
	a.key = assemblyKey{}
	if len(m) < header.ICMPLen || !m.ChecksumOK() {
		return drop.L3Header
	}
	if m.Type() == header.ICMPv4Echo { // answered in place: the answer is as large
		header.PutICMPv4(m, header.ICMPv4EchoReply, 0, m.Rest(), m[header.ICMPLen:])
		header.IPv4Fields{ // its id is the sender's, who sees to it that none comes twice in a while (RFC 6864)
			TOS: p.TOS(), Length: len(p), ID: p.ID(), TTL: hops, Protocol: header.ProtoICMPv4, Src: key.dst, Dst: key.src,
		}.Put(p)
		w.cut4(p, w.mtuBack(f), f.domain, func(index uint16) { w.sendBack(index, f, v, header.TypeIPv4) })
	}
	return w.answered()
}

// reassemble6 does the same in IPv6.
func (w *worker) reassemble6(f *frame, p header.IPv6, v *vrf) drop.Reason {
	h, ok := header.ParseFragment(p[header.IPv6Len:])
	if !ok || p.NextHeader() != header.ProtoFragment || h.NextHeader() != header.ProtoICMPv6 {
		return drop.L3Header
	}
	switch { // RFC 8200 section 4.5: the pointers are those to payload length and offset
	case h.More() && len(h.Payload())%8 != 0:
		w.icmpError(f, v, icmpParamProblem, 4)
		return drop.L3Fragment
	case h.Offset()+len(h.Payload()) > maxPacket:
		w.icmpError(f, v, icmpParamProblem, header.IPv6Len+2)
		return drop.L3Fragment
	}
	key := assemblyKey{from: f.from, vrf: v.key, src: p.SrcAddr(), dst: p.DstAddr(), id: h.ID()}
	a, r := w.gather(f, key, piece{h.Offset(), h.More(), h.Payload()})
	if a == nil {
		return r
	}
	g := a.frame(f)
	p = header.IPv6(g.l3())
	m := header.ICMPv6(p[header.IPv6Len:])
	a.key = assemblyKey{}
	if len(m) < header.ICMPLen || !m.ChecksumOK(p) {
		return drop.L3Header
	}
	switch t := m.Type(); {
	case t == header.ICMPv6Echo:
		header.IPv6Fields{
			TrafficClass: p.TrafficClass(), PayloadLength: len(m), NextHeader: header.ProtoICMPv6, HopLimit: hops,
			Src: key.dst, Dst: key.src,
		}.Put(p)
		header.PutICMPv6(p, header.ICMPv6EchoReply, 0, m.Rest(), m[header.ICMPLen:])
		w.cut6(p, w.mtuBack(f), key.id, f, v)
	case t >= header.ICMPv6RouterSolicit && t <= header.ICMPv6Redirect: // RFC 6980
		return drop.NDBad
	}
	return w.answered()
}

// gather keeps a fragment. It returns the packet when that is whole, to be used
// before the next one and with its key set to zero; else nil, and what the
// fragment counts as.
func (w *worker) gather(f *frame, key assemblyKey, p piece) (*assembly, drop.Reason) {
	if len(p.data) == 0 {
		return nil, drop.L3Fragment
	}
	if f.domain != nil {
		key.domain = f.domain.id
	}
	a := w.assemblyFor(key)
	if a == nil {
		return nil, drop.L3Fragment
	}
	if !a.take(p) {
		w.giveUpAssembly(a)
		return nil, drop.L3Fragment
	}
	if p.offset == 0 {
		a.setHeader(f, len(p.data))
	}
	if !a.whole() {
		return nil, w.answered()
	}
	return a, drop.None
}

// assemblyFor returns the packet with a key, a new one where there is none; nil
// where others need all the room. A sender that has its share of the room loses
// its oldest packet.
func (w *worker) assemblyFor(key assemblyKey) *assembly {
	var free, oldest *assembly
	share := 0
	for i := range w.assemblies {
		a := &w.assemblies[i]
		switch {
		case a.key == key:
			return a
		case a.key == assemblyKey{}:
			free = a
		case a.key.from == key.from:
			share++
			if oldest == nil || before(a.began, oldest.began) {
				oldest = a
			}
		}
	}
	if share >= assemblyShare {
		w.giveUpAssembly(oldest)
		free = oldest
	}
	if free != nil {
		free.begin(key, w.now)
		w.gathers.Store(true)
	}
	return free
}

// giveUpAssembly forgets a packet that is not whole.
func (w *worker) giveUpAssembly(a *assembly) {
	a.key = assemblyKey{}
	w.total.generated.Add(1)
	w.dropOut(&w.total.other[drop.L3Fragment], drop.L3Fragment)
}

// ageAssemblies gives up what has waited for too long, and tells the sender
// where the first fragment came (RFC 792, RFC 8200 section 4.5).
func (w *worker) ageAssemblies() {
	if !w.gathers.Load() {
		return
	}
	left := false
	for i := range w.assemblies {
		a := &w.assemblies[i]
		switch {
		case a.key == assemblyKey{}:
		case w.now-a.began <= assemblySeconds:
			left = true
		default:
			v, d := w.snap.vrfs[a.key.vrf], w.snap.domain(a.key.domain)
			if bare := a.key.domain == 0; a.first > 0 && v != nil && (bare || d != nil && d.gw != nil) {
				w.reset()
				w.frames = append(w.frames, frame{buf: a.firstFragment(), from: a.key.from, domain: d, bare: bare})
				w.icmpError(&w.frames[0], v, icmpReassembly, 0)
				w.flush()
			}
			w.giveUpAssembly(a)
		}
	}
	w.gathers.Store(left)
}

// mtuBack returns the L3 bytes that fit where f came from.
func (w *worker) mtuBack(f *frame) int {
	if !f.bare {
		return min(f.domain.mtu, w.mtuAt(f.from, f.domain, header.Ethernet(f.bytes())))
	}
	if p := w.snap.peer(PeerID(f.from.ID())); p != nil {
		return p.mtu
	}
	return icmp6Total // the peer is gone: dropped at egress
}

// cut6 sends p, made by the switch, back to where f came from: in fragments
// that fit mtu (RFC 8200 section 4.5).
func (w *worker) cut6(p header.IPv6, mtu int, id uint32, f *frame, v *vrf) {
	const head = header.IPv6Len + header.FragmentLen
	payload := p[header.IPv6Len:]
	room := len(payload)
	if len(p) > mtu {
		room = (mtu - head) &^ 7
	}
	for at := 0; at < len(payload); at += room {
		n := min(room, len(payload)-at)
		index, b := w.compose(header.EthernetLen+head+n, f.domain)
		ip := b[header.EthernetLen:]
		copy(ip, p[:header.IPv6Len])
		ip[6] = header.ProtoFragment
		ip[4], ip[5] = byte((header.FragmentLen+n)>>8), byte(header.FragmentLen+n)
		header.FragmentFields{NextHeader: p.NextHeader(), Offset: at, More: at+n < len(payload), ID: id}.Put(ip[header.IPv6Len:])
		copy(ip[head:], payload[at:at+n])
		w.sendBack(index, f, v, header.TypeIPv6)
	}
}
