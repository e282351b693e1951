package header

import (
	"encoding/binary"
	"net/netip"
)

// ARP for IPv4 over Ethernet (RFC 826):
//
//	 0       2       4   5   6      8
//	| hrd 1 |pro 800| 6 | 4 |  op  |
//	 8             14     18            24     28
//	| sender MAC  |sender|  target MAC |target|

// ARP is a view of an ARP packet for IPv4 over Ethernet.
type ARP []byte

// ARPLen is the size of a packet for IPv4 over Ethernet.
const ARPLen = 28

// Operations.
const (
	ARPRequest = 1
	ARPReply   = 2
)

// ParseARP takes requests and replies for IPv4 over Ethernet and nothing else.
// Padding is cut off.
func ParseARP(b []byte) (ARP, bool) {
	const ethernetIPv4 = 0x0001_0800_0604 // hardware type, protocol type, address lengths
	if len(b) < ARPLen || binary.BigEndian.Uint64(b)>>16 != ethernetIPv4 {
		return nil, false
	}
	a := ARP(b[:ARPLen])
	return a, a.Op() == ARPRequest || a.Op() == ARPReply
}

// Op returns ARPRequest or ARPReply.
func (a ARP) Op() uint16 { return binary.BigEndian.Uint16(a[6:]) }

// SenderMAC returns the sender's hardware address.
func (a ARP) SenderMAC() MAC { return MACFrom(a[8:14]) }

// SenderAddr returns the sender's protocol address; 0.0.0.0 in a probe (RFC 5227 section 1.1).
func (a ARP) SenderAddr() netip.Addr { return netip.AddrFrom4([4]byte(a[14:18])) }

// TargetMAC returns the target's hardware address; meaningless in a request.
func (a ARP) TargetMAC() MAC { return MACFrom(a[18:24]) }

// TargetAddr returns the target's protocol address.
func (a ARP) TargetAddr() netip.Addr { return netip.AddrFrom4([4]byte(a[24:28])) }

// ARPFields describes an ARP packet to be written.
type ARPFields struct {
	Op                     uint16
	SenderMAC, TargetMAC   MAC
	SenderAddr, TargetAddr netip.Addr // IPv4
}

// Put writes the packet to the first ARPLen bytes of b.
func (f ARPFields) Put(b []byte) {
	_ = b[ARPLen-1]
	copy(b, "\x00\x01\x08\x00\x06\x04")
	binary.BigEndian.PutUint16(b[6:], f.Op)
	f.SenderMAC.Put(b[8:])
	f.TargetMAC.Put(b[18:])
	sender, target := f.SenderAddr.As4(), f.TargetAddr.As4()
	copy(b[14:], sender[:])
	copy(b[24:], target[:])
}

// GratuitousARP returns the frame by which mac announces to all that it has
// addr, which must be IPv4: a request for the address itself (RFC 5227 section 3).
func GratuitousARP(mac MAC, addr netip.Addr) []byte {
	frame := make([]byte, EthernetLen+ARPLen)
	PutEthernet(frame, Broadcast, mac, TypeARP)
	ARPFields{Op: ARPRequest, SenderMAC: mac, SenderAddr: addr, TargetAddr: addr}.Put(frame[EthernetLen:])
	return frame
}
