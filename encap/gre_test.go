package encap_test

import (
	"bytes"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"weft/encap"
	"weft/internal/drop"
)

// TestGREFields writes every combination of options and compares with gopacket.
func TestGREFields(t *testing.T) {
	for bits := range 8 {
		f := encap.GREFields{
			Protocol: encap.ProtoTEB, Key: 0x01020304, Sequence: 0xfffefdfc,
			HasChecksum: bits&1 != 0, HasKey: bits&2 != 0, HasSequence: bits&4 != 0,
		}
		got := bytes.Repeat([]byte{0xee}, f.Len())
		f.Put(got)
		got = append(got, frame(61)...)
		if f.HasChecksum {
			encap.PutGREChecksum(got[:f.Len()], got[f.Len():])
		}

		want := gopacket.NewSerializeBuffer()
		err := gopacket.SerializeLayers(want, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, &layers.GRE{
			Protocol: layers.EthernetTypeTransparentEthernetBridging, Key: f.Key, Seq: f.Sequence,
			ChecksumPresent: f.HasChecksum, KeyPresent: f.HasKey, SeqPresent: f.HasSequence,
		}, gopacket.Payload(frame(61)))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want.Bytes()) {
			t.Errorf("%+v\ngot  % x\nwant % x", f, got, want.Bytes())
		}

		g, reason := encap.ParseGRE(got)
		if reason != drop.None {
			t.Fatalf("%+v: %v", f, reason)
		}
		if g.HeaderLen() != f.Len() || g.Protocol() != f.Protocol || !bytes.Equal(g.Payload(), frame(61)) ||
			g.HasChecksum() != f.HasChecksum || g.HasKey() != f.HasKey || g.HasSequence() != f.HasSequence ||
			f.HasChecksum && !g.ChecksumOK() || f.HasKey && g.Key() != f.Key || f.HasSequence && g.Sequence() != f.Sequence {
			t.Errorf("%+v read back as % x", f, g[:g.HeaderLen()])
		}
	}
}

// TestGREChecksumParts cuts a packet in two at every place, odd ones included.
func TestGREChecksumParts(t *testing.T) {
	whole := withChecksum(unhex(t, "a000 6558 0000 0000 00000007"), frame(61))
	for cut := 8; cut <= len(whole); cut++ {
		head, tail := cat(whole[:cut]), whole[cut:]
		head[4], head[5] = 0, 0
		encap.PutGREChecksum(head, tail)
		if !bytes.Equal(head, whole[:cut]) {
			t.Errorf("cut at %d: got %x, want %x", cut, head[4:6], whole[4:6])
		}
	}
}
