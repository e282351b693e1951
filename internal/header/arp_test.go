package header

import (
	"net"
	"testing"

	"github.com/google/gopacket/layers"
)

func TestARP(t *testing.T) {
	oracle := &layers.ARP{AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4,
		Operation: layers.ARPReply, SourceHwAddress: macA.HardwareAddr(), SourceProtAddress: addrA.AsSlice(),
		DstHwAddress: macB.HardwareAddr(), DstProtAddress: addrB.AsSlice()}
	packet := serialize(t, oracle)

	a, ok := ParseARP(append(packet, make([]byte, 18)...)) // padded to 60
	equal(t, "ok", ok, true)
	equal(t, "length without padding", len(a), ARPLen)
	equal(t, "Op", a.Op(), ARPReply)
	equal(t, "SenderMAC", a.SenderMAC(), macA)
	equal(t, "SenderAddr", a.SenderAddr(), addrA)
	equal(t, "TargetMAC", a.TargetMAC(), macB)
	equal(t, "TargetAddr", a.TargetAddr(), addrB)

	built := make([]byte, ARPLen)
	ARPFields{Op: ARPReply, SenderMAC: macA, SenderAddr: addrA, TargetMAC: macB, TargetAddr: addrB}.Put(built)
	equal(t, "Put", string(built), string(packet))
}

func TestParseARPRefuses(t *testing.T) {
	good := make([]byte, ARPLen)
	ARPFields{Op: ARPRequest, SenderMAC: macA, SenderAddr: addrA, TargetAddr: addrB}.Put(good)
	tests := []struct {
		name string
		off  int
		v    byte
	}{
		{"hardware type 6", 1, 6}, {"protocol type", 2, 9}, {"hardware length", 4, 8}, {"protocol length", 5, 16},
		{"operation 0", 7, 0}, {"operation 3 (RARP)", 7, 3}, {"operation 257", 6, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := append([]byte(nil), good...)
			b[tt.off] = tt.v
			if _, ok := ParseARP(b); ok {
				t.Error("parsed, want refused")
			}
		})
	}
	if _, ok := ParseARP(good[:ARPLen-1]); ok {
		t.Error("27 bytes parse as ARP")
	}
}

func TestGratuitousARP(t *testing.T) {
	p := decode(t, GratuitousARP(macA, addrA))
	eth := p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
	arp := p.Layer(layers.LayerTypeARP).(*layers.ARP)
	equal(t, "destination", eth.DstMAC.String(), Broadcast.String())
	equal(t, "source", eth.SrcMAC.String(), macA.String())
	equal(t, "operation", arp.Operation, uint16(layers.ARPRequest))
	equal(t, "sender", net.HardwareAddr(arp.SourceHwAddress).String(), macA.String())
	equal(t, "sender address", net.IP(arp.SourceProtAddress).String(), addrA.String())
	equal(t, "target address", net.IP(arp.DstProtAddress).String(), addrA.String())
	equal(t, "target", net.HardwareAddr(arp.DstHwAddress).String(), MAC(0).String())
}
