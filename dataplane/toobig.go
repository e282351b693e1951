package dataplane

import (
	"encoding/binary"
	"net/netip"

	"weft/internal/drop"
	"weft/internal/header"
	"weft/internal/offload"
)

// tooBig takes a packet that does not fit where it leaves: IPv4 without DF is
// cut into fragments (RFC 791 section 3.2), about everything else the sender is
// told (RFC 1191, RFC 8201).
func (w *worker) tooBig(index uint16, v *vrf, t *target) drop.Reason {
	f := w.frame(index)
	p, ok := header.ParseIPv4(f.l3())
	if !ok || p.DF() || f.header.IsGSO() {
		w.icmpError(f, v, icmpTooBig, uint32(t.mtu))
		return drop.L3Big
	}
	if t.peer == 0 && t.mac == 0 { // the next hop is asked for with the first fragment only
		w.probe(t.domain, t.addr, 0)
		return drop.L3Neighbour
	}
	if f.header.NeedsCsum() {
		offload.Complete(f.header, f.bytes())
		f.header = offload.Header{}
	}
	p.DecTTL()
	w.fragment(f, p, v, t)
	w.total.forwarded.Add(1)
	return drop.None
}

// fragment sends p in pieces that fit t. p may itself be a fragment.
func (w *worker) fragment(f *frame, p header.IPv4, v *vrf, t *target) {
	w.cut4(p, t.mtu, f.domain, func(index uint16) {
		m := w.frame(index)
		m.generated, m.from = false, f.from
		w.total.copies.Add(w.depart(index, v, t))
	})
}

// cut4 composes p in fragments that fit mtu and calls send with each. Their
// Ethernet headers have a type and no addresses yet. One that fits stays whole.
func (w *worker) cut4(p header.IPv4, mtu int, d *domain, send func(index uint16)) {
	const more = 0x2000
	hlen := p.HeaderLen()
	word := binary.BigEndian.Uint16(p[6:])
	first, last := word&0x1fff, word&more == 0
	payload := p[hlen:]
	room := len(payload)
	if len(p) > mtu {
		room = (mtu - hlen) &^ 7
	}
	for at := 0; at < len(payload); at += room {
		n := min(room, len(payload)-at)
		index, b := w.compose(header.EthernetLen+hlen+n, d)
		header.PutEthernet(b, 0, 0, header.TypeIPv4)
		ip := b[header.EthernetLen:]
		copy(ip, p[:hlen])
		if at > 0 {
			keepCopied(ip[header.IPv4Len:hlen])
		}
		copy(ip[hlen:], payload[at:at+n])
		offset := first + uint16(at/8)
		if at+n < len(payload) || !last {
			offset |= more
		}
		binary.BigEndian.PutUint16(ip[2:], uint16(hlen+n))
		binary.BigEndian.PutUint16(ip[6:], offset)
		ip[10], ip[11] = 0, 0
		binary.BigEndian.PutUint16(ip[10:], ^header.Fold(header.Sum(ip[:hlen])))
		send(index)
	}
}

// tellTooBig tells the sender of f, a bridged frame, that it does not fit mtu
// where it is going. It speaks as the gateway, or else as the destination, which
// is all that the sender knows of. What cannot be told is drop.InnerBig.
func (w *worker) tellTooBig(f *frame, mtu int) drop.Reason {
	eth := header.Ethernet(f.bytes())
	if eth.Dst().IsMulticast() {
		return drop.InnerBig
	}
	var index uint16
	switch eth.Type() {
	case header.TypeIPv4:
		p, ok := header.ParseIPv4(f.l3())
		if !ok || !mayAnswer4(p) {
			return drop.InnerBig
		}
		if !w.mayTell(p.SrcAddr()) {
			return drop.L3Big
		}
		index = w.composeError4(f, p, w.bridgedSpeaker(f, p.DstAddr()), icmpTooBig, uint32(mtu))
	case header.TypeIPv6:
		p, ok := header.ParseIPv6(f.l3())
		if !ok || !mayAnswer6(p, icmpTooBig) {
			return drop.InnerBig
		}
		if !w.mayTell(p.SrcAddr()) {
			return drop.L3Big
		}
		const least = 1280 // RFC 8201 section 4: a smaller one would be ignored
		index = w.composeError6(f, p, w.bridgedSpeaker(f, p.DstAddr()), icmpTooBig, uint32(max(mtu, least)))
	default:
		return drop.InnerBig
	}
	header.PutEthernet(w.frame(index).bytes(), eth.Src(), eth.Dst(), eth.Type())
	w.reply(index, f)
	return drop.L3Big
}

// bridgedSpeaker returns the gateway's address of the family of dst; dst itself where
// the sender of f sees no gateway.
func (w *worker) bridgedSpeaker(f *frame, dst netip.Addr) netip.Addr {
	if gw := f.domain.gw; gw != nil && !w.isOutside(f) {
		if a := gw.addr(dst); a.IsValid() {
			return a
		}
	}
	return dst
}
