package spec

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

var changeOptions = []string{"gateway", "vrf", "range", "mtu", "ageing"}

// ChangeFrom makes a change of the items of an option list: KEY=VALUE, where
// none takes a gateway, vrf or range away, and 0 puts mtu or ageing back to
// their defaults. Several gateway items stand for the whole new set.
func ChangeFrom(items []string) (NetworkChange, error) {
	var ch NetworkChange
	seen := once{}
	for _, item := range items {
		key, value, ok := strings.Cut(item, "=")
		if !ok {
			return NetworkChange{}, fmt.Errorf("%q: want OPTION=VALUE; the options are %s", item, strings.Join(changeOptions, ", "))
		}
		if err := seen.take(key, "gateway"); err != nil {
			return NetworkChange{}, err
		}
		if err := ch.set(key, value); err != nil {
			return NetworkChange{}, err
		}
	}
	if ch == (NetworkChange{}) {
		return ch, fmt.Errorf("nothing to change; the options are %s", strings.Join(changeOptions, ", "))
	}
	return ch, nil
}

// set is the setter of a change; gateway collects.
func (ch *NetworkChange) set(key, value string) error {
	var n Network // parses each value as a new network would
	unset := value == "none" && (key == "gateway" || key == "vrf" || key == "range") ||
		value == "0" && (key == "mtu" || key == "ageing")
	if !unset && slices.Contains(changeOptions, key) {
		if err := n.set(key, value); err != nil {
			return err
		}
	}
	switch key {
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
	case "id":
		return errors.New("the id of a network cannot change; remove the network and add it again")
	default:
		return &keyError{key, changeOptions}
	}
	return nil
}

// With returns n as ch makes it; the result has to be validated. n stays as it is.
func (n Network) With(ch NetworkChange) Network {
	n.Prefixes = slices.Clone(n.Prefixes)
	n.Gateways = slices.Clone(n.Gateways)
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
	if len(n.Gateways) == 0 {
		n.Gateways = nil
	}
	return n
}
