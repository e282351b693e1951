package spec

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestParseUplink(t *testing.T) {
	for in, want := range map[string]Uplink{
		"lan=eth0":                 {Network: "lan", Device: "eth0"},
		"lan=eth0,vlan=4094":       {Network: "lan", Device: "eth0", VLAN: 4094},
		"lan=en0.7,vlan=1,transit": {Network: "lan", Device: "en0.7", VLAN: 1, Transit: true},
	} {
		got, err := ParseUplink(in)
		if err != nil || got != want || got.String() != in {
			t.Errorf("%s: %+v, %v; printed %s", in, got, err, got)
		}
		b, _ := json.Marshal(got)
		var back Uplink
		if err := json.Unmarshal(b, &back); err != nil || back != got {
			t.Errorf("JSON %s gives %+v, %v", b, back, err)
		}
	}
	for in, want := range map[string]string{
		"":                         "want NETWORK=DEVICE",
		"lan":                      "want NETWORK=DEVICE",
		"lan=":                     "interface name is empty",
		"la n=eth0":                "network",
		"lan=eth0,vlan=0":          "vlan",
		"lan=eth0,vlan=4095":       "vlan",
		"lan=eth0,vlan":            "vlan",
		"lan=eth0,vlan=3,vlan=3":   "vlan",
		"lan=eth0,bond":            "bond",
		"lan=eth0,transit=maybe":   "transit",
		"lan=averylongdevicename0": "15",
	} {
		if got, err := ParseUplink(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %+v, %v; want an error with %q", in, got, err, want)
		}
	}
}

func TestConfigUplinks(t *testing.T) {
	c, err := ParseConfig("f", []byte("uplinks:\n- {network: lan, device: eth0, vlan: 5}\n- network: red\n  device: eth0\n  vlan: 6\n  transit: true\n"))
	if err != nil || len(c.Uplinks) != 2 || c.Uplinks[1].String() != "red=eth0,vlan=6,transit" || c.Uplinks[1].Line != 3 {
		t.Fatalf("%+v, %v", c, err)
	}
	b, err := c.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if back, err := ParseConfig("f", b); err != nil || len(back.Uplinks) != 2 || back.Uplinks[0].String() != c.Uplinks[0].String() {
		t.Errorf("%s\ngives %+v, %v", b, back, err)
	}
	flags := Config{Uplinks: []Uplink{{Network: "lan", Device: "eth0", VLAN: 9}}}
	if sum, err := flags.Over(c); err != nil || len(sum.Uplinks) != 2 || sum.Uplinks[0].VLAN != 9 {
		t.Errorf("flags over file: %+v, %v", sum.Uplinks, err)
	}
	for file, want := range map[string]string{
		"uplinks:\n- {network: lan}\n": "2: uplink \"\"",
		"uplinks:\n- {device: eth0}\n": "it names no network",
		"uplinks:\n- {network: lan, device: eth0}\n- {network: lan, device: eth0, vlan: 3}\n": "3: ",
		"uplinks:\n- {network: lan, device: eth0}\n- {network: red, device: eth0}\n":          "takes all of it",
		"uplinks:\n- {network: lan, device: eth0, vlan: 5000}\n":                              "vlan",
	} {
		if got, err := ParseConfig("f", []byte(file)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %+v, %v; want an error with %q", file, got.Uplinks, err, want)
		}
	}
}
