package tap

import (
	"fmt"
	"net/netip"
	"strings"

	"weft/internal/header"
)

// Bounds of Config. maxMTU is what the kernel lets a TAP have: 65,535 less the
// Ethernet header (drivers/net/tun.c, tun_net_initialize).
const (
	maxIfName = 15
	minMTU    = 68   // RFC 791 section 3.1
	minMTU6   = 1280 // RFC 8200 section 5
	maxMTU    = 65535 - header.EthernetLen
)

// Config describes the TAP as the container sees it.
type Config struct {
	IfName   string         // name inside the container, 1 to 15 bytes
	MAC      header.MAC     // unicast, not zero
	MTU      int            // L3, 68 to 65,521; at least 1280 where there is an IPv6 address
	Addrs    []netip.Prefix // addresses inside, in order: the first of a family is the preferred source
	Gateways []netip.Addr   // default routes, at most one per family, each within a prefix of Addrs or link-local
}

// check refuses what the kernel would refuse, or worse take, before anything is made.
func (c Config) check() error {
	if err := checkIfName(c.IfName); err != nil {
		return err
	}
	if c.MAC == 0 || c.MAC.IsMulticast() || c.MAC > header.Broadcast {
		return fmt.Errorf("MAC %v is not a station's address: want a unicast one such as 02:00:00:00:00:01", c.MAC)
	}
	for i, p := range c.Addrs {
		if a := p.Addr(); !p.IsValid() || a.Is4In6() || a.Zone() != "" || a.IsUnspecified() || a.IsMulticast() {
			return fmt.Errorf("address %v is not one that an interface can have", p)
		}
		for _, q := range c.Addrs[:i] {
			if p.Addr() == q.Addr() {
				return fmt.Errorf("address %v is given twice", p.Addr())
			}
		}
	}
	if err := c.checkMTU(); err != nil {
		return err
	}
	return c.checkGateways()
}

// checkIfName holds the name to the kernel's rules (net/core/dev.c,
// dev_valid_name) and off the two that sysctl files give another meaning.
func checkIfName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("interface name is empty: give one with -i NAME")
	case len(name) > maxIfName:
		return fmt.Errorf("interface name %s has %d bytes, at most %d are possible: choose another with -i NAME", name, len(name), maxIfName)
	case name == ".", name == "..", name == "all", name == "default",
		strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '/' || r == ':' || r == '%' }):
		return fmt.Errorf("interface name %q is not possible: choose another with -i NAME", name)
	}
	return nil
}

func (c Config) checkMTU() error {
	switch {
	case c.MTU < minMTU || c.MTU > maxMTU:
		return fmt.Errorf("MTU %d is out of range: want %d to %d", c.MTU, minMTU, maxMTU)
	case c.MTU < minMTU6 && c.wantsIPv6():
		return fmt.Errorf("MTU %d is too small for IPv6: want at least %d", c.MTU, minMTU6)
	}
	return nil
}

func (c Config) checkGateways() error {
	for i, gw := range c.Gateways {
		if !gw.IsValid() || gw.Is4In6() || gw.IsUnspecified() || gw.IsMulticast() {
			return fmt.Errorf("gateway %v is not the address of a station", gw)
		}
		for _, other := range c.Gateways[:i] {
			if other.Is4() == gw.Is4() {
				return fmt.Errorf("gateways %v and %v: at most one per address family", other, gw)
			}
		}
		if !c.reaches(gw) {
			return fmt.Errorf("gateway %v is outside the prefix of every address %v: the container could not reach it", gw, c.Addrs)
		}
	}
	return nil
}

// reaches reports whether gw is on the link.
func (c Config) reaches(gw netip.Addr) bool {
	if gw.Is6() && gw.IsLinkLocalUnicast() {
		return true
	}
	for _, p := range c.Addrs {
		if p.Contains(gw) && p.Addr() != gw {
			return true
		}
	}
	return false
}

func (c Config) wantsIPv6() bool {
	for _, p := range c.Addrs {
		if p.Addr().Is6() {
			return true
		}
	}
	return false
}
