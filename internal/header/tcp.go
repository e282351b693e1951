package header

import "encoding/binary"

// TCP (RFC 9293 section 3.1):
//
//	 0       1       2       3
//	|  source port  |   dest port   |
//	|        sequence number        |
//	|     acknowledgment number     |
//	|len|   | flags |    window     |
//	|   checksum    |urgent pointer |
//	|   options, up to 40 bytes     |

// TCP is a view of a segment, from its header to its end.
type TCP []byte

// TCPLen is the size of a header without options.
const TCPLen = 20

// TCPChecksumOffset is where the checksum is in the header.
const TCPChecksumOffset = 16

// Flags of TCP.
const (
	TCPFin = 0x01
	TCPSyn = 0x02
	TCPRst = 0x04
	TCPPsh = 0x08
	TCPAck = 0x10
	TCPCwr = 0x80
)

// ParseTCP checks the header's length, not the checksum. b must end with the
// segment.
func ParseTCP(b []byte) (TCP, bool) {
	if len(b) < TCPLen {
		return nil, false
	}
	hlen := int(b[12]>>4) * 4
	return b, hlen >= TCPLen && hlen <= len(b)
}

// SrcPort returns the source port.
func (t TCP) SrcPort() uint16 { return binary.BigEndian.Uint16(t) }

// DstPort returns the destination port.
func (t TCP) DstPort() uint16 { return binary.BigEndian.Uint16(t[2:]) }

// Seq returns the sequence number of the first payload byte.
func (t TCP) Seq() uint32 { return binary.BigEndian.Uint32(t[4:]) }

// Ack returns the acknowledgment number.
func (t TCP) Ack() uint32 { return binary.BigEndian.Uint32(t[8:]) }

// HeaderLen returns the size of the header with its options, 20 to 60 bytes.
func (t TCP) HeaderLen() int { return int(t[12]>>4) * 4 }

// Flags returns FIN, SYN and so on, ECE and CWR included.
func (t TCP) Flags() uint8 { return t[13] }

// Checksum returns the checksum field.
func (t TCP) Checksum() uint16 { return binary.BigEndian.Uint16(t[16:]) }

// Payload returns what follows the header.
func (t TCP) Payload() []byte { return t[t.HeaderLen():] }
