package header

import (
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// ndp builds a message with gopacket: its ICMPv6 header, then body.
func ndp(t *testing.T, typ uint8, body gopacket.SerializableLayer) ICMPv6 {
	t.Helper()
	l := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(typ, 0)}
	ip := ip6(layers.IPProtocolICMPv6)
	if err := l.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	m, ok := ParseICMPv6(serialize(t, ip, l, body)[IPv6Len:])
	if !ok {
		t.Fatal("message does not parse")
	}
	return m
}

func link(typ layers.ICMPv6Opt, mac MAC) layers.ICMPv6Options {
	return layers.ICMPv6Options{{Type: layers.ICMPv6OptMTU, Data: make([]byte, 6)}, {Type: typ, Data: mac.HardwareAddr()}}
}

func TestNDP(t *testing.T) {
	target := netip.MustParseAddr("fe80::5")
	tests := []struct {
		name   string
		typ    uint8
		body   gopacket.SerializableLayer
		target netip.Addr
		flags  uint8
		mac    MAC // 0: none
	}{
		{"solicitation", ICMPv6NeighbourSolicit, &layers.ICMPv6NeighborSolicitation{TargetAddress: target.AsSlice(),
			Options: link(layers.ICMPv6OptSourceAddress, macA)}, target, 0, macA},
		{"solicitation of DAD", ICMPv6NeighbourSolicit, &layers.ICMPv6NeighborSolicitation{TargetAddress: target.AsSlice()}, target, 0, 0},
		{"advertisement", ICMPv6NeighbourAdvert, &layers.ICMPv6NeighborAdvertisement{Flags: 0xe0, TargetAddress: target.AsSlice(),
			Options: link(layers.ICMPv6OptTargetAddress, macB)}, target, NDPRouter | NDPSolicited | NDPOverride, macB},
		{"advertisement with the wrong option", ICMPv6NeighbourAdvert, &layers.ICMPv6NeighborAdvertisement{TargetAddress: target.AsSlice(),
			Options: link(layers.ICMPv6OptSourceAddress, macB)}, target, 0, 0},
		{"redirect", ICMPv6Redirect, &layers.ICMPv6Redirect{TargetAddress: target.AsSlice(), DestinationAddress: addrB6.AsSlice(),
			Options: link(layers.ICMPv6OptTargetAddress, macB)}, target, 0, macB},
		{"router advertisement", ICMPv6RouterAdvert, &layers.ICMPv6RouterAdvertisement{HopLimit: 64,
			Options: link(layers.ICMPv6OptSourceAddress, macA)}, netip.Addr{}, 64, macA},
		{"router solicitation", ICMPv6RouterSolicit, &layers.ICMPv6RouterSolicitation{
			Options: link(layers.ICMPv6OptSourceAddress, macA)}, netip.Addr{}, 0, macA},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := ndp(t, tt.typ, tt.body)
			n, ok := ParseNDP(m)
			if !ok {
				t.Fatalf("%x does not parse", m)
			}
			equal(t, "Type", n.Type(), tt.typ)
			equal(t, "Target", n.Target(), tt.target)
			equal(t, "Flags", n.Flags(), tt.flags)
			mac, ok := n.LinkAddr()
			equal(t, "LinkAddr", mac, tt.mac)
			equal(t, "LinkAddr ok", ok, tt.mac != 0)
			if _, ok := ParseNDP(m[:len(m)-1]); ok {
				t.Error("parses with its last byte cut off")
			}
		})
	}
}

func TestParseNDPRefuses(t *testing.T) {
	good := func() ICMPv6 {
		return ndp(t, ICMPv6NeighbourAdvert, &layers.ICMPv6NeighborAdvertisement{TargetAddress: addrA6.AsSlice(),
			Options: link(layers.ICMPv6OptTargetAddress, macB)})
	}
	tests := []struct {
		name string
		edit func(m ICMPv6) ICMPv6
	}{
		{"echo", func(m ICMPv6) ICMPv6 { m[0] = ICMPv6Echo; return m }},
		{"code 1", func(m ICMPv6) ICMPv6 { m[1] = 1; return m }},
		{"option of length 0", func(m ICMPv6) ICMPv6 { m[25] = 0; return m }},
		{"option beyond the end", func(m ICMPv6) ICMPv6 { m[25] = 3; return m }},
		{"no room for the target", func(m ICMPv6) ICMPv6 { return m[:16] }},
		{"redirect of an advertisement's length", func(m ICMPv6) ICMPv6 { m[0] = ICMPv6Redirect; return m[:32] }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, ok := ParseNDP(tt.edit(good())); ok {
				t.Error("parsed, want refused")
			}
		})
	}
}

func TestUnsolicitedNA(t *testing.T) {
	frame := UnsolicitedNA(macA, addrA6)
	p := decode(t, frame)
	eth := p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
	ip := p.Layer(layers.LayerTypeIPv6).(*layers.IPv6)
	na := p.Layer(layers.LayerTypeICMPv6NeighborAdvertisement).(*layers.ICMPv6NeighborAdvertisement)
	equal(t, "destination", eth.DstMAC.String(), "33:33:00:00:00:01")
	equal(t, "source", eth.SrcMAC.String(), macA.String())
	equal(t, "source address", ip.SrcIP.String(), addrA6.String())
	equal(t, "destination address", ip.DstIP.String(), "ff02::1")
	equal(t, "hop limit", ip.HopLimit, 255)
	equal(t, "target", na.TargetAddress.String(), addrA6.String())
	equal(t, "override", na.Override(), true)
	equal(t, "solicited", na.Solicited(), false)
	equal(t, "router", na.Router(), false)
	equal(t, "option", string(na.Options[0].Data), string(macA.HardwareAddr()))

	v, _ := ParseIPv6(frame[EthernetLen:])
	m, _ := ParseICMPv6(v[IPv6Len:])
	equal(t, "ChecksumOK", m.ChecksumOK(v), true)
	equal(t, "checksum as gopacket computes it", p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6).Checksum,
		ndpChecksum(t, ip, na))
}

func ndpChecksum(t *testing.T, ip *layers.IPv6, na *layers.ICMPv6NeighborAdvertisement) uint16 {
	l := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(ICMPv6NeighbourAdvert, 0)}
	if err := l.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	serialize(t, l, na)
	return l.Checksum
}
