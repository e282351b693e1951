package header

import "encoding/binary"

// Ethernet (IEEE 802.3) and VLAN tags (IEEE 802.1Q):
//
//	 0        6        12     14
//	|  dst   |  src   | type |  payload
//	|  dst   |  src   | TPID | TCI | type |  payload     one tag: 4 bytes more

// Ethernet is a view of a frame.
type Ethernet []byte

// Sizes in bytes.
const (
	EthernetLen = 14 // Ethernet header without VLAN tags
	VLANLen     = 4  // one VLAN tag
)

// EtherTypes and VLAN TPIDs, as in the IEEE registry.
const (
	TypeIPv4 = 0x0800
	TypeARP  = 0x0806
	TypeIPv6 = 0x86dd
	TypeVLAN = 0x8100 // customer tag
	TypeQinQ = 0x88a8 // service tag
)

// ParseEthernet is the only length check: 14 bytes are there.
func ParseEthernet(b []byte) (Ethernet, bool) { return b, len(b) >= EthernetLen }

// Dst returns the destination address.
func (e Ethernet) Dst() MAC { return MAC(binary.BigEndian.Uint64(e) >> 16) }

// Src returns the source address.
func (e Ethernet) Src() MAC { return MAC(binary.BigEndian.Uint64(e[6:]) >> 16) }

// Type returns the field behind the addresses: an EtherType, a length, or a VLAN TPID.
func (e Ethernet) Type() uint16 { return binary.BigEndian.Uint16(e[12:]) }

// L3 walks over at most two VLAN tags and returns the type behind them and the
// offset of what that type describes. Where a third tag follows, or the frame
// ends inside a tag, the type is the TPID, which no caller takes for a protocol.
func (e Ethernet) L3() (etherType uint16, off int) {
	t := e.Type()
	if t != TypeVLAN && t != TypeQinQ {
		return t, EthernetLen
	}
	return e.behindTags(t)
}

func (e Ethernet) behindTags(t uint16) (etherType uint16, off int) {
	off = EthernetLen
	for range 2 {
		if t != TypeVLAN && t != TypeQinQ || len(e) < off+VLANLen {
			break
		}
		t = binary.BigEndian.Uint16(e[off+2:])
		off += VLANLen
	}
	return t, off
}

// PutEthernet writes an Ethernet header without tags to the first EthernetLen bytes of b.
func PutEthernet(b []byte, dst, src MAC, etherType uint16) {
	dst.Put(b)
	src.Put(b[6:])
	binary.BigEndian.PutUint16(b[12:], etherType)
}
