package spec

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

// A file with every field and every spelling must print as the golden file,
// and that must parse to the same configuration.
func TestConfigGolden(t *testing.T) {
	c, err := LoadConfig("testdata/config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("testdata/config.golden.yaml", got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/config.golden.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	back, err := ParseConfig("golden", got)
	if err != nil || !reflect.DeepEqual(placeless(back), placeless(c)) {
		t.Errorf("got %+v, %v\nwant %+v", back, err, c)
	}
}

// The file and the flags are one schema.
func TestConfigIsOptionLists(t *testing.T) {
	c, err := LoadConfig("testdata/config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	c = placeless(c)
	for _, n := range c.Networks {
		if got, err := ParseNetwork(n.String()); err != nil || !reflect.DeepEqual(got, n) {
			t.Errorf("got %+v, %v\nwant %+v", got, err, n)
		}
	}
	for _, r := range c.Routes {
		if got, err := ParseRoute(r.String()); err != nil || got != r {
			t.Errorf("got %+v, %v\nwant %+v", got, err, r)
		}
	}
	for _, p := range c.Peers {
		if got, err := ParsePeer(p.String()); err != nil || !reflect.DeepEqual(got, p) {
			t.Errorf("got %+v, %v\nwant %+v", got, err, p)
		}
	}
}

// placeless returns c without the places that its objects have in a file.
func placeless(c Config) Config {
	c.File, c.Networks, c.Peers, c.Routes = "", slices.Clone(c.Networks), slices.Clone(c.Peers), slices.Clone(c.Routes)
	for i := range c.Networks {
		c.Networks[i].Line = 0
	}
	for i := range c.Peers {
		c.Peers[i].Line = 0
	}
	for i := range c.Routes {
		c.Routes[i].Line = 0
	}
	c.Exposed, c.Published = slices.Clone(c.Exposed), slices.Clone(c.Published)
	for i := range c.Exposed {
		c.Exposed[i].Line = 0
	}
	for i := range c.Published {
		c.Published[i].Line = 0
	}
	return c
}

// Every object knows its line, and nothing prints it.
func TestConfigLines(t *testing.T) {
	c, err := ParseConfig("f.yaml", []byte(`name: h
networks:
- {name: a, prefixes: 10.0.0.0/8}
- name: b
  prefixes: 11.0.0.0/8
peers:
- &x

  name: x
  address: 192.168.0.1
routes:
  - prefix: 12.0.0.0/8
    via: x
`))
	if err != nil {
		t.Fatal(err)
	}
	got := []int{c.Networks[0].Line, c.Networks[1].Line, c.Peers[0].Line, c.Routes[0].Line}
	if want := []int{3, 4, 7, 12}; !slices.Equal(got, want) || c.File != "f.yaml" {
		t.Errorf("got lines %v of %q, want %v", got, c.File, want)
	}
	for _, v := range []any{c.Networks, c.Peers, c.Routes} {
		b, err := json.Marshal(v)
		if err != nil || strings.Contains(strings.ToLower(string(b)), "line") {
			t.Errorf("got %s, %v", b, err)
		}
	}
	if b, err := c.Marshal(); err != nil || strings.Contains(string(b), "line") || strings.Contains(string(b), "f.yaml") {
		t.Errorf("got %s, %v", b, err)
	}
	for line, want := range map[int]string{4: "f.yaml:4: no", 0: "flags: no"} {
		if got := c.At(line, "flags", errors.New("no")).Error(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestParseConfigEmpty(t *testing.T) {
	for _, in := range []string{"", "\n", "# nothing\n", "---\n", "---\n# nothing\n", "null\n", "{}\n", "networks:\npeers: []\nname:\n"} {
		c, err := ParseConfig("f", []byte(in))
		if err != nil || !reflect.DeepEqual(placeless(c), Config{}) {
			t.Errorf("ParseConfig(%q) = %+v, %v; want an empty one", in, c, err)
		}
	}
}

func TestParseConfigRefuses(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"unknown field", "name: a\nnetwork: []\n", `f:2: field "network" is not known; the fields are name, local, state-dir, log-level, accel, networks, peers, routes, uplinks`},
		{"unknown field of a network", "networks:\n- name: a\n  prefixes: 10.0.0.0/8\n  vlan: 3\n",
			`f:4: network "a": field "vlan" is not known; the fields are name, prefixes, id, gateway, vrf, range, mtu, ageing, icc, expose, publish`},
		{"unknown field of a peer", "peers:\n- name: a\n  address: 10.0.0.1\n  keyless: true\n", `f:4: peer "a": field "keyless" is not known; the fields are name, address, networks, key, csum, seq, encap`},
		{"repeated field", "name: a\nlocal: 10.0.0.1\nname: b\n", `f:3: field "name" stands on line 1 already`},
		{"repeated field of a network", "networks:\n- name: a\n  mtu: 1400\n  mtu: 1400\n", `f:4: network "a": field "mtu" stands on line 3 already`},
		{"bad value", "networks:\n- name: a\n  prefixes: [10.0.0.0/8]\n  mtu: 15\n", `f:4: network "a": mtu 15 is out of range; it goes from 576 to 65521`},
		{"bad prefix in a block list", "networks:\n- name: a\n  prefixes:\n  - 10.0.0.0/8\n  - 10.1.0.5\n", `f:5: network "a": prefix "10.1.0.5": the prefix length is missing; maybe you meant 10.1.0.5/24`},
		{"bad whole", "networks:\n- name: a\n  prefixes: [10.1.0.5/16]\n", `f:2: network "a": 10.1.0.5/16 is an address, not a prefix; maybe you meant 10.1.0.0/16`},
		{"bad name", "networks:\n- prefixes: [10.0.0.0/8]\n  name: Blue\n", `f:3: network "Blue": 'B' cannot stand in a name; use a-z, 0-9, '-', '_' and '.'`},
		{"no name", "networks:\n- prefixes: [10.0.0.0/8]\n", `f:2: network "": a name is missing`},
		{"name twice", "networks:\n- {name: a, prefixes: 10.0.0.0/8}\n- {name: a, prefixes: 10.0.0.0/8}\n", `f:3: network "a" is given twice`},
		{"id twice", "networks:\n- {name: a, prefixes: 10.0.0.0/8, id: 5}\n- {name: b, prefixes: 10.0.0.0/8, id: 5}\n", `f:3: network "b": id 5 is that of network "a" already; choose another`},
		{"peer twice", "peers:\n- {name: a, address: 10.0.0.1}\n- {name: a, address: 10.0.0.2}\n", `f:3: peer "a" is given twice`},
		{"peer's address twice", "peers:\n- {name: a, address: 10.0.0.1}\n- {name: b, address: 10.0.0.1}\n", `f:3: peer "b": 10.0.0.1 is the address of peer "a" already; a host is one peer: leave one of them out, or give it another address`},
		{"unknown field of a route", "routes:\n- prefix: 10.9.0.0/16\n  gateway: h2\n", `f:3: route "10.9.0.0/16": field "gateway" is not known; the fields are prefix, via, vrf`},
		{"route to an address", "routes:\n- {via: h2, prefix: 10.9.0.1/16}\n", `f:2: route "10.9.0.1/16": 10.9.0.1/16 is an address, not a prefix; maybe you meant 10.9.0.0/16`},
		{"route without next hop", "routes:\n- prefix: 10.9.0.0/16\n", `f:2: route "10.9.0.0/16": its next hop is missing; want a peer's name, or an address`},
		{"route without prefix", "routes:\n- via: h2\n", `f:2: route "": its prefix is missing, as in 172.17.2.0/24`},
		{"route with two next hops", "routes:\n- {prefix: 10.9.0.0/16, via: [h2, h3]}\n", `f:2: route "10.9.0.0/16": via: want a single value here`},
		{"route twice", "routes:\n- {prefix: 10.9.0.0/16, via: h2}\n- {prefix: 10.9.0.0/16, via: h3}\n", `f:3: route "10.9.0.0/16" is given twice`},
		{"key by number", "peers:\n- {name: a, address: 10.0.0.1, key: 5}\n", `f:2: peer "a": key "5" is not known; key=none is the only form, else a network's id is its key`},
		{"csum by number", "peers:\n- name: a\n  address: 10.0.0.1\n  csum: 1\n", `f:4: peer "a": csum "1" is neither true nor false`},
		{"list for a scalar", "networks:\n- name: a\n  mtu: [1, 2]\n", `f:3: network "a": mtu: want a single value here`},
		{"mapping for a scalar", "name: {a: b}\n", `f:1: name: want a single value here`},
		{"scalar for a list", "networks: blue\n", `f:1: want a list here, each item behind a '-'`},
		{"mapping for a list", "peers: {a: 10.0.0.1}\n", `f:1: want a list here, each item behind a '-'`},
		{"scalar for a mapping", "networks:\n- blue=10.0.0.0/8\n", `f:2: network "": network is a mapping of fields; they are name, prefixes, id, gateway, vrf, range, mtu, ageing, icc, expose, publish`},
		{"list at the top", "- a\n", `f:1: the configuration is a mapping of fields; they are name, local, state-dir, log-level, accel, networks, peers, routes, uplinks`},
		{"null in a list", "local: [10.0.0.1, ~]\n", `f:1: local: want a single value here`},
		{"two documents", "name: a\n---\nname: b\n", `f:2: a second document starts; a configuration is one document`},
		{"two documents, the second broken", "name: a\n---\n{", `f:3: not YAML: did not find expected node content`},
		{"not YAML", "name: a\n  b: c: d\n", `f:2: not YAML: mapping values are not allowed in this context`},
		{"tab", "networks:\n\t- a\n", `f:2: not YAML: found character that cannot start any token`},
		{"not UTF-8", "name: \xff\n", `f:1: not YAML: invalid leading UTF-8 octet`},
		{"local not an address", "local:\n  - 10.0.0.1\n  - eth0\n", `f:3: local "eth0" is not an address; want one of this host, as in 192.168.18.16`},
		{"local twice", "local: [10.0.0.1, 10.0.0.1]\n", `f:1: local 10.0.0.1 is given twice`},
		{"local is any", "local: 0.0.0.0\n", `f:1: local: 0.0.0.0 is not the address of one host: name one of its own, as in 192.168.18.17`},
		{"accel", "accel: on\n", `f:1: accel "on" is not known; it is one of auto, off`},
		{"log level", "log-level: loud\n", `f:1: log level "loud" is not known; it is one of debug, info, warn, error`},
		{"host name", "name: Host\n", `f:1: name "Host": 'H' cannot stand in a name; use a-z, 0-9, '-', '_' and '.'`},
		{"merge key", "base: &b {name: a}\n<<: *b\n", `f:1: field "base" is not known; the fields are name, local, state-dir, log-level, accel, networks, peers, routes, uplinks`},
		{"unknown anchor", "networks: *x\n", `f:1: not YAML: unknown anchor 'x' referenced`},
	}
	for _, tt := range tests {
		c, err := ParseConfig("f", []byte(tt.in))
		wantError(t, tt.name, err, "read config: "+tt.want)
		if !reflect.DeepEqual(c, Config{}) {
			t.Errorf("%s: got %+v beside the error", tt.name, c)
		}
	}
}

func TestLoadConfigFile(t *testing.T) {
	dir := t.TempDir()
	if _, err := LoadConfig(filepath.Join(dir, "absent")); err == nil || !strings.Contains(err.Error(), "absent: no such file or directory; name a YAML file with --config") {
		t.Errorf("got %v", err)
	}
	if _, err := LoadConfig(dir); err == nil || !strings.Contains(err.Error(), "is a directory; name a YAML file with --config") {
		t.Errorf("got %v", err)
	}
	big := filepath.Join(dir, "big")
	if err := os.WriteFile(big, []byte(strings.Repeat("#\n", ConfigMax/2)+"#"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := LoadConfig(big)
	wantError(t, "big", err, "read config: "+big+" has more than 1048576 bytes: routes can come from a file of their own, with weft route add --file")
}

func TestConfigOver(t *testing.T) {
	file, err := ParseConfig("f", []byte(`
name: file
local: 10.0.0.1
log-level: warn
accel: off
networks:
- {name: a, prefixes: 10.0.0.0/8, id: 1}
- {name: b, prefixes: 11.0.0.0/8, id: 2}
peers:
- {name: x, address: 192.168.0.1}
`))
	if err != nil {
		t.Fatal(err)
	}
	b, _ := ParseNetwork("b=12.0.0.0/8")
	n, _ := ParseNetwork("n=13.0.0.0/8,id=3")
	got, err := Config{Name: "flag", Networks: []Network{n, b}}.Over(file)
	if err != nil {
		t.Fatal(err)
	}
	out, _ := got.Marshal()
	want := `name: flag
local: [10.0.0.1]
log-level: warn
accel: "off"
networks:
  - name: a
    prefixes: [10.0.0.0/8]
    id: 1
  - name: b
    prefixes: [12.0.0.0/8]
  - name: "n"
    prefixes: [13.0.0.0/8]
    id: 3
peers:
  - name: x
    address: 192.168.0.1
`
	if string(out) != want {
		t.Errorf("got\n%swant\n%s", out, want)
	}
	if file.Networks[1].Prefixes[0].String() != "11.0.0.0/8" {
		t.Error("Over changed the file's configuration")
	}
	clash, _ := ParseNetwork("c=14.0.0.0/8,id=1")
	_, err = Config{Networks: []Network{clash}}.Over(file)
	wantError(t, "clash", err, `network "c": id 1 is that of network "a" already; choose another`)
	swapped, _ := ParseNetwork("a=10.0.0.0/8,id=2")
	_, err = Config{Networks: []Network{swapped}}.Over(file)
	wantError(t, "clash", err, `f:8: network "b": id 2 is that of network "a" already; choose another`)
	peer, _ := ParsePeer("y=192.168.0.1")
	_, err = Config{Peers: []Peer{peer}}.Over(file)
	wantError(t, "clash", err, `peer "y": 192.168.0.1 is the address of peer "x" already; a host is one peer: leave one of them out, or give it another address`)
}
