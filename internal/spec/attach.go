package spec

import (
	"crypto/md5"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"weft/internal/header"
)

// DefaultIfName is the interface's name inside a container that asked for none.
const DefaultIfName = "eth1"

// AddressNone is what stands for no address, as with pipework.
const AddressNone = "0/0"

// IfNameMax is the greatest length of an interface's name (IFNAMSIZ less its NUL).
const IfNameMax = 15

// Validate reports the first thing that is wrong with a. What only the switch
// can know (whether the network exists, the address lies in it, the target is
// there) is not asked.
func (a *Attach) Validate() error {
	if err := CheckName(a.Network); err != nil {
		return fmt.Errorf("network %q: %w", a.Network, err)
	}
	if _, err := ParseTarget(a.Target); err != nil {
		return err
	}
	if err := a.validateAddresses(); err != nil {
		return err
	}
	if a.NoAddress && len(a.Addresses) > 0 {
		return fmt.Errorf("address %s beside %s, which means none: choose one of the two", a.Addresses[0], AddressNone)
	}
	if a.MAC != "" {
		if _, err := ParseMAC(a.MAC); err != nil {
			return err
		}
	}
	if a.IfName != "" {
		if err := CheckIfName(a.IfName); err != nil {
			return err
		}
	}
	if a.MTU != 0 {
		if err := checkNumber("mtu", int64(a.MTU), MTUMin, MTUMax); err != nil {
			return err
		}
	}
	if err := a.validateVLANs(); err != nil {
		return err
	}
	return a.validateLimits()
}

// Limits of a port that names none, and the largest that one may name.
const (
	DefaultMACLimit = 1024    // addresses
	DefaultStorm    = 2000    // frames a second
	MACLimitMax     = 1 << 20 // which no table exceeds
	StormMax        = 100_000_000
)

func (a *Attach) validateLimits() error {
	if a.MACLimit != nil {
		if !a.AllowSpoof {
			return errors.New("mac-limit is for ports with allow-spoof: any other sends from its own MAC alone")
		}
		if err := checkNumber("mac-limit", int64(*a.MACLimit), 0, MACLimitMax); err != nil {
			return err
		}
	}
	if a.Storm != nil {
		return checkNumber("storm", int64(*a.Storm), 0, StormMax)
	}
	return nil
}

// ParseMACLimit reads the value of --mac-limit: 0 is no limit.
func ParseMACLimit(s string) (*int, error) { return parseLimit("mac-limit", s, MACLimitMax) }

// ParseStorm reads the value of --storm: 0 is no limit.
func ParseStorm(s string) (*int, error) { return parseLimit("storm", s, StormMax) }

func parseLimit(key, s string, most int64) (*int, error) {
	n, err := parseNumber(key, s, 0, most)
	if err != nil {
		return nil, err
	}
	limit := int(n)
	return &limit, nil
}

func (a *Attach) validateAddresses() error {
	seen := map[netip.Addr]bool{}
	gateways := map[int]netip.Addr{} // by address length in bits
	for _, addr := range a.Addresses {
		if err := addr.Validate(); err != nil {
			return err
		}
		if seen[addr.Prefix.Addr()] {
			return fmt.Errorf("address %s is given twice", addr.Prefix.Addr())
		}
		seen[addr.Prefix.Addr()] = true
		if gw := addr.Gateway; gw.IsValid() {
			if other, ok := gateways[gw.BitLen()]; ok && other != gw {
				return fmt.Errorf("gateways %s and %s: a container has one default route per family", other, gw)
			}
			gateways[gw.BitLen()] = gw
		}
	}
	return nil
}

// ParseMAC reads the address of a station: xx:xx:xx:xx:xx:xx, or pipework's
// U:STRING, which is 02 and the first five bytes of the MD5 sum of STRING and a
// newline.
func ParseMAC(s string) (header.MAC, error) {
	if name, ok := strings.CutPrefix(s, "U:"); ok {
		if name == "" {
			return 0, errors.New(`MAC "U:": want a string to make it of, as in U:web1`)
		}
		sum := md5.Sum([]byte(name + "\n"))
		return header.MACFrom([]byte{2, sum[0], sum[1], sum[2], sum[3], sum[4]}), nil
	}
	m, err := header.ParseMAC(s)
	switch {
	case err != nil:
		return 0, fmt.Errorf("MAC %q: want six octets, as in 02:00:00:00:00:01, or U:STRING", s)
	case m == 0:
		return 0, fmt.Errorf("MAC %s is no station's address", m)
	case m.IsMulticast():
		return 0, fmt.Errorf("MAC %s is a group's address; the first octet of a station's is even", m)
	}
	return m, nil
}

// CheckIfName reports what is wrong with the name of a network interface
// (dev_valid_name in net/core/dev.c; '%' would make the kernel number it).
func CheckIfName(s string) error {
	switch {
	case s == "":
		return errors.New("the interface name is empty")
	case len(s) > IfNameMax:
		return fmt.Errorf("interface name %q has %d bytes; the kernel takes at most %d", s, len(s), IfNameMax)
	case s == ".", s == "..", strings.ContainsAny(s, "/:%"), strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f }):
		return fmt.Errorf("interface name %q: use letters, digits and signs of ASCII, but no '/', ':', '%%' and spaces", s)
	}
	return nil
}
