package encap

import (
	"bytes"
	"encoding/hex"
	"slices"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"weft/internal/drop"
)

// fuzzPeers is a table of one keyed and one keyless peer.
func fuzzPeers(t testing.TB) *peerTable {
	t.Helper()
	tab, err := newPeerTable([]Peer{
		{ID: 1, Addr: addr("10.0.0.2")}, {ID: 2, Addr: addr("10.0.0.3"), Keyless: true}, {ID: 3, Addr: addr("2001:db8::2")},
	}, nil, &peerTable{})
	if err != nil {
		t.Fatal(err)
	}
	return tab
}

// openBytes opens a datagram as Recv does.
func openBytes(peers *peerTable, datagram []byte) (d Datagram) {
	slot := make([]byte, Headroom+len(datagram))
	copy(slot[Headroom:], datagram)
	if len(datagram) > 0 && datagram[0]>>4 == 6 {
		d.open6(peers, slot, len(datagram), false)
	} else {
		d.open(peers, slot, len(datagram), false)
	}
	return d
}

// datagram puts an outer header from 10.0.0.2 before a GRE packet.
func datagram(gre []byte) []byte {
	n := 20 + len(gre)
	head := []byte{0x45, 0, byte(n >> 8), byte(n), 0, 0, 0x40, 0, 64, 47, 0, 0, 10, 0, 0, 2, 10, 0, 0, 1}
	return append(head, gre...)
}

// FuzzDecode opens hostile datagrams. Nothing panics; what is dropped has no
// frame; what is accepted has the header that encoding its fields again gives,
// bits apart that must be ignored.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		"20006558000000070202020202020404040404048899", "00006558", "a0006558000000000000000702020202", "b00065580000000000000007000000010202",
		"3001880b0004123400000001", "40006558", "0800", "", "20000800000000074500001400000000402f00000a0000010a000002",
	} {
		gre, err := hex.DecodeString(s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(datagram(gre))
	}
	f.Add(append([]byte{
		0x60, 0x30, 0, 0, 0, 22, 47, 64, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2,
		0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
	}, 0x20, 0, 0x65, 0x58, 0, 0, 0, 7, 2, 2, 2, 2, 2, 2, 4, 4, 4, 4, 4, 4, 0x88, 0xb5))
	f.Add([]byte{0x46, 0, 0, 28, 0, 0, 0, 0, 64, 47, 0, 0, 10, 0, 0, 2, 10, 0, 0, 1, 1, 1, 1, 1, 0x20, 0, 0x65, 0x58})
	peers := fuzzPeers(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1<<16 {
			return
		}
		d := openBytes(peers, b)
		if d.Reason != drop.None {
			if d.Frame != nil || d.Buf != nil {
				t.Fatalf("%v with a frame", d.Reason)
			}
			return
		}
		MergeECN(d.TOS, d.Proto, slices.Clone(d.Frame))
		if len(d.Buf) != Headroom+len(d.Frame) || !bytes.HasSuffix(d.Buf, d.Frame) || d.Proto == ProtoTEB && len(d.Frame) < 14 {
			t.Fatalf("frame of %d bytes in %d", len(d.Frame), len(d.Buf))
		}
		checkEncodedAgain(t, d, b)
	})
}

// checkEncodedAgain encodes the fields of an accepted datagram.
func checkEncodedAgain(t *testing.T, d Datagram, b []byte) {
	ihl, total := int(b[0]&0xf)*4, int(b[2])<<8|int(b[3])
	if b[0]>>4 == 6 {
		ihl, total = 40, 40+(int(b[4])<<8|int(b[5]))
	}
	g, reason := ParseGRE(b[ihl:total])
	if reason != drop.None {
		t.Fatal(reason)
	}
	fields := GREFields{Protocol: d.Proto, HasChecksum: g.HasChecksum(), HasKey: d.HasKey, Key: d.Key, HasSequence: g.HasSequence()}
	if fields.HasSequence {
		fields.Sequence = g.Sequence()
	}
	got := make([]byte, fields.Len())
	fields.Put(got)
	want := slices.Clone(g[:g.HeaderLen()])
	want[0], want[1] = want[0]&0xf0, 0 // bits 4 and 5 are clear, 6 to 12 ignored, the version is 0
	if fields.HasChecksum {
		copy(want[4:8], []byte{0, 0, 0, 0}) // checksum, and reserved1, which is ignored
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("encoded again\ngot  % x\nwant % x", got, want)
	}
	if !bytes.Equal(d.Frame, g[len(got):]) {
		t.Fatalf("frame % x is not what follows the header in % x", d.Frame, g)
	}
}

// naive is an independent reading of RFC 2784 and RFC 2890, one step per bit.
func naive(gre []byte) (want drop.Reason, key uint32, frame []byte) {
	if len(gre) < 4 {
		return drop.GREShort, 0, nil
	}
	var bits [16]bool
	for i := range bits {
		bits[i] = gre[i/8]&(0x80>>(i%8)) != 0
	}
	switch {
	case bits[13] || bits[14] || bits[15]:
		return drop.GREVersion, 0, nil
	case bits[1]:
		return drop.GRERouting, 0, nil
	case bits[4] || bits[5]:
		return drop.GREReserved, 0, nil
	}
	rest := gre[4:]
	for i, field := range []int{0, 2, 3} { // C, K, S
		if !bits[field] {
			continue
		}
		if len(rest) < 4 {
			return drop.GREShort, 0, nil
		}
		if i == 1 {
			key = uint32(rest[0])<<24 | uint32(rest[1])<<16 | uint32(rest[2])<<8 | uint32(rest[3])
		}
		rest = rest[4:]
	}
	if bits[0] {
		sum := 0
		for i, v := range gre {
			if i%2 == 0 {
				sum += int(v) << 8
			} else {
				sum += int(v)
			}
		}
		if sum%0xffff != 0 {
			return drop.GREChecksum, 0, nil
		}
	}
	switch proto := int(gre[2])<<8 | int(gre[3]); {
	case proto == 0:
		return drop.GREKeepalive, 0, nil
	case proto != 0x6558 && proto != 0x0800 && proto != 0x86dd:
		return drop.GREProto, 0, nil
	case !bits[2]:
		return drop.GREKey, 0, nil
	case proto == 0x6558 && len(rest) < 14:
		return drop.InnerRunt, 0, nil
	}
	return drop.None, key, rest
}

// TestOneBit holds G48: every one-bit flip and every truncation of G02, with and
// without a checksum, judged as the naive reading and gopacket do.
func TestOneBit(t *testing.T) {
	peers := fuzzPeers(t)
	for _, s := range []string{
		"2000655800000007", "a00065580000000000000007", "b0006558000000000000000700000001",
	} {
		head, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		good := head
		for i := range 100 {
			good = append(good, byte(i*3))
		}
		if head[0]&0x80 != 0 {
			PutGREChecksum(good, nil)
		}
		for bit := range len(good) * 8 {
			flipped := slices.Clone(good)
			flipped[bit/8] ^= 0x80 >> (bit % 8)
			judge(t, peers, flipped)
		}
		for n := range len(good) + 1 {
			judge(t, peers, good[:n])
		}
	}
}

func judge(t *testing.T, peers *peerTable, gre []byte) {
	t.Helper()
	want, key, frame := naive(gre)
	d := openBytes(peers, datagram(gre))
	if d.Reason != want || want == drop.None && (d.Key != key || !bytes.Equal(d.Frame, frame)) {
		t.Errorf("% x\ngot  %v, key %d, % x\nwant %v, key %d, % x", gre, d.Reason, d.Key, d.Frame, want, key, frame)
	}
	if want != drop.None || gre[1]&0x80 != 0 { // gopacket reads that bit as in version 1
		return
	}
	g, ok := gopacket.NewPacket(gre, layers.LayerTypeGRE, gopacket.NoCopy).Layer(layers.LayerTypeGRE).(*layers.GRE)
	if !ok || g.Key != key || !bytes.Equal(g.Payload, frame) || uint16(g.Protocol) != d.Proto {
		t.Errorf("% x: gopacket reads %+v", gre, g)
	}
}

// TestCutDatagram: what did not fit into the buffer is too big, not malformed.
func TestCutDatagram(t *testing.T) {
	b := datagram(make([]byte, 100))
	slot := append(make([]byte, Headroom), b[:60]...)
	var d Datagram
	d.open(fuzzPeers(t), slot, 60, true)
	if d.Reason != drop.InnerBig || d.Peer != 1 {
		t.Errorf("got %v from peer %d, want %v from 1", d.Reason, d.Peer, drop.InnerBig)
	}
}
