package encap

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weft/internal/header"
)

// egressFinder finds out, in one look, which peers an egress TAP or a packet socket
// leads to. It asks the kernel for each thing once.
type egressFinder struct {
	*egress
	exits    map[PeerID]exit
	uplinks  map[int]*uplink
	policies map[bool]error // by version of IP: why IPsec is in the way, nil where it is not
}

// uplink is a link by which peers are reached.
type uplink struct {
	link       netlink.Link
	err        error // why no frames can be put on it
	neighbours []netlink.Neigh

	sought bool // tap and noTAP are known
	tap    *egressTAP
	noTAP  error
}

// exit is where the host's datagrams to a peer leave: by an Ethernet link, to a next
// hop that is known.
type exit struct {
	up  *uplink
	src netip.Addr // outer source
	hop header.MAC
	mtu int   // L3, of link and route
	err error // why there is none where frames can leave as they are
}

// find says how a peer is reached by a carrier's egress TAP, or why it is not.
func (f *egressFinder) find(p *peer, c Carrier) (*egressPath, error) {
	switch {
	case c == CarrierUDP && f.u.family(p.Addr).udp == nil:
		return nil, f.u.family(p.Addr).noUDP
	case p.Checksum && c == CarrierGRE:
		return nil, errors.New("GRE checksums (csum) are made segment by segment")
	case p.Sequence:
		return nil, errors.New("sequence numbers (seq) are counted segment by segment")
	}
	out := f.exit(p)
	if out.err != nil {
		return nil, out.err
	}
	tap, err := f.tap(out.up)
	if err != nil {
		return nil, err
	}
	path := &egressPath{fd: tap.fd, src: out.src, mtu: out.mtu}
	header.PutEthernet(path.ethernet[:], out.hop, header.MACFrom(out.up.link.Attrs().HardwareAddr), etherTypeOf(p.Addr))
	return path, nil
}

// exit says where datagrams to a peer leave.
func (f *egressFinder) exit(p *peer) exit {
	out, ok := f.exits[p.ID]
	if !ok {
		if out, out.err = f.findExit(p); f.exits == nil {
			f.exits = map[PeerID]exit{}
		}
		f.exits[p.ID] = out
	}
	return out
}

func (f *egressFinder) findExit(p *peer) (out exit, err error) {
	if !p.src.IsValid() {
		return out, errors.New("no local address to send from")
	}
	route, err := f.route(p)
	if err != nil {
		return out, err
	}
	if err := f.noIPsec(p.Addr.Is6()); err != nil {
		return out, err
	}
	out.up = f.uplink(route.LinkIndex)
	if out.up.err != nil {
		return out, out.up.err
	}
	if out.hop, err = f.nextHop(out.up, hopOf(route, p.Addr)); err != nil {
		return out, err
	}
	out.src, out.mtu = p.src, out.up.link.Attrs().MTU
	if route.MTU > 0 {
		out.mtu = min(out.mtu, route.MTU)
	}
	if p.src.IsUnspecified() {
		src, ok := netip.AddrFromSlice(route.Src)
		if !ok {
			return out, errors.New("the route names no source address")
		}
		out.src = src.Unmap()
	}
	return out, nil
}

// route asks for the route that a raw socket's datagrams to p take.
func (f *egressFinder) route(p *peer) (*netlink.Route, error) {
	options := &netlink.RouteGetOptions{}
	if !p.src.IsUnspecified() {
		options.SrcAddr = p.src.AsSlice()
	}
	routes, err := f.links.RouteGetWithOptions(p.Addr.AsSlice(), options)
	if err != nil {
		return nil, RouteError(p.Addr, fmt.Errorf("no route to %s: %w", p.Addr, err))
	}
	if len(routes) != 1 {
		return nil, fmt.Errorf("%d routes to %s", len(routes), p.Addr)
	}
	r := &routes[0]
	switch {
	case r.Type != unix.RTN_UNICAST:
		return nil, fmt.Errorf("the route to %s leads to no other host", p.Addr)
	case r.Encap != nil || r.MPLSDst != nil:
		return nil, fmt.Errorf("the route to %s encapsulates", p.Addr)
	}
	return r, nil
}

// hopOf returns the next hop of a route.
func hopOf(r *netlink.Route, to netip.Addr) netip.Addr {
	gw := r.Gw
	if via, ok := r.Via.(*netlink.Via); ok && gw == nil { // IPv4 by an IPv6 neighbour (RFC 8950)
		gw = via.Addr
	}
	if hop, ok := netip.AddrFromSlice(gw); ok {
		return hop.Unmap()
	}
	return to
}

// noIPsec returns an error where a policy of IPsec may want what goes out to
// peers. Which, is not looked at: where IPsec is set up, it is left to it.
func (f *egressFinder) noIPsec(v6 bool) error {
	if err, ok := f.policies[v6]; ok {
		return err
	}
	family := netlink.FAMILY_V4
	if v6 {
		family = netlink.FAMILY_V6
	}
	err := noPolicies(f.links.XfrmPolicyList(family))
	if f.policies == nil {
		f.policies = map[bool]error{}
	}
	f.policies[v6] = err
	return err
}

func noPolicies(policies []netlink.XfrmPolicy, err error) error {
	if errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.ENOENT) { // a kernel without IPsec
		return nil
	}
	if err != nil {
		return fmt.Errorf("list IPsec policies: %w", err)
	}
	for i := range policies {
		if p := &policies[i]; p.Dir == netlink.XFRM_DIR_OUT {
			return fmt.Errorf("the host has an IPsec policy for what it sends, to %v", p.Dst)
		}
	}
	return nil
}

// uplink looks at a link.
func (f *egressFinder) uplink(index int) *uplink {
	if up := f.uplinks[index]; up != nil {
		return up
	}
	up := &uplink{}
	if f.uplinks == nil {
		f.uplinks = map[int]*uplink{}
	}
	f.uplinks[index] = up
	if up.link, up.err = f.links.LinkByIndex(index); up.err != nil {
		up.err = fmt.Errorf("find uplink %d: %w", index, up.err)
		return up
	}
	if up.err = suits(up.link.Attrs()); up.err != nil {
		return up
	}
	if up.neighbours, up.err = f.links.NeighList(index, netlink.FAMILY_ALL); up.err != nil {
		up.err = fmt.Errorf("list neighbours: %w", up.err)
	}
	return up
}

// suits returns why frames cannot be put on a link as they are.
func suits(a *netlink.LinkAttrs) error {
	switch {
	case a.EncapType != "ether" || a.Flags&net.FlagLoopback != 0 || len(a.HardwareAddr) != 6:
		return fmt.Errorf("uplink %s is no Ethernet link", a.Name)
	case a.Flags&net.FlagUp == 0:
		return fmt.Errorf("uplink %s is down", a.Name)
	}
	return nil
}

// tap returns the TAP to an uplink; it makes one where there is none.
func (f *egressFinder) tap(up *uplink) (*egressTAP, error) {
	if !up.sought {
		up.sought = true
		if up.noTAP = f.takesSuper(up.link); up.noTAP == nil {
			up.tap, up.noTAP = f.tapTo(up.link.Attrs().Index)
		}
	}
	return up.tap, up.noTAP
}

// takesSuper returns why super-frames from a TAP cannot be put on a link.
func (f *egressFinder) takesSuper(l netlink.Link) error {
	a := l.Attrs()
	if f.rules.egress[a.Name] != "" { // what tc redirects passes it by (nf_skip_egress in net/core/dev.c)
		return fmt.Errorf("nftables table %s has a chain for what leaves by uplink %s", f.rules.egress[a.Name], a.Name)
	}
	// To the kernel the tunnel says that it is of UDP. That does not matter where
	// the kernel cuts; of hardware nobody knows.
	cutters, err := f.cutters(l)
	if err != nil {
		return err
	}
	for _, c := range cutters {
		features, err := f.tool.Features(c)
		if err != nil {
			return fmt.Errorf("read features of link %s: %w", c, err)
		}
		if features["tx-udp_tnl-segmentation"] {
			return fmt.Errorf("link %s cuts UDP tunnels in hardware: ethtool -K %s tx-udp_tnl-segmentation off would help", c, c)
		}
	}
	return nil
}

// cutters returns the names of the links behind l that may cut super-frames in
// hardware. A veth hands them on to where they are cut; a bridge does to its
// ports, and macvlan to its parent.
func (f *egressFinder) cutters(l netlink.Link) (names []string, err error) {
	a := l.Attrs()
	var below []netlink.Link
	switch l.Type() {
	case "veth":
		return nil, nil
	case "bridge":
		all, err := f.links.LinkList()
		if err != nil {
			return nil, fmt.Errorf("list links: %w", err)
		}
		for _, port := range all {
			if port.Attrs().MasterIndex == a.Index {
				below = append(below, port)
			}
		}
	case "macvlan":
		if a.NetNsID >= 0 { // the parent is in another namespace
			return []string{a.Name}, nil
		}
		parent, err := f.links.LinkByIndex(a.ParentIndex)
		if err != nil {
			return nil, fmt.Errorf("find link below %s: %w", a.Name, err)
		}
		below = []netlink.Link{parent}
	default:
		return []string{a.Name}, nil
	}
	for _, b := range below {
		more, err := f.cutters(b)
		if err != nil {
			return nil, err
		}
		names = append(names, more...)
	}
	return names, nil
}

// nextHop returns the MAC of a next hop. It uses the kernel's entry, as if it had
// sent something there, so that the kernel keeps it fresh and asks for what it does
// not know. Entries that never go stale are left alone.
func (f *egressFinder) nextHop(up *uplink, hop netip.Addr) (header.MAC, error) {
	const lasting = netlink.NUD_PERMANENT | netlink.NUD_NOARP
	const known = lasting | netlink.NUD_REACHABLE | netlink.NUD_STALE | netlink.NUD_DELAY | netlink.NUD_PROBE
	for i := range up.neighbours {
		n := &up.neighbours[i]
		if a, ok := netip.AddrFromSlice(n.IP); !ok || a.Unmap() != hop || n.State&known == 0 || len(n.HardwareAddr) != 6 {
			continue
		}
		if n.State&lasting == 0 {
			f.use(up, hop)
		}
		return header.MACFrom(n.HardwareAddr), nil
	}
	f.use(up, hop)
	return 0, fmt.Errorf("next hop %s on %s does not answer", hop, up.link.Attrs().Name)
}

// use tells the kernel that the neighbour is used.
func (f *egressFinder) use(up *uplink, hop netip.Addr) {
	n := &netlink.Neigh{LinkIndex: up.link.Attrs().Index, Family: netlink.FAMILY_V4, IP: hop.AsSlice(), Flags: netlink.NTF_USE}
	if hop.Is6() {
		n.Family = netlink.FAMILY_V6
	}
	if err := f.links.NeighSet(n); err != nil {
		f.u.log.Debug("neighbour cannot be kept fresh", "address", hop, "uplink", strconv.Itoa(n.LinkIndex), "err", err)
	}
}
