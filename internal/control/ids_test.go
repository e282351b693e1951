package control

import (
	"fmt"
	"net/netip"
	"testing"

	"weft/internal/header"
)

// What is derived from names must be the same on every host and for ever. When
// one of these fails, the code is wrong, not the table.
func TestNameIDGolden(t *testing.T) {
	tests := []struct {
		name string
		want uint32
	}{ // first three octets of `printf NAME | sha256sum`
		{"blue", 0x164776},
		{"web", 0x4b5e57},
		{"a", 0xca9781},
		{"prod-net_1.eu", 0x182f47},
	}
	for _, tt := range tests {
		if got := nameID(tt.name); got != tt.want {
			t.Errorf("%s: got %#x, want %#x", tt.name, got, tt.want)
		}
	}
}

func TestDefaultMACGolden(t *testing.T) {
	v4, v6 := netip.MustParseAddr("10.32.0.5"), netip.MustParseAddr("fd00::5")
	tests := []struct {
		id           uint32
		addr         netip.Addr
		host, target string
		want         string
	}{ // 02 and the first five octets of the SHA-256 of id, high octet first, and address
		{0x4b5e57, v4, "h1", "netns:a", "02:61:fb:88:fe:e5"},
		{0x4b5e57, v4, "h2", "netns:b", "02:61:fb:88:fe:e5"}, // where it runs does not matter
		{0x4b5e58, v4, "h1", "netns:a", "02:f2:60:d5:3c:8c"},
		{0x4b5e57, v6, "h1", "netns:a", "02:20:4c:a6:f0:de"},
		{0x4b5e57, netip.Addr{}, "h1", "netns:a", "02:93:bd:20:5c:bd"},
		{0x4b5e57, netip.Addr{}, "h2", "netns:a", "02:6c:d0:e7:83:32"},
	}
	for _, tt := range tests {
		if got := defaultMAC(tt.id, tt.addr, tt.host, tt.target).String(); got != tt.want {
			t.Errorf("%#x %s %s %s: got %s, want %s", tt.id, tt.addr, tt.host, tt.target, got, tt.want)
		}
	}
}

func TestDefaultMACIsAStation(t *testing.T) {
	a := netip.MustParseAddr("10.0.0.0")
	seen := map[header.MAC]bool{}
	for range 5000 {
		a = a.Next()
		m := defaultMAC(7, a, "", "")
		if m>>40 != 0x02 || m>>32&0xff == gatewayOctet || seen[m] {
			t.Fatalf("%s: got %s", a, m)
		}
		seen[m] = true
	}
}

func TestHostMACGolden(t *testing.T) {
	tests := []struct{ host, want string }{ // 02 and the first five octets of `printf HOST | sha256sum`
		{"host1", "02:c0:36:5b:5a:38"},
		{"h1739", "02:58:73:de:a1:a4"}, // a hash that starts with 57
	}
	for _, tt := range tests {
		if got := hostMAC(tt.host).String(); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.host, got, tt.want)
		}
	}
	for i := range 5000 {
		if m := hostMAC(fmt.Sprint("host", i)); m>>40 != 0x02 || m>>32&0xff == gatewayOctet {
			t.Fatalf("got %s", m)
		}
	}
}

func TestGatewayMACGolden(t *testing.T) {
	if got, want := gatewayMAC(0x01020304).String(), "02:57:01:02:03:04"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
