package header

import (
	"net"
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

func addr4(a, b, c, d byte) netip.Addr { return netip.AddrFrom4([4]byte{a, b, c, d}) }

var (
	macA, macB MAC = 0x0200_0000_000a, 0x0200_0000_000b
	addrA          = addr4(10, 1, 0, 10)
	addrB          = addr4(10, 1, 0, 11)
	addrA6         = netip.MustParseAddr("fd00:1::a")
	addrB6         = netip.MustParseAddr("fd00:1::b")
)

// serialize builds bytes with gopacket, lengths and checksums filled in.
func serialize(t testing.TB, ls ...gopacket.SerializableLayer) []byte {
	t.Helper()
	buf := gopacket.NewSerializeBuffer()
	opts := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := gopacket.SerializeLayers(buf, opts, ls...); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// decode reads a frame with gopacket and fails where gopacket does.
func decode(t testing.TB, frame []byte) gopacket.Packet {
	t.Helper()
	p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.Default)
	if e := p.ErrorLayer(); e != nil {
		t.Fatal(e.Error())
	}
	return p
}

func ethernet(typ layers.EthernetType) *layers.Ethernet {
	return &layers.Ethernet{SrcMAC: macA.HardwareAddr(), DstMAC: macB.HardwareAddr(), EthernetType: typ}
}

func ip4(proto layers.IPProtocol) *layers.IPv4 {
	return &layers.IPv4{Version: 4, TOS: 0x2a, Id: 0x1234, Flags: layers.IPv4DontFragment, TTL: 63, Protocol: proto,
		SrcIP: net.IP(addrA.AsSlice()), DstIP: net.IP(addrB.AsSlice())}
}

func ip6(next layers.IPProtocol) *layers.IPv6 {
	return &layers.IPv6{Version: 6, TrafficClass: 0xb9, FlowLabel: 0xabcde, HopLimit: 61, NextHeader: next,
		SrcIP: net.IP(addrA6.AsSlice()), DstIP: net.IP(addrB6.AsSlice())}
}

// equal reports a difference between what a view and gopacket say.
func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s = %v, want %v", what, got, want)
	}
}
