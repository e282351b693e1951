package encap

import (
	"fmt"
	"slices"
	"time"
)

// A session is the state of the hello with one peer. It knows no sockets and no
// clock, so that a test can play any network to it: Hello (hello.go) gives it
// what arrives and the time, and sends what it returns.
//
// What makes a peer known is that it returns the nonce that only it was told.
// Whoever forges a source address without seeing the path cannot, and what does
// not return the nonce changes nothing but who is answered: all that ask within a
// moment, in one message, so that a flood of forgeries does not hide the peer.
//
// Whoever sees the path can send again what passed there. So the clock of what
// comes must have gone forward, by each carrier, since hellos by different ones
// may overtake each other. And the nonce is a new one after a restart of the peer,
// and after a long silence: what was seen before, by then nobody believes. A host
// that was set back in time, as virtual machines are, learns from the peer what it
// said already, and goes on from there.
//
// Every message tells, by carrier, how long ago the sender heard the receiver by
// it. So each side knows of both directions, and chooses the carrier for its own.
const (
	helloEvery  = 900 * time.Millisecond  // between hellos by the carrier in use
	helloSpare  = 3                       // every so many of them go by the other carriers too
	helloUrgent = 250 * time.Millisecond  // between hellos that ask, when something is missing
	helloMissed = 1300 * time.Millisecond // after which something is missing
	helloLost   = 2600 * time.Millisecond // after which the peer is down
	carrierLost = 2 * time.Second         // after which a carrier does not pass any more
	spareLost   = 3*helloSpare*helloEvery + helloMissed
	helloTries  = 8                // hellos before a silent peer is asked less often
	helloSeldom = time.Minute      // between hellos to a peer that seems to speak none
	forgetAfter = 10 * time.Second // down, before the peer is taken for anybody: it gets raw GRE
	holdFirst   = 5 * time.Second  // that a carrier that failed must pass before it is used again
	holdMost    = time.Minute
	forgive     = 10 * time.Minute // in use, after which it may return at once
	tiresAfter  = time.Hour        // down, after which the peer is asked less often
	helloTired  = 10 * time.Second
	answerEvery = 50 * time.Millisecond // at most, by each carrier; as often to strangers
	overtaken   = time.Second           // that a hello may be older than one by another carrier
	renewAfter  = 20 * time.Minute      // of silence, well before the clock in hellos wraps (71 minutes, RFC 1982)
)

// Size probes: datagrams with DF of the size that is asked about. The carrier in
// use is asked all the time whether the longest that passed still does, since a path
// that swallows what is too large for it says so to nobody.
const (
	probeWait  = time.Second      // for what the peer says of a round
	probeTries = 3                // rounds before a size counts as too large
	probeTimes = 3                // that the size in question is sent in a round, but for the first
	probeEvery = 7 * time.Second  // between searches, by the carrier in use
	probeSpare = time.Minute      // by another
	probeAgain = 30 * time.Second // before more is tried than is known to pass
	probeDoubt = 5 * time.Second  // between searches because somebody claims that less passes, however often
	leastMTU   = 576              // what every path carries (RFC 791 section 3.1); what is less is not believed
)

// probeSizes are the sizes between leastMTU and the link's MTU that are tried,
// those that links and tunnels commonly leave.
var probeSizes = [...]int{leastMTU, 1000, 1280, 1360, 1400, 1420, 1440, 1460, 1472, 1480, 1492, 1500, 2000, 4000, 8000, 8950, 9000}

const never = -1 << 62 * time.Nanosecond // a time before all others

// Choice says which carriers a peer may be spoken to by.
type Choice uint8

// Choices.
const (
	ChooseAuto Choice = iota // raw GRE to anyone; to another weft whichever passes and is faster
	ChooseGRE                // raw GRE
	ChooseUDP                // GRE-in-UDP
)

// session is the state of the hello with one peer. All times are those of the
// clock that Hello reads, from its start.
type session struct {
	choice  Choice
	able    [carriers]bool // what this host can send by
	faster  Carrier        // of those that pass
	linkMTU int
	theirs  int            // MTU of the peer's own link, as it tells; 0: it does not
	boot    uint64         // of this process
	nonce   uint64         // for this peer
	random  func() float64 // 0 to 1, for jitter

	peerBoot, peerNonce uint64        // 0: not known
	claimed             uint64        // nonce of the last message that did not return ours
	verified            time.Duration // when the last message that did came
	theirClock          uint32        // of that message
	rtt                 time.Duration
	lines               [carriers]line

	tries   int           // hellos since anything came
	wait    time.Duration // of a peer that seems to speak none
	next    time.Duration // when the next hello is due
	asked   time.Duration // when the last one went out
	turn    int           // of helloSpare
	renewed time.Duration // when nonce was changed
	clock   uint32        // of the last message that was sent

	state    PathState
	why      string
	since    time.Duration // of state
	active   Carrier
	activeAt time.Duration // since when
	because  string        // active is in use
	hold     time.Duration // that a carrier must pass before it is used again
}

// line is one carrier to one peer.
type line struct {
	heard    time.Duration // when the peer was heard by it
	inRound  uint16        // of its size probes
	inSize   int
	answered time.Duration // when the last answer went out
	clock    uint32        // what the peer sent until then is of the past

	strange   time.Duration // when strangers were answered last
	strangers []uint64      // nonces that wait for it, a random choice of those that came
	cameBy    int           // how many did

	told   time.Duration // when the peer told how it hears us
	age    time.Duration // what it told: since when it had not
	good   time.Duration // since when that was well
	isGood bool

	size    int // the longest datagram that passes; 0: not known
	round   uint16
	rounds  int // of the search at work; 0: none
	sought  int // the size that it is about
	best    int // that passed in it
	probed  time.Duration
	probeAt time.Duration // when the next search begins
	wholeAt time.Duration // when one is about all that the link carries, though less is known to pass
	doubted time.Duration // for when a search was last set because of a claim
}

// sending is a message to be sent.
type sending struct {
	carrier Carrier
	ask     bool
	echo    uint64
	also    []uint64 // nonces that are returned besides
	probe   uint16
	size    int // of the whole datagram; 0: as long as it is
}

func newSession(now time.Duration, choice Choice, able [carriers]bool, boot, nonce uint64, random func() float64) *session {
	s := &session{
		choice: choice, able: able, boot: boot, nonce: nonce, random: random,
		verified: never, renewed: now, activeAt: now, since: now, next: now, faster: CarrierUDP,
	}
	for c := range s.lines {
		l := &s.lines[c]
		l.heard, l.told, l.answered, l.probed, l.doubted, l.strange = never, never, never, never, never, never
	}
	s.begin(now)
	return s
}

// begin chooses as for anybody.
func (s *session) begin(now time.Duration) {
	switch s.choice {
	case ChooseUDP:
		s.use(now, CarrierUDP, "set by encap=gre-udp")
	case ChooseGRE:
		s.use(now, CarrierGRE, "set by encap=gre")
	default:
		s.use(now, CarrierGRE, "raw GRE to anyone; the peer has not answered the hello of weft")
	}
}

func (s *session) use(now time.Duration, c Carrier, why string) {
	if s.active != c {
		s.activeAt = now
		s.lines[c].probeAt = min(s.lines[c].probeAt, now)
	}
	s.active, s.because = c, why
}

// may reports whether carrier c is to be spoken by.
func (s *session) may(c Carrier) bool {
	switch s.choice {
	case ChooseGRE:
		return c == CarrierGRE
	case ChooseUDP:
		return c == CarrierUDP
	}
	return s.able[c]
}

// receive takes a message that came by a carrier in a datagram of size bytes.
func (s *session) receive(now time.Duration, c Carrier, size int, m *hello) []sending {
	if m.boot == s.boot { // our own: the peer's address leads back here
		return nil
	}
	if !m.returns(s.nonce) {
		return s.hearStranger(now, c, m)
	}
	if m.nonce != s.peerNonce || m.boot != s.peerBoot {
		s.meet(now, c, m)
	}
	l := &s.lines[c]
	if !after(m.clock, l.clock) { // overtaken, sent again by somebody, or of a clock that was set back
		if s.state == PathDown && now-max(s.since, s.renewed) > forgetAfter {
			s.forget(now)
		}
		return nil
	}
	l.clock, l.heard = m.clock, now
	if m.probe != 0 {
		if m.probe != l.inRound {
			l.inRound, l.inSize = m.probe, 0
		}
		l.inSize = max(l.inSize, size)
	}
	if after(m.clock, s.theirClock) {
		s.verify(now, m)
	}
	s.judge(now)
	if m.ask && s.may(c) && now-l.answered >= answerEvery {
		l.answered = now
		return []sending{{carrier: c, echo: s.peerNonce}}
	}
	return nil
}

// verify takes what the newest message says.
func (s *session) verify(now time.Duration, m *hello) {
	s.verified, s.theirClock, s.tries = now, m.clock, 0
	past := m.clock - uint32(overtaken/time.Microsecond)
	for c := range s.lines {
		if l := &s.lines[c]; after(past, l.clock) {
			l.clock = past
		}
	}
	if !m.echoed { // it has not heard yet that we know it, and says nothing
		return
	}
	if after(m.echoClock, s.clock) { // it heard what we have not said yet: this host was set back in time
		s.clock = m.echoClock
	}
	s.measure(uint32(now/time.Microsecond) - m.echoClock - m.held)
	for c := range Carrier(carriers) {
		s.told(now, c, m.heard[c])
	}
	if m.link != 0 && m.link != s.theirs {
		s.theirs = m.link
		s.linkTold(now)
	}
}

// after reports whether clock a is later than b (RFC 1982 section 3.2).
func after(a, b uint32) bool { return int32(a-b) > 0 }

// hearStranger takes a message that does not return our nonce.
func (s *session) hearStranger(now time.Duration, c Carrier, m *hello) []sending {
	if m.nonce == s.peerNonce && m.boot == s.peerBoot && now-s.verified < helloMissed {
		return nil // what the peer answers to strangers
	}
	s.claimed = m.nonce
	if s.verified == never { // it may have been started just now
		s.tries = 0
		s.next = min(s.next, now+helloEvery)
	}
	if !s.may(c) {
		return nil
	}
	l := &s.lines[c]
	l.keep(m.nonce, s.random)
	return s.answer(now, c, nil)
}

// keep notes a nonce to be returned. Where there are too many, each has the same
// chance to be among those that are (reservoir sampling).
func (l *line) keep(nonce uint64, random func() float64) {
	if slices.Contains(l.strangers, nonce) {
		return
	}
	l.cameBy++
	if len(l.strangers) < 1+helloEchoes {
		l.strangers = append(l.strangers, nonce)
	} else if i := int(random() * float64(l.cameBy)); i < len(l.strangers) {
		l.strangers[i] = nonce
	}
}

// answer appends one answer to all strangers that wait for it. It is no longer
// than what they sent.
func (s *session) answer(now time.Duration, c Carrier, out []sending) []sending {
	l := &s.lines[c]
	if len(l.strangers) == 0 || now-l.strange < answerEvery {
		return out
	}
	out = append(out, sending{carrier: c, ask: true, echo: l.strangers[0], also: l.strangers[1:]})
	l.strange, l.strangers, l.cameBy = now, nil, 0
	return out
}

// renew takes a new nonce: what returns the old one is not believed any more.
func (s *session) renew(now time.Duration) {
	s.nonce, s.renewed = nonce(), now
}

// forget has the peer prove anew that it is there.
func (s *session) forget(now time.Duration) {
	s.renew(now)
	s.peerBoot, s.peerNonce = 0, 0
}

// meet begins with a peer that proved to be there, or started again. It has
// heard us, and answers by the carrier by which it did.
func (s *session) meet(now time.Duration, by Carrier, m *hello) {
	if s.peerBoot != 0 && s.peerBoot != m.boot {
		s.renew(now)
	}
	s.peerBoot, s.peerNonce, s.rtt, s.hold, s.theirs = m.boot, m.nonce, 0, 0, 0
	s.theirClock = m.clock - 1
	for c := range s.lines {
		l := &s.lines[c]
		*l = line{
			heard: never, told: never, answered: l.answered, probed: never, doubted: never, probeAt: now, round: l.round,
			clock: m.clock - uint32(overtaken/time.Microsecond), strange: l.strange,
		}
	}
	l := &s.lines[by]
	l.told, l.good, l.isGood = now, now, true
	s.begin(now)
	s.next, s.turn = now, helloSpare-1 // by all carriers, at once
}

// measure takes one round trip, in µs of a clock that wraps.
func (s *session) measure(us uint32) {
	const most = 10_000_000
	if us > most { // echo of another life
		return
	}
	sample := time.Duration(us) * time.Microsecond
	if s.rtt == 0 {
		s.rtt = max(sample, time.Microsecond)
		return
	}
	s.rtt = max(s.rtt+(sample-s.rtt)/8, time.Microsecond)
}

// told takes what the peer says about how it hears us by a carrier.
func (s *session) told(now time.Duration, c Carrier, h heardItem) {
	l := &s.lines[c]
	l.told, l.age = now, maxAge
	if h.there {
		l.age = h.age
	}
	limit := carrierLost
	if c != s.active { // it carries a hello less often
		limit = spareLost
	}
	if good := l.age < helloMissed || l.isGood && l.age < limit; good != l.isGood {
		l.good, l.isGood = now, good
	}
	if l.rounds > 0 && h.there && h.round == l.round {
		l.best = max(l.best, min(h.size, s.linkMTU))
		if l.best >= l.sought {
			s.found(now, c)
		} else if l.size > 0 { // better than thought, perhaps
			l.size = max(l.size, l.best)
		}
	}
}

// found ends a search.
func (s *session) found(now time.Duration, c Carrier) {
	l := &s.lines[c]
	if l.sought == s.linkMTU || l.rounds > 1 { // all was tried
		l.wholeAt = now + probeAgain
	}
	l.size, l.rounds = max(l.best, min(leastMTU, s.linkMTU)), 0
	l.probeAt = now + probeEvery
	if c != s.active {
		l.probeAt = now + probeSpare
	}
}

// linkTold takes what the peer tells of its link: more than that is not sent, unless
// a search, which begins at once, finds that it arrives by another one.
func (s *session) linkTold(now time.Duration) {
	for c := range s.lines {
		l := &s.lines[c]
		l.size = min(l.size, max(s.theirs, leastMTU))
		l.rounds, l.probeAt, l.wholeAt = 0, now, now
	}
}

// passes reports whether the peer hears us by c, as far as is known.
func (s *session) passes(now time.Duration, c Carrier) bool {
	l := &s.lines[c]
	return s.may(c) && l.isGood && now-l.told < helloLost
}

// judge sets state and carrier by what is known.
func (s *session) judge(now time.Duration) {
	if s.verified == never {
		return
	}
	heard := s.passes(now, s.active)
	for c := range Carrier(carriers) { // by which it is asked as often by now
		l := &s.lines[c]
		heard = heard || s.may(c) && now-l.told < helloLost && l.age < helloLost
	}
	switch silent := now - s.verified; {
	case silent >= helloLost:
		s.become(now, PathDown, "it does not answer the hello")
	case heard:
		s.become(now, PathUp, "")
	case s.state != PathUnknown || now-s.since > helloLost:
		s.become(now, PathDown, "it is heard, but hears nothing from here")
	}
	if s.choice != ChooseAuto {
		return
	}
	if s.state == PathDown && now-s.since > forgetAfter {
		s.use(now, CarrierGRE, "raw GRE to anyone; the peer does not answer")
		return
	}
	s.choose(now)
}

func (s *session) become(now time.Duration, state PathState, why string) {
	if s.state != state {
		s.since = now
	}
	s.state, s.why = state, why
}

// choose picks the carrier where both sides speak weft.
func (s *session) choose(now time.Duration) {
	best := s.faster
	if !s.able[best] {
		best = CarrierGRE
	}
	other := 1 - best
	if s.active == best {
		l, spare := &s.lines[best], &s.lines[other]
		if s.passes(now, best) {
			s.because = s.praise(best)
			if now-s.activeAt > forgive {
				s.hold = 0
			}
			return
		}
		if l.told != never && l.age >= carrierLost && s.passes(now, other) && spare.age < helloMissed {
			s.hold = min(max(2*s.hold, holdFirst), holdMost)
			s.use(now, other, fmt.Sprintf("%v does not pass", best))
		}
		return
	}
	l := &s.lines[best]
	switch {
	case !s.passes(now, best):
		if s.able[best] && now-s.activeAt > carrierLost {
			s.because = fmt.Sprintf("%v does not pass", best)
		}
	case l.size == 0: // wait for the size probe
	case l.size < s.lines[other].size:
		s.because = fmt.Sprintf("%v passes datagrams of %d bytes, %v only of %d", other, s.lines[other].size, best, l.size)
	case now-l.good < s.hold && s.passes(now, other):
		s.because = fmt.Sprintf("%v passes again; waiting until it did for %v", best, s.hold)
	case l.age < helloMissed: // just heard: it counts as lost soon if not
		s.use(now, best, s.praise(best))
	}
}

// praise says why the best carrier is in use.
func (s *session) praise(best Carrier) string {
	if !s.able[CarrierUDP] {
		return "raw GRE: GRE-in-UDP is not there"
	}
	return fmt.Sprintf("both speak weft, and %v passes and is faster", best)
}

// tick returns what is to be sent by now.
func (s *session) tick(now time.Duration) (out []sending) {
	s.judge(now)
	if s.verified != never && now-max(s.verified, s.renewed) > renewAfter {
		s.forget(now)
	}
	if now >= s.next || s.missing(now) && now-s.asked >= helloUrgent {
		out = s.hellos(now)
	}
	for c := range Carrier(carriers) {
		out = s.answer(now, c, out)
		out = s.probe(now, c, out)
	}
	return out
}

// missing reports whether something has to be asked for urgently.
func (s *session) missing(now time.Duration) bool {
	l := &s.lines[s.active]
	return s.state == PathUp && (now-s.verified >= helloMissed || l.told != never && l.age >= helloMissed)
}

// hellos returns the hellos that are due, and sets when the next ones are.
func (s *session) hellos(now time.Duration) (out []sending) {
	every, all, ask := helloEvery, true, true
	switch {
	case s.verified == never && s.tries >= helloTries:
		s.wait = min(max(2*s.wait, 2*helloEvery), helloSeldom)
		every = s.wait
	case s.state == PathDown && now-s.since > tiresAfter:
		every = helloTired
	case s.verified == never, s.state == PathDown:
		s.wait = 0
	case s.missing(now):
		every = helloUrgent
	default:
		s.turn = (s.turn + 1) % helloSpare
		all, ask = s.turn == 0, false
	}
	s.tries++
	s.asked = now
	s.next = now + every + time.Duration((s.random()-0.5)*0.2*float64(every))
	echo := s.peerNonce
	if echo == 0 {
		echo = s.claimed
	}
	for c := range Carrier(carriers) {
		if s.may(c) && s.able[c] && (all || c == s.active) {
			out = append(out, sending{carrier: c, ask: ask, echo: echo})
		}
	}
	return out
}

// probe appends the size probes that are due by carrier c: one of the size in
// question at first, then some of all sizes, and behind them a question what arrived.
func (s *session) probe(now time.Duration, c Carrier, out []sending) []sending {
	l := &s.lines[c]
	if !s.passes(now, c) || !s.able[c] {
		return out
	}
	switch {
	case l.rounds == 0 && now >= l.probeAt:
		l.best, l.sought = 0, l.size
		if l.size == 0 || now >= l.wholeAt {
			l.sought = s.linkMTU
		}
	case l.rounds > 0 && now-l.probed >= probeWait:
		if l.rounds >= probeTries && l.best > 0 {
			s.found(now, c)
			return out
		}
	default:
		return out
	}
	l.probed = now
	if l.round++; l.round == 0 {
		l.round = 1
	}
	sizes := []int{l.sought}
	if l.rounds > 0 { // as often as a path that loses much needs it, and what else there may be
		sizes = append(append(slices.Repeat(sizes, probeTimes), probeSizes[:]...), s.theirs, s.linkMTU)
	}
	for i, size := range sizes {
		if size > l.best && size <= s.linkMTU && (size != l.sought || i < probeTimes) {
			out = append(out, sending{carrier: c, echo: s.peerNonce, probe: l.round, size: size})
		}
	}
	l.rounds = min(l.rounds+1, probeTries)
	return append(out, sending{carrier: c, echo: s.peerNonce, probe: l.round, ask: true})
}

// doubt takes the MTU that somebody claims the path has. It may be forged: what
// passes is measured, not believed. The first claim in probeDoubt has it measured
// at once, even when it was just before.
func (s *session) doubt(now time.Duration, mtu int) {
	for c := range s.lines {
		l := &s.lines[c]
		if at := max(now, l.doubted+probeDoubt); l.rounds == 0 && mtu < l.size && at < l.probeAt {
			l.probeAt, l.doubted = at, at
		}
	}
}

// setMTU takes the MTU of the link.
func (s *session) setMTU(now time.Duration, mtu int) {
	if mtu == s.linkMTU {
		return
	}
	s.linkMTU = mtu
	for c := range s.lines {
		l := &s.lines[c]
		l.size, l.rounds, l.probeAt = 0, 0, now
	}
	if s.state == PathUp { // the peer is to know at once
		s.next, s.turn = now, helloSpare-1
	}
}

// message returns what a sending says at now.
func (s *session) message(now time.Duration, out sending) hello {
	clock := uint32(now / time.Microsecond)
	if !after(clock, s.clock) { // no two messages have the same
		clock = s.clock + 1
	}
	s.clock = clock
	m := hello{ask: out.ask, boot: s.boot, nonce: s.nonce, echo: out.echo, probe: out.probe, clock: clock}
	copy(m.also[:], out.also)
	if s.peerNonce == 0 || out.echo != s.peerNonce { // to a stranger no more than the nonce
		return m
	}
	m.echoed, m.echoClock, m.held = true, s.theirClock, uint32((now-s.verified)/time.Microsecond)
	m.link = s.linkMTU
	for c := range s.lines {
		if l := &s.lines[c]; l.heard != never {
			m.heard[c] = heardItem{there: true, age: now - l.heard, round: l.inRound, size: l.inSize}
		}
	}
	return m
}

// due returns when tick has something to do next.
func (s *session) due(now time.Duration) time.Duration {
	at := s.next
	if s.verified != never {
		at = min(at, max(s.verified+helloLost, now+helloGrain)) // down, if nothing comes
	}
	if s.state == PathUp {
		at = min(at, max(s.verified+helloMissed, s.asked+helloUrgent))
	}
	for c := range Carrier(carriers) {
		l := &s.lines[c]
		if len(l.strangers) > 0 {
			at = min(at, l.strange+answerEvery)
		}
		if s.passes(now, c) {
			if l.rounds > 0 {
				at = min(at, l.probed+probeWait)
			} else {
				at = min(at, l.probeAt)
			}
		}
	}
	return max(at, now)
}

// mtu returns the longest datagram that passes by the carrier in use where that
// is less than the link's; else 0.
func (s *session) mtu() int {
	if size := s.lines[s.active].size; size > 0 && size < s.linkMTU {
		return size
	}
	return 0
}
