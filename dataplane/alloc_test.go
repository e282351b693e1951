package dataplane

import (
	"testing"

	"weft/encap/encaptest"
	"weft/internal/header"
	"weft/internal/offload"
)

// still makes a switch whose workers do not run, so that a test can take one
// batch at a time.
func still(t testing.TB, cfg Config) (*Switch, *worker, DomainID) {
	t.Helper()
	cfg.Workers = 1
	s, err := build(cfg)
	if err != nil {
		t.Fatal(err)
	}
	w := s.workers[0]
	t.Cleanup(w.closeDescriptors)
	d, err := s.AddDomain(DomainConfig{Key: 7, MTU: 1450})
	if err != nil {
		t.Fatal(err)
	}
	return s, w, d
}

// batch takes one batch from the port, as run does.
func (w *worker) batch(id PortID) {
	w.snap = w.sw.snapshot.Load()
	w.now = w.sw.second.Load()
	w.drainPort(w.snap.port(id), false)
	w.balance()
}

// TestFramePathNoAllocs runs batches of every kind of frame through a worker:
// nothing on the way may allocate.
func TestFramePathNoAllocs(t *testing.T) {
	s, w, d := still(t, Config{})
	a, b := attach(t, s, d, 1, allowSpoof), attach(t, s, d, 2)
	c := attach(t, s, d, 3)
	tests := []struct {
		name  string
		frame []byte
	}{
		{"unicast", testFrame(b.mac, a.mac, 1000)},
		{"flood", testFrame(header.Broadcast, a.mac, 1000)},
		{"unknown unicast", testFrame(0x0600_0000_0001, a.mac, 46)},
		{"drop", testFrame(a.mac, a.mac, 46)},
		{"too big", testFrame(b.mac, a.mac, 2000)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			msg := make([]byte, offload.HeaderLen+len(tt.frame))
			copy(msg[offload.HeaderLen:], tt.frame)
			drain := make([]byte, frameSpace)
			allocs := testing.AllocsPerRun(100, func() {
				for range 8 {
					if err := a.TrySendRaw(msg); err != nil {
						t.Fatal(err)
					}
				}
				w.batch(a.id)
				for _, st := range []*station{b, c} {
					for st.TryRecvRaw(drain) > 0 {
					}
				}
			})
			if allocs != 0 {
				t.Errorf("%v allocations in a batch of 8 frames, want 0", allocs)
			}
		})
	}
}

// BenchmarkForward is what one frame of 64 bytes costs from port to port
// without a kernel TAP: two socket calls and the switch between them.
func BenchmarkForward(b *testing.B) {
	s, w, d := still(b, Config{})
	from, to := attach(b, s, d, 1), attach(b, s, d, 2)
	frame := testFrame(to.mac, from.mac, 50)
	msg := make([]byte, offload.HeaderLen+len(frame))
	copy(msg[offload.HeaderLen:], frame)
	drain := make([]byte, frameSpace)
	b.ReportAllocs()
	for b.Loop() {
		if err := from.TrySendRaw(msg); err != nil {
			b.Fatal(err)
		}
		w.batch(from.id)
		to.TryRecvRaw(drain)
	}
}

// TestTunnelNoAllocs does the same for the ways to and from a peer.
func TestTunnelNoAllocs(t *testing.T) {
	u, wire := encaptest.New(t, addr1)
	s, w, d := still(t, Config{Underlay: u})
	setPeers(t, s, d, false, addr2)
	a := attach(t, s, d, 1)
	const remote header.MAC = 0x0600_0000_0001
	in := outer(addr2, addr1, append([]byte("\x20\x00\x65\x58\x00\x00\x00\x07"), testFrame(a.mac, remote, 1000)...))
	out := make([]byte, offload.HeaderLen, 2000)
	out = append(out, testFrame(remote, a.mac, 1000)...)
	drain := make([]byte, frameSpace)

	allocs := testing.AllocsPerRun(50, func() {
		for range 8 {
			wire.Inject(in)
		}
		w.snap, w.now = s.snapshot.Load(), s.second.Load()
		w.drainUnderlay(w.receivers[0], false)
		w.countStrangers(w.strangers[0])
		for a.TryRecvRaw(drain) > 0 {
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations in a batch of 8 datagrams from a peer, want 0", allocs)
	}
	if got := s.PeerStats(1); got.RxFrames == 0 || s.PortStats(a.id).TxFrames != got.RxFrames {
		t.Fatalf("not delivered: peer %+v", got)
	}
	allocs = testing.AllocsPerRun(50, func() {
		for range 8 {
			if err := a.TrySendRaw(out); err != nil {
				t.Fatal(err)
			}
		}
		w.batch(a.id)
	})
	if allocs != 0 {
		t.Errorf("%v allocations in a batch of 8 frames to a peer, want 0", allocs)
	}
	if got := s.PeerStats(1); got.TxFrames == 0 {
		t.Fatalf("not sent: peer %+v", got)
	}
}
