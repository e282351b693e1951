package control

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"weft/dataplane"
	"weft/fib"
	"weft/internal/spec"
)

func TestVRFOf(t *testing.T) {
	tests := []struct {
		list, name string
		key        uint32
		ok         bool
	}{
		{"blue=10.32.0.0/24", "", 0, false}, // bridged only
		{"blue=10.32.0.0/24,gateway=10.32.0.1", "blue", 0x164776, true},
		{"blue=10.32.0.0/24,gateway=10.32.0.1,id=7", "blue", 7, true},
		{"blue=10.32.0.0/24,gateway=10.32.0.1,vrf=a,id=7", "a", 0xca9781, true},
		{"blue=10.32.0.0/24,vrf=a", "a", 0xca9781, true},
		{"blue=10.32.0.0/24,vrf=blue", "blue", 0x164776, true}, // the number of the network itself: another protocol type
	}
	for _, tt := range tests {
		name, key, ok := vrfOf(settle(mustNetwork(t, tt.list)))
		if name != tt.name || key != tt.key || ok != tt.ok {
			t.Errorf("%s: got %q %d %v, want %q %d %v", tt.list, name, key, ok, tt.name, tt.key, tt.ok)
		}
	}
}

// Vrfs that could be mistaken for each other are refused, whichever comes first.
func TestVRFClash(t *testing.T) {
	// Two names with one 24-bit hash.
	byID := map[uint32]string{}
	var a, b string
	for i := 0; a == ""; i++ {
		b = "v" + strings.Repeat("x", i/1000%20) + string(rune('a'+i%26)) + string(rune('a'+i/26%26)) + string(rune('a'+i/676%26)) + string(rune('a'+i/17576%26))
		if byID[nameID(b)] != b {
			a = byID[nameID(b)]
		}
		byID[nameID(b)] = b
	}
	tests := []struct {
		name, one, two string
		want           []string // in the error; none: both can stand
	}{
		{"two names, one id", "n1=10.1.0.0/24,vrf=" + a, "n2=10.2.0.0/24,vrf=" + b, []string{a, b, `"n1"`, `"n2"`, "another name"}},
		{"named like a network that has its own", "blue=10.1.0.0/24,gateway=10.1.0.1", "red=10.2.0.0/24,vrf=blue", []string{`"blue"`, `"red"`, "vrf=blue"}},
		{"named like a network that has its own and another id", "blue=10.1.0.0/24,gateway=10.1.0.1,id=7", "red=10.2.0.0/24,vrf=blue", []string{`"blue"`, `"red"`, "vrf=blue"}},
		{"named like a network without vrf", "blue=10.1.0.0/24", "red=10.2.0.0/24,vrf=blue", nil},
		{"named like a network in that vrf", "blue=10.1.0.0/24,vrf=blue,gateway=10.1.0.1", "red=10.2.0.0/24,vrf=blue", nil},
		{"id of a network that is bridged only", "blue=10.1.0.0/24,id=13277057", "red=10.2.0.0/24,vrf=a", nil}, // nameID("a"): Ethernet and IP do not meet
		{"id of a network that has its own vrf", "blue=10.1.0.0/24,id=13277057,gateway=10.1.0.1", "red=10.2.0.0/24,vrf=a", []string{`"blue"`, `"a"`, "13277057"}},
		{"prefix overlaps", "n1=10.1.0.0/16,vrf=v", "n2=10.1.2.0/24,vrf=v", []string{`"n1"`, `"n2"`, "overlaps"}},
		{"one gateway", "n1=10.1.0.0/16,vrf=v,gateway=10.1.2.1", "n2=10.1.2.0/24,vrf=v,gateway=10.1.2.1", []string{`"n1"`, `"n2"`, "gateway 10.1.2.1"}},
		{"one gateway in two vrfs", "n1=10.1.0.0/16,vrf=v,gateway=10.1.2.1", "n2=10.1.2.0/24,vrf=w,gateway=10.1.2.1", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, pair := range [][2]string{{tt.one, tt.two}, {tt.two, tt.one}} {
				c := newRig(t).open("network " + pair[0])
				_, err := c.AddNetwork(mustNetwork(t, pair[1]))
				if tt.want == nil {
					if err != nil {
						t.Error(err)
					}
					continue
				}
				wantError(t, err, tt.want...)
				if len(c.Networks()) != 1 {
					t.Error("the refused network was made")
				}
			}
		})
	}
}

// inSwitch returns what the switch's table of a vrf holds, and false where it
// has no such vrf.
func inSwitch(c *Controller, key uint32) (lines []string, ok bool) {
	table := c.sw.Routes(key)
	if table == nil {
		return nil, false
	}
	names := map[dataplane.DomainID]string{}
	for name, d := range c.domains {
		names[d.id] = name
	}
	for p, hop := range table.All() {
		switch hop.Kind {
		case fib.HopConnected:
			lines = append(lines, p.String()+" "+names[dataplane.DomainID(hop.Domain)])
		case fib.HopAddr:
			lines = append(lines, p.String()+" "+hop.Via.String())
		default:
			lines = append(lines, p.String()+" "+hop.Dest.String())
		}
	}
	return lines, true
}

func wantTable(t *testing.T, c *Controller, vrf string, want ...string) {
	t.Helper()
	if got, ok := inSwitch(c, nameID(vrf)); !ok || !slices.Equal(got, want) {
		t.Errorf("vrf %s: the switch has %q, %v; want %q", vrf, got, ok, want)
	}
}

// What is set of networks is in the switch at once: vrfs, connected prefixes,
// gateways.
func TestVRFsInSwitch(t *testing.T) {
	c := newRig(t).open()
	add := func(list string) {
		t.Helper()
		if _, err := c.AddNetwork(mustNetwork(t, list)); err != nil {
			t.Fatal(err)
		}
	}
	set := func(name string, options ...string) {
		t.Helper()
		ch, err := spec.ChangeFrom(options)
		if err == nil {
			_, err = c.SetNetwork(name, ch, false)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	gone := func(vrf string) {
		t.Helper()
		if _, ok := inSwitch(c, nameID(vrf)); ok {
			t.Errorf("vrf %s is still in the switch", vrf)
		}
	}
	add("plain=10.1.0.0/24")
	gone("plain")
	if cfg := c.domains["plain"].cfg; cfg.VRF != 0 || len(cfg.Gateways) != 0 {
		t.Errorf("a network without gateway: got %+v", cfg)
	}
	set("plain", "gateway=10.1.0.1")
	wantTable(t, c, "plain", "10.1.0.0/24 plain")
	if cfg := c.domains["plain"].cfg; cfg.VRF != nameID("plain") || !slices.Equal(cfg.Gateways, []netip.Addr{netip.MustParseAddr("10.1.0.1")}) {
		t.Errorf("got %+v", cfg)
	}
	add("blue=10.2.0.0/24,fd02::/64,gateway=10.2.0.1,vrf=v")
	wantTable(t, c, "v", "10.2.0.0/24 blue") // no IPv6 gateway: IPv6 is bridged only
	add("red=10.3.0.0/24,fd03::/64,gateway=10.3.0.1,gateway=fd03::1,vrf=v")
	wantTable(t, c, "v", "10.2.0.0/24 blue", "10.3.0.0/24 red", "fd03::/64 red")
	set("blue", "gateway=10.2.0.254", "gateway=fd02::1")
	wantTable(t, c, "v", "10.2.0.0/24 blue", "10.3.0.0/24 red", "fd02::/64 blue", "fd03::/64 red")
	if got := c.domains["blue"].cfg.Gateways[0].String(); got != "10.2.0.254" {
		t.Errorf("the switch has gateway %s", got)
	}
	set("red", "vrf=w")
	wantTable(t, c, "v", "10.2.0.0/24 blue", "fd02::/64 blue")
	wantTable(t, c, "w", "10.3.0.0/24 red", "fd03::/64 red")
	set("red", "gateway=none")
	wantTable(t, c, "w")
	set("red", "vrf=none")
	gone("w")
	set("plain", "gateway=none")
	gone("plain")
	if err := c.RemoveNetwork("blue", false); err != nil {
		t.Fatal(err)
	}
	gone("v")
	if len(c.tables) != 0 {
		t.Errorf("left: %v", c.tables)
	}
}
