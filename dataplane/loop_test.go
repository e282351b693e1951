package dataplane

import (
	"testing"

	"weft/internal/drop"
	"weft/internal/header"
	"weft/internal/offload"
)

// bridging is a container that sends at each of its TAPs what it gets at the others.
type bridging []*station

// turn takes what arrived everywhere, sends it on, and returns how many frames.
func (l bridging) turn() (n int) {
	got := make([][][]byte, len(l))
	for i, in := range l {
		for {
			_, f := in.Recv(0)
			if f == nil {
				break
			}
			got[i] = append(got[i], f)
		}
	}
	for i := range l {
		for k, out := range l {
			for _, f := range got[i] {
				if i != k {
					out.Send(offload.Header{}, f)
					n++
				}
			}
		}
	}
	return n
}

// run lets frames go round for n turns and returns whether any still do.
func (l bridging) run(w *worker, n int) bool {
	going := false
	for range n {
		going = l.turn() > 0
		for _, st := range l {
			w.batch(st.id)
		}
	}
	return going
}

// TestLoop has a container bridge TAPs of one network (F13), in each mix of
// guarded ports and ports that may spoof.
func TestLoop(t *testing.T) {
	for _, tt := range []struct {
		name    string
		spoof   []bool // of the ports that are bridged, by rising number
		blocked []bool
	}{
		{"both may spoof", []bool{true, true}, []bool{false, true}},
		{"the higher is guarded", []bool{true, false}, []bool{true, false}},
		{"the lower is guarded", []bool{false, true}, []bool{false, true}},
		{"both are guarded", []bool{false, false}, []bool{false, false}},
		{"three", []bool{true, true, true}, []bool{false, true, true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, w, d := still(t, Config{HostMAC: testHostMAC})
			x, y := attach(t, s, d, 1), attach(t, s, d, 2, allowSpoof)
			var loop bridging
			for i, spoof := range tt.spoof {
				loop = append(loop, attach(t, s, d, 10+i, func(c *PortConfig) { c.AllowSpoof = spoof }))
			}
			probe := func() { // as tick and run do
				s.probeLoops(s.second.Add(probeEvery) &^ 1)
				w.snap, w.now = s.snapshot.Load(), s.second.Load()
				if w.probing.Swap(false) {
					w.sendProbes()
				}
			}
			x.Send(offload.Header{}, testFrame(header.Broadcast, x.mac, 46))
			w.batch(x.id)
			loop.run(w, 10)
			for range 3 {
				probe()
				loop.run(w, 10)
			}
			if loop.run(w, 50) {
				t.Error("frames still go round")
			}
			var events int
			for i, st := range loop {
				blocked := s.PortStats(st.id).Blocked
				if blocked != tt.blocked[i] {
					t.Errorf("port %d: blocked is %v, want %v", i, blocked, tt.blocked[i])
				}
				if tt.blocked[i] {
					events++
				}
			}
			list := s.takeEvents()
			for _, e := range list {
				if e.Kind == EventFlap { // a loop moves addresses too
					continue
				}
				events--
				if e.Kind != EventLoop || e.Domain != d || e.At == e.Other || s.snapshot.Load().portOf(e.At) == nil {
					t.Errorf("event %+v", e)
				}
			}
			if events != 0 {
				t.Errorf("%d blocked ports were not told; events %+v", events, list)
			}
			x.Drain()
			y.Drain()
			f := testFrame(y.mac, x.mac, 46)
			x.Send(offload.Header{}, f)
			w.batch(x.id)
			y.want(t, f)
			wantBalance(t, s)
		})
	}
}

// TestBlockEnds opens a port again when the loop is gone, and not before.
func TestBlockEnds(t *testing.T) {
	s, w, d := still(t, Config{HostMAC: testHostMAC})
	a, b := attach(t, s, d, 1, allowSpoof), attach(t, s, d, 2)
	probe := make([]byte, probeLen)
	takeProbe := func() {
		w.snap, w.now = s.snapshot.Load(), s.second.Load()
		w.sendProbes()
		_, f := b.Recv(0)
		copy(probe, f)
		a.Drain()
	}
	takeProbe()
	a.Send(offload.Header{}, probe) // left at b, which is guarded
	w.batch(a.id)
	for range 2 {
		s.second.Add(blockSeconds - 1)
		a.Send(offload.Header{}, testFrame(b.mac, a.mac, 46))
		w.batch(a.id)
		if b.Drain() != 0 {
			t.Fatal("the port is open before its time")
		}
		a.Send(offload.Header{}, probe) // still there
		w.batch(a.id)
	}
	if got := s.PortStats(a.id).Drops[drop.L2Storm]; got != 2 {
		t.Errorf("%d frames dropped at a blocked port, want 2", got)
	}
	s.second.Add(blockSeconds)
	a.Send(offload.Header{}, testFrame(b.mac, a.mac, 46))
	w.batch(a.id)
	if b.Drain() != 1 {
		t.Error("the port stays blocked")
	}
	wantBalance(t, s)
}

// TestForgedProbe has a container send probes of its own making: only its own
// port can suffer, and nothing of it is forwarded.
func TestForgedProbe(t *testing.T) {
	s, w, d := still(t, Config{HostMAC: testHostMAC})
	a, b := attach(t, s, d, 1, allowSpoof), attach(t, s, d, 2, allowSpoof)
	probe := testFrame(header.Broadcast, testHostMAC, 46)
	copy(probe[header.EthernetLen:], "weftloop\x00\x00\x00\x07")
	for id := range 5 {
		probe[header.EthernetLen+13] = byte(id)
		a.Send(offload.Header{}, probe)
		a.Send(offload.Header{}, probe[:header.EthernetLen+id*4])
	}
	w.batch(a.id)
	if b.Drain() != 0 || s.PortStats(b.id).Blocked {
		t.Error("another port suffers")
	}
	if got := s.PortStats(a.id).Drops[drop.L2Spoof]; got != 10 {
		t.Errorf("%d dropped, want 10", got)
	}
	if s.FDB(d).Lookup(testHostMAC) != 0 {
		t.Error("the host's address was learned")
	}
	wantBalance(t, s)
}

// TestBlockedForAll keeps what comes from ports and from peers off a blocked port.
func TestBlockedForAll(t *testing.T) {
	z := newFuzzed(t)
	p := z.snapshot.Load().port(z.free.id)
	p.loop.blocked.Store(z.Now() + blockSeconds)
	z.b.Send(offload.Header{}, testFrame(header.Broadcast, z.b.mac, 46))
	z.step(z.b)
	z.wire.Inject(outer(addr2, addr1, append([]byte("\x20\x00\x65\x58\x00\x00\x00\x01"), testFrame(header.Broadcast, 0x0600_0000_0001, 46)...)))
	z.step(nil)
	if got := z.free.Drain(); got != 0 {
		t.Errorf("a blocked port got %d frames", got)
	}
	if got := z.guarded.Drain(); got != 2 {
		t.Errorf("its neighbour got %d frames, want 2", got)
	}
	if got := z.PortStats(z.free.id).Drops[drop.L2Storm]; got != 2 {
		t.Errorf("%d copies dropped, want 2", got)
	}
	z.check(t)
}
