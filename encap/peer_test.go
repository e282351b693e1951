package encap

import (
	"net/netip"
	"strings"
	"testing"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func TestPeerTableRefuses(t *testing.T) {
	a, b := addr("10.0.0.2"), addr("10.0.0.3")
	local := []netip.Addr{addr("10.0.0.1"), addr("10.0.0.11"), addr("2001:db8::5")}
	tests := []struct {
		name  string
		peers []Peer
		want  string
	}{
		{"number 0", []Peer{{Addr: a}}, "number 0"},
		{"number too high", []Peer{{ID: MaxPeerID + 1, Addr: a}}, "number 32768"},
		{"number twice", []Peer{{ID: 1, Addr: a}, {ID: 1, Addr: b}}, "number 1 is taken twice"},
		{"address twice", []Peer{{ID: 1, Addr: a}, {ID: 2, Addr: a}}, "peers 1 and 2 have the same address 10.0.0.2"},
		{"address twice, once mapped", []Peer{{ID: 1, Addr: a}, {ID: 2, Addr: addr("::ffff:10.0.0.2")}}, "same address"},
		{"no address", []Peer{{ID: 1}}, "peer 1 has no address"},
		{"IPv6 of one link", []Peer{{ID: 1, Addr: addr("fe80::1%eth0")}}, "fe80::1%eth0 is an address of one link"},
		{"IPv6 with a zone", []Peer{{ID: 1, Addr: addr("2001:db8::1%eth0")}}, "has a zone"},
		{"IPv6 multicast", []Peer{{ID: 1, Addr: addr("ff02::1")}}, "not the address of one host"},
		{"IPv6 unspecified", []Peer{{ID: 1, Addr: addr("::")}}, "not the address of one host"},
		{"IPv6 of this host", []Peer{{ID: 1, Addr: local[2]}}, "2001:db8::5 is an address of this host"},
		{"multicast", []Peer{{ID: 1, Addr: addr("224.0.0.5")}}, "not the address of one host"},
		{"broadcast", []Peer{{ID: 1, Addr: addr("255.255.255.255")}}, "not the address of one host"},
		{"unspecified", []Peer{{ID: 1, Addr: addr("0.0.0.0")}}, "not the address of one host"},
		{"this host", []Peer{{ID: 1, Addr: local[1]}}, "10.0.0.11 is an address of this host"},
		{"this host, mapped", []Peer{{ID: 1, Addr: addr("::ffff:10.0.0.1")}}, "is an address of this host"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := newPeerTable(tt.peers, local, &peerTable{})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestPeerTable(t *testing.T) {
	tab, err := newPeerTable([]Peer{{ID: MaxPeerID, Addr: addr("10.0.0.2")}, {ID: 3, Addr: addr("::ffff:10.0.0.3")}}, nil, &peerTable{})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []PeerID{0, 1, 4, MaxPeerID - 1, MaxPeerID + 1, 65535} {
		if p := tab.peer(id); p != nil {
			t.Errorf("peer %d is %v, want none", id, p.Peer)
		}
	}
	for id, a := range map[PeerID]netip.Addr{MaxPeerID: addr("10.0.0.2"), 3: addr("10.0.0.3")} {
		if p := tab.peer(id); p == nil || p.Addr != a || tab.byAddr[a] != p {
			t.Errorf("peer %d is not at %s", id, a)
		}
	}
}

// TestPeerTableSequence: sequence numbers stay with a peer that stays.
func TestPeerTableSequence(t *testing.T) {
	seq := Peer{ID: 1, Addr: addr("10.0.0.2"), Sequence: true}
	first, err := newPeerTable([]Peer{seq}, nil, &peerTable{})
	if err != nil {
		t.Fatal(err)
	}
	moved := Peer{ID: 1, Addr: addr("10.0.0.3"), Sequence: true}
	off := Peer{ID: 1, Addr: addr("10.0.0.2")}
	withSum := Peer{ID: 1, Addr: addr("10.0.0.2"), Sequence: true, Checksum: true}
	for _, tt := range []struct {
		peer Peer
		same bool
	}{{seq, true}, {withSum, true}, {moved, false}, {off, false}} {
		next, err := newPeerTable([]Peer{tt.peer}, nil, first)
		if err != nil {
			t.Fatal(err)
		}
		p, before := next.peer(1), first.peer(1)
		if got := p.numbers == before.numbers && p.order == before.order; got != tt.same {
			t.Errorf("%+v: same sequence numbers is %v, want %v", tt.peer, got, tt.same)
		}
		if (p.numbers != nil) != tt.peer.Sequence {
			t.Errorf("%+v: has numbers is %v", tt.peer, p.numbers != nil)
		}
	}
}

func TestConfigRefuses(t *testing.T) {
	tests := []struct {
		local netip.Addr
		want  string
	}{
		{netip.Addr{}, "local address 1 is empty"},
		{addr("fe80::1"), "local address fe80::1 is an address of one link"},
		{addr("::"), "local address :: is not the address of one host"},
		{addr("0.0.0.0"), "local address 0.0.0.0 is not the address of one host"},
		{addr("224.0.0.1"), "not the address of one host"},
	}
	for _, tt := range tests {
		if _, err := Open(Config{Local: []netip.Addr{tt.local}}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("local %s: got %v, want %q", tt.local, err, tt.want)
		}
	}
}
