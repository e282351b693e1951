package dataplane

import (
	"testing"

	"weft/fib"
	"weft/internal/drop"
	"weft/internal/header"
)

// TestDecide is the brain of the switch in rows: where a frame goes, by where
// it came from, its destination and its type. Ports 1 and 2 and peers 1 and 2
// have one known address each.
func TestDecide(t *testing.T) {
	const (
		onPort1 header.MAC = 0x0200_0000_0001
		onPort2 header.MAC = 0x0200_0000_0002
		onPeer1 header.MAC = 0x0200_0000_0011
		onPeer2 header.MAC = 0x0200_0000_0012
		unknown header.MAC = 0x0200_0000_00ff
	)
	d := &domain{fdb: fib.NewFDB(fib.FDBConfig{})}
	d.fdb.Set(onPort1, fib.PortDest(1), fib.Attached)
	d.fdb.Learn(onPort2, fib.PortDest(2), 1)
	d.fdb.Learn(onPeer1, fib.PeerDest(1), 1)
	d.fdb.Set(onPeer2, fib.PeerDest(2), fib.Static)

	port1, port2, peer1, peer2 := fib.PortDest(1), fib.PortDest(2), fib.PeerDest(1), fib.PeerDest(2)
	flood := verdict{}
	tests := []struct {
		name string
		from fib.Dest
		dst  header.MAC
		typ  uint16 // 0: IPv4
		want verdict
	}{
		{name: "B07 attached", from: port2, dst: onPort1, want: verdict{to: port1}},
		{name: "B07 learned", from: port1, dst: onPort2, want: verdict{to: port2}},
		{name: "to a peer", from: port1, dst: onPeer1, want: verdict{to: peer1}},
		{name: "static at a peer", from: port1, dst: onPeer2, want: verdict{to: peer2}},
		{name: "from a peer", from: peer1, dst: onPort1, want: verdict{to: port1}},
		{name: "B06 peer to peer", from: peer1, dst: onPeer2, want: verdict{reason: drop.L2Split}},
		{name: "B08 own port", from: port1, dst: onPort1, want: verdict{reason: drop.L2Self}},
		{name: "B08 own peer", from: peer1, dst: onPeer1, want: verdict{reason: drop.L2Self}},
		{name: "B05 broadcast", from: port1, dst: header.Broadcast, want: flood},
		{name: "B05 unknown unicast", from: port1, dst: unknown, want: flood},
		{name: "B06 unknown from a peer", from: peer1, dst: unknown, want: flood},
		{name: "B10 zero", from: port1, dst: 0, want: flood},
		{name: "B05 IPv4 multicast", from: port1, dst: 0x0100_5e00_0001, want: flood},
		{name: "B05 IPv6 multicast", from: peer2, dst: 0x3333_0000_0001, want: flood},
		{name: "B01 spanning tree", from: port1, dst: 0x0180_c200_0000, want: verdict{reason: drop.L2LinkLocal}},
		{name: "B01 LLDP", from: peer1, dst: 0x0180_c200_000e, want: verdict{reason: drop.L2LinkLocal}},
		{name: "B01 last reserved", from: port1, dst: 0x0180_c200_000f, want: verdict{reason: drop.L2LinkLocal}},
		{name: "B02 first beyond", from: port1, dst: 0x0180_c200_0010, want: flood},
		{name: "B02 GMRP", from: port1, dst: 0x0180_c200_0020, want: flood},
		{name: "B03 CDP", from: port1, dst: 0x0100_0ccc_cccc, want: flood},
		{name: "B04 pause", from: port1, dst: 0x0180_c200_0001, typ: 0x8808, want: verdict{reason: drop.L2LinkLocal}},
		{name: "B04 pause to a station", from: port1, dst: onPort2, typ: 0x8808, want: verdict{reason: drop.L2LinkLocal}},
		{name: "B26 LLC", from: port1, dst: onPort2, typ: 43, want: verdict{to: port2}},
		{name: "B20 tagged", from: port1, dst: onPort2, typ: 0x8100, want: verdict{to: port2}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := make([]byte, 60)
			tt.dst.Put(b)
			onPort1.Put(b[6:])
			if tt.typ == 0 {
				tt.typ = 0x0800
			}
			b[12], b[13] = byte(tt.typ>>8), byte(tt.typ)
			if got := decide(d, tt.from, header.Ethernet(b)); got != tt.want {
				t.Errorf("decide() = %+v, want %+v", got, tt.want)
			}
		})
	}
}
