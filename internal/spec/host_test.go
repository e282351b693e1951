package spec

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

const aHost = `networks:
  - name: blue
    prefixes: [10.1.0.0/24, 'fd00:1::/64']
peers:
  - name: h2
    address: 192.0.2.2
routes: []
uplinks: []
attachments:
  - network: blue
    target: netns:/run/netns/a
    addresses: [10.1.0.5/24@10.1.0.9, 'fd00:1::5/64']
    mac: "02:00:00:00:00:05"
    ifname: eth0
    mtu: 1300
    allow-spoof: true
    vlan: 9
    trunk: 10,20-30
    mac-limit: 16
    storm: 0
  - network: blue
    target: pid:4711
fdb:
  - network: blue
    mac: 02:00:00:00:00:77
    to: peer:h2
  - network: blue
    vlan: 10
    mac: 02:00:00:00:00:77
    to: host
`

func TestParseHost(t *testing.T) {
	c, err := ParseHost("f", []byte(aHost))
	if err != nil {
		t.Fatal(err)
	}
	a := c.Attachments[0]
	if len(c.Attachments) != 2 || a.Line != 10 || a.Addresses[0].String() != "10.1.0.5/24@10.1.0.9" || a.IfName != "eth0" || a.MTU != 1300 || !a.AllowSpoof || *a.MACLimit != 16 || *a.Storm != 0 || c.Attachments[1].MACLimit != nil ||
		c.Attachments[1].Target != "pid:4711" || a.VLAN != 9 || a.Trunk != "10,20-30" || len(c.FDB) != 2 || c.FDB[0].To != "peer:h2" || c.FDB[0].Line != 24 || c.FDB[1].VLAN != 10 {
		t.Errorf("got %+v", c)
	}
	out, err := c.MarshalHost()
	if err != nil || string(out) != aHost {
		t.Errorf("got\n%s, %v\nwant\n%s", out, err, aHost)
	}
	if out, err := (Config{}).MarshalHost(); err != nil || string(out) != "networks: []\npeers: []\nroutes: []\nuplinks: []\nattachments: []\nfdb: []\n" {
		t.Errorf("nothing prints %q, %v", out, err)
	}
}

// The routes may be left as they are.
func TestKeepRoutes(t *testing.T) {
	text := strings.Replace(aHost, "routes: []", "routes: keep", 1)
	c, err := ParseHost("f", []byte(text))
	if err != nil || !c.KeepRoutes {
		t.Fatalf("got %+v, %v", c, err)
	}
	if out, err := c.MarshalHost(); err != nil || string(out) != text {
		t.Errorf("got\n%s, %v\nwant\n%s", out, err, text)
	}
	for _, word := range []string{"kept", "[keep]", "{keep: true}"} {
		if _, err := ParseHost("f", []byte("routes: "+word+"\n")); err == nil {
			t.Errorf("routes: %s is taken", word)
		}
	}
	_, err = ParseConfig("f", []byte("routes: keep\n"))
	wantError(t, "weft run", err, "read config: f:1: want a list here, each item behind a '-'")
}

// Whatever is printed is taken back; what would not be says what to do.
func TestHostSize(t *testing.T) {
	var c Config
	for n := 0; ; n += 500 {
		for i := range 500 {
			c.Routes = append(c.Routes, Route{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{11, byte((n + i) >> 8), byte(n + i), 0}), 24), Via: "h2"})
		}
		text, err := c.MarshalHost()
		if err != nil {
			if want := "with weft export --routes FILE"; n < 20_000 || !strings.HasSuffix(err.Error(), want) {
				t.Errorf("%d routes: %v, want %q", len(c.Routes), err, want)
			}
			return
		}
		if n%5000 == 0 {
			if _, err := ParseHost("f", text); err != nil {
				t.Errorf("%d routes: %v", len(c.Routes), err)
			}
		}
	}
}

func TestParseHostRefused(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"", "f:1: it describes nothing: networks: [] stands for a host without any"},
		{"networks:\n", "f:1: it describes nothing: networks: [] stands for a host without any"},
		{"networks: []\nname: h1\n", "f:2: name is given to weft run, and cannot be applied: take it out"},
		{"accel: off\n", "f:1: accel is given to weft run, and cannot be applied: take it out"},
		{"ports: []\n", `f:1: field "ports" is not known; the fields are networks, peers, routes, uplinks, attachments, fdb`},
		{"attachments: [{network: blue}]\n", `f:1: attachment of "": target "": want netns:NAME, netns:/path, pid:N or the name of a Docker container`},
		{"attachments:\n- {target: pid:1, network: blue}\n- {target: pid:1, network: blue}\n", `f:3: attachment of "pid:1": it is attached to network "blue" on line 2 already`},
		{"attachments:\n- target: pid:1\n  vlans: 7\n", `f:3: attachment of "pid:1": field "vlans" is not known; the fields are network, target, addresses, mac, ifname, mtu, allow-spoof, isolated, vlan, trunk, mac-limit, storm`},
		{"attachments:\n- target: pid:1\n  network: blue\n  vlan: 4095\n", `f:4: attachment of "pid:1": vlan 4095 is out of range; it goes from 1 to 4094`},
		{"attachments:\n- target: pid:1\n  network: blue\n  trunk: 30-20\n", `f:4: attachment of "pid:1": trunk "30-20": range 30-20 runs backwards; maybe you meant 20-30`},
		{"attachments:\n- target: pid:1\n  network: blue\n  trunk: 1-4094\n  vlan: 7\n", `f:2: attachment of "pid:1": vlan 7 stands in trunk 1-4094 too: --vlan names the one that the container has untagged, the trunk those that it has tagged`},
		{"attachments:\n- target: pid:1\n  network: blue\n  addresses: [10.1.0.5]\n", `f:4: attachment of "pid:1": address "10.1.0.5": the prefix length is missing; maybe you meant 10.1.0.5/24`},
		{"attachments:\n- target: pid:1\n  network: blue\n  mac-limit: 5\n", `f:2: attachment of "pid:1": mac-limit is for ports with allow-spoof: any other sends from its own MAC alone`},
		{"attachments:\n- target: pid:1\n  network: blue\n  storm: -1\n", `f:4: attachment of "pid:1": storm -1 is out of range; it goes from 0 to 100000000`},
		{"fdb: [{network: a, mac: 02:00:00:00:00:01}]\n", `f:1: entry of "02:00:00:00:00:01": want network, mac, to, all of them`},
		{"fdb: [{network: a, mac: 02:00:00:00:00:01, to: x:y}]\n", `f:1: entry of "02:00:00:00:00:01": target "x:y": scheme "x" is not known; want netns:NAME, netns:/path, pid:N or docker:NAME`},
	} {
		_, err := ParseHost("f", []byte(tt.in))
		wantError(t, tt.in, err, tt.want)
	}
	if _, err := ParseHost("f", make([]byte, ConfigMax+1)); err == nil || !strings.HasPrefix(err.Error(), "f:1: it has more than") {
		t.Errorf("a huge file: %v", err)
	}
	_, err := ParseConfig("f", []byte("networks: []\nattachments: []\n"))
	wantError(t, "weft run", err, "read config: f:2: attachments is for weft apply: take it out, a switch starts with the containers that it had")
}

func FuzzParseHost(f *testing.F) {
	f.Add([]byte(aHost))
	f.Add([]byte("attachments: &a [*a]"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ParseHost("f", b)
		if err != nil {
			oneLine(t, err)
			return
		}
		out, err := c.MarshalHost()
		if err != nil {
			t.Fatal(err)
		}
		back, err := ParseHost("printed", out)
		again, merr := back.MarshalHost()
		if err != nil || merr != nil || !reflect.DeepEqual(again, out) {
			t.Fatalf("%q prints\n%s which gives %v, %v and\n%s", b, out, err, merr, again)
		}
	})
}
