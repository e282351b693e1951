package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weft/internal/lab"
	"weft/internal/lab/ovs"
	"weft/internal/lab/probe"
)

// office is a LAN with three VLANs on an Open vSwitch: machines on access ports,
// one of them with a foot in each VLAN and a DHCP server, and two weft hosts on
// trunk ports, whose own addresses are in the untagged VLAN.
//
//	         m2 (10)  m3 (20)  m4 (30)
//	            \        |       /
//	m1 (10, 20, 30) - Open vSwitch = trunk = eth0, host1
//	                            \\== trunk = eth0, host2
//	                              \- access 30 - eth1 of each host
type office struct {
	l      *lab.Lab
	vs     *ovs.Switch
	sw     *lab.NS
	h1, h2 *Host
	m      map[int][]*Container // machines by VLAN, the server first
	c      map[int][]*Container // containers by VLAN, of host 1 and host 2
}

var officeVLANs = []int{10, 20, 30}

// native is the VLAN of frames without a tag.
const native = 30

func newOffice(t *testing.T) *office {
	t.Helper()
	ovs.Need(t)
	o := &office{l: lab.ForTest(t), m: map[int][]*Container{}, c: map[int][]*Container{}}
	var err error
	if o.sw, err = o.l.Host("ovs"); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp(scratch, "o")
	if err != nil {
		t.Fatal(err)
	}
	if o.vs, err = ovs.Start(t.Context(), o.sw, dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.vs.Close)
	if err := o.vs.Bridge("br0"); err != nil {
		t.Fatal(err)
	}
	server, err := o.l.Host("m1")
	if err != nil {
		t.Fatal(err)
	}
	for i, vlan := range officeVLANs {
		o.plug(t, server, fmt.Sprintf("eth%d", vlan), fmt.Sprintf("s%d", vlan), []string{fmt.Sprintf("10.%d.0.31/24", vlan), fmt.Sprintf("fd00:%d::31/64", vlan)}, fmt.Sprintf("tag=%d", vlan))
		m, err := o.l.Host(fmt.Sprintf("m%d", i+2))
		if err != nil {
			t.Fatal(err)
		}
		o.plug(t, m, "eth0", fmt.Sprintf("m%d", vlan), []string{fmt.Sprintf("10.%d.0.32/24", vlan), fmt.Sprintf("fd00:%d::32/64", vlan)}, fmt.Sprintf("tag=%d", vlan))
		o.m[vlan] = []*Container{
			{NS: server, t: t, Addr: netip.MustParseAddr(fmt.Sprintf("10.%d.0.31", vlan))},
			{NS: m, t: t, Addr: netip.MustParseAddr(fmt.Sprintf("10.%d.0.32", vlan))},
		}
	}
	o.h1, o.h2 = newHost(t, o.l, "host1"), newHost(t, o.l, "host2")
	for i, h := range []*Host{o.h1, o.h2} {
		o.plug(t, h.NS, "eth0", fmt.Sprintf("h%d", i+1), []string{fmt.Sprintf("10.30.0.%d/24", i+1)}, "vlan_mode=native-untagged", "tag=30", "trunks=10,20,30")
		o.plug(t, h.NS, "eth1", fmt.Sprintf("h%dx", i+1), nil, "tag=30")
		h.Start(fmt.Sprintf("--name host%d --local 10.30.0.%d --peer host%d=10.30.0.%d --network v10=10.10.0.0/24,fd00:10::/64 --network v20=10.20.0.0/24,fd00:20::/64 --network lan=10.30.0.0/24,fd00:30::/64",
			i+1, i+1, 2-i, 2-i))
	}
	return o
}

// plug joins n to Open vSwitch; how is what ovs-vsctl says of the port.
func (o *office) plug(t *testing.T, n *lab.NS, name, port string, addrs []string, how ...string) {
	t.Helper()
	e := lab.End{NS: n, Name: name}
	for _, a := range addrs {
		e.Addrs = append(e.Addrs, netip.MustParsePrefix(a))
	}
	if err := o.l.Link(e, end(o.sw, port)); err != nil {
		t.Fatal(err)
	}
	feature(t, lab.TxCsum, false, name, n) // unfinished checksums are wrong ones to the userspace datapath
	if _, err := o.vs.VSCtl(append([]string{"add-port", "br0", port, "--", "set", "port", port}, how...)...); err != nil {
		t.Fatal(err)
	}
}

// dhcp starts a server with addresses for each VLAN, from .200 on, which
// advertises the VLAN's IPv6 prefix too.
func (o *office) dhcp(t *testing.T) {
	t.Helper()
	lab.Need(t, "dnsmasq-base", "dnsmasq")
	lab.Need(t, "busybox-static", "busybox")
	dir := t.TempDir()
	args := []string{"--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--bind-interfaces", "--enable-ra", "--ra-param=*,4,600",
		"--dhcp-leasefile=" + filepath.Join(dir, "leases"), "--pid-file", "--no-ping", "--user=root", "--log-facility=-"}
	for _, vlan := range officeVLANs {
		args = append(args, fmt.Sprintf("--interface=eth%d", vlan), fmt.Sprintf("--dhcp-range=10.%d.0.200,10.%[1]d.0.210,1h", vlan), fmt.Sprintf("--dhcp-range=fd00:%d::,ra-only,64", vlan))
	}
	start(t, o.m[10][0].NS, "dnsmasq", args...)
}

// container makes a container for a VLAN. With slaac it speaks IPv6 of itself.
func (o *office) container(t *testing.T, name string, vlan int, addr string, slaac bool) *Container {
	t.Helper()
	c := newContainer(t, o.l, name, addr)
	if slaac {
		in(t, c.NS, "sysctl -qw net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.default.disable_ipv6=0")
	}
	o.c[vlan] = append(o.c[vlan], c)
	return c
}

var officeNetworks = map[int]string{10: "v10", 20: "v20", 30: "lan"}

// A LAN with VLANs on a foreign switch, and containers on two hosts behind trunk
// ports: each VLAN is one segment, for its machines and the containers of both
// hosts; addresses come from the LAN's DHCP server and its router advertisements;
// nothing passes from one VLAN to another.
func TestTrunk(t *testing.T) {
	o := newOffice(t)
	o.dhcp(t)
	for _, h := range []*Host{o.h1, o.h2} {
		h.Weft("uplink add v10 eth0 --vlan 10")
		h.Weft("uplink add v20 eth0 --vlan 20")
		h.Weft("uplink add lan eth1")
	}
	if a := o.h1.CLI("uplink add lan eth0"); a.code != 1 || !strings.Contains(a.err, "takes all of it") {
		t.Errorf("all of a link of which others have VLANs: exit %d: %s", a.code, a.err)
	}
	for _, vlan := range officeVLANs {
		one := o.container(t, fmt.Sprintf("a%d", vlan), vlan, fmt.Sprintf("10.%d.0.11", vlan), vlan == 10)
		two := o.container(t, fmt.Sprintf("b%d", vlan), vlan, "0.0.0.0", true)
		if vlan == 10 {
			o.h1.Weft("attach v10 " + one.target() + " 0/0")
			lease(t, one)
		} else {
			o.h1.Weft(fmt.Sprintf("attach %s %s %s/24 fd00:%d::11/64", officeNetworks[vlan], one.target(), one.Addr, vlan))
		}
		o.h2.Weft("attach " + officeNetworks[vlan] + " " + two.target() + " 0/0")
		lease(t, two)
		for _, c := range []*Container{one, two} {
			if from := netip.MustParseAddr(fmt.Sprintf("10.%d.0.200", vlan)); c.Addr.Less(from) && c != one || c.Addr.As4()[1] != byte(vlan) {
				t.Errorf("%s has the address %s, want one of VLAN %d", c.Name(), c.Addr, vlan)
			}
		}
	}

	t.Run("IPv4", func(t *testing.T) { o.meetAll(t, func(c *Container) *Container { return c }) })
	t.Run("IPv6", func(t *testing.T) {
		six := map[*Container]*Container{}
		for _, vlan := range officeVLANs {
			for _, c := range append(o.m[vlan][1:], o.c[vlan]...) {
				six[c] = c.at(o.globalAddr(t, c, vlan))
			}
			six[o.m[vlan][0]] = o.m[vlan][0].at(fmt.Sprintf("fd00:%d::31", vlan))
		}
		o.meetAll(t, func(c *Container) *Container { return six[c] })
		move(t, six[o.c[10][0]], six[o.c[10][1]], six[o.c[10][1]].Addr, 4<<20) // by SLAAC's addresses, host to host
		move(t, six[o.m[20][1]], six[o.c[20][0]], six[o.c[20][0]].Addr, 4<<20)
	})
	t.Run("hosts", func(t *testing.T) {
		for i, h := range []*Host{o.h1, o.h2} {
			host := &Container{NS: h.NS, t: t, Addr: netip.MustParseAddr(fmt.Sprintf("10.30.0.%d", i+1))}
			for _, c := range o.c[native] {
				meet(t, host, c)
				meet(t, c, host)
			}
		}
	})
	t.Run("iperf3", func(t *testing.T) {
		for _, way := range [][2]*Container{
			{o.m[10][1], o.c[10][0]}, {o.c[10][1], o.m[10][1]}, // VLAN 10: machine to host 1, host 2 to machine
			{o.c[20][0], o.c[20][1]}, {o.c[30][1], o.c[30][0]}, // host to host
			{o.m[30][1], o.c[30][1]}, {o.c[20][0], o.m[20][1]},
		} {
			r := runIperf(t, way[0], way[1], "--bytes 4M")
			t.Logf("%s to %s: %v", way[0].Name(), way[1].Name(), r)
			move(t, way[1], way[0], way[0].Addr, 2<<20)
		}
	})
	t.Run("apart", o.wantApart)
	t.Run("in use", func(t *testing.T) {
		c := newContainer(t, o.l, "c", "10.10.0.50")
		for _, tt := range []struct {
			addr, want string
			vlan       int
			holder     *Container
			ifname     string
		}{
			{"10.10.0.32/24", "10.10.0.32", 10, o.m[10][1], "eth0"},
			{"fd00:10::32/64", "fd00:10::32", 10, o.m[10][1], "eth0"},
			{"10.10.0.50/24 fd00:10::31/64", "fd00:10::31", 10, o.m[10][0], "eth10"},
			{"fd00:20::11/64", "fd00:20::11", 20, o.c[20][0], "eth1"}, // asked of host 2
			{"10.30.0.1/24", "10.30.0.1", 30, &Container{NS: o.h1.NS}, "eth0"},
		} {
			ifi, err := tt.holder.Interface(tt.ifname)
			if err != nil {
				t.Fatal(err)
			}
			a := o.h2.CLI("attach " + officeNetworks[tt.vlan] + " " + c.target() + " " + tt.addr)
			// A host with two cards in the VLAN answers by either (arp_ignore=0).
			if two, err := tt.holder.Interface("eth1"); err == nil && a.code == 1 && strings.Contains(a.err, two.HardwareAddr.String()) {
				continue
			}
			if a.code != 1 || !strings.Contains(a.err, tt.want+" is in use by "+ifi.HardwareAddr.String()) {
				t.Errorf("%s: exit %d: %s; want it in use by %s", tt.addr, a.code, a.err, ifi.HardwareAddr)
			}
		}
		o.h2.Weft("attach v10 " + c.target() + " 10.10.0.50/24 fd00:10::50/64") // free, and VLAN 20 has nothing to say to it
		meet(t, o.m[10][1], c.at("fd00:10::50"))
		meet(t, o.c[10][0], c)
	})
	for _, h := range []*Host{o.h1, o.h2} {
		h.settled()
		h.wantBalanced()
		if out := h.CLI("status --check"); out.code != 0 {
			t.Errorf("%s: %s", h.Name(), out.err)
		}
	}
}

// meetAll has everybody of a VLAN reach everybody of it, at the address that at says.
func (o *office) meetAll(t *testing.T, at func(*Container) *Container) {
	t.Helper()
	for _, vlan := range officeVLANs {
		all := append(append([]*Container{}, o.m[vlan]...), o.c[vlan]...)
		for _, a := range all {
			for _, b := range all {
				if a.Name() != b.Name() {
					meet(t, at(a), at(b))
				}
			}
		}
	}
}

// globalAddr waits until c has an IPv6 address of its VLAN, of itself or given.
func (o *office) globalAddr(t *testing.T, c *Container, vlan int) (addr string) {
	t.Helper()
	eventually(t, 30*time.Second, func() string {
		for _, word := range strings.Fields(in(t, c.NS, "ip -6 -o addr show scope global -tentative")) {
			if p, err := netip.ParsePrefix(word); err == nil && strings.HasPrefix(word, fmt.Sprintf("fd00:%d:", vlan)) {
				addr = p.Addr().String()
				return ""
			}
		}
		return c.Name() + " has no IPv6 address of its VLAN:\n" + in(t, c.NS, "ip -6 addr")
	})
	if addr == "" {
		t.FailNow()
	}
	return addr
}

// wantApart sends a broadcast in each VLAN, from containers and machines, and
// sees it there once at each station, and at no other.
func (o *office) wantApart(t *testing.T) {
	type ear struct {
		vlan int
		name string
		cap  *capture
	}
	var ears []ear
	for _, vlan := range officeVLANs {
		for _, c := range o.c[vlan] {
			ears = append(ears, ear{vlan, c.Name(), newCapture(t, c.NS, "eth1")})
		}
		ears = append(ears, ear{vlan, o.m[vlan][1].Name(), newCapture(t, o.m[vlan][1].NS, "eth0")})
	}
	sent := map[string]int{}
	for _, vlan := range officeVLANs {
		for i, c := range append([]*Container{o.m[vlan][1]}, o.c[vlan]...) {
			ifname := "eth1"
			if i == 0 {
				ifname = "eth0"
			}
			ifi, err := c.Interface(ifname)
			if err != nil {
				t.Fatal(err)
			}
			text := fmt.Sprintf("VLAN %d, station %d", vlan, i)
			newSender(t, c.NS, ifname).send(frame("ff:ff:ff:ff:ff:ff", ifi.HardwareAddr.String(), 0x88b5, []byte(text)))
			sent[text] = vlan
		}
	}
	eventually(t, 10*time.Second, func() string {
		for _, e := range ears {
			for text, vlan := range sent {
				n := 0
				for _, f := range e.cap.seen() {
					if strings.Contains(string(f.data), text) {
						n++
					}
				}
				if vlan == e.vlan && n != 1 {
					return fmt.Sprintf("%s in VLAN %d has seen %q %d times, want once", e.name, e.vlan, text, n)
				}
			}
		}
		return ""
	})
	for _, e := range ears {
		for _, f := range e.cap.stop() {
			for text, vlan := range sent {
				if vlan != e.vlan && strings.Contains(string(f.data), text) {
					t.Errorf("%s in VLAN %d has seen %q", e.name, e.vlan, text)
				}
			}
		}
	}
}

// A cable from one host straight to the other, an uplink at each end, and peers:
// with or without transit at one end there is one way and no loop.
func TestUplinkCable(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	if err := s.l.Link(end(s.h1.NS, "cable"), end(s.h2.NS, "cable")); err != nil {
		t.Fatal(err)
	}
	s.h1.attach("lan", s.c1)
	s.h2.attach("lan", s.c2)
	ears := map[*Container]*capture{s.c1: newCapture(t, s.c1.NS, "eth1"), s.c2: newCapture(t, s.c2.NS, "eth1")}
	once := func(what string) {
		t.Helper()
		for i, way := range [][2]*Container{{s.c1, s.c2}, {s.c2, s.c1}} {
			meet(t, way[0], way[1])
			text := fmt.Sprintf("%s, way %d", what, i)
			newSender(t, way[0].NS, "eth1").send(frame("ff:ff:ff:ff:ff:ff", mac(t, way[0]), 0x88b5, []byte(text)))
			probe.Ping(t.Context(), way[0].NS, way[1].Addr, probe.Echo{Count: 3, Interval: 50 * time.Millisecond})
			n := 0
			for _, f := range ears[way[1]].seen() {
				if strings.Contains(string(f.data), text) {
					n++
				}
			}
			if n != 1 {
				t.Errorf("%s: a broadcast arrived %d times, want once", text, n)
			}
		}
		for _, h := range []*Host{s.h1, s.h2} {
			if out := h.CLI("status --check"); out.code != 0 {
				t.Errorf("%s: %s: %s", what, h.Name(), out.err)
			}
		}
	}
	once("by the tunnel")
	s.h1.Weft("uplink add lan cable")
	s.h2.Weft("uplink add lan cable")
	once("by the cable")
	s.h1.Weft("uplink rm lan cable")
	s.h1.Weft("uplink add lan cable --transit")
	once("by the cable, transit at one end")
	s.h1.Weft("uplink rm lan cable")
	s.h2.Weft("uplink rm lan cable")
	once("by the tunnel again")
}

// The same LAN by one uplink without a VLAN, which is a trunk: access ports of one
// network are in the VLANs of the machines, and a plain port is with the host's
// own address in the untagged one.
func TestTrunkInOneNetwork(t *testing.T) {
	o := newOffice(t)
	o.dhcp(t)
	for i, h := range []*Host{o.h1, o.h2} {
		h.Weft("network add all 10.0.0.0/8")
		h.Weft("uplink add all eth0")
		for _, vlan := range officeVLANs {
			access := fmt.Sprintf(" --vlan %d", vlan)
			if vlan == native {
				access = ""
			}
			c := o.container(t, fmt.Sprintf("c%d-%d", vlan, i), vlan, fmt.Sprintf("10.%d.0.%d", vlan, 11+i), false)
			if i == 1 {
				h.Weft("attach all " + c.target() + " 0/0" + access)
				lease(t, c)
				continue
			}
			if a := h.CLI(fmt.Sprintf("attach all %s 10.%d.0.32/24%s", c.target(), vlan, access)); a.code != 1 || !strings.Contains(a.err, "is in use by "+linkMAC(t, o.m[vlan][1], "eth0")) {
				t.Errorf("the address of a machine in VLAN %d: exit %d: %s", vlan, a.code, a.err)
			}
			h.Weft(fmt.Sprintf("attach all %s %s/24%s", c.target(), c.Addr, access))
		}
	}
	o.meetAll(t, func(c *Container) *Container { return c })
	for i, h := range []*Host{o.h1, o.h2} {
		host := &Container{NS: h.NS, t: t, Addr: netip.MustParseAddr(fmt.Sprintf("10.30.0.%d", i+1))}
		for _, c := range o.c[native] {
			meet(t, host, c)
			meet(t, c, host)
		}
	}
	for _, vlan := range officeVLANs {
		move(t, o.c[vlan][0], o.c[vlan][1], o.c[vlan][1].Addr, 2<<20)
		move(t, o.m[vlan][1], o.c[vlan][0], o.c[vlan][0].Addr, 2<<20)
	}
	o.wantApart(t)
	for _, h := range []*Host{o.h1, o.h2} {
		h.settled()
		h.wantBalanced()
		if out := h.CLI("status --check"); out.code != 0 {
			t.Errorf("%s: %s", h.Name(), out.err)
		}
	}
}

func linkMAC(t *testing.T, c *Container, ifname string) string {
	t.Helper()
	ifi, err := c.Interface(ifname)
	if err != nil {
		t.Fatal(err)
	}
	return ifi.HardwareAddr.String()
}
