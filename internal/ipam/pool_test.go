package ipam

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

func TestNext(t *testing.T) {
	tests := []struct {
		prefix, first, last string
		taken               []string
		want                string // "" for none
	}{
		{prefix: "10.32.0.0/24", want: "10.32.0.1"},
		{prefix: "10.32.0.0/24", taken: []string{"10.32.0.1", "10.32.0.3"}, want: "10.32.0.2"},
		{prefix: "10.32.0.0/24", first: "10.32.0.10", last: "10.32.0.20", want: "10.32.0.10"},
		{prefix: "10.32.0.0/24", first: "10.32.0.10", last: "10.32.0.11", taken: []string{"10.32.0.10"}, want: "10.32.0.11"},
		{prefix: "10.32.0.0/24", first: "10.32.0.10", last: "10.32.0.10", taken: []string{"10.32.0.10"}},
		{prefix: "10.32.0.0/24", first: "10.32.0.254", last: "10.32.0.255", taken: []string{"10.32.0.254"}}, // broadcast is not given out
		{prefix: "10.32.0.0/24", first: "10.32.0.0", last: "10.32.0.3", want: "10.32.0.1"},
		{prefix: "10.32.0.0/30", taken: []string{"10.32.0.1", "10.32.0.2"}},
		{prefix: "10.32.0.0/31", want: "10.32.0.0"},
		{prefix: "10.32.0.0/31", taken: []string{"10.32.0.0"}, want: "10.32.0.1"},
		{prefix: "10.32.0.7/32", want: "10.32.0.7"},
		{prefix: "10.32.0.7/32", taken: []string{"10.32.0.7"}},
		{prefix: "255.255.255.254/31", taken: []string{"255.255.255.254", "255.255.255.255"}}, // no address follows
		{prefix: "fd00::/64", want: "fd00::1"},
		{prefix: "fd00::/64", first: "fd00::a:0", last: "fd00::a:ffff", want: "fd00::a:0"},
		{prefix: "fd00::/127", want: "fd00::"},
		{prefix: "fd00::5/128", want: "fd00::5"},
		{prefix: "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe/127", taken: []string{"ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"}},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%s %s-%s %d", tt.prefix, tt.first, tt.last, len(tt.taken)), func(t *testing.T) {
			p := pool(t, tt.prefix, tt.first, tt.last)
			for _, a := range tt.taken {
				if err := p.Claim(netip.MustParseAddr(a), "x"); err != nil {
					t.Fatal(err)
				}
			}
			got, err := p.Next()
			if (err == nil) != (tt.want != "") || err == nil && got.String() != tt.want {
				t.Errorf("got %s, %v; want %q", got, err, tt.want)
			}
		})
	}
}

func pool(t *testing.T, prefix, first, last string) *Pool {
	t.Helper()
	var from, to netip.Addr
	if first != "" {
		from, to = netip.MustParseAddr(first), netip.MustParseAddr(last)
	}
	p, err := New(netip.MustParsePrefix(prefix), from, to)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Every address of a small prefix is given out exactly once, whatever was
// claimed before.
func TestNextGivesEachOnce(t *testing.T) {
	for _, prefix := range []string{"10.0.0.0/28", "fd00::/124"} {
		p := pool(t, prefix, "", "")
		seen := map[netip.Addr]bool{}
		for {
			a, err := p.Next()
			if err != nil {
				break
			}
			if seen[a] || !p.Contains(a) {
				t.Fatalf("%s: got %s again or from outside", prefix, a)
			}
			seen[a] = true
			if err := p.Claim(a, "x"); err != nil {
				t.Fatal(err)
			}
		}
		want := 14
		if strings.Contains(prefix, ":") {
			want = 15 // IPv6 has no broadcast address
		}
		if len(seen) != want {
			t.Errorf("%s: got %d addresses, want %d", prefix, len(seen), want)
		}
	}
}

func TestClaim(t *testing.T) {
	p := pool(t, "10.32.0.0/24", "10.32.0.10", "10.32.0.20")
	tests := []struct{ addr, want string }{
		{"10.32.0.5", ""}, // outside the range is fine
		{"10.32.0.5", "taken by a"},
		{"10.32.1.5", "outside 10.32.0.0/24"},
		{"10.32.0.0", "the network's own address"},
		{"10.32.0.255", "the broadcast address"},
		{"fd00::1", "outside"},
		{"::ffff:10.32.0.6", "outside"},
	}
	for _, tt := range tests {
		err := p.Claim(netip.MustParseAddr(tt.addr), "a")
		if got := fmt.Sprint(err); (err == nil) != (tt.want == "") || !strings.Contains(got, tt.want) && err != nil {
			t.Errorf("claim %s: got %v, want %q", tt.addr, err, tt.want)
		}
	}
	if err := pool(t, "fd00::/64", "", "").Claim(netip.MustParseAddr("fd00::"), "a"); err == nil {
		t.Error("the anycast address was given out")
	}
}

func TestNewRefuses(t *testing.T) {
	tests := []struct{ prefix, first, last, want string }{
		{"10.32.0.1/24", "", "", "maybe you meant 10.32.0.0/24"},
		{"10.32.0.0/24", "10.31.0.1", "10.32.0.9", "10.31.0.1 lies outside"},
		{"10.32.0.0/24", "10.32.0.1", "10.33.0.9", "10.33.0.9 lies outside"},
		{"10.32.0.0/24", "10.32.0.9", "10.32.0.1", "swap"},
		{"10.32.0.0/24", "fd00::1", "fd00::2", "outside"},
	}
	for _, tt := range tests {
		var from, to netip.Addr
		if tt.first != "" {
			from, to = netip.MustParseAddr(tt.first), netip.MustParseAddr(tt.last)
		}
		_, err := New(netip.MustParsePrefix(tt.prefix), from, to)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v: got %v", tt, err)
		}
	}
}
