package tap

import (
	"net/netip"
	"strings"
	"testing"

	"weft/internal/header"
)

func TestConfigCheck(t *testing.T) {
	gw := func(s ...string) (list []netip.Addr) {
		for _, a := range s {
			list = append(list, netip.MustParseAddr(a))
		}
		return list
	}
	with := func(change func(*Config)) Config {
		cfg := testConfig("10.1.1.2/24", "fd00:1::2/64")
		change(&cfg)
		return cfg
	}
	tests := []struct {
		name string
		cfg  Config
		says string // empty: taken
	}{
		{"plain", with(func(*Config) {}), ""},
		{"no address", testConfig(), ""},
		{"longest name", with(func(c *Config) { c.IfName = "abcdefghijklmno" }), ""},
		{"gateways", with(func(c *Config) { c.Gateways = gw("10.1.1.1", "fd00:1::1") }), ""},
		{"link-local gateway", with(func(c *Config) { c.Gateways = gw("fe80::1") }), ""},
		{"largest MTU", with(func(c *Config) { c.MTU = 65521 }), ""},
		{"smallest MTU", Config{IfName: "e", MAC: testMAC, MTU: 68}, ""},

		{"no name", with(func(c *Config) { c.IfName = "" }), "-i NAME"},
		{"long name", with(func(c *Config) { c.IfName = "abcdefghijklmnop" }), "abcdefghijklmnop has 16 bytes"},
		{"slash", with(func(c *Config) { c.IfName = "a/b" }), `"a/b"`},
		{"dot dot", with(func(c *Config) { c.IfName = ".." }), `".."`},
		{"space", with(func(c *Config) { c.IfName = "a b" }), `"a b"`},
		{"percent", with(func(c *Config) { c.IfName = "eth%d" }), `"eth%d"`},
		{"sysctl's all", with(func(c *Config) { c.IfName = "all" }), `"all"`},
		{"no MAC", with(func(c *Config) { c.MAC = 0 }), "MAC"},
		{"multicast MAC", with(func(c *Config) { c.MAC = 0x0100_5e00_0001 }), "01:00:5e:00:00:01"},
		{"49-bit MAC", with(func(c *Config) { c.MAC = header.Broadcast + 3 }), "MAC"},
		{"MTU 67", with(func(c *Config) { c.MTU = 67 }), "MTU 67"},
		{"MTU 65522", with(func(c *Config) { c.MTU = 65522 }), "MTU 65522"},
		{"MTU 1279 with IPv6", with(func(c *Config) { c.MTU = 1279 }), "IPv6"},
		{"zero address", with(func(c *Config) { c.Addrs = append(c.Addrs, netip.Prefix{}) }), "not one that"},
		{"multicast address", with(func(c *Config) { c.Addrs = append(c.Addrs, netip.MustParsePrefix("224.0.0.1/4")) }), "224.0.0.1/4"},
		{"address twice", with(func(c *Config) { c.Addrs = append(c.Addrs, netip.MustParsePrefix("10.1.1.2/16")) }), "twice"},
		{"gateway outside", with(func(c *Config) { c.Gateways = gw("10.1.2.1") }), "gateway 10.1.2.1"},
		{"gateway is itself", with(func(c *Config) { c.Gateways = gw("10.1.1.2") }), "gateway 10.1.1.2"},
		{"gateway of the other family", Config{IfName: "e", MAC: testMAC, MTU: 1450, Addrs: testConfig("10.1.1.2/24").Addrs, Gateways: gw("fd00:1::1")}, "gateway fd00:1::1"},
		{"two gateways", with(func(c *Config) { c.Gateways = gw("10.1.1.1", "10.1.1.3") }), "at most one"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.cfg.check()
			if (err == nil) != (tt.says == "") {
				t.Fatalf("check() = %v, want an error: %t", err, tt.says != "")
			}
			if err != nil && !strings.Contains(err.Error(), tt.says) {
				t.Errorf("check() = %v, want it to say %q", err, tt.says)
			}
		})
	}
}
