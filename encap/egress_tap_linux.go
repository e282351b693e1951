package encap

import (
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weft/internal/rawdev"
)

// egressTAP is a TAP in the host's namespace of which every frame leaves by one
// uplink (tc-mirred(8), at the TAP's ingress: nothing of the uplink is touched).
// Workers may hold its descriptor until the Underlay is closed, so it stays open.
type egressTAP struct {
	fd     int
	index  int // of the TAP
	uplink int // index of the link that frames leave by
	lost   uint64
}

// tapTo returns the TAP to an uplink, whole: made anew as far as somebody has
// taken it apart.
func (e *egress) tapTo(uplink int) (*egressTAP, error) {
	t, err := e.tapFor(uplink)
	if err != nil {
		return nil, err
	}
	link, err := e.linkOf(t)
	if err != nil {
		return nil, err
	}
	lost, redirects, err := e.redirected(t)
	if err == nil && !redirects {
		err = e.redirect(t)
	}
	if err != nil {
		return nil, err
	}
	e.note(t, lost)
	if link.Attrs().Flags&net.FlagUp == 0 {
		if err := e.links.LinkSetUp(link); err != nil {
			return nil, fmt.Errorf("set egress TAP up: %w", err)
		}
	}
	return t, nil
}

// tapFor returns the TAP that was made for an uplink, else one whose uplink is
// gone, else a new one.
func (e *egress) tapFor(uplink int) (*egressTAP, error) {
	for _, t := range e.taps {
		if t.uplink == uplink {
			return t, nil
		}
	}
	for _, t := range e.taps {
		if _, err := e.links.LinkByIndex(t.uplink); errors.As(err, new(netlink.LinkNotFoundError)) {
			t.uplink = uplink
			return t, nil
		}
	}
	fd, err := rawdev.OpenTUN()
	if err != nil {
		return nil, err
	}
	t := &egressTAP{fd: fd, uplink: uplink}
	e.taps = append(e.taps, t)
	return t, nil
}

// linkOf returns the link of t, and makes one where there is none any more.
func (e *egress) linkOf(t *egressTAP) (netlink.Link, error) {
	if t.index == 0 {
		return e.attach(t)
	}
	link, err := e.links.LinkByIndex(t.index)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return e.attach(t)
	}
	if err != nil {
		return nil, fmt.Errorf("find egress TAP: %w", err)
	}
	return link, nil
}

// attach makes the TAP of t, which has none, with nothing of its own to say.
func (e *egress) attach(t *egressTAP) (netlink.Link, error) {
	name, err := rawdev.AttachEgress(t.fd, egressNaming)
	if err != nil {
		return nil, err
	}
	link, err := e.links.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("find egress TAP: %w", err)
	}
	t.index, t.lost = link.Attrs().Index, 0
	err = e.links.LinkSetARPOff(link)
	if err == nil {
		err = e.links.LinkSetIP6AddrGenMode(link, nl6AddrGenNone)
	}
	if err != nil && !errors.Is(err, unix.EAFNOSUPPORT) { // a kernel without IPv6
		return nil, fmt.Errorf("set up egress TAP: %w", err)
	}
	return link, nil
}

// nl6AddrGenNone is IN6_ADDR_GEN_MODE_NONE (linux/if_link.h): no address, and so
// nothing to announce.
const nl6AddrGenNone = 1

// redirect makes every frame of the TAP leave by its uplink.
func (e *egress) redirect(t *egressTAP) error {
	qdisc := &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: t.index, Parent: netlink.HANDLE_CLSACT, Handle: netlink.MakeHandle(0xffff, 0),
	}}
	if err := e.links.QdiscReplace(qdisc); err != nil {
		return fmt.Errorf("add clsact to egress TAP: %w: needs a kernel with traffic control (CONFIG_NET_SCH_INGRESS)", err)
	}
	// The library keeps what it made of a filter: one for each request.
	filter := func() *netlink.U32 {
		return &netlink.U32{
			FilterAttrs: netlink.FilterAttrs{LinkIndex: t.index, Parent: netlink.HANDLE_MIN_INGRESS, Priority: 1, Protocol: unix.ETH_P_ALL},
			Actions:     []netlink.Action{netlink.NewMirredAction(t.uplink)},
		}
	}
	for e.links.FilterDel(filter()) == nil { // any that lead to another uplink
	}
	if err := e.links.FilterAdd(filter()); err != nil {
		return fmt.Errorf("redirect egress TAP: %w: needs a kernel with tc-u32 and tc-mirred", err)
	}
	return nil
}

// redirected reports whether the TAP's frames leave by its uplink, and how many
// were dropped instead since that was set up.
func (e *egress) redirected(t *egressTAP) (lost uint64, ok bool, err error) {
	link := &netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: t.index}}
	filters, err := e.links.FilterList(link, netlink.HANDLE_MIN_INGRESS)
	if err != nil && !errors.Is(err, unix.EINVAL) { // EINVAL: no clsact
		return 0, false, fmt.Errorf("read redirection of egress TAP: %w", err)
	}
	for _, f := range filters {
		u32, ok := f.(*netlink.U32)
		if !ok || len(u32.Actions) != 1 {
			continue
		}
		m, ok := u32.Actions[0].(*netlink.MirredAction)
		if !ok || m.Ifindex != t.uplink {
			continue
		}
		if s := m.Statistics; s != nil && s.Queue != nil {
			lost = uint64(s.Queue.Overlimits)
		}
		return lost, true, nil
	}
	return 0, false, nil
}

// note adds what was dropped behind the TAP since the last time.
func (e *egress) note(t *egressTAP, lost uint64) {
	if lost > t.lost {
		e.lost.Add(lost - t.lost)
	}
	t.lost = lost
}

// count notes what was dropped behind TAPs that no peer has now.
func (e *egress) count() {
	for _, t := range e.taps {
		if lost, ok, err := e.redirected(t); ok && err == nil {
			e.note(t, lost)
		}
	}
}
