package control

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"weft/internal/ipam"
	"weft/tap"
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

// lan is what lies behind an uplink.
type lan struct {
	device string
	state  tap.LinkState
	vlan   int  // of the uplink
	isNew  bool // it is being joined: ports that are there got their addresses without it
}

// lansOf returns what lies behind the uplinks of a network that are up.
func (c *Controller) lansOf(network string) (list []lan) {
	for _, u := range c.uplinksOf(network) {
		if u.link != nil {
			list = append(list, lan{device: u.Device, state: u.state, vlan: u.VLAN})
		}
	}
	return list
}

// holders returns who has addresses of network n outside the switch: this host,
// and the machines of lans. What a port of n has already is asked for in new ones
// alone.
func (c *Controller) holders(n *network, lans []lan, addrs []netip.Addr) (map[netip.Addr]string, error) {
	if len(lans) == 0 {
		return nil, nil
	}
	own, err := c.sys.addrs()
	if err != nil {
		return nil, fmt.Errorf("list own addresses: %w", err)
	}
	there := c.portsAt(n)
	joined := slices.ContainsFunc(lans, func(l lan) bool { return l.isNew })
	held := map[netip.Addr]string{}
	for _, a := range addrs {
		if ep := there[a]; slices.Contains(own, a) && (ep == nil || joined && ep.Host == nil) {
			held[a] = "this host itself"
		}
	}
	for _, l := range lans {
		ask := slices.DeleteFunc(slices.Clone(addrs), func(a netip.Addr) bool { return held[a] != "" || there[a] != nil && !l.isNew })
		if len(ask) == 0 {
			continue
		}
		found, err := c.sys.inUse(l.device, l.state, cmp.Or(l.vlan, n.vlan), hostMAC(c.opt.Config.Name), ask)
		if err != nil {
			return nil, err
		}
		for a, mac := range found {
			if ep := there[a]; ep == nil || ep.MAC != mac { // else it is heard by way of another uplink
				held[a] = fmt.Sprintf("%s, behind uplink %s", mac, l.device)
			}
		}
	}
	return held, nil
}

// portsAt returns the ports of n, in its VLAN, by address.
func (c *Controller) portsAt(n *network) map[netip.Addr]*endpoint {
	at := map[netip.Addr]*endpoint{}
	for _, ep := range c.endpointsOf(n.Name) {
		for _, a := range ep.addrs() {
			if ep.VLAN == n.vlan {
				at[a] = ep
			}
		}
	}
	return at
}

// checkUnheld refuses addresses that somebody outside the switch has.
func (c *Controller) checkUnheld(n *network, prefixes []netip.Prefix) error {
	addrs := make([]netip.Addr, len(prefixes))
	for i, p := range prefixes {
		addrs[i] = p.Addr()
	}
	held, err := c.holders(n, c.lansOf(n.Name), addrs)
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

// checkJoined refuses to join n to a link behind which somebody has the address of
// a port, or whose host has it itself.
func (c *Controller) checkJoined(n *network, u *uplink) error {
	if !u.state.Up {
		return nil
	}
	byVLAN := map[int]map[netip.Addr]*endpoint{}
	for _, ep := range c.endpointsOf(n.Name) {
		byVLAN[ep.VLAN] = c.portsAt(n.in(ep.VLAN))
	}
	for _, vlan := range sortedKeys(byVLAN) {
		at := byVLAN[vlan]
		addrs := slices.SortedFunc(maps.Keys(at), netip.Addr.Compare)
		held, err := c.holders(n.in(vlan), []lan{{device: u.Device, state: u.state, vlan: u.VLAN, isNew: true}}, addrs)
		if err != nil {
			return err
		}
		for _, a := range addrs {
			if by, ok := held[a]; ok {
				return fmt.Errorf("port %s has address %s, which is in use by %s: detach it, or attach it with another", c.portName(at[a]), a, by)
			}
		}
	}
	return nil
}

// nextUnheld returns the lowest address of the pool that nobody has, outside the
// switch neither.
func (c *Controller) nextUnheld(n *network, pool *ipam.Pool) (netip.Addr, error) {
	lans := c.lansOf(n.Name)
	for range askRounds {
		some := nextOf(pool, askedAtOnce)
		if len(some) == 0 {
			_, err := pool.Next()
			return netip.Addr{}, fmt.Errorf("network %q: %w: widen its range with weft network set %s, or detach what is not needed", n.Name, err, n.Name)
		}
		held, err := c.holders(n, lans, some)
		if err != nil {
			return netip.Addr{}, fmt.Errorf("network %q: %w", n.Name, err)
		}
		for _, a := range some {
			if held[a] == "" {
				return a, nil
			}
		}
	}
	return netip.Addr{}, allHeld(n)
}

// nextOf takes the next free addresses of a pool, up to count of them.
func nextOf(pool *ipam.Pool, count int) (list []netip.Addr) {
	for range count {
		a, err := pool.Next()
		if err != nil {
			break
		}
		_ = pool.Claim(a, "this port") // which is what Next says
		list = append(list, a)
	}
	return list
}

func allHeld(n *network) error {
	return fmt.Errorf("network %q: the first %d free addresses are all in use on the LAN: give this host a range of its own with weft network set %s --range", n.Name, askRounds*askedAtOnce, n.Name)
}

// inVLANOf is an address in a VLAN of a network.
type inVLANOf struct {
	vlan int
	addr netip.Addr
}

// allotUnheld is allot with addresses that nobody of lans has, nor this host
// otherwise: what a place has for sure is refused, and instead of the next free one
// that somebody has there is another.
func (c *Controller) allotUnheld(n *network, lans []lan, places []*place, name func(i int) string) (i int, err error) {
	held := map[inVLANOf]string{}
	for range askRounds {
		got := make([]*place, len(places))
		for i, pl := range places {
			trial := *pl
			trial.addrs = slices.Clone(pl.addrs)
			got[i] = &trial
		}
		pools, err := emptyPools(n)
		if err != nil {
			return 0, err
		}
		if i, err := allot(n, pools, held, got, name); err != nil {
			return i, err
		}
		if err := c.askFor(n, lans, got, pools, held); err != nil {
			return 0, fmt.Errorf("network %q: %w", n.Name, err)
		}
		if i, a := firstHeld(places, held); i >= 0 {
			by := held[inVLANOf{places[i].rec.VLAN, a}]
			return i, fmt.Errorf("network %q: %s: address %s is in use by %s: choose another, or detach it first", n.Name, name(i), a, by)
		}
		if i, _ := firstHeld(got, held); i < 0 {
			for i := range places {
				*places[i] = *got[i]
			}
			return 0, nil
		}
	}
	return 0, allHeld(n)
}

// firstHeld returns the first place with an address that somebody has; -1 where none has.
func firstHeld(places []*place, held map[inVLANOf]string) (int, netip.Addr) {
	for i, pl := range places {
		for _, p := range pl.addrs {
			if held[inVLANOf{pl.rec.VLAN, p.Addr()}] != "" {
				return i, p.Addr()
			}
		}
	}
	return -1, netip.Addr{}
}

// askFor notes in held who has the addresses of places, and, where any of those was the
// next free one, those that come after it.
func (c *Controller) askFor(n *network, lans []lan, places []*place, pools []*ipam.Pool, held map[inVLANOf]string) error {
	if len(lans) == 0 {
		return nil
	}
	ask := map[int][]netip.Addr{} // by VLAN
	wants := map[int]bool{}
	for _, pl := range places {
		for _, p := range pl.addrs {
			ask[pl.rec.VLAN] = append(ask[pl.rec.VLAN], p.Addr())
		}
		wants[pl.rec.VLAN] = wants[pl.rec.VLAN] || len(pl.free) > 0
	}
	var more []netip.Addr
	if slices.Contains(slices.Collect(maps.Values(wants)), true) {
		for _, pool := range pools {
			more = append(more, nextOf(pool, askedAtOnce)...)
		}
	}
	for _, vlan := range sortedKeys(ask) {
		if wants[vlan] {
			ask[vlan] = append(ask[vlan], more...)
		}
		found, err := c.holders(n.in(vlan), lans, ask[vlan])
		if err != nil {
			return err
		}
		for a, by := range found {
			held[inVLANOf{vlan, a}] = by
		}
	}
	return nil
}
