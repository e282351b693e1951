package dataplane

import (
	"fmt"
	"net/netip"
)

// SetPort changes the addresses that a port is known and held to, and the MTU of
// frames from and to it. MAC and everything else stay. None of addrs may be the
// gateway's, but for as long as that changes too.
func (s *Switch) SetPort(id PortID, addrs []netip.Addr, mtu int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := s.snapshot.Load().clone()
	was := next.port(id)
	if was == nil {
		return fmt.Errorf("set port: no port %d", id)
	}
	p := *was
	p.addrs, p.mtu = addrs, mtu
	p.filter = newFilter(p.mac, addrs, p.host)
	next.ports[id] = &p
	next.rejoin(p.network)
	s.publish(next)
	return nil
}
