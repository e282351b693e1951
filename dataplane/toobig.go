package dataplane

import (
	"encoding/binary"

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
	const more = 0x2000
	hlen := p.HeaderLen()
	word := binary.BigEndian.Uint16(p[6:])
	first, last := word&0x1fff, word&more == 0
	payload := p[hlen:]
	room := (t.mtu - hlen) &^ 7
	head := p[:hlen]
	for at := 0; at < len(payload); at += room {
		n := min(room, len(payload)-at)
		index, b := w.compose(header.EthernetLen+hlen+n, f.domain)
		m := w.frame(index)
		m.generated, m.from = false, f.from
		header.PutEthernet(b, 0, 0, header.TypeIPv4)
		ip := b[header.EthernetLen:]
		copy(ip, head)
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
		w.total.copies.Add(w.depart(index, v, t))
	}
}
