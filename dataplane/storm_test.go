package dataplane

import (
	"testing"

	"weft/internal/drop"
	"weft/internal/header"
	"weft/internal/offload"
)

// TestStorm floods in each way (F16): what is over the limit is dropped, the
// other ways and unicast are not, and a second brings the rate's worth back.
func TestStorm(t *testing.T) {
	s, w, d := still(t, Config{})
	a, b := attach(t, s, d, 1), attach(t, s, d, 2)
	send := func(n int, f []byte) (arrived int) {
		for i := range n {
			a.Send(offload.Header{}, f)
			if i%64 == 63 || i == n-1 {
				w.batch(a.id)
				arrived += b.Drain()
			}
		}
		return arrived
	}
	storms := [][]byte{
		testFrame(header.Broadcast, a.mac, 46), testFrame(0x3333_0000_0001, a.mac, 46), testFrame(0x0600_0000_0001, a.mac, 46),
	}
	for _, f := range storms {
		if got := send(floodSeconds*DefaultFloodRate+100, f); got != floodSeconds*DefaultFloodRate {
			t.Errorf("%v: %d of %d arrived, want %d", header.Ethernet(f).Dst(), got, floodSeconds*DefaultFloodRate+100, floodSeconds*DefaultFloodRate)
		}
	}
	if got := send(5000, testFrame(b.mac, a.mac, 46)); got != 5000 {
		t.Errorf("%d of 5000 unicast frames arrived", got)
	}
	s.second.Add(1)
	for _, f := range storms {
		if got := send(DefaultFloodRate+50, f); got != DefaultFloodRate {
			t.Errorf("%v, a second later: %d of %d arrived, want %d", header.Ethernet(f).Dst(), got, DefaultFloodRate+50, DefaultFloodRate)
		}
	}
	if got := s.PortStats(a.id).Drops[drop.L2Storm]; got != 3*(100+50) {
		t.Errorf("%d dropped for the storm, want %d", got, 3*150)
	}
	if err := s.Announce(a.id, storms[0]); err != nil {
		t.Fatal(err)
	}
	w.sendAnnounced()
	if b.Drain() != 1 {
		t.Error("an announcement pays for the container's storm")
	}
	wantBalance(t, s)
}

// TestStormSegments has a super-frame pay for what it is cut into.
func TestStormSegments(t *testing.T) {
	var f flooding
	p := &port{flooding: &f, floodRate: DefaultFloodRate}
	w := &worker{now: 5}
	super := &frame{buf: make([]byte, offload.HeaderLen+42+1000), header: offload.Header{GSOType: offload.GSOUDPL4, GSOSize: 10, HdrLen: 42}}
	n := 0
	for w.mayFlood(p, super, header.Broadcast) {
		n++
	}
	if want := floodSeconds * DefaultFloodRate / 100; n != want {
		t.Errorf("%d frames of 100 segments passed, want %d", n, want)
	}
}

func TestFloodingClock(t *testing.T) {
	for _, start := range []uint32{1, 1<<32 - 2} {
		var f flooding
		if !f.take(floodBroadcast, floodSeconds*DefaultFloodRate, DefaultFloodRate, start) || f.take(floodBroadcast, 1, DefaultFloodRate, start) {
			t.Fatal("a bucket is full at first, and only that")
		}
		if !f.take(floodBroadcast, DefaultFloodRate, DefaultFloodRate, start+1) || f.take(floodBroadcast, 1, DefaultFloodRate, start+1) {
			t.Error("a second brings the rate's worth")
		}
		if !f.take(floodBroadcast, floodSeconds*DefaultFloodRate, DefaultFloodRate, start+1000) || f.take(floodBroadcast, 1, DefaultFloodRate, start+1000) {
			t.Error("an hour brings no more than the burst")
		}
		f.take(floodBroadcast, 0, DefaultFloodRate, start+1001)
		if !f.take(floodBroadcast, floodSeconds*DefaultFloodRate, DefaultFloodRate, start+1004) || f.take(floodBroadcast, 1, DefaultFloodRate, start+1004) {
			t.Error("what is left over adds up to no more than the burst")
		}
	}
}

// TestStormRate has limits of its own, and none, for a port.
func TestStormRate(t *testing.T) {
	s, w, d := still(t, Config{})
	b := attach(t, s, d, 1)
	for i, tt := range []struct{ rate, sent, want int }{{10, 100, 20}, {-1, 3 * DefaultFloodRate, 3 * DefaultFloodRate}} {
		a := attach(t, s, d, 2+i, func(c *PortConfig) { c.FloodRate = tt.rate })
		got := 0
		for range tt.sent {
			a.Send(offload.Header{}, testFrame(header.Broadcast, a.mac, 46))
			w.batch(a.id)
			got += b.Drain()
		}
		if dropped := s.PortStats(a.id).Drops[drop.L2Storm]; got != tt.want || dropped != uint64(tt.sent-tt.want) {
			t.Errorf("rate %d: %d of %d arrived and %d were dropped, want %d", tt.rate, got, tt.sent, dropped, tt.want)
		}
	}
	wantBalance(t, s)
}
