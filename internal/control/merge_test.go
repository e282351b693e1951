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
	own := []netip.Addr{netip.MustParseAddr("192.0.2.1")}
	tests := []struct {
		name     string
		networks []string // declared now
		peers    []string
		old      state
		want     string // networks and peers, each with the first letter of its origin; + where kept
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
	slices.Sort(words)
	return strings.Join(words, " ")
}
