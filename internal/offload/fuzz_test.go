package offload

import (
	"slices"
	"testing"

	"weft/internal/drop"
	"weft/internal/header"
)

// shapes are seeds: one frame of each kind, with the header that fits it.
func shapes(f *testing.F, add func(h Header, frame []byte)) {
	for shape := range 16 {
		s := spec{v6: shape&1 != 0, udp: shape&2 != 0, ipOptions: shape&4 != 0, tags: shape >> 3, tcpOptions: true, flags: "FPC"}
		add(Header{}, build(f, s))
		s.payload = 300
		add(partial(f, s))
		add(super(f, s, 100))
	}
	_, padded := partial(f, spec{pad: 6})
	add(Header{Flags: FlagNeedsCsum, CsumStart: 34, CsumOffset: 16}, padded)
}

// checkPromises holds a header that Check or FromWire let pass to what they
// promise, and everything that relies on it to not panicking.
func checkPromises(t *testing.T, h Header, frame []byte) {
	if h.Flags&^FlagNeedsCsum != 0 || !h.NeedsCsum() && h != (Header{}) {
		t.Fatalf("header %+v", h)
	}
	if !h.NeedsCsum() {
		return
	}
	field := int(h.CsumStart) + int(h.CsumOffset)
	if int(h.CsumStart) < header.EthernetLen || field+2 > len(frame) || int(h.HdrLen) > len(frame) || field+2 > int(h.HdrLen) {
		t.Fatalf("header %+v for %d bytes", h, len(frame))
	}
	if !h.IsGSO() {
		if h.GSOSize != 0 || h.GSOType != 0 {
			t.Fatalf("header %+v", h)
		}
		Complete(h, slices.Clone(frame))
		return
	}
	if len(frame) <= int(h.HdrLen)+int(h.GSOSize) || h.HdrLen > MaxHeaders {
		t.Fatalf("super-frame %+v for %d bytes", h, len(frame))
	}
	before := slices.Clone(frame)
	n, payload := 0, 0
	for _, seg := range split(h, frame) {
		n++
		payload += len(seg) - int(h.HdrLen)
		if len(seg) > LongestSegment(h, frame) {
			t.Fatalf("segment of %d bytes, longest is %d", len(seg), LongestSegment(h, frame))
		}
		checkSegment(t, h, seg)
	}
	if n != Segments(h, frame) || payload != len(frame)-int(h.HdrLen) {
		t.Fatalf("%d segments with %d bytes, want %d with %d", n, payload, Segments(h, frame), len(frame)-int(h.HdrLen))
	}
	if !slices.Equal(frame, before) {
		t.Fatal("the frame was changed")
	}
}

// checkSegment verifies lengths and checksums word by word, without gopacket,
// which does not follow every chain of extension headers.
func checkSegment(t *testing.T, h Header, seg []byte) {
	_, l3 := header.Ethernet(seg).L3()
	ip, l4 := seg[l3:], seg[h.CsumStart:]
	proto := byte(6)
	if h.GSOType == GSOUDPL4 {
		proto = 17
		if int(l4[4])<<8|int(l4[5]) != len(l4) || l4[6]|l4[7] == 0 {
			t.Fatalf("UDP header %x before %d bytes", l4[:8], len(l4)-8)
		}
	}
	pseudo := []byte{0, proto, byte(len(l4) >> 8), byte(len(l4))}
	if ip[0]>>4 == 4 {
		pseudo = append(pseudo, ip[12:20]...)
		if hlen := int(ip[0]&15) * 4; onesSum(ip[:hlen]) != 0xffff || int(ip[2])<<8|int(ip[3]) != len(ip) {
			t.Fatalf("IPv4 header %x before %d bytes", ip[:hlen], len(ip)-hlen)
		}
	} else {
		pseudo = append(pseudo, ip[8:40]...)
		if int(ip[4])<<8|int(ip[5]) != len(ip)-40 {
			t.Fatalf("IPv6 header %x before %d bytes", ip[:40], len(ip)-40)
		}
	}
	if sum := onesSum(append(pseudo, l4...)); sum != 0xffff {
		t.Fatalf("transport sums to %#x", sum)
	}
}

func FuzzCheck(f *testing.F) {
	hdr := make([]byte, HeaderLen)
	shapes(f, func(h Header, frame []byte) {
		h.Put(hdr)
		f.Add(slices.Concat(hdr, frame))
	})
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < HeaderLen {
			return
		}
		h, frame := ParseHeader(b), b[HeaderLen:]
		was := slices.Clone(frame)
		got, reason := Check(h, frame)
		switch reason {
		case drop.None:
			if len(frame) > minFrame+8 && !slices.Equal(frame, was) {
				t.Fatal("Check changed a frame that is not padded")
			}
			checkPromises(t, got, frame)
		case drop.TapShort, drop.TapVirtio:
			if got != (Header{}) {
				t.Fatalf("header %+v beside %v", got, reason)
			}
		default:
			t.Fatalf("reason %v", reason)
		}
	})
}

func FuzzFromWire(f *testing.F) {
	shapes(f, func(_ Header, frame []byte) { f.Add(frame, uint16(200)) })
	f.Fuzz(func(t *testing.T, frame []byte, mtu uint16) {
		l3 := 0
		if len(frame) >= header.EthernetLen {
			_, l3 = header.Ethernet(frame).L3()
		}
		h, reason := FromWire(frame, int(mtu))
		switch reason {
		case drop.None:
			checkPromises(t, h, frame)
			if h.NeedsCsum() != Partial(frame) {
				t.Fatalf("Partial is %v beside %+v", Partial(frame), h)
			}
			if typ, l3 := header.Ethernet(frame).L3(); Partial(frame) != PartialBare(typ, frame[l3:]) {
				t.Fatalf("Partial is %v, but PartialBare %v", Partial(frame), !Partial(frame))
			}
			if LongestSegment(h, frame) > l3+int(mtu) {
				t.Fatalf("%+v: segments of up to %d bytes, MTU %d", h, LongestSegment(h, frame), mtu)
			}
			// What came from a wire goes into a TAP; a TAP may say the same.
			if again, reason := Check(h, slices.Clone(frame)); h.IsGSO() && h.GSOSize >= minTCPSegment && (again != h || reason != drop.None) {
				t.Fatalf("Check(%+v) = %+v, %v", h, again, reason)
			}
		case drop.InnerBig, drop.InnerRunt:
			if h != (Header{}) {
				t.Fatalf("header %+v beside %v", h, reason)
			}
		default:
			t.Fatalf("reason %v", reason)
		}
	})
}

// FuzzMerge lets the input decide what traffic there is.
func FuzzMerge(f *testing.F) {
	for i := range 8 {
		f.Add(slices.Repeat([]byte{byte(i), byte(31 * i), byte(7 * i)}, 40))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		checkTraffic(t, func(n int) int {
			if len(b) == 0 {
				b = []byte{23} // no fault: a loss for ever would have no end
			}
			v := int(b[0])
			b = b[1:]
			return v % n
		})
	})
}
