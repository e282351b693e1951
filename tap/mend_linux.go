package tap

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weft/internal/header"
)

// Mend puts back what others changed of a TAP of this host that is open: that it
// is up, its MAC and MTU, and addresses that are missing. Inside a container that
// is the container's affair (see Reopen); on the host the switch answers for it.
// It says what it found, in words for people; empty: all was as cfg says, or there
// is no such TAP, which its owner notices by itself.
func Mend(cfg Config) (found []string, err error) {
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("mend TAP: %w", err)
	}
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	defer h.Close()
	link, err := findTAP(h, cfg.IfName)
	if errors.Is(err, ErrNoTAP) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if found, err = (configurator{h, link, cfg}).mend(); err != nil {
		return found, fmt.Errorf("mend TAP %s: %w", cfg.IfName, err)
	}
	return found, nil
}

// mend is repair for a link that is the switch's own.
func (c configurator) mend() (found []string, err error) {
	found, err = c.mendLink()
	if err != nil {
		return found, err
	}
	if c.cfg.wantsIPv6() { // and the one by which it asks its neighbours
		c.cfg.Addrs = append(slices.Clone(c.cfg.Addrs), netip.PrefixFrom(header.LinkLocal(c.cfg.MAC), 64))
	}
	missing, err := c.missingAddrs() // a link that was down has lost those of IPv6
	if err != nil || len(missing) == 0 {
		return found, err
	}
	for _, p := range missing {
		found = append(found, "without "+p.String())
	}
	if err := c.setIPv6(); err != nil {
		return found, err
	}
	return found, c.addAddrs(missing)
}

// mendLink is mend for all but addresses.
func (c configurator) mendLink() (found []string, err error) {
	now := c.link.Attrs()
	if mac := now.HardwareAddr.String(); mac != c.cfg.MAC.String() {
		found = append(found, "with MAC "+mac)
		if err := c.setMAC(); err != nil {
			return found, err
		}
	}
	if now.MTU != c.cfg.MTU {
		found = append(found, fmt.Sprintf("with MTU %d", now.MTU))
		if err := c.setMTU(); err != nil {
			return found, err
		}
	}
	if now.Flags&net.FlagUp == 0 {
		found = append(found, "down")
		if c.cfg.wantsIPv6() { // else the kernel adds it, and waits until it is sure that nobody has it
			c.addLinkLocal()
		}
		if err := c.h.LinkSetUp(c.link); err != nil {
			return found, fmt.Errorf("set interface up: %w", err)
		}
	}
	return found, nil
}

// MendHostSide puts back what others changed of the TAP by which frames reach the
// host: that it is up and has the MAC of the uplink's link, as s says. It reports
// whether it found something.
func (u *Uplink) MendHostSide(s LinkState) (bool, error) {
	if u.host == nil {
		return false, nil
	}
	name, err := u.host.IfName()
	if err != nil {
		return false, nil // it is gone, which its owner notices by itself
	}
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return false, fmt.Errorf("open netlink: %w", err)
	}
	defer h.Close()
	link, err := h.LinkByName(name)
	if isNoLink(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("find interface %s: %w", name, err)
	}
	c := configurator{h, link, Config{IfName: name, MAC: s.MAC, MTU: link.Attrs().MTU}}
	found, err := c.mendLink()
	return len(found) > 0, err
}
