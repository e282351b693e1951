package hostnet

import (
	"slices"
	"strings"
	"testing"

	"weft/internal/lab"
)

// Rules in the words of iptables -S, and what the links weft-blue lacks.
func TestBarredLegacy(t *testing.T) {
	const own = "-P INPUT ACCEPT\n-P FORWARD DROP\n-P OUTPUT ACCEPT\n"
	in, out := "iifname weft-blue", "oifname weft-blue"
	for _, tt := range []struct {
		name, rules string
		want        []string
	}{
		{"policy accept", "-P FORWARD ACCEPT\n-A FORWARD -s 203.0.113.9/32 -j DROP\n", nil},
		{"policy drop", own, []string{in, out}},
		{"rejects at the end", "-P FORWARD ACCEPT\n-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n-A FORWARD -j REJECT --reject-with icmp-host-prohibited\n", []string{in, out}},
		{"accepts all", own + "-A FORWARD -j ACCEPT\n", nil},
		{"cured", own + "-A FORWARD -i weft-blue -j ACCEPT\n-A FORWARD -o weft-blue -j ACCEPT\n", nil},
		{"by a pattern", own + "-A FORWARD -i weft-+ -j ACCEPT\n-A FORWARD -o weft-+ -j ACCEPT\n", nil},
		{"one way", own + "-A FORWARD -i weft-blue -j ACCEPT\n", []string{out}},
		{"another link", own + "-A FORWARD -i weft-red -j ACCEPT\n-A FORWARD -o weft-red -j ACCEPT\n", []string{in, out}},
		{"some of it", own + "-A FORWARD -i weft-blue -p tcp -j ACCEPT\n-A FORWARD ! -o weft-blue -j ACCEPT\n", []string{in, out}},
		{"too late", own + "-A FORWARD -j DROP\n-A FORWARD -i weft-blue -j ACCEPT\n-A FORWARD -o weft-blue -j ACCEPT\n", []string{in, out}},
		{"in a chain", own + "-N MINE\n-A FORWARD -m comment --comment \"see -j DROP \\\"here\\\"\" -j MINE\n-A MINE -i weft-blue -m comment --comment x -j ACCEPT\n-A MINE -o weft-blue -j ACCEPT\n-A MINE -j RETURN\n", nil},
		{"in a chain that nobody goes to", own + "-N MINE\n-A MINE -i weft-blue -j ACCEPT\n-A MINE -o weft-blue -j ACCEPT\n", []string{in, out}},
		{"a chain that drops", "-P FORWARD ACCEPT\n-N MINE\n-A FORWARD -g MINE\n-A MINE -j LOG --log-prefix \"x \"\n-A MINE -j DROP\n", []string{in, out}},
		{"returns early", own + "-N MINE\n-A FORWARD -j MINE\n-A MINE -j RETURN\n-A MINE -j ACCEPT\n", []string{in, out}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rules, policy := parseLegacy(tt.rules)
			if got := rules.barred("FORWARD", policy, []string{"weft-blue"}); !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// likeFirewalld is how firewalld's rules look: the policy accepts, the end rejects.
const likeFirewalld = `nft 'add table inet firewalld
	add chain inet firewalld ZONES
	add rule inet firewalld ZONES iifname eth0 accept
	add chain inet firewalld FORWARD { type filter hook forward priority 10; policy accept; }
	add rule inet firewalld FORWARD ct state { established, related } accept
	add rule inet firewalld FORWARD jump ZONES
	add rule inet firewalld FORWARD ct state invalid drop
	add rule inet firewalld FORWARD reject with icmpx admin-prohibited'`

// Every firewall that is in the way is named, and no longer once the command was
// run that stands beside it.
func TestBarredNetns(t *testing.T) {
	lab.Need(t, "iptables", "iptables", "iptables-legacy", "ip6tables-legacy")
	for _, tt := range []struct{ name, rules, chain string }{
		{"none", "true", ""},
		{"nftables", `nft 'add table inet fw; add chain inet fw pass { type filter hook forward priority 0; policy drop; }'`, "inet fw pass"},
		{"one that accepts", `nft 'add table ip fw; add chain ip fw pass { type filter hook forward priority 0; policy accept; }; add rule ip fw pass ip saddr 203.0.113.9 drop'`, ""},
		{"on another hook", `nft 'add table inet fw; add chain inet fw in { type filter hook input priority 0; policy drop; }'`, ""},
		{"like firewalld", likeFirewalld, "inet firewalld FORWARD"},
		{"iptables", "iptables -w -P FORWARD DROP", "ip filter FORWARD"},
		{"iptables that rejects", "iptables -w -A FORWARD -j REJECT", "ip filter FORWARD"},
		{"IPv6", "ip6tables -w -P FORWARD DROP", "ip6 filter FORWARD"},
		{"the older iptables", "iptables-legacy -w -P FORWARD DROP", "ip filter FORWARD of iptables-legacy"},
		{"the older iptables, IPv6", "ip6tables-legacy -w -A FORWARD -j REJECT", "ip6 filter FORWARD of ip6tables-legacy"},
		{"Docker's", "iptables -w -N DOCKER-USER && iptables -w -A FORWARD -j DOCKER-USER && iptables -w -A DOCKER-USER -j RETURN && iptables -w -P FORWARD DROP", ""},
		{"Docker's, of the older iptables", "iptables-legacy -w -N DOCKER-USER && iptables-legacy -w -A FORWARD -j DOCKER-USER && iptables-legacy -w -A DOCKER-USER -j RETURN && iptables-legacy -w -P FORWARD DROP", ""},
		{"Docker's chain, and nothing leads there", "iptables -w -N DOCKER-USER && iptables -w -P FORWARD DROP", "ip filter FORWARD"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPlace(t)
			plan := blue()
			for _, l := range plan.Links {
				p.link(l)
			}
			p.run(tt.rules)
			plan = p.apply(plan)
			barred := func() (list []Barred) {
				p.do(func() (err error) { list, err = p.h.Barred(plan); return err })
				return list
			}
			got := barred()
			var at []string
			for _, b := range got {
				at = append(at, b.Chain)
			}
			if strings.Join(at, ", ") != tt.chain {
				t.Fatalf("got %q, want %q", at, tt.chain)
			}
			for _, b := range got {
				p.run(b.Cure)
			}
			if got := barred(); len(got) > 0 {
				t.Errorf("after the cures: %v", got)
			}
			if tt.chain != "" { // one of them is lost again
				p.run("nft flush ruleset; iptables-legacy -w -F; ip6tables-legacy -w -F")
				p.run(tt.rules)
				if got := barred(); len(got) != 1 {
					t.Errorf("after a flush: %v", got)
				}
			}
		})
	}
}
