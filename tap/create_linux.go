package tap

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"syscall"

	"github.com/songgao/water"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weft/internal/offload"
	"weft/internal/rawdev"
)

// ErrNameTaken says that the container has an interface of the wanted name.
var ErrNameTaken = errors.New("the container has one of that name already")

// Create makes a TAP in the host's namespace, which is that of the calling
// thread, moves it into ns, and configures it there: name, MAC, MTU, addresses
// (IPv6 without duplicate address detection, router advertisements not
// accepted), link up, default routes. The TAP outlives the process.
//
// It takes some 20 ms, nearly all of it in the move, where the kernel waits for
// RCU's callbacks under the rtnl lock (rcu_barrier in net/core/dev.c,
// __dev_change_net_namespace): calls in parallel are no faster together. There is
// no other way in: a descriptor finds TAPs in the namespace alone in which it was
// opened, which it keeps alive (drivers/net/tun.c, tun_chr_open).
//
// Before the TAP persists, Create waits for recorded, which the caller's own record
// of the TAP may end meanwhile; where that fails, so does Create. nil: there is
// nothing to wait for.
//
// On error nothing is left behind. Errors wrap ErrNoNamespace and ErrNameTaken.
func Create(ns Namespace, cfg Config, recorded func() error) (*Device, error) {
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("create TAP: %w", err)
	}
	d, err := createIn(ns, cfg, recorded)
	if err != nil {
		return nil, fmt.Errorf("create TAP %s in %s: %w", cfg.IfName, ns.Path, err)
	}
	return d, nil
}

func createIn(ns Namespace, cfg Config, recorded func() error) (*Device, error) {
	target, err := ns.open()
	if err != nil {
		return nil, err
	}
	defer unix.Close(target)
	host, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	defer host.Close()

	fd, name, err := makeTAP(host)
	if err != nil {
		return nil, err
	}
	err = move(host, name, target)
	if err == nil {
		err = enter(target, func(h *netlink.Handle) error {
			link, err := h.LinkByName(name)
			if err != nil {
				return fmt.Errorf("find moved TAP %s: %w", name, err)
			}
			return configurator{h, link, cfg}.all()
		})
	}
	if err == nil && recorded != nil {
		err = recorded()
	}
	if err == nil {
		err = rawdev.SetPersist(fd, true)
	}
	if err != nil {
		// The TAP does not persist before the last step, so this undoes
		// everything, wherever it got to; so does a crash.
		unix.Close(fd)
		return nil, err
	}
	return newDevice(fd, false), nil
}

// makeTAP makes a TAP on the host under a name of its own and attaches the
// first queue. The TAP goes when fd is closed.
func makeTAP(host *netlink.Handle) (fd int, name string, err error) {
	fd, err = rawdev.OpenTUN() // before water, which leaks its descriptor where it fails
	if err != nil {
		return -1, "", err
	}
	name, err = freeName(host)
	if err != nil {
		unix.Close(fd)
		return -1, "", err
	}
	if err := makeNamed(fd, name); err != nil {
		unix.Close(fd)
		return -1, "", errors.Join(err, deleteLink(host, name)) // it may persist by now
	}
	return fd, name, nil
}

// makeNamed makes the TAP name, and fd its first and only queue.
func makeNamed(fd int, name string) error {
	if err := makePersistent(name); err != nil {
		return err
	}
	if err := attach(fd, name); err != nil {
		return err
	}
	return rawdev.SetPersist(fd, false)
}

// makePersistent makes the TAP with water and closes water's queue, which
// knows no virtio header, and is the only one that the TAP can have.
func makePersistent(name string) error {
	// water opens without O_CLOEXEC: a program started now would inherit the queue.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	ifce, err := water.New(water.Config{
		DeviceType:             water.TAP,
		PlatformSpecificParams: water.PlatformSpecificParams{Name: name, Persist: true},
	})
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("make TAP: %w: run as root", err)
	}
	if err != nil {
		return fmt.Errorf("make TAP: %w", err)
	}
	return ifce.Close()
}

// freeName returns a link name of 15 bytes, which no link of the host has: a
// TAP that exists water would only open.
func freeName(host *netlink.Handle) (string, error) {
	for {
		tag := make([]byte, 6)
		if _, err := rand.Read(tag); err != nil {
			return "", fmt.Errorf("choose name: %w", err)
		}
		name := ("weft" + hex.EncodeToString(tag))[:maxIfName]
		_, err := host.LinkByName(name)
		if isNoLink(err) {
			return name, nil
		}
		if err != nil {
			return "", fmt.Errorf("choose name: %w", err)
		}
	}
}

// attach makes fd the queue of the TAP name, ready to be read.
func attach(fd int, name string) error {
	if err := rawdev.AttachTAP(fd, name); err != nil {
		return err
	}
	return rawdev.SetVirtio(fd, offload.HeaderLen)
}

// move puts the link name of the host into the namespace behind target.
func move(host *netlink.Handle, name string, target int) error {
	link, err := host.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find TAP %s: %w", name, err)
	}
	if err := host.LinkSetNsFd(link, target); err != nil {
		return fmt.Errorf("move TAP %s: %w", name, err)
	}
	return nil
}

// deleteLink deletes the link name of the host, if there is one.
func deleteLink(host *netlink.Handle, name string) error {
	link, err := host.LinkByName(name)
	if err == nil {
		err = host.LinkDel(link)
	}
	if err != nil && !isNoLink(err) {
		return fmt.Errorf("delete TAP %s: %w", name, err)
	}
	return nil
}

// isNoLink reports whether err says that there is no such link.
func isNoLink(err error) bool {
	var none netlink.LinkNotFoundError
	return errors.As(err, &none) || errors.Is(err, unix.ENODEV)
}
