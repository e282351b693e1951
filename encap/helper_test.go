package encap_test

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"

	"weft/encap"
	"weft/internal/header"
)

// Addresses of the tests.
var (
	local    = netip.MustParseAddr("10.0.0.1")
	keyed    = encap.Peer{ID: 1, Addr: netip.MustParseAddr("10.0.0.2")}
	keyless  = encap.Peer{ID: 2, Addr: netip.MustParseAddr("10.0.0.3"), Keyless: true}
	ordered  = encap.Peer{ID: 3, Addr: netip.MustParseAddr("10.0.0.4"), Sequence: true}
	summed   = encap.Peer{ID: 4, Addr: netip.MustParseAddr("10.0.0.5"), Checksum: true}
	everyBit = encap.Peer{ID: 5, Addr: netip.MustParseAddr("10.0.0.6"), Checksum: true, Sequence: true}
	stranger = netip.MustParseAddr("10.0.0.99")

	peers = []encap.Peer{keyed, keyless, ordered, summed, everyBit}
)

func setPeers(t testing.TB, u *encap.Underlay, peers ...encap.Peer) {
	t.Helper()
	if err := u.SetPeers(peers); err != nil {
		t.Fatal(err)
	}
}

// unhex reads hex digits, spaces allowed.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// frame returns an inner frame of n bytes of a type that nothing looks into.
func frame(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + 2)
	}
	if n >= header.EthernetLen {
		binary.BigEndian.PutUint16(b[12:], 0x88b5)
	}
	return b
}

// outer puts an outer IPv4 header before a GRE packet.
func outer(src, dst netip.Addr, gre ...[]byte) []byte {
	b := make([]byte, header.IPv4Len)
	for _, part := range gre {
		b = append(b, part...)
	}
	f := header.IPv4Fields{Length: len(b), DF: true, TTL: 64, Protocol: header.ProtoGRE, Src: src, Dst: dst}
	f.Put(b)
	return b
}

// withChecksum returns a GRE packet whose checksum field, after the first word,
// makes it right: computed here word by word, unlike in the package.
func withChecksum(gre ...[]byte) []byte {
	var b []byte
	for _, part := range gre {
		b = append(b, part...)
	}
	b[4], b[5] = 0, 0
	var sum uint32
	for i := range b {
		sum += uint32(b[i]) << (8 * (1 - i%2))
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	binary.BigEndian.PutUint16(b[4:], ^uint16(sum))
	return b
}

// recvOne returns the only datagram that is there.
func recvOne(t testing.TB, u *encap.Underlay) encap.Datagram {
	t.Helper()
	ds, err := u.Receiver().Recv()
	if err != nil || len(ds) != 1 {
		t.Fatalf("Recv = %d datagrams, %v, want 1", len(ds), err)
	}
	return ds[0]
}
