package encap_test

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"weft/encap"
	"weft/internal/drop"
	"weft/internal/lab"
	"weft/internal/offload"
)

// TestNetnsMerged forces what happens on real links all the time: the receiving
// kernel merges TCP segments inside GRE before the raw socket sees them.
func TestNetnsMerged(t *testing.T) { overBoth(t, testNetnsMerged) }

func testNetnsMerged(t *testing.T, addrA, addrB netip.Addr) {
	for _, tt := range []struct {
		name   string
		peer   encap.Peer
		proto  uint16
		merges bool
	}{
		{"keyed", encap.Peer{}, encap.ProtoTEB, true},
		{"keyless", encap.Peer{Keyless: true}, encap.ProtoTEB, true},
		{"checksum", encap.Peer{Checksum: true}, encap.ProtoTEB, true},
		{"sequence", encap.Peer{Sequence: true}, encap.ProtoTEB, false},
		{"bare IP", encap.Peer{}, encap.ProtoIPv4, true},
		{"bare IP, checksum", encap.Peer{Checksum: true}, encap.ProtoIPv4, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, b := twoHosts(t)
			forceMerging(t, a, b)
			toB, toA := tt.peer, tt.peer
			toB.ID, toB.Addr, toA.ID, toA.Addr = 1, addrB, 1, addrA
			a.open(encap.Config{Local: []netip.Addr{addrA}}, toB)
			b.open(encap.Config{Local: []netip.Addr{addrB}}, toA)

			h, super, payload := tcpSuper(t, 30000, 1380)
			pkt := teb(1, super)
			pkt.Header, pkt.Proto = h, tt.proto
			if got := a.send(pkt); got[0] != drop.None {
				t.Fatalf("sent %v", got)
			}
			ds := b.recv()
			stream := make([]byte, len(payload))
			merged, bytesIn := 0, 0
			for _, d := range ds {
				if d.Reason != drop.None {
					t.Fatalf("datagram of %d bytes: %v", len(d.Frame), d.Reason)
				}
				if d.Proto != tt.proto {
					t.Fatalf("protocol %04x, want %04x", d.Proto, tt.proto)
				}
				if tt.proto != encap.ProtoTEB {
					if len(d.Frame) > 1500 && !offload.PartialBare(d.Proto, d.Frame) {
						t.Errorf("merged packet of %d bytes is not partial", len(d.Frame))
					}
					d.Frame = cat(super[:14], d.Frame)
				}
				// By sequence number: a short last segment with a GRE checksum overtakes the merged ones.
				at := int(binary.BigEndian.Uint32(d.Frame[38:])) - 1000
				bytesIn += copy(stream[at:], d.Frame[54:])
				wire, reason := offload.FromWire(d.Frame, 1450)
				if reason != drop.None {
					t.Fatalf("frame of %d bytes: %v", len(d.Frame), reason)
				}
				if len(d.Frame) <= 1500 {
					continue
				}
				merged++
				if !offload.Partial(d.Frame) || !wire.IsGSO() || !wire.NeedsCsum() || wire.GSOSize == 0 || wire.GSOSize > 1450-40 {
					t.Errorf("merged frame of %d bytes has header %+v", len(d.Frame), wire)
				}
			}
			t.Logf("%d datagrams, %d of them merged", len(ds), merged)
			if (merged > 0) != tt.merges {
				t.Errorf("%d merged datagrams of %d, want any: %v", merged, len(ds), tt.merges)
			}
			if bytesIn != len(payload) || !bytes.Equal(stream, payload) {
				t.Error("the stream is not what was sent")
			}
		})
	}
}

// forceMerging has b's kernel hold packets from a for a while and merge them.
func forceMerging(t *testing.T, a, b *host) {
	t.Helper()
	for _, err := range []error{
		a.SetFeature("under0", lab.TSO, false), // a veth merges only what a peer without TSO sends
		b.SetFeature("under0", lab.GRO, true),
		b.SetLinkFile("under0", "gro_flush_timeout", "5000000"), // ns
		b.SetLinkFile("under0", "napi_defer_hard_irqs", "10"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
}
