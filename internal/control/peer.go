package control

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"weft/dataplane"
	"weft/encap"
	"weft/internal/spec"
)

// peer is a remote switch as it is.
type peer struct {
	spec.Peer
	origin string
	id     encap.PeerID
	last   string    // state that was said in the log; written by the watch with mu held
	since  time.Time // of last; zero: since the switch was started
}

// orderPeer puts a peer's networks in order, so that equal peers look equal.
func orderPeer(p spec.Peer) spec.Peer {
	p.Networks = slices.Sorted(slices.Values(p.Networks))
	return p
}

// shares reports whether network name is shared with p.
func (p *peer) shares(name string, networks map[string]*network) bool {
	if p.RoutesOnly() {
		return false
	}
	if len(p.Networks) > 0 {
		return slices.Contains(p.Networks, name)
	}
	return !p.Keyless || len(networks) == 1
}

// carried returns the networks that are shared with p, sorted, and what stands
// in the way of others that it wants; nil where nothing does.
func carried(p *peer, networks map[string]*network) (names []string, problem error) {
	for _, name := range sortedKeys(networks) {
		if p.shares(name, networks) {
			names = append(names, name)
		}
	}
	if p.RoutesOnly() {
		return nil, nil
	}
	for _, name := range p.Networks {
		if networks[name] == nil {
			return names, fmt.Errorf("network %q does not exist: add it first", name)
		}
	}
	if p.Keyless && len(names) == 0 {
		if len(networks) == 0 {
			return nil, errors.New("key=none needs exactly one network and there is none: add it first")
		}
		return nil, fmt.Errorf("key=none needs exactly one network and there are %s: choose one with networks=%s",
			strings.Join(sortedKeys(networks), ", "), sortedKeys(networks)[0])
	}
	return names, nil
}

// checkVersion refuses a peer of a version of IP that the local addresses, which
// the user chose, are not of. Without any, both are spoken.
func (p *peer) checkVersion(local []netip.Addr) error {
	if len(local) == 0 || slices.ContainsFunc(local, func(a netip.Addr) bool { return a.Is6() == p.Address.Is6() }) {
		return nil
	}
	version := "IPv4"
	if p.Address.Is6() {
		version = "IPv6"
	}
	return fmt.Errorf("its address %s is %s, and no local address is: start weft run with a --local of %s too", p.Address, version, version)
}

// checkPeerAddress refuses a peer that is this host, or another one. own are
// the addresses of this host.
func checkPeerAddress(p *peer, others map[string]*peer, own []netip.Addr) error {
	if slices.Contains(own, p.Address) || p.Address.IsLoopback() {
		return fmt.Errorf("peer %q: %s is this host itself: give the address of the other host", p.Name, p.Address)
	}
	for _, other := range others {
		if other.Address == p.Address && other.Name != p.Name {
			return fmt.Errorf("peer %q: %s is the address of peer %q already; a host is one peer: leave one of them out, or give it another address", p.Name, p.Address, other.Name)
		}
	}
	return nil
}

// checkPeer refuses a peer that this host cannot speak to, or that cannot stand
// beside others and the networks.
func checkPeer(p *peer, others map[string]*peer, networks map[string]*network, own, local []netip.Addr) error {
	if err := checkPeerAddress(p, others, own); err != nil {
		return err
	}
	if err := p.checkVersion(local); err != nil {
		return fmt.Errorf("peer %q: %w", p.Name, err)
	}
	if _, err := carried(p, networks); err != nil {
		return fmt.Errorf("peer %q: %w", p.Name, err)
	}
	return nil
}

// AddPeer makes a peer. One that exists with the same properties is no error.
func (c *Controller) AddPeer(p spec.Peer) (spec.PeerStatus, error) {
	if err := p.Validate(); err != nil {
		return spec.PeerStatus{}, err
	}
	end, err := c.begin()
	if err != nil {
		return spec.PeerStatus{}, err
	}
	defer end()
	add := &peer{Peer: orderPeer(p), origin: byAPI}
	if was := c.peers[p.Name]; was != nil {
		if was.String() != add.String() {
			return spec.PeerStatus{}, fmt.Errorf("peer %q exists as %s: remove it first", p.Name, was)
		}
		return c.peerStatus(was), nil
	}
	own, err := c.ownAddrs()
	if err != nil {
		return spec.PeerStatus{}, err
	}
	if err := checkPeer(add, c.peers, c.networks, own, c.opt.Config.Local); err != nil {
		return spec.PeerStatus{}, err
	}
	if add.id, err = c.freePeerID(); err != nil {
		return spec.PeerStatus{}, fmt.Errorf("add peer %q: %w", p.Name, err)
	}
	err = c.commitPeer(p.Name, func() { c.peers[p.Name] = add }, func() { delete(c.peers, p.Name) })
	if err != nil {
		return spec.PeerStatus{}, fmt.Errorf("add peer %q: %w", p.Name, err)
	}
	c.log.Info("peer added", "peer", p.Name, "address", p.Address)
	return c.peerStatus(add), nil
}

// RemovePeer removes a peer. One that does not exist is no error.
func (c *Controller) RemovePeer(name string) error {
	end, err := c.begin()
	if err != nil {
		return err
	}
	defer end()
	p := c.peers[name]
	if p == nil {
		return nil
	}
	if p.origin == declared {
		return fmt.Errorf("peer %q is declared in %s: take it out there and restart weft run", name, c.opt.Source)
	}
	if c.routes.leadTo(name) {
		if broken := c.broken(c.withoutPeer(name)); len(broken) > 0 {
			return fmt.Errorf("peer %q is used by %s: remove them first with weft route rm", name, routesText(broken))
		}
	}
	statics := c.statics
	do := func() {
		delete(c.peers, name)
		c.statics = slices.DeleteFunc(slices.Clone(statics), func(s staticRecord) bool { return s.Peer == name })
	}
	if err := c.commitPeer(name, do, func() { c.peers[name], c.statics = p, statics }); err != nil {
		return fmt.Errorf("remove peer %q: %w", name, err)
	}
	c.log.Info("peer removed", "peer", name)
	return nil
}

// commitPeer is commitDesired for a change of one peer. It matters to routes that
// lead there alone: without any, none of them is looked at.
func (c *Controller) commitPeer(name string, do, undo func()) error {
	if c.routes.leadTo(name) {
		return c.commitDesired(do, undo)
	}
	return c.commit(func() { do(); c.forgetTroubles() }, func() { undo(); c.forgetTroubles() })
}

// freePeerID returns the lowest free number. A removed peer's is free: the
// switch has forgotten it by the time that RemovePeer returns.
func (c *Controller) freePeerID() (encap.PeerID, error) {
	taken := make(map[encap.PeerID]bool, len(c.peers))
	for _, p := range c.peers {
		taken[p.id] = true
	}
	return lowestFree(taken)
}

// lowestFree returns the lowest number of a peer that is not taken.
func lowestFree(taken map[encap.PeerID]bool) (encap.PeerID, error) {
	for id := encap.PeerID(1); id <= encap.MaxPeerID; id++ {
		if !taken[id] {
			return id, nil
		}
	}
	return 0, fmt.Errorf("there are %d peers, more are not possible", encap.MaxPeerID)
}

// ownAddrs returns the addresses that no peer can have.
func (c *Controller) ownAddrs() ([]netip.Addr, error) {
	own, err := c.sys.addrs()
	if err != nil {
		return nil, fmt.Errorf("list own addresses: %w", err)
	}
	return append(own, c.opt.Config.Local...), nil
}

// peerConfigs returns what the switch is to know of the peers, sorted by number.
func (c *Controller) peerConfigs() []dataplane.PeerConfig {
	var list []dataplane.PeerConfig
	for _, p := range c.peers {
		if p.checkVersion(c.opt.Config.Local) != nil { // of a former run; status says so
			continue
		}
		cfg := dataplane.PeerConfig{Peer: encap.Peer{
			ID: p.id, Addr: p.Address, Keyless: p.Keyless, Checksum: p.Checksum, Sequence: p.Sequence, Choice: choiceOf(p.Peer),
		}, MTU: c.peerMTU(p)}
		if names, _ := carried(p, c.networks); p.Keyless && len(names) == 1 {
			cfg.Domain = c.domains[names[0]].id
			_, cfg.VRF, _ = vrfOf(c.networks[names[0]].Network)
		}
		list = append(list, cfg)
	}
	slices.SortFunc(list, func(a, b dataplane.PeerConfig) int { return cmp.Compare(a.ID, b.ID) })
	return list
}

// Peers returns all peers, sorted by name.
func (c *Controller) Peers() []spec.PeerStatus {
	c.mu.RLock()
	defer c.mu.RUnlock()
	list := make([]spec.PeerStatus, 0, len(c.peers))
	for _, name := range sortedKeys(c.peers) {
		list = append(list, c.peerStatus(c.peers[name]))
	}
	return list
}

func (c *Controller) peerStatus(p *peer) spec.PeerStatus {
	stats, path := c.sw.PeerStats(p.id), c.under.Path(p.id)
	h := c.healthOf(p)
	names, _ := carried(p, c.networks)
	accel, why := c.under.Accel(p.id)
	return spec.PeerStatus{
		Name: p.Name, Address: p.Address, Encap: path.Carrier.String(), EncapReason: path.CarrierWhy,
		State: h.state, Reason: h.reason, Since: h.since.Truncate(time.Second), Weft: path.Weft, RTTMicros: path.RTT.Microseconds(),
		MTU: c.peerMTU(p), RxFrames: stats.RxFrames, TxFrames: stats.TxFrames,
		Keyless: p.Keyless, Checksum: p.Checksum, Sequence: p.Sequence,
		Accel: accel, NoAccel: why, Networks: orEmpty(names), Origin: p.origin,
	}
}

// choiceOf returns what a peer's option encap means.
func choiceOf(p spec.Peer) encap.Choice {
	switch p.Encap {
	case "gre":
		return encap.ChooseGRE
	case "gre-udp":
		return encap.ChooseUDP
	}
	return encap.ChooseAuto
}

// peerMTU returns the largest packet that fits the tunnel to p, whatever it is
// carried in: by the link, and by the path as far as it is known to carry less.
func (c *Controller) peerMTU(p *peer) int {
	mtu := c.links.to(p.Address)
	if path := c.under.Path(p.id).MTU; path != 0 {
		mtu = min(mtu, path)
	}
	return mtu - c.under.OverheadTo(p.Address, p.Checksum)
}
