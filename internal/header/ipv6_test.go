package header

import (
	"strings"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

func TestIPv6(t *testing.T) {
	l := ip6(layers.IPProtocolUDP)
	b := serialize(t, l, gopacket.Payload("hello"))
	p, ok := ParseIPv6(append(b, 0, 0, 0))
	equal(t, "ok", ok, true)
	equal(t, "length without padding", len(p), len(b))
	equal(t, "TrafficClass", p.TrafficClass(), l.TrafficClass)
	equal(t, "NextHeader", p.NextHeader(), ProtoUDP)
	equal(t, "HopLimit", p.HopLimit(), l.HopLimit)
	equal(t, "SrcAddr", p.SrcAddr(), addrA6)
	equal(t, "DstAddr", p.DstAddr(), addrB6)

	p.DecHopLimit()
	p.SetTrafficClass(0x46)
	l.HopLimit, l.TrafficClass = 60, 0x46
	equal(t, "edited", string(p), string(serialize(t, l, gopacket.Payload("hello"))))

	for _, short := range [][]byte{nil, b[:39], b[:len(b)-1], append([]byte{0x45}, b[1:]...)} {
		if _, ok := ParseIPv6(short); ok {
			t.Errorf("parsed %d bytes beginning %x, want refused", len(short), short[:min(len(short), 1)])
		}
	}
}

func TestIPv6Put(t *testing.T) {
	l := ip6(layers.IPProtocolGRE)
	want := serialize(t, l, gopacket.Payload("hello"))
	got := make([]byte, IPv6Len)
	IPv6Fields{TrafficClass: l.TrafficClass, PayloadLength: 5, NextHeader: ProtoGRE, HopLimit: l.HopLimit, Src: addrA6, Dst: addrB6, FlowLabel: l.FlowLabel}.Put(got)
	equal(t, "Put", string(got), string(want[:IPv6Len]))
	equal(t, "FlowLabel", IPv6(got).FlowLabel(), l.FlowLabel)
}

func TestIPv6Upper(t *testing.T) {
	opts := func(next byte) string { return string([]byte{next, 0, 1, 4, 0, 0, 0, 0}) }
	tests := []struct {
		name  string
		next  byte
		chain string
		want  Upper
		ok    bool
	}{
		{"none", ProtoTCP, "", Upper{ProtoTCP, 40, false, true}, true},
		{"hop-by-hop", ProtoHopByHop, opts(ProtoICMPv6), Upper{ProtoICMPv6, 48, false, true}, true},
		{"long destination options", ProtoDestOpts, "\x11\x01" + strings.Repeat("\x00", 14), Upper{ProtoUDP, 56, false, true}, true},
		{"hop-by-hop, routing, options", ProtoHopByHop, opts(ProtoRouting) + opts(ProtoDestOpts) + opts(ProtoTCP), Upper{ProtoTCP, 64, false, true}, true},
		{"authentication", ProtoAuth, "\x06\x04" + strings.Repeat("\x00", 22), Upper{ProtoTCP, 64, false, true}, true},
		{"first fragment", ProtoFragment, "\x11\x00\x00\x01\x00\x00\x00\x07", Upper{ProtoUDP, 48, true, true}, true},
		{"atomic fragment", ProtoFragment, "\x11\x00\x00\x00\x00\x00\x00\x07", Upper{ProtoUDP, 48, true, true}, true},
		{"later fragment", ProtoFragment, "\x3c\x00\x05\xa9\x00\x00\x00\x07", Upper{ProtoDestOpts, 48, true, false}, true},
		{"ESP ends the walk", 50, "", Upper{50, 40, false, true}, true},
		{"no next header", 59, "", Upper{59, 40, false, true}, true},
		{"hop-by-hop twice", ProtoHopByHop, opts(ProtoHopByHop) + opts(ProtoTCP), Upper{}, false},
		{"hop-by-hop behind options", ProtoDestOpts, opts(ProtoHopByHop) + opts(ProtoTCP), Upper{}, false},
		{"cut before the header", ProtoRouting, "", Upper{}, false},
		{"cut in the header", ProtoDestOpts, "\x06\x01\x00\x00\x00\x00\x00\x00", Upper{}, false},
		{"cut in the fragment header", ProtoFragment, "\x06\x00\x00", Upper{}, false},
		{"cut in authentication", ProtoAuth, "\x06\x04\x00\x00\x00\x00\x00\x00", Upper{}, false},
		{"chain of seven", ProtoDestOpts, strings.Repeat(opts(ProtoDestOpts), 6) + opts(ProtoTCP), Upper{ProtoTCP, 96, false, true}, true},
		{"chain of nine", ProtoDestOpts, strings.Repeat(opts(ProtoDestOpts), 8) + opts(ProtoTCP), Upper{}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := make([]byte, IPv6Len, IPv6Len+len(tt.chain))
			IPv6Fields{PayloadLength: len(tt.chain), NextHeader: tt.next, Src: addrA6, Dst: addrB6}.Put(b)
			p, ok := ParseIPv6(append(b, tt.chain...))
			if !ok {
				t.Fatal("packet does not parse")
			}
			got, ok := p.Upper()
			equal(t, "ok", ok, tt.ok)
			if ok {
				equal(t, "Upper", got, tt.want)
			}
		})
	}
}
