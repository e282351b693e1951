package dataplane

import (
	"net/netip"
	"testing"

	"weft/fib"
	"weft/internal/drop"
	"weft/internal/header"
	"weft/internal/offload"
)

// TestHostPort has the host, at 10.1.0.3, forward for the world: it may speak for
// all that the vrf does not have, and for nobody whom it has.
func TestHostPort(t *testing.T) {
	r := newRouted(t, Config{})
	h := attach(t, r.Switch, r.d1, 3, func(c *PortConfig) { c.Addrs, c.Host = addrs("10.1.0.3", "fd00:1::3"), true })
	r.Routes(testVRF).Update(func(b *fib.Batch) {
		b.Insert(netip.MustParsePrefix("0.0.0.0/0"), fib.NextHop{Kind: fib.HopAddr, Via: netip.MustParseAddr("10.1.0.3")})
		b.Insert(netip.MustParsePrefix("172.16.0.0/12"), fib.NextHop{Kind: fib.HopPeer, Dest: fib.PeerDest(1)})
	})
	body, me, gw := make([]byte, 40), h.mac, gatewayMAC(1)
	for _, tt := range []struct {
		name  string
		frame []byte
		want  drop.Reason
	}{
		{"another container's address", between(r.a.mac, me, packet4("10.1.0.9", "10.1.0.2", 64, 17, body)), drop.L3Source},
		{"an attached address", between(r.a.mac, me, packet4("10.1.0.2", "10.1.0.2", 64, 17, body)), drop.L3Source},
		{"the gateway's", between(r.a.mac, me, packet4("10.1.0.1", "10.1.0.2", 64, 17, body)), drop.L3Source},
		{"a prefix of the vrf, bridged", between(r.a.mac, me, packet4("10.2.0.9", "10.1.0.2", 64, 17, body)), drop.L3Source},
		{"a remote prefix", between(r.a.mac, me, packet4("172.17.0.9", "10.1.0.2", 64, 17, body)), drop.L3Source},
		{"a container's, routed", between(gw, me, packet4("10.1.0.2", "10.2.0.2", 64, 17, body)), drop.L3Source},
		{"IPv6 of another container", between(r.a.mac, me, packet6("fd00:1::9", "fd00:1::2", 64, 17, body)), drop.L3Source},
		{"IPv6 of the other network", between(r.a.mac, me, packet6("fd00:2::9", "fd00:1::2", 64, 17, body)), drop.L3Source},
		{"another's link-local", between(r.a.mac, me, packet6("fe80::9", "fd00:1::2", 64, 17, body)), drop.L3Source},
		{"MAC", between(r.a.mac, r.b.mac, packet4("8.8.8.8", "10.1.0.2", 64, 17, body)), drop.L2Spoof},
		{"ARP for the world", arpFrame(2, r.a.mac, me, me, "8.8.8.8", "10.1.0.2"), drop.L2Spoof},
		{"ARP for a container", arpFrame(2, r.a.mac, me, me, "10.1.0.9", "10.1.0.2"), drop.L2Spoof},
		{"ND for a container", sixOther("fd00:1::3", advert(me, "fd00:1::9")), drop.L2Spoof},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := r.PortStats(h.id).Drops[tt.want]
			h.Send(offload.Header{}, tt.frame)
			wantDrops(t, r.Switch, h.id, tt.want, before+1)
		})
	}
	r.a.wantNone(t)
	for _, f := range [][]byte{
		between(r.a.mac, me, packet4("8.8.8.8", "10.1.0.2", 64, 17, body)), between(r.a.mac, me, packet4("10.1.0.3", "10.1.0.2", 64, 17, body)),
		between(r.a.mac, me, packet4("169.254.169.254", "10.1.0.2", 64, 17, body)),
		between(r.a.mac, me, packet6("2001:db8::1", "fd00:1::2", 64, 17, body)), arpFrame(2, r.a.mac, me, me, "10.1.0.3", "10.1.0.2"),
		between(r.a.mac, me, packet6(header.LinkLocal(me).String(), "fd00:1::2", 64, 17, body)),
	} {
		h.Send(offload.Header{}, f)
		r.a.want(t, f)
	}
	// From the world to the other network, and back by the default route.
	h.Send(offload.Header{}, between(gw, me, packet4("8.8.8.8", "10.2.0.2", 64, 17, body)))
	r.b.want(t, between(r.b.mac, gatewayMAC(2), packet4("8.8.8.8", "10.2.0.2", 63, 17, body)))
	r.b.Send(offload.Header{}, between(gatewayMAC(2), r.b.mac, packet4("10.2.0.2", "8.8.8.8", 64, 17, body)))
	h.want(t, between(me, gw, packet4("10.2.0.2", "8.8.8.8", 63, 17, body)))
	wantBalance(t, r.Switch)
}
