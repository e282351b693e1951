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
func (u *Underlay) LinkMTU() int {
	if u.links == nil || len(u.local) == 0 {
		return defaultMTU
	}
	mtu, err := linkMTU(u.links, u.local[0])
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
