package dataplane

import (
	"encoding/binary"
	"math/bits"

	"weft/internal/header"
)

// clampMSS lowers the maximum segment size that a TCP SYN offers to what fits
// mtu, so that ICMP need not get through for TCP to work (RFC 9293 section
// 3.7.1). It never raises it.
func clampMSS(f *frame, mtu int) {
	l3 := f.l3()
	var u header.Upper
	overhead := header.IPv4Len + header.TCPLen
	if p, ok := header.ParseIPv4(l3); ok {
		u = p.Upper()
	} else if p, ok := header.ParseIPv6(l3); ok {
		overhead = header.IPv6Len + header.TCPLen
		if u, ok = p.Upper(); !ok {
			return
		}
	} else {
		return
	}
	if u.Proto != header.ProtoTCP || !u.First {
		return
	}
	tcp, ok := header.ParseTCP(l3[u.Off:])
	if !ok || tcp.Flags()&header.TCPSyn == 0 || mtu <= overhead {
		return
	}
	at := mssAt(tcp[:tcp.HeaderLen()])
	limit := uint16(min(mtu-overhead, 0xffff))
	if at == 0 || binary.BigEndian.Uint16(tcp[at:]) <= limit {
		return
	}
	old, new := binary.BigEndian.Uint16(tcp[at:]), limit
	binary.BigEndian.PutUint16(tcp[at:], limit)
	if f.header.NeedsCsum() { // still to be summed
		return
	}
	if at%2 != 0 { // its bytes are in two words, each in the other half
		old, new = bits.ReverseBytes16(old), bits.ReverseBytes16(new)
	}
	check := tcp[header.TCPChecksumOffset:]
	binary.BigEndian.PutUint16(check, header.Update(binary.BigEndian.Uint16(check), old, new))
}

// mssAt returns the offset of the MSS option's value in a TCP header; 0 where
// there is none.
func mssAt(tcp []byte) int {
	const end, nop, mss = 0, 1, 2
	for i := header.TCPLen; i < len(tcp) && tcp[i] != end; {
		if tcp[i] == nop {
			i++
			continue
		}
		if i+1 >= len(tcp) || tcp[i+1] < 2 || i+int(tcp[i+1]) > len(tcp) {
			return 0
		}
		if tcp[i] == mss && tcp[i+1] == 4 {
			return i + 2
		}
		i += int(tcp[i+1])
	}
	return 0
}
