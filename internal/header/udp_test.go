package header

import (
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

func TestUDP(t *testing.T) {
	l := &layers.UDP{SrcPort: 40000, DstPort: 53}
	ip := ip6(layers.IPProtocolUDP)
	if err := l.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	b := serialize(t, ip, l, gopacket.Payload("hello"))
	p, _ := ParseIPv6(b)
	d, ok := ParseUDP(append(b[IPv6Len:], 0, 0))
	equal(t, "ok", ok, true)
	equal(t, "length", len(d), UDPLen+5)
	equal(t, "SrcPort", d.SrcPort(), 40000)
	equal(t, "DstPort", d.DstPort(), 53)
	equal(t, "Payload", string(d.Payload()), "hello")
	equal(t, "checksum as gopacket computed it", Fold(p.PseudoSum(ProtoUDP, len(d))+Sum(d)), 0xffff)

	tests := map[string][]byte{
		"7 bytes": d[:7], "length beyond the packet": d[:len(d)-1], "length 7": {0, 1, 0, 2, 0, 7, 0, 0}, "empty": nil,
	}
	for name, b := range tests {
		if _, ok := ParseUDP(b); ok {
			t.Errorf("%s: parsed, want refused", name)
		}
	}
}
