package spec

import (
	"fmt"
	"net/netip"
	"strings"
)

// ParseAddress reads ADDR/LEN[@GW], as in 192.168.18.29/24@192.168.18.1.
// The address must be one that a station can have, the gateway another one of
// the same prefix. The error for a missing length proposes one.
func ParseAddress(s string) (Address, error) {
	addr, gw, hasGW := strings.Cut(s, "@")
	var a Address
	var err error
	if !strings.Contains(addr, "/") {
		return Address{}, fmt.Errorf("address %q: the prefix length is missing%s", s, proposeLength(addr, s))
	}
	if a.Prefix, err = netip.ParsePrefix(addr); err != nil {
		return Address{}, fmt.Errorf("address %q: want ADDR/LEN[@GATEWAY], as in 192.168.18.29/24@192.168.18.1", s)
	}
	if hasGW {
		if a.Gateway, err = netip.ParseAddr(gw); err != nil {
			return Address{}, fmt.Errorf("address %q: gateway %q is not an address", s, gw)
		}
	}
	return a, a.Validate()
}

// proposeLength returns the cure for an address without a length, or nothing
// where it is no address either.
func proposeLength(addr, whole string) string {
	ip, err := netip.ParseAddr(addr)
	if err != nil {
		return "; want ADDR/LEN[@GATEWAY], as in 192.168.18.29/24"
	}
	length := "/24"
	if ip.Is6() {
		length = "/64"
	}
	return "; maybe you meant " + addr + length + strings.TrimPrefix(whole, addr)
}

// Validate reports what is wrong with a.
func (a Address) Validate() error {
	if err := checkHost(a.Prefix); err != nil {
		return fmt.Errorf("address %q: %w", a, err)
	}
	gw := a.Gateway
	switch {
	case !gw.IsValid():
	case !a.Prefix.Contains(gw):
		there := firstHost(a.Prefix)
		if there == a.Prefix.Addr() {
			there = there.Next()
		}
		return fmt.Errorf("address %q: gateway %s is not in %s: name one that is, as in %s", a, gw, a.Prefix.Masked(), there)
	case gw == a.Prefix.Addr():
		return fmt.Errorf("address %q: the gateway is the address itself", a)
	default:
		if err := checkHost(netip.PrefixFrom(gw, a.Prefix.Bits())); err != nil {
			return fmt.Errorf("address %q: gateway: %w", a, err)
		}
	}
	return nil
}

// String returns the form that ParseAddress reads.
func (a Address) String() string {
	if !a.Gateway.IsValid() {
		return a.Prefix.String()
	}
	return a.Prefix.String() + "@" + a.Gateway.String()
}

// MarshalText implements encoding.TextMarshaler.
func (a Address) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (a *Address) UnmarshalText(b []byte) (err error) {
	*a, err = ParseAddress(string(b))
	return err
}

// ParseRange reads FROM-TO, both ends included and of one family.
func ParseRange(s string) (Range, error) {
	from, to, ok := strings.Cut(s, "-")
	if !ok {
		return Range{}, fmt.Errorf("range %q: want FROM-TO, as in 10.1.0.10-10.1.0.99", s)
	}
	var r Range
	var err error
	if r.From, err = netip.ParseAddr(from); err != nil {
		return Range{}, fmt.Errorf("range %q: %q is not an address", s, from)
	}
	if r.To, err = netip.ParseAddr(to); err != nil {
		return Range{}, fmt.Errorf("range %q: %q is not an address", s, to)
	}
	return r, r.check()
}

// IsZero reports whether r is no range.
func (r Range) IsZero() bool { return r == Range{} }

// String returns the form that ParseRange reads; empty for the zero value.
func (r Range) String() string {
	if r.IsZero() {
		return ""
	}
	return r.From.String() + "-" + r.To.String()
}

// MarshalText implements encoding.TextMarshaler; the zero value is empty.
func (r Range) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (r *Range) UnmarshalText(b []byte) (err error) {
	*r = Range{}
	if len(b) > 0 {
		*r, err = ParseRange(string(b))
	}
	return err
}

func (r Range) check() error {
	switch {
	case r.From.BitLen() != r.To.BitLen() || r.From.Zone() != "" || r.To.Zone() != "":
		return fmt.Errorf("range %q: both ends must be IPv4 or IPv6 addresses", r)
	case r.To.Less(r.From):
		return fmt.Errorf("range %q ends before it starts; maybe you meant %s-%s", r, r.To, r.From)
	}
	return nil
}

// refused are the parts of the address space that no station may have.
var refused = []struct {
	prefix netip.Prefix
	why    string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), "means this host"},
	{netip.MustParsePrefix("127.0.0.0/8"), "is loopback"},
	{netip.MustParsePrefix("224.0.0.0/4"), "is multicast"},
	{netip.MustParsePrefix("255.255.255.255/32"), "is broadcast"},
	{netip.MustParsePrefix("::/128"), "means no address"},
	{netip.MustParsePrefix("::1/128"), "is loopback"},
	{netip.MustParsePrefix("fe80::/10"), "is link-local, which every interface has anyway"},
	{netip.MustParsePrefix("ff00::/8"), "is multicast"},
}

// checkSpace reports a prefix that is not of the unicast space, or IPv4 in the
// guise of IPv6.
func checkSpace(p netip.Prefix) error {
	if p.Addr().Is4In6() {
		return fmt.Errorf("%s is IPv4 written as IPv6; maybe you meant %s", p.Addr(), p.Addr().Unmap())
	}
	for _, r := range refused {
		if r.prefix.Overlaps(p) {
			return fmt.Errorf("%s %s", r.prefix, r.why)
		}
	}
	return nil
}

// checkHost reports an address that no station of its own prefix can have.
func checkHost(p netip.Prefix) error {
	if !p.IsValid() {
		return fmt.Errorf("it is empty; want ADDR/LEN, as in 192.168.18.29/24")
	}
	if err := checkSpace(netip.PrefixFrom(p.Addr(), p.Addr().BitLen())); err != nil {
		return err
	}
	if p.Bits() == 0 {
		return fmt.Errorf("a prefix length of 0 spans every address there is")
	}
	if p.Addr().BitLen()-p.Bits() < 2 { // RFC 3021: both addresses of a /31 are hosts
		return nil
	}
	if p.Addr() == p.Masked().Addr() {
		return fmt.Errorf("%s is the prefix itself; maybe you meant %s/%d", p.Addr(), p.Addr().Next(), p.Bits())
	}
	if last := LastAddr(p); p.Addr().Is4() && p.Addr() == last {
		return fmt.Errorf("%s is the broadcast address of %s; maybe you meant %s/%d", p.Addr(), p.Masked(), last.Prev(), p.Bits())
	}
	return nil
}

// firstHost returns the address behind that of the prefix itself.
func firstHost(p netip.Prefix) netip.Addr { return p.Masked().Addr().Next() }

// LastAddr returns the last address of p: the broadcast address of an IPv4 prefix.
func LastAddr(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}
