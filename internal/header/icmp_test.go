package header

import (
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

func TestICMPv4(t *testing.T) {
	b := serialize(t, &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(3, 4), Seq: 1400}, gopacket.Payload("quoted"))
	m, ok := ParseICMPv4(b)
	equal(t, "ok", ok, true)
	equal(t, "Type", m.Type(), ICMPv4Unreachable)
	equal(t, "Code", m.Code(), 4)
	equal(t, "Rest", m.Rest(), 1400)
	equal(t, "ChecksumOK", m.ChecksumOK(), true)
	equal(t, "IsError", m.IsError(), true)
	m[9]++
	equal(t, "ChecksumOK of a changed one", m.ChecksumOK(), false)
	m[0] = ICMPv4Echo
	equal(t, "IsError of an echo", m.IsError(), false)
	if _, ok := ParseICMPv4(b[:7]); ok {
		t.Error("7 bytes parse as ICMPv4")
	}
}

func TestICMPv6(t *testing.T) {
	l := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(2, 0)}
	ip := ip6(layers.IPProtocolICMPv6)
	if err := l.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	p, _ := ParseIPv6(serialize(t, ip, l, gopacket.Payload("\x00\x00\x05\x00quoted")))
	m, ok := ParseICMPv6(p[IPv6Len:])
	equal(t, "ok", ok, true)
	equal(t, "Type", m.Type(), ICMPv6TooBig)
	equal(t, "Code", m.Code(), 0)
	equal(t, "Rest", m.Rest(), 1280)
	equal(t, "ChecksumOK", m.ChecksumOK(p), true)
	equal(t, "IsError", m.IsError(), true)
	m[9]++
	equal(t, "ChecksumOK of a changed one", m.ChecksumOK(p), false)
	m[0] = ICMPv6Echo
	equal(t, "IsError of an echo", m.IsError(), false)
}
