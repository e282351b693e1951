package tap

import (
	"errors"
	"fmt"
	"regexp"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weft/internal/rawdev"
)

// unfinished are the names that Create gives to TAPs before it moves them.
var unfinished = regexp.MustCompile(`^weft[0-9a-f]{11}$`)

// Sweep removes from the namespace of the calling thread the TAPs that Create was
// making when its process was killed: for a moment, until this package has a queue of
// its own, a TAP persists there that nobody knows. Those have a name that Create gives,
// and are not open; no other is touched. It returns how many there were. No other process
// may be in Create for the same namespace, which one switch per host sees to.
func Sweep() (n int, err error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return 0, fmt.Errorf("open netlink: %w", err)
	}
	defer h.Close()
	links, err := h.LinkList()
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) { // what is missing is no TAP of a dead process
		return 0, fmt.Errorf("list interfaces: %w", err)
	}
	for _, link := range links {
		name := link.Attrs().Name
		if !unfinished.MatchString(name) {
			continue
		}
		if t, ok := link.(*netlink.Tuntap); !ok || t.Mode != netlink.TUNTAP_MODE_TAP || t.NonPersist || hasQueues(t) {
			continue
		}
		err := discard(name)
		if errors.Is(err, unix.EBUSY) { // it is open
			continue
		}
		if err != nil {
			return n, fmt.Errorf("remove TAP %s of a switch that was killed: %w", name, err)
		}
		n++
	}
	return n, nil
}

// discard removes the TAP name, which nobody has open, from the namespace of the
// calling thread.
func discard(name string) error {
	fd, err := rawdev.OpenTUN()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := rawdev.AttachTAP(fd, name); err != nil {
		return err
	}
	return rawdev.SetPersist(fd, false) // it goes with fd
}
