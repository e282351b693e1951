package control

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"weft/internal/ipam"
)

// Where a network has an uplink, the machines of the LAN may have addresses of
// which this host knows nothing. They are asked before one is given to a
// container.

// How many addresses are asked for at once when the next free one is wanted, and
// how often.
const (
	askedAtOnce = 16
	askRounds   = 4
)

// holders returns who has addresses of network n outside the switch: this host,
// and the machines behind the network's uplinks that are up.
func (c *Controller) holders(n *network, addrs []netip.Addr) (map[netip.Addr]string, error) {
	var up []*uplink
	for _, u := range c.uplinksOf(n.Name) {
		if u.link != nil {
			up = append(up, u)
		}
	}
	if len(up) == 0 {
		return nil, nil
	}
	own, err := c.sys.addrs()
	if err != nil {
		return nil, fmt.Errorf("list own addresses: %w", err)
	}
	held := map[netip.Addr]string{}
	var ask []netip.Addr
	for _, a := range addrs {
		if slices.Contains(own, a) {
			held[a] = "this host itself"
		} else {
			ask = append(ask, a)
		}
	}
	for _, u := range up {
		if len(ask) == 0 {
			break
		}
		found, err := c.sys.inUse(u.Device, u.state, cmp.Or(u.VLAN, n.vlan), hostMAC(c.opt.Config.Name), ask)
		if err != nil {
			return nil, err
		}
		for a, mac := range found {
			held[a] = fmt.Sprintf("%s, behind uplink %s", mac, u.Device)
		}
	}
	return held, nil
}

// checkUnheld refuses addresses that somebody outside the switch has.
func (c *Controller) checkUnheld(n *network, prefixes []netip.Prefix) error {
	addrs := make([]netip.Addr, len(prefixes))
	for i, p := range prefixes {
		addrs[i] = p.Addr()
	}
	held, err := c.holders(n, addrs)
	if err != nil {
		return fmt.Errorf("network %q: %w", n.Name, err)
	}
	for _, a := range addrs {
		if by, ok := held[a]; ok {
			return fmt.Errorf("network %q: address %s is in use by %s: choose another, or none to get the next free one", n.Name, a, by)
		}
	}
	return nil
}

// nextUnheld returns the lowest address of the pool that nobody has, outside the
// switch neither.
func (c *Controller) nextUnheld(n *network, pool *ipam.Pool) (netip.Addr, error) {
	for range askRounds {
		var some []netip.Addr
		for len(some) < askedAtOnce {
			a, err := pool.Next()
			if err != nil && len(some) == 0 {
				return a, fmt.Errorf("network %q: %w: widen its range with weft network set %s, or detach what is not needed", n.Name, err, n.Name)
			}
			if err != nil {
				break
			}
			if len(c.uplinksOf(n.Name)) == 0 {
				return a, nil
			}
			_ = pool.Claim(a, "this port") // which is what Next says
			some = append(some, a)
		}
		held, err := c.holders(n, some)
		if err != nil {
			return netip.Addr{}, fmt.Errorf("network %q: %w", n.Name, err)
		}
		for _, a := range some {
			if held[a] == "" {
				return a, nil
			}
		}
	}
	return netip.Addr{}, fmt.Errorf("network %q: the first %d free addresses are all in use on the LAN: give this host a range of its own with weft network set %s --range", n.Name, askRounds*askedAtOnce, n.Name)
}
