package offload

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"weft/internal/drop"
)

// Headers as a kernel gives them, and what is left of them.
func TestCheckTakes(t *testing.T) {
	tests := []struct {
		name string
		spec spec
		size int // 0: no super-frame
		edit func(h *Header)
		want func(s spec, h *Header) // from the zero Header
	}{
		{"complete", spec{payload: 100}, 0, func(h *Header) { *h = Header{HdrLen: 66, GSOSize: 9, CsumStart: 9} }, func(s spec, h *Header) {}},
		{"verified is not believed", spec{payload: 100}, 0, func(h *Header) { *h = Header{Flags: FlagDataValid} }, func(s spec, h *Header) {}},
		{"partial", spec{payload: 100}, 0, nil, needsCsum},
		{"partial and verified", spec{payload: 100}, 0, func(h *Header) { h.Flags |= FlagDataValid }, needsCsum},
		{"partial, size left over", spec{payload: 100}, 0, func(h *Header) { h.GSOSize = 1400 }, needsCsum},
		{"partial UDP over IPv6", spec{udp: true, v6: true, payload: 100}, 0, nil, needsCsum},
		{"partial, no payload", spec{}, 0, nil, needsCsum},
		{"partial, two tags and options", spec{v6: true, tags: 2, ipOptions: true, tcpOptions: true, payload: 100}, 0, nil, needsCsum},
		{"super-frame", spec{payload: 3000}, 1400, nil, gso(GSOTCPv4, 1400)},
		{"super-frame, ECN", spec{payload: 3000}, 1400, func(h *Header) { h.GSOType |= GSOECN }, gso(GSOTCPv4|GSOECN, 1400)},
		{"super-frame, hdr_len 0", spec{payload: 3000}, 1400, func(h *Header) { h.HdrLen = 0 }, gso(GSOTCPv4, 1400)},
		{"super-frame, IPv6, tag", spec{v6: true, tags: 1, payload: 3000}, 1400, nil, gso(GSOTCPv6, 1400)},
		{"UDP super-frame", spec{udp: true, payload: 3000}, 1400, nil, gso(GSOUDPL4, 1400)},
		{"UDP super-frame, IPv6", spec{udp: true, v6: true, payload: 3000}, 1400, nil, gso(GSOUDPL4, 1400)},
		{"super-frame of one segment", spec{payload: 1400}, 1400, nil, needsCsum},
		{"super-frame without payload", spec{}, 1400, func(h *Header) { h.GSOType |= GSOECN }, needsCsum},
		{"smallest TCP segments", spec{payload: 3000}, 48, nil, gso(GSOTCPv4, 48)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h, frame := partial(t, tt.spec)
			if tt.size != 0 {
				h, frame = super(t, tt.spec, tt.size)
			}
			if tt.edit != nil {
				tt.edit(&h)
			}
			var want Header
			tt.want(tt.spec, &want)
			before := slices.Clone(frame)
			got, reason := Check(h, frame)
			if got != want || reason != drop.None {
				t.Errorf("Check = %+v, %v, want %+v", got, reason, want)
			}
			if !bytes.Equal(frame, before) {
				t.Error("the frame was changed")
			}
		})
	}
}

func needsCsum(s spec, h *Header) {
	*h = Header{Flags: FlagNeedsCsum, HdrLen: uint16(s.headers()), CsumStart: uint16(s.l4()), CsumOffset: uint16(s.checksum())}
}

func gso(typ uint8, size uint16) func(s spec, h *Header) {
	return func(s spec, h *Header) {
		needsCsum(s, h)
		h.GSOType, h.GSOSize = typ, size
	}
}

// Headers that contradict the frame (conformance 0.8, F32, F33).
func TestCheckRefuses(t *testing.T) {
	set := func(off int, v ...byte) func(*Header, []byte) []byte {
		return func(_ *Header, frame []byte) []byte { copy(frame[off:], v); return frame }
	}
	tests := []struct {
		name   string
		spec   spec
		size   int
		edit   func(h *Header, frame []byte) []byte
		reason drop.Reason
	}{
		{"13 bytes", spec{}, 0, func(h *Header, f []byte) []byte { return f[:13] }, drop.TapShort},
		{"empty", spec{}, 0, func(h *Header, f []byte) []byte { return nil }, drop.TapShort},
		{"unknown flag", spec{}, 0, func(h *Header, f []byte) []byte { h.Flags = 4; return f }, drop.TapVirtio},
		{"checksum beyond the frame", spec{}, 0, func(h *Header, f []byte) []byte { h.CsumStart = 60000; return f }, drop.TapVirtio},
		{"field beyond the frame", spec{}, 0, func(h *Header, f []byte) []byte { h.CsumOffset = 60000; return f }, drop.TapVirtio},
		{"wrong field", spec{payload: 50}, 0, func(h *Header, f []byte) []byte { h.CsumOffset = 6; return f }, drop.TapVirtio},
		{"wrong start", spec{payload: 50}, 0, func(h *Header, f []byte) []byte { h.CsumStart++; return f }, drop.TapVirtio},
		{"start in the TCP payload", spec{payload: 50}, 0, func(h *Header, f []byte) []byte { h.CsumStart += 20; return f }, drop.TapVirtio},
		{"source address as the field", spec{payload: 50}, 0, func(h *Header, f []byte) []byte { h.CsumStart, h.CsumOffset = 14, 12; return f }, drop.TapVirtio},
		{"Ethernet address as the field", spec{payload: 50}, 0, func(h *Header, f []byte) []byte { h.CsumStart, h.CsumOffset = 0, 6; return f }, drop.TapVirtio},
		{"UDP port as the field", spec{udp: true, payload: 50}, 0, func(h *Header, f []byte) []byte { h.CsumOffset = 0; return f }, drop.TapVirtio},
		{"in the UDP header", spec{udp: true, payload: 50}, 0, func(h *Header, f []byte) []byte { h.CsumStart += 4; return f }, drop.TapVirtio},
		{"ARP", spec{payload: 50}, 0, func(h *Header, f []byte) []byte { f[12], f[13] = 8, 6; return f }, drop.TapVirtio},
		{"TCP header too long", spec{payload: 20}, 0, set(46, 0xf0), drop.TapVirtio},
		{"UDP length short of the packet", spec{udp: true, payload: 20}, 0, set(38, 0, 9), drop.TapVirtio},
		{"fragment", spec{payload: 50}, 0, set(20, 0x20), drop.TapVirtio},
		{"later fragment", spec{payload: 50}, 0, set(20, 0x00, 0x10), drop.TapVirtio},
		{"IPv4 version", spec{payload: 50}, 0, set(14, 0x55), drop.TapVirtio},
		{"total length beyond the frame", spec{payload: 50}, 0, set(16, 9, 9), drop.TapVirtio},
		{"long padding", spec{payload: 50, pad: 10}, 0, func(h *Header, f []byte) []byte { return f }, drop.TapVirtio},
		{"ICMP type as the field", spec{payload: 50}, 0, func(h *Header, f []byte) []byte { f[23] = 1; h.CsumOffset = 0; return f }, drop.TapVirtio},

		{"super-frame without checksum", spec{payload: 3000}, 1400, func(h *Header, f []byte) []byte { h.Flags = 0; return f }, drop.TapVirtio},
		{"super-frame verified", spec{payload: 3000}, 1400, func(h *Header, f []byte) []byte { h.Flags = FlagDataValid; return f }, drop.TapVirtio},
		{"ECN alone", spec{payload: 3000}, 1400, func(h *Header, f []byte) []byte { h.GSOType = GSOECN; return f }, drop.TapVirtio},
		{"ECN with UDP", spec{udp: true, payload: 3000}, 1400, func(h *Header, f []byte) []byte { h.GSOType |= GSOECN; return f }, drop.TapVirtio},
		{"UFO", spec{udp: true, payload: 3000}, 1400, func(h *Header, f []byte) []byte { h.GSOType = 3; return f }, drop.TapVirtio},
		{"type for IPv6", spec{payload: 3000}, 1400, func(h *Header, f []byte) []byte { h.GSOType = GSOTCPv6; return f }, drop.TapVirtio},
		{"type for IPv4", spec{v6: true, payload: 3000}, 1400, func(h *Header, f []byte) []byte { h.GSOType = GSOTCPv4; return f }, drop.TapVirtio},
		{"type for UDP", spec{payload: 3000}, 1400, func(h *Header, f []byte) []byte { h.GSOType = GSOUDPL4; return f }, drop.TapVirtio},
		{"type for TCP", spec{udp: true, payload: 3000}, 1400, func(h *Header, f []byte) []byte { h.GSOType = GSOTCPv4; return f }, drop.TapVirtio},
		{"segments of 0", spec{payload: 3000}, 0, func(h *Header, f []byte) []byte { h.GSOType = GSOTCPv4; return f }, drop.TapVirtio},
		{"segments of 1", spec{payload: 3000}, 1, func(h *Header, f []byte) []byte { return f }, drop.TapVirtio},
		{"segments of 47", spec{payload: 3000}, 47, func(h *Header, f []byte) []byte { return f }, drop.TapVirtio},
		{"UDP segments of 0", spec{udp: true, payload: 3000}, 0, func(h *Header, f []byte) []byte { h.GSOType = GSOUDPL4; return f }, drop.TapVirtio},
		{"129 UDP segments", spec{udp: true, payload: 129}, 1, func(h *Header, f []byte) []byte { return f }, drop.TapVirtio},
		{"super-frame, fragment", spec{payload: 3000}, 1400, set(20, 0x20), drop.TapVirtio},
		{"super-frame, padded", spec{payload: 3000, pad: 1}, 1400, func(h *Header, f []byte) []byte { return f }, drop.TapVirtio},
		{"super-frame, total length 0", spec{payload: 3000}, 1400, set(16, 0, 0), drop.TapVirtio},
		{"super-frame, IPv6 payload length 0", spec{v6: true, payload: 3000}, 1400, set(18, 0, 0), drop.TapVirtio},
		{"super-frame, not TCP", spec{payload: 3000}, 1400, set(23, 132), drop.TapVirtio},
		{"super-frame, not IP", spec{payload: 3000}, 1400, set(12, 0x88, 0x47), drop.TapVirtio},
		{"super-frame, wrong field", spec{payload: 3000}, 1400, func(h *Header, f []byte) []byte { h.CsumOffset = 4; return f }, drop.TapVirtio},
		{"super-frame, checksum of an inner packet", spec{udp: true, payload: 3000}, 1400, func(h *Header, f []byte) []byte { h.CsumStart += 50; return f }, drop.TapVirtio},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h, frame := partial(t, tt.spec)
			if tt.size != 0 {
				h, frame = super(t, tt.spec, tt.size)
			}
			frame = tt.edit(&h, frame)
			if got, reason := Check(h, frame); reason != tt.reason || got != (Header{}) {
				t.Errorf("Check = %+v, %v, want %v", got, reason, tt.reason)
			}
		})
	}
}

// Checksums that are not of the packet's own TCP or UDP header.
func TestCheckOtherProtocols(t *testing.T) {
	none := func(f []byte) {}
	tests := []struct {
		name          string
		spec          spec
		edit          func(f []byte)
		start, offset int
		ok            bool
	}{
		{"packet tunnelled in UDP", spec{udp: true, payload: 100}, none, 42 + 30, 16, true},
		{"packet tunnelled in UDP, last field", spec{udp: true, payload: 100}, none, 42 + 82, 16, true},
		{"packet tunnelled in UDP, beyond", spec{udp: true, payload: 100}, none, 42 + 83, 16, false},
		{"first fragment of UDP", spec{udp: true, payload: 100}, func(f []byte) { f[20] = 0x20 }, 42 + 30, 16, false},
		{"later fragment of an unknown protocol", spec{payload: 100}, func(f []byte) { f[21], f[23] = 9, 132 }, 34, 8, false},
		{"IP in IP", spec{payload: 100}, func(f []byte) { f[23] = 4 }, 34 + 20, 16, true},
		{"unknown protocol", spec{payload: 100}, func(f []byte) { f[23] = 132 }, 34, 8, true},
		{"unknown protocol, before it", spec{payload: 100}, func(f []byte) { f[23] = 132 }, 33, 8, false},
		{"ICMP", spec{payload: 100}, func(f []byte) { f[23] = 1 }, 34, 2, true},
		{"ICMPv6", spec{v6: true, payload: 100}, func(f []byte) { f[20] = 58 }, 54, 2, true},
		{"ICMPv6, behind it", spec{v6: true, payload: 100}, func(f []byte) { f[20] = 58 }, 56, 2, false},
		{"no IP", spec{payload: 100}, func(f []byte) { f[12], f[13] = 0x88, 0x47 }, 14, 16, true},
		{"no IP, in the Ethernet header", spec{payload: 100}, func(f []byte) { f[12], f[13] = 0x88, 0x47 }, 13, 16, false},
		{"three tags", spec{tags: 2, payload: 100}, func(f []byte) { f[20], f[21] = 0x81, 0 }, 46, 16, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			frame := build(t, tt.spec)
			tt.edit(frame)
			h := Header{Flags: FlagNeedsCsum, CsumStart: uint16(tt.start), CsumOffset: uint16(tt.offset)}
			got, reason := Check(h, frame)
			if tt.ok != (reason == drop.None) {
				t.Fatalf("Check: %v, want ok %v", reason, tt.ok)
			}
			if h.HdrLen = uint16(tt.start + tt.offset + 2); tt.ok && got != h {
				t.Fatalf("Check = %+v, want %+v", got, h)
			}
			if tt.ok {
				before := slices.Clone(frame)
				Complete(got, frame)
				at := tt.start + tt.offset
				if !bytes.Equal(frame[:at], before[:at]) || !bytes.Equal(frame[at+2:], before[at+2:]) {
					t.Error("Complete wrote outside the field")
				}
			}
		})
	}
}

// Padding must not get into the sum, whatever it is.
func TestCheckPadded(t *testing.T) {
	for _, s := range []spec{{pad: 6}, {pad: 1}, {udp: true, payload: 3, pad: 15}, {tags: 1, pad: 6}, {udp: true, tags: 2, payload: 1, pad: 17}} {
		want := build(t, s)
		h, frame := partial(t, s)
		for _, f := range [][]byte{want, frame} {
			for i := range s.pad {
				f[len(f)-1-i] = 0xa5
			}
		}
		got, reason := Check(h, frame)
		if got != (Header{}) || reason != drop.None {
			t.Errorf("%+v: Check = %+v, %v, want a complete frame", s, got, reason)
		}
		if !bytes.Equal(frame, want) {
			t.Errorf("%+v: frame is %x, want %x", s, frame, want)
		}
	}
}

func TestComplete(t *testing.T) {
	for shape := range 64 {
		s := spec{v6: shape&1 != 0, udp: shape&2 != 0, ipOptions: shape&4 != 0, tcpOptions: shape&8 != 0, tags: shape >> 4 % 3, payload: 20 + shape}
		want := build(t, s)
		h, frame := partial(t, s)
		h, reason := Check(h, frame)
		if reason != drop.None {
			t.Fatalf("%+v: Check: %v", s, reason)
		}
		Complete(h, frame)
		verify(t, frame)
		if !bytes.Equal(frame, want) {
			t.Errorf("%+v: completed frame differs from gopacket's", s)
		}
		Complete(Header{}, frame)
		if !bytes.Equal(frame, want) {
			t.Errorf("%+v: Complete changed a complete frame", s)
		}
	}
}

// A UDP checksum that comes out as 0 is sent as 0xffff.
func TestCompleteUDPZeroChecksum(t *testing.T) {
	s := spec{udp: true, payload: 20}
	h, seed := partial(t, s)
	for v := range 0x10000 {
		frame := slices.Clone(seed)
		binary.BigEndian.PutUint16(frame[s.headers():], uint16(v))
		Complete(h, frame)
		if field := frame[s.l4()+6:]; field[0] == 0xff && field[1] == 0xff {
			verify(t, frame)
			return
		} else if field[0]|field[1] == 0 {
			t.Fatalf("payload %#x: checksum 0", v)
		}
	}
	t.Error("no payload gives the checksum 0xffff")
}

// Headers of up to MaxHeaders bytes are cut, longer ones are refused.
func TestLongHeaders(t *testing.T) {
	tests := []struct {
		extension int // bytes of IPv6 destination options
		ok        bool
	}{{176, true}, {184, false}, {2048, false}}
	for _, tt := range tests {
		s := spec{v6: true, payload: 9000}
		h, frame := super(t, s, mtu-60-tt.extension)
		options := make([]byte, tt.extension)
		options[0], options[1] = 6, byte(tt.extension/8-1)
		frame = slices.Insert(frame, s.l4(), options...)
		frame[s.l3()+6] = 60
		binary.BigEndian.PutUint16(frame[s.l3()+4:], uint16(len(frame)-s.l3()-40))
		h.CsumStart += uint16(tt.extension)

		checked, reason := Check(h, frame)
		if want := map[bool]drop.Reason{true: drop.None, false: drop.TapVirtio}[tt.ok]; reason != want {
			t.Errorf("%d bytes: Check: %v, want %v", tt.extension, reason, want)
		}
		guessed, reason := FromWire(frame, mtu)
		if want := map[bool]drop.Reason{true: drop.None, false: drop.InnerBig}[tt.ok]; reason != want {
			t.Errorf("%d bytes: FromWire: %v, want %v", tt.extension, reason, want)
		}
		if guessed != checked {
			t.Errorf("%d bytes: FromWire = %+v, Check = %+v", tt.extension, guessed, checked)
		}
		if tt.ok {
			checkSegments(t, checked, frame, split(checked, frame))
		}
	}
}

func BenchmarkCheck(b *testing.B) {
	for name, f := range map[string]func() (Header, []byte){
		"plain":   func() (Header, []byte) { return Header{}, build(b, spec{payload: 1400}) },
		"partial": func() (Header, []byte) { return partial(b, spec{payload: 1400}) },
		"super":   func() (Header, []byte) { return super(b, spec{payload: 65000}, 1400) },
		"superv6": func() (Header, []byte) { return super(b, spec{v6: true, tags: 1, payload: 65000}, 1400) },
	} {
		h, frame := f()
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				Check(h, frame)
			}
		})
	}
}
