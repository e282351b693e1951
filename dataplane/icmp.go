package dataplane

import (
	"net/netip"

	"weft/fib"
	"weft/internal/drop"
	"weft/internal/header"
)

// icmpKind names an ICMP error in both families.
type icmpKind uint8

const (
	icmpNoRoute icmpKind = iota
	icmpHostUnreachable
	icmpPortUnreachable
	icmpProtoUnreachable
	icmpTooBig // rest: the next hop's MTU
	icmpTimeExceeded
	icmpReassembly   // not all fragments came in time
	icmpParamProblem // rest: the pointer, in the top byte for IPv4
	icmpBeyondScope
	icmpKinds
)

// icmpCodes are type and code of each kind: RFC 792, RFC 1812 section 5.2.7, RFC 4443.
var icmpCodes = [icmpKinds]struct{ v4, v6 [2]uint8 }{
	icmpNoRoute:          {v4: [2]uint8{3, 0}, v6: [2]uint8{1, 0}},
	icmpHostUnreachable:  {v4: [2]uint8{3, 1}, v6: [2]uint8{1, 3}},
	icmpPortUnreachable:  {v4: [2]uint8{3, 3}, v6: [2]uint8{1, 4}},
	icmpProtoUnreachable: {v4: [2]uint8{3, 2}, v6: [2]uint8{4, 1}},
	icmpTooBig:           {v4: [2]uint8{3, 4}, v6: [2]uint8{2, 0}},
	icmpTimeExceeded:     {v4: [2]uint8{11, 0}, v6: [2]uint8{3, 0}},
	icmpReassembly:       {v4: [2]uint8{11, 1}, v6: [2]uint8{3, 1}},
	icmpParamProblem:     {v4: [2]uint8{12, 0}, v6: [2]uint8{4, 0}},
	icmpBeyondScope:      {v4: [2]uint8{3, 0}, v6: [2]uint8{1, 2}},
}

const (
	quote4     = 548  // bytes of the packet that an ICMPv4 error quotes: it fits 576 (RFC 1812 section 4.3.2.3)
	icmp6Total = 1280 // an ICMPv6 error fits the minimum MTU (RFC 4443 section 2.4)
	tosControl = 0xc0 // internetwork control (RFC 1812 section 4.3.2.5)
	hops       = 64   // of packets that the switch makes
)

// icmpError tells the sender of f, a routed packet, why it did not get through,
// unless the rules or the rate forbid it. f is left as it is.
func (w *worker) icmpError(f *frame, v *vrf, kind icmpKind, rest uint32) {
	etherType := header.Ethernet(f.bytes()).Type()
	if etherType == header.TypeIPv4 {
		p, ok := header.ParseIPv4(f.l3())
		if !ok {
			return
		}
		src := w.speaker(f, v, p.DstAddr())
		if src.IsValid() && mayAnswer4(p) && w.mayTell(p.SrcAddr()) {
			w.sendBack(w.composeError4(f, p, src, kind, rest), f, v, etherType)
		}
		return
	}
	p, ok := header.ParseIPv6(f.l3())
	if !ok {
		return
	}
	src := w.speaker(f, v, p.DstAddr())
	if src.IsValid() && mayAnswer6(p, kind) && w.mayTell(p.SrcAddr()) {
		w.sendBack(w.composeError6(f, p, src, kind, rest), f, v, etherType)
	}
}

// mayAnswer4 holds RFC 1812 section 4.3.2.7 and RFC 1122 section 3.2.2: no error
// about an error, a later fragment, or what was sent to or from more than one host.
func mayAnswer4(p header.IPv4) bool {
	if p.FragmentOffset() != 0 || !unicast4(p.Src()) || !routable4(p.Dst()) {
		return false
	}
	if p.Protocol() != header.ProtoICMPv4 {
		return true
	}
	m, ok := header.ParseICMPv4(p.Payload())
	return ok && !m.IsError()
}

// mayAnswer6 holds RFC 4443 section 2.4 (e).
func mayAnswer6(p header.IPv6, kind icmpKind) bool {
	src := p.SrcAddr()
	if src.IsMulticast() || src.IsUnspecified() || p.DstAddr().IsMulticast() && kind != icmpTooBig {
		return false
	}
	u, ok := p.Upper()
	if !ok || !u.First || u.Proto != header.ProtoICMPv6 {
		return ok
	}
	m, ok := header.ParseICMPv6(p[u.Off:])
	return ok && !m.IsError() && m.Type() != header.ICMPv6Redirect
}

// composeError4 composes an error about p, which is in f, from src. Its
// Ethernet header is still to be written.
func (w *worker) composeError4(f *frame, p header.IPv4, src netip.Addr, kind icmpKind, rest uint32) (index uint16) {
	quote := p[:min(len(p), quote4)]
	size := header.IPv4Len + header.ICMPLen + len(quote)
	index, b := w.compose(header.EthernetLen+size, f.domain)
	ip := b[header.EthernetLen:]
	header.IPv4Fields{
		TOS: tosControl, Length: size, TTL: hops, Protocol: header.ProtoICMPv4, Src: src, Dst: p.SrcAddr(),
	}.Put(ip)
	code := icmpCodes[kind].v4
	header.PutICMPv4(ip[header.IPv4Len:], code[0], code[1], rest, quote)
	return index
}

// composeError6 does the same in IPv6.
func (w *worker) composeError6(f *frame, p header.IPv6, src netip.Addr, kind icmpKind, rest uint32) (index uint16) {
	quote := p[:min(len(p), icmp6Total-header.IPv6Len-header.ICMPLen)]
	size := header.ICMPLen + len(quote)
	index, b := w.compose(header.EthernetLen+header.IPv6Len+size, f.domain)
	ip := b[header.EthernetLen:]
	header.IPv6Fields{
		PayloadLength: size, NextHeader: header.ProtoICMPv6, HopLimit: hops, Src: src, Dst: p.SrcAddr(),
	}.Put(ip)
	code := icmpCodes[kind].v6
	header.PutICMPv6(header.IPv6(ip), code[0], code[1], rest, quote)
	return index
}

// speaker returns the address from which the switch speaks about f, sent to dst:
// the gateway's where f entered, or, for bare IP, where dst is, since the
// peer has a route to that.
func (w *worker) speaker(f *frame, v *vrf, dst netip.Addr) netip.Addr {
	d := f.domain
	if f.bare {
		hop, ok := v.routes.Lookup(dst)
		if !ok || hop.Kind != fib.HopConnected {
			return v.anyAddr(dst)
		}
		d = w.snap.domain(DomainID(hop.Domain))
	}
	if d == nil || d.gw == nil {
		return netip.Addr{}
	}
	return d.gw.addr(dst)
}

// sendBack gives a made packet its Ethernet header and sends it to where f came
// from.
func (w *worker) sendBack(index uint16, f *frame, v *vrf, etherType uint16) {
	m := w.frame(index)
	eth := header.Ethernet(f.bytes())
	if f.bare {
		m.tunnel = v
		header.PutEthernet(m.bytes(), 0, 0, etherType)
	} else {
		header.PutEthernet(m.bytes(), eth.Src(), f.domain.gw.mac, etherType)
	}
	w.reply(index, f)
}

// Limits of ICMP errors, as Linux has them (net.ipv4.icmp_ratelimit and
// icmp_msgs_per_sec): a sender gets one a second and six at once, all senders
// together a thousand a second from each worker.
const (
	tellBurst   = 6
	tellSecond  = 1000
	tellBuckets = 256
)

// teller is the token buckets of one worker's ICMP errors.
type teller struct {
	second  uint32
	told    int
	buckets [tellBuckets]struct {
		addr   netip.Addr
		second uint32
		tokens int
	}
}

// mayTell takes a token for an error to a. A refused error counts as generated
// and dropped.
func (w *worker) mayTell(a netip.Addr) bool {
	t := &w.teller
	if t.second != w.now {
		t.second, t.told = w.now, 0
	}
	raw := a.As16()
	b := &t.buckets[int(raw[15]^raw[14]<<3^raw[13]<<5)%tellBuckets]
	if b.addr != a {
		b.addr, b.second, b.tokens = a, w.now, tellBurst
	}
	b.tokens = min(b.tokens+int(w.now-b.second), tellBurst)
	b.second = w.now
	if b.tokens == 0 || t.told >= tellSecond {
		w.total.generated.Add(1)
		w.dropOut(&w.total.other[drop.L3RateLimited], drop.L3RateLimited)
		return false
	}
	b.tokens--
	t.told++
	return true
}
