package spec

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// NameMax is the greatest length of a name of a network, host, vrf or peer, in bytes.
const NameMax = 63

// CheckName reports what is wrong with the name of a network, host, vrf or
// peer. Names have 1 to NameMax bytes of a-z, 0-9, '-', '_' and '.', start with
// a letter or digit, and do not look like an address.
func CheckName(s string) error {
	if s == "" {
		return errors.New("a name is missing")
	}
	if len(s) > NameMax {
		return fmt.Errorf("the name has %d characters; at most %d are allowed", len(s), NameMax)
	}
	for _, r := range s {
		if !nameRune(r) {
			return fmt.Errorf("%q cannot stand in a name; use a-z, 0-9, '-', '_' and '.'", r)
		}
	}
	if !nameStart(s[0]) {
		return fmt.Errorf("a name starts with a letter or digit, not with %q", s[0])
	}
	// `route add PREFIX via PEER|ADDR` must be able to tell the two apart.
	if _, err := netip.ParseAddr(s); err == nil {
		return errors.New("a name must not be an address")
	}
	return nil
}

// NameFrom makes a valid name of a host name: lower case, '-' for what cannot
// stand in a name, cut at NameMax; "host" where nothing is left.
func NameFrom(hostname string) string {
	s := strings.Map(func(r rune) rune {
		if nameRune(r) {
			return r
		}
		return '-'
	}, strings.ToLower(hostname))
	s = strings.TrimLeft(s, "-_.")
	if len(s) > NameMax {
		s = s[:NameMax]
	}
	if CheckName(s) != nil { // nothing left, or an address
		return strings.TrimRight("host-"+strings.ReplaceAll(s, ".", "-"), "-")
	}
	return s
}

func nameRune(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.'
}

func nameStart(c byte) bool { return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' }

// checkUniqueNames reports the first name that is wrong or stands twice.
func checkUniqueNames(names []string) error {
	seen := make(map[string]bool, len(names))
	for _, s := range names {
		if err := CheckName(s); err != nil {
			return fmt.Errorf("network %q: %w", s, err)
		}
		if seen[s] {
			return fmt.Errorf("network %q is named twice", s)
		}
		seen[s] = true
	}
	return nil
}
