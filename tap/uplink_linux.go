package tap

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weft/internal/header"
	"weft/internal/rawdev"
)

// ErrNoLink says that the host has no link of a name.
var ErrNoLink = errors.New("no such link")

// LinkState is a link of the host as it is now.
type LinkState struct {
	Index   int
	MAC     header.MAC
	MTU     int  // L3
	Up      bool // set up; whether a cable is in is Carrier
	Carrier bool
}

// LookupLink returns a link that can be an Uplink: an Ethernet one, not the
// loopback and none of weft's. Errors wrap ErrNoLink where there is none of that name.
func LookupLink(name string) (LinkState, error) {
	link, err := netlink.LinkByName(name)
	if isNoLink(err) {
		return LinkState{}, fmt.Errorf("link %s: %w on this host: ip link shows those that are there", name, ErrNoLink)
	}
	if err != nil {
		return LinkState{}, fmt.Errorf("find link %s: %w", name, err)
	}
	a := link.Attrs()
	switch {
	case a.RawFlags&unix.IFF_LOOPBACK != 0:
		return LinkState{}, fmt.Errorf("link %s is the loopback, which leads to no other machine: choose another", name)
	case isOwn(link):
		return LinkState{}, fmt.Errorf("link %s is weft's own: choose one that leads to other machines", name)
	case a.EncapType != "ether" || len(a.HardwareAddr) != 6:
		return LinkState{}, fmt.Errorf("link %s carries no Ethernet (%s): choose another", name, a.EncapType)
	}
	return LinkState{
		Index: a.Index, MAC: header.MACFrom(a.HardwareAddr), MTU: a.MTU,
		Up: a.RawFlags&unix.IFF_UP != 0, Carrier: a.RawFlags&unix.IFF_LOWER_UP != 0,
	}, nil
}

// Routers returns the routers behind a link that routes of the host lead to, in
// whatever table; none where there is no
// such link.
func Routers(link string) (list []netip.Addr, err error) {
	l, err := netlink.LinkByName(link)
	if isNoLink(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("find link %s: %w", link, err)
	}
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Table: unix.RT_TABLE_UNSPEC, LinkIndex: l.Attrs().Index}, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_OIF)
	if err != nil {
		return nil, fmt.Errorf("list routes by link %s: %w", link, err)
	}
	for _, r := range routes {
		if a, ok := netip.AddrFromSlice(r.Gw); ok {
			list = append(list, a.Unmap())
		}
	}
	return list, nil
}

// isOwn reports whether a link of the host is one that weft makes there: an egress
// TAP or an exposed network, weft-NAME, or the host side of an uplink.
func isOwn(link netlink.Link) bool {
	name := link.Attrs().Name
	return link.Type() == "tuntap" && (strings.HasPrefix(name, "weft-") || strings.HasPrefix(name, hostSidePrefix))
}

// hostSidePrefix begins the name of the TAP of an uplink.
const hostSidePrefix = "weftup-"

// OpenUplink attaches the link name of the calling thread's namespace, which s
// is the state of. With vlan, 1 to 4094, the Uplink is that VLAN of the link;
// with 0 it is all of it. Addresses, routes and settings of the link stay as
// they are. Everything goes with the last descriptor, so that a crash leaves
// nothing behind.
func OpenUplink(name string, s LinkState, vlan int) (*Uplink, error) {
	u, err := openUplink(name, s, vlan)
	if err != nil {
		return nil, fmt.Errorf("attach link %s: %w", name, err)
	}
	return u, nil
}

func openUplink(name string, s LinkState, vlan int) (*Uplink, error) {
	host, err := openHostSide(hostSideName(name, vlan), s)
	if err != nil {
		return nil, err
	}
	filter := rawdev.PacketFilter{VLAN: vlan}
	prog, err := filter.Assemble()
	fd := -1
	if err == nil {
		fd, err = rawdev.OpenPacket(s.Index, prog)
	}
	if err != nil {
		return nil, errors.Join(err, host.Close())
	}
	u := FromPacketSocket(fd, vlan, host)
	u.filter, u.filtered = filter, true
	return u, nil
}

// hostSideName returns the name of the TAP of an uplink, for `ip link`.
func hostSideName(link string, vlan int) string {
	name := hostSidePrefix + link
	if vlan != 0 {
		name = fmt.Sprintf("%s.%d", name, vlan)
	}
	if len(name) > maxIfName {
		sum := sha256.Sum256([]byte(name))
		name = hostSidePrefix + hex.EncodeToString(sum[:3])
	}
	return name
}

// openHostSide makes the TAP by which frames reach the host as if the link s had
// received them. The kernel sends nothing by it. It goes with its descriptor.
func openHostSide(name string, s LinkState) (*Device, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	defer h.Close()
	if _, err := h.LinkByName(name); err == nil {
		return nil, fmt.Errorf("link %s is in the way: remove it with ip link del %s", name, name)
	} else if !isNoLink(err) {
		return nil, fmt.Errorf("find link %s: %w", name, err)
	}
	fd, err := rawdev.OpenTUN()
	if err != nil {
		return nil, err
	}
	// Not by way of a TAP that persists, if only for a moment: one that a crash left
	// would be in the way of every later start.
	if err := attach(fd, name); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("make TAP %s: %w", name, err)
	}
	if err := setUpHostSide(h, name, s); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("set up TAP %s: %w", name, err)
	}
	return newDevice(fd, false), nil
}

func setUpHostSide(h *netlink.Handle, name string, s LinkState) error {
	link, err := h.LinkByName(name)
	if err != nil {
		return err
	}
	// A frame is the host's when it has the link's address (eth_type_trans).
	if err := h.LinkSetHardwareAddr(link, s.MAC.HardwareAddr()); err != nil {
		return fmt.Errorf("set address: %w", err)
	}
	if err := h.LinkSetARPOff(link); err != nil {
		return fmt.Errorf("switch ARP off: %w", err)
	}
	err = os.WriteFile("/proc/sys/net/ipv6/conf/"+name+"/disable_ipv6", []byte("1"), 0)
	if err != nil && !errors.Is(err, os.ErrNotExist) { // no IPv6 in this kernel
		return fmt.Errorf("switch IPv6 off: %w", err)
	}
	if err := redirect(h, link.Attrs().Index, s.Index); err != nil {
		return fmt.Errorf("redirect its frames: %w", err)
	}
	return h.LinkSetUp(link)
}

// redirect has all that comes in by the link from come in by the link to.
func redirect(h *netlink.Handle, from, to int) error {
	qdisc := &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: from, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT,
	}}
	if err := h.QdiscAdd(qdisc); err != nil {
		return fmt.Errorf("add clsact: %w", err)
	}
	attrs := netlink.FilterAttrs{LinkIndex: from, Parent: netlink.HANDLE_MIN_INGRESS, Priority: 1, Protocol: unix.ETH_P_ALL}
	action := func() []netlink.Action {
		a := netlink.NewMirredAction(to)
		a.MirredAction = netlink.TCA_INGRESS_REDIR
		return []netlink.Action{a}
	}
	// Kernels have one classifier or the other.
	err := h.FilterAdd(&netlink.MatchAll{FilterAttrs: attrs, Actions: action()})
	if err != nil {
		err = h.FilterAdd(&netlink.U32{FilterAttrs: attrs, Actions: action()})
	}
	if err != nil {
		return fmt.Errorf("add filter with mirred: %w: it takes the kernel's act_mirred, and cls_matchall or cls_u32", err)
	}
	return nil
}
