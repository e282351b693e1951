package api

import (
	"iter"
	"net/netip"

	"weft/internal/spec"
)

// Control is what the server asks; *control.Controller is the real one. Its
// methods are called from many goroutines at once.
type Control interface {
	Status() spec.Status

	Networks() []spec.NetworkStatus
	AddNetwork(n spec.Network) (spec.NetworkStatus, error)
	SetNetwork(name string, ch spec.NetworkChange, dryRun bool) (spec.NetworkSet, error)
	RemoveNetwork(name string, force bool) error

	Ports() []spec.PortStatus
	Attach(a spec.Attach) (spec.PortStatus, error)
	Detach(network, target string) error

	Peers() []spec.PeerStatus
	AddPeer(p spec.Peer) (spec.PeerStatus, error)
	RemovePeer(name string) error

	Routes(vrf string) (iter.Seq[spec.RouteStatus], error) // sorted by vrf and prefix; ranged over once, and slowly
	RouteTo(a netip.Addr, vrf string) (spec.RouteStatus, error)
	AddRoute(r spec.Route, replace bool) (spec.RouteStatus, error)
	AddRoutes(list []spec.Route, replace bool) (spec.RoutesAdded, error)
	RemoveRoute(prefix netip.Prefix, vrf string) error

	Uplinks() []spec.UplinkStatus
	AddUplink(u spec.Uplink) (spec.UplinkStatus, error)
	RemoveUplink(network, device string) error

	FDB(network string) ([]spec.FDBEntry, error)
	AddFDB(network, mac, to string, vlan int) error
	RemoveFDB(network, mac string, vlan int) error
	FlushFDB(network string) (int, error)

	Expose(e spec.Expose) (spec.PortStatus, error)
	Hide(network string) error
	Published() []spec.PublishStatus
	Publish(p spec.Publish) (spec.PublishStatus, error)
	Unpublish(network, target, ports string) error
	Cleanup() (removed []string, err error)

	Drops() []spec.Drop
	Export() spec.Config
	Apply(cfg spec.Config, dryRun bool) (spec.Applied, error)
}
