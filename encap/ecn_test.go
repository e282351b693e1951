package encap

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"weft/internal/drop"
	"weft/internal/header"
)

// TestMergeECN holds C02 to C07: all combinations, wherever the IP header is.
func TestMergeECN(t *testing.T) {
	const not, ect1, ect0, ce = 0, 1, 2, 3
	// By outer, then inner, as the figure in RFC 6040 section 4.2 has it; -1: drop.
	want := [4][4]int{
		not:  {not: not, ect1: ect1, ect0: ect0, ce: ce},
		ect1: {not: not, ect1: ect1, ect0: ect1, ce: ce},
		ect0: {not: not, ect1: ect1, ect0: ect0, ce: ce},
		ce:   {not: -1, ect1: ce, ect0: ce, ce: ce},
	}
	macs := make([]byte, 12)
	for _, where := range []struct {
		name  string
		proto uint16
		head  []byte
		v6    bool
	}{
		{"IPv4", ProtoTEB, append(macs[:12:12], 8, 0), false},
		{"IPv6", ProtoTEB, append(macs[:12:12], 0x86, 0xdd), true},
		{"IPv4 behind a tag", ProtoTEB, append(macs[:12:12], 0x81, 0, 0, 5, 8, 0), false},
		{"IPv6 behind two tags", ProtoTEB, append(macs[:12:12], 0x88, 0xa8, 0, 5, 0x81, 0, 0, 6, 0x86, 0xdd), true},
		{"IPv4 alone", ProtoIPv4, nil, false},
		{"IPv6 alone", ProtoIPv6, nil, true},
	} {
		for outer := range want {
			for inner, ecn := range want[outer] {
				for _, dscp := range []uint8{0, 0xb8, 0xfc} {
					name := fmt.Sprintf("%s, outer %d, inner %d, DSCP %#x", where.name, outer, inner, dscp)
					frame := append(slices.Clone(where.head), ecnPacket(where.v6, dscp|uint8(inner))...)
					wantFrame, wantReason := slices.Clone(frame), drop.ECNCE
					if ecn >= 0 {
						wantFrame = append(slices.Clone(where.head), ecnPacket(where.v6, dscp|uint8(ecn))...)
						wantReason = drop.None
					}
					if got := MergeECN(0x50|uint8(outer), where.proto, frame); got != wantReason {
						t.Errorf("%s: got %v, want %v", name, got, wantReason)
					}
					if !bytes.Equal(frame, wantFrame) {
						t.Errorf("%s:\ngot  % x\nwant % x", name, frame, wantFrame)
					}
				}
			}
		}
	}
}

// TestMergeECNOther: what is no IP packet is neither changed nor dropped.
func TestMergeECNOther(t *testing.T) {
	v4, macs := ecnPacket(false, 0), make([]byte, 12)
	for name, frame := range map[string][]byte{
		"ARP":             append(append(macs[:12:12], 8, 6), v4...),
		"three tags":      append(append(macs[:12:12], 0x81, 0, 0, 1, 0x81, 0, 0, 2, 0x81, 0, 0, 3, 8, 0), v4...),
		"wrong version":   append(append(macs[:12:12], 0x86, 0xdd), v4...),
		"cut in a tag":    append(macs[:12:12], 0x81, 0, 0),
		"cut in IPv4":     append(append(macs[:12:12], 8, 0), v4[:19]...),
		"longer than it":  append(append(macs[:12:12], 8, 0), v4[:len(v4)-1]...),
		"no frame at all": nil,
	} {
		was := slices.Clone(frame)
		if got := MergeECN(header.ECNCE, ProtoTEB, frame); got != drop.None || !bytes.Equal(frame, was) {
			t.Errorf("%s: got %v, % x", name, got, frame)
		}
	}
}

// ecnPacket returns an IP packet with a TOS, written anew with its checksum.
func ecnPacket(v6 bool, tos uint8) []byte {
	const body = 9
	if v6 {
		b := make([]byte, header.IPv6Len+body)
		header.IPv6Fields{TrafficClass: tos, PayloadLength: body, NextHeader: 253, HopLimit: 9, Src: addr("fd00::1"), Dst: addr("fd00::2")}.Put(b)
		b[1] |= 0x0a // a flow label
		return b
	}
	b := make([]byte, header.IPv4Len+body)
	header.IPv4Fields{TOS: tos, Length: len(b), ID: 7, TTL: 9, Protocol: 253, Src: addr("10.1.0.1"), Dst: addr("10.1.0.2")}.Put(b)
	return b
}
