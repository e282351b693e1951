package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"weft/internal/api"
	"weft/internal/header"
	"weft/internal/spec"
)

// fake is a daemon's control with a little state; blue and web are there.
type fake struct {
	mu       sync.Mutex // guards the rest
	asked    []string   // what changed something
	degraded []spec.Degraded
	drops    []spec.Drop
	empty    bool
	closed   bool
}

func (f *fake) note(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, fmt.Sprintf(format, args...))
}

func (f *fake) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	return nil
}

func unknown(network string) error {
	return fmt.Errorf("network %q is not known; weft network ls lists them", network)
}

func (f *fake) Status() spec.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := spec.Status{
		Name: "host1", Version: "1.0", UptimeSeconds: 11520, Degraded: f.degraded,
		Frames: spec.Frames{In: 15, Generated: 2, Forwarded: 10, Local: 1, Copies: 12, Transmitted: 13, DroppedIn: 4, DroppedOut: 1},
		Drops:  map[string]uint64{"l2_noport": 4, "tap_full": 1},
	}
	if !f.empty {
		s.Networks, s.Ports, s.Peers = f.Networks(), f.Ports(), f.Peers()
	}
	return s
}

func (f *fake) Networks() []spec.NetworkStatus {
	if f.empty {
		return nil
	}
	return []spec.NetworkStatus{
		{
			Name: "blue", ID: 4711, VRF: "red", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fd00:1::/64")},
			Gateways: []netip.Addr{netip.MustParseAddr("10.1.0.1")}, MTU: 1450, Ageing: 300, Origin: "declared",
		},
		{Name: "green", ID: 16777215, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.2.0.0/16")}, MTU: 8950, Ageing: 300, Origin: "api"},
	}
}

func (f *fake) AddNetwork(n spec.Network) (spec.NetworkStatus, error) {
	if n.Name == "blue" && n.ID != 4711 {
		return spec.NetworkStatus{}, errors.New(`network "blue" exists with id 4711; remove it first`)
	}
	f.note("AddNetwork %s", n)
	return spec.NetworkStatus{Name: n.Name, ID: n.ID, Prefixes: n.Prefixes, Gateways: n.Gateways, MTU: 1450}, nil
}

func (f *fake) SetNetwork(name string, ch spec.NetworkChange, dryRun bool) (spec.NetworkSet, error) {
	if name != "blue" {
		return spec.NetworkSet{}, unknown(name)
	}
	n := spec.Network{Name: name, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}}.With(ch)
	f.note("SetNetwork %s %t", n, dryRun)
	set := spec.NetworkSet{NetworkStatus: spec.NetworkStatus{Name: name, ID: 4711, Prefixes: n.Prefixes, MTU: n.MTU}}
	if ch.Prefixes != nil {
		was := spec.PortPlace{Addresses: []netip.Prefix{netip.MustParsePrefix("10.1.0.2/16")}, MTU: 1450, Gateways: []netip.Addr{netip.MustParseAddr("10.1.0.1")}}
		now := spec.PortPlace{Addresses: []netip.Prefix{netip.MustParsePrefix("10.9.0.2/16")}, MTU: 1400}
		set.Ports = []spec.PortChange{{Name: "web", Was: was, Now: now}}
	}
	return set, n.Validate()
}

func (f *fake) Export() spec.Config {
	n, _ := spec.ParseNetwork("blue=10.1.0.0/16")
	return spec.Config{Networks: []spec.Network{n}}
}

func (f *fake) Apply(cfg spec.Config, dryRun bool) (spec.Applied, error) {
	f.note("Apply %s %v %t", cfg.File, cfg.Networks, dryRun)
	if len(cfg.Networks) == 0 {
		return spec.Applied{DryRun: dryRun}, nil
	}
	return spec.Applied{DryRun: dryRun, Differences: []spec.Difference{
		{Op: "+", Kind: "network", Now: "blue=10.1.0.0/16"}, {Op: "~", Kind: "port", Was: "a", Now: "b"}, {Op: "-", Kind: "peer", Was: "c"},
	}}, nil
}

func (f *fake) RemoveNetwork(name string, force bool) error {
	f.note("RemoveNetwork %s %t", name, force)
	return nil
}

func (f *fake) Ports() []spec.PortStatus {
	if f.empty {
		return nil
	}
	return []spec.PortStatus{
		{
			Name: "web", Network: "blue", Kind: "tap", Target: "netns:web", IfName: "eth1", MAC: 0x0200_0000_0001, MTU: 1450, Up: true,
			Addresses: []netip.Prefix{netip.MustParsePrefix("10.1.0.2/16"), netip.MustParsePrefix("fd00:1::2/64")}, RxFrames: 12345, TxFrames: 9999, RxBytes: 1 << 40, TxBytes: 4,
		},
		{Name: "pid-4711", Network: "green", Kind: "tap", Target: "pid:4711", IfName: "eth1", MAC: 0x0200_0000_0002, MTU: 8950, Addresses: []netip.Prefix{netip.MustParsePrefix("10.2.0.2/16")}},
	}
}

func (f *fake) Attach(a spec.Attach) (spec.PortStatus, error) {
	if a.Network != "blue" {
		return spec.PortStatus{}, fmt.Errorf("attach %s: %w", a.Target, unknown(a.Network))
	}
	limits := ""
	if a.MACLimit != nil && a.Storm != nil {
		limits = fmt.Sprintf(" mac-limit=%d storm=%d", *a.MACLimit, *a.Storm)
	}
	f.note("Attach %s %s %v mac=%s if=%s mtu=%d spoof=%t%s", a.Network, a.Target, a.Addresses, a.MAC, a.IfName, a.MTU, a.AllowSpoof, limits)
	return f.Ports()[0], nil
}

func (f *fake) Detach(network, target string) error {
	f.note("Detach %s %s", network, target)
	return nil
}

func (f *fake) Peers() []spec.PeerStatus {
	if f.empty {
		return nil
	}
	return []spec.PeerStatus{
		{
			Name: "host2", Address: netip.MustParseAddr("192.168.18.17"), Encap: "gre", Accel: "egress-tap", State: "up", Reason: "heard 1 s ago", MTU: 1450,
			RxFrames: 1234567, TxFrames: 6, Networks: []string{"blue", "green"}, Origin: "declared",
		},
	}
}

func (f *fake) AddPeer(p spec.Peer) (spec.PeerStatus, error) {
	f.note("AddPeer %s", p)
	return spec.PeerStatus{Name: p.Name, Address: p.Address, Encap: "gre", MTU: 1446, Networks: p.Networks}, nil
}

func (f *fake) RemovePeer(name string) error {
	f.note("RemovePeer %s", name)
	return nil
}

func (f *fake) Routes(vrf string) (iter.Seq[spec.RouteStatus], error) {
	rows, err := f.routes(vrf)
	return slices.Values(rows), err
}

func (f *fake) routes(vrf string) ([]spec.RouteStatus, error) {
	if f.empty {
		return nil, nil
	}
	rows := []spec.RouteStatus{
		{Prefix: netip.MustParsePrefix("10.1.0.0/16"), Via: "blue", Kind: "connected", VRF: "red", Network: "blue", Origin: "declared"},
		{Prefix: netip.MustParsePrefix("10.9.0.0/16"), Via: "host2", Kind: "static", VRF: "red", Origin: "api"},
		{Prefix: netip.MustParsePrefix("10.10.0.0/16"), Via: "10.1.0.9", Kind: "static", VRF: "red", Network: "blue", Origin: "api"},
		{Prefix: netip.MustParsePrefix("::/0"), Via: "host3", Kind: "static", VRF: "red", Origin: "api", Problem: `peer "host3" does not exist: add it first`},
	}
	if vrf != "" && vrf != "red" {
		return nil, fmt.Errorf("vrf %q does not exist: there is red", vrf)
	}
	return rows, nil
}

func (f *fake) RouteTo(a netip.Addr, vrf string) (spec.RouteStatus, error) {
	rows, _ := f.routes("")
	for _, r := range rows {
		if r.Prefix.Contains(a) && r.Problem == "" {
			return r, nil
		}
	}
	return spec.RouteStatus{}, fmt.Errorf("route to %s: there is none in vrf %q: add one", a, "red")
}

func (f *fake) AddRoutes(list []spec.Route, replace bool) (spec.RoutesAdded, error) {
	f.note("AddRoutes %v %v", list, replace)
	return spec.RoutesAdded{Added: len(list)}, nil
}

func (f *fake) AddRoute(r spec.Route, replace bool) (spec.RouteStatus, error) {
	f.note("AddRoute %s %v", r, replace)
	return spec.RouteStatus{Prefix: r.Prefix, Via: r.Via, Kind: "static", VRF: "red"}, nil
}

func (f *fake) RemoveRoute(prefix netip.Prefix, vrf string) error {
	f.note("RemoveRoute %s %q", prefix, vrf)
	return nil
}

func (f *fake) FDB(network string) ([]spec.FDBEntry, error) {
	if network != "" && network != "blue" {
		return nil, unknown(network)
	}
	return []spec.FDBEntry{
		{Network: "blue", MAC: header.MAC(0x0200_0000_0001), Port: "web", Kind: "attached"},
		{Network: "blue", MAC: header.MAC(0x0200_0000_0003), Peer: "host2", Kind: "learned", AgeSeconds: 7},
	}, nil
}

func (f *fake) AddFDB(network, mac, to string, vlan int) error {
	f.note("AddFDB %s %s %s %d", network, mac, to, vlan)
	return nil
}

func (f *fake) RemoveFDB(network, mac string, vlan int) error {
	f.note("RemoveFDB %s %s %d", network, mac, vlan)
	return nil
}

func (f *fake) FlushFDB(network string) (int, error) {
	f.note("FlushFDB %s", network)
	return 12, nil
}

func (f *fake) Drops() []spec.Drop { return f.drops }

// startFake serves f and returns its socket.
func startFake(t *testing.T, f *fake) string {
	t.Helper()
	sock, err := api.Listen(filepath.Join(t.TempDir(), "weft.sock"))
	if err != nil {
		t.Fatal(err)
	}
	srv := api.NewServer(f, slog.New(slog.DiscardHandler))
	done := make(chan error, 1)
	go func() { done <- srv.Serve(sock) }() // ends with Close below
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = srv.Close(ctx)
		<-done
	})
	return sock.Addr().String()
}

func (f *fake) Expose(e spec.Expose) (spec.PortStatus, error) {
	f.note("Expose %s", e)
	return spec.PortStatus{Name: "host", Network: e.Network, Kind: "host", IfName: "weft-" + e.Network, MTU: 1450, Addresses: []netip.Prefix{netip.MustParsePrefix("10.1.0.3/16")}}, nil
}

func (f *fake) Hide(network string) error {
	f.note("Hide %s", network)
	return nil
}

func (f *fake) Published() []spec.PublishStatus {
	if f.empty {
		return nil
	}
	return []spec.PublishStatus{
		{Network: "blue", Target: "netns:web", Port: 8080, Count: 1, TargetPort: 80, Proto: "tcp", Origin: "api"},
		{Network: "blue", Target: "netns:web", Host: "fd00::1", Port: 5000, Count: 10, TargetPort: 6000, Proto: "udp", Origin: "declared", Problem: "netns:web is not attached"},
	}
}

func (f *fake) Publish(p spec.Publish) (spec.PublishStatus, error) {
	f.note("Publish %s", p)
	return spec.PublishStatus{Network: p.Network, Target: p.Target, Port: p.Port, Count: p.Count, TargetPort: p.To, Proto: p.Proto}, nil
}

func (f *fake) Unpublish(network, target, ports string) error {
	f.note("Unpublish %s %s %q", network, target, ports)
	return nil
}

func (f *fake) Cleanup() ([]string, error) {
	f.note("Cleanup")
	return []string{"interface weft-blue", "nftables table inet weft"}, nil
}
