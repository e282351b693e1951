package spec

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Bounds of what a network can be told.
const (
	MTUMin    = 576   // bytes of L3: what every host takes (RFC 791 section 3.1), so that senders rarely go below
	MTUMin6   = 1280  // with IPv6; RFC 8200 section 5
	MTUMax    = 65521 // 65,535 less an Ethernet header: the most that a TAP takes (drivers/net/tun.c)
	AgeingMin = 10    // seconds; 802.1D-2004 table 7-5
	AgeingMax = 1_000_000
	idMax     = 1<<32 - 1
)

var networkOptions = []string{"id", "gateway", "vrf", "range", "mtu", "ageing", "icc"}

// ParseNetwork reads the value of --network:
// NAME=PREFIX[,PREFIX6][,id=N][,gateway=ADDR]...[,vrf=NAME][,range=A-B][,mtu=N][,ageing=SECONDS].
func ParseNetwork(s string) (Network, error) {
	name, list, ok := strings.Cut(s, "=")
	if !ok {
		return Network{}, fmt.Errorf("network %q: want NAME=PREFIX[,option...], as in blue=10.1.0.0/16", s)
	}
	return NetworkFrom(name, strings.Split(list, ","))
}

// NetworkFrom makes a network of a name and the items of its option list.
func NetworkFrom(name string, items []string) (Network, error) {
	n := Network{Name: name}
	err := n.setItems(items)
	if err == nil {
		err = n.validate()
	}
	if err != nil {
		return Network{}, fmt.Errorf("network %q: %w", name, err)
	}
	return n, nil
}

func (n *Network) setItems(items []string) error {
	seen := once{}
	for _, item := range items {
		key, value, ok := strings.Cut(item, "=")
		if !ok {
			key, value = "prefixes", item
		} else if key == "prefixes" {
			return &keyError{key, networkOptions}
		}
		if err := seen.take(key, "gateway", "prefixes"); err != nil {
			return err
		}
		if err := n.set(key, value); err != nil {
			return err
		}
	}
	return nil
}

// set is the setter of a network; prefixes and gateway collect.
func (n *Network) set(key, value string) (err error) {
	switch key {
	case "prefixes":
		var p netip.Prefix
		p, err = parseNetworkPrefix(value)
		n.Prefixes = append(n.Prefixes, p)
	case "id":
		var v int64
		v, err = parseNumber(key, value, 1, idMax)
		n.ID = uint32(v)
	case "gateway":
		var a netip.Addr
		a, err = parseGateway(value)
		n.Gateways = append(n.Gateways, a)
	case "vrf":
		n.VRF, err = value, checkVRF(value)
	case "range":
		n.Range, err = ParseRange(value)
	case "mtu":
		n.MTU, err = ParseMTU(value)
	case "ageing":
		n.Ageing, err = parseAgeing(value)
	case "icc":
		n.ICC, err = parseICC(value)
	default:
		err = &keyError{key, networkOptions}
	}
	return err
}

func parseNetworkPrefix(s string) (netip.Prefix, error) {
	if s == "" {
		return netip.Prefix{}, errors.New("an item of the option list is empty; it starts with a prefix, as in 10.1.0.0/16")
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		if _, err := netip.ParseAddr(s); err == nil {
			return p, fmt.Errorf("prefix %q: the prefix length is missing%s", s, proposeLength(s, s))
		}
		return p, fmt.Errorf("%q is neither a prefix, as in 10.1.0.0/16, nor an option; the options are %s", s, strings.Join(networkOptions, ", "))
	}
	return p, nil
}

func parseGateway(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return a, fmt.Errorf("gateway %q is not an address; want one of the network's prefix, as in 10.1.0.1", s)
	}
	return a, nil
}

func checkVRF(s string) error {
	if s == "none" {
		return errors.New(`vrf "none" would mean that there is no vrf; choose another name`)
	}
	if err := CheckName(s); err != nil {
		return fmt.Errorf("vrf %q: %w", s, err)
	}
	return nil
}

// ParseMTU reads an MTU, in bytes of L3.
func ParseMTU(s string) (int, error) {
	v, err := parseNumber("mtu", s, MTUMin, MTUMax)
	return int(v), err
}

// ICCOff is the value of Network.ICC with which containers do not reach one another.
const ICCOff = "off"

// parseICC reads on, which is the default and empty, or off.
func parseICC(s string) (string, error) {
	switch s {
	case "on":
		return "", nil
	case ICCOff:
		return s, nil
	}
	return "", fmt.Errorf("icc %q: want on or off", s)
}

func parseAgeing(s string) (int, error) {
	v, err := parseNumber("ageing", s, AgeingMin, AgeingMax)
	return int(v), err
}

// Validate puts prefixes and gateways in order, IPv4 first, and reports the
// first thing that is wrong with n. Whatever the parsers return is valid; what
// came as JSON has to be asked.
func (n *Network) Validate() error {
	if err := n.validate(); err != nil {
		return fmt.Errorf("network %q: %w", n.Name, err)
	}
	return nil
}

func (n *Network) validate() error {
	if err := CheckName(n.Name); err != nil {
		return err
	}
	if n.Name == NoNetworks {
		return errors.New("with a peer, networks=none would mean no network; choose another name")
	}
	if err := n.validatePrefixes(); err != nil {
		return err
	}
	if err := n.validateGateways(); err != nil {
		return err
	}
	if n.VRF != "" {
		if err := checkVRF(n.VRF); err != nil {
			return err
		}
	}
	if err := n.validateRange(); err != nil {
		return err
	}
	if n.ICC != "" && n.ICC != ICCOff {
		return fmt.Errorf("icc %q: want off, or nothing", n.ICC)
	}
	return n.validateNumbers()
}

func (n *Network) validatePrefixes() error {
	switch len(n.Prefixes) {
	case 0:
		return errors.New("it has no prefix; give it one, as in 10.1.0.0/16")
	case 1, 2:
	default:
		return errors.New("it has more than one prefix of a family; one IPv4 and one IPv6 prefix can stand")
	}
	for _, p := range n.Prefixes {
		switch {
		case !p.IsValid():
			return errors.New("a prefix is empty")
		case p.Masked() != p:
			return fmt.Errorf("%s is an address, not a prefix; maybe you meant %s", p, p.Masked())
		case p.Bits() == 0:
			return fmt.Errorf("prefix %s spans every address there is", p)
		case p.IsSingleIP():
			return fmt.Errorf("prefix %s has room for one address only", p)
		}
		if err := checkSpace(p); err != nil {
			return fmt.Errorf("prefix %s: %w", p, err)
		}
	}
	slices.SortFunc(n.Prefixes, func(a, b netip.Prefix) int { return a.Addr().BitLen() - b.Addr().BitLen() })
	if len(n.Prefixes) == 2 && n.Prefixes[0].Addr().BitLen() == n.Prefixes[1].Addr().BitLen() {
		return fmt.Errorf("prefixes %s and %s are of one family; one IPv4 and one IPv6 prefix can stand", n.Prefixes[0], n.Prefixes[1])
	}
	return nil
}

func (n *Network) validateGateways() error {
	slices.SortFunc(n.Gateways, func(a, b netip.Addr) int { return a.BitLen() - b.BitLen() })
	for i, g := range n.Gateways {
		p, ok := n.prefixOf(g)
		if !ok {
			return fmt.Errorf("gateway %s is not in %s: name one that is, as in %s", g, joinStringers(n.Prefixes, " or "), firstHost(n.familyOf(g)))
		}
		if err := checkHost(netip.PrefixFrom(g, p.Bits())); err != nil {
			return fmt.Errorf("gateway: %w", err)
		}
		if i > 0 && n.Gateways[i-1].BitLen() == g.BitLen() {
			return fmt.Errorf("gateways %s and %s are of one family; one each can stand", n.Gateways[i-1], g)
		}
	}
	return nil
}

func (n *Network) validateRange() error {
	if n.Range.IsZero() {
		return nil
	}
	if err := n.Range.check(); err != nil {
		return err
	}
	from, ok1 := n.prefixOf(n.Range.From)
	to, ok2 := n.prefixOf(n.Range.To)
	if !ok1 || !ok2 || from != to {
		return fmt.Errorf("range %s is not within %s", n.Range, joinStringers(n.Prefixes, " or "))
	}
	return nil
}

func (n *Network) validateNumbers() error {
	if n.MTU != 0 {
		min := int64(MTUMin)
		if n.Prefixes[len(n.Prefixes)-1].Addr().Is6() {
			min = MTUMin6
		}
		if err := checkNumber("mtu", int64(n.MTU), min, MTUMax); err != nil {
			return err
		}
	}
	if n.Ageing != 0 {
		return checkNumber("ageing", int64(n.Ageing), AgeingMin, AgeingMax)
	}
	return nil
}

// familyOf returns the prefix of a's version of IP, else the first.
func (n *Network) familyOf(a netip.Addr) netip.Prefix {
	last := n.Prefixes[len(n.Prefixes)-1]
	if a.BitLen() == last.Addr().BitLen() {
		return last
	}
	return n.Prefixes[0]
}

// prefixOf returns the prefix that holds a.
func (n *Network) prefixOf(a netip.Addr) (netip.Prefix, bool) {
	for _, p := range n.Prefixes {
		if p.Contains(a) {
			return p, true
		}
	}
	return netip.Prefix{}, false
}

// String returns the form that ParseNetwork reads.
func (n Network) String() string {
	items := []string{n.Name + "=" + joinStringers(n.Prefixes, ",")}
	add := func(key, value string) { items = append(items, key+"="+value) }
	if n.ID != 0 {
		add("id", strconv.FormatUint(uint64(n.ID), 10))
	}
	for _, g := range n.Gateways {
		add("gateway", g.String())
	}
	if n.VRF != "" {
		add("vrf", n.VRF)
	}
	if !n.Range.IsZero() {
		add("range", n.Range.String())
	}
	if n.MTU != 0 {
		add("mtu", strconv.Itoa(n.MTU))
	}
	if n.Ageing != 0 {
		add("ageing", strconv.Itoa(n.Ageing))
	}
	if n.ICC != "" {
		add("icc", n.ICC)
	}
	return strings.Join(items, ",")
}

func joinStringers[T fmt.Stringer](vs []T, sep string) string {
	ss := make([]string, len(vs))
	for i, v := range vs {
		ss[i] = v.String()
	}
	return strings.Join(ss, sep)
}
