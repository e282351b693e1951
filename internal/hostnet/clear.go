package hostnet

import (
	"errors"
	"fmt"
	"regexp"

	"github.com/vishvananda/netlink"
)

// Clear takes off the host all that a switch that is gone may have left around
// it, whatever it was: the table, the rules among Docker's, TAPs that no process
// has open, and changed settings, whose former values list has. It says what was
// there. It may be called again.
func (h *Host) Clear(list []Sysctl) (removed []string, err error) {
	c, err := connect()
	if err != nil {
		return nil, refused("open nftables", err)
	}
	there, err := hasTable(c)
	if err != nil {
		return nil, err
	}
	h.step("rules")
	if err := h.setTable(Plan{}); err != nil {
		return nil, err
	}
	if there {
		removed = append(removed, "nftables table inet "+tableName)
	}
	h.step("docker")
	edited, err := h.setDocker(nil)
	if edited {
		removed = append(removed, "rules in chain "+dockerChain)
	}
	if err != nil {
		return removed, err
	}
	h.step("links")
	links, err := removeStrays()
	removed = append(removed, links...)
	if err != nil {
		return removed, err
	}
	for _, s := range list {
		if now, err := readSysctl(s.Key); err == nil && now == s.Want && s.Was != s.Want && !isRouter(s, list) {
			removed = append(removed, fmt.Sprintf("setting net/%s, back to %s", s.Key, s.Was))
		}
	}
	return removed, h.Release(list)
}

// strayName is what package tap and control call the TAPs of a host: for good,
// or for the moment in which one is made.
var strayName = regexp.MustCompile(`^weft(-.+|[0-9a-f]{11})$`)

// removeStrays removes the TAPs of weft that no process has open.
func removeStrays() (removed []string, err error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	for _, l := range links {
		t, ok := l.(*netlink.Tuntap)
		if !ok || !strayName.MatchString(t.Name) || t.Mode != netlink.TUNTAP_MODE_TAP || t.NonPersist || t.Queues+t.DisabledQueues > 0 {
			continue
		}
		if err := netlink.LinkDel(l); err != nil && !errors.As(err, new(netlink.LinkNotFoundError)) {
			return removed, fmt.Errorf("remove interface %s: %w", t.Name, err)
		}
		removed = append(removed, "interface "+t.Name)
	}
	return removed, nil
}
