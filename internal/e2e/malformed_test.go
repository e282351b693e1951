package e2e

import (
	"encoding/binary"
	"path/filepath"
	"testing"
	"time"

	"weft/internal/lab"
)

// solo is one weft host with two containers; its peer is the test itself.
type solo struct {
	t      *testing.T
	h      *Host
	c1, c2 *Container
	wire   *wire
	peer   *lab.NS
}

func newSolo(t *testing.T, mtu int, c1Options string) *solo {
	t.Helper()
	l := lab.ForTest(t)
	s := &solo{t: t, h: newHost(t, l, "host1")}
	var err error
	if s.peer, err = l.Host("host2"); err != nil {
		t.Fatal(err)
	}
	underlay(t, l, s.h.NS, s.peer, mtu)
	s.wire = newWire(t, s.peer)
	s.h.Start(runArgs(1, ""))
	s.c1, s.c2 = newContainer(t, l, "c1", "10.1.0.11"), newContainer(t, l, "c2", "10.1.0.12")
	s.h.attach("net1", s.c1, c1Options)
	s.h.attach("net1", s.c2)
	return s
}

// tally counts what should become of what a test sends.
type tally struct {
	n      int               // since the last pause
	frames uint64            // sent
	drops  map[string]uint64 // by reason
	copies [][]byte          // for c2
}

func newTally() *tally { return &tally{drops: map[string]uint64{}} }

func (y *tally) add(reason string, copied []byte) {
	y.frames++
	if reason != "" {
		y.drops[reason]++
	}
	if copied != nil {
		y.copies = append(y.copies, copied)
	}
	if y.n++; y.n%64 == 0 {
		time.Sleep(time.Millisecond) // the kernel's queues on the way hold 1000
	}
}

// check compares the tally with two statuses around what was sent.
func (y *tally) check(h *Host, before, after status) {
	h.t.Helper()
	for reason, n := range after.Drops {
		if got := n - before.Drops[reason]; got != y.drops[reason] {
			h.t.Errorf("%d dropped as %s, want %d", got, reason, y.drops[reason])
		}
	}
	if got := after.Frames.In - before.Frames.In; got != y.frames {
		h.t.Errorf("%d frames entered, want %d", got, y.frames)
	}
	h.alive()
}

// GRE that no capture has: every header of conformance section 2.1 that is not
// a plain keyed frame, and every truncation of one.
func TestMalformedGRE(t *testing.T) {
	s := newSolo(t, 1500, "")
	heard := newCapture(t, s.c2.NS, "eth1")
	inner := frame("ff:ff:ff:ff:ff:ff", "02:00:00:00:00:77", 0x88b5, make([]byte, 46))
	br := newBridge(1450 + 14)
	good := teb(netID, inner)

	var packets [][]byte
	for bit := range 16 { // each flag alone, over a header that has room for all
		g := binary.BigEndian.AppendUint16(nil, 0x2000|1<<bit)
		packets = append(packets, append(append(g, good[2:]...), make([]byte, 8)...))
	}
	for n := range good { // every truncation
		packets = append(packets, good[:n])
	}
	for _, proto := range []uint16{0, 0x0800, 0x86dd, 0x0806, 0x880b, 0x88be, 0x22eb, 0x883e, 0x2001, 0xffff} {
		g := append([]byte(nil), good...)
		binary.BigEndian.PutUint16(g[2:], proto)
		packets = append(packets, g)
	}
	for _, key := range []uint32{0, netID + 1, netID << 8, 1<<32 - 1} {
		packets = append(packets, teb(key, inner))
	}
	withSum := append([]byte{0xa0, 0, 0x65, 0x58, 0, 0, 0, 0}, good[4:]...)
	wrong := append([]byte(nil), withSum...)
	binary.BigEndian.PutUint16(withSum[4:], ^onesComplement(withSum))
	binary.BigEndian.PutUint16(wrong[4:], ^onesComplement(wrong)^0x0100)
	packets = append(packets, withSum, wrong, append([]byte{0, 0, 0x65, 0x58}, inner...))
	for _, change := range []func([]byte){
		func(f []byte) { f[6] = 1 },                                   // source is a group
		func(f []byte) { clear(f[6:12]) },                             // source is zero
		func(f []byte) { copy(f, "\x01\x80\xc2\x00\x00\x0e") },        // LLDP
		func(f []byte) { binary.BigEndian.PutUint16(f[12:], 0x8808) }, // pause
	} {
		f := append([]byte(nil), inner...)
		change(f)
		packets = append(packets, teb(netID, f))
	}
	packets = append(packets, teb(netID, append(inner, make([]byte, 1450+15-len(inner))...)))

	before := s.h.settled()
	want := newTally()
	for _, gre := range packets {
		reason, f := verdict(gre, netID)
		var copied []byte
		if reason == "" {
			var to string
			if to, reason = br.forward(f, "peer"); to == "flood" {
				copied = f
			}
		}
		s.send(addr2, gre)
		want.add(reason, copied)
	}
	want.check(s.h, before, s.h.settled())
	checkCopies(t, withoutAnnouncements(heard.stop()), want.copies)
	t.Logf("%d datagrams, dropped %v, %d delivered", want.frames, want.drops, len(want.copies))
}

// Frames whose lengths cannot be are dropped and harm nobody, with and without
// traffic around them.
func TestGarbage(t *testing.T) {
	s := newSolo(t, 1500, "")
	gre := readCapture(t, filepath.Join(corpusDir(t), "tcpdump/gre-heapoverflow-1.pcap"))
	for n := range 200 {
		for _, f := range gre {
			f = append([]byte(nil), f...)
			f[(n*7+14)%len(f)] ^= byte(n)
			s.send(addr2, teb(netID, f[:min(len(f), 14+n)]))
			s.send(addr2, f[14:])
			s.send(stranger, f[14:])
		}
	}
	s.h.settled()
	s.h.alive()
}
