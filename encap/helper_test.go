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

	local6 = netip.MustParseAddr("2001:db8::1")
	keyed6 = encap.Peer{ID: 11, Addr: netip.MustParseAddr("2001:db8::2")}
)

// over6 returns a with the same last byte in 2001:db8::/120.
func over6(a netip.Addr) netip.Addr {
	b := local6.As16()
	b[15] = a.As4()[3]
	return netip.AddrFrom16(b)
}

// bothVersions runs a test over IPv4 and over IPv6; at moves the addresses of
// this file to either.
func bothVersions(t *testing.T, test func(t *testing.T, at func(netip.Addr) netip.Addr)) {
	t.Run("IPv4", func(t *testing.T) { test(t, func(a netip.Addr) netip.Addr { return a }) })
	t.Run("IPv6", func(t *testing.T) { test(t, over6) })
}

// peersAt returns the peers with other addresses.
func peersAt(at func(netip.Addr) netip.Addr) (moved []encap.Peer) {
	for _, p := range peers {
		p.Addr = at(p.Addr)
		moved = append(moved, p)
	}
	return moved
}

// headerLen returns the size of the outer header of a datagram.
func headerLen(datagram []byte) int {
	if datagram[0]>>4 == 6 {
		return header.IPv6Len
	}
	return header.IPv4Len
}

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

// packet returns n bytes that begin like an IP packet of a version.
func packet(version byte, n int) []byte {
	b := frame(n)
	if n > 0 {
		b[0] = version<<4 | 5
	}
	return b
}

// outer puts an outer header before a GRE packet.
func outer(src, dst netip.Addr, gre ...[]byte) []byte {
	if src.Is6() {
		b := append(make([]byte, header.IPv6Len), cat(gre...)...)
		header.IPv6Fields{PayloadLength: len(b) - header.IPv6Len, NextHeader: header.ProtoGRE, HopLimit: 64, Src: src, Dst: dst}.Put(b)
		return b
	}
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
	ds, err := u.Receivers()[0].Recv()
	if err != nil || len(ds) != 1 {
		t.Fatalf("Recv = %d datagrams, %v, want 1", len(ds), err)
	}
	return ds[0]
}
