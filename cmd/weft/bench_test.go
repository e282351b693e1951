package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"weft/internal/spec"
)

func TestRandomIn(t *testing.T) {
	for _, s := range []string{"10.0.0.0/24", "10.0.0.0/8", "10.0.0.4/30", "10.0.0.4/31", "10.0.0.4/32", "fd00::/64", "fd00::/120", "fd00::/48"} {
		p := netip.MustParsePrefix(s)
		for range 200 {
			got := randomIn(p)
			if !p.Contains(got) {
				t.Fatalf("%s: got %s", s, got)
			}
			if host := p.Addr().BitLen() - p.Bits(); host > 1 && (got == p.Addr() || !p.Contains(got.Next())) {
				t.Fatalf("%s: got its first or last address %s", s, got)
			}
		}
	}
}

func TestBenchPage(t *testing.T) {
	r := benchResult{
		From: "web", To: "db", Network: "blue", Path: benchPath{Kind: "peer", Peer: "host2", Encap: "gre", Accel: "egress-tap", State: "up", MTU: 1450},
		TCP: 9.6e9, TCPBack: 9.2e9, Packets: 75_500, Overrun: 0.634, Loss: 0.0012, RTTp50: 37.8, RTTp99: 79.7, RTTMax: 1200, Exchanges: 99,
		Drops: map[string]uint64{"tap_full": 77_600, "l2_noport": 1}, AnyDrops: map[string]uint64{"tx_egress": 3},
	}
	var out strings.Builder
	benchPage(&out, r)
	want := `web to db: network blue, through peer host2 (gre, accelerator egress-tap, up), MTU 1450

TCP, one stream  9.60 Gbit/s there, 9.20 Gbit/s back
small packets    75.5 k/s of 18 bytes arrived; of those sent as fast as possible 63 % were lost
loss             0.12 % at 1000 packets a second
round trip       p50 38 us, p99 80 us, max 1200 us; 64 bytes over TCP, 99 times
dropped          by this switch on this path: l2_noport 1, tap_full 77.6k; by the whole switch meanwhile: tx_egress 3
`
	if got := out.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// An address that a port has is not drawn, and none twice.
func TestDrawn(t *testing.T) {
	p := netip.MustParsePrefix("10.1.0.0/29")
	taken := map[netip.Addr]bool{netip.MustParseAddr("10.1.0.1"): true}
	got := drawn(p, taken)
	slices.SortFunc(got, netip.Addr.Compare)
	if s := fmt.Sprint(got); s != "[10.1.0.2 10.1.0.3 10.1.0.4 10.1.0.5 10.1.0.6]" {
		t.Errorf("got %s", s)
	}
}

// What others lost meanwhile, as another bench, is not counted.
func TestBenchDrops(t *testing.T) {
	f := &fake{drops: []spec.Drop{
		{At: "web", Reason: "tap_full", Count: 5}, {At: "pid-4711", Reason: "tap_full", Count: 7}, {At: "host2", Reason: "tx_full", Count: 2},
		{At: "host3", Reason: "tx_full", Count: 9}, {At: "switch", Reason: "tx_egress", Count: 3}, {At: "switch", Reason: "tap_full", Count: 0},
	}}
	b := &bencher{app: &app{socket: startFake(t, f)}}
	r := &benchResult{Network: "blue", Path: benchPath{Kind: "peer", Peer: "host2"}, targets: []string{"netns:web"}}
	here, anywhere, err := b.dropped(t.Context(), r)
	if got := fmt.Sprint(here, anywhere, err); got != "map[tap_full:5 tx_full:2] map[tap_full:0 tx_egress:3] <nil>" {
		t.Errorf("got %s", got)
	}
	if got := fmt.Sprint(since(map[string]uint64{"tap_full": 5}, here)); got != "map[tx_full:2]" {
		t.Errorf("got %s", got)
	}
}

// A port that has its network in its name, since its container has several, is
// found by the plain one too.
func TestBenchPorts(t *testing.T) {
	ports := []spec.PortStatus{{Name: "web@blue", Network: "blue", Target: "netns:web"}, {Name: "web@red", Network: "red", Target: "netns:web"}, {Name: "db", Network: "red", Target: "pid:7"}}
	for _, tt := range []struct{ word, network, want string }{
		{"web", "", "web@blue web@red"}, {"web", "red", "web@red"}, {"web@red", "", "web@red"}, {"netns:web", "blue", "web@blue"},
		{"db", "", "db"}, {"db", "blue", ""}, {"web@", "", ""}, {"we", "", ""},
	} {
		var got []string
		for _, p := range (&bencher{network: tt.network}).ports(ports, tt.word) {
			got = append(got, p.Name)
		}
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("%q in network %q: got %q, want %q", tt.word, tt.network, s, tt.want)
		}
	}
}
