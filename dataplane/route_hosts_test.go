package dataplane

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"weft/encap"
	"weft/encap/encaptest"
	"weft/fib"
	"weft/internal/drop"
	"weft/internal/header"
	"weft/internal/offload"
)

// TestRouteBetweenHosts is the layout of two hosts with a prefix each: IP in GRE.
func TestRouteBetweenHosts(t *testing.T) {
	for _, tt := range []struct {
		keyless      bool
		addr1, addr2 netip.Addr
	}{{false, addr1, addr2}, {true, addr1, addr2}, {false, addr1v6, addr2v6}} {
		t.Run(fmt.Sprintf("over %v, keyless=%v", tt.addr1, tt.keyless), func(t *testing.T) {
			keyless, addr1, addr2 := tt.keyless, tt.addr1, tt.addr2
			u1, w1 := encaptest.New(t, addr1)
			u2, w2 := encaptest.New(t, addr2)
			encaptest.Join(t, w1, w2)
			h1, h2 := newRouted(t, Config{Underlay: u1}), newRouted(t, Config{Underlay: u2})
			// Host 1 keeps network 1, host 2 network 2; each routes the other's there.
			for _, h := range []struct {
				s      *routed
				remote string
				addr   netip.Addr
				gone   *station
				domain DomainID
			}{{h1, "2", addr2, h1.b, h1.d2}, {h2, "1", addr1, h2.a, h2.d1}} {
				p := PeerConfig{Peer: encap.Peer{ID: 1, Addr: h.addr, Keyless: keyless}, MTU: 1450}
				if keyless {
					p.VRF = testVRF
				}
				if err := h.s.SetPeers([]PeerConfig{p}); err != nil {
					t.Fatal(err)
				}
				if err := h.s.RemovePort(h.gone.id); err != nil {
					t.Fatal(err)
				}
				if err := h.s.RemoveDomain(h.domain); err != nil {
					t.Fatal(err)
				}
				hop := fib.NextHop{Kind: fib.HopPeer, Dest: fib.PeerDest(1)}
				h.s.Routes(testVRF).Insert(netip.MustParsePrefix("10."+h.remote+".0.0/24"), hop)
				h.s.Routes(testVRF).Insert(netip.MustParsePrefix("fd00:"+h.remote+"::/64"), hop)
			}
			body := []byte("across")
			h1.a.Send(offload.Header{}, packet4("10.1.0.2", "10.2.0.2", 64, 253, body))
			_, got := h2.b.Recv(patience)
			want := packet4("10.1.0.2", "10.2.0.2", 62, 253, body)
			header.PutEthernet(want, h2.b.mac, gatewayMAC(2), header.TypeIPv4)
			if !bytes.Equal(got, want) {
				t.Fatalf("got %x\nwant %x", got, want)
			}
			h1.a.Send(offload.Header{}, packet6("fd00:1::2", "fd00:2::2", 64, 253, body))
			if _, got := h2.b.Recv(patience); len(got) == 0 || header.Ethernet(got).Type() != header.TypeIPv6 {
				t.Fatalf("IPv6: got %x", got)
			}
			// Traceroute sees both switches.
			h1.a.Send(offload.Header{}, packet4("10.1.0.2", "10.2.0.2", 2, 253, body))
			_, got = h1.a.Recv(patience)
			if got == nil {
				t.Fatal("the second switch says nothing about TTL")
			}
			p, _ := header.ParseIPv4(got[header.EthernetLen:])
			if p.SrcAddr() != netip.MustParseAddr("10.2.0.1") || p.Payload()[0] != 11 {
				t.Errorf("error from %v: %x", p.SrcAddr(), got)
			}
			// A source that is not routed back to the peer.
			gre := "\x20\x00\x08\x00\x00\x00\x00\x63" // key 99
			if keyless {
				gre = "\x00\x00\x08\x00"
			}
			bare := packet4("10.9.0.2", "10.2.0.2", 64, 253, body)[header.EthernetLen:]
			w2.Inject(outer(addr1, addr2, append([]byte(gre), bare...)))
			for end := time.Now().Add(patience); h2.PeerStats(1).Drops[drop.L3Source] == 0 && time.Now().Before(end); {
				time.Sleep(time.Millisecond)
			}
			if got := h2.PeerStats(1).Drops[drop.L3Source]; got != 1 {
				t.Errorf("%d packets dropped for their source, want 1", got)
			}
			wantBalance(t, h1.Switch)
			wantBalance(t, h2.Switch)
		})
	}
}
