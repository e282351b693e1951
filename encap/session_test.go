package encap

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// net is a network between two sessions, with a clock of its own. What one sends
// at a time arrives after delay, unless passes refuses it.
type testNet struct {
	t      *testing.T
	now    time.Duration
	side   [2]*session
	delay  time.Duration
	flight []inFlight
	passes func(from int, c Carrier, size int) bool
	sent   [2]int
	skew   [2]time.Duration              // of a side's clock
	slower func(c Carrier) time.Duration // what a carrier takes longer than delay, if set
	each   func()                        // called every step, if set
	took   func(to int, f *inFlight)     // called for whatever arrives, if set
}

type inFlight struct {
	at   time.Duration
	to   int
	c    Carrier
	size int
	m    hello
}

func newTestNet(t *testing.T) *testNet {
	n := &testNet{t: t, delay: 200 * time.Microsecond, passes: func(int, Carrier, int) bool { return true }}
	for i := range n.side {
		n.start(i, ChooseAuto)
	}
	return n
}

// start makes a side anew, as a restart does.
func (n *testNet) start(i int, choice Choice) {
	n.side[i] = newSession(n.now, choice, [carriers]bool{true, true}, nonce(), nonce(), func() float64 { return 0.5 })
	n.side[i].setMTU(n.now, 1500)
}

func (n *testNet) send(from int, list []sending) {
	for _, out := range list {
		n.sent[from]++
		m := n.side[from].message(n.now+n.skew[from], out)
		got, ok := parseHello(m.appendTo(nil))
		if !ok {
			n.t.Fatal("message does not parse")
		}
		size := max(out.size, 120)
		delay := n.delay
		if n.slower != nil {
			delay += n.slower(out.carrier)
		}
		if n.passes(from, out.carrier, size) {
			n.flight = append(n.flight, inFlight{n.now + delay, 1 - from, out.carrier, size, got})
		}
	}
}

// run lets d pass.
func (n *testNet) run(d time.Duration) {
	const step = 5 * time.Millisecond
	for end := n.now + d; n.now < end; n.now += step {
		if n.each != nil {
			n.each()
		}
		for i, s := range n.side {
			if s != nil {
				n.send(i, s.tick(n.now+n.skew[i]))
			}
		}
		for { // answers to answers arrive within the step, too
			slices.SortStableFunc(n.flight, func(a, b inFlight) int { return cmp.Compare(a.at, b.at) })
			if len(n.flight) == 0 || n.flight[0].at >= n.now+step {
				break
			}
			f := n.flight[0]
			n.flight = n.flight[1:]
			if s := n.side[f.to]; s != nil {
				if n.took != nil {
					n.took(f.to, &f)
				}
				before := n.now
				n.now = f.at
				n.send(f.to, s.receive(f.at+n.skew[f.to], f.c, f.size, &f.m))
				n.now = before
			}
		}
	}
}

// until runs until cond, at most d, and returns how long it took.
func (n *testNet) until(d time.Duration, what string, cond func() bool) time.Duration {
	n.t.Helper()
	start := n.now
	for !cond() {
		if n.now-start > d {
			n.t.Fatalf("not %s within %v: %s; %s", what, d, n.side[0], n.side[1])
		}
		n.run(20 * time.Millisecond)
	}
	return n.now - start
}

func (s *session) String() string {
	return fmt.Sprintf("%v (%s) by %v (%s) %+v", s.state, s.why, s.active, s.because, s.lines)
}

func (n *testNet) is(i int, state PathState, c Carrier) func() bool {
	return func() bool { return n.side[i].state == state && n.side[i].active == c }
}

// TestSessionMeets lets two switches meet: both are up within a second, by the
// faster carrier, with a round-trip time and the size that passes.
func TestSessionMeets(t *testing.T) {
	n := newTestNet(t)
	for i := range n.side {
		n.until(time.Second, "up", n.is(i, PathUp, CarrierUDP))
		s := n.side[i]
		if s.rtt < 300*time.Microsecond || s.rtt > 500*time.Microsecond {
			t.Errorf("side %d: round trip %v, want 400 µs", i, s.rtt)
		}
		if s.mtu() != 0 || s.lines[CarrierUDP].size != 1500 {
			t.Errorf("side %d: size %d", i, s.lines[CarrierUDP].size)
		}
	}
	n.run(time.Minute)
	n.sent = [2]int{}
	n.run(2 * time.Minute)
	if got := float64(n.sent[0]) / 120; got > 2 {
		t.Errorf("idle: %v messages a second", got)
	}
}

// TestSessionLoss takes one side away and gives it back.
func TestSessionLoss(t *testing.T) {
	n := newTestNet(t)
	n.run(20*time.Second + 333*time.Millisecond)
	n.passes = func(int, Carrier, int) bool { return false }
	if took := n.until(3*time.Second, "down", n.is(0, PathDown, CarrierUDP)); took < 1500*time.Millisecond {
		t.Errorf("down after %v already", took)
	}
	n.until(20*time.Second, "back to raw GRE", n.is(0, PathDown, CarrierGRE))
	n.run(time.Minute)
	n.passes = func(int, Carrier, int) bool { return true }
	n.until(2*time.Second, "up again", n.is(0, PathUp, CarrierUDP))
	n.until(2*time.Second, "up again", n.is(1, PathUp, CarrierUDP))
}

// TestSessionRestart starts one side again: the other one never thinks it down.
func TestSessionRestart(t *testing.T) {
	n := newTestNet(t)
	n.run(10 * time.Second)
	n.start(1, ChooseAuto)
	for range 50 {
		n.run(20 * time.Millisecond)
		if n.side[0].state != PathUp {
			t.Fatalf("after a restart of the peer: %s", n.side[0])
		}
	}
	n.until(time.Second, "up", n.is(0, PathUp, CarrierUDP))
	n.until(time.Second, "up", n.is(1, PathUp, CarrierUDP))
	if n.side[0].peerBoot != n.side[1].boot {
		t.Error("the old session goes on")
	}
}

// TestSessionCarrier blocks one carrier in one direction or both: within seconds
// the other one is in use where needed, and only there, and later the first again.
func TestSessionCarrier(t *testing.T) {
	for _, blocked := range []Carrier{CarrierGRE, CarrierUDP} {
		for _, from := range []int{0, 1, -1} {
			t.Run(fmt.Sprintf("%v from %d", blocked, from), func(t *testing.T) {
				n := newTestNet(t)
				for _, s := range n.side {
					s.faster = blocked
				}
				n.until(2*time.Second, "up", n.is(0, PathUp, blocked))
				n.run(17 * time.Second)
				n.passes = func(f int, c Carrier, _ int) bool { return c != blocked || from >= 0 && f != from }
				for i := range n.side {
					if from < 0 || from == i {
						n.until(4*time.Second, "by the other carrier", n.is(i, PathUp, 1-blocked))
					}
				}
				for range 1000 {
					n.run(50 * time.Millisecond)
					for i, s := range n.side {
						want := blocked
						if from < 0 || from == i {
							want = 1 - blocked
						}
						if s.state != PathUp || s.active != want {
							t.Fatalf("side %d, while blocked: %s", i, s)
						}
					}
				}
				n.passes = func(int, Carrier, int) bool { return true }
				for i := range n.side {
					n.until(holdFirst+5*time.Second, "by the first carrier again", n.is(i, PathUp, blocked))
				}
			})
		}
	}
}

// TestSessionBlockedFromStart meets with one carrier blocked.
func TestSessionBlockedFromStart(t *testing.T) {
	for _, blocked := range []Carrier{CarrierGRE, CarrierUDP} {
		n := newTestNet(t)
		n.passes = func(_ int, c Carrier, _ int) bool { return c != blocked }
		n.until(time.Second, "up", n.is(0, PathUp, 1-blocked))
		n.run(20 * time.Second)
		if !n.is(0, PathUp, 1-blocked)() {
			t.Errorf("%v blocked: %s", blocked, n.side[0])
		}
	}
}

// TestSessionForced keeps to the carrier that is set, also where it does not pass.
func TestSessionForced(t *testing.T) {
	n := newTestNet(t)
	n.start(0, ChooseGRE)
	n.until(time.Second, "up", n.is(0, PathUp, CarrierGRE))
	n.until(3*time.Second, "up", n.is(1, PathUp, CarrierUDP))
	n.passes = func(_ int, c Carrier, _ int) bool { return c != CarrierGRE }
	n.until(4*time.Second, "down", n.is(0, PathDown, CarrierGRE))
}

// TestSessionDeaf lets A hear B, but not B hear A.
func TestSessionDeaf(t *testing.T) {
	n := newTestNet(t)
	n.run(5 * time.Second)
	n.passes = func(from int, _ Carrier, _ int) bool { return from == 1 }
	n.until(4*time.Second, "down", func() bool { return n.side[0].state == PathDown && n.side[1].state == PathDown })
	n.run(time.Second)
	if n.side[0].why != "it is heard, but hears nothing from here" || n.side[1].why != "it does not answer the hello" {
		t.Errorf("A: %s\nB: %s", n.side[0], n.side[1])
	}
	n = newTestNet(t)
	n.passes = func(from int, _ Carrier, _ int) bool { return from == 1 }
	n.run(time.Minute)
	if n.side[0].state != PathUnknown { // nothing proves that it was B
		t.Errorf("deaf from the start: %s", n.side[0])
	}
}

// TestSessionLossy loses every fifth datagram: nobody is down.
func TestSessionLossy(t *testing.T) {
	n := newTestNet(t)
	random := rand.New(rand.NewPCG(1, 2))
	n.passes = func(int, Carrier, int) bool { return random.IntN(5) != 0 }
	n.until(5*time.Second, "up", func() bool { return n.side[0].state == PathUp && n.side[1].state == PathUp })
	for range 10000 {
		n.run(50 * time.Millisecond)
		if n.side[0].state != PathUp || n.side[1].state != PathUp {
			t.Fatalf("at %v: %s; %s", n.now, n.side[0], n.side[1])
		}
	}
}

// blackHole is how long a path may swallow what is too large for it before that is
// found.
const blackHole = 11 * time.Second

// TestSessionSize finds what passes, follows it down and up, and never believes
// more than the link's MTU.
func TestSessionSize(t *testing.T) {
	n := newTestNet(t)
	limit := 1472
	n.passes = func(_ int, _ Carrier, size int) bool { return size <= limit }
	size := func(want int) func() bool { return func() bool { return n.side[0].mtu() == want } }
	n.until(10*time.Second, "1472", size(1472))
	limit = 1399 // without a word from anybody
	n.until(blackHole, "1360", size(1360))
	limit = 1290 // again
	n.until(blackHole, "1280", size(1280))
	limit = 1500
	n.until(probeAgain+5*time.Second, "all", size(0))
	limit = 300 // not even what every path carries
	n.until(blackHole, "576", size(576))
	limit = 9000
	n.side[0].setMTU(n.now, 9000)
	n.until(2*time.Minute, "all of 9000", func() bool { return n.side[0].lines[0].size == 9000 && n.side[0].mtu() == 0 })
	n.side[0].setMTU(n.now, 1500)
	n.until(2*time.Second, "all of 1500", func() bool { return n.side[0].lines[0].size == 1500 })
	m := hello{boot: n.side[1].boot, nonce: n.side[1].nonce, echo: n.side[0].nonce, echoed: true, clock: n.side[0].theirClock + 1}
	m.heard[0] = heardItem{there: true, round: n.side[0].lines[0].round, size: 60000}
	n.side[0].receive(n.now, 0, 100, &m)
	if got := n.side[0].lines[0].size; got != 1500 {
		t.Errorf("believed %d", got)
	}
}

// TestSessionSizeSpare has one carrier after the other pass less: by whichever the
// peer is spoken to, what is too large for it is found.
func TestSessionSizeSpare(t *testing.T) {
	n := newTestNet(t)
	limit, blocked := 1500, Carrier(carriers)
	n.passes = func(_ int, c Carrier, size int) bool { return size <= limit && c != blocked }
	n.until(5*time.Second, "up", n.is(0, PathUp, CarrierUDP))
	n.run(20 * time.Second)
	limit, blocked = 1399, CarrierUDP
	n.until(5*time.Second+blackHole, "1360 by the other", func() bool { return n.is(0, PathUp, CarrierGRE)() && n.side[0].mtu() == 1360 })
}

// TestSessionSizeLossy loses a third of everything: nobody takes that for a path
// that is smaller, or not for long.
func TestSessionSizeLossy(t *testing.T) {
	n := newTestNet(t)
	random := rand.New(rand.NewPCG(3, 4))
	n.passes = func(int, Carrier, int) bool { return random.IntN(3) != 0 }
	n.run(20 * time.Second)
	small := 0
	for range 36000 {
		n.run(100 * time.Millisecond)
		if n.side[0].state == PathUp && n.side[0].mtu() != 0 {
			small++
		}
	}
	if small > 36000/50 { // sending each size once in a round, it is 369 s
		t.Errorf("small for %d s of an hour", small/10)
	}
}

// TestSessionPeersLink has the MTU of a host's own link fall, and rise: it says so
// at once, and the peer sends no more than fits; where more arrives all the same, as
// where another link is the one by which datagrams come, the peer finds out.
func TestSessionPeersLink(t *testing.T) {
	for _, arrives := range []int{1390, 1500} {
		n := newTestNet(t)
		limit := 1500
		n.passes = func(from int, _ Carrier, size int) bool { return from == 1 || size <= limit }
		n.run(20 * time.Second)
		limit = arrives
		n.side[1].setMTU(n.now, 1390)
		want := 0
		if arrives == 1390 {
			want = 1390
			n.until(100*time.Millisecond, "1390", func() bool { return n.side[0].mtu() == 1390 })
		}
		n.run(5 * time.Second)
		if got := n.side[0].mtu(); got != want {
			t.Errorf("%d bytes arrive: found %d, want %d", arrives, got, want)
		}
		limit = 1500
		n.side[1].setMTU(n.now, 1500)
		n.until(2*time.Second, "all again", func() bool { return n.side[0].mtu() == 0 })
	}
}

// TestSessionDoubt tells a session that less passes: where that is so it finds out
// within seconds, also right after it has looked of its own accord; a lie costs two
// datagrams in five seconds, and nothing else.
func TestSessionDoubt(t *testing.T) {
	n := newTestNet(t)
	limit := 1500
	n.passes = func(_ int, _ Carrier, size int) bool { return size <= limit }
	shrink := func(to int) {
		n.t.Helper()
		limit = 1300
		n.side[0].doubt(n.now, 1300)
		n.until(4*time.Second, fmt.Sprint(to), func() bool { return n.side[0].mtu() == to })
	}
	n.run(20 * time.Second)
	shrink(1280)
	n.sent[0] = 0
	for range 200 { // what routers say of the probes is no news
		n.side[0].doubt(n.now, 1300)
		n.run(50 * time.Millisecond)
	}
	if n.sent[0] > 30 {
		t.Errorf("%d messages in 10 s after claims that are known", n.sent[0])
	}

	limit = 1500
	l := &n.side[0].lines[n.side[0].active]
	n.until(time.Minute, "all", func() bool { return l.size == 1500 })
	last := l.probed
	n.until(2*probeEvery, "looked at again", func() bool { return l.probed > last && l.rounds == 0 })
	shrink(1280)

	n = newTestNet(t)
	n.run(20 * time.Second)
	n.sent[0] = 0
	searches, rounds := 0, [carriers]uint16{n.side[0].lines[0].round, n.side[0].lines[1].round}
	for range 20000 {
		n.side[0].doubt(n.now, 68)
		n.run(5 * time.Millisecond)
		for c, l := range n.side[0].lines {
			if l.size != 1500 || n.side[0].mtu() != 0 {
				t.Fatalf("a lie was believed: %s", n.side[0])
			}
			if l.round != rounds[c] {
				searches++
			}
			rounds[c] = l.round
		}
	}
	if searches < carriers*19 || searches > carriers*(21+2) { // one in 5 s for lies, one in a minute anyway
		t.Errorf("%d searches in 100 s of lies", searches)
	}
	if n.sent[0] > 2*(2*carriers*20)+2*111 { // a search by each carrier in 5 s, and hellos, of 100 s
		t.Errorf("%d messages in 100 s of lies", n.sent[0])
	}
}

// TestSessionForged has a stranger who can forge the peer's address but sees
// nothing: it cannot make a session, nor break one, nor change its carrier, and
// gets the peers to send little.
func TestSessionForged(t *testing.T) {
	forge := func(n *testNet, to int) {
		m := hello{ask: true, boot: nonce(), nonce: nonce(), echo: nonce(), echoed: true, probe: 77}
		m.heard[CarrierGRE] = heardItem{there: true, age: 0, round: 1, size: 60000}
		m.heard[CarrierUDP] = heardItem{there: true, age: maxAge}
		n.send(to, n.side[to].receive(n.now, Carrier(n.sent[0]%2), 1500, &m))
	}
	n := newTestNet(t)
	n.run(20 * time.Second)
	was, boots := *n.side[0], n.side[1].boot
	sent := n.sent[0] + n.sent[1]
	for range 100 {
		for range 100 {
			forge(n, 0)
		}
		n.run(100 * time.Millisecond)
		s := n.side[0]
		if s.state != PathUp || s.active != was.active || s.peerBoot != boots || s.lines[0].size != was.lines[0].size {
			t.Fatalf("10000 forgeries made %s of %s", s, &was)
		}
	}
	if grown := n.sent[0] + n.sent[1] - sent; grown > 10*(2*20+8) { // by each carrier 20 a second, and what goes on anyway
		t.Errorf("%d messages in 10 s", grown)
	}

	n = newTestNet(t)
	n.side[1] = nil // nobody there
	for range 100 {
		forge(n, 0)
		n.run(100 * time.Millisecond)
	}
	if s := n.side[0]; s.state != PathUnknown || s.verified != never || s.active != CarrierGRE {
		t.Errorf("a session with nobody: %s", s)
	}
}

// TestSessionForgedRestart restarts a side while a thousand forgeries a second
// arrive at each: both are up within 2 seconds all the same.
func TestSessionForgedRestart(t *testing.T) {
	kinds := map[string]func(fixed *hello) *hello{
		"one nonce": func(fixed *hello) *hello { return fixed },
		"random":    func(*hello) *hello { return &hello{ask: true, boot: nonce(), nonce: nonce()} },
	}
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			random := rand.New(rand.NewPCG(1, 2))
			n := newTestNet(t)
			start := func(i int) {
				n.start(i, ChooseAuto)
				n.side[i].random = random.Float64
			}
			start(0)
			start(1)
			fixed := &hello{ask: true, boot: nonce(), nonce: nonce()}
			n.each = func() { // 5 ms
				for range 5 {
					for to, s := range n.side {
						n.send(to, s.receive(n.now, Carrier(random.IntN(carriers)), 60, kind(fixed)))
					}
				}
			}
			for round := range 20 {
				n.until(2*time.Second, "up", n.is(0, PathUp, CarrierUDP))
				n.until(2*time.Second, "up", n.is(1, PathUp, CarrierUDP))
				n.run(5 * time.Second)
				start(round % 2)
				for range 100 {
					n.run(20 * time.Millisecond)
					if s := n.side[1-round%2]; s.state != PathUp {
						t.Fatalf("round %d: the side that stayed: %s", round, s)
					}
				}
			}
		})
	}
}

// TestSessionReplayed has a stranger send again what it saw: a peer that is gone
// stays down, whether it was started again before or not, however long it is gone.
func TestSessionReplayed(t *testing.T) {
	for _, restarts := range []int{0, 1, 3} {
		n := newTestNet(t)
		n.run(time.Second)
		var seen []inFlight
		n.took = func(to int, f *inFlight) {
			if to == 0 {
				seen = append(seen, *f)
			}
		}
		for range restarts {
			n.run(10 * time.Second)
			n.start(1, ChooseAuto)
		}
		n.run(40 * time.Second)
		n.took = nil
		n.until(time.Second, "up", n.is(0, PathUp, CarrierUDP))
		n.side[1] = nil
		n.run(5 * time.Second)
		for i := range 100 * len(seen) {
			f := seen[i%len(seen)]
			n.send(0, n.side[0].receive(n.now, f.c, f.size, &f.m))
			n.send(0, n.side[0].receive(n.now, 1-f.c, f.size, &f.m))
			n.run(10*time.Millisecond + time.Duration(i)*100*time.Microsecond)
			if n.side[0].state != PathDown {
				t.Fatalf("%d restarts: up by replay %d at %v: %s", restarts, i, n.now, n.side[0])
			}
		}
		n.start(1, ChooseAuto)
		n.until(20*time.Second, "up again", n.is(0, PathUp, CarrierUDP))
	}
}

// TestSessionReordered has one carrier slower than the other: both are heard.
func TestSessionReordered(t *testing.T) {
	for slow := range Carrier(carriers) {
		n := newTestNet(t)
		n.slower = func(c Carrier) time.Duration {
			if c == slow {
				return 30 * time.Millisecond
			}
			return 0
		}
		n.run(20 * time.Second)
		for range 1000 {
			n.run(100 * time.Millisecond)
			for i, s := range n.side {
				if s.state != PathUp || !s.passes(n.now, CarrierGRE) || !s.passes(n.now, CarrierUDP) {
					t.Fatalf("side %d with a slow %v: %s", i, slow, s)
				}
			}
		}
	}
}

// TestSessionLongSilence cuts a network for so long that the clock in hellos wraps.
func TestSessionLongSilence(t *testing.T) {
	for _, d := range []time.Duration{15 * time.Minute, 40 * time.Minute, 75 * time.Minute, 3 * time.Hour} {
		n := newTestNet(t)
		n.run(10 * time.Second)
		n.passes = func(int, Carrier, int) bool { return false }
		n.run(d)
		n.passes = func(int, Carrier, int) bool { return true }
		n.until(15*time.Second, "up again", n.is(0, PathUp, CarrierUDP))
		n.until(2*time.Second, "up again", n.is(1, PathUp, CarrierUDP))
		n.passes = func(_ int, c Carrier, _ int) bool { return c != CarrierUDP }
		n.run(d)
		n.passes = func(int, Carrier, int) bool { return true }
		n.until(2*holdFirst, "by the faster carrier again", n.is(0, PathUp, CarrierUDP))
	}
}

// TestSessionSilentPeer asks a peer that speaks no weft less and less often.
func TestSessionSilentPeer(t *testing.T) {
	n := newTestNet(t)
	n.side[1] = nil
	n.run(10 * time.Minute)
	n.sent[0] = 0
	n.run(10 * time.Minute)
	if n.sent[0] > 25 {
		t.Errorf("%d messages in ten minutes", n.sent[0])
	}
	if s := n.side[0]; s.state != PathUnknown || s.active != CarrierGRE {
		t.Errorf("%s", s)
	}
	n.start(1, ChooseAuto) // weft is started there after all
	n.until(2*time.Second, "up", n.is(0, PathUp, CarrierUDP))
}

// TestSessionSelf hears itself: the peer's address leads back here.
func TestSessionSelf(t *testing.T) {
	n := newTestNet(t)
	n.side[1] = n.side[0]
	n.run(10 * time.Second)
	if n.side[0].state != PathUnknown {
		t.Errorf("%s", n.side[0])
	}
}

// FuzzHello parses anything; what parses survives being written and read again.
func FuzzHello(f *testing.F) {
	m := hello{ask: true, boot: 1, nonce: 2, echo: 3, clock: 4, echoed: true, echoClock: 5, held: 6, probe: 7}
	m.heard[1] = heardItem{true, 8 * time.Millisecond, 9, 10}
	m.link = 1500
	f.Add(m.appendTo(nil))
	f.Add(append((&hello{nonce: 1}).appendTo(nil), make([]byte, 100)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, ok := parseHello(b)
		if !ok {
			return
		}
		again, ok := parseHello(m.appendTo(nil))
		if !ok || again != m {
			t.Errorf("%+v became %+v, %v", m, again, ok)
		}
		s := newSession(0, ChooseAuto, [carriers]bool{true, true}, 1, m.echo, func() float64 { return 0 })
		s.setMTU(0, 1500)
		for now := range time.Duration(3) {
			s.receive(now*time.Second, Carrier(m.nonce%2), len(b), &m)
			s.tick(now * time.Second)
		}
	})
}

// TestHelloVersions reads what later versions might send.
func TestHelloVersions(t *testing.T) {
	m := hello{boot: 1, nonce: 2, echo: 3, clock: 4}
	b := m.appendTo(nil)
	longer := append(slices.Clone(b), 99, 3, 1, 2, 3, itemProbe, 4, 0, 7, 0, 0, itemHeard, 8, 200, 0, 0, 0, 0, 0, 0, 0)
	longer[7] += byte(len(longer) - len(b))
	if got, ok := parseHello(longer); !ok || got.clock != 4 || got.probe != 7 {
		t.Errorf("unknown items: %+v, %v", got, ok)
	}
	other := slices.Clone(b)
	other[4]++
	for what, bad := range map[string][]byte{
		"another version": other, "cut": b[:len(b)-1], "no item's value": append(slices.Clone(b[:6]), append([]byte{0, 1}, b[8:]...)...),
		"no nonce": (&hello{boot: 1}).appendTo(nil), "nothing": nil,
	} {
		if _, ok := parseHello(bad); ok {
			t.Errorf("%s: parsed", what)
		}
	}
}
