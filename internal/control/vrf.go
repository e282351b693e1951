package control

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"weft/internal/spec"
)

// vrf is a routing table: the networks that name it, or the one that has it for
// itself.
type vrf struct {
	name     string
	key      uint32
	networks []*network // by name; those without a gateway are in it, but not routed

	connected []connected
}

// connected is a prefix of a network that is routed.
type connected struct {
	prefix  netip.Prefix
	network *network
}

// vrfOf returns the vrf of n. A network that names none, but has a gateway, has
// one of its own under its own name and id, so that the gateway can answer and
// routes can be given. A network with neither is bridged only.
//
// The id of a named vrf is found like that of a network. It may be the number
// of a network's: both are GRE keys, but that of a network goes with Ethernet,
// that of a vrf with IP, and the protocol type tells them apart.
func vrfOf(n spec.Network) (name string, key uint32, ok bool) {
	switch {
	case n.VRF != "":
		return n.VRF, nameID(n.VRF), true
	case len(n.Gateways) > 0:
		return n.Name, n.ID, true
	}
	return "", 0, false
}

// clashVRF says why the vrfs of two networks cannot be told apart, and nil where
// they can.
func clashVRF(a, b spec.Network) error {
	nameA, keyA, okA := vrfOf(a)
	nameB, keyB, okB := vrfOf(b)
	switch {
	case !okA || !okB || a.VRF != "" && a.VRF == b.VRF:
		return nil
	case nameA == nameB: // one of them has it for itself
		names, own := a.Name, b.Name
		if a.VRF == "" {
			names, own = own, names
		}
		return fmt.Errorf("network %q: network %q has vrf %q for itself, since it has a gateway and names no vrf: choose another name, or give network %q vrf=%s too",
			names, own, nameA, own, nameA)
	case keyA == keyB:
		return fmt.Errorf("network %q: its vrf %q has id %d, which is that of vrf %q of network %q too: choose another name with vrf=NAME", a.Name, nameA, keyA, nameB, b.Name)
	}
	return nil
}

// connected returns the prefixes of n that are routed: those of a family in
// which it has a gateway.
func (n *network) connected() (list []netip.Prefix) {
	if _, _, ok := vrfOf(n.Network); !ok {
		return nil
	}
	for _, p := range n.Prefixes {
		if _, ok := n.gatewayFor(p.Addr()); ok {
			list = append(list, p)
		}
	}
	return list
}

// vrfs returns all vrfs by name.
func (d desired) vrfs() map[string]*vrf {
	all := map[string]*vrf{}
	for _, name := range sortedKeys(d.networks) {
		n := d.networks[name]
		vname, key, ok := vrfOf(n.Network)
		if !ok {
			continue
		}
		if all[vname] == nil {
			all[vname] = &vrf{name: vname, key: key}
		}
		v := all[vname]
		v.networks = append(v.networks, n)
		for _, p := range n.connected() {
			v.connected = append(v.connected, connected{p, n})
		}
	}
	return all
}

// vrfNamed returns a vrf that must exist. Without a name it is the only one, or
// the only one in which something is routed.
func (d desired) vrfNamed(name string) (*vrf, error) {
	all := d.vrfs()
	switch {
	case len(all) == 0:
		return nil, fmt.Errorf("there is no vrf yet: give a network a gateway with weft network set NAME --gateway ADDR")
	case name != "" && all[name] == nil:
		return nil, fmt.Errorf("vrf %q does not exist: there is %s, or make it with weft network set NAME --vrf %s", name, strings.Join(sortedKeys(all), ", "), name)
	case name != "":
		return all[name], nil
	}
	names := sortedKeys(all)
	if len(names) > 1 {
		names = slices.DeleteFunc(names, func(s string) bool { return !all[s].routes() })
	}
	if len(names) != 1 {
		return nil, fmt.Errorf("there are several vrfs: name one of %s with --vrf (vrf= where it is declared)", strings.Join(sortedKeys(all), ", "))
	}
	return all[names[0]], nil
}

// routes reports whether v has a gateway.
func (v *vrf) routes() bool {
	return slices.ContainsFunc(v.networks, func(n *network) bool { return len(n.Gateways) > 0 })
}

// connectedAt returns the network of v, and its prefix, that has a connected; nil
// where there is none.
func (v *vrf) connectedAt(a netip.Addr) (*network, netip.Prefix) {
	for _, c := range v.connected {
		if c.prefix.Contains(a) {
			return c.network, c.prefix
		}
	}
	return nil, netip.Prefix{}
}

// isConnected reports whether p is a connected prefix of v.
func (v *vrf) isConnected(p netip.Prefix) bool {
	return slices.ContainsFunc(v.connected, func(c connected) bool { return c.prefix == p })
}
