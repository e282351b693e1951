package header

import "testing"

func TestMAC(t *testing.T) {
	tests := []struct {
		text                 string
		mac                  MAC
		multicast, linkLocal bool
	}{
		{"02:00:00:00:00:0a", 0x0200_0000_000a, false, false},
		{"ff:ff:ff:ff:ff:ff", Broadcast, true, false},
		{"01:80:c2:00:00:00", 0x0180_c200_0000, true, true},
		{"01:80:c2:00:00:0f", 0x0180_c200_000f, true, true},
		{"01:80:c2:00:00:10", 0x0180_c200_0010, true, false},
		{"00:00:00:00:00:00", 0, false, false},
	}
	for _, tt := range tests {
		t.Run(tt.text, func(t *testing.T) {
			got, err := ParseMAC(tt.text)
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "ParseMAC", got, tt.mac)
			equal(t, "String", got.String(), tt.text)
			equal(t, "MACFrom", MACFrom(got.HardwareAddr()), tt.mac)
			equal(t, "IsMulticast", got.IsMulticast(), tt.multicast)
			equal(t, "IsLinkLocal", got.IsLinkLocal(), tt.linkLocal)
		})
	}
	for _, bad := range []string{"", "02:00:00:00:00", "02:00:00:00:00:00:00:01", "host"} {
		var m MAC
		if err := m.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}
