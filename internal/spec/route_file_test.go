package spec

import (
	"fmt"
	"strings"
	"testing"
)

func TestReadRoutes(t *testing.T) {
	common := Route{Via: "host2", VRF: "net"}
	tests := []struct{ text, want string }{ // want: the routes, or the error
		{"", "[]"},
		{"\n  # nothing\n\r\n", "[]"},
		{"10.9.0.0/16", "[10.9.0.0/16=host2,vrf=net]"},
		{"10.9.0.0/16\r\nfd00::/64 via host3\r\n", "[10.9.0.0/16=host2,vrf=net fd00::/64=host3,vrf=net]"},
		{"\t10.9.0.0/16\tvrf red  via FD00::1 # so", "[10.9.0.0/16=fd00::1,vrf=red]"},
		{"10.9.0.0/16\n\n10.9.0.1/16", `line 3: route "10.9.0.1/16": 10.9.0.1/16 is an address, not a prefix; maybe you meant 10.9.0.0/16`},
		{"10.9.0.0", `line 1: route "10.9.0.0": the prefix length is missing; maybe you meant 10.9.0.0/24`},
		{"10.9.0.0/16 host2", `line 1: route "10.9.0.0/16": "host2" is neither via nor vrf; want PREFIX via PEER|ADDR [vrf NAME]`},
		{"10.9.0.0/16 via", `line 1: route "10.9.0.0/16": via wants a value`},
		{"10.9.0.0/16 via a via b", `line 1: route "10.9.0.0/16": option "via" is given twice`},
		{"10.9.0.0/16 via Ä", `line 1: route "10.9.0.0/16": next hop "Ä" is neither an address nor a peer's name: 'Ä' cannot stand in a name; use a-z, 0-9, '-', '_' and '.'`},
		{"10.9.0.0/16 via 0.0.0.0", `line 1: route "10.9.0.0/16": next hop: 0.0.0.0 is not the address of one host: name one of its own, as in 192.168.18.17`},
		{"224.0.0.0/8", `line 1: route "224.0.0.0/8": nothing is routed to 224.0.0.0/8: 224.0.0.0/4 is multicast`},
		{"\n" + strings.Repeat("x", 2000), "line 2: it is longer than 1024 bytes"},
	}
	for _, tt := range tests {
		list, err := ReadRoutes(strings.NewReader(tt.text), common)
		got := fmt.Sprint(list)
		if err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%q\n got %s\nwant %s", tt.text, got, tt.want)
		}
	}
	if _, err := ReadRoutes(strings.NewReader("10.9.0.0/16"), Route{}); err == nil || !strings.Contains(err.Error(), "next hop is missing") {
		t.Errorf("without a next hop: %v", err)
	}
}

// FuzzReadRoutes: whatever is read is valid, and reads the same again.
func FuzzReadRoutes(f *testing.F) {
	f.Add("10.9.0.0/16 via host2\nfd00::/64 via fd00::1 vrf red # x\n")
	f.Fuzz(func(t *testing.T, text string) {
		list, err := ReadRoutes(strings.NewReader(text), Route{})
		if err != nil {
			return
		}
		again := ""
		for i := range list {
			if err := list[i].Validate(); err != nil {
				t.Errorf("read %v, which is not valid: %v", list[i], err)
			}
			again += fmt.Sprintf("%s via %s", list[i].Prefix, list[i].Via)
			if list[i].VRF != "" {
				again += " vrf " + list[i].VRF
			}
			again += "\n"
		}
		if second, err := ReadRoutes(strings.NewReader(again), Route{}); err != nil || len(second) != len(list) {
			t.Errorf("%q: %v", again, err)
		}
	})
}
