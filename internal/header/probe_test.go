package header

import (
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

func TestAddressProbe(t *testing.T) {
	const mac = MAC(0x02_00_00_00_00_07)
	four, six := netip.MustParseAddr("192.0.2.9"), netip.MustParseAddr("2001:db8::1:2:3")
	p := gopacket.NewPacket(AddressProbe(mac, four), layers.LayerTypeEthernet, gopacket.Default)
	arp, ok := p.Layer(layers.LayerTypeARP).(*layers.ARP)
	if !ok || arp.Operation != 1 || netip.AddrFrom4([4]byte(arp.SourceProtAddress)) != netip.IPv4Unspecified() ||
		netip.AddrFrom4([4]byte(arp.DstProtAddress)) != four || MACFrom(arp.SourceHwAddress) != mac || MACFrom(arp.DstHwAddress) != 0 {
		t.Errorf("ARP probe: %v", p)
	}
	frame := AddressProbe(mac, six)
	p = gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.Default)
	ip, _ := p.NetworkLayer().(*layers.IPv6)
	ns, ok := p.Layer(layers.LayerTypeICMPv6NeighborSolicitation).(*layers.ICMPv6NeighborSolicitation)
	if !ok || p.ErrorLayer() != nil || len(ns.Options) != 0 || !ip.SrcIP.IsUnspecified() || ip.DstIP.String() != "ff02::1:ff02:3" || ip.HopLimit != 255 || ns.TargetAddress.String() != six.String() {
		t.Errorf("neighbour solicitation: %v", p)
	}
	if eth := Ethernet(frame); eth.Dst() != 0x3333_ff02_0003 || !ICMPv6(eth[EthernetLen+IPv6Len:]).ChecksumOK(IPv6(eth[EthernetLen:])) {
		t.Errorf("to %v, or a wrong checksum", eth.Dst())
	}

	reply := make([]byte, EthernetLen+ARPLen)
	PutEthernet(reply, mac, 5, TypeARP)
	ARPFields{Op: ARPReply, SenderMAC: 5, SenderAddr: four, TargetMAC: mac, TargetAddr: netip.IPv4Unspecified()}.Put(reply[EthernetLen:])
	solicit := make([]byte, NeighbourLen)
	PutNeighbourSolicit(solicit, 0, mac, six)
	for _, tt := range []struct {
		name  string
		frame []byte
		addr  netip.Addr
		mac   MAC
	}{
		{"ARP probe", AddressProbe(mac, four), four, mac},
		{"ARP reply", reply, four, 5},
		{"gratuitous ARP", GratuitousARP(5, four), four, 5},
		{"duplicate address detection", frame, six, mac},
		{"advertisement", UnsolicitedNA(5, six), six, 5},
		{"solicitation of somebody with an address", solicit, netip.Addr{}, 0},
		{"wrong checksum", append(UnsolicitedNA(5, six)[:NeighbourLen-1], 9), netip.Addr{}, 0},
		{"cut", UnsolicitedNA(5, six)[:60], netip.Addr{}, 0},
		{"something else", make([]byte, 60), netip.Addr{}, 0},
	} {
		addr, mac, ok := SpeaksFor(tt.frame)
		if addr != tt.addr || mac != tt.mac || ok != tt.addr.IsValid() {
			t.Errorf("%s: %v, %v, %t", tt.name, addr, mac, ok)
		}
	}
}
