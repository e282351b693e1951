package offload

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"weft/internal/drop"
)

const mtu = 1450

func TestFromWire(t *testing.T) {
	merged4, merged6 := gso(GSOTCPv4, mtu-40), gso(GSOTCPv6, mtu-60)
	complete := func(s spec, h *Header) {}
	set := func(off int, v ...byte) func([]byte) []byte {
		return func(frame []byte) []byte { copy(frame[off:], v); return frame }
	}
	tests := []struct {
		name    string
		spec    spec
		partial bool
		edit    func(frame []byte) []byte
		want    func(s spec, h *Header)
		reason  drop.Reason
	}{
		{"complete", spec{payload: 1000}, false, nil, complete, drop.None},
		{"complete, of the MTU", spec{payload: mtu - 40}, false, nil, complete, drop.None},
		{"complete, of the MTU, tag", spec{tags: 1, payload: mtu - 40}, false, nil, complete, drop.None},
		{"complete, of the MTU, two tags", spec{v6: true, tags: 2, payload: mtu - 60}, false, nil, complete, drop.None},
		{"complete, over the MTU", spec{payload: mtu - 39}, false, nil, complete, drop.InnerBig},
		{"wrong checksum", spec{payload: 1000}, false, set(50, 0x12, 0x34), complete, drop.None},
		{"wrong checksum, over the MTU", spec{payload: 3000}, false, set(50, 0x12, 0x34), complete, drop.InnerBig},

		{"partial", spec{payload: 1000}, true, nil, needsCsum, drop.None},
		{"partial, of the MTU", spec{payload: mtu - 40}, true, nil, needsCsum, drop.None},
		{"partial, one byte over", spec{payload: mtu - 39}, true, nil, merged4, drop.None},
		{"partial, empty", spec{}, true, nil, needsCsum, drop.None},
		{"merged", spec{payload: 40000}, true, nil, merged4, drop.None},
		{"merged, 64 KB", spec{payload: 65495}, true, nil, merged4, drop.None},
		{"merged, CWR", spec{payload: 40000, flags: "CP"}, true, nil, gso(GSOTCPv4|GSOECN, mtu-40), drop.None},
		{"merged, tag", spec{tags: 1, payload: 40000}, true, nil, merged4, drop.None},
		{"merged, options", spec{ipOptions: true, tcpOptions: true, payload: 40000}, true, nil, gso(GSOTCPv4, mtu-56), drop.None},
		{"merged, IPv6", spec{v6: true, payload: 40000}, true, nil, merged6, drop.None},
		{"merged, IPv6, extension headers, two tags", spec{v6: true, tags: 2, ipOptions: true, tcpOptions: true, payload: 40000}, true, nil,
			gso(GSOTCPv6, mtu-88), drop.None},
		{"merged, trailing bytes", spec{payload: 40000, pad: 1}, true, nil, complete, drop.InnerBig},
		{"merged, fragment", spec{payload: 40000}, true, set(20, 0x20), complete, drop.InnerBig},
		{"merged, total length wrong", spec{payload: 40000}, true, set(16, 0x05, 0xaa), complete, drop.InnerBig},

		{"UDP", spec{udp: true, payload: 1000}, false, nil, complete, drop.None},
		{"UDP without checksum", spec{udp: true, payload: 1000}, false, set(40, 0, 0), complete, drop.None},
		{"UDP without checksum, IPv6", spec{udp: true, v6: true, payload: 1000}, false, set(60, 0, 0), complete, drop.None},
		{"UDP partial", spec{udp: true, payload: 1000}, true, nil, needsCsum, drop.None},
		{"UDP partial, IPv6", spec{udp: true, v6: true, payload: 1000}, true, nil, needsCsum, drop.None},
		{"UDP over the MTU", spec{udp: true, payload: 3000}, false, nil, complete, drop.InnerBig},
		{"UDP partial, over the MTU", spec{udp: true, payload: 3000}, true, nil, complete, drop.InnerBig},
		{"UDP length short of the packet", spec{udp: true, payload: 1000}, true, set(38, 0, 100), complete, drop.None},

		{"fragment", spec{payload: 1000}, true, set(20, 0x20), complete, drop.None},
		{"later fragment", spec{payload: 1000}, true, set(20, 0x00, 0x10), complete, drop.None},
		{"padded", spec{payload: 2, pad: 4}, false, nil, complete, drop.None},
		{"padded over the MTU", spec{payload: mtu - 40, pad: 1}, false, nil, complete, drop.InnerBig},
		{"other protocol", spec{payload: 1000}, true, set(23, 132), complete, drop.None},
		{"other protocol, over the MTU", spec{payload: 3000}, true, set(23, 132), complete, drop.InnerBig},
		{"broken IP", spec{payload: 1000}, true, set(14, 0x55), complete, drop.None},
		{"broken TCP", spec{payload: 1000}, true, set(46, 0x40), complete, drop.None},
		{"not IP", spec{payload: mtu - 40}, true, set(12, 0x88, 0x47), complete, drop.None},
		{"not IP, over the MTU", spec{payload: mtu - 39}, true, set(12, 0x88, 0x47), complete, drop.InnerBig},
		{"three tags, over the MTU", spec{tags: 2, payload: mtu - 39}, true, set(20, 0x81, 0), complete, drop.InnerBig},
		{"14 bytes", spec{}, false, func(f []byte) []byte { return f[:14] }, complete, drop.None},
		{"13 bytes", spec{}, false, func(f []byte) []byte { return f[:13] }, complete, drop.InnerRunt},
		{"empty", spec{}, false, func(f []byte) []byte { return nil }, complete, drop.InnerRunt},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			frame := build(t, tt.spec)
			if tt.partial {
				_, frame = partial(t, tt.spec)
			}
			if tt.edit != nil {
				frame = tt.edit(frame)
			}
			var want Header
			tt.want(tt.spec, &want)
			before := slices.Clone(frame)
			got, reason := FromWire(frame, mtu)
			if got != want || reason != tt.reason {
				t.Errorf("FromWire = %+v, %v, want %+v, %v", got, reason, want, tt.reason)
			}
			if !bytes.Equal(frame, before) {
				t.Error("the frame was changed")
			}
			if reason == drop.None && Partial(frame) != want.NeedsCsum() {
				t.Errorf("Partial = %v, want %v", Partial(frame), want.NeedsCsum())
			}
		})
	}
}

// A network whose MTU leaves no room for payload takes no super-frame.
func TestFromWireTinyMTU(t *testing.T) {
	_, frame := partial(t, spec{v6: true, tcpOptions: true, payload: 100})
	if h, reason := FromWire(frame, 72); reason != drop.InnerBig {
		t.Errorf("FromWire = %+v, %v, want %v", h, reason, drop.InnerBig)
	}
	h, reason := FromWire(frame, 73)
	if reason != drop.None || h.GSOSize != 1 || Segments(h, frame) != 100 {
		t.Errorf("FromWire = %+v, %v, want 100 segments", h, reason)
	}
}

// What is cut for the wire and merged again there is the same frame, and what is
// cut out of that are segments as good as the first ones.
func TestFromWireRoundTrip(t *testing.T) {
	for shape := range 24 {
		s := spec{v6: shape&1 != 0, ipOptions: shape&2 != 0, tcpOptions: shape&4 != 0, tags: shape >> 3, payload: 30000, flags: "FPC", id: 7}
		h, frame := super(t, s, mtu-(s.headers()-s.l3()))
		h.GSOType |= GSOECN
		h, reason := Check(h, frame)
		if reason != drop.None {
			t.Fatalf("%+v: Check: %v", s, reason)
		}
		segments := split(h, frame)
		for _, seg := range segments {
			if h, reason := FromWire(seg, mtu); h != (Header{}) || reason != drop.None {
				t.Fatalf("%+v: FromWire of a segment = %+v, %v", s, h, reason)
			}
		}
		merged := merge(t, s, segments)
		if !bytes.Equal(merged, frame) {
			t.Fatalf("%+v: merged frame differs", s)
		}
		got, reason := FromWire(merged, mtu)
		if got != h || reason != drop.None {
			t.Fatalf("%+v: FromWire = %+v, %v, want %+v", s, got, reason, h)
		}
		checkSegments(t, got, merged, split(got, merged))
	}
}

// merge does what the kernel's GRO does (net/ipv4/tcp_offload.c): headers of the
// first segment, payload of all, PSH and FIN of the last, a partial checksum.
func merge(t *testing.T, s spec, segments [][]byte) []byte {
	t.Helper()
	merged := slices.Clone(segments[0])
	for _, seg := range segments[1:] {
		merged = append(merged, seg[s.headers():]...)
		merged[s.l4()+13] |= seg[s.l4()+13]
	}
	if s.v6 {
		binary.BigEndian.PutUint16(merged[s.l3()+4:], uint16(len(merged)-s.l3()-40))
	} else {
		ip := merged[s.l3():s.l4()]
		binary.BigEndian.PutUint16(ip[2:], uint16(len(merged)-s.l3()))
		copy(ip[10:], []byte{0, 0})
		binary.BigEndian.PutUint16(ip[10:], ^onesSum(ip))
	}
	putPseudo(t, merged, s.l4()+16)
	return merged
}

// A complete checksum that happens to equal the pseudo-header sum: whoever
// completes the frame once more gets the same bytes.
func TestFromWireCoincidence(t *testing.T) {
	for _, s := range []spec{{payload: 100}, {v6: true, udp: true, payload: 100}} {
		frame := build(t, s)
		field := frame[s.l4()+s.checksum():]
		copy(field, []byte{0, 0})
		pseudo, l4 := l4Bytes(t, frame)
		want := onesSum(pseudo)
		data := l4[s.headers()-s.l4():]
		for v := range 0x10000 { // look for the two payload bytes that make it so
			binary.BigEndian.PutUint16(data, uint16(v))
			if ^onesSum(slices.Concat(pseudo, l4)) == want {
				break
			}
		}
		copy(frame[s.headers():], data)
		binary.BigEndian.PutUint16(field, want)
		verify(t, frame)
		before := slices.Clone(frame)
		h, reason := FromWire(frame, mtu)
		if !h.NeedsCsum() || reason != drop.None {
			t.Fatalf("FromWire = %+v, %v, want a partial checksum", h, reason)
		}
		if Complete(h, frame); !bytes.Equal(frame, before) {
			t.Errorf("%+v: Complete changed a valid frame", s)
		}
	}
}

func TestFromWirePadded(t *testing.T) {
	for _, s := range []spec{{pad: 6}, {udp: true, payload: 3, pad: 15}, {tags: 1, payload: 1000, pad: 20}} {
		want := build(t, s)
		_, frame := partial(t, s)
		for _, f := range [][]byte{want, frame} {
			for i := range s.pad {
				f[len(f)-1-i] = 0xa5
			}
		}
		if h, reason := FromWire(frame, mtu); h != (Header{}) || reason != drop.None {
			t.Errorf("%+v: FromWire = %+v, %v, want a complete frame", s, h, reason)
		}
		if !bytes.Equal(frame, want) {
			t.Errorf("%+v: frame is %x, want %x", s, frame, want)
		}
	}
}

func TestFromWireNoAllocs(t *testing.T) {
	_, frame := partial(t, spec{v6: true, ipOptions: true, payload: 40000})
	if n := testing.AllocsPerRun(10, func() { FromWire(frame, mtu) }); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func BenchmarkFromWire(b *testing.B) {
	small := build(b, spec{payload: 1400})
	_, big := partial(b, spec{payload: 40000})
	for name, frame := range map[string][]byte{"complete": small, "merged": big} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				FromWire(frame, mtu)
			}
		})
	}
}

// TestRefit cuts what the kernel merged smaller than it was taken for, whether that
// was one packet or many, and leaves everything else alone.
func TestRefit(t *testing.T) {
	const wide, narrow = 9000, 1300
	for shape := range 16 {
		s := spec{v6: shape&1 != 0, tcpOptions: shape&2 != 0, tags: shape >> 2 & 1, payload: 5000, flags: "PC"}
		if shape&8 != 0 {
			s.payload = 30000
		}
		_, frame := partial(t, s)
		h, reason := FromWire(frame, wide)
		if reason != drop.None || h.IsGSO() != (s.payload > wide) {
			t.Fatalf("%+v: FromWire = %+v, %v", s, h, reason)
		}
		got, ok := Refit(h, frame, narrow)
		if !ok || int(got.HdrLen)+int(got.GSOSize) != s.l3()+narrow || got.GSOType&GSOECN == 0 {
			t.Fatalf("%+v: Refit = %+v, %v", s, got, ok)
		}
		segments := split(got, frame)
		for i, seg := range segments {
			if want := s.l3() + narrow; len(seg) > want || i < len(segments)-1 && len(seg) != want {
				t.Errorf("%+v: segment %d has %d bytes, want %d", s, i, len(seg), want)
			}
		}
		if merged := merge(t, s, segments); !bytes.Equal(merged, frame) {
			t.Errorf("%+v: the segments are another frame", s)
		}
		if got, ok := Refit(h, frame, int(h.HdrLen)-s.l3()+47); ok {
			t.Errorf("%+v: Refit to segments of 47 bytes = %+v", s, got)
		}
	}
	datagram, frame := partial(t, spec{udp: true, payload: 5000})
	if got, ok := Refit(datagram, frame, narrow); ok {
		t.Errorf("Refit of a datagram = %+v", got)
	}
	if got, ok := Refit(Header{}, build(t, spec{payload: 5000}), narrow); ok {
		t.Errorf("Refit of a packet that nobody merged = %+v", got)
	}
}
