package offload

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"

	"weft/internal/drop"
	"weft/internal/header"
)

// withHeader returns h and the frame as one buffer.
func withHeader(h Header, frame []byte) []byte {
	b := make([]byte, HeaderLen+len(frame))
	h.Put(b)
	copy(b[HeaderLen:], frame)
	return b
}

// joined returns what writev(2) would hand to a TAP.
func joined(it Item) (b []byte) {
	for _, v := range it.Vector {
		b = append(b, unsafe.Slice(v.Base, v.Len)...)
	}
	return b
}

// fixSums makes the checksums of a TCP frame right.
func fixSums(frame []byte) {
	p, _, ok := ipPacket(frame)
	if !ok {
		return
	}
	if !p.v6 {
		ip := frame[p.l3:p.l4]
		binary.BigEndian.PutUint16(ip[10:], 0)
		binary.BigEndian.PutUint16(ip[10:], ^onesSum(ip))
	}
	l4 := frame[p.l4:p.end]
	binary.BigEndian.PutUint16(l4[16:], 0)
	sum := uint32(onesSum(l4)) + p.pseudoSum(frame, len(l4))
	binary.BigEndian.PutUint16(l4[16:], ^header.Fold(sum))
}

// What a Splitter took apart becomes the same super-frame again, byte for byte,
// virtio header included.
func TestMergeRejoinsSplit(t *testing.T) {
	for shape := range 12 {
		s := spec{v6: shape&1 != 0, tcpOptions: shape&2 != 0, tags: shape / 4, id: 0xfffe, seq: 0xffff_ff00}
		for _, flags := range []string{"", "P"} {
			for _, size := range []int{48, 49, 1001, 1398} {
				for _, payload := range []int{size + 1, 2 * size, 5*size - 1, min(64*size, 65000)} {
					s.payload, s.flags = payload, flags
					h, frame := super(t, s, size)
					h, reason := Check(h, frame)
					if reason != drop.None {
						t.Fatal(reason)
					}
					m := new(Merger)
					segments, total := split(h, frame), 0
					for _, seg := range segments {
						m.Add(3, withHeader(Header{}, seg))
						total += len(seg)
					}
					if m.Len() != 1 {
						t.Fatalf("%+v in segments of %d: %d items, want 1", s, size, m.Len())
					}
					it := m.Item(0)
					if it.To != 3 || it.Frames != len(segments) || it.Bytes != total || len(it.Vector) != len(segments)+1 {
						t.Errorf("%+v: item for %d with %d frames, %d bytes, %d parts", s, it.To, it.Frames, it.Bytes, len(it.Vector))
					}
					if got, want := joined(it), withHeader(h, frame); !bytes.Equal(got, want) {
						t.Fatalf("%+v in segments of %d: joined %x\nwant %x", s, size, got[:100], want[:100])
					}
				}
			}
		}
	}
}

// Every rule by itself: three segments in a row, the middle one changed.
func TestMergeRules(t *testing.T) {
	v4, v6 := spec{tcpOptions: true, tags: 1, payload: 3000, id: 9}, spec{v6: true, payload: 3000}
	put16 := binary.BigEndian.PutUint16
	tests := []struct {
		name   string
		spec   spec
		change func(buf, ip, tcp []byte) // checksums are made right afterwards
		want   string                    // frames of each item
	}{
		{"nothing", v4, func(_, _, _ []byte) {}, "3"},
		{"nothing, IPv6", v6, func(_, _, _ []byte) {}, "3"},
		{"PSH ends", v4, func(_, _, tcp []byte) { tcp[13] |= 8 }, "2 1"},
		{"id of DF", v4, func(_, ip, _ []byte) { put16(ip[4:], 77) }, "3"},
		{"DF", v4, func(_, ip, _ []byte) { ip[6] ^= 0x40 }, "1 1 1"},
		{"reserved flag of IPv4", v4, func(_, ip, _ []byte) { ip[6] ^= 0x80 }, "1 1 1"},
		{"fragment", v4, func(_, ip, _ []byte) { ip[6] ^= 0x20 }, "1 1 1"},
		{"TOS", v4, func(_, ip, _ []byte) { ip[1] = 4 }, "1 1 1"},
		{"ECN", v4, func(_, ip, _ []byte) { ip[1] = 3 }, "1 1 1"},
		{"TTL", v4, func(_, ip, _ []byte) { ip[8]-- }, "1 1 1"},
		{"traffic class", v6, func(_, ip, _ []byte) { ip[1] ^= 0x10 }, "1 1 1"},
		{"flow label", v6, func(_, ip, _ []byte) { ip[3]++ }, "1 1 1"},
		{"hop limit", v6, func(_, ip, _ []byte) { ip[7]-- }, "1 1 1"},
		{"destination options", v6, func(_, ip, _ []byte) { ip[6] = 60; ip[40], ip[41] = 6, 0 }, "1 1 1"},
		{"other source", v4, func(_, ip, _ []byte) { ip[15]++ }, "1 1 1"}, // of another flow; the last does not carry on
		{"other destination, IPv6", v6, func(_, ip, _ []byte) { ip[39]++ }, "1 1 1"},
		{"source MAC", v4, func(buf, _, _ []byte) { buf[HeaderLen+11]++ }, "1 1 1"},
		{"VLAN priority", v4, func(buf, _, _ []byte) { buf[HeaderLen+14] ^= 0x20 }, "1 1 1"},
		{"port", v4, func(_, _, tcp []byte) { tcp[1]++ }, "1 1 1"},
		{"gap", v4, func(_, _, tcp []byte) { tcp[7]++ }, "1 1 1"},
		{"ACK number", v4, func(_, _, tcp []byte) { tcp[11]++ }, "1 1 1"},
		{"window", v4, func(_, _, tcp []byte) { tcp[15]++ }, "1 1 1"},
		{"urgent pointer", v4, func(_, _, tcp []byte) { tcp[19]++ }, "1 1 1"},
		{"options", v4, func(_, _, tcp []byte) { tcp[31]++ }, "1 1 1"},
		{"fewer options", v4, func(_, _, tcp []byte) { tcp[12] -= 0x10 }, "1 1 1"},
		{"fewer options, as much payload", v4, func(_, ip, tcp []byte) { tcp[12] -= 0x10; put16(ip[2:], 1048) }, "1 1 1"},
		{"reserved bit of TCP", v4, func(_, _, tcp []byte) { tcp[12] |= 1 }, "1 1 1"},
		{"FIN", v4, func(_, _, tcp []byte) { tcp[13] |= 1 }, "1 1 1"},
		{"SYN", v4, func(_, _, tcp []byte) { tcp[13] |= 2 }, "1 1 1"},
		{"RST", v4, func(_, _, tcp []byte) { tcp[13] |= 4 }, "1 1 1"},
		{"URG", v4, func(_, _, tcp []byte) { tcp[13] |= 0x20 }, "1 1 1"},
		{"ECE", v4, func(_, _, tcp []byte) { tcp[13] |= 0x40 }, "1 1 1"},
		{"CWR", v4, func(_, _, tcp []byte) { tcp[13] |= 0x80 }, "1 1 1"},
		{"no ACK", v4, func(_, _, tcp []byte) { tcp[13] &^= 0x10 }, "1 1 1"},
		{"shorter ends", v4, func(_, ip, _ []byte) { put16(ip[2:], 51+500) }, "2 1"},
		{"pure ACK", v4, func(_, ip, _ []byte) { put16(ip[2:], 52) }, "1 1 1"},
		{"headers cut off", v4, func(_, ip, _ []byte) { put16(ip[2:], 51) }, "1 1 1"},
		{"partial checksum", v4, func(buf, _, _ []byte) { buf[0] = FlagNeedsCsum }, "1 1 1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h, frame := super(t, tt.spec, 1000)
			h, _ = Check(h, frame)
			m := new(Merger)
			for i, seg := range split(h, frame) {
				buf := withHeader(Header{}, seg)
				if i == 1 {
					tt.change(buf, buf[HeaderLen+tt.spec.l3():], buf[HeaderLen+tt.spec.l4():])
					fixSums(buf[HeaderLen:])
				}
				m.Add(1, buf)
			}
			if got := frameCounts(m); got != tt.want {
				t.Errorf("frames of items = %s, want %s", got, tt.want)
			}
		})
	}
}

func frameCounts(m *Merger) string {
	var counts []int
	for i := range m.Len() {
		counts = append(counts, m.Item(i).Frames)
	}
	s := fmt.Sprint(counts)
	return s[1 : len(s)-1]
}

// A wrong checksum anywhere keeps a segment by itself, the first one too.
func TestMergeVerifiesChecksums(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		s := spec{v6: v6, payload: 3000, seq: 1}
		places := []int{s.l4() + 16, s.headers(), s.headers() + 999} // field and payload
		if !v6 {
			places = append(places, s.l3()+10)
		}
		for i, want := range []string{"1 2", "1 1 1", "2 1"} {
			for _, at := range places {
				h, frame := super(t, s, 1000)
				h, _ = Check(h, frame)
				m := new(Merger)
				for j, seg := range split(h, frame) {
					if i == j {
						seg[at] ^= 0x10
					}
					m.Add(1, withHeader(Header{}, seg))
				}
				if got := frameCounts(m); got != want {
					t.Errorf("v6=%v, byte %d of segment %d is wrong: frames of items = %s, want %s", v6, at, i, got, want)
				}
			}
		}
	}
}

func TestMergeBounds(t *testing.T) {
	// segments returns n segments of size bytes, as if of one flow.
	segments := func(s spec, n, size int) (bufs [][]byte) {
		s.payload = size
		for range n {
			bufs = append(bufs, withHeader(Header{}, build(t, s)))
			s.seq += uint32(size)
			s.id++
		}
		return bufs
	}
	tests := []struct {
		name string
		bufs [][]byte
		want string
	}{
		{"IPv4 of 65,535 bytes", segments(spec{}, 5, 13099), "5"},
		{"IPv4 of 65,540 bytes", segments(spec{}, 5, 13100), "4 1"},
		{"IPv6 of 65,535 bytes", segments(spec{v6: true}, 5, 13095), "5"},
		{"IPv6 of 65,540 bytes", segments(spec{v6: true}, 5, 13096), "4 1"},
		{"most segments", segments(spec{}, 64, 100), "64"},
		{"small segments", segments(spec{}, 3, 48), "3"},
		{"smaller than a kernel sends", segments(spec{}, 3, 47), "1 1 1"},
		{"longer follows", slices.Concat(segments(spec{}, 1, 100), segments(spec{seq: 100}, 2, 101)), "1 2"},
		{"padding", slices.Concat(segments(spec{}, 1, 100), segments(spec{seq: 100, pad: 5}, 1, 1)), "2"},
	}
	for _, tt := range tests {
		m := new(Merger)
		for _, buf := range tt.bufs {
			if !m.Add(1, buf) {
				t.Fatalf("%s: full after %d frames", tt.name, m.used)
			}
		}
		if got := frameCounts(m); got != tt.want {
			t.Errorf("%s: frames of items = %s, want %s", tt.name, got, tt.want)
		}
		for i := range m.Len() {
			b := joined(m.Item(i))
			h := ParseHeader(b)
			if got, reason := Check(h, b[HeaderLen:]); got != h || reason != drop.None || len(b) > HeaderLen+MaxFrame {
				t.Errorf("%s: Check(%+v) of %d bytes = %+v, %v", tt.name, h, len(b), got, reason)
			}
		}
	}

	// Frames by number, flows by number, destinations.
	m, full := new(Merger), segments(spec{}, 65, 100)
	for i, buf := range full {
		if got, want := m.Add(1, buf), i < MergeFrames; got != want {
			t.Errorf("Add of frame %d = %v, want %v", i, got, want)
		}
	}
	m.Reset()
	if m.Len() != 0 || !m.Add(1, full[64]) || m.Len() != 1 {
		t.Errorf("after Reset and Add: %d items, want 1", m.Len())
	}
	m.Reset()
	for _, buf := range full[:3] {
		for to := range uint16(9) {
			m.Add(to, buf)
		}
	}
	if got := m.Len(); got != 27 {
		t.Errorf("9 flows in turn: %d items, want 27: each ends the oldest", got)
	}
	m.Reset()
	for _, buf := range full[:3] {
		for to := range uint16(8) {
			m.Add(to, buf)
		}
	}
	for i := range m.Len() {
		if it := m.Item(i); int(it.To) != i || it.Frames != 3 {
			t.Errorf("8 flows in turn: item %d has %d frames for %d, want 3", i, it.Frames, it.To)
		}
	}
}

// What is of no use to join passes as it is, in its place.
func TestMergePassesOthers(t *testing.T) {
	h, super := super(t, spec{payload: 5000}, 1000)
	h, _ = Check(h, super)
	frames := [][]byte{
		withHeader(h, super),
		withHeader(Header{}, build(t, spec{udp: true, payload: 100})),
		withHeader(Header{}, build(t, spec{ipOptions: true, payload: 100})),
		withHeader(Header{}, build(t, spec{v6: true, ipOptions: true, payload: 100})),
		withHeader(Header{}, make([]byte, 60)),
		withHeader(Header{}, make([]byte, 13)),
		withHeader(Header{}, nil),
	}
	m := new(Merger)
	for _, buf := range frames {
		m.Add(1, buf)
	}
	for i, buf := range frames {
		it := m.Item(i)
		if it.Frames != 1 || len(it.Vector) != 1 || it.Vector[0].Base != &buf[0] || int(it.Vector[0].Len) != len(buf) || it.Bytes != len(buf)-HeaderLen {
			t.Errorf("frame %d: item %+v", i, it)
		}
	}
}

// Of a packet whose ports are not where they are looked for, it is not known
// which flow it ends: nothing overtakes it.
func TestMergeUnclearEndsAll(t *testing.T) {
	fragment := build(t, spec{v6: true, ipOptions: true, payload: 100})
	fragment[14+40], fragment[14+6] = 60, 44 // a fragment header before options
	fragment[14+43] = 8
	last := build(t, spec{payload: 100})
	last[14+7], last[34] = 8, 99 // data where the ports would be
	tests := []struct {
		name  string
		frame []byte
		want  string
	}{
		{"UDP", build(t, spec{udp: true, payload: 100}), "2 1"},
		{"IPv4 options", build(t, spec{ipOptions: true, payload: 100}), "1 1 1"},
		{"IPv6 options", build(t, spec{v6: true, ipOptions: true, payload: 100}), "1 1 1"},
		{"IPv4 fragment", last, "1 1 1"},
		{"IPv6 fragment", fragment, "1 1 1"},
	}
	for _, tt := range tests {
		m := new(Merger)
		m.Add(1, withHeader(Header{}, build(t, spec{payload: 100})))
		m.Add(1, withHeader(Header{}, tt.frame))
		m.Add(1, withHeader(Header{}, build(t, spec{payload: 100, seq: 100})))
		if got := frameCounts(m); got != tt.want {
			t.Errorf("%s between two segments: frames of items = %s, want %s", tt.name, got, tt.want)
		}
	}
}

// Without DF a kernel that cuts the super-frame again counts identifications up:
// they must have been so.
func TestMergeWithoutDF(t *testing.T) {
	for _, tt := range []struct {
		ids  []uint16
		want string
	}{
		{[]uint16{0xffff, 0, 1}, "3"},
		{[]uint16{5, 7, 7}, "1 1 1"},
		{[]uint16{5, 5, 6}, "1 2"},
	} {
		m := new(Merger)
		for i, id := range tt.ids {
			frame := build(t, spec{payload: 100, seq: uint32(100 * i), id: id})
			frame[14+6] = 0
			fixSums(frame)
			m.Add(1, withHeader(Header{}, frame))
		}
		if got := frameCounts(m); got != tt.want {
			t.Errorf("identifications %d: frames of items = %s, want %s", tt.ids, got, tt.want)
		}
	}
}

// Whatever arrives: of each flow the segments come out as they came, in order.
func TestMergeKeepsFlows(t *testing.T) {
	most := 0
	for seed := range uint64(400) {
		rng := rand.New(rand.NewPCG(seed, 1))
		most = max(most, checkTraffic(t, rng.IntN))
	}
	if most < 8 {
		t.Errorf("at most %d frames were joined: nothing is proven", most)
	}
}

// checkTraffic makes up a batch, merges it and compares; pick returns a number
// below n. It returns the frames of the largest item.
func checkTraffic(t *testing.T, pick func(n int) int) (most int) {
	t.Helper()
	m := new(Merger)
	in, out := map[string][][]byte{}, map[string][][]byte{}
	var before, after [][]byte
	for _, f := range traffic(t, pick) {
		before, after = append(before, slices.Clone(f.buf)), append(after, f.buf)
		frame := f.buf[HeaderLen:]
		in[flowOf(f.to, frame)] = append(in[flowOf(f.to, frame)], lossless(ParseHeader(f.buf), frame)...)
		if !m.Add(f.to, f.buf) {
			t.Fatalf("full after %d frames", len(before)-1)
		}
	}
	frames, size := 0, 0
	for i := range m.Len() {
		it := m.Item(i)
		b := joined(it)
		h, frame := ParseHeader(b), b[HeaderLen:]
		if it.Frames > 1 {
			checkPromises(t, h, frame)
			if got, reason := Check(h, slices.Clone(frame)); got != h || reason != drop.None || Segments(h, frame) != it.Frames {
				t.Fatalf("item of %d frames has %+v; Check says %+v, %v", it.Frames, h, got, reason)
			}
		}
		out[flowOf(it.To, frame)] = append(out[flowOf(it.To, frame)], lossless(h, frame)...)
		frames, size, most = frames+it.Frames, size+it.Bytes, max(most, it.Frames)
	}
	for flow, want := range in {
		if !slices.EqualFunc(out[flow], want, bytes.Equal) {
			t.Fatalf("flow %x: %d segments became %d, or they differ", flow, len(want), len(out[flow]))
		}
	}
	if len(out) > len(in) || frames != len(before) {
		t.Fatalf("%d flows became %d, %d frames %d", len(in), len(out), len(before), frames)
	}
	for i := range before {
		size -= len(before[i]) - HeaderLen
		if !bytes.Equal(before[i], after[i]) {
			t.Fatal("a frame was changed")
		}
	}
	if size != 0 {
		t.Fatalf("items say %d bytes more than came", size)
	}
	return most
}

// flowOf names the flow of a frame, "" where it is not TCP.
func flowOf(to uint16, frame []byte) string {
	if len(frame) < header.EthernetLen {
		return ""
	}
	p, _, ok := ipPacket(frame)
	if !ok || p.proto != header.ProtoTCP || p.end < p.l4+4 {
		return ""
	}
	addresses := frame[p.l3+12 : p.l3+20]
	if p.v6 {
		addresses = frame[p.l3+8 : p.l3+40]
	}
	return fmt.Sprintf("%d %x %x", to, addresses, frame[p.l4:p.l4+4])
}

// lossless returns the segments of a frame without what may get lost: padding,
// and the identification beside DF.
func lossless(h Header, frame []byte) [][]byte {
	segments := split(h, frame)
	for i, seg := range segments {
		if len(seg) < header.EthernetLen {
			continue
		}
		p, _, ok := ipPacket(seg)
		if !ok {
			continue
		}
		seg = seg[:p.end]
		if ip := seg[p.l3:]; !p.v6 && ip[6]&0x40 != 0 {
			check := header.Update(binary.BigEndian.Uint16(ip[10:]), binary.BigEndian.Uint16(ip[4:]), 0)
			binary.BigEndian.PutUint16(ip[10:], check)
			binary.BigEndian.PutUint16(ip[4:], 0)
		}
		segments[i] = seg
	}
	return segments
}

// sent is one frame of made-up traffic.
type sent struct {
	to  uint16
	buf []byte
}

// templates are headers of flows, by shape.
var templates = [][]byte{}

// traffic makes up a batch of a few flows that mostly go well.
func traffic(t *testing.T, pick func(n int) int) (batch []sent) {
	if len(templates) == 0 {
		for shape := range 8 {
			s := spec{v6: shape&1 != 0, tcpOptions: shape&2 != 0, tags: shape >> 2, payload: 64}
			templates = append(templates, build(t, s)[:s.headers()])
		}
	}
	type flow struct {
		shape, size int
		port        byte
		seq         uint32
		id          uint16
		df          bool
	}
	flows := make([]flow, 1+pick(10))
	for i := range flows {
		flows[i] = flow{shape: pick(len(templates)), size: 40 + pick(100), port: byte(pick(6)), seq: uint32(pick(2)) * 0xffff_ff80, df: pick(2) == 0}
	}
	for len(batch) < MergeFrames {
		f := &flows[pick(len(flows))]
		for range 1 + pick(10) {
			size, odd := f.size, pick(40)
			if odd == 0 {
				size = pick(2 * f.size)
			}
			frame := append(slices.Clone(templates[f.shape]), make([]byte, size)...)
			for i := range size {
				frame[len(frame)-size+i] = byte(int(f.seq) + i)
			}
			l3 := 14 + f.shape>>2*4
			ip, tcp := frame[l3:], frame[l3+20:]
			if ip[0]>>4 == 4 {
				binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
				binary.BigEndian.PutUint16(ip[4:], f.id)
				if !f.df {
					ip[6] = 0
				}
			} else {
				binary.BigEndian.PutUint16(ip[4:], uint16(len(ip)-40))
				tcp = frame[l3+40:]
			}
			tcp[1] = f.port
			binary.BigEndian.PutUint32(tcp[4:], f.seq)
			f.seq += uint32(size)
			f.id++
			h := Header{}
			switch odd {
			case 1:
				tcp[13] |= header.TCPPsh
			case 2: // any byte of the headers
				i := pick(len(frame) - size)
				frame[i] ^= byte(1 << pick(8))
				if len(frame) > 120 && pick(2) == 0 {
					break
				}
				batch = append(batch, sent{uint16(pick(2)), withHeader(h, frame)})
				if len(batch) == MergeFrames {
					return batch
				}
				continue // its checksums are wrong, mostly
			case 3: // lost
				continue
			case 4:
				f.id += uint16(pick(3))
			}
			if p, _, ok := ipPacket(frame); ok && p.proto == header.ProtoTCP && p.end >= p.l4+header.TCPLen {
				fixSums(frame)
			}
			switch odd {
			case 5:
				frame[pick(len(frame))]++
			case 6:
				frame = append(frame, make([]byte, pick(9))...)
			case 7:
				h, _ = FromWire(frame, 1500)
			case 8:
				frame = frame[:pick(len(frame))]
			}
			to := uint16(1)
			if odd == 9 {
				to = 2
			}
			batch = append(batch, sent{to, withHeader(h, frame)})
			switch n := len(batch); {
			case odd == 10 && n > 1: // reordered
				batch[n-1], batch[n-2] = batch[n-2], batch[n-1]
			case odd == 11 && n < MergeFrames: // twice
				batch = append(batch, sent{to, slices.Clone(batch[n-1].buf)})
			}
			if len(batch) == MergeFrames {
				return batch
			}
		}
	}
	return batch
}

func TestMergeNoAllocs(t *testing.T) {
	m, bufs := mergeBatch(t, spec{payload: 1400, tcpOptions: true})
	allocs := testing.AllocsPerRun(100, func() {
		m.Reset()
		for _, buf := range bufs {
			m.Add(1, buf)
		}
		for i := range m.Len() {
			if m.Item(i).Frames != len(bufs) {
				t.Fatal("not joined")
			}
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations, want 0", allocs)
	}
}

// mergeBatch returns 16 segments in a row.
func mergeBatch(t testing.TB, s spec) (*Merger, [][]byte) {
	var bufs [][]byte
	for range 16 {
		bufs = append(bufs, withHeader(Header{}, build(t, s)))
		s.seq += uint32(s.payload)
		s.id++
	}
	return new(Merger), bufs
}

// BenchmarkMerge joins 16 segments into one super-frame; "alone" are 16 that
// can not be joined.
func BenchmarkMerge(b *testing.B) {
	for name, s := range map[string]spec{
		"v4":    {payload: 1400, tcpOptions: true},
		"v6":    {v6: true, payload: 1400, tcpOptions: true},
		"alone": {payload: 1400, tcpOptions: true, flags: "P"},
		"udp":   {payload: 1400, udp: true},
	} {
		b.Run(name, func(b *testing.B) {
			m, bufs := mergeBatch(b, s)
			for b.Loop() {
				m.Reset()
				for _, buf := range bufs {
					m.Add(1, buf)
				}
				for i := range m.Len() {
					m.Item(i)
				}
			}
		})
	}
}
