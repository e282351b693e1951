package offload

import (
	"bytes"
	"slices"
	"testing"

	"weft/internal/drop"
)

// What a network card merged is, once it is read, what the kernel would have
// merged: the same header, and the partial checksum.
func TestFromLink(t *testing.T) {
	for _, s := range []spec{{payload: 3000}, {v6: true, payload: 3000}, {v6: true, tags: 1, tcpOptions: true, payload: 3000}} {
		h, want := super(t, s, 1400)
		frame := slices.Clone(want)
		at := s.l4() + s.checksum()
		frame[at], frame[at+1] = 0x12, 0x34 // of one of the segments
		verified := h
		verified.Flags, verified.CsumStart, verified.CsumOffset = FlagDataValid, 0, 0
		got, reason := FromLink(verified, frame)
		if checked, _ := Check(h, want); got != checked || reason != drop.None || !bytes.Equal(frame, want) {
			t.Errorf("%+v: %+v, %v; frame as the kernel's: %t", s, got, reason, bytes.Equal(frame, want))
		}
		got, reason = FromLink(h, frame)
		if checked, _ := Check(h, want); got != checked || reason != drop.None {
			t.Errorf("%+v, merged by the kernel: %+v, %v", s, got, reason)
		}
	}
	for name, frame := range map[string][]byte{"short": make([]byte, 20), "no IP": append(make([]byte, 12), 0x88, 0xb5, 1, 2, 3)} {
		if _, reason := FromLink(Header{Flags: FlagDataValid, GSOType: GSOTCPv4, GSOSize: 1000}, frame); reason == drop.None {
			t.Errorf("%s: taken", name)
		}
	}
}
