package e2e

import (
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What others change of the host's interfaces in a network is put back, and said.
func TestHostInterfacePutBack(t *testing.T) {
	x := newExposed(t)
	serve(t, x.inet, "tcp", 7777)
	x.h1.Weft("expose blue 10.10.0.254/24 fd00:10::fe/64")
	works := func(what string) {
		t.Helper()
		wantSeen(t, what, x.web.NS, "tcp", inetServer, 7777, lanHost)
		wantSeen(t, what, x.web.NS, "tcp", inetServer6, 7777, lanHost6)
	}
	works("at first")
	good := x.h1.snapshot()
	for _, tt := range []struct{ edit, was string }{
		{"ip link set weft-blue down", "down, without fd00:10::fe/64"},
		{"ip addr flush dev weft-blue", "without 10.10.0.254/24, without fd00:10::fe/64, without fe80:"},
		{"ip addr del 10.10.0.254/24 dev weft-blue", "without 10.10.0.254/24)"},
		{"ip link set weft-blue mtu 1280", "with MTU 1280"},
		{"ip link set weft-blue address 02:00:00:00:00:77", "with MAC 02:00:00:00:00:77"},
	} {
		in(t, x.h1.NS, tt.edit)
		eventually(t, 30*time.Second, func() string {
			if a := x.h1.CLI("status --check"); !strings.Contains(a.err, "interface weft-blue (it was "+tt.was) {
				return tt.edit + ": status says " + a.err
			}
			return ""
		})
		x.h1.same(tt.edit, good)
		works(tt.edit)
	}
	x.h1.Kill()
	in(t, x.h1.NS, "ip addr flush dev weft-blue; ip link set weft-blue down")
	x.h1.Restart()
	x.h1.same("a restart", good)
	works("a restart")
}

// So it is with the interface by which an uplink's frames reach the host.
func TestHostSidePutBack(t *testing.T) {
	s := newSite(t)
	s.join(t)
	host := s.everybody()[5]
	meet(t, s.c1, host)
	in(t, s.h1.NS, "ip link set weftup-eth0 down")
	eventually(t, 30*time.Second, func() string {
		if a := s.h1.CLI("status --check"); !strings.Contains(a.err, "by which uplink eth0 reaches the host") {
			return "status says " + a.err
		}
		return ""
	})
	meet(t, s.c1, host)
	meet(t, host, s.c1)
}

// Where a published port leads nowhere, a client elsewhere is refused as by a host on
// which nothing listens: it is not let in and then hung up on.
func TestPublishedNowhere(t *testing.T) {
	x := newExposed(t)
	x.h1.Weft("network add old 10.44.0.0/24 --gateway 10.44.0.1")
	c := newContainer(t, x.l, "old", "10.44.0.9")
	x.h1.attach("old", c)
	serve(t, c.NS, "tcp", 80)
	serve(t, c.NS, "udp", 80)
	x.h1.Weft("publish old " + c.target() + " 9301:80")
	x.h1.Weft("publish old " + c.target() + " 9301:80/udp")
	const host = "10.44.0.2"
	refused := func(what, at string) {
		t.Helper()
		for _, network := range []string{"tcp", "udp"} {
			err := x.client.Do(func() error {
				c, err := net.DialTimeout(network, net.JoinHostPort(at, "9301"), 10*time.Second)
				if err != nil {
					return err
				}
				defer c.Close()
				if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
					return err
				}
				if _, err := c.Write([]byte("who am I?")); err != nil {
					return err
				}
				_, err = c.Read(make([]byte, 100))
				return err
			})
			if !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("%s, %s: %v; want it refused", what, network, err)
			}
		}
	}
	for _, network := range []string{"tcp", "udp"} {
		wantSeen(t, "LAN", x.client, network, lanHost, 9301, lanClient)
		wantSeen(t, "the host, IPv6", x.h1.NS, network, "::1", 9301, host)
		wantSeen(t, "the host, at its address on the LAN, IPv6", x.h1.NS, network, lanHost6, 9301, host)
		wantSeen(t, "the host", x.h1.NS, network, lanHost, 9301, host)
	}
	refused("an IPv6 client of a container without", lanHost6)
	x.h1.Weft("detach old " + c.target())
	refused("a client while the container is away", lanHost)
}
