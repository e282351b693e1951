package header

import "encoding/binary"

// ICMPv6 (RFC 4443 section 2.1):
//
//	 0       1       2       3
//	| type  | code  |   checksum    |
//	|       depends on type         |

// ICMPv6 is a view of a message, from its header to its end.
type ICMPv6 []byte

// Types of ICMPv6.
const (
	ICMPv6Unreachable      = 1
	ICMPv6TooBig           = 2
	ICMPv6TimeExceeded     = 3
	ICMPv6ParamProblem     = 4
	ICMPv6Echo             = 128
	ICMPv6EchoReply        = 129
	ICMPv6RouterSolicit    = 133
	ICMPv6RouterAdvert     = 134
	ICMPv6NeighbourSolicit = 135
	ICMPv6NeighbourAdvert  = 136
	ICMPv6Redirect         = 137
)

// ParseICMPv6 checks that the header is there. b must end with the message.
func ParseICMPv6(b []byte) (ICMPv6, bool) { return b, len(b) >= ICMPLen }

// Type returns the type.
func (m ICMPv6) Type() uint8 { return m[0] }

// Code returns the code.
func (m ICMPv6) Code() uint8 { return m[1] }

// Rest returns bytes 4 to 7, whose meaning depends on the type: identifier and
// sequence number of an echo, the MTU of packet too big.
func (m ICMPv6) Rest() uint32 { return binary.BigEndian.Uint32(m[4:]) }

// ChecksumOK reports whether the checksum is right for a message in ip.
func (m ICMPv6) ChecksumOK(ip IPv6) bool {
	return Fold(ip.PseudoSum(ProtoICMPv6, len(m))+Sum(m)) == 0xffff
}

// IsError reports whether the message is an error (RFC 4443 section 2.1).
func (m ICMPv6) IsError() bool { return m.Type() < 128 }

// PutICMPv6 writes a message behind the fixed header of ip, whose addresses
// stand already, checksum included. rest is what Rest returns.
func PutICMPv6(ip IPv6, typ, code uint8, rest uint32, body []byte) {
	m := ip[IPv6Len : IPv6Len+ICMPLen+len(body)]
	copy(m[ICMPLen:], body)
	m[0], m[1] = typ, code
	binary.BigEndian.PutUint32(m[4:], rest)
	ip.putICMPChecksum(len(m))
}

// putICMPChecksum writes the checksum of an ICMPv6 message of size bytes
// directly behind the fixed header.
func (p IPv6) putICMPChecksum(size int) {
	m := p[IPv6Len : IPv6Len+size]
	m[2], m[3] = 0, 0
	binary.BigEndian.PutUint16(m[2:], ^Fold(p.PseudoSum(ProtoICMPv6, size)+Sum(m)))
}
