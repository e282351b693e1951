package dataplane

import (
	"bytes"
	"encoding/binary"
	"net/netip"

	"weft/fib"
	"weft/internal/header"
	"weft/internal/offload"
)

const (
	maxAssemblies   = 16 // packets that a worker puts together at a time, some 64 KB each
	assemblyShare   = 4  // of them from one port or peer
	assemblySeconds = 30 // before the rest is not waited for any more, as in Linux (net.ipv4.ipfrag_time)
)

// assembly is one packet that is put together from its fragments (RFC 791
// section 3.2, RFC 8200 section 4.5). A fragment that overlaps another in part
// spoils the packet (RFC 5722); one that is there already does no harm.
type assembly struct {
	key   assemblyKey // zero: not in use
	began uint32      // second in which the first of its fragments came
	end   int         // bytes of payload; -1: the last fragment has not come yet
	high  int         // bytes up to the end of the highest fragment
	units int         // of 8 bytes that are there
	first int         // bytes of payload of the first fragment; 0: it has not come yet
	there [maxPacket/8/64 + 1]uint64
	buf   []byte // virtio header, Ethernet, IP header, payload
	l4    int    // where in buf the payload begins
}

// assemblyKey tells packets apart: RFC 791 section 3.2, and where they came from.
type assemblyKey struct {
	from     fib.Dest
	domain   DomainID // 0: bare IP from a peer
	vrf      uint32
	src, dst netip.Addr
	id       uint32
}

// piece is what one fragment brings.
type piece struct {
	offset int // in bytes
	more   bool
	data   []byte
}

// begin makes a an empty packet.
func (a *assembly) begin(key assemblyKey, now uint32) {
	if a.buf == nil {
		a.buf = make([]byte, offload.HeaderLen+header.EthernetLen+header.IPv6Len+maxPacket)
	}
	clear(a.buf[:offload.HeaderLen])
	a.key, a.began, a.end, a.high, a.units, a.first = key, now, -1, 0, 0, 0
	clear(a.there[:])
	a.l4 = offload.HeaderLen + header.EthernetLen + header.IPv4Len
	if key.src.Is6() {
		a.l4 = offload.HeaderLen + header.EthernetLen + header.IPv6Len
	}
}

// take adds a piece. It is false where the piece contradicts what is there.
func (a *assembly) take(p piece) bool {
	end := p.offset + len(p.data)
	switch {
	case !p.more && (a.end >= 0 && a.end != end || a.high > end):
		return false
	case p.more && a.end >= 0 && end > a.end:
		return false
	}
	from, to, have := p.offset/8, (end+7)/8, 0
	for u := from; u < to; u++ {
		have += int(a.there[u/64] >> (u % 64) & 1)
	}
	room := a.buf[a.l4+p.offset : a.l4+end]
	switch have {
	case 0:
	case to - from:
		return bytes.Equal(room, p.data)
	default:
		return false
	}
	for u := from; u < to; u++ {
		a.there[u/64] |= 1 << (u % 64)
	}
	copy(room, p.data)
	a.units += to - from
	a.high = max(a.high, end)
	if !p.more {
		a.end = end
	}
	return true
}

// whole reports whether every piece is there.
func (a *assembly) whole() bool { return a.end >= 0 && a.units == (a.end+7)/8 }

// setHeader keeps the Ethernet and the IP header of the first fragment. Options
// are left out, the fragment header too.
func (a *assembly) setHeader(f *frame, size int) {
	a.first = size
	copy(a.buf[offload.HeaderLen:a.l4], f.bytes())
}

// frame returns the packet, once it is whole, as it would have come in one piece.
func (a *assembly) frame(f *frame) frame {
	g := *f
	g.header = offload.Header{}
	g.buf = a.buf[:a.l4+a.end]
	if a.key.src.Is4() {
		a.putHeader4(a.end, 0)
	} else {
		a.putHeader6(header.ProtoICMPv6, a.end)
	}
	return g
}

// putHeader4 makes the header that of size bytes of payload.
func (a *assembly) putHeader4(size int, fragment uint16) {
	const more = 0x2000
	ip := a.buf[a.l4-header.IPv4Len : a.l4]
	ip[0] = 4<<4 | header.IPv4Len/4
	binary.BigEndian.PutUint16(ip[2:], uint16(header.IPv4Len+size))
	binary.BigEndian.PutUint16(ip[6:], fragment&more)
	ip[10], ip[11] = 0, 0
	binary.BigEndian.PutUint16(ip[10:], ^header.Fold(header.Sum(ip)))
}

// putHeader6 does the same in IPv6.
func (a *assembly) putHeader6(next uint8, size int) {
	ip := a.buf[a.l4-header.IPv6Len : a.l4]
	binary.BigEndian.PutUint16(ip[4:], uint16(size))
	ip[6] = next
}

// firstFragment returns the first fragment as it came, in what the packet's
// buffer holds: what an error quotes. It has come.
func (a *assembly) firstFragment() []byte {
	if a.key.src.Is4() {
		a.putHeader4(a.first, 0x2000)
		return a.buf[:a.l4+a.first]
	}
	size := min(a.first, maxPacket-header.FragmentLen)
	copy(a.buf[a.l4+header.FragmentLen:], a.buf[a.l4:a.l4+size])
	header.FragmentFields{NextHeader: header.ProtoICMPv6, More: true, ID: a.key.id}.Put(a.buf[a.l4:])
	a.putHeader6(header.ProtoFragment, header.FragmentLen+size)
	return a.buf[:a.l4+header.FragmentLen+size]
}
