package dataplane

import (
	"bytes"
	"encoding/binary"
	"sync"
	"testing"
	"time"

	"weft/fib"
	"weft/internal/drop"
	"weft/internal/header"
	"weft/internal/offload"
	"weft/tap/taptest"
)

// patience is how long a test waits for a frame that must come, quiet how long
// for one that must not.
const (
	patience = 5 * time.Second
	quiet    = 30 * time.Millisecond
)

// station is a container on a port of the switch under test.
type station struct {
	*taptest.Container
	id  PortID
	mac header.MAC
}

// testSwitch starts a switch with one domain.
func testSwitch(t testing.TB, cfg Config) (*Switch, DomainID) {
	t.Helper()
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	d, err := s.AddDomain(DomainConfig{Key: 7, MTU: 1450})
	if err != nil {
		t.Fatal(err)
	}
	return s, d
}

// attach adds a port with address 02:00:00:00:00:n.
func attach(t testing.TB, s *Switch, d DomainID, n int, change ...func(*PortConfig)) *station {
	t.Helper()
	dev, c := taptest.New(t)
	cfg := PortConfig{Device: dev, Domain: d, MAC: header.MAC(0x0200_0000_0000 + n), MTU: 1450}
	for _, f := range change {
		f(&cfg)
	}
	id, err := s.AddPort(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return &station{Container: c, id: id, mac: cfg.MAC}
}

func allowSpoof(c *PortConfig) { c.AllowSpoof = true }

// testFrame is an experimental frame (802.1 local EtherType 1) with a body of size bytes.
func testFrame(dst, src header.MAC, size int) []byte {
	b := make([]byte, header.EthernetLen+size)
	header.PutEthernet(b, dst, src, 0x88b5)
	for i := header.EthernetLen; i < len(b); i++ {
		b[i] = byte(i)
	}
	return b
}

// want receives the frame at the station.
func (s *station) want(t *testing.T, frame []byte) {
	t.Helper()
	_, got := s.Recv(patience)
	if !bytes.Equal(got, frame) {
		t.Fatalf("port %d received %d bytes %x, want %d bytes", s.id, len(got), got[:min(len(got), 14)], len(frame))
	}
}

// wantNone makes sure that nothing arrives at the station.
func (s *station) wantNone(t *testing.T) {
	t.Helper()
	if _, got := s.Recv(quiet); got != nil {
		t.Fatalf("port %d received %d bytes, want none", s.id, len(got))
	}
}

// wantDrops waits until the port counted n drops for the reason.
func wantDrops(t *testing.T, s *Switch, id PortID, r drop.Reason, n uint64) {
	t.Helper()
	var got uint64
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if got = s.PortStats(id).Drops[r]; got == n {
			return
		}
	}
	t.Fatalf("port %d dropped %d frames for %v, want %d", id, got, r, n)
}

// balanced reports whether both balance sheets add up.
func balanced(f Frames) bool {
	return f.In == f.Forwarded+f.Local+f.DroppedIn && f.Copies+f.Generated == f.Transmitted+f.DroppedOut
}

// TestBalanceUnderLoad reads the balance sheet while frames flow and are
// dropped on both sides: it adds up in every reading.
func TestBalanceUnderLoad(t *testing.T) {
	s, d := testSwitch(t, Config{Workers: 2})
	a, b := attach(t, s, d, 1), attach(t, s, d, 2)
	if err := s.SetPort(b.id, nil, 1000); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var sending sync.WaitGroup
	sending.Go(func() { // ends with stop
		for {
			for _, size := range []int{46, 1001, 2000} { // passes, too big for b, too big for a
				_ = a.TrySend(offload.Header{}, testFrame(b.mac, a.mac, size))
			}
			b.Drain()
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	var f Frames
	for end, n := time.Now().Add(patience), 0; time.Now().Before(end) && (n < 5000 || f.Transmitted < 500); n++ {
		if f = s.Frames(); !balanced(f) {
			t.Errorf("balance sheet is off: %+v", f)
			break
		}
	}
	close(stop)
	sending.Wait()
	if f.Transmitted == 0 || f.DroppedOut == 0 || f.DroppedIn == 0 {
		t.Errorf("not everything happened: %+v", f)
	}
}

// framesAtRest returns the balance sheet once every worker waits: then it is of
// all that happened.
func framesAtRest(s *Switch) Frames {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		rest := true
		for _, w := range s.workers {
			rest = rest && w.version.Load() == idle
		}
		if rest {
			break
		}
	}
	return s.Frames()
}

// wantBalance holds the two balance sheets, and the drops by reason to them.
func wantBalance(t *testing.T, s *Switch) {
	t.Helper()
	var f Frames
	var sum uint64
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		f, sum = framesAtRest(s), 0
		for _, n := range s.Drops() {
			sum += n
		}
		if balanced(f) && sum == f.DroppedIn+f.DroppedOut {
			return
		}
	}
	if !balanced(f) {
		t.Errorf("balance sheet is off: %+v", f)
	}
	if sum != f.DroppedIn+f.DroppedOut {
		t.Errorf("drops by reason add up to %d, the balance sheet has %d", sum, f.DroppedIn+f.DroppedOut)
	}
}

func TestBridge(t *testing.T) {
	s, d := testSwitch(t, Config{Workers: 2})
	a, b, c := attach(t, s, d, 1), attach(t, s, d, 2), attach(t, s, d, 3)
	other, err := s.AddDomain(DomainConfig{Key: 8, MTU: 1450})
	if err != nil {
		t.Fatal(err)
	}
	stranger := attach(t, s, other, 1) // same address, another domain (B19)

	for _, size := range []int{0, 1, 46, 1450} {
		f := testFrame(b.mac, a.mac, size)
		a.Send(offload.Header{}, f)
		b.want(t, f)
	}
	c.wantNone(t)

	all := testFrame(header.Broadcast, a.mac, 46)
	a.Send(offload.Header{}, all)
	b.want(t, all)
	c.want(t, all)
	for _, st := range []*station{a, b, c, stranger} {
		st.wantNone(t) // one copy each (B25), none back, none across domains (B21)
	}
	wantBalance(t, s)
	if got, want := s.PortStats(a.id), uint64(5); got.RxFrames != want || got.RxBytes != 5*14+0+1+46+1450+46 {
		t.Errorf("port a: %d frames, %d bytes in", got.RxFrames, got.RxBytes)
	}
	if f := framesAtRest(s); f.In != 5 || f.Forwarded != 5 || f.Copies != 6 || f.Transmitted != 6 {
		t.Errorf("frames: %+v", f)
	}
}

func TestGuards(t *testing.T) {
	s, d := testSwitch(t, Config{Workers: 1})
	a, b := attach(t, s, d, 1), attach(t, s, d, 2)
	multicastSource := testFrame(b.mac, 0x0100_0000_0001, 46)
	lie := offload.Header{GSOType: offload.GSOTCPv4, GSOSize: 1, HdrLen: 54}
	tagged := testFrame(b.mac, a.mac, 1454)
	binary.BigEndian.PutUint16(tagged[12:], header.TypeVLAN)

	drops := []struct {
		name   string
		header offload.Header
		frame  []byte
		want   drop.Reason
	}{
		{"short", offload.Header{}, make([]byte, 13), drop.TapShort},
		{"multicast source", offload.Header{}, multicastSource, drop.L2SourceMAC},
		{"zero source", offload.Header{}, testFrame(b.mac, 0, 46), drop.L2SourceMAC},
		{"another's source", offload.Header{}, testFrame(b.mac, b.mac, 46), drop.L2Spoof},
		{"too big", offload.Header{}, testFrame(b.mac, a.mac, 1451), drop.InnerBig},
		{"reserved", offload.Header{}, testFrame(0x0180_c200_0000, a.mac, 46), drop.L2LinkLocal},
		{"to itself", offload.Header{}, testFrame(a.mac, a.mac, 46), drop.L2Self},
		{"lying header", lie, testFrame(b.mac, a.mac, 46), drop.TapVirtio},
	}
	for _, tt := range drops {
		before := s.PortStats(a.id).Drops[tt.want]
		a.Send(tt.header, tt.frame)
		wantDrops(t, s, a.id, tt.want, before+1)
	}
	b.wantNone(t)
	a.Send(offload.Header{}, tagged) // a tag does not count towards the MTU
	b.want(t, tagged)
	wantBalance(t, s)
}

func TestNoPort(t *testing.T) {
	s, d := testSwitch(t, Config{Workers: 1})
	a := attach(t, s, d, 1)
	a.Send(offload.Header{}, testFrame(header.Broadcast, a.mac, 46))
	wantDrops(t, s, a.id, drop.L2NoPort, 1)
	wantBalance(t, s)
}

// TestLearning follows a station that moves between two ports that may learn.
func TestLearning(t *testing.T) {
	s, d := testSwitch(t, Config{Workers: 2})
	a, b, c := attach(t, s, d, 1, allowSpoof), attach(t, s, d, 2, allowSpoof), attach(t, s, d, 3)
	const roamer header.MAC = 0x0600_0000_0001

	hello := testFrame(c.mac, roamer, 46)
	a.Send(offload.Header{}, hello)
	c.want(t, hello)
	reply := testFrame(roamer, c.mac, 46)
	c.Send(offload.Header{}, reply)
	a.want(t, reply)
	b.wantNone(t)

	b.Send(offload.Header{}, hello) // B13: one frame moves it
	c.want(t, hello)
	c.Send(offload.Header{}, reply)
	b.want(t, reply)
	a.wantNone(t)

	fake := testFrame(b.mac, c.mac, 46) // an attached address does not move by traffic
	a.Send(offload.Header{}, fake)
	b.want(t, fake)
	if got := s.FDB(d).Lookup(c.mac); got != fib.PortDest(uint16(c.id)) {
		t.Errorf("attached address points to %v, want port %d", got, c.id)
	}

	if err := s.RemovePort(b.id); err != nil { // B16: its entries go at once
		t.Fatal(err)
	}
	if got := s.FDB(d).Lookup(roamer); got != 0 {
		t.Errorf("after the port went its station still points to %v", got)
	}
	wantBalance(t, s)
}

// TestSmallerPort holds frames to the MTU of the port that they leave at.
func TestSmallerPort(t *testing.T) {
	s, d := testSwitch(t, Config{Workers: 1})
	a, b := attach(t, s, d, 1), attach(t, s, d, 2)
	if err := s.SetPort(b.id, nil, 1000); err != nil {
		t.Fatal(err)
	}
	a.Send(offload.Header{}, testFrame(b.mac, a.mac, 1001))
	wantDrops(t, s, b.id, drop.InnerBig, 1)
	fits := testFrame(b.mac, a.mac, 1000)
	a.Send(offload.Header{}, fits)
	b.want(t, fits)
	wantBalance(t, s)
}

func TestAnnounce(t *testing.T) {
	s, d := testSwitch(t, Config{Workers: 2})
	a, b, c := attach(t, s, d, 1), attach(t, s, d, 2), attach(t, s, d, 3)
	f := testFrame(header.Broadcast, a.mac, 46)
	if err := s.Announce(a.id, f); err != nil {
		t.Fatal(err)
	}
	b.want(t, f)
	c.want(t, f)
	a.wantNone(t)
	if got := framesAtRest(s); got.Generated != 2 || got.In != 0 || got.Copies != 0 {
		t.Errorf("frames: %+v", got)
	}
	wantBalance(t, s)
	if err := s.AnnounceFar(a.id, f); err != nil {
		t.Fatal(err)
	}
	b.wantNone(t)
	if err := s.Announce(99, f); err == nil {
		t.Error("announcing at a port that is not there is no error")
	}
}

// TestPortGone ends a container; its owner hears of it once.
func TestPortGone(t *testing.T) {
	gone := make(chan PortID, 8)
	s, d := testSwitch(t, Config{Workers: 2, PortGone: func(id PortID) { gone <- id }})
	a, b := attach(t, s, d, 1), attach(t, s, d, 2)
	b.Close()
	select {
	case id := <-gone:
		if id != b.id {
			t.Fatalf("port %d is gone, want %d", id, b.id)
		}
	case <-time.After(patience):
		t.Fatal("nobody was told that the container is gone")
	}
	a.Send(offload.Header{}, testFrame(b.mac, a.mac, 46))
	wantDrops(t, s, b.id, drop.TapDown, 1)
	if err := s.RemovePort(b.id); err != nil {
		t.Fatal(err)
	}
	if got := s.OtherDrops()[drop.TapDown]; got != 1 {
		t.Errorf("a removed port's drops: %d, want 1", got)
	}
	if len(gone) != 0 {
		t.Error("its owner was told twice")
	}
	wantBalance(t, s)
}

// TestChangeUnderTraffic adds and removes ports while others talk: nothing is
// lost between those that stay, and numbers are reused safely (run with -race).
func TestChangeUnderTraffic(t *testing.T) {
	s, d := testSwitch(t, Config{Workers: 2})
	a, b := attach(t, s, d, 1), attach(t, s, d, 2)
	f := testFrame(b.mac, a.mac, 100)
	const rounds = 300
	var talking sync.WaitGroup
	talking.Add(1)
	go func() { // ends after its rounds
		defer talking.Done()
		for range rounds {
			a.Send(offload.Header{}, f)
			if _, got := b.Recv(patience); !bytes.Equal(got, f) {
				t.Errorf("received %d bytes, want %d", len(got), len(f))
				return
			}
		}
	}()
	for i := range 50 {
		st := attach(t, s, d, 100+i, allowSpoof)
		st.Send(offload.Header{}, testFrame(a.mac, header.MAC(0x0600_0000_1000+i), 46))
		if err := s.RemovePort(st.id); err != nil {
			t.Fatal(err)
		}
		st.Close()
	}
	talking.Wait()
	for _, e := range s.FDB(d).Entries(s.Now()) {
		if e.Dest != fib.PortDest(uint16(a.id)) && e.Dest != fib.PortDest(uint16(b.id)) {
			t.Errorf("%v still points to %v", e.MAC, e.Dest)
		}
	}
	wantBalance(t, s)
}

// TestFloodOverflowsList floods a batch that does not fit the egress list.
func TestFloodOverflowsList(t *testing.T) {
	s, d := testSwitch(t, Config{Workers: 1})
	a := attach(t, s, d, 1)
	var others []*station
	for i := range 40 {
		others = append(others, attach(t, s, d, 2+i))
	}
	const frames = 30
	f := testFrame(header.Broadcast, a.mac, 46)
	for range frames {
		a.Send(offload.Header{}, f)
	}
	for _, st := range others {
		for range frames {
			st.want(t, f)
		}
		st.wantNone(t)
	}
	wantBalance(t, s)
}

func TestBadConfig(t *testing.T) {
	s, d := testSwitch(t, Config{Workers: 1})
	a := attach(t, s, d, 1)
	dev, _ := taptest.New(t)
	if _, err := s.AddPort(PortConfig{Device: dev, Domain: d, MAC: a.mac, MTU: 1450}); err == nil {
		t.Error("two ports may have one address")
	}
	if _, err := s.AddPort(PortConfig{Device: dev, Domain: 99, MAC: 1, MTU: 1450}); err == nil {
		t.Error("a port may be in a domain that is not there")
	}
	if _, err := s.AddDomain(DomainConfig{Key: 7}); err == nil {
		t.Error("two domains may have one key")
	}
	if err := s.RemoveDomain(d); err == nil {
		t.Error("a domain with ports may be removed")
	}
	if err := s.SetPeers(nil); err == nil {
		t.Error("a switch without underlay may have peers")
	}
	if err := s.RemovePort(99); err == nil {
		t.Error("a port that is not there may be removed")
	}
	a.wantNone(t)
}
