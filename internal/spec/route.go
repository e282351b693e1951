package spec

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

var routeOptions = []string{"vrf"}

// ParseRoute reads the value of --route: PREFIX=PEER|ADDR[,vrf=NAME].
func ParseRoute(s string) (Route, error) {
	prefix, list, ok := strings.Cut(s, "=")
	if !ok {
		return Route{}, fmt.Errorf("route %q: want PREFIX=PEER|ADDR[,vrf=NAME], as in 172.17.2.0/24=host2", s)
	}
	return RouteFrom(prefix, strings.Split(list, ","))
}

// RouteFrom makes a route of a prefix and the items of its option list, the
// next hop first.
func RouteFrom(prefix string, items []string) (Route, error) {
	var r Route
	err := r.setItems(prefix, items)
	if err == nil {
		err = r.validate()
	}
	if err != nil {
		return Route{}, fmt.Errorf("route %q: %w", prefix, err)
	}
	return r, nil
}

func (r *Route) setItems(prefix string, items []string) error {
	if err := r.set("prefix", prefix); err != nil {
		return err
	}
	seen := once{}
	for i, item := range items {
		key, value, ok := strings.Cut(item, "=")
		switch {
		case i == 0:
			key, value = "via", item
		case !slices.Contains(routeOptions, key):
			return &keyError{key, routeOptions}
		case !ok:
			return fmt.Errorf("option %q wants a value, as in %s=...", key, key)
		}
		if err := seen.take(key); err != nil {
			return err
		}
		if err := r.set(key, value); err != nil {
			return err
		}
	}
	return nil
}

// set is the setter of a route.
func (r *Route) set(key, value string) (err error) {
	switch key {
	case "prefix":
		r.Prefix, err = ParseRoutePrefix(value)
	case "via":
		r.Via = value
	case "vrf":
		r.VRF, err = value, checkVRF(value)
	default:
		err = &keyError{key, routeOptions}
	}
	return err
}

// ParseRoutePrefix reads the prefix of a route: without host bits, of addresses
// that can be routed to. 0.0.0.0/0 and ::/0 are the default routes.
func ParseRoutePrefix(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err == nil {
		return p, checkRoutePrefix(p)
	}
	if _, err := netip.ParseAddr(s); err == nil {
		return p, fmt.Errorf("the prefix length is missing%s", proposeLength(s, s))
	}
	return p, fmt.Errorf("%q is not a prefix; want one as in 172.17.2.0/24", s)
}

// ParseRouteAddr reads an address whose route is asked for.
func ParseRouteAddr(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	switch {
	case err != nil:
		return a, fmt.Errorf("route to %q: want an address, as in 172.17.2.5", s)
	case a.Is4In6():
		return a, fmt.Errorf("route to %s: it is IPv4 written as IPv6; maybe you meant %s", a, a.Unmap())
	case a.Zone() != "":
		return a, fmt.Errorf("route to %s: an address with a zone is not routed", a)
	}
	return a, nil
}

func checkRoutePrefix(p netip.Prefix) error {
	switch {
	case !p.IsValid():
		return errors.New("its prefix is missing, as in 172.17.2.0/24")
	case p.Addr().Is4In6():
		return fmt.Errorf("%s is IPv4 written as IPv6; maybe you meant %s", p, unmapped(p))
	case p.Masked() != p:
		return fmt.Errorf("%s is an address, not a prefix; maybe you meant %s", p, p.Masked())
	}
	for _, r := range refused {
		if r.prefix.Bits() <= p.Bits() && r.prefix.Contains(p.Addr()) {
			return fmt.Errorf("nothing is routed to %s: %s %s", p, r.prefix, r.why)
		}
	}
	return nil
}

// unmapped returns the IPv4 prefix that an IPv4-mapped one stands for.
func unmapped(p netip.Prefix) netip.Prefix {
	return netip.PrefixFrom(p.Addr().Unmap(), max(p.Bits()-96, 0)).Masked()
}

// Validate puts the next hop into its canonical form and reports the first
// thing that is wrong with r. What only the switch can know (whether the peer
// exists, or the next hop can be reached) is not asked.
func (r *Route) Validate() error {
	if err := r.validate(); err != nil {
		if !r.Prefix.IsValid() {
			return fmt.Errorf("route: %w", err)
		}
		return fmt.Errorf("route %q: %w", r.Prefix, err)
	}
	return nil
}

func (r *Route) validate() error {
	if err := checkRoutePrefix(r.Prefix); err != nil {
		return err
	}
	if r.VRF != "" {
		if err := checkVRF(r.VRF); err != nil {
			return err
		}
	}
	if a, ok := r.ViaAddr(); ok {
		if err := checkUnderlay(a); err != nil {
			return fmt.Errorf("next hop: %w", err)
		}
		r.Via = a.String()
		return nil
	}
	if r.Via == "" {
		return errors.New("its next hop is missing; want a peer's name, or an address")
	}
	if err := CheckName(r.Via); err != nil {
		return fmt.Errorf("next hop %q is neither an address nor a peer's name: %w", r.Via, err)
	}
	return nil
}

// ViaAddr returns the next hop where it is an address, and not a peer's name.
func (r Route) ViaAddr() (netip.Addr, bool) {
	a, err := netip.ParseAddr(r.Via)
	return a, err == nil
}

// String returns the form that ParseRoute reads.
func (r Route) String() string {
	s := r.Prefix.String() + "=" + r.Via
	if r.VRF != "" {
		s += ",vrf=" + r.VRF
	}
	return s
}
