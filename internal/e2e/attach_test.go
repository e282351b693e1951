package e2e

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weft/internal/lab"
	"weft/internal/lab/probe"
)

// newOne starts one host without an underlay.
func newOne(t *testing.T, line string) (*lab.Lab, *Host) {
	t.Helper()
	l := lab.ForTest(t)
	h := newHost(t, l, "host1")
	h.Start("--name host1 " + line)
	return l, h
}

// Addresses are given out where none is named, in order and within the range;
// the same command again changes nothing.
func TestAttachGivesAddresses(t *testing.T) {
	t.Parallel()
	l, h := newOne(t, "--network red=10.5.0.0/24,gateway=10.5.0.1 --network blue=10.6.0.0/24,range=10.6.0.7-10.6.0.8")
	addrOf := func(network string, c *Container) string {
		h.Weft("attach " + network + " " + c.target())
		h.Weft("attach " + network + " " + c.target()) // so already
		got, err := c.addresses("eth1")
		if err != nil || len(got) != 1 || got[0] != h.status().port(t, c.Name()).Addresses[0] {
			t.Fatalf("addresses of eth1 %v, %v; status %+v", got, err, h.status().Ports)
		}
		return got[0]
	}
	var all []*Container
	for i := range 5 {
		all = append(all, newContainer(t, l, fmt.Sprintf("c%d", i), "10.5.0.99"))
	}
	a, b := addrOf("red", all[0]), addrOf("red", all[1])
	if a == b || a == "10.5.0.1/24" || b == "10.5.0.1/24" {
		t.Errorf("given out: %s and %s, want two that are not the gateway's", a, b)
	}
	if got := defaultRoute(t, all[0]); got != "10.5.0.1" {
		t.Errorf("default route by %q, want the network's gateway 10.5.0.1", got)
	}
	if c, d := addrOf("blue", all[2]), addrOf("blue", all[3]); c+d != "10.6.0.7/2410.6.0.8/24" && d+c != "10.6.0.7/2410.6.0.8/24" {
		t.Errorf("given out: %s and %s, want 10.6.0.7 and 10.6.0.8", c, d)
	}
	if got := defaultRoute(t, all[2]); got != "" {
		t.Errorf("default route by %q in a network without a gateway", got)
	}
	oneLine(t, h.CLI("attach blue "+all[4].target()), 1, "10.6.0.7", "10.6.0.8", "blue")
	h.Weft("detach blue " + all[2].target())
	h.Weft("detach blue " + all[2].target()) // so already
	addrOf("blue", all[4])                   // what was given back is given out
	p, err := probe.Ping(t.Context(), all[0].NS, netip.MustParsePrefix(b).Addr(), probe.Echo{})
	if err != nil || p.Lost() > 0 {
		t.Errorf("ping between them: %+v, %v", p, err)
	}
}

// pipework's ways: ADDR/LEN@GW, a MAC made of a string, an interface name.
func TestAttachAsPipework(t *testing.T) {
	t.Parallel()
	l, h := newOne(t, "--network red=192.168.18.0/24")
	c := newContainer(t, l, "web", "192.168.18.29")
	again := newContainer(t, l, "web2", "192.168.18.30")
	h.Weft("attach red " + c.target() + " 192.168.18.29/24@192.168.18.1 --mac U:web -i net7 --mtu 1400")
	if got := defaultRoute(t, c); got != "192.168.18.1" {
		t.Errorf("default route by %q, want 192.168.18.1", got)
	}
	ifi, err := c.Interface("net7")
	if err != nil || ifi.MTU != 1400 || ifi.HardwareAddr[0]&3 != 2 {
		t.Fatalf("net7: %+v, %v; want MTU 1400 and a local unicast MAC", ifi, err)
	}
	oneLine(t, h.CLI("attach red "+again.target()+" 192.168.18.30/24 --mac U:web"), 1, ifi.HardwareAddr.String())
	h.Weft("detach red " + c.target())
	if _, err := c.Interface("net7"); err == nil {
		t.Error("detach left net7 behind")
	}
	h.Weft("attach red " + c.target() + " 192.168.18.29/24 --mac U:web")
	if got, err := c.Interface("eth1"); err != nil || got.HardwareAddr.String() != ifi.HardwareAddr.String() {
		t.Errorf("the same string made %v, want %v; %v", got, ifi.HardwareAddr, err)
	}
}

// defaultRoute returns the IPv4 gateway of a container, "" without one.
func defaultRoute(t *testing.T, c *Container) (gateway string) {
	t.Helper()
	err := c.Do(func() error {
		routes, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Dst: nil}, netlink.RT_FILTER_DST)
		for _, r := range routes {
			gateway = r.Gw.String()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return gateway
}

// A new container is announced to its network three times: by gratuitous ARP
// and, where it has IPv6, by unsolicited neighbour advertisements. Both
// families work between hosts.
func TestAttachAnnounces(t *testing.T) {
	t.Parallel()
	l := lab.ForTest(t)
	h1, h2 := newHost(t, l, "host1"), newHost(t, l, "host2")
	underlay(t, l, h1.NS, h2.NS, 1500)
	const dual = " --network net1=10.1.0.0/24,fd01::/64,id=7"
	h1.Start("--name host1 --local 192.0.2.1 --peer host2=192.0.2.2" + dual)
	h2.Start("--name host2 --local 192.0.2.2 --peer host1=192.0.2.1" + dual)
	c1, c2 := newContainer(t, l, "c1", "10.1.0.11"), newContainer(t, l, "c2", "10.1.0.12")
	for _, c := range []*Container{c1, c2} {
		for _, conf := range []string{"all", "default"} {
			if err := c.SetSysctl("ipv6/conf/"+conf+"/disable_ipv6", "0"); err != nil {
				t.Fatal(err)
			}
		}
	}
	h2.attach("net1", c2, "fd01::12/64")
	heard := newCapture(t, c2.NS, "eth1")
	h1.attach("net1", c1, "fd01::11/64")
	if err := reach(t, c1, c2, 10*time.Second); err != nil {
		t.Error(err)
	}
	six := &Container{NS: c2.NS, t: t, Addr: netip.MustParseAddr("fd01::12")}
	if err := reach(t, c1, six, 10*time.Second); err != nil {
		t.Error(err)
	}
	if p, err := probe.Ping(t.Context(), c1.NS, six.Addr, probe.Echo{Count: 3, Size: 3000}); err != nil || p.Lost() > 0 {
		t.Errorf("IPv6: %+v, %v", p, err)
	}
	move(t, c1, c2, six.Addr, 4<<20)
	eventually(t, 10*time.Second, func() string {
		arp, na := 0, 0
		for _, f := range heard.seen() {
			switch {
			case f.outgoing:
			case gratuitous(f.data) && string(f.data[28:32]) == "\x0a\x01\x00\x0b":
				arp++
			case unsolicitedNA(f.data, netip.MustParseAddr("fd01::11")):
				na++
			}
		}
		if arp < 3 || na < 3 {
			return fmt.Sprintf("heard %d gratuitous ARP and %d unsolicited advertisements, want 3 each", arp, na)
		}
		return ""
	})
	for _, h := range []*Host{h1, h2} {
		h.onlyDrops(h.settled(), loadDrops...)
	}
}

// unsolicitedNA reports whether a frame advertises target to all nodes (RFC
// 4861 section 7.2.6).
func unsolicitedNA(f []byte, target netip.Addr) bool {
	if len(f) < 14+40+24 || binary.BigEndian.Uint16(f[12:]) != unix.ETH_P_IPV6 || f[20] != 58 {
		return false
	}
	t := target.As16()
	icmp := f[54:]
	return icmp[0] == 136 && icmp[4]&0x40 == 0 && string(icmp[8:24]) == string(t[:]) && string(f[38:40]) == "\xff\x02"
}

// A static entry directs frames, a flush takes learned ones only.
func TestFDBCommands(t *testing.T) {
	t.Parallel()
	p := newPair(t, 1500)
	other := newContainer(t, p.l, "c3", "10.1.0.13")
	p.h1.attach("net1", other)
	const station = "02:5a:00:00:00:01"
	p.h1.Weft("fdb add net1 " + station + " " + other.Name())
	p.h1.Weft("fdb add net1 " + station + " " + other.Name()) // so already
	here, there := newCapture(t, other.NS, "eth1"), newCapture(t, p.c2.NS, "eth1")
	newSender(t, p.c1.NS, "eth1").send(frame(station, mac(t, p.c1), 0x88b5, []byte("static")))
	if err := reach(t, p.c1, p.c2, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	p.h1.settled()
	if n := count(here.stop(), station); n != 1 {
		t.Errorf("the port of a static entry got %d frames, want 1", n)
	}
	if n := count(there.stop(), station); n != 0 {
		t.Errorf("the other host got %d frames, want 0", n)
	}
	kinds := func() (n map[string]int) {
		n = map[string]int{}
		for _, e := range p.h1.fdb("net1") {
			n[e.Kind]++
		}
		return n
	}
	if got := kinds(); got["attached"] != 2 || got["static"] != 1 || got["learned"] == 0 {
		t.Errorf("FDB has %v", got)
	}
	p.h1.Weft("fdb flush net1")
	if got := kinds(); got["attached"] != 2 || got["static"] != 1 || got["learned"] != 0 {
		t.Errorf("after a flush the FDB has %v", got)
	}
	oneLine(t, p.h1.CLI("fdb add net1 "+station+" peer:host2"), 1, station, other.Name()) // never moved silently
	p.h1.Weft("fdb rm net1 " + station)
	if got := kinds(); got["static"] != 0 {
		t.Errorf("after rm the FDB has %v", got)
	}
}

func count(frames []captured, dst string) (n int) {
	for _, f := range frames {
		if !f.outgoing && net.HardwareAddr(f.data[:6]).String() == dst {
			n++
		}
	}
	return n
}

// A YAML file says what flags say, and flags are laid over it.
func TestConfigFile(t *testing.T) {
	t.Parallel()
	l := lab.ForTest(t)
	h := newHost(t, l, "host1")
	path := filepath.Join(h.dir, "weft.yaml")
	text := `# two networks and a peer
name: host-of-file
networks:
  - name: red
    prefixes: [10.5.0.0/24, "fd05::/64"]
    id: 5
    gateway: [10.5.0.1]
    mtu: 1400
  - name: blue
    prefixes: [10.6.0.0/24]
    ageing: 60
peers:
  - name: host2
    address: 192.0.2.2
    networks: [red]
    csum: true
`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	h.Start("--config " + path + " --name host1")
	s := h.status()
	if s.Name != "host1" || len(s.Networks) != 2 || s.Networks[0].Name != "blue" || s.Networks[1].ID != 5 || s.Networks[1].MTU != 1400 ||
		strings.Join(s.Networks[1].Prefixes, " ") != "10.5.0.0/24 fd05::/64" || strings.Join(s.Networks[1].Gateways, " ") != "10.5.0.1" ||
		len(s.Peers) != 1 || s.Peers[0].Address != "192.0.2.2" {
		t.Errorf("status: %+v", s)
	}
	oneLine(t, h.CLI("network rm blue"), 1, "blue", path)
	// What the file declares no more is gone after the next start; what came
	// through the API stays.
	h.Weft("network add green 10.7.0.0/24")
	h.Stop()
	cut := strings.Index(text, "  - name: blue")
	if err := os.WriteFile(path, []byte(text[:cut]), 0o600); err != nil {
		t.Fatal(err)
	}
	h.Restart()
	names := ""
	for _, n := range h.status().Networks {
		names += n.Name + " "
	}
	if names != "green red " || len(h.status().Peers) != 0 {
		t.Errorf("after a restart: networks %s, peers %v", names, h.status().Peers)
	}
}

// The command line says what it can do.
func TestHelp(t *testing.T) {
	for _, tt := range []struct {
		line string
		want []string
	}{
		{"--help", []string{"run", "status", "network", "attach", "detach", "port", "peer", "fdb", "drops", "demo", "version"}},
		{"attach --help", []string{"NETWORK", "TARGET", "netns:", "--mac", "--allow-spoof", "Example"}},
		{"network add --help", []string{"Example"}},
		{"run --help", []string{"--config", "--local", "--network", "--peer", "Example"}},
		{"completion bash", []string{"weft"}},
		{"version", []string{"weft"}},
	} {
		a := weft(t, tt.line)
		if a.code != 0 || a.err != "" {
			t.Errorf("weft %s: exit %d: %s", tt.line, a.code, a.err)
		}
		for _, w := range tt.want {
			if !strings.Contains(a.out, w) {
				t.Errorf("weft %s does not mention %q", tt.line, w)
			}
		}
	}
}
