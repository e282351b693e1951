package encap

import (
	"strings"
	"testing"
	"time"

	"weft/internal/drop"
)

// TestSessionClockForward has the clock of one side leap: at most the other seems
// gone for a moment. What is gone does not come back by it.
func TestSessionClockForward(t *testing.T) {
	for _, leap := range []time.Duration{helloMissed, helloLost, time.Minute, 19 * time.Minute, 30 * time.Minute, 40 * time.Minute, 71 * time.Minute, 1000 * time.Hour} {
		t.Run(leap.String(), func(t *testing.T) {
			n := newTestNet(t)
			n.run(20 * time.Second)
			n.skew[0] += leap
			for i := range n.side {
				n.until(2*time.Second, "up", n.is(i, PathUp, CarrierUDP))
			}
			n.run(10 * time.Second)
			for i := range n.side {
				n.until(holdFirst+2*time.Second, "up still, by the same carrier", n.is(i, PathUp, CarrierUDP))
			}
			n.side[1] = nil
			n.skew[0] += leap
			n.until(3*time.Second, "down", func() bool { return n.side[0].state == PathDown })
			for range 10 {
				n.skew[0] += leap
				n.run(time.Second)
				if s := n.side[0]; s.state != PathDown {
					t.Fatalf("up without a peer: %s", s)
				}
			}
		})
	}
}

// TestSessionClockBack takes one side back to what it was a while ago, its clock
// too, as where a virtual machine is set back to a snapshot: the peer takes what
// it says for news, not for old messages sent again.
func TestSessionClockBack(t *testing.T) {
	for _, back := range []time.Duration{time.Second, 10 * time.Second, time.Minute, 19 * time.Minute, 30 * time.Minute, 50 * time.Minute, 5 * time.Hour} {
		t.Run(back.String(), func(t *testing.T) {
			n := newTestNet(t)
			n.run(20 * time.Second)
			was := *n.side[1]
			n.run(back)
			n.side[1], n.skew[1] = &was, -back
			for range 20 {
				n.run(100 * time.Millisecond)
				if s := n.side[0]; s.state != PathUp {
					t.Fatalf("the other side: %s", s)
				}
			}
			n.run(2 * forgetAfter) // where what was past looks like future: until it is met again
			for i := range n.side {
				n.until(time.Second, "up", n.is(i, PathUp, CarrierUDP))
			}
			n.run(time.Minute)
			for i, s := range n.side {
				if s.state != PathUp || s.rtt < 300*time.Microsecond || s.rtt > 500*time.Microsecond {
					t.Errorf("side %d a minute later, round trip %v: %s", i, s.rtt, s)
				}
			}
		})
	}
}

// TestHelloClock holds that the clock of sessions is a monotonic one, which nobody
// sets, and that it stands still while this host did not listen. A time that has a
// monotonic reading prints it as m=; two such are subtracted by it alone (package
// time, "Monotonic Clocks").
func TestHelloClock(t *testing.T) {
	u, err := newUnderlay(Config{}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	u.StartHello()
	h := u.hello.Load()
	h.end()
	u.hello.Store(nil)
	for what, at := range map[string]time.Time{"start": h.start, "last": h.last} {
		if !strings.Contains(at.String(), " m=") {
			t.Errorf("%s is a time of the day: %v", what, at)
		}
	}

	h.start, h.lost = time.Now(), 0
	h.last = h.start
	for _, late := range []time.Duration{0, helloLate / 2, time.Minute, time.Hour, 0} {
		before := h.now(h.last)
		h.last, h.start = h.last.Add(-late), h.start.Add(-late) // so much has passed since
		h.follow()
		got := h.now(time.Now()) - before
		if stood := late > helloLate; stood != (got < late) || got < 0 {
			t.Errorf("%v late, the clock went on by %v", late, got)
		}
		h.last = time.Now()
	}

	fields := GREFields{Protocol: ProtoHello, HasKey: true, Key: helloKey}
	b := make([]byte, fields.Len())
	fields.Put(b)
	g, reason := ParseGRE((&hello{boot: 1, nonce: 2}).appendTo(b))
	if reason != drop.None || !h.take(&peer{way: new(way)}, CarrierGRE, g) {
		t.Fatal("a hello is none")
	}
	if m := <-h.heard; !strings.Contains(m.at.String(), " m=") {
		t.Errorf("heard at a time of the day: %v", m.at)
	}
}
