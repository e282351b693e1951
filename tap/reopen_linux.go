package tap

import (
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weft/internal/offload"
	"weft/internal/rawdev"
)

// ErrNoTAP says that there is no TAP of weft of that name in the namespace.
var ErrNoTAP = errors.New("no such TAP")

// Reopen opens the TAP that a former process left in ns. The descriptor pins
// the namespace (see Device.Pins), so its owner must watch it.
//
// The container keeps its interface, its addresses and routes, and whether the
// link is up. Put back are the MAC, an MTU that is above cfg's, and addresses of
// cfg that are missing, with their default routes.
//
// A former process that is just ending may have it open: Reopen waits 2 s for that.
//
// Errors wrap ErrNoNamespace, and ErrNoTAP where the namespace has no such TAP,
// or one that weft did not make; nothing is changed then.
func Reopen(ns Namespace, cfg Config) (*Device, error) {
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("reopen TAP: %w", err)
	}
	var d *Device
	err := ns.enter(func(h *netlink.Handle) (err error) {
		d, err = reopenHere(h, cfg)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reopen TAP %s in %s: %w", cfg.IfName, ns.Path, err)
	}
	return d, nil
}

// reopenHere opens the TAP in the namespace of the calling thread.
func reopenHere(h *netlink.Handle, cfg Config) (*Device, error) {
	link, err := findTAP(h, cfg.IfName)
	if err != nil {
		return nil, err
	}
	return openLink(cfg.IfName, configurator{h, link, cfg}.repair)
}

// openLink opens the persistent TAP name in the namespace of the calling thread,
// and sets it up.
func openLink(name string, setUp func() error) (*Device, error) {
	fd, err := rawdev.OpenTUN()
	if err != nil {
		return nil, err
	}
	err = attachFree(fd, name)
	if err == nil {
		err = checkPersists(fd)
	}
	if err == nil {
		err = setUp()
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return newDevice(fd, true), nil
}

// How long a TAP that another process has open is waited for: one that was killed
// closes its descriptors one by one, after whatever lock it held.
const (
	busyFor  = 2 * time.Second
	busyLook = 2 * time.Millisecond
)

// attachFree is attach for a TAP that may have to become free.
func attachFree(fd int, name string) error {
	for end := time.Now().Add(busyFor); ; time.Sleep(busyLook) {
		err := attach(fd, name)
		if !errors.Is(err, unix.EBUSY) || time.Now().After(end) {
			return err
		}
	}
}

// checkPersists finds out a TAP that was deleted between the look and the
// attaching, which made a new one: it goes with fd.
func checkPersists(fd int) error {
	_, flags, err := rawdev.Interface(fd)
	if err == nil && flags&unix.IFF_PERSIST == 0 {
		return ErrNoTAP
	}
	return err
}

// findTAP returns the link name if it is a TAP as Create makes it, or as an older
// weft did, with many queues. Attaching without this look would silently make a
// new device.
func findTAP(h *netlink.Handle, name string) (netlink.Link, error) {
	link, err := h.LinkByName(name)
	if isNoLink(err) {
		return nil, ErrNoTAP
	}
	if err != nil {
		return nil, fmt.Errorf("find interface %s: %w", name, err)
	}
	const want = netlink.TUNTAP_NO_PI | netlink.TUNTAP_VNET_HDR // ip-tuntap(8) leaves out the latter
	t, ok := link.(*netlink.Tuntap)
	if !ok || t.Mode != netlink.TUNTAP_MODE_TAP || t.NonPersist || t.Flags&want != want {
		return nil, fmt.Errorf("%w: interface %s is a %s that weft did not make", ErrNoTAP, name, link.Type())
	}
	return link, nil
}

// Adopt takes a descriptor of an open TAP queue, attached with virtio headers,
// whoever made it. The Device owns fd from then on; on error it is the caller's
// still. Pins tells whether it was opened in the container's namespace.
func Adopt(fd int) (*Device, error) {
	_, flags, err := rawdev.Interface(fd)
	if err != nil {
		return nil, fmt.Errorf("adopt descriptor %d: not a queue of a TAP: %w", fd, err)
	}
	const want = unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR
	if flags&want != want {
		return nil, fmt.Errorf("adopt descriptor %d: flags are %#x: want a TAP with IFF_NO_PI and IFF_VNET_HDR, %#x", fd, flags, want)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, fmt.Errorf("adopt descriptor %d: %w", fd, err)
	}
	if err := rawdev.SetVirtio(fd, offload.HeaderLen); err != nil {
		return nil, fmt.Errorf("adopt descriptor %d: %w", fd, err)
	}
	pins, err := rawdev.Pins(fd)
	if err != nil {
		return nil, fmt.Errorf("adopt descriptor %d: %w", fd, err)
	}
	return newDevice(fd, pins), nil
}
