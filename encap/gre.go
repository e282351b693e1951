package encap

import (
	"encoding/binary"

	"weft/internal/drop"
	"weft/internal/header"
)

// GRE version 0: RFC 2784 section 2, with key and sequence number of RFC 2890
// section 2. A field whose bit is clear is not there.
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-------------+-----+-------------------------------+
//	|C|R|K|S|s|5|   ignored   | ver |         protocol type         |
//	+-+-+-+-+-+-+-------------+-----+-------------------------------+
//	|      checksum (C)             |      reserved1 (C)            |
//	+-------------------------------+-------------------------------+
//	|                           key (K)                             |
//	+---------------------------------------------------------------+
//	|                     sequence number (S)                       |
//	+---------------------------------------------------------------+
//
// R is routing present (RFC 1701), s strict source route; with bit 5 they must
// be clear (RFC 2784 section 2.3). Bits 6 to 12 are ignored on receipt.
const (
	greChecksum = 0x8000
	greRouting  = 0x4000
	greKey      = 0x2000
	greSequence = 0x1000
	greReserved = 0x0c00
	greVersion  = 0x0007
)

// Protocol types in the GRE header (RFC 2784 section 2.4).
const (
	ProtoTEB  = 0x6558 // transparent Ethernet bridging (RFC 1701)
	ProtoIPv4 = 0x0800
	ProtoIPv6 = 0x86dd
)

// Sizes in bytes.
const (
	GRELen    = 4  // header without options
	GREMaxLen = 16 // header with checksum, key and sequence number
)

// GRE is a view of a GRE packet, from its header to its end.
type GRE []byte

// ParseGRE checks version, flags and length, not the checksum. The reason is
// one of drop.GREShort, GREVersion, GRERouting and GREReserved.
func ParseGRE(b []byte) (GRE, drop.Reason) {
	if len(b) < GRELen {
		return nil, drop.GREShort
	}
	g := GRE(b)
	switch f := g.flags(); {
	case f&greVersion != 0: // first: in version 1 the other bits mean other things (RFC 2637)
		return nil, drop.GREVersion
	case f&greRouting != 0:
		return nil, drop.GRERouting
	case f&greReserved != 0:
		return nil, drop.GREReserved
	}
	if len(b) < g.HeaderLen() {
		return nil, drop.GREShort
	}
	return g, drop.None
}

func (g GRE) flags() uint16 { return binary.BigEndian.Uint16(g) }

// HeaderLen returns the size of the header with its options, GRELen to GREMaxLen.
func (g GRE) HeaderLen() int {
	f := int(g.flags())
	return GRELen + 4*(f>>15+f>>13&1+f>>12&1)
}

// Protocol returns the type of the payload.
func (g GRE) Protocol() uint16 { return binary.BigEndian.Uint16(g[2:]) }

// HasChecksum reports whether the checksum is present.
func (g GRE) HasChecksum() bool { return g.flags()&greChecksum != 0 }

// HasKey reports whether the key is present.
func (g GRE) HasKey() bool { return g.flags()&greKey != 0 }

// HasSequence reports whether the sequence number is present.
func (g GRE) HasSequence() bool { return g.flags()&greSequence != 0 }

// Checksum returns the checksum field, which must be present.
func (g GRE) Checksum() uint16 { return binary.BigEndian.Uint16(g[4:]) }

// Key returns the key, which must be present.
func (g GRE) Key() uint32 { return binary.BigEndian.Uint32(g[g.keyOffset():]) }

// Sequence returns the sequence number, which is the header's last field and
// must be present.
func (g GRE) Sequence() uint32 { return binary.BigEndian.Uint32(g[g.HeaderLen()-4:]) }

func (g GRE) keyOffset() int { return GRELen + 4*int(g.flags()>>15) }

// ChecksumOK reports whether the checksum, which must be present, is right. It
// covers header and payload (RFC 2784 section 2.5).
func (g GRE) ChecksumOK() bool { return header.Fold(header.Sum(g)) == 0xffff }

// Payload returns what follows the header.
func (g GRE) Payload() []byte { return g[g.HeaderLen():] }

// GREFields describes a header to be written. Reserved bits are always 0.
type GREFields struct {
	Protocol    uint16
	HasChecksum bool
	HasKey      bool
	HasSequence bool
	Key         uint32
	Sequence    uint32
}

// Len returns how many bytes Put writes.
func (f *GREFields) Len() int {
	n := GRELen
	for _, present := range [...]bool{f.HasChecksum, f.HasKey, f.HasSequence} {
		if present {
			n += 4
		}
	}
	return n
}

// Put writes the header to the first Len bytes of b. The checksum is left 0:
// PutGREChecksum completes it once the payload is known.
func (f *GREFields) Put(b []byte) {
	var flags uint16
	n := GRELen
	if f.HasChecksum {
		flags |= greChecksum
		binary.BigEndian.PutUint32(b[n:], 0)
		n += 4
	}
	if f.HasKey {
		flags |= greKey
		binary.BigEndian.PutUint32(b[n:], f.Key)
		n += 4
	}
	if f.HasSequence {
		flags |= greSequence
		binary.BigEndian.PutUint32(b[n:], f.Sequence)
	}
	binary.BigEndian.PutUint16(b, flags)
	binary.BigEndian.PutUint16(b[2:], f.Protocol)
}

// PutGREChecksum completes a header that Put wrote with HasChecksum. head is
// the header and whatever of the payload lies behind it, tail the rest.
func PutGREChecksum(head, tail []byte) {
	sum := header.Sum(tail)
	if len(head)%2 != 0 { // the words of tail are one byte out of step (RFC 1071 section 2)
		sum = sum&0xff<<8 | sum>>8
	}
	binary.BigEndian.PutUint16(head[4:], ^header.Fold(sum+header.Sum(head)))
}
