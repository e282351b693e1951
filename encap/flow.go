package encap

import (
	"encoding/binary"

	"weft/internal/header"
)

// flowLabel returns a flow label for the outer IPv6 header of an inner frame, so
// that routers that spread load keep a flow on one path and flows apart (RFC
// 6437, RFC 6438). It is a hash of addresses, protocol and ports, as far as the
// frame has them; 20 bits, never 0.
func flowLabel(seed uint64, frame []byte) uint32 {
	h := seed
	eth, ok := header.ParseEthernet(frame)
	if !ok {
		return foldLabel(h)
	}
	typ, off := eth.L3()
	switch typ {
	case header.TypeIPv4:
		if p, ok := header.ParseIPv4(frame[off:]); ok {
			return foldLabel(mixUpper(mix(h, binary.BigEndian.Uint64(p[12:])), p.Upper(), p))
		}
	case header.TypeIPv6:
		if p, ok := header.ParseIPv6(frame[off:]); ok {
			for at := 8; at < header.IPv6Len; at += 8 {
				h = mix(h, binary.BigEndian.Uint64(p[at:]))
			}
			if u, ok := p.Upper(); ok {
				h = mixUpper(h, u, p)
			}
			return foldLabel(h)
		}
	}
	return foldLabel(mix(mix(h, uint64(eth.Src())), uint64(eth.Dst())))
}

// mixUpper mixes in the protocol and, where every packet of the flow has them,
// the ports.
func mixUpper(h uint64, u header.Upper, packet []byte) uint64 {
	h = mix(h, uint64(u.Proto))
	if u.Fragment || u.Proto != header.ProtoTCP && u.Proto != header.ProtoUDP || len(packet) < u.Off+4 {
		return h
	}
	return mix(h, uint64(binary.BigEndian.Uint32(packet[u.Off:])))
}

// mix takes v into h: multiplication by an odd number spreads low bits upwards,
// the shift brings them down again.
func mix(h, v uint64) uint64 {
	h = (h ^ v) * 0x9e37_79b9_7f4a_7c15
	return h ^ h>>32
}

func foldLabel(h uint64) uint32 {
	if label := uint32(mix(h, 0)>>24) & 0xfffff; label != 0 {
		return label
	}
	return 1
}
