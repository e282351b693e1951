package header

import (
	"testing"

	"github.com/google/gopacket/layers"
)

func TestEthernet(t *testing.T) {
	frame := serialize(t, ethernet(layers.EthernetTypeARP))
	e, ok := ParseEthernet(frame)
	equal(t, "ok", ok, true)
	equal(t, "Src", e.Src(), macA)
	equal(t, "Dst", e.Dst(), macB)
	equal(t, "Type", e.Type(), TypeARP)
	if _, ok := ParseEthernet(frame[:13]); ok {
		t.Error("13 bytes parse as a frame")
	}
	built := make([]byte, EthernetLen)
	PutEthernet(built, macB, macA, TypeARP)
	equal(t, "PutEthernet", string(built), string(frame[:EthernetLen]))
}

func TestEthernetL3(t *testing.T) {
	const addrs = "\x02\x00\x00\x00\x00\x0b\x02\x00\x00\x00\x00\x0a"
	tests := []struct {
		name  string
		frame string
		typ   uint16
		off   int
	}{
		{"untagged", addrs + "\x08\x00", TypeIPv4, 14},
		{"802.3 length", addrs + "\x00\x26", 0x26, 14},
		{"one tag", addrs + "\x81\x00\x00\x64\x86\xdd", TypeIPv6, 18},
		{"service tag", addrs + "\x88\xa8\x00\x64\x08\x06", TypeARP, 18},
		{"two tags", addrs + "\x88\xa8\x00\x64\x81\x00\x00\x0a\x08\x00", TypeIPv4, 22},
		{"three tags", addrs + "\x88\xa8\x00\x64\x81\x00\x00\x0a\x81\x00\x00\x01\x08\x00", TypeVLAN, 22},
		{"cut in the tag", addrs + "\x81\x00\x00\x64\x08", TypeVLAN, 14},
		{"cut in the second tag", addrs + "\x81\x00\x00\x64\x81\x00\x00", TypeVLAN, 18},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			typ, off := Ethernet(tt.frame).L3()
			equal(t, "type", typ, tt.typ)
			equal(t, "offset", off, tt.off)
		})
	}
}
