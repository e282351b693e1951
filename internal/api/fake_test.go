package api

import (
	"errors"
	"iter"
	"net/netip"
	"slices"
	"sync"
	"time"

	"weft/internal/header"
	"weft/internal/spec"
)

// fake is a Control that notes what it was asked and answers with what is set.
type fake struct {
	mu    sync.Mutex // guards calls
	calls []any

	err    error         // of every method that has one
	block  chan struct{} // Attach waits for it, where set
	sparse bool          // lists are nil rather than full
}

func (f *fake) note(call ...any) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, call...)
	return f.err
}

var errRefused = errors.New(`network "blue" is not known; weft network ls lists them`)

var (
	aNetwork = spec.NetworkStatus{
		Name: "blue", ID: 4711, VRF: "red", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}, Gateways: []netip.Addr{netip.MustParseAddr("10.1.0.1")},
		MTU: 1450, Ageing: 300, Range: "10.1.0.10-10.1.0.99", Origin: "api",
	}
	aPort = spec.PortStatus{
		Name: "web", Network: "blue", Kind: "tap", Target: "netns:web", IfName: "eth1", MAC: 0x0200_0000_0001, Addresses: []netip.Prefix{netip.MustParsePrefix("10.1.0.2/16")},
		MTU: 1450, Up: true, RxFrames: 1, TxFrames: 2, RxBytes: 3, TxBytes: 4,
	}
	aChange = spec.PortChange{
		Name: "web", Target: "netns:web",
		Was: spec.PortPlace{IfName: "eth1", MAC: 0x0200_0000_0001, Addresses: aPort.Addresses, Gateways: aNetwork.Gateways, MTU: 1450},
		Now: spec.PortPlace{IfName: "eth1", MAC: 0x0200_0000_0001, Addresses: aPort.Addresses, Gateways: []netip.Addr{}, MTU: 1300},
	}
	someDifferences = []spec.Difference{{Op: "+", Kind: "network", Now: "blue=10.1.0.0/16"}}
	aPeer           = spec.PeerStatus{
		Name: "host2", Address: netip.MustParseAddr("192.168.18.17"), Encap: "gre", Accel: "egress-tap", State: "up", Reason: "heard 1 s ago", MTU: 1450, RxFrames: 5, TxFrames: 6,
		Networks: []string{"blue"}, Origin: "declared",
	}
	someRoutes = []spec.RouteStatus{
		{Prefix: netip.MustParsePrefix("10.1.0.0/16"), Via: "blue", Kind: "connected", VRF: "red", Network: "blue", Origin: "declared"},
		{Prefix: netip.MustParsePrefix("10.9.0.0/16"), Via: "host2", Kind: "static", VRF: "red", Origin: "api"},
		{Prefix: netip.MustParsePrefix("fd00:9::/64"), Via: "host3", Kind: "static", VRF: "red", Origin: "api", Problem: "peer \"host3\" does not exist"},
	}
	someDrops = []spec.Drop{{At: "web", Reason: "tap_full", Count: 1}, {At: "switch", Reason: "gre_peer", Count: 2}}
)

func (f *fake) Status() spec.Status {
	s := spec.Status{
		Name: "host1", Version: "1.0", UptimeSeconds: 60, Networks: f.Networks(), Ports: f.Ports(), Peers: f.Peers(),
		Frames: spec.Frames{In: 1, Generated: 2, Forwarded: 3, Local: 4, Copies: 5, Transmitted: 6, DroppedIn: 7, DroppedOut: 8},
		Drops:  map[string]uint64{"gre_peer": 2},
	}
	if !f.sparse {
		s.Degraded = []spec.Degraded{{What: "peer host2", Why: "silent", Since: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}}
	}
	return s
}

func (f *fake) Networks() []spec.NetworkStatus {
	if f.sparse {
		return []spec.NetworkStatus{{Name: "b"}, {Name: "a"}}
	}
	return []spec.NetworkStatus{aNetwork}
}

func (f *fake) AddNetwork(n spec.Network) (spec.NetworkStatus, error) { return aNetwork, f.note(n) }

func (f *fake) SetNetwork(name string, ch spec.NetworkChange, dryRun bool) (spec.NetworkSet, error) {
	return spec.NetworkSet{NetworkStatus: aNetwork, Ports: []spec.PortChange{aChange}}, f.note(name, ch, dryRun)
}

func (f *fake) RemoveNetwork(name string, force bool) error { return f.note(name, force) }

func (f *fake) Export() spec.Config {
	n, _ := spec.ParseNetwork("blue=10.1.0.0/16")
	return spec.Config{Networks: []spec.Network{n}}
}

func (f *fake) Apply(cfg spec.Config, dryRun bool) (spec.Applied, error) {
	b, _ := cfg.MarshalHost()
	return spec.Applied{DryRun: dryRun, Differences: someDifferences}, f.note(cfg.File, string(b), dryRun)
}

func (f *fake) Ports() []spec.PortStatus {
	if f.sparse {
		return []spec.PortStatus{{Name: "b", Network: "y"}, {Name: "b", Network: "x"}, {Name: "a"}}
	}
	return []spec.PortStatus{aPort}
}

func (f *fake) Attach(a spec.Attach) (spec.PortStatus, error) {
	err := f.note(a)
	if f.block != nil {
		<-f.block
	}
	return aPort, err
}

func (f *fake) Detach(network, target string) error { return f.note(network, target) }

func (f *fake) Peers() []spec.PeerStatus {
	if f.sparse {
		return nil
	}
	return []spec.PeerStatus{aPeer}
}

func (f *fake) AddPeer(p spec.Peer) (spec.PeerStatus, error) { return aPeer, f.note(p) }

func (f *fake) RemovePeer(name string) error { return f.note(name) }

func (f *fake) Routes(vrf string) (iter.Seq[spec.RouteStatus], error) {
	if f.sparse {
		return slices.Values([]spec.RouteStatus{}), f.note(vrf)
	}
	return slices.Values(someRoutes), f.note(vrf)
}

func (f *fake) RouteTo(a netip.Addr, vrf string) (spec.RouteStatus, error) {
	return someRoutes[1], f.note(a, vrf)
}

func (f *fake) AddRoute(r spec.Route, replace bool) (spec.RouteStatus, error) {
	return someRoutes[1], f.note(r, replace)
}

func (f *fake) AddRoutes(list []spec.Route, replace bool) (spec.RoutesAdded, error) {
	return spec.RoutesAdded{Added: len(list)}, f.note(list, replace)
}

func (f *fake) RemoveRoute(prefix netip.Prefix, vrf string) error { return f.note(prefix, vrf) }

func (f *fake) FDB(network string) ([]spec.FDBEntry, error) {
	if f.sparse {
		return nil, f.note(network)
	}
	return []spec.FDBEntry{
		{Network: "blue", MAC: header.MAC(2), Peer: "host2", Kind: "learned", AgeSeconds: 7},
		{Network: "blue", MAC: header.MAC(1), Port: "web", Kind: "attached"},
	}, f.note(network)
}

func (f *fake) AddFDB(network, mac, to string, vlan int) error { return f.note(network, mac, to, vlan) }

func (f *fake) RemoveFDB(network, mac string, vlan int) error { return f.note(network, mac, vlan) }

func (f *fake) FlushFDB(network string) (int, error) { return 12, f.note(network) }

func (f *fake) Drops() []spec.Drop {
	if f.sparse {
		return nil
	}
	return someDrops
}

func (f *fake) Expose(e spec.Expose) (spec.PortStatus, error) { return aPort, f.note(e) }

func (f *fake) Hide(network string) error { return f.note(network) }

func (f *fake) Published() []spec.PublishStatus {
	if f.sparse {
		return nil
	}
	return []spec.PublishStatus{somePublished[1], somePublished[0]}
}

func (f *fake) Publish(p spec.Publish) (spec.PublishStatus, error) {
	return somePublished[0], f.note(p)
}

func (f *fake) Unpublish(network, target, ports string) error { return f.note(network, target, ports) }

func (f *fake) Cleanup() ([]string, error) {
	if f.sparse {
		return nil, f.note("cleanup")
	}
	return []string{"interface weft-blue"}, f.note("cleanup")
}

// somePublished are sorted.
var somePublished = []spec.PublishStatus{
	{Network: "blue", Target: "netns:web", Port: 80, Count: 1, TargetPort: 8080, Proto: "tcp", Origin: "api"},
	{Network: "blue", Target: "netns:web", Host: "192.0.2.1", Port: 53, Count: 1, TargetPort: 53, Proto: "udp", Origin: "declared", Problem: "why"},
}
