package encap

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// defaultMTU is assumed where nothing says which link is used.
const defaultMTU = 1500

// openLinks opens a netlink socket in the network namespace of the calling
// thread, which LinkMTU may no longer be in.
func openLinks() (*netlink.Handle, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	return h, nil
}

// LinkMTU returns the L3 MTU, in bytes, of the link that holds the first local
// address, as it is now; 1500 where there is none. It asks the kernel on every
// call: not for the frame path.
func (u *Underlay) LinkMTU() int { return u.mtuOf(u.first()) }

// LinkMTUTo is LinkMTU with the first local address of the peer's version of IP.
func (u *Underlay) LinkMTUTo(peer netip.Addr) int {
	if f := u.family(peer.Unmap()); f != nil && len(f.local) > 0 {
		return u.mtuOf(f.local[0])
	}
	return defaultMTU
}

// mtuOf returns the MTU of the link with a local address.
func (u *Underlay) mtuOf(local netip.Addr) int {
	if u.links == nil || len(u.local) == 0 {
		return defaultMTU
	}
	mtu, err := linkMTU(u.links, local)
	if err != nil {
		if !u.mtuUnknown.Swap(true) {
			u.log.Warn("MTU of the underlay is unknown: taking 1500", "err", err)
		}
		return defaultMTU
	}
	u.mtuUnknown.Store(false)
	return mtu
}

func linkMTU(h *netlink.Handle, local netip.Addr) (int, error) {
	addrs, err := h.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return 0, fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range addrs {
		if got, ok := netip.AddrFromSlice(a.IP); !ok || got.Unmap() != local {
			continue
		}
		link, err := h.LinkByIndex(a.LinkIndex)
		if err != nil {
			return 0, fmt.Errorf("find link of %s: %w", local, err)
		}
		return link.Attrs().MTU, nil
	}
	return 0, fmt.Errorf("no link has the local address %s", local)
}

// path is how a peer is reached.
type path struct {
	src netip.Addr // outer source; 0.0.0.0: the kernel puts in what the route says (raw(7), IP_HDRINCL); invalid: no route
	mtu int        // of the link
}

// Refresh asks the kernel anew how peers are reached: the MTU of the link and,
// where there is no local address, the source that the route picks. Until then
// all stays as it was at SetPeers. Not for the frame path.
func (u *Underlay) Refresh() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.closed {
		u.peers.Store(u.peers.Load().changed(u.pathFinder()))
		u.hello.Load().changed()
	}
}

// pathFinder returns a function that says anew how a peer is reached. It asks
// once where the local address decides, for each peer where the route does.
func (u *Underlay) pathFinder() func(p *peer) {
	known := map[*family]path{}
	return func(p *peer) {
		f := u.family(p.Addr)
		if len(f.local) == 0 {
			p.path = u.routePath(p.Addr)
			return
		}
		found, ok := known[f]
		if !ok {
			found = path{f.local[0], u.mtuOf(f.local[0])}
			known[f] = found
		}
		p.path = found
	}
}

// routePath asks for the route to a peer. The kernel fills in the source of an
// IPv4 header, but not that of an IPv6 header.
func (u *Underlay) routePath(to netip.Addr) path {
	p := path{netip.IPv4Unspecified(), defaultMTU}
	if to.Is6() {
		p.src = netip.Addr{}
	}
	if u.links == nil {
		return p
	}
	routes, err := u.links.RouteGet(to.AsSlice())
	if err != nil || len(routes) == 0 {
		return p
	}
	if src, ok := netip.AddrFromSlice(routes[0].Src); ok && to.Is6() {
		p.src = src
	}
	if link, err := u.links.LinkByIndex(routes[0].LinkIndex); err == nil {
		p.mtu = link.Attrs().MTU
	}
	return p
}
