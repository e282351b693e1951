package control

import (
	"io"
	"net"
	"net/netip"

	"weft/encap"
	"weft/internal/header"
	"weft/internal/hostnet"
	"weft/tap"
)

// system is what control does to the machine. Tests put other functions in the
// place of those that need root.
type system struct {
	lock      func(stateDir string) (io.Closer, error)
	underlay  func(encap.Config) (*encap.Underlay, error)
	addrs     func() ([]netip.Addr, error) // of this host
	bootID    func() (string, error)
	startTime func(pid int) (uint64, error)

	namespace func(path string) (tap.Namespace, error)
	create    func(ns tap.Namespace, cfg tap.Config, recorded func() error) (*tap.Device, error)
	reopen    func(tap.Namespace, tap.Config) (*tap.Device, error)
	recover   func(tap.Namespace, tap.Config, []netip.Prefix) (*tap.Device, error)
	gone      func(*tap.Device) bool // its TAP is
	remove    func(*tap.Device) error
	removeIn  func(ns tap.Namespace, ifName string) error
	sweep     func() (int, error)                                   // removes TAPs of this host that a killed switch was making
	dropped   func(ns tap.Namespace, ifName string) (uint64, error) // by the kernel, since the TAP was made
	change    func(ns tap.Namespace, from, to tap.Config) error
	mend      func(tap.Config) (found []string, err error) // of a TAP of this host

	link       func(name string) (tap.LinkState, error) // of this host
	routers    func(link string) ([]netip.Addr, error)  // that this host uses there
	openUplink func(name string, s tap.LinkState, vlan int) (*tap.Uplink, error)
	inUse      func(name string, s tap.LinkState, vlan int, from header.MAC, addrs []netip.Addr) (map[netip.Addr]header.MAC, error)
	watchLinks func(changed chan<- string, done <-chan struct{}) error

	host   func() hostNet
	listen func(proto string, host netip.Addr, port uint16, target hostnet.Target) (*hostnet.Listener, error)
}

// machine is the real one.
var machine = system{
	lock:      func(dir string) (io.Closer, error) { return takeLocks(dir) },
	underlay:  encap.Open,
	addrs:     hostAddrs,
	bootID:    bootID,
	startTime: startTime,
	namespace: tap.OpenNamespace,
	create:    tap.Create,
	reopen:    tap.Reopen,
	recover:   tap.Recover,
	gone:      isGone,
	remove:    (*tap.Device).Remove,
	removeIn:  tap.Remove,
	sweep:     tap.Sweep,
	dropped:   tap.Stats,
	change:    tap.Change,
	mend:      tap.Mend,

	link:       tap.LookupLink,
	routers:    tap.Routers,
	openUplink: tap.OpenUplink,
	inUse:      tap.InUse,
	watchLinks: subscribeLinks,
	host:       func() hostNet { return new(hostnet.Host) },
	listen:     hostnet.Listen,
}

// isGone asks the kernel whether the TAP behind d is still there.
func isGone(d *tap.Device) bool {
	_, err := d.IfName()
	return err != nil
}

// hostAddrs returns the addresses of all interfaces.
func hostAddrs() ([]netip.Addr, error) {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	var addrs []netip.Addr
	for _, a := range list {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			addrs = append(addrs, p.Addr().Unmap())
		}
	}
	return addrs, nil
}
