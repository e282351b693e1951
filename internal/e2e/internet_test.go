package e2e

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"weft/internal/header"
	"weft/internal/lab"
	"weft/internal/lab/probe"
)

// Where a server stands beyond the narrow link.
const (
	beyond, beyond6 = "198.51.100.2", "2001:db8:51::2"
	narrow          = 1300 // the path's MTU; a container has 1450
)

// newBeyond puts a link of a small MTU between the LAN's router and "the Internet",
// which becomes a router itself, and a server behind it that knows only of links
// with 1500:
//
//	container (1450) -- host1 -- LAN -- router --1300-- inet --1500-- server
func newBeyond(t *testing.T) (*exposed, *Container) {
	t.Helper()
	x := newExposed(t)
	server, err := x.l.Host("server")
	if err != nil {
		t.Fatal(err)
	}
	if err := server.SetSysctl("ipv6/conf/default/accept_dad", "0"); err != nil {
		t.Fatal(err)
	}
	if err := x.l.Link(lab.End{NS: x.inet, Name: "eth1", Addrs: netOf("198.51.100.1", "2001:db8:51::1")},
		lab.End{NS: server, Name: "eth0", Addrs: netOf(beyond, beyond6)}); err != nil {
		t.Fatal(err)
	}
	in(t, x.router, fmt.Sprintf("ip link set inet mtu %d && ip route add 198.51.100.0/24 via %s && ip route add 2001:db8:51::/64 via %s", narrow, inetServer, inetServer6))
	in(t, x.inet, fmt.Sprintf("ip link set eth0 mtu %d && sysctl -qw net.ipv4.conf.all.forwarding=1 net.ipv6.conf.all.forwarding=1", narrow))
	in(t, server, "ip route add default via 198.51.100.1 && ip -6 route add default via 2001:db8:51::1")
	return x, &Container{NS: server, t: t, Addr: netip.MustParseAddr(beyond)}
}

// at returns a container by another of its addresses.
func (c *Container) at(addr string) *Container {
	return &Container{NS: c.NS, t: c.t, Addr: netip.MustParseAddr(addr)}
}

// Containers behind SNAT reach a server on the Internet, IPv4 and IPv6: ping, TCP,
// UDP, much data both ways. Packets that are too big for a link on the way are
// told of to the container itself, which then sends smaller ones. The server sees
// the host alone.
func TestInternet(t *testing.T) {
	x, server := newBeyond(t)
	x.h1.Weft("expose blue")
	outside := newCapture(t, server.NS, "eth0")
	for _, tt := range []struct {
		name, addr, seenAs string
		client             *Container
		before, after      string // what an echo of the container's MTU meets
		headers            int    // IP and ICMP
	}{
		{"IPv4", beyond, lanHost, x.web, "destination unreachable, code 4", "mtu 1300", 28},
		{"IPv6", beyond6, lanHost6, x.web, "packet too big, code 0", "mtu 1300", 48},
		{"IPv4 of a remote container", beyond, lanHost, x.far, "destination unreachable, code 4", "mtu 1300", 28},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, s := tt.client, server.at(tt.addr)
			mtu := 0
			if ifi, err := c.Interface("eth1"); err != nil {
				t.Fatal(err)
			} else if mtu = ifi.MTU; mtu <= narrow {
				t.Fatalf("the container has an MTU of %d: this test proves nothing", mtu)
			}
			p, err := probe.Ping(t.Context(), c.NS, s.Addr, probe.Echo{Count: 10, Size: 1000, Timeout: 10 * time.Second})
			if err != nil || p.Lost() > 0 {
				t.Errorf("ping: %+v, %v", p, err)
			}
			if p, err = probe.Ping(t.Context(), c.NS, s.Addr, probe.Echo{Size: mtu - tt.headers, DF: true, Timeout: 2 * time.Second}); err != nil || p.Refused != tt.before {
				t.Errorf("ping of %d bytes: %+v, %v, want it refused as %s", mtu, p, err, tt.before)
			}
			tr := move(t, c, s, s.Addr, 8<<20)
			t.Logf("TCP: %.2f Gbit/s", tr.Rate()/1e9)
			if route := in(t, c.NS, "ip route get "+tt.addr); !strings.Contains(route, tt.after) {
				t.Errorf("the container was not told: %s, want %s", route, tt.after)
			}
			for _, options := range []string{"--time 1", "--time 1 --reverse", "--udp --bitrate 20M --length 1000 --time 1", "--udp --bitrate 20M --length 1000 --time 1 --reverse"} {
				r := runIperf(t, c, s, options)
				t.Logf("iperf3 %s: %v, %.0f of %.0f lost", options, r, r.End.Sum.Lost, r.End.Sum.Packets)
				if r.End.Received.Bytes < 1<<20 && r.End.Sum.Packets < 1000 || r.End.Sum.Lost > r.End.Sum.Packets*9/10 {
					t.Errorf("iperf3 %s: %+v", options, r.End)
				}
			}
			// A datagram that may be cut is, and arrives whole.
			if d, err := probe.UDP(t.Context(), c.NS, s.NS, netip.AddrPortFrom(s.Addr, 0), 50, 4000, time.Millisecond); err != nil || d.Received != 50 {
				t.Errorf("UDP of 4000 bytes: %+v, %v", d, err)
			}
		})
	}
	sources := map[string]int{}
	for _, f := range outside.stop() {
		eth, ok := header.ParseEthernet(f.data)
		if !ok || f.outgoing {
			continue
		}
		switch typ, off := eth.L3(); typ {
		case header.TypeIPv4:
			src := binary.BigEndian.Uint32(f.data[off+12:])
			sources[netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, src))).String()]++
		case header.TypeIPv6:
			if a := netip.AddrFrom16([16]byte(f.data[off+8 : off+24])); !a.IsLinkLocalUnicast() && !a.IsUnspecified() {
				sources[a.String()]++
			}
		}
	}
	delete(sources, "198.51.100.1") // the router beside it, which asks for neighbours
	delete(sources, "2001:db8:51::1")
	if len(sources) != 2 || sources[lanHost] < 1000 || sources[lanHost6] < 1000 {
		t.Errorf("the server saw packets from %v, want the host's two addresses alone", sources)
	}
	for _, h := range []*Host{x.h1, x.h2} {
		h.settled()
		h.wantBalanced()
	}
}
