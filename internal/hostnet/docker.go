package hostnet

import (
	"bytes"
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
// there are any: two rules for each link. Rules for other links are removed. edited
// says that rules were not as they should have been: in a chain that was not there
// the last time, as before Docker's start, none should have been.
func (h *Host) setDocker(links []string) (edited bool, err error) {
	c, err := connect()
	if err != nil {
		return false, refused("open nftables", err)
	}
	there := map[string]bool{}
	defer func() { h.docker = there }()
	note := func(chain string, added, removed bool) {
		there[chain] = true
		edited = edited || removed || added && h.docker[chain]
	}
	for _, t := range firewalls {
		chain, err := findChain(c, t, dockerChain)
		if err != nil {
			return edited, err
		}
		if chain == nil {
			continue
		}
		added, removed, err := setDockerIn(c, t, chain, links)
		note(familyNames[t.Family], added, removed)
		if err != nil {
			return edited, err
		}
	}
	return edited, setDockerLegacy(links, note)
}

// setDockerIn does so in one table, in one step.
func setDockerIn(c *nftables.Conn, t *nftables.Table, chain *nftables.Chain, links []string) (added, removed bool, err error) {
	rules, err := c.GetRules(t, chain)
	if err != nil {
		return false, false, refused("list chain "+dockerChain, err)
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
			return false, false, refused("remove a rule from chain "+dockerChain, err)
		}
		removed = true
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
			added = true
		}
	}
	if !added && !removed {
		return false, false, nil
	}
	if err := c.Flush(); err != nil {
		return false, false, refused("set rules in chain "+dockerChain, err)
	}
	return added, removed, nil
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
