package hostnet

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
)

// dockerChain is where Docker leaves room for the rules of others, in the table
// filter of iptables, before its own, which drop what they do not know.
const dockerChain = "DOCKER-USER"

// tag is the comment of weft's rules among those of others.
const tag = "weft"

// firewalls are the tables of iptables (iptables-nft(8)) with such a chain.
var firewalls = []*nftables.Table{
	{Name: "filter", Family: nftables.TableFamilyIPv4},
	{Name: "filter", Family: nftables.TableFamilyIPv6},
}

// setDocker lets what comes from and goes to links pass Docker's rules, where
// there are any: two rules for each link. Rules for other links are removed.
func setDocker(links []string) (edited bool, err error) {
	c, err := connect()
	if err != nil {
		return false, refused("open nftables", err)
	}
	for _, t := range firewalls {
		chain, err := findChain(c, t, dockerChain)
		if err != nil {
			return edited, err
		}
		if chain == nil {
			continue
		}
		changed, err := setDockerIn(c, t, chain, links)
		edited = edited || changed
		if err != nil {
			return edited, err
		}
	}
	changed, err := setDockerLegacy(links)
	return edited || changed, err
}

// setDockerIn does so in one table, in one step.
func setDockerIn(c *nftables.Conn, t *nftables.Table, chain *nftables.Chain, links []string) (edited bool, err error) {
	rules, err := c.GetRules(t, chain)
	if err != nil {
		return false, refused("list chain "+dockerChain, err)
	}
	missing := map[string]expr.MetaKey{}
	for _, l := range links {
		missing["in "+l], missing["out "+l] = expr.MetaKeyIIFNAME, expr.MetaKeyOIFNAME
	}
	for _, r := range rules {
		if text, _ := userdata.GetString(r.UserData, userdata.TypeComment); text != tag {
			continue
		}
		key, link := acceptsLink(r)
		what := "in " + link
		if key == expr.MetaKeyOIFNAME {
			what = "out " + link
		}
		if _, wanted := missing[what]; wanted && link != "" {
			delete(missing, what)
			continue
		}
		if err := c.DelRule(r); err != nil {
			return false, refused("remove a rule from chain "+dockerChain, err)
		}
		edited = true
	}
	for _, l := range slices.Backward(links) {
		for _, what := range []string{"out " + l, "in " + l} {
			key, wanted := missing[what]
			if !wanted {
				continue
			}
			c.InsertRule(&nftables.Rule{
				Table: t, Chain: chain, Exprs: slices.Concat(name(key, expr.CmpOpEq, l), []expr.Any{&expr.Counter{}}, verdict(expr.VerdictAccept)),
				UserData: userdata.AppendString(nil, userdata.TypeComment, tag),
			})
			edited = true
		}
	}
	if !edited {
		return false, nil
	}
	if err := c.Flush(); err != nil {
		return false, refused("set rules in chain "+dockerChain, err)
	}
	return true, nil
}

// acceptsLink returns the link whose packets a rule accepts, coming in or going
// out, whatever else they are; empty where it is another rule.
func acceptsLink(r *nftables.Rule) (key expr.MetaKey, link string) {
	accepts := false
	for _, e := range r.Exprs {
		switch e := e.(type) {
		case *expr.Meta:
			key = e.Key
		case *expr.Cmp:
			if e.Op != expr.CmpOpEq || link != "" {
				return 0, ""
			}
			link = string(bytes.TrimRight(e.Data, "\x00"))
		case *expr.Counter:
		case *expr.Verdict:
			accepts = e.Kind == expr.VerdictAccept
		default:
			return 0, ""
		}
	}
	if !accepts || key != expr.MetaKeyIIFNAME && key != expr.MetaKeyOIFNAME {
		return 0, ""
	}
	return key, link
}

func findChain(c *nftables.Conn, t *nftables.Table, name string) (*nftables.Chain, error) {
	chains, err := c.ListChainsOfTableFamily(t.Family)
	if err != nil {
		return nil, refused("list the chains of nftables", err)
	}
	for _, ch := range chains {
		if ch.Table.Name == t.Name && ch.Name == name {
			return ch, nil
		}
	}
	return nil, nil
}

// Barred is a firewall that drops what would pass between containers and the
// world, and what to do about it.
type Barred struct{ Chain, Cure string }

// Barred returns the firewalls of others that drop what they do not know and
// have no place for weft's rules. One that accepts each link by a rule of its own
// chain is none.
func (h *Host) Barred(p Plan) ([]Barred, error) {
	c, err := connect()
	if err != nil {
		return nil, refused("open nftables", err)
	}
	is4, is6 := p.families()
	chains, err := c.ListChains()
	if err != nil {
		return nil, refused("list the chains of nftables", err)
	}
	var list []Barred
	for _, ch := range chains {
		if ch.Type != nftables.ChainTypeFilter || ch.Hooknum == nil || *ch.Hooknum != *nftables.ChainHookForward || ch.Policy == nil || *ch.Policy != nftables.ChainPolicyDrop {
			continue
		}
		family := familyNames[ch.Table.Family]
		if family == "" || family == "ip" && !is4 || family == "ip6" && !is6 || ch.Table.Name == tableName {
			continue
		}
		if ch.Table.Name == "filter" && family != "inet" {
			if docker, err := findChain(c, ch.Table, dockerChain); err != nil || docker != nil {
				continue
			}
		}
		rules, err := c.GetRules(ch.Table, ch)
		if err != nil {
			return nil, refused("list the rules of nftables", err)
		}
		at := fmt.Sprintf("%s %s %s", family, ch.Table.Name, ch.Name)
		if cure := missingAccepts(at, p.linkNames(), rules); cure != "" {
			list = append(list, Barred{at, cure})
		}
	}
	return list, nil
}

var familyNames = map[nftables.TableFamily]string{nftables.TableFamilyIPv4: "ip", nftables.TableFamilyIPv6: "ip6", nftables.TableFamilyINet: "inet"}

// missingAccepts returns the command that lets links pass the chain at; empty
// where they do.
func missingAccepts(at string, links []string, rules []*nftables.Rule) string {
	accepted := map[string]bool{}
	for _, r := range rules {
		if key, link := acceptsLink(r); link != "" {
			accepted[fmt.Sprint(key, link)] = true
		}
	}
	var b bytes.Buffer
	for _, l := range links {
		for _, dir := range []struct {
			key  expr.MetaKey
			word string
		}{{expr.MetaKeyIIFNAME, "iifname"}, {expr.MetaKeyOIFNAME, "oifname"}} {
			if !accepted[fmt.Sprint(dir.key, l)] {
				fmt.Fprintf(&b, "; insert rule %s %s %s accept", at, dir.word, l)
			}
		}
	}
	if b.Len() == 0 {
		return ""
	}
	return "nft '" + b.String()[2:] + "'"
}
