package tap

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Remove deletes the TAP ifName from ns. A namespace or TAP that is gone
// already is no error, and an interface of another kind that took the name is
// left alone. Device.Remove needs neither name nor namespace.
func Remove(ns Namespace, ifName string) error {
	err := ns.enter(func(h *netlink.Handle) error {
		link, err := findTAP(h, ifName)
		if err != nil {
			return err
		}
		if err := h.LinkDel(link); !isNoLink(err) {
			return err
		}
		return nil
	})
	if err != nil && !errors.Is(err, ErrNoNamespace) && !errors.Is(err, ErrNoTAP) {
		return fmt.Errorf("remove TAP %s from %s: %w", ifName, ns.Path, err)
	}
	return nil
}

// Stats returns what the kernel counted for the TAP in ns: frames that the
// container sent and that were lost because nobody read the queue in time, or
// nobody had it open. Errors wrap ErrNoNamespace and ErrNoTAP.
func Stats(ns Namespace, ifName string) (txDropped uint64, err error) {
	err = ns.enter(func(h *netlink.Handle) error {
		link, err := findTAP(h, ifName)
		if err != nil {
			return err
		}
		if s := link.Attrs().Statistics; s != nil {
			txDropped = s.TxDropped
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("count drops of TAP %s in %s: %w", ifName, ns.Path, err)
	}
	return txDropped, nil
}

// isGone reports whether err says that a descriptor's TAP is gone, or the
// descriptor itself.
func isGone(err error) bool { return errors.Is(err, unix.EBADFD) || errors.Is(err, unix.EBADF) }
