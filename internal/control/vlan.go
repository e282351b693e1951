package control

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"weft/internal/header"
	"weft/internal/spec"
)

// vlans is the VLANs of a port.
type vlans struct {
	access int // of its untagged frames; 0: they are the network's
	trunk  spec.Trunk
}

func (r endpointRecord) vlans() vlans { return vlans{r.VLAN, r.Trunk} }

func (r endpointRecord) sameVLANs(v vlans) bool { return r.vlans() == v }

// hasVLANs reports whether r is an access or trunk port.
func (r endpointRecord) hasVLANs() bool { return r.vlans() != vlans{} }

// String returns v as it is asked for.
func (v vlans) String() string {
	var list []string
	if v.access != 0 {
		list = append(list, "--vlan "+strconv.Itoa(v.access))
	}
	if v.trunk != "" {
		list = append(list, "--trunk "+string(v.trunk))
	}
	if len(list) == 0 {
		return "without --vlan"
	}
	return "with " + strings.Join(list, " and ")
}

// in reports whether the port is a member of a VLAN of its network, 0 being the
// untagged one.
func (r endpointRecord) in(vlan int) bool {
	return r.VLAN == vlan || vlan != 0 && slices.Contains(r.Trunk.VLANs(), uint16(vlan))
}

// vlanFlag is what names a VLAN on the command line, behind a space; vlanName
// names it in a sentence.
func vlanFlag(vlan int) string {
	if vlan == 0 {
		return ""
	}
	return fmt.Sprintf(" --vlan %d", vlan)
}

func vlanName(vlan int) string {
	if vlan == 0 {
		return "the untagged network"
	}
	return fmt.Sprintf("VLAN %d", vlan)
}

// inVLAN says in which VLAN; empty for the untagged one.
func inVLAN(vid uint16) string {
	if vid == 0 {
		return ""
	}
	return fmt.Sprintf(" of VLAN %d", vid)
}

// in returns n as a port of one of its VLANs sees it: no default route leads to its
// gateways, which are in the untagged one.
func (n *network) in(vlan int) *network {
	if vlan == 0 {
		return n
	}
	v := *n
	v.vlan = vlan
	return &v
}

// portMTU returns the L3 MTU of a port of n, which is one of d, that names none.
// Tags take room in a tunnel; on a LAN they do not count (802.3 section 3.2.7).
func (c *Controller) portMTU(d desired, n *network, r endpointRecord) int {
	mtu := c.mtuIn(d, n)
	if r.hasVLANs() && n.MTU == 0 && !c.isAlone(n.Name) {
		return max(mtu-header.VLANLen, leastMTU(n.Prefixes))
	}
	return mtu
}

// checkVLANs refuses a port with VLANs where the network itself is one VLAN of a link.
func (c *Controller) checkVLANs(network string, r endpointRecord) error {
	for _, u := range c.uplinksOf(network) {
		if u.VLAN != 0 && r.hasVLANs() {
			return vlanClash(u.Uplink, r.Target)
		}
	}
	return nil
}

// checkUplinkVLAN refuses to make a network with VLANs one VLAN of a link.
func (c *Controller) checkUplinkVLAN(u spec.Uplink) error {
	for _, ep := range c.endpointsOf(u.Network) {
		if u.VLAN != 0 && ep.hasVLANs() {
			return vlanClash(u, c.portName(ep))
		}
	}
	return nil
}

// vlanClash says that a port with VLANs goes with no uplink that is a VLAN.
func vlanClash(u spec.Uplink, port string) error {
	return fmt.Errorf("network %q is VLAN %d of uplink %s, which has no VLANs of its own for port %s: attach that without --vlan and --trunk, or have the uplink without --vlan", u.Network, u.VLAN, u.Device, port)
}
