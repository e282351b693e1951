package control

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"weft/dataplane"
	"weft/fib"
	"weft/internal/header"
	"weft/internal/spec"
	"weft/tap"
)

// uplink joins a network to a link of the host. It is up while the link is there
// and set up, and else waits for it.
type uplink struct {
	spec.Uplink
	origin string

	reserved []netip.Addr // of this host, and of the routers that it uses on the link; sorted

	link  *tap.Uplink // nil while down
	port  dataplane.PortID
	state tap.LinkState // as last seen; zero: never
	down  string        // why link is nil
	since time.Time     // of down, or of the carrier's loss
}

// uplinkKey tells uplinks apart: a network has one at most with each device.
type uplinkKey struct{ network, device string }

func (u *uplink) key() uplinkKey { return uplinkKey{u.Network, u.Device} }

// label is the name of an uplink's port, unless that is an endpoint's.
func (u *uplink) label() string {
	if u.VLAN == 0 {
		return portBase(u.Device)
	}
	return portBase(u.Device) + "." + strconv.Itoa(u.VLAN)
}

// problem says what is wrong with the link; empty where nothing is.
func (u *uplink) problem() string {
	if u.link != nil && !u.state.Carrier {
		return "link " + u.Device + " has no carrier: is the cable in, and the other end on?"
	}
	return u.down
}

// uplinkList returns all uplinks, by network and device.
func (c *Controller) uplinkList() []*uplink {
	return slices.SortedFunc(maps.Values(c.uplinks), func(a, b *uplink) int {
		return cmp.Or(cmp.Compare(a.Network, b.Network), cmp.Compare(a.Device, b.Device))
	})
}

// uplinksOf returns the uplinks of a network.
func (c *Controller) uplinksOf(network string) []*uplink {
	return slices.DeleteFunc(c.uplinkList(), func(u *uplink) bool { return u.Network != network })
}

// uplinkNames returns the names of the ports of uplinks. A name that an endpoint
// has, or several uplinks, gets @NETWORK behind it.
func (c *Controller) uplinkNames() map[*uplink]string {
	taken := map[string]bool{atSwitch: true}
	for _, name := range portNames(c.endpointList()) {
		taken[name] = true
	}
	names := make(map[*uplink]string, len(c.uplinks))
	for _, u := range c.uplinkList() {
		name := u.label()
		for taken[name] {
			name += "@" + u.Network
		}
		taken[name], names[u] = true, name
	}
	return names
}

// isAlone reports whether a network leaves its peers alone on this host: it has
// uplinks, and none for transit.
func (c *Controller) isAlone(network string) bool {
	list := c.uplinksOf(network)
	return len(list) > 0 && !slices.ContainsFunc(list, func(u *uplink) bool { return u.Transit })
}

// uplinkMTU returns the smallest MTU of the links of a network; 0 where none is known.
func (c *Controller) uplinkMTU(network string) (mtu int) {
	for _, u := range c.uplinksOf(network) {
		if u.state.MTU != 0 && (mtu == 0 || u.state.MTU < mtu) {
			mtu = u.state.MTU
		}
	}
	return mtu
}

// Uplinks returns all uplinks, sorted by network and device.
func (c *Controller) Uplinks() []spec.UplinkStatus {
	c.mu.RLock()
	defer c.mu.RUnlock()
	list := []spec.UplinkStatus{}
	for _, u := range c.uplinkList() {
		list = append(list, c.uplinkStatus(u))
	}
	return list
}

func (c *Controller) uplinkStatus(u *uplink) spec.UplinkStatus {
	s := spec.UplinkStatus{
		Network: u.Network, Device: u.Device, VLAN: u.VLAN, Transit: u.Transit, Port: c.uplinkNames()[u],
		MAC: u.state.MAC, MTU: u.state.MTU, Up: u.link != nil && u.state.Carrier, Reason: u.problem(), Origin: u.origin,
	}
	if u.link != nil && c.sw.PortStats(u.port).Blocked {
		s.Blocked = true
		s.Reason = cmp.Or(s.Reason, "blocked, since it is part of a loop: weft status says which")
	}
	return s
}

// uplinkPort returns the port of an uplink, as `port ls` shows it.
func (c *Controller) uplinkPort(u *uplink, name string) spec.PortStatus {
	s := spec.PortStatus{
		Name: name, Network: u.Network, Kind: "uplink", Target: u.Device, IfName: u.Device, MAC: u.state.MAC,
		Addresses: []netip.Prefix{}, MTU: u.state.MTU, Up: u.link != nil && u.state.Carrier, AllowSpoof: true,
		MACLimit: dataplane.UplinkStations, Storm: spec.DefaultStorm,
	}
	if u.link != nil {
		stats := c.sw.PortStats(u.port)
		s.RxFrames, s.TxFrames, s.RxBytes, s.TxBytes = stats.RxFrames, stats.TxFrames, stats.RxBytes, stats.TxBytes
		s.NotLearned, s.Blocked = stats.NotLearned, stats.Blocked
	}
	return s
}

// AddUplink joins a network to a link. The same again is no error.
func (c *Controller) AddUplink(u spec.Uplink) (spec.UplinkStatus, error) {
	if err := u.Validate(); err != nil {
		return spec.UplinkStatus{}, err
	}
	end, err := c.begin()
	if err != nil {
		return spec.UplinkStatus{}, err
	}
	defer end()
	n, err := c.networkNamed(u.Network)
	if err != nil {
		return spec.UplinkStatus{}, err
	}
	u.Line = 0
	add := &uplink{Uplink: u, origin: byAPI, since: time.Now()}
	if was := c.uplinks[add.key()]; was != nil && was.String() == add.String() {
		c.followUplink(was)
		return c.uplinkStatus(was), nil
	}
	for _, o := range c.uplinks {
		if err := u.Clash(o.Uplink); err != nil {
			return spec.UplinkStatus{}, err
		}
	}
	if err := c.checkUplinkVLAN(u); err != nil {
		return spec.UplinkStatus{}, err
	}
	if add.state, err = c.sys.link(u.Device); err != nil {
		return spec.UplinkStatus{}, err
	}
	if err := c.checkLinkMAC(n, add); err != nil {
		return spec.UplinkStatus{}, err
	}
	if err := c.checkJoined(n, add); err != nil {
		return spec.UplinkStatus{}, Cured(fmt.Errorf("add uplink %s to network %q: %w", u.Device, u.Network, err))
	}
	undo := func() { delete(c.uplinks, add.key()) }
	if err := c.commit(func() { c.uplinks[add.key()] = add }, undo); err != nil {
		return spec.UplinkStatus{}, fmt.Errorf("add uplink %s to network %q: %w", u.Device, u.Network, err)
	}
	if err := c.followUplink(add); err != nil {
		if cerr := c.commit(undo, func() {}); cerr != nil {
			c.log.Error("refused uplink stays in the state file", "network", u.Network, "device", u.Device, "err", cerr)
		}
		return spec.UplinkStatus{}, Cured(fmt.Errorf("add uplink %s to network %q: %w", u.Device, u.Network, err))
	}
	if len(c.peers) > 0 && !u.Transit {
		c.log.Info("network leaves its peers alone: it has an uplink", "network", u.Network)
	}
	return c.uplinkStatus(add), nil
}

// checkLinkMAC refuses a link whose address a container of the network has, or
// another link that the network is joined to.
func (c *Controller) checkLinkMAC(n *network, u *uplink) error {
	if o := c.hasLinkMAC(n.Name, u.state.MAC); o != nil {
		return fmt.Errorf("link %s has the MAC %s of link %s, which network %q has as uplink: give one of them another, or remove that uplink", u.Device, u.state.MAC, o.Device, n.Name)
	}
	for _, ep := range c.endpointsOf(n.Name) {
		if ep.MAC == u.state.MAC {
			return fmt.Errorf("link %s has the MAC %s of port %s in network %q: attach that with another", u.Device, ep.MAC, c.portName(ep), n.Name)
		}
	}
	return nil
}

// RemoveUplink parts a network from a link. One that is not joined is no error.
func (c *Controller) RemoveUplink(network, device string) error {
	end, err := c.begin()
	if err != nil {
		return err
	}
	defer end()
	if _, err := c.networkNamed(network); err != nil {
		return err
	}
	u := c.uplinks[uplinkKey{network, device}]
	if u == nil {
		return nil
	}
	if u.origin == declared {
		return fmt.Errorf("uplink %s of network %q is declared in %s: take it out there and restart weft run", device, network, c.opt.Source)
	}
	return c.removeUplink(u)
}

func (c *Controller) removeUplink(u *uplink) error {
	c.disconnectUplink(u, "it is being removed")
	statics := c.statics
	do := func() {
		delete(c.uplinks, u.key())
		c.statics = slices.DeleteFunc(slices.Clone(statics), func(s staticRecord) bool { return s.Network == u.Network && s.Target == u.target() })
	}
	undo := func() { c.uplinks[u.key()], c.statics = u, statics }
	if err := c.commit(do, undo); err != nil {
		return both(fmt.Errorf("remove uplink %s of network %q: %w", u.Device, u.Network, err), c.followUplink(u))
	}
	c.log.Info("uplink removed", "network", u.Network, "device", u.Device)
	return nil
}

// target stands for the uplink in static FDB entries.
func (u *uplink) target() string { return spec.ToUplink + u.Device }

// followUplinks makes every uplink what its link allows now.
func (c *Controller) followUplinks() {
	for _, u := range c.uplinkList() {
		_ = c.followUplink(u) // status says why it is down
	}
}

// followUplink makes an uplink what its link allows now: down while that is gone
// or down, and else up, with the link's address and MTU. change is held.
func (c *Controller) followUplink(u *uplink) error {
	was := u.state
	s, err := c.sys.link(u.Device)
	switch {
	case err != nil:
		c.disconnectUplink(u, err.Error())
		return nil
	case !s.Up:
		c.disconnectUplink(u, fmt.Sprintf("link %s is down: set it up with ip link set %s up", u.Device, u.Device))
	case u.link != nil && (s.Index != was.Index || s.MAC != was.MAC || u.link.Host() != nil && c.sys.gone(u.link.Host())):
		c.disconnectUplink(u, "its link changed")
	}
	c.locked(func() {
		if s.Carrier != was.Carrier && u.link != nil {
			u.since = time.Now()
		}
		u.state = s
	})
	if c.reserve(u) || s.MTU != was.MTU {
		if err := c.publish(); err != nil {
			c.log.Error("network does not follow its uplink", "network", u.Network, "device", u.Device, "err", err)
		}
		if u.link != nil && s.MTU != was.MTU {
			if err := c.sw.SetPort(u.port, nil, s.MTU); err != nil {
				return err
			}
		}
	}
	if !s.Up {
		return nil
	}
	if u.link != nil {
		return c.mendHostSide(u)
	}
	err = c.connectUplink(u)
	if err != nil {
		c.disconnectUplink(u, err.Error())
	}
	return err
}

// mendHostSide puts back what others changed of the TAP by which u's frames reach
// the host.
func (c *Controller) mendHostSide(u *uplink) error {
	found, err := u.link.MendHostSide(u.state)
	if found {
		c.noteRepair("the interface by which uplink " + u.Device + " reaches the host")
	}
	if err != nil {
		return fmt.Errorf("uplink %s does not reach the host: %w", u.Device, err)
	}
	return nil
}

// reserve finds the addresses that no container without addresses may take: those of
// this host, which share the segment with it, and of its routers there. It reports
// whether they are others than before; unreadable ones stay as they are.
func (c *Controller) reserve(u *uplink) bool {
	own, err := c.sys.addrs()
	if err != nil {
		return false
	}
	routers, err := c.sys.routers(u.Device)
	if err != nil {
		return false
	}
	list := append(slices.Clone(own), routers...)
	slices.SortFunc(list, netip.Addr.Compare)
	list = slices.Compact(list)
	if slices.Equal(list, u.reserved) {
		return false
	}
	c.locked(func() { u.reserved = list })
	return true
}

// connectUplink gives u a port of the switch.
func (c *Controller) connectUplink(u *uplink) error {
	link, err := c.sys.openUplink(u.Device, u.state, u.VLAN)
	if err != nil {
		return err
	}
	id, err := c.sw.AddUplink(dataplane.UplinkConfig{Uplink: link, Domain: c.domains[u.Network].id, MAC: u.state.MAC, MTU: u.state.MTU})
	if err != nil {
		return both(err, link.Close())
	}
	c.locked(func() { u.link, u.port, u.down = link, id, "" })
	for _, s := range c.statics {
		if s.Network == u.Network && s.Target == u.target() {
			c.setStatic(s, fib.PortDest(uint16(id)))
		}
	}
	c.log.Info("uplink is up", "network", u.Network, "device", u.Device, "vlan", u.VLAN, "mac", u.state.MAC)
	return nil
}

// disconnectUplink takes u's port off the switch and lets go of the link.
func (c *Controller) disconnectUplink(u *uplink, why string) {
	link, port := u.link, u.port
	c.locked(func() {
		if link != nil || u.down == "" {
			u.since = time.Now()
		}
		u.link, u.port, u.down = nil, 0, why
		c.forgetTroubles()
	})
	if link == nil {
		return
	}
	err := c.sw.RemovePort(port)
	if err = both(err, link.Close()); err != nil {
		c.log.Error("uplink was not closed", "network", u.Network, "device", u.Device, "err", err)
	}
	c.log.Warn("uplink is down", "network", u.Network, "device", u.Device, "reason", why)
}

// degradedUplinks adds the uplinks whose link is gone, down, or without carrier.
func (c *Controller) degradedUplinks(add addDegraded) {
	names := c.uplinkNames()
	for _, u := range c.uplinkList() {
		if why := u.problem(); why != "" {
			add(u.since, "port "+names[u], "%s; or remove the uplink with weft uplink rm %s %s", why, u.Network, u.Device)
		}
		if c.networks[u.Network] == nil {
			add(c.started, "uplink "+u.Device, "its network %q is gone", u.Network)
		}
	}
}

var errNoUplinkNetwork = errors.New("there is no network of that name")

// declareUplinks adds the uplinks that file or flags declare.
func (m *merged) declareUplinks(cfg spec.Config, source string) error {
	for _, u := range cfg.Uplinks {
		if err := m.declareUplink(u); err != nil {
			return cfg.At(u.Line, source, err)
		}
	}
	return nil
}

func (m *merged) declareUplink(u spec.Uplink) error {
	if err := u.Validate(); err != nil {
		return err
	}
	if m.networks[u.Network] == nil {
		return fmt.Errorf("uplink %s: network %q: %w", u.Device, u.Network, errNoUplinkNetwork)
	}
	for _, o := range m.uplinks {
		if err := u.Clash(o.Uplink); err != nil {
			return err
		}
	}
	u.Line = 0
	add := &uplink{Uplink: u, origin: declared, since: time.Now()}
	m.uplinks[add.key()] = add
	return nil
}

// keepUplinks decides on the uplinks of the last run.
func (m *merged) keepUplinks(records []uplinkRecord, source string) {
	for _, r := range records {
		keep := &uplink{Uplink: r.Uplink, origin: byAPI, since: time.Now()}
		now := m.uplinks[keep.key()]
		switch {
		case now != nil && r.Origin == byAPI:
			m.note("uplink %q was made by command; %s now declares it as %s, which holds", r.Uplink, source, now)
		case now != nil:
		case r.Origin == declared:
			m.note("uplink %q is no longer declared in %s: removed", r.Uplink, source)
		case m.networks[r.Uplink.Network] == nil:
			m.note("uplink %q was made by command and is removed: its network is gone", r.Uplink)
		default:
			m.keepUplink(keep)
		}
	}
}

func (m *merged) keepUplink(keep *uplink) {
	for _, o := range m.uplinks {
		if err := keep.Clash(o.Uplink); err != nil {
			m.note("uplink %q was made by command and is removed: %v", keep.Uplink, err)
			return
		}
	}
	m.uplinks[keep.key()] = keep
}

// uplinkAt returns the uplink with a port of the switch, its host side included.
func (c *Controller) uplinkAt(id dataplane.PortID) *uplink {
	for _, u := range c.uplinks {
		if u.link != nil && (u.port == id || c.sw.HostSide(u.port) == id) {
			return u
		}
	}
	return nil
}

// hasLinkMAC reports whether a MAC is that of a link that a network has as uplink.
func (c *Controller) hasLinkMAC(network string, mac header.MAC) *uplink {
	for _, u := range c.uplinksOf(network) {
		if u.state.MAC == mac && mac != 0 {
			return u
		}
	}
	return nil
}
