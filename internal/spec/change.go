package spec

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

var changeOptions = []string{"gateway", "vrf", "range", "mtu", "ageing", "icc"}

// ChangeFrom makes a change of the items of an option list: prefixes, and
// KEY=VALUE, where none takes a gateway, vrf or range away, and 0 puts mtu or
// ageing back to their defaults. Several prefixes, and several gateway items,
// stand for the whole new set.
func ChangeFrom(items []string) (NetworkChange, error) {
	var ch NetworkChange
	seen := once{}
	for _, item := range items {
		key, value, ok := strings.Cut(item, "=")
		if !ok {
			key, value = "prefixes", item
		} else if key == "prefixes" {
			return NetworkChange{}, &keyError{key, changeOptions}
		}
		if err := seen.take(key, "gateway", "prefixes"); err != nil {
			return NetworkChange{}, err
		}
		if err := ch.set(key, value); err != nil {
			return NetworkChange{}, err
		}
	}
	if ch == (NetworkChange{}) {
		return ch, fmt.Errorf("nothing to change; name its prefixes, or options: %s", strings.Join(changeOptions, ", "))
	}
	return ch, nil
}

// set is the setter of a change; gateway collects.
func (ch *NetworkChange) set(key, value string) error {
	var n Network // parses each value as a new network would
	unset := value == "none" && (key == "gateway" || key == "vrf" || key == "range") ||
		value == "0" && (key == "mtu" || key == "ageing")
	if key == "prefixes" || !unset && slices.Contains(changeOptions, key) {
		if err := n.set(key, value); err != nil {
			return err
		}
	}
	switch key {
	case "prefixes":
		if ch.Prefixes == nil {
			ch.Prefixes = &[]netip.Prefix{}
		}
		*ch.Prefixes = append(*ch.Prefixes, n.Prefixes...)
	case "gateway":
		if ch.Gateways != nil && (unset || len(*ch.Gateways) == 0) {
			return errors.New("gateway none goes with no other gateway")
		}
		if ch.Gateways == nil {
			ch.Gateways = &[]netip.Addr{}
		}
		*ch.Gateways = append(*ch.Gateways, n.Gateways...)
	case "vrf":
		ch.VRF = &n.VRF
	case "range":
		ch.Range = &n.Range
	case "mtu":
		ch.MTU = &n.MTU
	case "ageing":
		ch.Ageing = &n.Ageing
	case "icc":
		ch.ICC = &n.ICC
	case "id":
		return errors.New("the id of a network cannot change; remove the network and add it again")
	default:
		return &keyError{key, changeOptions}
	}
	return nil
}

// With returns n as ch makes it; the result has to be validated. n stays as it is.
//
// Where the prefix of a family gives way to another one of the same length, and
// ch does not name them, gateway and range keep their host parts in the new one;
// where a family goes, its gateway and range go.
func (n Network) With(ch NetworkChange) Network {
	was := n
	n.Prefixes = slices.Clone(n.Prefixes)
	n.Gateways = slices.Clone(n.Gateways)
	if ch.Prefixes != nil {
		n.Prefixes = slices.Clone(*ch.Prefixes)
		n.Gateways = nil
		for _, g := range was.Gateways {
			if g, ok := n.Moved(was, g); ok {
				n.Gateways = append(n.Gateways, g)
			}
		}
		from, ok := n.Moved(was, n.Range.From)
		to, _ := n.Moved(was, n.Range.To)
		if n.Range = (Range{}); ok {
			n.Range = Range{from, to}
		}
	}
	if ch.Gateways != nil {
		n.Gateways = slices.Clone(*ch.Gateways)
	}
	if ch.VRF != nil {
		n.VRF = *ch.VRF
	}
	if ch.Range != nil {
		n.Range = *ch.Range
	}
	if ch.MTU != nil {
		n.MTU = *ch.MTU
	}
	if ch.Ageing != nil {
		n.Ageing = *ch.Ageing
	}
	if ch.ICC != nil {
		n.ICC = *ch.ICC
	}
	if len(n.Gateways) == 0 {
		n.Gateways = nil
	}
	return n
}

// PrefixOf returns the prefix of n of a's family.
func (n *Network) PrefixOf(a netip.Addr) (netip.Prefix, bool) {
	for _, p := range n.Prefixes {
		if p.Addr().BitLen() == a.BitLen() {
			return p, true
		}
	}
	return netip.Prefix{}, false
}

// Moved returns where a, an address of was, is in n, which was became: at the same
// host part where the prefixes have one length, else where it was, be that inside
// or not. ok is false where n has no prefix of its family.
func (n *Network) Moved(was Network, a netip.Addr) (moved netip.Addr, ok bool) {
	to, ok := n.PrefixOf(a)
	if !ok {
		return netip.Addr{}, false
	}
	from, ok := was.PrefixOf(a)
	if !ok || from.Bits() != to.Bits() {
		return a, true
	}
	return withHost(to, a), true
}

// withHost returns the address of p that has a's host part.
func withHost(p netip.Prefix, a netip.Addr) netip.Addr {
	b, host := p.Addr().AsSlice(), a.AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= host[i/8] & (0x80 >> (i % 8))
	}
	moved, _ := netip.AddrFromSlice(b)
	return moved
}
