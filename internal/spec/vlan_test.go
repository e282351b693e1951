package spec

import (
	"slices"
	"testing"
)

func TestParseTrunk(t *testing.T) {
	tests := []struct {
		in, print string
		vids      []uint16
		err       string
	}{
		{in: "10", print: "10", vids: []uint16{10}},
		{in: "20-22,10", print: "10,20-22", vids: []uint16{10, 20, 21, 22}},
		{in: "3,1,2", print: "1-3", vids: []uint16{1, 2, 3}},
		{in: "7-7", print: "7", vids: []uint16{7}},
		{in: "4094", print: "4094", vids: []uint16{4094}},
		{in: "", err: "trunk names no VLAN: want a list, as in 10,20-30"},
		{in: "10,", err: `trunk "10,": vlan "" is not a number from 1 to 4094`},
		{in: "10-", err: `trunk "10-": vlan "" is not a number from 1 to 4094`},
		{in: "-10", err: `trunk "-10": vlan "" is not a number from 1 to 4094`},
		{in: "0", err: `trunk "0": vlan 0 is out of range; it goes from 1 to 4094`},
		{in: "4090-4095", err: `trunk "4090-4095": vlan 4095 is out of range; it goes from 1 to 4094`},
		{in: "30-20", err: `trunk "30-20": range 30-20 runs backwards; maybe you meant 20-30`},
		{in: "10,5-20", err: `trunk "10,5-20": VLAN 10 stands in it twice`},
		{in: "a", err: `trunk "a": vlan "a" is not a number from 1 to 4094`},
		{in: "1-2-3", err: `trunk "1-2-3": vlan "2-3" is not a number from 1 to 4094`},
		{in: "10 20", err: `trunk "10 20": vlan "10 20" is not a number from 1 to 4094`},
	}
	for _, tt := range tests {
		got, err := ParseTrunk(tt.in)
		if tt.err != "" {
			wantError(t, tt.in, err, tt.err)
			continue
		}
		if err != nil || string(got) != tt.print || !slices.Equal(got.VLANs(), tt.vids) {
			t.Errorf("ParseTrunk(%q) = %q, %v, %v; want %q, %v", tt.in, got, got.VLANs(), err, tt.print, tt.vids)
		}
	}
	if got, err := ParseTrunk("1-4094"); err != nil || got != "1-4094" || len(got.VLANs()) != 4094 {
		t.Errorf("1-4094: %q, %v", got, err)
	}
}

// FuzzParseTrunk: what is read prints as it is read again, each VLAN once and in order.
func FuzzParseTrunk(f *testing.F) {
	for _, s := range []string{"10", "10,20-30", "1-4094", "30-20", "4095", ",", "1,1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		list, err := ParseTrunk(s)
		if err != nil {
			return
		}
		vids := list.VLANs()
		if len(vids) == 0 || !slices.IsSorted(vids) || len(slices.Compact(slices.Clone(vids))) != len(vids) || vids[0] < VLANMin || vids[len(vids)-1] > VLANMax {
			t.Errorf("%q: %v", s, vids)
		}
		if again, err := ParseTrunk(string(list)); err != nil || again != list {
			t.Errorf("%q prints %q, which reads as %q, %v", s, list, again, err)
		}
	})
}
