package rawdev

import (
	"testing"

	"golang.org/x/net/bpf"

	"weft/internal/header"
)

// The x/net virtual machine knows no extensions; what depends on them (frames
// for the host, tags beside the frame) is tested with the kernel in tap.
func TestPacketFilterStations(t *testing.T) {
	const own, own2, other = header.MAC(0x02_42_0a_00_00_05), header.MAC(0x02_00_00_00_00_09), header.MAC(0x52_54_0a_00_00_05)
	const group = header.MAC(0x01_00_5e_00_00_fb)
	var many []header.MAC
	for i := range MaxOwn - 1 {
		many = append(many, 0x02_99_00_00_00_00+header.MAC(i))
	}
	tests := []struct {
		name     string
		own      []header.MAC
		dst, src header.MAC
		pass     bool
	}{
		{"for an own station", []header.MAC{own2, own}, own, other, true},
		{"for another with the same lower half", []header.MAC{own2, own}, other, own, false},
		{"same lower half before", []header.MAC{other, own}, own, 1, true},
		{"broadcast of another", []header.MAC{own2, own}, header.Broadcast, other, true},
		{"broadcast of an own one", []header.MAC{own2, own}, header.Broadcast, own, false},
		{"multicast of an own one", []header.MAC{own}, group, own, false},
		{"multicast of another", []header.MAC{own}, group, other, true},
		{"no stations, unicast", nil, own, other, false},
		{"no stations, broadcast", nil, header.Broadcast, other, true},
		{"last of many", append(many, own), own, other, true},
		{"none of many", append(many, own), other, own, false},
		{"broadcast of the last of many", append(many, own), header.Broadcast, own, false},
	}
	for _, tt := range tests {
		raw, err := PacketFilter{Own: tt.own}.Assemble()
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		program, ok := bpf.Disassemble(raw[3:]) // behind the question whether it is for the host
		if !ok {
			t.Fatalf("%s: cannot be disassembled", tt.name)
		}
		vm, err := bpf.NewVM(program)
		if err != nil {
			t.Fatal(err)
		}
		frame := make([]byte, 60)
		header.PutEthernet(frame, tt.dst, tt.src, header.TypeIPv4)
		n, err := vm.Run(frame)
		if (n > 0) != tt.pass || err != nil {
			t.Errorf("%s: %d, %v; want passed: %t", tt.name, n, err, tt.pass)
		}
	}
	if _, err := (PacketFilter{Own: append(many, own, own2)}).Assemble(); err == nil {
		t.Errorf("a filter of %d stations was assembled", MaxOwn+1)
	}
}
