package header

import "encoding/binary"

// UDP (RFC 768):
//
//	 0       1       2       3
//	|  source port  |   dest port   |
//	|    length     |   checksum    |

// UDP is a view of a datagram, from its header to its end.
type UDP []byte

// UDPLen is the size of the header.
const UDPLen = 8

// UDPChecksumOffset is where the checksum is in the header.
const UDPChecksumOffset = 6

// UDPFields is the header of a datagram.
type UDPFields struct {
	SrcPort, DstPort uint16
	Length           int    // of header and payload, at most 65535
	Checksum         uint16 // as it is to stand there
}

// Put writes the header to the first UDPLen bytes of b.
func (f UDPFields) Put(b []byte) {
	_ = b[UDPLen-1]
	binary.BigEndian.PutUint16(b, f.SrcPort)
	binary.BigEndian.PutUint16(b[2:], f.DstPort)
	binary.BigEndian.PutUint16(b[4:], uint16(f.Length))
	binary.BigEndian.PutUint16(b[6:], f.Checksum)
}

// ParseUDP checks the lengths, not the checksum. The view ends with the
// datagram: what follows its length is cut off.
func ParseUDP(b []byte) (UDP, bool) {
	if len(b) < UDPLen {
		return nil, false
	}
	n := int(binary.BigEndian.Uint16(b[4:]))
	if n < UDPLen || n > len(b) {
		return nil, false
	}
	return b[:n], true
}

// SrcPort returns the source port.
func (u UDP) SrcPort() uint16 { return binary.BigEndian.Uint16(u) }

// DstPort returns the destination port.
func (u UDP) DstPort() uint16 { return binary.BigEndian.Uint16(u[2:]) }

// Checksum returns the checksum field; 0 over IPv4 says that there is none.
func (u UDP) Checksum() uint16 { return binary.BigEndian.Uint16(u[6:]) }

// Payload returns what follows the header.
func (u UDP) Payload() []byte { return u[UDPLen:] }
