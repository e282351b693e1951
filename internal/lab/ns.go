package lab

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// NS is a network namespace that stands for a host or a container. It keeps no
// descriptor open, so nothing but its name and its processes hold it.
type NS struct {
	lab  *Lab
	name string
}

// Host makes a namespace with lo up. Its full name, which `netns:NAME` and
// `ip netns exec NAME` take, is unique on the machine and ends in name.
func (l *Lab) Host(name string) (*NS, error) {
	n := &NS{lab: l, name: l.prefix + name}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, fmt.Errorf("make namespace %s: lab is closed", n.name)
	}
	if err := n.make(); err != nil {
		return nil, fmt.Errorf("make namespace %s: %w", n.name, errors.Join(err, n.remove()))
	}
	l.hosts = append(l.hosts, n)
	return n, nil
}

func (n *NS) make() error {
	err := onThread(func() error {
		ns, err := netns.NewNamed(n.name)
		if err != nil {
			return err
		}
		return ns.Close()
	})
	if err != nil {
		return err
	}
	return n.Do(func() error { return netlink.LinkSetUp(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: "lo"}}) })
}

// Name returns the full name, under /run/netns.
func (n *NS) Name() string { return n.name }

// Path returns the file that the namespace is bound to.
func (n *NS) Path() string { return filepath.Join(netnsDir, n.name) }

// Do runs f inside the namespace, on a fresh goroutine locked to its thread,
// and waits for it. Sockets that f opens belong to the namespace and pin it until
// they are closed; goroutines that f starts do not run inside.
func (n *NS) Do(f func() error) error {
	return onThread(func() error {
		if err := n.enter(); err != nil {
			return err
		}
		return f()
	})
}

// enter moves the calling thread, which must be locked, into the namespace.
func (n *NS) enter() error {
	target, err := netns.GetFromPath(n.Path())
	if err != nil {
		return fmt.Errorf("open namespace %s: %w", n.name, err)
	}
	defer target.Close()
	if err := netns.Set(target); err != nil {
		return fmt.Errorf("enter namespace %s: %w", n.name, err)
	}
	return nil
}

// onThread runs f on a fresh goroutine, locked to a thread that f may move to
// another network namespace, and waits for it.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() { // ends with f
		runtime.LockOSThread()
		back, err := thereAndBack(f)
		if back {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}

// thereAndBack runs f, which may move the calling thread to another network
// namespace, and moves the thread back. Where back is false that did not work,
// and the goroutine must end without unlocking its thread, which then ends too.
func thereAndBack(f func() error) (back bool, err error) {
	origin, err := netns.Get()
	if err != nil {
		return true, fmt.Errorf("open own namespace: %w", err)
	}
	defer origin.Close()
	err = f()
	return netns.Set(origin) == nil, err
}

// Inode returns the inode of the namespace on nsfs, which /proc/PID/ns/net of
// everything inside shows as net:[inode].
func (n *NS) Inode() (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat(n.Path(), &st); err != nil {
		return 0, fmt.Errorf("stat namespace %s: %w", n.name, err)
	}
	return st.Ino, nil
}

// Interface returns an interface as it is inside now.
func (n *NS) Interface(name string) (ifi *net.Interface, err error) {
	err = n.Do(func() error {
		ifi, err = net.InterfaceByName(name)
		return err
	})
	return ifi, err
}

// SetSysctl writes a file under /proc/sys/net, such as
// "ipv4/conf/all/rp_filter", as the namespace sees it.
func (n *NS) SetSysctl(key, value string) error {
	return n.Do(func() error {
		return os.WriteFile(filepath.Join("/proc/sys/net", key), []byte(value), 0)
	})
}

// Remove deletes the namespace by its name, as `ip netns del` does, while
// things may still run in it. Close does it for all that are left.
func (n *NS) Remove() error { return n.remove() }

func (n *NS) remove() error { return removeNamed(n.name) }
