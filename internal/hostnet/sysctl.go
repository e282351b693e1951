package hostnet

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// sysctlDir holds the settings of the network namespace of the calling thread.
const sysctlDir = "/proc/sys/net"

// Sysctl is a setting that Apply changes and Release puts back.
type Sysctl struct {
	Key  string `json:"key"` // below /proc/sys/net, as in ipv4/conf/eth0/forwarding
	Was  string `json:"was"`
	Want string `json:"want"`
}

// Sysctls returns known, with what else is in the way of p as the host is now:
// forwarding is off on an interface through which packets of containers come and
// go. It only looks; the caller notes the result where it outlives a crash, and
// puts it into the plan.
//
// A host that forwards on all interfaces is left as it is. Elsewhere forwarding
// is switched on for single interfaces, and between any two of those the host
// still forwards nothing (rules.go). Kernels before 6.17 know no such switch for
// IPv6: there it is for all, and interfaces that take router advertisements are
// told to go on doing so (Documentation/networking/ip-sysctl.rst, accept_ra).
func (h *Host) Sysctls(p Plan, known []Sysctl) ([]Sysctl, error) {
	is4, is6 := p.families()
	list := slices.Clone(known)
	add := func(key, want string) error {
		if slices.ContainsFunc(list, func(s Sysctl) bool { return s.Key == key }) {
			return nil
		}
		was, err := readSysctl(key)
		if errors.Is(err, fs.ErrNotExist) || err == nil && was == want {
			return nil
		}
		if err == nil {
			list = append(list, Sysctl{key, was, want})
		}
		return err
	}
	up4, up6, err := uplinks(p.linkNames())
	if err != nil {
		return nil, err
	}
	if is4 && !forwardsAll("ipv4") {
		for _, name := range up4 {
			if err := add("ipv4/conf/"+name+"/forwarding", "1"); err != nil {
				return nil, err
			}
		}
	}
	switch {
	case !is6:
	case h.forcing():
		if forwardsAll("ipv6") {
			break
		}
		for _, name := range up6 {
			if err := add("ipv6/conf/"+name+"/force_forwarding", "1"); err != nil {
				return nil, err
			}
		}
	case !forwardsAll("ipv6"):
		for _, name := range up6 {
			if ra, _ := readSysctl("ipv6/conf/" + name + "/accept_ra"); ra == "1" {
				if err := add("ipv6/conf/"+name+"/accept_ra", "2"); err != nil {
					return nil, err
				}
			}
		}
		if err := add("ipv6/conf/all/forwarding", "1"); err != nil { // writes the following too
			return nil, err
		}
		for _, name := range append([]string{"default"}, up6...) {
			if err := add("ipv6/conf/"+name+"/forwarding", "1"); err != nil {
				return nil, err
			}
		}
		list = append(list, forwardingAlready(list)...)
	}
	return list, nil
}

// forwardingAlready returns the interfaces that forward IPv6 by themselves: they
// would lose that when the setting of all is put back.
func forwardingAlready(known []Sysctl) (list []Sysctl) {
	files, _ := filepath.Glob(sysctlDir + "/ipv6/conf/*/forwarding") // the pattern is sound
	for _, f := range files {
		key := strings.TrimPrefix(f, sysctlDir+"/")
		if v, err := readSysctl(key); err != nil || v != "1" || slices.ContainsFunc(known, func(s Sysctl) bool { return s.Key == key }) {
			continue
		}
		list = append(list, Sysctl{key, "1", "1"})
	}
	return list
}

// forcing reports whether the kernel forwards IPv6 by interface.
func (h *Host) forcing() bool {
	_, err := readSysctl("ipv6/conf/all/force_forwarding")
	return err == nil && !h.oldKernel
}

// forwardsAll reports whether the host forwards on every interface.
func forwardsAll(family string) bool {
	v, err := readSysctl(family + "/conf/all/forwarding")
	return err == nil && v == "1"
}

// isRouter reports whether s lets an interface forward on a host that others made
// forward everywhere.
func isRouter(s Sysctl, list []Sysctl) bool {
	family, rest, _ := strings.Cut(s.Key, "/")
	return strings.HasSuffix(rest, "/forwarding") && routesAnyway(family, list)
}

// routesAnyway reports whether others made the host forward everywhere.
func routesAnyway(family string, list []Sysctl) bool {
	return forwardsAll(family) && !slices.ContainsFunc(list, func(s Sysctl) bool { return s.Key == family+"/conf/all/forwarding" })
}

// opened returns the interfaces of a family on which forwarding is on because of
// list, and the host does not forward everywhere by the will of others.
func opened(family string, list []Sysctl) (names []string) {
	if routesAnyway(family, list) {
		return nil
	}
	for _, s := range list {
		name, ok := strings.CutPrefix(s.Key, family+"/conf/")
		name, setting, _ := strings.Cut(name, "/")
		if ok && s.Was != s.Want && name != "all" && name != "default" && (setting == "forwarding" || setting == "force_forwarding") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// setSysctls writes the settings of a plan that differ, and reports how many.
func setSysctls(list []Sysctl) (changed []string, err error) {
	for _, s := range list {
		now, err := readSysctl(s.Key)
		if errors.Is(err, fs.ErrNotExist) || err == nil && now == s.Want { // the interface is gone, or nothing to do
			continue
		}
		if err == nil {
			err = writeSysctl(s.Key, s.Want)
		}
		if err != nil {
			return changed, err
		}
		changed = append(changed, s.Key)
	}
	return changed, nil
}

// Release puts the former values back, where nobody has written others since,
// nor made the whole host forward, as Docker does: that wrote the same value.
// Interfaces that are gone are passed over. It may be called again after a crash.
func (h *Host) Release(list []Sysctl) error {
	var ours []Sysctl
	for _, s := range list {
		if now, err := readSysctl(s.Key); err == nil && now == s.Want && !isRouter(s, list) {
			ours = append(ours, s)
		}
	}
	// That of all interfaces writes those of single ones too, so it goes first;
	// accept_ra goes last, or default routes would be lost meanwhile.
	rank := func(s Sysctl) int {
		switch {
		case strings.Contains(s.Key, "/all/"):
			return 0
		case strings.HasSuffix(s.Key, "/accept_ra"):
			return 2
		}
		return 1
	}
	slices.SortStableFunc(ours, func(a, b Sysctl) int { return rank(a) - rank(b) })
	var errs error
	for _, s := range ours {
		h.step("release " + s.Key)
		if err := writeSysctl(s.Key, s.Was); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = errors.Join(errs, err)
		}
	}
	return errs
}

// setLink sets what belongs to a link of weft and goes with it: it forwards, and
// asks neighbours from its own addresses alone, since the switch lets nothing
// else pass. A link that is gone is passed over.
func (h *Host) setLink(name string) error {
	for _, s := range []struct{ key, want string }{
		{"ipv4/conf/" + name + "/forwarding", "1"},
		{"ipv4/conf/" + name + "/arp_announce", "2"},
		{"ipv4/conf/" + name + "/arp_ignore", "1"},
		{"ipv6/conf/" + name + "/force_forwarding", "1"},
	} {
		if now, err := readSysctl(s.key); err != nil || now == s.want {
			continue
		}
		if err := writeSysctl(s.key, s.want); err != nil {
			return err
		}
	}
	return nil
}

// uplinks returns the interfaces that have an address by which the host is
// reached, for either version of IP, but for lo and the links of weft.
func uplinks(own []string) (up4, up6 []string, err error) {
	list, err := net.Interfaces()
	if err != nil {
		return nil, nil, fmt.Errorf("list interfaces: %w", err)
	}
	for _, i := range list {
		if i.Flags&net.FlagLoopback != 0 || slices.Contains(own, i.Name) {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			continue // it went meanwhile
		}
		has4, has6 := false, false
		for _, a := range addrs {
			p, err := netip.ParsePrefix(a.String())
			switch {
			case err != nil:
			case p.Addr().Is4():
				has4 = true
			case !p.Addr().IsLinkLocalUnicast():
				has6 = true
			}
		}
		if has4 {
			up4 = append(up4, i.Name)
		}
		if has6 {
			up6 = append(up6, i.Name)
		}
	}
	return up4, up6, nil
}

func readSysctl(key string) (string, error) {
	b, err := os.ReadFile(filepath.Join(sysctlDir, key))
	return string(bytes.TrimSpace(b)), err
}

func writeSysctl(key, value string) error {
	err := os.WriteFile(filepath.Join(sysctlDir, key), []byte(value), 0)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, errReadOnly) {
		return fmt.Errorf("set net/%s to %s: %w: run weft where /proc/sys may be written, or set it there beforehand", key, value, errno(err))
	}
	if err != nil {
		return fmt.Errorf("set net/%s to %s: %w", key, value, errno(err))
	}
	return nil
}
