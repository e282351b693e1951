package control

import (
	"fmt"
	"log/slog"
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
	networks map[string]*network
	peers    map[string]*peer
	notes    []string
}

// merge finds out what there is. It changes nothing but its result. own are the
// addresses of this host.
func merge(cfg spec.Config, source string, old *state, own []netip.Addr) (*merged, error) {
	m := &merged{networks: map[string]*network{}, peers: map[string]*peer{}}
	for _, n := range cfg.Networks {
		if err := m.declareNetwork(n); err != nil {
			return nil, fmt.Errorf("%s: %w", source, err)
		}
	}
	for _, r := range old.Networks {
		if err := m.keepNetwork(r, portsIn(old.Endpoints, r.Network.Name), source); err != nil {
			return nil, err
		}
	}
	for _, p := range cfg.Peers {
		if err := p.Validate(); err != nil {
			return nil, fmt.Errorf("%s: %w", source, err)
		}
		if m.peers[p.Name] != nil {
			return nil, fmt.Errorf("%s: peer %q is declared twice: take one out", source, p.Name)
		}
		add := &peer{Peer: orderPeer(p), origin: declared}
		if err := checkPeer(add, m.peers, m.networks, own); err != nil {
			return nil, fmt.Errorf("%s: %w", source, err)
		}
		m.peers[p.Name] = add
	}
	for _, r := range old.Peers {
		m.keepPeer(r, source, own)
	}
	return m, m.numberPeers()
}

// portsIn returns the targets of the endpoints of a network.
func portsIn(eps []endpointRecord, network string) (targets []string) {
	for _, ep := range eps {
		if ep.Network == network {
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
func (m *merged) keepNetwork(r networkRecord, targets []string, source string) error {
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
			return fmt.Errorf("%s: %w; network %q has ports (%s), so it was not removed: undo the change, detach them, and start again",
				source, err, name, strings.Join(targets, ", "))
		default:
			m.note("%v; %q was made by command and is removed", err, name)
			return nil
		}
	}
	m.networks[name] = n
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
