package hostnet

import (
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Barred is a firewall that drops what would pass between containers and the
// world, and the command that lets it pass.
type Barred struct{ Chain, Cure string }

// Barred returns the firewalls of others, of nftables and of either iptables, that
// drop what they do not know, and do not know the links of p. Docker's is none
// while weft's rules stand in DOCKER-USER and Docker's chains lead there.
//
// Of their rules only those are understood that are about all packets, or about
// all of one link: a firewall that lets the links pass by other means is named too.
func (h *Host) Barred(p Plan) ([]Barred, error) {
	if len(p.Links) == 0 {
		return nil, nil
	}
	list, err := barredNFT(p)
	if err != nil {
		return nil, err
	}
	more, err := barredLegacy(p)
	return append(list, more...), err
}

// gate is a rule of a firewall, as far as it is understood.
type gate struct {
	link string // as in "iifname eth0" or "oifname weft-*"; empty: it is about all packets
	does doing
	to   string // of jumps: the chain
}

type doing int

const (
	nothing doing = iota // that decides
	accepts
	drops
	returns
	jumps
	jumpsForGood // as goto does
)

// ruleset has the chains of one table by their names.
type ruleset map[string][]gate

// walk returns what becomes of a packet that no rule knows, and adds to passing the
// links whose packets are accepted before that.
func (r ruleset) walk(chain string, passing map[string]bool) doing {
	for _, g := range r[chain] {
		switch {
		case g.link != "":
			if g.does == accepts {
				passing[g.link] = true
			}
		case g.does == accepts, g.does == drops:
			return g.does
		case g.does == returns:
			return nothing
		case g.does == jumpsForGood:
			return r.walk(g.to, passing)
		case g.does == jumps:
			if end := r.walk(g.to, passing); end != nothing {
				return end
			}
		}
	}
	return nothing
}

// directions are the two matches that a link needs.
var directions = []string{"iifname", "oifname"}

// barred returns the matches, as in "iifname eth0", that a chain needs and lacks.
func (r ruleset) barred(chain string, policy doing, links []string) (missing []string) {
	passing := map[string]bool{}
	if end := r.walk(chain, passing); end == accepts || end == nothing && policy == accepts {
		return nil
	}
	for _, l := range links {
		for _, dir := range directions {
			if !passes(passing, dir+" "+l) {
				missing = append(missing, dir+" "+l)
			}
		}
	}
	return missing
}

func passes(passing map[string]bool, link string) bool {
	if passing[link] {
		return true
	}
	for p := range passing {
		if begin, all := strings.CutSuffix(p, "*"); all && strings.HasPrefix(link, begin) {
			return true
		}
	}
	return false
}

var familyNames = map[nftables.TableFamily]string{nftables.TableFamilyIPv4: "ip", nftables.TableFamilyIPv6: "ip6", nftables.TableFamilyINet: "inet"}

func barredNFT(p Plan) (list []Barred, err error) {
	c, err := connect()
	if err != nil {
		return nil, refused("open nftables", err)
	}
	chains, err := c.ListChains()
	if err != nil {
		return nil, refused("list the chains of nftables", err)
	}
	is4, is6 := p.families()
	for _, ch := range chains {
		family := familyNames[ch.Table.Family]
		if ch.Type != nftables.ChainTypeFilter || ch.Hooknum == nil || *ch.Hooknum != *nftables.ChainHookForward ||
			family == "" || family == "ip" && !is4 || family == "ip6" && !is6 || ch.Table.Name == tableName {
			continue
		}
		rules, err := readRuleset(c, chains, ch.Table)
		if err != nil {
			return nil, err
		}
		policy := accepts
		if ch.Policy != nil && *ch.Policy == nftables.ChainPolicyDrop {
			policy = drops
		}
		at := fmt.Sprintf("%s %s %s", family, ch.Table.Name, ch.Name)
		if missing := rules.barred(ch.Name, policy, p.linkNames()); len(missing) > 0 {
			cures := make([]string, len(missing))
			for i, m := range missing {
				cures[i] = fmt.Sprintf("insert rule %s %s accept", at, m)
			}
			list = append(list, Barred{at, "nft '" + strings.Join(cures, "; ") + "'"})
		}
	}
	return list, nil
}

// readRuleset returns the chains of a table, of those that there are.
func readRuleset(c *nftables.Conn, chains []*nftables.Chain, t *nftables.Table) (ruleset, error) {
	all := ruleset{}
	for _, ch := range chains {
		if ch.Table.Name != t.Name || ch.Table.Family != t.Family {
			continue
		}
		rules, err := c.GetRules(ch.Table, ch)
		if err != nil {
			return nil, refused("list the rules of nftables", err)
		}
		for _, r := range rules {
			all[ch.Name] = append(all[ch.Name], gateOf(r))
		}
	}
	return all, nil
}

// gateOf reads a rule of nftables, or of iptables that uses it.
func gateOf(r *nftables.Rule) gate {
	var g gate
	dir := ""
	for _, e := range r.Exprs {
		switch e := e.(type) {
		case *expr.Meta:
			switch e.Key {
			case expr.MetaKeyIIFNAME:
				dir = "iifname "
			case expr.MetaKeyOIFNAME:
				dir = "oifname "
			default:
				return gate{}
			}
		case *expr.Cmp:
			if e.Op != expr.CmpOpEq || dir == "" || g.link != "" {
				return gate{}
			}
			name := strings.TrimRight(string(e.Data), "\x00")
			if len(name) == len(e.Data) && len(name) < unix.IFNAMSIZ { // of names that begin so
				name += "*"
			}
			g.link = dir + name
		case *expr.Verdict:
			g.does, g.to = doingOf(e.Kind), e.Chain
		case *expr.Reject:
			g.does = drops
		case *expr.Target: // of iptables
			if e.Name == "REJECT" {
				g.does = drops
			}
		case *expr.Match: // of iptables
			if e.Name != "comment" {
				return gate{}
			}
		case *expr.Counter, *expr.Log:
		default:
			return gate{}
		}
	}
	return g
}

func doingOf(k expr.VerdictKind) doing {
	switch k {
	case expr.VerdictAccept:
		return accepts
	case expr.VerdictDrop:
		return drops
	case expr.VerdictReturn:
		return returns
	case expr.VerdictJump:
		return jumps
	case expr.VerdictGoto:
		return jumpsForGood
	}
	return nothing
}

func barredLegacy(p Plan) (list []Barred, err error) {
	is4, is6 := p.families()
	for _, l := range legacies {
		if l.family == "ip" && !is4 || l.family == "ip6" && !is6 || !l.inUse() {
			continue
		}
		text, err := runLegacy(l.program, "-S")
		if errors.Is(err, exec.ErrNotFound) {
			continue // nobody here could change it either
		}
		if err != nil {
			return nil, err
		}
		rules, policy := parseLegacy(text)
		var cures []string
		for _, m := range rules.barred("FORWARD", policy, p.linkNames()) {
			dir, link, _ := strings.Cut(m, " ")
			cures = append(cures, fmt.Sprintf("%s -I FORWARD -%s %s -j ACCEPT", l.program, dir[:1], link))
		}
		if len(cures) > 0 {
			list = append(list, Barred{l.family + " filter FORWARD of " + l.program, strings.Join(cures, "; ")})
		}
	}
	return list, nil
}

var legacyComment = regexp.MustCompile(` -m comment --comment ("(\\.|[^"\\])*"|\S+)`)

// parseLegacy reads what iptables -S prints, and returns the policy of FORWARD too.
func parseLegacy(text string) (all ruleset, policy doing) {
	all, policy = ruleset{}, accepts
	chains := map[string]bool{}
	for line := range strings.Lines(text) {
		words := strings.Fields(legacyComment.ReplaceAllString(line, ""))
		if len(words) < 2 {
			continue
		}
		switch chain := words[1]; words[0] {
		case "-P":
			if chain == "FORWARD" && slices.Contains(words, "DROP") {
				policy = drops
			}
		case "-N":
			chains[chain] = true
		case "-A":
			all[chain] = append(all[chain], parseGate(words[2:], chains))
		}
	}
	return all, policy
}

// parseGate reads the words of a rule after its chain. chains are those that are
// not iptables' own, which all stand before the rules.
func parseGate(words []string, chains map[string]bool) (g gate) {
	for len(words) >= 2 {
		option, value := words[0], words[1]
		words = words[2:]
		switch {
		case option == "-i" && g.link == "":
			g.link = "iifname " + strings.Replace(value, "+", "*", 1)
		case option == "-o" && g.link == "":
			g.link = "oifname " + strings.Replace(value, "+", "*", 1)
		case option == "-g":
			g.does, g.to = jumpsForGood, value
		case option == "-j":
			switch {
			case chains[value]:
				g.does, g.to = jumps, value
			case value == "ACCEPT":
				g.does = accepts
			case value == "DROP", value == "REJECT":
				g.does = drops
			case value == "RETURN":
				g.does = returns
			}
			return g // what follows are options of the target
		default:
			return gate{}
		}
	}
	return g
}
