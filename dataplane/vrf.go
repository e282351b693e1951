package dataplane

import (
	"fmt"
	"net/netip"

	"weft/fib"
	"weft/internal/header"
)

// vrf is a routing table with the domains that use it. Like all of a snapshot
// it never changes; its routes do, lock-free (fib.Routes).
type vrf struct {
	key    uint32 // GRE key of its packets
	routes *fib.Routes
	own    map[netip.Addr]*domain // gateway addresses of its domains
}

// gateway is a domain's router port: the same on every host (anycast).
type gateway struct {
	mac   header.MAC // 02:57 and the network's id
	addr4 netip.Addr // invalid: none
	addr6 netip.Addr
}

// gatewayMAC returns the gateway's address in the network with an id.
func gatewayMAC(id uint32) header.MAC { return 0x0257_0000_0000 | header.MAC(id) }

// newGateway returns the gateway of the domain with a key, nil without addresses.
func newGateway(key uint32, addrs []netip.Addr) *gateway {
	if len(addrs) == 0 {
		return nil
	}
	g := &gateway{mac: gatewayMAC(key)}
	for _, a := range addrs {
		if a.Is4() {
			g.addr4 = a
		} else {
			g.addr6 = a
		}
	}
	return g
}

// addr returns the gateway's address of the family of a; invalid where it has none.
func (g *gateway) addr(a netip.Addr) netip.Addr {
	if a.Is4() {
		return g.addr4
	}
	return g.addr6
}

// has reports whether a is an address of the gateway.
func (g *gateway) has(a netip.Addr) bool {
	return g != nil && a.IsValid() && (a == g.addr4 || a == g.addr6)
}

// AddVRF makes an empty routing table; key is its id, 1 to 2^32-1. The caller
// fills Routes: connected prefixes as well as static ones and those of peers.
func (s *Switch) AddVRF(key uint32) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.snapshot.Load()
	if old.vrfs[key] != nil {
		return fmt.Errorf("add vrf: key %d is in use", key)
	}
	next := old.clone()
	next.vrfs[key] = &vrf{key: key, routes: new(fib.Routes)}
	s.publish(next)
	return nil
}

// RemoveVRF removes a routing table that no domain uses.
func (s *Switch) RemoveVRF(key uint32) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.snapshot.Load()
	if old.vrfs[key] == nil {
		return fmt.Errorf("remove vrf: no vrf %d", key)
	}
	for _, d := range old.domains {
		if d != nil && d.vrf == key {
			return fmt.Errorf("remove vrf: domain %d uses it", d.id)
		}
	}
	next := old.clone()
	delete(next.vrfs, key)
	s.publish(next)
	s.settle()
	return nil
}

// Routes returns the table of a vrf, nil where there is none: control changes
// it while workers look up.
func (s *Switch) Routes(key uint32) *fib.Routes {
	if v := s.snapshot.Load().vrfs[key]; v != nil {
		return v.routes
	}
	return nil
}

// setOwn renews the gateway addresses of every vrf of s, which is not published yet.
func (s *snapshot) setOwn() {
	for key, was := range s.vrfs {
		v := &vrf{key: key, routes: was.routes, own: map[netip.Addr]*domain{}}
		for _, d := range s.domains {
			if d == nil || d.vrf != key || d.gw == nil {
				continue
			}
			for _, a := range []netip.Addr{d.gw.addr4, d.gw.addr6} {
				if a.IsValid() {
					v.own[a] = d
				}
			}
		}
		s.vrfs[key] = v
	}
}

// anyAddr returns the lowest gateway address of the family of a; invalid where
// there is none.
func (v *vrf) anyAddr(a netip.Addr) (lowest netip.Addr) {
	for own := range v.own {
		if own.Is4() == a.Is4() && (!lowest.IsValid() || own.Less(lowest)) {
			lowest = own
		}
	}
	return lowest
}
