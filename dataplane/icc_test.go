package dataplane

import (
	"fmt"
	"net/netip"
	"testing"

	"weft/encap/encaptest"
	"weft/fib"
	"weft/internal/drop"
	"weft/internal/header"
	"weft/internal/offload"
)

// TestApart has a network whose containers do not reach one another: who hears
// broadcast and unicast of whom, in the network and in a VLAN of it, before and after.
func TestApart(t *testing.T) {
	for _, vid := range []uint16{0, 10} {
		t.Run(fmt.Sprintf("VLAN %d", vid), func(t *testing.T) {
			u, wire := encaptest.New(t, addr1)
			s, w, d := still(t, Config{Underlay: u})
			setPeers(t, s, d, false, addr2)
			unlimited := func(c *PortConfig) { c.FloodRate = -1 }
			a, b := attach(t, s, d, 1, vlan(vid), unlimited), attach(t, s, d, 2, vlan(vid))
			host := attach(t, s, d, 3, vlan(vid), func(c *PortConfig) { c.Host, c.FloodRate = true, -1 })
			up := addUplink(t, s, d, 0)
			const remote header.MAC = 0x0600_0000_0041
			tags := [][2]uint16{{0x8100, vid}}
			if vid == 0 {
				tags = nil
			}
			type end struct {
				name      string
				container bool
				mac       header.MAC
				send      func(f []byte)
				hear      func() bool
			}
			port := func(name string, container bool, st *station) end {
				return end{name, container, st.mac, func(f []byte) { st.Send(offload.Header{}, f); w.batch(st.id) }, func() bool { _, f := st.Recv(0); return f != nil }}
			}
			ends := []end{
				port("a", true, a), port("b", true, b), port("host", false, host),
				{"LAN", false, lanMAC, func(f []byte) { up.lan.Send(offload.Header{}, tagged(f, tags...)); w.uplinkBatch(up.id) }, func() bool { _, f := up.lan.Recv(0); return f != nil }},
				{"peer", true, remote, func(f []byte) {
					wire.Inject(outer(addr2, addr1, append([]byte("\x20\x00\x65\x58\x00\x00\x00\x07"), tagged(f, tags...)...)))
					w.snap, w.now = s.snapshot.Load(), s.second.Load()
					w.drainUnderlay(w.receivers[0], false)
					w.balance()
				}, func() bool { return wire.TryRead() != nil }},
			}
			quiet := func() {
				for _, e := range ends {
					for e.hear() {
					}
				}
				for f := []byte{0}; f != nil; _, f = up.host.Recv(0) {
				}
			}
			check := func(apart bool) {
				t.Helper()
				for _, from := range ends { // so that all are known
					from.send(testFrame(header.Broadcast, from.mac, 60))
					for _, to := range ends {
						want := from.name != to.name && !(apart && from.container && to.container)
						if got := to.hear(); got != want {
							t.Errorf("apart %v: %s heard a broadcast of %s: %v", apart, to.name, from.name, got)
						}
					}
					quiet()
				}
				for _, from := range ends {
					for _, to := range ends {
						if from.name == to.name {
							continue
						}
						before := s.Drops()[drop.L2Isolated]
						from.send(testFrame(to.mac, from.mac, 60))
						want := !(apart && from.container && to.container)
						if from.name == "peer" && to.name == "peer" {
							want = false
						}
						if got := to.hear(); got != want || (s.Drops()[drop.L2Isolated] == before+1) == want {
							t.Errorf("apart %v: %s heard unicast of %s: %v", apart, to.name, from.name, got)
						}
						quiet()
					}
				}
				if f := framesAtRest(s); !balanced(f) {
					t.Errorf("balance sheet is off: %+v", f)
				}
			}
			for _, apart := range []bool{false, true, false} {
				if err := s.SetDomain(d, DomainConfig{MTU: 1450, Apart: apart, Peers: []PeerID{1}}); err != nil {
					t.Fatal(err)
				}
				check(apart)
			}
		})
	}
}

// The gateway is no way around: it answers, routes elsewhere, and to the host.
func TestApartGateway(t *testing.T) {
	s, w, d := still(t, Config{HostMAC: 0x02_99_00_00_00_01})
	ip := netip.MustParseAddr
	if err := s.AddVRF(7); err != nil {
		t.Fatal(err)
	}
	other, err := s.AddDomain(DomainConfig{Key: 8, MTU: 1450, VRF: 7, Gateways: []netip.Addr{ip("10.0.1.1")}, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.1.0/24")}})
	if err != nil {
		t.Fatal(err)
	}
	set := func(apart bool) {
		t.Helper()
		err := s.SetDomain(d, DomainConfig{Key: 7, MTU: 1450, VRF: 7, Apart: apart, Gateways: []netip.Addr{ip("10.0.0.1")}, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}})
		if err != nil {
			t.Fatal(err)
		}
	}
	set(false)
	s.Routes(7).Insert(netip.MustParsePrefix("10.0.0.0/24"), fib.NextHop{Kind: fib.HopConnected, Domain: uint16(d)})
	s.Routes(7).Insert(netip.MustParsePrefix("10.0.1.0/24"), fib.NextHop{Kind: fib.HopConnected, Domain: uint16(other)})
	at := func(addr string) func(*PortConfig) {
		return func(c *PortConfig) { c.Addrs = []netip.Addr{ip(addr)} }
	}
	a, b := attach(t, s, d, 2, at("10.0.0.2")), attach(t, s, d, 3, at("10.0.0.3"))
	host := attach(t, s, d, 4, at("10.0.0.4"), func(c *PortConfig) { c.Host = true })
	far := attach(t, s, other, 5, at("10.0.1.5"))
	send := func(from *station, src, dst string) {
		f := make([]byte, header.EthernetLen+header.IPv4Len+20)
		header.PutEthernet(f, gatewayMAC(7), from.mac, header.TypeIPv4)
		header.IPv4Fields{Length: len(f) - header.EthernetLen, TTL: 64, Protocol: 253, Src: ip(src), Dst: ip(dst)}.Put(f[header.EthernetLen:])
		from.Send(offload.Header{}, f)
		w.batch(from.id)
	}
	heard := func(st *station) bool { _, f := st.Recv(0); return f != nil }
	for _, apart := range []bool{false, true} {
		set(apart)
		before := s.Drops()[drop.L2Isolated]
		send(a, "10.0.0.2", "10.0.0.3")
		if got := heard(b); got == apart || (s.Drops()[drop.L2Isolated] == before+1) != apart {
			t.Errorf("apart %v: by the gateway to a container of the network: %v, %v", apart, got, s.Drops()[drop.L2Isolated])
		}
		send(a, "10.0.0.2", "10.0.0.4")
		if !heard(host) {
			t.Errorf("apart %v: not by the gateway to the host", apart)
		}
		send(host, "10.0.0.4", "10.0.0.2")
		if !heard(a) {
			t.Errorf("apart %v: not from the host by the gateway", apart)
		}
		send(a, "10.0.0.2", "10.0.1.5")
		if !heard(far) {
			t.Errorf("apart %v: not to another network", apart)
		}
		for _, st := range []*station{a, b, host, far} {
			for heard(st) {
			}
		}
	}
}
