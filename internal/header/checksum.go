package header

import (
	"encoding/binary"
	"math/bits"
)

// The Internet checksum (RFC 1071) is the complement of the ones' complement
// sum of 16-bit words. That sum does not care how wide the words are that are
// added, nor in which byte order as long as the end result is swapped (section
// 2), so Sum adds eight bytes at a time in the machine's own order.

// Sum returns the ones' complement sum of b read as big-endian 16-bit words, an
// odd last byte padded with zero. It is at most 0xffff, so that up to 65,536
// sums and fields may be added in a uint32 before Fold. It is 0 only where every
// byte is.
func Sum(b []byte) uint32 {
	var acc, carry uint64
	for len(b) >= 64 {
		acc, carry = bits.Add64(acc, binary.LittleEndian.Uint64(b), carry)
		acc, carry = bits.Add64(acc, binary.LittleEndian.Uint64(b[8:]), carry)
		acc, carry = bits.Add64(acc, binary.LittleEndian.Uint64(b[16:]), carry)
		acc, carry = bits.Add64(acc, binary.LittleEndian.Uint64(b[24:]), carry)
		acc, carry = bits.Add64(acc, binary.LittleEndian.Uint64(b[32:]), carry)
		acc, carry = bits.Add64(acc, binary.LittleEndian.Uint64(b[40:]), carry)
		acc, carry = bits.Add64(acc, binary.LittleEndian.Uint64(b[48:]), carry)
		acc, carry = bits.Add64(acc, binary.LittleEndian.Uint64(b[56:]), carry)
		b = b[64:]
	}
	for len(b) >= 8 {
		acc, carry = bits.Add64(acc, binary.LittleEndian.Uint64(b), carry)
		b = b[8:]
	}
	if len(b) > 0 {
		acc, carry = bits.Add64(acc, tail(b), carry)
	}
	acc = acc>>32 + acc&0xffff_ffff + carry // at most 33 bits
	acc = acc>>32 + acc&0xffff_ffff
	return uint32(bits.ReverseBytes16(Fold(uint32(acc))))
}

// tail reads the last 1 to 7 bytes as a little-endian number.
func tail(b []byte) (v uint64) {
	for i := len(b) - 1; i >= 0; i-- {
		v = v<<8 | uint64(b[i])
	}
	return v
}

// Fold adds the carries back in until 16 bits are left (RFC 1071 section 1).
// The checksum is the complement of it.
func Fold(sum uint32) uint16 {
	sum = sum>>16 + sum&0xffff
	return uint16(sum>>16 + sum)
}

// Update returns the checksum after one 16-bit word under it changed from old
// to new (RFC 1624 section 3, equation 3).
func Update(check, old, new uint16) uint16 {
	return ^Fold(uint32(^check) + uint32(^old) + uint32(new))
}
