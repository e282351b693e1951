package offload

import (
	"math/rand/v2"
	"slices"
	"testing"

	"weft/internal/drop"
)

// The segments of a super-frame follow the first one of it.
func TestTrain(t *testing.T) {
	for shape := range 12 {
		s := spec{v6: shape&1 != 0, tcpOptions: shape&2 != 0, tags: shape >> 2, payload: 30000, flags: "P", id: 7}
		h, frame := super(t, s, 1380)
		h, _ = Check(h, frame)
		segments := split(h, frame)
		var train Train
		if train.Follows(segments[1]) {
			t.Fatal("something follows nothing")
		}
		train.Start(segments[0])
		for i, seg := range segments[1:] {
			if !train.Follows(seg) {
				t.Fatalf("%+v: segment %d does not follow", s, i+1)
			}
		}
		if train.Stop(); train.Follows(segments[1]) {
			t.Fatal("something follows what has ended")
		}
	}
}

// What follows no train: anything that differs in a header, and what FromWire or
// the MTU would have a say in.
func TestTrainRefuses(t *testing.T) {
	for shape := range 4 {
		s := spec{v6: shape&1 != 0, tags: shape >> 1, payload: 300}
		first := build(t, s)
		var train Train
		train.Start(first)
		for at := range s.l4() + 4 {
			frame := slices.Clone(first)
			frame[at] ^= 1 << rand.IntN(8)
			free := at >= s.l3()+2 && at < s.l3()+6 || at >= s.l3()+10 && at < s.l3()+12
			if s.v6 {
				free = at == s.l3()+4 || at == s.l3()+5
			}
			if train.Follows(frame) && !free {
				t.Errorf("%+v: byte %d is another one", s, at)
			}
		}
		_, undone := partial(t, s)
		longer := s
		longer.payload++
		others := map[string][]byte{
			"partial checksum": undone,
			"longer":           build(t, longer),
			"cut short":        first[:s.headers()+299],
			"no TCP header":    first[:s.l4()+19],
			"empty":            {},
		}
		for name, frame := range others {
			if train.Follows(frame) {
				t.Errorf("%+v: follows: %s", s, name)
			}
		}
	}
	for _, s := range []spec{{udp: true, payload: 300}, {ipOptions: true, payload: 300}, {v6: true, ipOptions: true, payload: 300}} {
		var train Train
		frame := build(t, s)
		if train.Start(frame); train.Follows(frame) {
			t.Errorf("%+v begins a train", s)
		}
	}
}

// FuzzTrain holds what follows to what FromWire would have said of it.
func FuzzTrain(f *testing.F) {
	shapes(f, func(_ Header, frame []byte) { f.Add(frame, frame) })
	f.Fuzz(func(t *testing.T, first, frame []byte) {
		const mtu = 1400
		if h, r := FromWire(first, mtu); r != drop.None || h != (Header{}) {
			return
		}
		var train Train
		train.Start(first)
		if !train.Follows(frame) {
			return
		}
		if h, r := FromWire(frame, mtu); r != drop.None || h != (Header{}) {
			t.Fatalf("FromWire = %+v, %v of what follows", h, r)
		}
	})
}
