package dataplane

import (
	"testing"
	"time"

	"weft/fib"
	"weft/internal/header"
	"weft/internal/offload"
)

// eventually waits until cond holds.
func eventually(t *testing.T, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it does not come true")
		}
	}
}

// TestMoves has two ports use one address in turn (F12): a few moves a second
// are followed, more are not, other addresses are, and both places are told.
func TestMoves(t *testing.T) {
	s, w, d := still(t, Config{})
	a, b, c := attach(t, s, d, 1, allowSpoof), attach(t, s, d, 2, allowSpoof), attach(t, s, d, 3)
	const twice, roamer header.MAC = 0x0600_0000_0001, 0x0600_0000_0002
	atA, atB := fib.PortDest(uint16(a.id)), fib.PortDest(uint16(b.id))
	from := func(st *station, mac header.MAC) fib.Dest {
		st.Send(offload.Header{}, testFrame(c.mac, mac, 46))
		w.batch(st.id)
		return s.FDB(d).Lookup(mac)
	}
	from(a, twice)
	for i := range movesSecond { // to b, a, b, a, b
		st, want := b, atB
		if i%2 == 1 {
			st, want = a, atA
		}
		if got := from(st, twice); got != want {
			t.Fatalf("move %d leads to %v, want %v", i, got, want)
		}
	}
	if got := from(a, twice); got != atA { // the sixth: from now on it stays
		t.Fatalf("at %v", got)
	}
	for second := range uint32(holdSeconds) {
		for range 3 {
			if got := from(b, twice); got != atA {
				t.Fatalf("moved to %v %d s after it was held", got, second)
			}
			from(a, twice)
		}
		if got := from(b, roamer); got != atB {
			t.Errorf("another address is held too, at %v", got)
		}
		s.second.Add(1)
	}
	want := Event{Kind: EventFlap, Domain: d, MAC: twice, At: atA, Other: atB}
	if got := s.takeEvents(); len(got) != 1 || got[0] != want {
		t.Errorf("events %+v, want %+v", got, want)
	}
	if got := from(b, twice); got != atB {
		t.Errorf("after the hold it moves no more: at %v", got)
	}
	for range 4 { // one move a second is a station that roams
		s.second.Add(1)
		from(a, roamer)
		s.second.Add(1)
		if got := from(b, roamer); got != atB {
			t.Errorf("a slow roamer is at %v", got)
		}
	}
	if got := s.takeEvents(); len(got) != 0 {
		t.Errorf("events %+v", got)
	}
	if got := c.Drain(); got == 0 {
		t.Error("frames of an address that flaps are not forwarded")
	}
	wantBalance(t, s)
}

// TestAttachedElsewhere has a port send from an address that is attached to
// another (B29): its entry does not move, and control hears of it.
func TestAttachedElsewhere(t *testing.T) {
	s, w, d := still(t, Config{})
	a, b := attach(t, s, d, 1, allowSpoof), attach(t, s, d, 2)
	for range movesSecond + 1 {
		a.Send(offload.Header{}, testFrame(header.Broadcast, b.mac, 46))
	}
	w.batch(a.id)
	want := Event{Kind: EventFlap, Domain: d, MAC: b.mac, At: fib.PortDest(uint16(b.id)), Other: fib.PortDest(uint16(a.id))}
	if got := s.takeEvents(); len(got) != 1 || got[0] != want {
		t.Errorf("events %+v, want %+v", got, want)
	}
	wantBalance(t, s)
}

// TestMovesByTwoWorkers is for the race detector.
func TestMovesByTwoWorkers(t *testing.T) {
	told := make(chan Event, 64)
	s, d := testSwitch(t, Config{Workers: 2, Event: func(e Event) { told <- e }})
	a, b, c := attach(t, s, d, 1, allowSpoof), attach(t, s, d, 2, allowSpoof), attach(t, s, d, 3)
	const mac header.MAC = 0x0600_0000_0001
	deadline := time.After(2 * patience)
	for {
		for range 20 {
			a.Send(offload.Header{}, testFrame(c.mac, mac, 46))
			b.Send(offload.Header{}, testFrame(c.mac, mac, 46))
		}
		c.Drain()
		select {
		case e := <-told:
			if e.Kind != EventFlap || e.MAC != mac || e.At == e.Other {
				t.Errorf("event %+v", e)
			}
			wantBalance(t, s)
			return
		case <-deadline:
			t.Fatal("nobody was told")
		case <-time.After(time.Millisecond):
		}
	}
}
