package offload

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"weft/internal/drop"
)

// checkSegments compares the segments of a super-frame with the frame: everything
// that a segmenting kernel promises (conformance E14).
func checkSegments(t testing.TB, h Header, frame []byte, segments [][]byte) {
	t.Helper()
	if got, want := len(segments), Segments(h, frame); got != want {
		t.Fatalf("%d segments, Segments says %d", got, want)
	}
	whole := parse(t, frame)
	var joined []byte
	for i, seg := range segments {
		p := verify(t, seg)
		payload := p.TransportLayer().LayerPayload()
		if last := i == len(segments)-1; !last && len(payload) != int(h.GSOSize) || len(payload) == 0 || len(payload) > int(h.GSOSize) {
			t.Fatalf("segment %d of %d has %d bytes of payload, want %d", i, len(segments), len(payload), h.GSOSize)
		}
		if len(seg) > LongestSegment(h, frame) {
			t.Fatalf("segment %d has %d bytes, LongestSegment says %d", i, len(seg), LongestSegment(h, frame))
		}
		checkHeaders(t, whole, p, i, len(segments), len(joined))
		joined = append(joined, payload...)
	}
	if want := whole.TransportLayer().LayerPayload(); !bytes.Equal(joined, want) {
		t.Fatalf("segments hold %d bytes of payload, frame %d, or they differ", len(joined), len(want))
	}
}

// checkHeaders holds segment i of n, whose payload begins at off, to the headers
// of the whole.
func checkHeaders(t testing.TB, whole, seg gopacket.Packet, i, n, off int) {
	t.Helper()
	if got, want := seg.LinkLayer().LayerContents(), whole.LinkLayer().LayerContents(); !bytes.Equal(got, want) {
		t.Fatalf("segment %d: Ethernet header %x, want %x", i, got, want)
	}
	tags := func(p gopacket.Packet) (all []byte) {
		for _, l := range p.Layers() {
			if l.LayerType() == layers.LayerTypeDot1Q {
				all = append(all, l.LayerContents()...)
			}
		}
		return all
	}
	if got, want := tags(seg), tags(whole); !bytes.Equal(got, want) {
		t.Fatalf("segment %d: tags %x, want %x", i, got, want)
	}
	switch want := whole.NetworkLayer().(type) {
	case *layers.IPv4:
		got := seg.NetworkLayer().(*layers.IPv4)
		if got.Id != want.Id+uint16(i) {
			t.Fatalf("segment %d: id %#x, want %#x", i, got.Id, want.Id+uint16(i))
		}
		a, b := slices.Clone(got.Contents), slices.Clone(want.Contents)
		for _, f := range []int{2, 3, 4, 5, 10, 11} { // length, id, checksum
			a[f], b[f] = 0, 0
		}
		if !bytes.Equal(a, b) {
			t.Fatalf("segment %d: IPv4 header %x, want %x", i, a, b)
		}
	case *layers.IPv6:
		a, b := slices.Clone(seg.NetworkLayer().LayerContents()), slices.Clone(want.Contents)
		copy(a[4:6], b[4:6])
		if !bytes.Equal(a, b) {
			t.Fatalf("segment %d: IPv6 header %x, want %x", i, a, b)
		}
	}
	want, ok := whole.TransportLayer().(*layers.TCP)
	if !ok {
		return // lengths and checksum are all that differs, and verified
	}
	got := seg.TransportLayer().(*layers.TCP)
	if got.Seq != want.Seq+uint32(off) {
		t.Fatalf("segment %d: seq %d, want %d", i, got.Seq, want.Seq+uint32(off))
	}
	last := i == n-1
	if got.FIN != (want.FIN && last) || got.PSH != (want.PSH && last) || got.CWR != (want.CWR && i == 0) || got.ECE != want.ECE || !got.ACK {
		t.Fatalf("segment %d of %d: FIN %v PSH %v CWR %v ECE %v", i, n, got.FIN, got.PSH, got.CWR, got.ECE)
	}
	a, b := slices.Clone(got.Contents), slices.Clone(want.Contents)
	for _, f := range []int{4, 5, 6, 7, 13, 16, 17} { // seq, flags, checksum
		a[f], b[f] = 0, 0
	}
	if !bytes.Equal(a, b) {
		t.Fatalf("segment %d: TCP header %x, want %x", i, a, b)
	}
}

func TestSplit(t *testing.T) {
	tests := []struct {
		name string
		spec spec
		size int
		want int // segments
	}{
		{"TCP over IPv4", spec{payload: 10000, flags: "FPCE"}, 1400, 8},
		{"exact multiple", spec{payload: 7000, flags: "P"}, 1400, 5},
		{"one byte over", spec{payload: 7001, flags: "F"}, 1400, 6},
		{"two segments", spec{payload: 1401, flags: "C"}, 1400, 2},
		{"odd segments", spec{payload: 10000}, 1399, 8},
		{"smallest segments", spec{payload: 10000}, 48, 209},
		{"sequence number and id wrap", spec{payload: 20000, seq: 0xffff_f000, id: 0xfffd}, 1400, 15},
		{"TCP options", spec{payload: 10000, tcpOptions: true}, 1388, 8},
		{"IPv4 options", spec{payload: 10000, ipOptions: true, flags: "P"}, 1388, 8},
		{"one tag", spec{payload: 10000, tags: 1}, 1400, 8},
		{"two tags, all options", spec{payload: 10000, tags: 2, ipOptions: true, tcpOptions: true}, 1400, 8},
		{"64 KB", spec{payload: 65535 - 40, flags: "FPC"}, 1410, 47},
		{"TCP over IPv6", spec{v6: true, payload: 10000, flags: "FPCE"}, 1390, 8},
		{"IPv6 extension headers", spec{v6: true, ipOptions: true, tcpOptions: true, payload: 10000}, 1390, 8},
		{"IPv6, two tags", spec{v6: true, tags: 2, payload: 60000}, 1390, 44},
		{"UDP over IPv4", spec{udp: true, payload: 10000, id: 0xfffe}, 1400, 8},
		{"UDP over IPv6, tagged", spec{udp: true, v6: true, tags: 1, payload: 9999}, 1233, 9},
		{"most UDP segments", spec{udp: true, payload: 128}, 1, 128},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h, frame := super(t, tt.spec, tt.size)
			h, reason := Check(h, frame)
			if reason != drop.None {
				t.Fatalf("Check: %v", reason)
			}
			before := slices.Clone(frame)
			segments := split(h, frame)
			if len(segments) != tt.want {
				t.Errorf("%d segments, want %d", len(segments), tt.want)
			}
			checkSegments(t, h, frame, segments)
			if !bytes.Equal(frame, before) {
				t.Error("the frame was changed")
			}
		})
	}
}

// Of the segments' checksums one in 65,536 is 0, which UDP must not send.
func TestSplitUDPZeroChecksum(t *testing.T) {
	s := spec{udp: true, payload: 200}
	h, frame := super(t, s, 100)
	h, _ = Check(h, frame)
	for range 0x10000 {
		first := split(h, frame)[0]
		if sum := first[s.l4()+6 : s.l4()+8]; sum[0] == 0xff && sum[1] == 0xff {
			verify(t, first)
			return
		}
		if frame[s.headers()]++; frame[s.headers()] == 0 {
			frame[s.headers()+1]++
		}
	}
	t.Error("no payload gives the checksum 0xffff")
}

// A frame that is no super-frame comes out whole, and an empty one not at all.
func TestSplitPlain(t *testing.T) {
	frame := build(t, spec{payload: 100})
	got := split(Header{}, frame)
	if len(got) != 1 || !bytes.Equal(got[0], frame) {
		t.Errorf("%d pieces, want the frame itself", len(got))
	}
	if got := Segments(Header{}, frame); got != 1 {
		t.Errorf("Segments = %d, want 1", got)
	}
	if got := LongestSegment(Header{}, frame); got != len(frame) {
		t.Errorf("LongestSegment = %d, want %d", got, len(frame))
	}
	var s Splitter
	if _, _, ok := s.Next(nil); ok {
		t.Error("the zero Splitter has a segment")
	}
	// Reused after being left in the middle of a super-frame.
	h, big := super(t, spec{v6: true, payload: 5000}, 1000)
	h, _ = Check(h, big)
	s.Init(h, big)
	s.Next(make([]byte, MaxHeaders))
	s.Init(Header{}, frame)
	n, payload, ok := s.Next(make([]byte, MaxHeaders))
	if !ok || n != 0 || !bytes.Equal(payload, frame) {
		t.Errorf("reused Splitter: %d header bytes, %d of payload, %v", n, len(payload), ok)
	}
}

// For every shape of frame and many sizes, the segments are the frame again.
func TestSplitAllShapes(t *testing.T) {
	for shape := range 32 {
		s := spec{v6: shape&1 != 0, udp: shape&2 != 0, ipOptions: shape&4 != 0, tcpOptions: shape&8 != 0, tags: shape >> 4, flags: "FPC"}
		for _, size := range []int{48, 49, 536, 1447} {
			for _, payload := range []int{size + 1, 2 * size, 3*size - 1} {
				s.payload = payload
				h, frame := super(t, s, size)
				h, reason := Check(h, frame)
				if reason != drop.None {
					t.Fatalf("%+v: Check: %v", s, reason)
				}
				checkSegments(t, h, frame, split(h, frame))
			}
		}
	}
}

func TestSplitNoAllocs(t *testing.T) {
	h, frame := super(t, spec{payload: 60000}, 1400)
	hdr := make([]byte, MaxHeaders)
	s := new(Splitter)
	allocs := testing.AllocsPerRun(10, func() {
		h, _ := Check(h, frame)
		for s.Init(h, frame); ; {
			if _, _, ok := s.Next(hdr); !ok {
				return
			}
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations, want 0", allocs)
	}
}

func BenchmarkSplit(b *testing.B) {
	for _, s := range []spec{{payload: 65000, tcpOptions: true}, {v6: true, payload: 65000, tcpOptions: true}, {udp: true, payload: 65000}} {
		b.Run(fmt.Sprintf("v6=%v,udp=%v", s.v6, s.udp), func(b *testing.B) {
			h, frame := super(b, s, 1398)
			h, _ = Check(h, frame)
			hdr := make([]byte, MaxHeaders)
			splitter := new(Splitter)
			b.SetBytes(int64(len(frame)))
			for b.Loop() {
				for splitter.Init(h, frame); ; {
					if _, _, ok := splitter.Next(hdr); !ok {
						break
					}
				}
			}
		})
	}
}
