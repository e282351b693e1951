package api

import (
	"cmp"
	"slices"

	"weft/internal/drop"
	"weft/internal/spec"
)

// The functions here hold what JSON promises other programs: arrays are never
// null and sorted by name, every drop reason is present.

func status(s spec.Status) spec.Status {
	s.Degraded = notNil(s.Degraded)
	s.Networks = networks(s.Networks)
	s.Ports = ports(s.Ports)
	s.Peers = peers(s.Peers)
	all := make(map[string]uint64, drop.Count)
	for _, r := range drop.All() {
		all[r.String()] = 0
	}
	for name, n := range s.Drops {
		all[name] = n
	}
	s.Drops = all
	return s
}

func networks(ns []spec.NetworkStatus) []spec.NetworkStatus {
	return sorted(ns, network, func(a, b spec.NetworkStatus) int { return cmp.Compare(a.Name, b.Name) })
}

func ports(ps []spec.PortStatus) []spec.PortStatus {
	return sorted(ps, port, func(a, b spec.PortStatus) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Network, b.Network))
	})
}

func peers(ps []spec.PeerStatus) []spec.PeerStatus {
	return sorted(ps, peer, func(a, b spec.PeerStatus) int { return cmp.Compare(a.Name, b.Name) })
}

func fdb(es []spec.FDBEntry) []spec.FDBEntry {
	return sorted(es, same, func(a, b spec.FDBEntry) int {
		return cmp.Or(cmp.Compare(a.Network, b.Network), cmp.Compare(a.MAC, b.MAC))
	})
}

func uplinks(us []spec.UplinkStatus) []spec.UplinkStatus {
	return sorted(us, same, func(a, b spec.UplinkStatus) int {
		return cmp.Or(cmp.Compare(a.Network, b.Network), cmp.Compare(a.Device, b.Device))
	})
}

// drops keeps the order of the reasons, which is that of a frame's way.
func drops(ds []spec.Drop) []spec.Drop {
	return sorted(ds, same, func(a, b spec.Drop) int { return cmp.Compare(a.At, b.At) })
}

func network(n spec.NetworkStatus) spec.NetworkStatus {
	n.Prefixes = notNil(n.Prefixes)
	n.Gateways = notNil(n.Gateways)
	return n
}

func networkSet(n spec.NetworkSet) spec.NetworkSet {
	n.NetworkStatus = network(n.NetworkStatus)
	n.Ports = sorted(n.Ports, same, func(a, b spec.PortChange) int { return cmp.Compare(a.Name, b.Name) })
	return n
}

func port(p spec.PortStatus) spec.PortStatus {
	p.Addresses = notNil(p.Addresses)
	return p
}

func peer(p spec.PeerStatus) spec.PeerStatus {
	p.Networks = notNil(p.Networks)
	return p
}

func same[T any](v T) T { return v }

// sorted returns a sorted copy of vs with each made fit; never nil.
func sorted[T any](vs []T, fit func(T) T, compare func(a, b T) int) []T {
	out := make([]T, len(vs))
	for i, v := range vs {
		out[i] = fit(v)
	}
	slices.SortStableFunc(out, compare)
	return out
}

func notNil[T any](vs []T) []T {
	if vs == nil {
		return []T{}
	}
	return vs
}
