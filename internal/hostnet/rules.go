package hostnet

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// The table as `nft list table inet weft` prints it, for one exposed network
// with a published port:
//
//	set exposed { type ifname; elements = { "weft-blue" } }
//	set opened4 { type ifname; elements = { "eth0" } }
//	chain prerouting { type nat hook prerouting priority dstnat
//	    fib daddr type local tcp dport 2222 dnat ip to 10.10.0.2:22 comment "blue netns:web" }
//	chain input { type filter hook input priority filter
//	    iifname != "lo" tcp dport 2222 reject with tcp reset comment "blue netns:web" }   (0)
//	chain forward { type filter hook forward priority filter
//	    meta nfproto ipv4 iifname @opened4 oifname @opened4 drop           (1)
//	    oifname "weft-blue" iifname != "weft-blue"
//	        ct state & (established | related) == 0 ct status & dnat == 0 drop     (2)
//	    oifname "weft-blue" iifname "weft-blue" (the same) drop }                 (5)
//	chain postrouting { type nat hook postrouting priority srcnat
//	    iifname "weft-blue" oifname "weft-blue" masquerade                (3)
//	    iifname "weft-blue" oifname != @exposed masquerade }              (4)
//
// The sets have names, since nft before 1.0.7 misreads those without that this
// library makes. (0) What the container has no address for, or all while it is not
// attached: the listener that holds the port is for the host's own clients, and
// would only take a connection to close it. (1) Between interfaces on which forwarding is on for weft alone nothing is
// forwarded, as before. (2) Behind SNAT only answers and published ports come in
// from elsewhere; without it other exposed networks are kept out, since networks
// are isolated. (3) A container that uses a published port of its own network,
// even its own, gets the answer through the host too. (4) SNAT. (5) Where the
// containers of a network do not reach one another (icc=off), not by the host either.

const tableName = "weft"

func table() *nftables.Table {
	return &nftables.Table{Name: tableName, Family: nftables.TableFamilyINet}
}

// connect opens nftables with room for a batch of thousands of rules.
func connect() (*nftables.Conn, error) {
	return nftables.New(nftables.WithSockOptions(func(c *netlink.Conn) error {
		return errors.Join(c.SetWriteBuffer(8<<20), c.SetReadBuffer(8<<20))
	}))
}

// setTable puts the table in place, or takes it away where there is nothing to
// be in it. The kernel does that in one step, or not at all.
func (h *Host) setTable(p Plan) error {
	c, err := connect()
	if err != nil {
		return untouched{refused("open nftables", err)}
	}
	if len(p.Links) == 0 {
		h.seen = ""
		return removeTable(c)
	}
	t := c.AddTable(table()) // so that it may be deleted
	c.DelTable(t)
	c.AddTable(t)
	h.addChains(c, t, p)
	if err := c.Flush(); err != nil {
		return untouched{refused("set the rules of nftables", err)}
	}
	h.apart = keptApart(p)
	h.seen, err = listTable(c)
	return err
}

// keptApart names the interfaces between which nothing is forwarded. Others may
// switch forwarding on for all of the host meanwhile, as Docker does.
func keptApart(p Plan) string {
	return fmt.Sprint(opened("ipv4", p.Sysctls), opened("ipv6", p.Sysctls))
}

// removeTable removes the table, where there is one.
func removeTable(c *nftables.Conn) error {
	there, err := hasTable(c)
	if err != nil || !there {
		return err
	}
	c.DelTable(table())
	if err := c.Flush(); err != nil {
		return refused("remove the rules of nftables", err)
	}
	return nil
}

func hasTable(c *nftables.Conn) (bool, error) {
	list, err := c.ListTablesOfFamily(nftables.TableFamilyINet)
	if err != nil {
		return false, refused("list the tables of nftables", err)
	}
	for _, t := range list {
		if t.Name == tableName {
			return true, nil
		}
	}
	return false, nil
}

// checkTable sets the table anew where it is not as setTable left it.
func (h *Host) checkTable(p Plan) (edited bool, err error) {
	c, err := connect()
	if err != nil {
		return false, refused("open nftables", err)
	}
	now, err := listTable(c)
	same := now == h.seen && (now != "" || len(p.Links) == 0)
	if err != nil || same && (now == "" || h.apart == keptApart(p)) {
		return false, err
	}
	edited = h.seen != "" && !same
	return edited, h.setTable(p)
}

// listTable returns all that is in the table, but for numbers that change with
// every write; empty where there is no table.
func listTable(c *nftables.Conn) (string, error) {
	there, err := hasTable(c)
	if err != nil || !there {
		return "", err
	}
	chains, err := c.ListChainsOfTableFamily(nftables.TableFamilyINet)
	if err != nil {
		return "", refused("list the chains of nftables", err)
	}
	var b strings.Builder
	for _, ch := range chains {
		if ch.Table.Name != tableName {
			continue
		}
		fmt.Fprintf(&b, "chain %s %s", ch.Name, ch.Type)
		if ch.Hooknum != nil && ch.Priority != nil {
			fmt.Fprintf(&b, " hook %d priority %d", *ch.Hooknum, *ch.Priority)
		}
		if ch.Policy != nil {
			fmt.Fprintf(&b, " policy %d", *ch.Policy)
		}
		rules, err := c.GetRules(table(), ch)
		if err != nil {
			return "", refused("list the rules of nftables", err)
		}
		for _, r := range rules {
			fmt.Fprintf(&b, "\n rule %x", r.UserData)
			for _, e := range r.Exprs {
				raw, err := expr.Marshal(byte(nftables.TableFamilyINet), e)
				if err != nil { // one that only a foreign rule has
					raw = fmt.Appendf(nil, "%T", e)
				}
				fmt.Fprintf(&b, " %x", raw)
			}
		}
		b.WriteByte('\n')
	}
	err = listSets(c, &b)
	return b.String(), err
}

// listSets adds the sets of the table to b.
func listSets(c *nftables.Conn, b *strings.Builder) error {
	sets, err := c.GetSets(table())
	if err != nil {
		return refused("list the sets of nftables", err)
	}
	for _, set := range sets {
		elements, err := c.GetSetElements(set)
		if err != nil {
			return refused("list the sets of nftables", err)
		}
		keys := make([]string, len(elements))
		for i, e := range elements {
			keys[i] = fmt.Sprintf("%x", e.Key)
		}
		slices.Sort(keys)
		fmt.Fprintf(b, "set %s %s\n", set.Name, keys)
	}
	return nil
}

func (h *Host) addChains(c *nftables.Conn, t *nftables.Table, p Plan) {
	pre := c.AddChain(&nftables.Chain{Name: "prerouting", Table: t, Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityNATDest})
	fwd := c.AddChain(&nftables.Chain{Name: "forward", Table: t, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter})
	post := c.AddChain(&nftables.Chain{Name: "postrouting", Table: t, Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource})
	add := func(ch *nftables.Chain, comment string, parts ...[]expr.Any) {
		r := &nftables.Rule{Table: t, Chain: ch}
		for _, part := range parts {
			r.Exprs = append(r.Exprs, part...)
		}
		if comment != "" {
			r.UserData = userdata.AppendString(nil, userdata.TypeComment, comment)
		}
		c.AddRule(r)
	}
	for _, pub := range p.Published {
		for _, one := range pub.split() {
			add(pre, pub.Comment, one.match(), one.dnat())
		}
	}
	if len(p.Held) > 0 {
		in := c.AddChain(&nftables.Chain{Name: "input", Table: t, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityFilter})
		for _, held := range p.Held {
			add(in, held.Comment, name(expr.MetaKeyIIFNAME, expr.CmpOpNeq, "lo"), held.match(), held.reject())
		}
	}
	for _, v := range []struct {
		family, set string
		proto       byte
	}{{"ipv4", "opened4", unix.NFPROTO_IPV4}, {"ipv6", "opened6", unix.NFPROTO_IPV6}} {
		if names := opened(v.family, p.Sysctls); len(names) > 0 {
			set := nameSet(c, t, v.set, names)
			add(fwd, "as before weft", nfproto(v.proto), inSet(expr.MetaKeyIIFNAME, set, false), inSet(expr.MetaKeyOIFNAME, set, false), verdict(expr.VerdictDrop))
		}
	}
	names := p.linkNames()
	exposed := nameSet(c, t, "exposed", names)
	for _, l := range p.Links {
		if l.Apart {
			add(fwd, "containers are apart", name(expr.MetaKeyOIFNAME, expr.CmpOpEq, l.Name), name(expr.MetaKeyIIFNAME, expr.CmpOpEq, l.Name), unasked(), verdict(expr.VerdictDrop))
		}
		if l.SNAT {
			add(fwd, "answers and published ports only", name(expr.MetaKeyOIFNAME, expr.CmpOpEq, l.Name), name(expr.MetaKeyIIFNAME, expr.CmpOpNeq, l.Name), unasked(), verdict(expr.VerdictDrop))
			continue
		}
		for _, other := range names {
			if other != l.Name {
				add(fwd, "networks are isolated", name(expr.MetaKeyOIFNAME, expr.CmpOpEq, l.Name), name(expr.MetaKeyIIFNAME, expr.CmpOpEq, other), unasked(), verdict(expr.VerdictDrop))
			}
		}
	}
	for _, l := range p.Links {
		add(post, "back through the host", name(expr.MetaKeyIIFNAME, expr.CmpOpEq, l.Name), name(expr.MetaKeyOIFNAME, expr.CmpOpEq, l.Name), []expr.Any{&expr.Masq{}})
		if l.SNAT {
			add(post, "snat", name(expr.MetaKeyIIFNAME, expr.CmpOpEq, l.Name), inSet(expr.MetaKeyOIFNAME, exposed, true), []expr.Any{&expr.Masq{}})
		}
	}
}

// match finds packets for a port of the host.
func (p Held) match() (list []expr.Any) {
	if p.Host.IsValid() {
		list = append(nfproto(protoOf(p.Host)), daddrIs(p.Host)...)
	}
	return append(list, portIs(p.Proto, p.First, p.Count)...)
}

// reject answers as a host does where nothing listens.
func (p Held) reject() []expr.Any {
	if p.Proto == "udp" {
		return []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_PORT_UNREACH}}
	}
	return []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_TCP_RST}}
}

// split returns p as pieces of which each keeps the port or has one port alone.
func (p Published) split() []Published {
	if p.To == p.First || p.Count == 1 {
		return []Published{p}
	}
	list := make([]Published, p.Count)
	for i := range list {
		list[i] = p
		list[i].First, list[i].To, list[i].Count = p.First+uint16(i), p.To+uint16(i), 1
	}
	return list
}

// match finds packets for a port of the host.
func (p Published) match() []expr.Any {
	list := nfproto(protoOf(p.Target))
	if p.Host.IsValid() {
		list = append(list, daddrIs(p.Host)...)
	} else {
		list = append(list, &expr.Fib{Register: 1, FlagDADDR: true, ResultADDRTYPE: true}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL)})
	}
	return append(list, portIs(p.Proto, p.First, p.Count)...)
}

// daddrIs finds packets to an address, of its version of IP.
func daddrIs(a netip.Addr) []expr.Any {
	offset, size := uint32(16), uint32(4)
	if a.Is6() {
		offset, size = 24, 16
	}
	return []expr.Any{&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: size}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: a.AsSlice()}}
}

// portIs finds packets to one of count ports, of tcp or udp.
func portIs(name string, port uint16, count int) []expr.Any {
	proto := byte(unix.IPPROTO_TCP)
	if name == "udp" {
		proto = unix.IPPROTO_UDP
	}
	list := []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{proto}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
	}
	first, last := binaryutil.BigEndian.PutUint16(port), binaryutil.BigEndian.PutUint16(port+uint16(count-1))
	if count == 1 {
		return append(list, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: first})
	}
	return append(list, &expr.Range{Op: expr.CmpOpEq, Register: 1, FromData: first, ToData: last})
}

// protoOf returns the number of an address's version of IP.
func protoOf(a netip.Addr) byte {
	if a.Is4() {
		return unix.NFPROTO_IPV4
	}
	return unix.NFPROTO_IPV6
}

// dnat leads to the container, at the same port where there is more than one.
func (p Published) dnat() []expr.Any {
	list := []expr.Any{&expr.Immediate{Register: 1, Data: p.Target.AsSlice()}}
	nat := &expr.NAT{Type: expr.NATTypeDestNAT, Family: uint32(protoOf(p.Target)), RegAddrMin: 1}
	if p.Count == 1 {
		list = append(list, &expr.Immediate{Register: 2, Data: binaryutil.BigEndian.PutUint16(p.To)})
		nat.RegProtoMin = 2
	}
	return append(list, nat)
}

// unasked finds packets that neither belong to a known connection nor came for a
// published port.
func unasked() []expr.Any {
	zero := make([]byte, 4)
	mask := func(bits uint32) *expr.Bitwise {
		return &expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(bits), Xor: zero}
	}
	const statusDNAT = 1 << 5 // IPS_DST_NAT (linux/netfilter/nf_conntrack_common.h)
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATE, Register: 1}, mask(expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED), &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: zero},
		&expr.Ct{Key: expr.CtKeySTATUS, Register: 1}, mask(statusDNAT), &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: zero},
	}
}

func nfproto(family byte) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{family}}}
}

// name compares an interface's name.
func name(key expr.MetaKey, op expr.CmpOp, link string) []expr.Any {
	return []expr.Any{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: op, Register: 1, Data: ifName(link)}}
}

// inSet looks an interface's name up.
func inSet(key expr.MetaKey, set *nftables.Set, invert bool) []expr.Any {
	return []expr.Any{&expr.Meta{Key: key, Register: 1}, &expr.Lookup{SourceRegister: 1, SetName: set.Name, SetID: set.ID, Invert: invert}}
}

// nameSet makes a set of interface names.
func nameSet(c *nftables.Conn, t *nftables.Table, called string, names []string) *nftables.Set {
	set := &nftables.Set{Table: t, Name: called, KeyType: nftables.TypeIFName, KeyByteOrder: binaryutil.NativeEndian}
	elements := make([]nftables.SetElement, len(names))
	for i, n := range names {
		elements[i].Key = ifName(n)
	}
	_ = c.AddSet(set, elements) // fails for sets of intervals alone
	return set
}

func verdict(kind expr.VerdictKind) []expr.Any { return []expr.Any{&expr.Verdict{Kind: kind}} }

// ifName returns a name as the kernel compares it: padded with zeroes.
func ifName(s string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, s)
	return b
}
