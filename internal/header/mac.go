package header

import (
	"encoding/binary"
	"fmt"
	"net"
)

// MAC is an Ethernet address in the low 48 bits, first octet highest, so that
// it compares, hashes and fits an atomic word as one number. The zero value is
// 00:00:00:00:00:00, which no station may use as source.
type MAC uint64

// Broadcast is ff:ff:ff:ff:ff:ff.
const Broadcast MAC = 0xffff_ffff_ffff

// MACFrom reads the first 6 bytes of b, which must have them.
func MACFrom(b []byte) MAC {
	_ = b[5]
	return MAC(binary.BigEndian.Uint16(b))<<32 | MAC(binary.BigEndian.Uint32(b[2:]))
}

// ParseMAC reads xx:xx:xx:xx:xx:xx.
func ParseMAC(s string) (MAC, error) {
	hw, err := net.ParseMAC(s)
	if err != nil || len(hw) != 6 {
		return 0, fmt.Errorf("parse MAC %q: want six octets such as 02:00:00:00:00:01", s)
	}
	return MACFrom(hw), nil
}

// Put writes the address to the first 6 bytes of b.
func (m MAC) Put(b []byte) {
	_ = b[5]
	binary.BigEndian.PutUint16(b, uint16(m>>32))
	binary.BigEndian.PutUint32(b[2:], uint32(m))
}

// IsMulticast reports whether the group bit is set; broadcast is multicast too.
func (m MAC) IsMulticast() bool { return m>>40&1 != 0 }

// IsLinkLocal reports whether m is one of 01:80:c2:00:00:00 to :0f, which a
// bridge never forwards (802.1D-2004 section 7.12.6).
func (m MAC) IsLinkLocal() bool { return m&^0xf == 0x0180_c200_0000 }

// HardwareAddr returns m as net and netlink want it.
func (m MAC) HardwareAddr() net.HardwareAddr {
	hw := make(net.HardwareAddr, 6)
	m.Put(hw)
	return hw
}

// String returns the form xx:xx:xx:xx:xx:xx.
func (m MAC) String() string { return m.HardwareAddr().String() }

// MarshalText implements encoding.TextMarshaler.
func (m MAC) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *MAC) UnmarshalText(b []byte) error {
	v, err := ParseMAC(string(b))
	if err != nil {
		return err
	}
	*m = v
	return nil
}
