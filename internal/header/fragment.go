package header

import "encoding/binary"

// Fragment header of IPv6 (RFC 8200 section 4.5):
//
//	 0       1       2       3
//	| next  | zero  |  offset   |res|M|
//	|        identification         |

// Fragment is a view of a fragment header and of what follows it.
type Fragment []byte

// FragmentLen is the size of a fragment header.
const FragmentLen = 8

// ParseFragment checks that the header is there.
func ParseFragment(b []byte) (Fragment, bool) { return b, len(b) >= FragmentLen }

// NextHeader returns the protocol of what the fragments make up together.
func (f Fragment) NextHeader() uint8 { return f[0] }

// Offset returns where the fragment belongs, in bytes.
func (f Fragment) Offset() int { return int(binary.BigEndian.Uint16(f[2:]) &^ 7) }

// More reports whether it is not the last one.
func (f Fragment) More() bool { return f[3]&1 != 0 }

// ID returns the identification.
func (f Fragment) ID() uint32 { return binary.BigEndian.Uint32(f[4:]) }

// Payload returns what follows the header.
func (f Fragment) Payload() []byte { return f[FragmentLen:] }

// FragmentFields describes a fragment header to be written.
type FragmentFields struct {
	NextHeader uint8
	Offset     int // in bytes, a multiple of 8
	More       bool
	ID         uint32
}

// Put writes the header to the first FragmentLen bytes of b.
func (f FragmentFields) Put(b []byte) {
	_ = b[FragmentLen-1]
	b[0], b[1] = f.NextHeader, 0
	word := uint16(f.Offset)
	if f.More {
		word |= 1
	}
	binary.BigEndian.PutUint16(b[2:], word)
	binary.BigEndian.PutUint32(b[4:], f.ID)
}
