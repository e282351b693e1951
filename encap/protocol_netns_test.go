package encap_test

import (
	"net/netip"
	"testing"

	"weft/encap"
	"weft/internal/drop"
)

// What IPsec forbids for GRE alone, raw sockets do not send: over IPv4 from Linux 6.4
// on, which every kernel that has the egress TAP is, and over IPv6 alike.
func TestNetnsPolicyOfProtocol(t *testing.T) {
	a, b := twoHosts(t)
	a.open(encap.Config{Local: []netip.Addr{addrA, addrA6}}, encap.Peer{ID: 1, Addr: addrB}, encap.Peer{ID: 2, Addr: addrB6})
	b.open(encap.Config{Local: []netip.Addr{addrB, addrB6}}, encap.Peer{ID: 1, Addr: addrA}, encap.Peer{ID: 2, Addr: addrA6})
	send := func(want ...drop.Reason) {
		t.Helper()
		for i, r := range a.send(teb(1, frame(100)), teb(2, frame(100))) {
			if r != want[i] {
				t.Errorf("to peer %d: %v, want %v", i+1, r, want[i])
			}
		}
	}
	send(drop.None, drop.None)
	a.shell("ip xfrm policy add dst " + addrB.String() + " proto gre dir out action block")
	send(drop.TxUnreachable, drop.None)
	a.shell("ip -6 xfrm policy add dst " + addrB6.String() + " proto gre dir out action block")
	send(drop.TxUnreachable, drop.TxUnreachable)
	a.shell("ip xfrm policy flush; ip xfrm policy add dst " + addrB.String() + " proto udp dir out action block")
	send(drop.None, drop.None)
}
