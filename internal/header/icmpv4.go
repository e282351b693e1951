package header

import "encoding/binary"

// ICMPv4 (RFC 792):
//
//	 0       1       2       3
//	| type  | code  |   checksum    |
//	|  id and sequence, MTU, ...    |
//	|  data, or the quoted packet   |

// ICMPv4 is a view of a message, from its header to its end.
type ICMPv4 []byte

// ICMPLen is the size of the header of ICMPv4 and of the ICMPv6 messages that are no NDP.
const ICMPLen = 8

// Types of ICMPv4.
const (
	ICMPv4EchoReply    = 0
	ICMPv4Unreachable  = 3
	ICMPv4Redirect     = 5
	ICMPv4Echo         = 8
	ICMPv4TimeExceeded = 11
	ICMPv4ParamProblem = 12
)

// ParseICMPv4 checks that the header is there. b must end with the message.
func ParseICMPv4(b []byte) (ICMPv4, bool) { return b, len(b) >= ICMPLen }

// Type returns the type.
func (m ICMPv4) Type() uint8 { return m[0] }

// Code returns the code.
func (m ICMPv4) Code() uint8 { return m[1] }

// Rest returns bytes 4 to 7, whose meaning depends on the type: identifier and
// sequence number of an echo, the next hop's MTU in the low half of 3/4 (RFC 1191).
func (m ICMPv4) Rest() uint32 { return binary.BigEndian.Uint32(m[4:]) }

// ChecksumOK reports whether the checksum is right.
func (m ICMPv4) ChecksumOK() bool { return Fold(Sum(m)) == 0xffff }

// IsError reports whether the message is an error, which must not be answered
// by another (RFC 1812 section 4.3.2.7); a type not known counts as one.
func (m ICMPv4) IsError() bool {
	switch m.Type() {
	case ICMPv4EchoReply, ICMPv4Echo, 9, 10, 13, 14, 15, 16, 17, 18: // router discovery, timestamp, information, mask
		return false
	}
	return true
}

// PutICMPv4 writes a message, checksum included, to the first ICMPLen +
// len(body) bytes of b. rest is what Rest returns; body may be in b already.
func PutICMPv4(b []byte, typ, code uint8, rest uint32, body []byte) {
	m := b[:ICMPLen+len(body)]
	copy(m[ICMPLen:], body)
	m[0], m[1], m[2], m[3] = typ, code, 0, 0
	binary.BigEndian.PutUint32(m[4:], rest)
	binary.BigEndian.PutUint16(m[2:], ^Fold(Sum(m)))
}
