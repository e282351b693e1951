package header

import (
	"encoding/binary"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

func TestIPv4(t *testing.T) {
	l := ip4(layers.IPProtocolUDP)
	l.Options = []layers.IPv4Option{{OptionType: 148, OptionLength: 4, OptionData: []byte{0, 0}}} // router alert
	b := serialize(t, l, gopacket.Payload("hello"))
	p, ok := ParseIPv4(append(b, 0, 0, 0))
	equal(t, "ok", ok, true)
	equal(t, "length without padding", len(p), len(b))
	equal(t, "HeaderLen", p.HeaderLen(), 24)
	equal(t, "TOS", p.TOS(), l.TOS)
	equal(t, "ID", p.ID(), l.Id)
	equal(t, "DF", p.DF(), true)
	equal(t, "IsFragment", p.IsFragment(), false)
	equal(t, "TTL", p.TTL(), l.TTL)
	equal(t, "Protocol", p.Protocol(), ProtoUDP)
	equal(t, "ChecksumOK", p.ChecksumOK(), true)
	equal(t, "SrcAddr", p.SrcAddr(), addrA)
	equal(t, "DstAddr", p.DstAddr(), addrB)
	equal(t, "Src", p.Src(), 0x0a01000a)
	equal(t, "Dst", p.Dst(), 0x0a01000b)
	equal(t, "Payload", string(p.Payload()), "hello")
	equal(t, "Upper", p.Upper(), Upper{ProtoUDP, 24, false, true})
}

func TestParseIPv4Refuses(t *testing.T) {
	tests := []struct {
		name string
		edit func(b []byte) []byte
	}{
		{"19 bytes", func(b []byte) []byte { return b[:19] }},
		{"version 5", func(b []byte) []byte { b[0] = 0x55; return b }},
		{"IHL 4", func(b []byte) []byte { b[0] = 0x44; return b }},
		{"IHL beyond the packet", func(b []byte) []byte { b[0] = 0x4f; return b }},
		{"total length beyond the frame", func(b []byte) []byte { b[3]++; return b }},
		{"total length below the header's", func(b []byte) []byte { b[3] = 19; return b }},
		{"empty", func(b []byte) []byte { return nil }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, ok := ParseIPv4(tt.edit(serialize(t, ip4(17), gopacket.Payload("hello")))); ok {
				t.Error("parsed, want refused")
			}
		})
	}
}

func TestIPv4Fragments(t *testing.T) {
	tests := []struct {
		name            string
		flags           layers.IPv4Flag
		offset          uint16
		fragment, first bool
	}{
		{"whole", layers.IPv4DontFragment, 0, false, true},
		{"first", layers.IPv4MoreFragments, 0, true, true},
		{"middle", layers.IPv4MoreFragments, 185, true, false},
		{"last", 0, 370, true, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := ip4(layers.IPProtocolUDP)
			l.Flags, l.FragOffset = tt.flags, tt.offset
			p, _ := ParseIPv4(serialize(t, l, gopacket.Payload("hello")))
			equal(t, "FragmentOffset", p.FragmentOffset(), int(tt.offset)*8)
			equal(t, "Upper", p.Upper(), Upper{ProtoUDP, 20, tt.fragment, tt.first})
		})
	}
}

func TestIPv4Put(t *testing.T) {
	for _, df := range []bool{true, false} {
		l := ip4(layers.IPProtocolGRE)
		if !df {
			l.Flags = 0
		}
		want := serialize(t, l, gopacket.Payload("hello"))
		got := make([]byte, IPv4Len)
		IPv4Fields{TOS: l.TOS, Length: 25, ID: l.Id, DF: df, TTL: l.TTL, Protocol: ProtoGRE, Src: addrA, Dst: addrB}.Put(got)
		equal(t, "Put", string(got), string(want[:IPv4Len]))
	}
}

// Conformance R01: for every checksum there is, one hop less keeps it right.
func TestIPv4EditsKeepChecksum(t *testing.T) {
	b := serialize(t, ip4(layers.IPProtocolTCP))
	p, _ := ParseIPv4(b)
	for _, ttl := range []byte{1, 2, 64, 128, 255} {
		seen := map[uint16]bool{}
		for id := range 0x10000 {
			binary.BigEndian.PutUint16(p[4:], uint16(id))
			p[1], p[8], p[10], p[11] = 0, ttl, 0, 0
			sums := []uint16{^naiveSum(p)}
			if sums[0] == 0 {
				sums = append(sums, 0xffff) // which means the same (RFC 1624 section 3)
			}
			for _, sum := range sums {
				p[1], p[8] = 0, ttl
				binary.BigEndian.PutUint16(p[10:], sum)
				seen[sum] = true
				p.DecTTL()
				if p.TTL() != ttl-1 || naiveSum(p) != 0xffff || !p.ChecksumOK() {
					t.Fatalf("id %#x, TTL %d to %d: checksum %#x became %#x, which is wrong", id, ttl, p.TTL(), sum, p.Checksum())
				}
				p.SetTOS(byte(id >> 3))
				if p.TOS() != byte(id>>3) || naiveSum(p) != 0xffff {
					t.Fatalf("id %#x, TOS %#x: checksum %#x is wrong", id, p.TOS(), p.Checksum())
				}
			}
		}
		if len(seen) != 0x10000 {
			t.Errorf("TTL %d: %d checksums were seen, want all", ttl, len(seen))
		}
	}
	p[8] ^= 0x10
	if p.ChecksumOK() {
		t.Error("ChecksumOK is true for a changed TTL")
	}
}
