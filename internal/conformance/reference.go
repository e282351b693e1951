package main

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"

	"weft/internal/lab"
	"weft/internal/lab/ovs"
)

const (
	linuxName = "Linux"
	ovsName   = "Open vSwitch"
)

// commands runs ip(8) and bridge(8) commands inside a namespace.
func commands(ns *lab.NS, lines ...string) error {
	for _, line := range lines {
		f := strings.Fields(line)
		if _, err := ns.Output(context.Background(), f[0], f[1:]...); err != nil {
			return err
		}
	}
	return nil
}

// silence takes everything from an interface by which its kernel would speak.
func silence(ns *lab.NS, ifname string) error {
	if err := ns.SetSysctl("ipv6/conf/"+ifname+"/disable_ipv6", "1"); err != nil {
		return fmt.Errorf("silence %s: %w", ns.Name(), err)
	}
	return commands(ns, "ip -4 addr flush dev "+ifname, "ip link set "+ifname+" arp off mtu 9000")
}

// deafen keeps the kernel of a namespace from answering GRE with ICMP: somebody
// listens, until the socket is closed.
func deafen(ns *lab.NS) (fd int, err error) {
	err = ns.Do(func() (err error) {
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_GRE)
		return err
	})
	return fd, err
}

// plug makes the container of a place and links it to a reference system.
func (s *system) plug(l *lab.Lab, host *lab.NS, c container, far lab.End) error {
	ns, err := l.Host(s.name[:1] + c.name)
	if err != nil {
		return err
	}
	far.NS, far.Name = host, c.name
	if err := l.Link(lab.End{NS: ns, Name: "eth1", MAC: mac(c.mac)}, far); err != nil {
		return err
	}
	if err := silence(ns, "eth1"); err != nil {
		return err
	}
	s.places[c.name], err = open(c.name, ns, "eth1")
	return err
}

// newLinux makes this kernel's bridge, with b1 to b3, and its router, with r1
// to r3, in one namespace.
func newLinux(l *lab.Lab) (*system, error) {
	host, err := l.Host("linux")
	if err != nil {
		return nil, err
	}
	s := &system{name: linuxName, places: map[string]*place{}, fences: fences, close: func() {}}
	if err := commands(host, "ip link add br0 type bridge mcast_snooping 0 stp_state 0", "ip link set br0 addrgenmode none up"); err != nil {
		return nil, err
	}
	for key, value := range map[string]string{
		"ipv4/ip_forward": "1", "ipv6/conf/all/forwarding": "1", "ipv4/icmp_ratelimit": "0", "ipv4/icmp_msgs_per_sec": "100000",
		"ipv4/icmp_msgs_burst": "1000", "ipv6/icmp/ratelimit": "0", "ipv4/conf/all/rp_filter": "0", "ipv4/conf/default/rp_filter": "0",
		"ipv4/icmp_echo_ignore_broadcasts": "1",
	} {
		if err := host.SetSysctl(key, value); err != nil {
			return nil, err
		}
	}
	for _, c := range containers {
		switch c.name[0] {
		case 'b':
			err = s.plug(l, host, c, lab.End{MTU: 1450})
			if err == nil {
				err = commands(host, "ip link set "+c.name+" master br0")
			}
		case 'r':
			err = s.plugRouter(l, host, c)
		}
		if err != nil {
			return nil, err
		}
	}
	return s, commands(host, "ip route add 10.30.0.0/16 via 10.2.0.9", "ip route add 169.254.0.0/16 via 10.2.0.9",
		"ip route add 10.31.0.0/16 via 10.1.0.9",
		// The senders that get ICMP errors are all behind r1's own address.
		"ip route add 10.1.0.64/26 via 10.1.0.9", "ip route add 10.1.0.128/26 via 10.1.0.9", "ip route add fd01::100/120 via fd01::9",
		"ip neigh replace fe80::ff:fe00:11 lladdr "+host1MAC+" dev r1 nud permanent")
}

// plugRouter links a container to a port of the router that has the MAC and
// the addresses of weft's gateway. The port takes frames above its MTU as TAPs do.
func (s *system) plugRouter(l *lab.Lab, host *lab.NS, c container) error {
	n := c.name[1:]
	gw := map[string]string{"1": gw1, "2": gw2, "3": gw3}[n]
	mtu := map[string]int{"1": 9000, "2": 1450, "3": 1400}[n]
	err := s.plug(l, host, c, lab.End{MAC: mac(gw), MTU: mtu, Addrs: []netip.Prefix{
		netip.MustParsePrefix("10." + n + ".0.1/24"), netip.MustParsePrefix("fd0" + n + "::1/64"),
	}})
	if err != nil {
		return err
	}
	return commands(host,
		"ip neigh replace 10."+n+".0.9 lladdr "+c.mac+" dev "+c.name+" nud permanent",
		"ip neigh replace fd0"+n+"::9 lladdr "+c.mac+" dev "+c.name+" nud permanent")
}

// newOVS makes an Open vSwitch with the userspace datapath: the bridges of n7,
// plain and br, with the peers 2, 3 and 4.
func newOVS(ctx context.Context, l *lab.Lab, dir string) (*system, error) {
	host, err := l.Host("ovs")
	if err != nil {
		return nil, err
	}
	for _, conf := range []string{"all", "default"} {
		if err := host.SetSysctl("ipv6/conf/"+conf+"/disable_ipv6", "1"); err != nil {
			return nil, err
		}
	}
	if err := host.SetSysctl("ipv4/icmp_ratelimit", "0"); err != nil { // for what its kernel answers
		return nil, err
	}
	s := &system{name: ovsName, places: map[string]*place{}, fences: map[string]fence{}}
	if err := s.addPeers(l, host, "eth0", nil); err != nil {
		return nil, err
	}
	for _, c := range containers {
		switch c.network {
		case "n7", "plain", "br":
			if err := s.plug(l, host, c, lab.End{MTU: 1450}); err != nil {
				return nil, err
			}
		}
	}
	for name, f := range fences {
		if s.places[name] != nil || strings.HasPrefix(name, "from ") && name < "from 5" {
			s.fences[name] = f
		}
	}
	vs, err := ovs.Start(ctx, host, dir)
	if err != nil {
		return nil, err
	}
	s.close = vs.Close
	if err := vs.Underlay("eth0", netip.MustParsePrefix("192.0.2.1/24")); err != nil {
		return s, err
	}
	br, err := host.Interface("br-phy")
	if err != nil {
		return s, err
	}
	s.places["peer"].dst = br.HardwareAddr
	for _, b := range []struct {
		name  string
		ports []string
		peers []string
		key   []string
	}{
		{"br-n7", []string{"a"}, []string{"2"}, []string{"key=7"}},
		{"br-plain", []string{"k"}, []string{"4"}, nil},
		{"br-br", []string{"b1", "b2", "b3"}, []string{"2", "3"}, []string{"key=8000"}},
	} {
		if err := vs.Bridge(b.name, b.ports...); err != nil {
			return s, err
		}
		for _, p := range b.peers {
			if err := vs.GRE(b.name, b.name[3:]+p, netip.MustParseAddr("192.0.2."+p), b.key...); err != nil {
				return s, err
			}
		}
	}
	return s, nil
}
