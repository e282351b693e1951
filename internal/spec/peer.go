package spec

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

var peerOptions = []string{"networks", "key", "csum", "seq", "encap"}

// ParsePeer reads the value of --peer:
// NAME=ADDR[,networks=A+B][,key=none][,csum][,seq][,encap=auto|gre|gre-udp].
func ParsePeer(s string) (Peer, error) {
	name, list, ok := strings.Cut(s, "=")
	if !ok {
		return Peer{}, fmt.Errorf("peer %q: want NAME=ADDR[,option...], as in host2=192.168.18.17", s)
	}
	return PeerFrom(name, strings.Split(list, ","))
}

// PeerFrom makes a peer of a name and the items of its option list, the
// address first.
func PeerFrom(name string, items []string) (Peer, error) {
	p := Peer{Name: name}
	err := p.setItems(items)
	if err == nil {
		err = p.validate()
	}
	if err != nil {
		return Peer{}, fmt.Errorf("peer %q: %w", name, err)
	}
	return p, nil
}

func (p *Peer) setItems(items []string) error {
	if len(items) == 0 {
		return p.set("address", "")
	}
	if err := p.set("address", items[0]); err != nil {
		return err
	}
	seen := once{}
	for _, item := range items[1:] {
		key, value, ok := strings.Cut(item, "=")
		switch {
		case key == "csum" || key == "seq":
			if ok {
				return fmt.Errorf("option %q takes no value", key)
			}
			value = "true"
		case !slices.Contains(peerOptions, key):
			return &keyError{key, peerOptions}
		case !ok:
			return fmt.Errorf("option %q wants a value, as in %s=...", key, key)
		}
		if err := seen.take(key); err != nil {
			return err
		}
		if err := p.set(key, value); err != nil {
			return err
		}
	}
	return nil
}

// set is the setter of a peer; networks collect.
func (p *Peer) set(key, value string) (err error) {
	switch key {
	case "address":
		if p.Address, err = netip.ParseAddr(value); err != nil {
			return fmt.Errorf("%q is not an address; want that of the other host, as in 192.168.18.17", value)
		}
	case "networks":
		p.Networks = append(p.Networks, strings.Split(value, "+")...)
	case "key":
		if value != "none" {
			return fmt.Errorf("key %q is not known; key=none is the only form, else a network's id is its key", value)
		}
		p.Keyless = true
	case "csum":
		p.Checksum, err = parseSwitch(key, value)
	case "seq":
		p.Sequence, err = parseSwitch(key, value)
	case "encap":
		if value == "" {
			return errors.New("encap is empty; it is auto, gre or gre-udp")
		}
		p.Encap = value
	default:
		err = &keyError{key, peerOptions}
	}
	return err
}

func parseSwitch(key, value string) (bool, error) {
	if value != "true" && value != "false" {
		return false, fmt.Errorf("%s %q is neither true nor false", key, value)
	}
	return strconv.ParseBool(value)
}

// Validate turns encap "auto" into the empty default and reports the first
// thing that is wrong with p. Whatever the parsers return is valid; what came
// as JSON has to be asked.
func (p *Peer) Validate() error {
	if err := p.validate(); err != nil {
		return fmt.Errorf("peer %q: %w", p.Name, err)
	}
	return nil
}

func (p *Peer) validate() error {
	if err := CheckName(p.Name); err != nil {
		return err
	}
	if err := checkUnderlay(p.Address); err != nil {
		return err
	}
	if err := checkUniqueNames(p.Networks); err != nil {
		return err
	}
	if slices.Contains(p.Networks, NoNetworks) {
		if len(p.Networks) > 1 {
			return fmt.Errorf("networks=%s: either none or others", strings.Join(p.Networks, "+"))
		}
		if p.Keyless {
			return errors.New("with key=none it has one network; networks=none leaves it without")
		}
	}
	if p.Keyless && len(p.Networks) > 1 {
		return fmt.Errorf("with key=none it can share one network, not %s", strings.Join(p.Networks, " and "))
	}
	switch p.Encap {
	case "auto":
		p.Encap = ""
	case "", "gre", "gre-udp":
	default:
		return fmt.Errorf("encap %q is not known; it is auto, gre or gre-udp", p.Encap)
	}
	if p.Encap == "gre-udp" && p.Sequence {
		return errors.New("encap=gre-udp has no room for sequence numbers: leave out seq")
	}
	return nil
}

// checkUnderlay reports an address that no switch can have on the underlay.
func checkUnderlay(a netip.Addr) error {
	switch {
	case !a.IsValid():
		return errors.New("its address is missing, as in 192.168.18.17")
	case a.Is4In6():
		return fmt.Errorf("%s is IPv4 written as IPv6; maybe you meant %s", a, a.Unmap())
	case a.IsUnspecified(), a.IsMulticast(), a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return fmt.Errorf("%s is not the address of one host: name one of its own, as in 192.168.18.17", a)
	case a.Zone() != "":
		return fmt.Errorf("%s has a zone; use an address that needs none", a)
	}
	return nil
}

// ParseLocal reads the value of --local: an address of this host.
func ParseLocal(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return a, fmt.Errorf("local %q is not an address; want one of this host, as in 192.168.18.16", s)
	}
	if err := checkUnderlay(a); err != nil {
		return netip.Addr{}, fmt.Errorf("local: %w", err)
	}
	return a, nil
}

// NoNetworks as the only one of a peer's networks says that none is shared with
// it: it is there for routes alone.
const NoNetworks = "none"

// RoutesOnly reports whether no network is shared with p.
func (p Peer) RoutesOnly() bool { return len(p.Networks) == 1 && p.Networks[0] == NoNetworks }

// String returns the form that ParsePeer reads.
func (p Peer) String() string {
	items := []string{p.Name + "=" + p.Address.String()}
	if len(p.Networks) > 0 {
		items = append(items, "networks="+strings.Join(p.Networks, "+"))
	}
	if p.Keyless {
		items = append(items, "key=none")
	}
	if p.Checksum {
		items = append(items, "csum")
	}
	if p.Sequence {
		items = append(items, "seq")
	}
	if p.Encap != "" {
		items = append(items, "encap="+p.Encap)
	}
	return strings.Join(items, ",")
}
