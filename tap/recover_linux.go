package tap

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Recover is Reopen for a TAP that nobody remembers, where Create found the name
// taken: it opens the interface if all of it says that Create made it for cfg,
// and that no switch has it: a persistent TAP with cfg's MAC and virtio headers,
// which is not open. Beyond what Reopen puts back, addresses within prefixes that cfg
// does not have are removed, and default routes of cfg that are missing are added.
//
// Errors wrap ErrNoNamespace, ErrNoTAP where nothing has the name, and
// ErrNameTaken where any other interface has it; nothing is changed then.
func Recover(ns Namespace, cfg Config, prefixes []netip.Prefix) (*Device, error) {
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("recover TAP: %w", err)
	}
	var d *Device
	err := ns.enter(func(h *netlink.Handle) error {
		link, err := findLost(h, cfg)
		if err != nil {
			return err
		}
		d, err = openLink(cfg.IfName, func() error {
			c := configurator{h, link, cfg}
			if err := c.removeStale(prefixes); err != nil {
				return err
			}
			if err := c.repair(); err != nil {
				return err
			}
			return c.restoreRoutes()
		})
		if errors.Is(err, unix.EBUSY) {
			err = errOpen(cfg.IfName)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("recover TAP %s in %s: %w", cfg.IfName, ns.Path, err)
	}
	return d, nil
}

// otherName is what helps where an interface has the name for good.
const otherName = "choose another name with -i NAME"

// errOpen is the error where a process has the TAP open.
func errOpen(name string) error {
	return fmt.Errorf("interface %s: %w, a TAP that some process has open: %s", name, ErrNameTaken, otherName)
}

// findLost returns the link that Recover may take.
func findLost(h *netlink.Handle, cfg Config) (netlink.Link, error) {
	link, err := findTAP(h, cfg.IfName)
	if errors.Is(err, ErrNoTAP) {
		if _, there := h.LinkByName(cfg.IfName); there == nil {
			return nil, fmt.Errorf("interface %s: %w: %s", cfg.IfName, ErrNameTaken, otherName)
		}
	}
	if err != nil {
		return nil, err
	}
	t := link.(*netlink.Tuntap)
	if hasQueues(t) {
		return nil, errOpen(cfg.IfName)
	}
	if mac := t.HardwareAddr.String(); mac != cfg.MAC.String() {
		return nil, fmt.Errorf("interface %s: %w, a TAP with MAC %s, and this one would have %s: attach with the address and --mac that it was attached with, or %s",
			cfg.IfName, ErrNameTaken, mac, cfg.MAC, otherName)
	}
	return link, nil
}

// hasQueues reports whether some process has a TAP of many queues open, as an older
// weft made them. Of one with a single queue nobody is told: a second descriptor
// is refused (EBUSY).
func hasQueues(t *netlink.Tuntap) bool { return t.Queues+t.DisabledQueues > 0 }

// removeStale removes the addresses within prefixes that are not cfg's, or have
// another length. Of those that the container gave itself elsewhere none goes.
func (c configurator) removeStale(prefixes []netip.Prefix) error {
	list, err := c.h.AddrList(c.link, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("list addresses of %s: %w", c.cfg.IfName, err)
	}
	for _, a := range list {
		ip, _ := netip.AddrFromSlice(a.IP)
		ones, _ := a.Mask.Size()
		have := netip.PrefixFrom(ip.Unmap(), ones)
		inside := slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(have.Addr()) })
		if !inside || slices.Contains(c.cfg.Addrs, have) {
			continue
		}
		// A secondary address goes with its primary one, and is put back by repair.
		if err := c.h.AddrDel(c.link, &a); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return fmt.Errorf("remove address %v from %s: %w", have, c.cfg.IfName, err)
		}
	}
	return nil
}
