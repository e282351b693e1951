package control

import (
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"weft/encap"
	"weft/internal/spec"
)

// merged is what there is after a start: what file and flags declare now, and
// of what the last run left, all that was made through the API.
//
//	                  declared now           not declared now
//	declared before   replaced               gone; kept while it has ports
//	made by API       replaced, and said     stays, unless it clashes: gone, and said
//
// A clash with something that has ports is an error: neither may containers be
// cut off by an edit of a file, nor may a declaration be ignored.
type merged struct {
	desired
	uplinks map[uplinkKey]*uplink
	notes   []string
}

// merge finds out what there is. It changes nothing but its result. own are the
// addresses of this host.
func merge(cfg spec.Config, source string, old *state, own []netip.Addr) (*merged, error) {
	m := &merged{desired: desired{networks: map[string]*network{}, peers: map[string]*peer{}, routes: newRouteTable()}, uplinks: map[uplinkKey]*uplink{}}
	for _, n := range cfg.Networks {
		if err := m.declareNetwork(n); err != nil {
			return nil, cfg.At(n.Line, source, err)
		}
	}
	for _, r := range old.Networks {
		if err := m.keepNetwork(r, portsIn(old.Endpoints, r.Network.Name), cfg, source); err != nil {
			return nil, err
		}
	}
	for _, p := range cfg.Peers {
		if err := m.declarePeer(p, own, cfg.Local); err != nil {
			return nil, cfg.At(p.Line, source, err)
		}
	}
	for _, r := range old.Peers {
		m.keepPeer(r, source, own)
	}
	if err := m.declareRoutes(cfg, source); err != nil {
		return nil, err
	}
	m.keepRoutes(old.allRoutes(), source)
	if err := m.declareUplinks(cfg, source); err != nil {
		return nil, err
	}
	m.keepUplinks(old.Uplinks, source)
	if err := m.checkHost(cfg, source); err != nil {
		return nil, err
	}
	return m, m.numberPeers()
}

// portsIn returns the targets of the endpoints of a network.
func portsIn(eps []endpointRecord, network string) (targets []string) {
	for _, ep := range eps {
		if ep.Network == network && (ep.Host == nil || ep.Host.Origin == byAPI) {
			targets = append(targets, ep.Target)
		}
	}
	return targets
}

func (m *merged) declareNetwork(n spec.Network) error {
	if err := n.Validate(); err != nil {
		return err
	}
	if m.networks[n.Name] != nil {
		return fmt.Errorf("network %q is declared twice: take one out", n.Name)
	}
	n = settle(n)
	for _, other := range m.networks {
		if err := clash(n, other.Network); err != nil {
			return err
		}
	}
	m.networks[n.Name] = &network{Network: n, origin: declared}
	return nil
}

// keepNetwork decides on a network of the last run, which has ports at targets.
func (m *merged) keepNetwork(r networkRecord, targets []string, cfg spec.Config, source string) error {
	name := r.Network.Name
	if now := m.networks[name]; now != nil {
		if r.Origin == byAPI {
			m.note("network %q was made by command as %s; %s now declares it as %s, which holds", name, r.Network, source, now)
		}
		return nil
	}
	if r.Origin == declared && len(targets) == 0 {
		m.note("network %q is no longer declared in %s: removed", name, source)
		return nil
	}
	n := &network{Network: r.Network, origin: r.Origin, kept: r.Origin == declared}
	for _, other := range m.networks {
		err := clash(other.Network, n.Network)
		switch {
		case err == nil:
		case len(targets) > 0:
			return cfg.At(other.Line, source, fmt.Errorf("%w; network %q has ports (%s), so it was not removed: undo the change, detach them, and start again",
				err, name, strings.Join(targets, ", ")))
		default:
			m.note("%v; %q was made by command and is removed", err, name)
			return nil
		}
	}
	m.networks[name] = n
	return nil
}

func (m *merged) declarePeer(p spec.Peer, own, local []netip.Addr) error {
	if err := p.Validate(); err != nil {
		return err
	}
	if m.peers[p.Name] != nil {
		return fmt.Errorf("peer %q is declared twice: take one out", p.Name)
	}
	add := &peer{Peer: orderPeer(p), origin: declared}
	if err := checkPeer(add, m.peers, m.networks, own, local); err != nil {
		return err
	}
	m.peers[p.Name] = add
	return nil
}

// keepPeer decides on a peer of the last run.
func (m *merged) keepPeer(r peerRecord, source string, own []netip.Addr) {
	if now := m.peers[r.Peer.Name]; now != nil {
		if r.Origin == byAPI {
			m.note("peer %q was made by command as %s; %s now declares it as %s, which holds", r.Peer.Name, r.Peer, source, now)
		}
		return
	}
	if r.Origin == declared {
		m.note("peer %q is no longer declared in %s: removed", r.Peer.Name, source)
		return
	}
	p := &peer{Peer: r.Peer, origin: byAPI}
	// Networks that it wants may be gone: it stays, and status says what it lacks.
	if err := checkPeerAddress(p, m.peers, own); err != nil {
		m.note("%v; it was made by command and is removed", err)
		return
	}
	m.peers[p.Name] = p
}

// declareRoutes adds the routes that file or flags declare, and refuses what
// does not work among them.
func (m *merged) declareRoutes(cfg spec.Config, source string) error {
	for _, r := range cfg.Routes {
		if err := m.declareRoute(r); err != nil {
			return cfg.At(r.Line, source, err)
		}
	}
	all := m.vrfs()
	for _, r := range m.routeList() {
		if err := m.problem(all, r); err != nil {
			return cfg.At(r.Line, source, fmt.Errorf("route %s: %w", r.Prefix, err))
		}
	}
	return nil
}

// declareRoute adds a route that file or flags declare. Where it names no vrf,
// a declared one goes before those that commands made.
func (m *merged) declareRoute(r spec.Route) error {
	if err := r.Validate(); err != nil {
		return err
	}
	if r.VRF == "" {
		alone := desired{networks: maps.Clone(m.networks)}
		maps.DeleteFunc(alone.networks, func(_ string, n *network) bool { return n.origin != declared })
		if v, err := alone.vrfNamed(""); err == nil {
			r.VRF = v.name
		}
	}
	resolved, err := m.resolve(r)
	if err != nil {
		return fmt.Errorf("route %s: %w", r.Prefix, err)
	}
	add := newRoute(resolved, declared)
	if m.routes.get(add.key()) != nil {
		return fmt.Errorf("route %s is declared twice in vrf %q: take one out", r.Prefix, add.VRF)
	}
	m.routes.set(add)
	return nil
}

// checkHost refuses to expose, or to publish from, a network that is not there.
func (m *merged) checkHost(cfg spec.Config, source string) error {
	for _, e := range cfg.Exposed {
		if m.networks[e.Network] == nil {
			return cfg.At(e.Line, source, fmt.Errorf("expose network %q: it does not exist: declare it too", e.Network))
		}
	}
	for _, p := range cfg.Published {
		if m.networks[p.Network] == nil {
			return cfg.At(p.Line, source, fmt.Errorf("publish %s: network %q does not exist: declare it too", p, p.Network))
		}
		if _, err := parseTarget(p.Target); err != nil {
			return cfg.At(p.Line, source, err)
		}
	}
	return nil
}

// keepRoutes decides on the routes of the last run.
func (m *merged) keepRoutes(routes iter.Seq[*route], source string) {
	all, now := m.vrfs(), m.routeList()
	for r := range routes {
		m.keepRoute(all, r, source)
	}
	for _, r := range now { // their next hops must be reached directly
		for via := m.routeToHop(all[r.VRF], r); via != nil; via = m.routeToHop(all[r.VRF], r) {
			m.note("route %q was made by command and is removed: it would lead to the next hop of route %q", via, r)
			m.routes.remove(via.key())
		}
	}
}

// keepRoute decides on a route of the last run. One that lacks its peer or its
// vrf stays, and status says so.
func (m *merged) keepRoute(all map[string]*vrf, r *route, source string) {
	if now := m.routes.get(r.key()); now != nil {
		if r.origin == byAPI {
			m.note("route %q was made by command; %s now declares it as %s, which holds", r.Route, source, now)
		}
		return
	}
	if r.origin == declared {
		m.note("route %q is no longer declared in %s: removed", r.Route, source)
		return
	}
	if v := all[r.VRF]; v != nil {
		if n, p := v.connectedAt(r.Prefix.Addr()); p == r.Prefix {
			m.note("route %q was made by command and is removed: its prefix is that of network %q now", r.Route, n.Name)
			return
		}
	}
	m.routes.set(r)
}

// numberPeers gives every peer its number.
func (m *merged) numberPeers() error {
	if len(m.peers) > encap.MaxPeerID {
		return fmt.Errorf("there are %d peers, at most %d are possible", len(m.peers), encap.MaxPeerID)
	}
	for i, name := range sortedKeys(m.peers) {
		m.peers[name].id = encap.PeerID(i + 1)
	}
	return nil
}

func (m *merged) note(format string, args ...any) {
	m.notes = append(m.notes, fmt.Sprintf(format, args...))
}

// say writes to the log what was decided.
func (m *merged) say(log *slog.Logger) {
	slices.Sort(m.notes)
	for _, n := range m.notes {
		log.Warn(n)
	}
}
