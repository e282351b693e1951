package encap

import (
	"testing"

	"weft/internal/header"
)

// flowFrame returns a TCP segment or UDP datagram in a frame.
func flowFrame(v6 bool, proto uint8, src, dst string, ports uint32) []byte {
	const body = 20
	l4 := []byte{byte(ports >> 24), byte(ports >> 16), byte(ports >> 8), byte(ports)}
	if v6 {
		b := make([]byte, header.EthernetLen+header.IPv6Len+body)
		header.PutEthernet(b, 2, 4, header.TypeIPv6)
		header.IPv6Fields{PayloadLength: body, NextHeader: proto, HopLimit: 9, Src: addr(src), Dst: addr(dst)}.Put(b[header.EthernetLen:])
		copy(b[header.EthernetLen+header.IPv6Len:], l4)
		return b
	}
	b := make([]byte, header.EthernetLen+header.IPv4Len+body)
	header.PutEthernet(b, 2, 4, header.TypeIPv4)
	header.IPv4Fields{Length: header.IPv4Len + body, TTL: 9, Protocol: proto, Src: addr(src), Dst: addr(dst)}.Put(b[header.EthernetLen:])
	copy(b[header.EthernetLen+header.IPv4Len:], l4)
	return b
}

// TestFlowLabel: packets of one flow share a label, those of others do not.
func TestFlowLabel(t *testing.T) {
	const seed = 12345
	frames := map[string][]byte{
		"TCP":                  flowFrame(false, 6, "10.1.0.1", "10.1.0.2", 0x04d2_0050),
		"TCP, other port":      flowFrame(false, 6, "10.1.0.1", "10.1.0.2", 0x04d3_0050),
		"TCP, other address":   flowFrame(false, 6, "10.1.0.1", "10.1.0.3", 0x04d2_0050),
		"UDP":                  flowFrame(false, 17, "10.1.0.1", "10.1.0.2", 0x04d2_0050),
		"TCP, IPv6":            flowFrame(true, 6, "fd00::1", "fd00::2", 0x04d2_0050),
		"TCP, IPv6, other":     flowFrame(true, 6, "fd00::1", "fd00::2", 0x04d2_0051),
		"TCP, IPv6, other /64": flowFrame(true, 6, "fd00:1::1", "fd00::2", 0x04d2_0050),
		"no IP":                {0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 4, 0x88, 0xb5, 1, 2, 3},
		"no IP, other address": {0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 6, 0x88, 0xb5, 1, 2, 3},
		"no frame":             {1, 2, 3},
	}
	seen := map[uint32]string{}
	for name, f := range frames {
		label := flowLabel(seed, f)
		if label == 0 || label > 0xfffff {
			t.Errorf("%s: label %#x", name, label)
		}
		if other, ok := seen[label]; ok {
			t.Errorf("%s and %s have the same label", name, other)
		}
		seen[label] = name
		if flowLabel(seed+1, f) == label {
			t.Errorf("%s: the seed does not matter", name)
		}
		if len(f) > 40 { // the rest of the packet belongs to no flow
			f[len(f)-1]++
			if flowLabel(seed, f) != label {
				t.Errorf("%s: the payload matters", name)
			}
		}
	}
	// A later fragment has no ports, so that the first one must not have any either.
	first, later := flowFrame(false, 17, "10.1.0.1", "10.1.0.2", 1), flowFrame(false, 17, "10.1.0.1", "10.1.0.2", 99)
	first[header.EthernetLen+6], later[header.EthernetLen+7] = 0x20, 1
	if flowLabel(seed, first) != flowLabel(seed, later) {
		t.Error("fragments of one packet have two labels")
	}
}

// TestFlowLabelSpread: flows that differ in one port use all the bits.
func TestFlowLabelSpread(t *testing.T) {
	const flows, buckets = 4096, 16
	for _, shift := range []int{0, 8, 16} {
		var count [buckets]int
		for i := range uint32(flows) {
			count[flowLabel(7, flowFrame(true, 6, "fd00::1", "fd00::2", i))>>shift%buckets]++
		}
		for b, n := range count {
			if n < flows/buckets/2 || n > flows/buckets*2 {
				t.Errorf("bits from %d: %d of %d flows have the value %d", shift, n, flows, b)
			}
		}
	}
}
