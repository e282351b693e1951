package control

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"weft/internal/spec"
)

func TestMerge(t *testing.T) {
	net := func(origin, list string) networkRecord {
		return networkRecord{settle(mustNetwork(t, list)), origin}
	}
	peerOf := func(origin, list string) peerRecord { return peerRecord{mustPeer(t, list), origin} }
	routeOf := func(origin, list string) routeRecord { return routeRecord{mustRoute(t, list), origin} }
	blue, h2, h3 := "blue=10.1.0.0/24,gateway=10.1.0.1", "h2=192.0.2.2", "h3=192.0.2.3"
	own := []netip.Addr{netip.MustParseAddr("192.0.2.1")}
	tests := []struct {
		name     string
		networks []string // declared now
		peers    []string
		routes   []string
		old      state
		want     string // networks, peers and routes, each with the first letter of its origin; + where kept
		note     string
		err      []string
	}{
		{name: "nothing"},
		{name: "declared", networks: []string{"a=10.0.0.0/24"}, peers: []string{"h2=192.0.2.2"}, want: "a:d h2:d"},
		{name: "made by command stays", old: state{Networks: []networkRecord{net(byAPI, "a=10.0.0.0/24")}, Peers: []peerRecord{peerOf(byAPI, "h2=192.0.2.2")}}, want: "a:a h2:a"},
		{name: "no longer declared goes", old: state{Networks: []networkRecord{net(declared, "a=10.0.0.0/24")}, Peers: []peerRecord{peerOf(declared, "h2=192.0.2.2")}}, note: "no longer declared"},
		{name: "no longer declared but with ports stays", old: state{Networks: []networkRecord{net(declared, "a=10.0.0.0/24")}, Endpoints: []endpointRecord{{Network: "a", Target: "netns:x"}}}, want: "a:d+"},
		{name: "declared anew replaces", networks: []string{"a=10.1.0.0/24"}, peers: []string{"h2=192.0.2.3"}, old: state{Networks: []networkRecord{net(declared, "a=10.0.0.0/24")}, Peers: []peerRecord{peerOf(declared, "h2=192.0.2.2")}}, want: "a:d h2:d"},
		{name: "declared wins over command", networks: []string{"a=10.1.0.0/24"}, old: state{Networks: []networkRecord{net(byAPI, "a=10.0.0.0/24")}}, want: "a:d", note: "10.1.0.0/24"},
		{name: "declared peer wins over command", peers: []string{"h2=192.0.2.3"}, old: state{Peers: []peerRecord{peerOf(byAPI, "h2=192.0.2.2")}}, want: "h2:d", note: "192.0.2.3"},
		{name: "declared id wins", networks: []string{"a=10.0.0.0/24,id=7"}, old: state{Networks: []networkRecord{net(byAPI, "b=10.1.0.0/24,id=7")}}, want: "a:d", note: `"b"`},
		{name: "declared id of one with ports", networks: []string{"a=10.0.0.0/24,id=7"}, old: state{Networks: []networkRecord{net(byAPI, "b=10.1.0.0/24,id=7")}, Endpoints: []endpointRecord{{Network: "b", Target: "netns:x"}}}, err: []string{`"a"`, `"b"`, "netns:x", "detach"}},
		{name: "declared address wins", peers: []string{"h2=192.0.2.2"}, old: state{Peers: []peerRecord{peerOf(byAPI, "h3=192.0.2.2")}}, want: "h2:d", note: `"h3"`},
		{name: "former peer is this host", old: state{Peers: []peerRecord{peerOf(byAPI, "h2=192.0.2.1")}}, note: "this host"},
		{name: "former peer lacks its network", old: state{Peers: []peerRecord{peerOf(byAPI, "h2=192.0.2.2,networks=gone")}}, want: "h2:a"},
		{name: "declared peer of a network made by command", peers: []string{"h2=192.0.2.2,networks=a"}, old: state{Networks: []networkRecord{net(byAPI, "a=10.0.0.0/24")}}, want: "a:a h2:d"},

		{name: "twice", networks: []string{"a=10.0.0.0/24", "a=10.1.0.0/24"}, err: []string{"weft.yaml", `"a"`, "twice"}},
		{name: "ids collide", networks: []string{"a=10.0.0.0/24,id=7", "b=10.1.0.0/24,id=7"}, err: []string{`"a"`, `"b"`, "id=N"}},
		{name: "peer twice", peers: []string{"h2=192.0.2.2", "h2=192.0.2.3"}, err: []string{`"h2"`, "twice"}},
		{name: "peer address twice", peers: []string{"h2=192.0.2.2", "h3=192.0.2.2"}, err: []string{`"h2"`, `"h3"`}},
		{name: "peer is this host", peers: []string{"h1=192.0.2.1"}, err: []string{`"h1"`, "this host"}},
		{name: "peer of unknown network", peers: []string{"h2=192.0.2.2,networks=a"}, err: []string{`"h2"`, `"a"`}},
		{name: "routes", networks: []string{blue}, peers: []string{h2}, routes: []string{"10.9.0.0/16=h2", "10.8.0.0/16=192.0.2.2", "10.7.0.0/16=10.1.0.5"},
			want: "10.7.0.0/16=10.1.0.5,vrf=blue:d 10.8.0.0/16=h2,vrf=blue:d 10.9.0.0/16=h2,vrf=blue:d blue:d h2:d"},
		{name: "route in a vrf made by command", peers: []string{h2}, routes: []string{"10.9.0.0/16=h2"}, old: state{Networks: []networkRecord{net(byAPI, blue)}}, want: "10.9.0.0/16=h2,vrf=blue:d blue:a h2:d"},
		{name: "declared vrf goes first", networks: []string{blue}, peers: []string{h2}, routes: []string{"10.9.0.0/16=h2"}, old: state{Networks: []networkRecord{net(byAPI, "a=10.2.0.0/24,gateway=10.2.0.1")}},
			want: "10.9.0.0/16=h2,vrf=blue:d a:a blue:d h2:d"},
		{name: "route made by command stays", networks: []string{blue}, peers: []string{h2}, old: state{routes: []routeRecord{routeOf(byAPI, "10.9.0.0/16=h2,vrf=blue")}}, want: "10.9.0.0/16=h2,vrf=blue:a blue:d h2:d"},
		{name: "and waits for its peer", networks: []string{blue}, old: state{routes: []routeRecord{routeOf(byAPI, "10.9.0.0/16=h2,vrf=blue")}}, want: "10.9.0.0/16=h2,vrf=blue:a blue:d"},
		{name: "and for its vrf", peers: []string{h2}, old: state{routes: []routeRecord{routeOf(byAPI, "10.9.0.0/16=h2,vrf=blue")}}, want: "10.9.0.0/16=h2,vrf=blue:a h2:d"},
		{name: "route no longer declared goes", networks: []string{blue}, peers: []string{h2}, old: state{routes: []routeRecord{routeOf(declared, "10.9.0.0/16=h2,vrf=blue")}}, want: "blue:d h2:d", note: "no longer declared"},
		{name: "declared route wins", networks: []string{blue}, peers: []string{h2, h3}, routes: []string{"10.9.0.0/16=h3"}, old: state{routes: []routeRecord{routeOf(byAPI, "10.9.0.0/16=h2,vrf=blue")}},
			want: "10.9.0.0/16=h3,vrf=blue:d blue:d h2:d h3:d", note: "10.9.0.0/16=h3"},
		{name: "declared network wins over route", networks: []string{blue}, peers: []string{h2}, old: state{routes: []routeRecord{routeOf(byAPI, "10.1.0.0/24=h2,vrf=blue")}}, want: "blue:d h2:d", note: `network "blue"`},
		{name: "declared next hop wins over route", networks: []string{blue}, peers: []string{h2}, routes: []string{"10.9.0.0/16=10.1.0.5"}, old: state{routes: []routeRecord{routeOf(byAPI, "10.1.0.0/28=h2,vrf=blue")}},
			want: "10.9.0.0/16=10.1.0.5,vrf=blue:d blue:d h2:d", note: "10.9.0.0/16"},
		{name: "route of unknown peer", networks: []string{blue}, routes: []string{"10.9.0.0/16=h2"}, err: []string{"weft.yaml", "10.9.0.0/16", `"h2"`}},
		{name: "route without vrf", peers: []string{h2}, routes: []string{"10.9.0.0/16=h2"}, err: []string{"weft.yaml", "10.9.0.0/16", "--gateway"}},
		{name: "route of several vrfs", networks: []string{blue, "a=10.2.0.0/24,gateway=10.2.0.1"}, peers: []string{h2}, routes: []string{"10.9.0.0/16=h2"}, err: []string{"10.9.0.0/16", "a, blue", "vrf="}},
		{name: "route twice", networks: []string{blue}, peers: []string{h2}, routes: []string{"10.9.0.0/16=h2", "10.9.0.0/16=h2,vrf=blue"}, err: []string{"10.9.0.0/16", "twice", `"blue"`}},
		{name: "route via a route", networks: []string{blue}, peers: []string{h2}, routes: []string{"10.9.0.0/16=10.1.0.5", "10.1.0.0/28=h2"}, err: []string{"10.1.0.0/28", "10.1.0.5", "10.9.0.0/16"}},
		{name: "connected route", networks: []string{blue}, peers: []string{h2}, routes: []string{"10.1.0.0/24=h2"}, err: []string{"10.1.0.0/24", "connected"}},
		{name: "vrfs clash", networks: []string{blue, "a=10.2.0.0/24,vrf=blue"}, err: []string{`"a"`, `"blue"`, "vrf=blue"}},

		{name: "keyless without network", peers: []string{"h2=192.0.2.2,key=none"}, err: []string{`"h2"`, "exactly one"}},
		{name: "keyless with two", networks: []string{"a=10.0.0.0/24", "b=10.1.0.0/24"}, peers: []string{"h2=192.0.2.2,key=none"}, err: []string{`"h2"`, "a, b"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var cfg spec.Config
			for _, l := range tt.networks {
				cfg.Networks = append(cfg.Networks, mustNetwork(t, l))
			}
			for _, l := range tt.peers {
				cfg.Peers = append(cfg.Peers, mustPeer(t, l))
			}
			for _, l := range tt.routes {
				cfg.Routes = append(cfg.Routes, mustRoute(t, l))
			}
			m, err := merge(cfg, "weft.yaml", &tt.old, own)
			if tt.err != nil {
				wantError(t, err, tt.err...)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := m.String(); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			notes := strings.Join(m.notes, "\n")
			if !strings.Contains(notes, tt.note) || tt.note == "" && notes != "" {
				t.Errorf("got notes %q, want %q", notes, tt.note)
			}
		})
	}
}

func (m *merged) String() string {
	var words []string
	for name, n := range m.networks {
		words = append(words, fmt.Sprintf("%s:%c%s", name, n.origin[0], map[bool]string{true: "+"}[n.kept]))
	}
	for name, p := range m.peers {
		words = append(words, fmt.Sprintf("%s:%c", name, p.origin[0]))
	}
	for r := range m.routes.all() {
		words = append(words, fmt.Sprintf("%s:%c", r, r.origin[0]))
	}
	slices.Sort(words)
	return strings.Join(words, " ")
}

// What is wrong with the file as a whole names the line, too.
func TestMergeNamesLine(t *testing.T) {
	own := []netip.Addr{netip.MustParseAddr("192.0.2.1")}
	const top = "networks:\n- {name: blue, prefixes: 10.0.0.0/24, id: 5, gateway: 10.0.0.1, vrf: v}\n"
	kept := state{
		Networks:  []networkRecord{{mustNetwork(t, "old=10.5.0.0/24,id=5"), byAPI}},
		Endpoints: []endpointRecord{{Network: "old", Target: "netns:a"}},
	}
	tests := []struct {
		name, file string
		old        state
		want       string
	}{
		{"peer is this host", top + "peers:\n- name: h2\n  address: 192.0.2.1\n", state{}, `c.yaml:4: peer "h2": 192.0.2.1 is this host itself`},
		{"unknown network", top + "peers:\n- {name: h3, address: 192.0.2.3}\n- {name: h2, address: 192.0.2.2, networks: [nope]}\n", state{}, `c.yaml:5: peer "h2": network "nope" does not exist`},
		{"wrong version", "local: 192.0.2.1\npeers:\n- {name: h2, address: 2001:db8::2}\n", state{}, `c.yaml:3: peer "h2": its address`},
		{"prefixes overlap", top + "- {name: red, prefixes: 10.0.0.0/16, gateway: 10.0.0.2, vrf: v}\n", state{}, `c.yaml:3: network "red": prefix`},
		{"network of the last run", top, kept, `c.yaml:2: network "blue": id 5`},
		{"route to nobody", top + "routes:\n- {prefix: 10.9.0.0/16, via: h9}\n", state{}, `c.yaml:4: route 10.9.0.0/16: `},
		{"route twice", top + "routes:\n- {prefix: 10.9.0.0/16, via: 10.0.0.9}\n- {prefix: 10.9.0.0/16, via: 10.0.0.9, vrf: v}\n", state{}, `c.yaml:5: route 10.9.0.0/16 is declared twice`},
		{"route through a route", top + "routes:\n- {prefix: 10.9.0.0/16, via: 10.0.0.9}\n- {prefix: 10.0.0.8/29, via: 10.0.0.7}\n", state{}, `c.yaml:4: route 10.9.0.0/16: `},
	}
	for _, tt := range tests {
		cfg, err := spec.ParseConfig("c.yaml", []byte(tt.file))
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		if _, err = merge(cfg, "c.yaml or the flags of weft run", &tt.old, own); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %s", tt.name, err, tt.want)
		}
	}
	// What the flags declare has no line.
	cfg := spec.Config{File: "c.yaml", Peers: []spec.Peer{mustPeer(t, "h2=192.0.2.1")}}
	_, err := merge(cfg, "c.yaml or the flags of weft run", &state{}, own)
	wantError(t, err, `c.yaml or the flags of weft run: peer "h2"`)
}
