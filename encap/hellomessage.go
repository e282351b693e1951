package encap

import (
	"encoding/binary"
	"slices"
	"time"
)

// The path hello is a GRE packet of protocol type ProtoHello with key helloKey,
// over whatever carries tunnels to the peer:
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+---------------------------------------------------------------+
//	|                        magic, "weft"                          |
//	+---------------+---------------+-------------------------------+
//	|    version    |     flags     |      length of the items      |
//	+---------------+---------------+-------------------------------+
//	|         boot: random number of the sender's process           |
//	|                                                               |
//	+---------------------------------------------------------------+
//	|         nonce: the sender's, for this receiver                |
//	|                                                               |
//	+---------------------------------------------------------------+
//	|         echo: the receiver's nonce; 0: not heard yet          |
//	|                                                               |
//	+---------------+---------------+-------------------------------+
//	| type of item  | its length    | value ...                     |
//	+---------------+---------------+-------------------------------+
//
// What follows the items is padding. Items of unknown types, and bytes of known
// ones behind those that are known, are passed over: so later versions can say
// more. A version number is only for what can no longer be understood this way.
const (
	// ProtoHello is IEEE 802's local experimental EtherType 1. Open vSwitch, Linux
	// and routers know no such payload and drop it.
	ProtoHello = 0x88b5

	helloKey     = 0          // which no network and no vrf has
	helloMagic   = 0x77656674 // "weft"
	helloVersion = 1
	helloFixed   = 32
	helloEchoes  = 31 // nonces in one item, which has room for no more

	// helloMax is the most that AppendTo writes.
	helloMax = helloFixed + 6 + 10 + carriers*10 + 4 + 4 + 2 + 8*helloEchoes
)

// Flags of a hello.
const flagAsk = 1 // answer at once

// Items of a hello.
const (
	itemClock = 1 // u32: the sender's clock when it sent this, in µs; always there, and later than in the message before
	itemEcho  = 2 // u32: the clock item that it heard last; u32: how long ago, in µs
	itemHeard = 3 // u8: carrier; u8: 0; u16: how long ago it heard the receiver by it, in ms; u16, u16: round, and longest datagram of it
	itemProbe = 4 // u16: round of size probes that this datagram belongs to
	itemAlso  = 5 // u64 ...: nonces of others, one of which may be the receiver's; as good as echo
	itemLink  = 6 // u16: MTU of the sender's own link to the receiver, 65535 at most
)

// hello is one message.
type hello struct {
	ask               bool
	boot, nonce, echo uint64
	clock             uint32 // µs of the sender's clock
	echoed            bool   // the next two are there
	echoClock, held   uint32 // µs
	heard             [carriers]heardItem
	probe             uint16 // round; 0: none
	link              int    // 0: not told
	also              [helloEchoes]uint64
	timed             bool // it has a clock, as all have that weft sends
}

// returns reports whether the message returns this nonce.
func (m *hello) returns(nonce uint64) bool {
	return m.echo == nonce || slices.Contains(m.also[:], nonce)
}

// heardItem tells the receiver how well it is heard by one carrier.
type heardItem struct {
	there bool
	age   time.Duration // since it was heard last, in ms; maxAge or more is maxAge
	round uint16        // of size probes; 0: none heard
	size  int           // of the longest datagram of that round, from the outer IP header on
}

// maxAge is the longest age that a heardItem can tell.
const maxAge = 0xffff * time.Millisecond

// appendTo appends the message to b.
func (m *hello) appendTo(b []byte) []byte {
	start := len(b)
	b = binary.BigEndian.AppendUint32(b, helloMagic)
	var flags byte
	if m.ask {
		flags |= flagAsk
	}
	b = append(b, helloVersion, flags, 0, 0)
	for _, v := range [...]uint64{m.boot, m.nonce, m.echo} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	b = append(b, itemClock, 4)
	b = binary.BigEndian.AppendUint32(b, m.clock)
	if m.echoed {
		b = append(b, itemEcho, 8)
		b = binary.BigEndian.AppendUint32(b, m.echoClock)
		b = binary.BigEndian.AppendUint32(b, m.held)
	}
	for c, h := range m.heard {
		if h.there {
			b = append(b, itemHeard, 8, byte(c), 0)
			b = binary.BigEndian.AppendUint16(b, uint16(min(h.age, maxAge)/time.Millisecond))
			b = binary.BigEndian.AppendUint16(b, h.round)
			b = binary.BigEndian.AppendUint16(b, uint16(min(h.size, 0xffff)))
		}
	}
	if m.probe != 0 {
		b = append(b, itemProbe, 2)
		b = binary.BigEndian.AppendUint16(b, m.probe)
	}
	if m.link != 0 {
		b = append(b, itemLink, 2)
		b = binary.BigEndian.AppendUint16(b, uint16(min(m.link, 0xffff)))
	}
	if n := m.echoes(); n > 0 {
		b = append(b, itemAlso, byte(8*n))
		for _, nonce := range m.also[:n] {
			b = binary.BigEndian.AppendUint64(b, nonce)
		}
	}
	binary.BigEndian.PutUint16(b[start+6:], uint16(len(b)-start-helloFixed))
	return b
}

// echoes returns how many nonces there are in also; 0 ends them.
func (m *hello) echoes() int {
	if n := slices.Index(m.also[:], 0); n >= 0 {
		return n
	}
	return len(m.also)
}

// parseHello reads a message, which is the start of b. Reports false where it
// is none, or of another version.
func parseHello(b []byte) (m hello, ok bool) {
	if len(b) < helloFixed || binary.BigEndian.Uint32(b) != helloMagic || b[4] != helloVersion {
		return m, false
	}
	end := helloFixed + int(binary.BigEndian.Uint16(b[6:]))
	if end > len(b) {
		return m, false
	}
	m.ask = b[5]&flagAsk != 0
	m.boot, m.nonce, m.echo = binary.BigEndian.Uint64(b[8:]), binary.BigEndian.Uint64(b[16:]), binary.BigEndian.Uint64(b[24:])
	if m.nonce == 0 {
		return m, false
	}
	for items := b[helloFixed:end]; len(items) > 0; {
		if len(items) < 2 || len(items) < 2+int(items[1]) {
			return m, false
		}
		value := items[2 : 2+items[1]]
		if !m.item(items[0], value) {
			return m, false
		}
		items = items[2+len(value):]
	}
	return m, m.timed
}

// item reads one item; false where it is too short for its type.
func (m *hello) item(kind byte, v []byte) bool {
	switch kind {
	case itemClock:
		if len(v) < 4 {
			return false
		}
		m.clock, m.timed = binary.BigEndian.Uint32(v), true
	case itemEcho:
		if len(v) < 8 {
			return false
		}
		m.echoed = true
		m.echoClock, m.held = binary.BigEndian.Uint32(v), binary.BigEndian.Uint32(v[4:])
	case itemHeard:
		if len(v) < 8 {
			return false
		}
		if int(v[0]) < carriers { // else one of a later version
			m.heard[v[0]] = heardItem{
				there: true,
				age:   time.Duration(binary.BigEndian.Uint16(v[2:])) * time.Millisecond,
				round: binary.BigEndian.Uint16(v[4:]),
				size:  int(binary.BigEndian.Uint16(v[6:])),
			}
		}
	case itemProbe:
		if len(v) < 2 {
			return false
		}
		m.probe = binary.BigEndian.Uint16(v)
	case itemLink:
		if len(v) < 2 {
			return false
		}
		m.link = int(binary.BigEndian.Uint16(v))
	case itemAlso:
		for i := range min(len(v)/8, helloEchoes) {
			m.also[i] = binary.BigEndian.Uint64(v[8*i:])
		}
	}
	return true
}
