package e2e

import (
	"bytes"
	"encoding/binary"
	"net"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"time"

	"weft/internal/lab"
	"weft/internal/offload"
)

// An afternoon in a real office, from one port: 36 stations, broadcast,
// multicast, and TCP that the capturing machine had merged.
func TestOfficeTrace(t *testing.T) {
	trace := readCapture(t, filepath.Join(corpusDir(t), "nDPI/1kxun.pcap"))
	if len(trace) != 1723 {
		t.Fatalf("the capture has %d frames, want 1723", len(trace))
	}
	p := newTracePair(t)
	heard := newCapture(t, p.c2.NS, "eth1")

	br := newBridge(1550 + 14)
	br.attach(p.mac(p.c2), "c2")
	want := map[string]uint64{}
	var copies [][]byte
	stations := map[string]bool{}
	send := newSender(t, p.c1.NS, "eth1")
	before := p.h1.settled()
	for i, f := range trace {
		to, reason := br.forward(f, "c1")
		if reason != "" {
			want[reason]++
		}
		if reason != "l2_smac" {
			stations[net.HardwareAddr(f[6:12]).String()] = true
		}
		if to != "" && to != "routers" { // of which c2 is none
			copies = append(copies, f)
		}
		h := superHeader(f)
		if err := send.sendVirtio(h, f); err != nil {
			t.Fatalf("send frame %d of %d bytes: %v", i, len(f), err)
		}
		if i%64 == 63 {
			time.Sleep(time.Millisecond) // the TAP's queue holds 1000
		}
	}
	after := p.h1.settled()

	if got := after.port(t, p.c1.Name()).RxFrames - before.port(t, p.c1.Name()).RxFrames; got != 1723 {
		t.Errorf("port received %d frames, want 1723", got)
	}
	for reason, n := range after.Drops {
		if got := n - before.Drops[reason]; got != want[reason] {
			t.Errorf("%d frames dropped as %s, want %d", got, reason, want[reason])
		}
	}
	checkStations(t, p.h1, p.c1, stations)
	checkCopies(t, withoutAnnouncements(heard.stop()), copies)
	// Host 2 has seen what was flooded, and learned who sent it.
	p.h2.settled()
	if got := len(p.h2.fdb("net1")); got < 30 {
		t.Errorf("host 2 has %d FDB entries", got)
	}
}

// newTracePair is two hosts; c1, which may send from any address, and c2 are
// both on the first.
func newTracePair(t *testing.T) *tracePair {
	t.Helper()
	p := &tracePair{t: t, l: lab.ForTest(t)}
	p.h1, p.h2 = newHost(t, p.l, "host1"), newHost(t, p.l, "host2")
	underlay(t, p.l, p.h1.NS, p.h2.NS, 1600)
	p.h1.Start(runArgs(1, ""))
	p.h2.Start(runArgs(2, ""))
	p.c1, p.c2, p.c3 = newContainer(t, p.l, "c1", "10.1.0.11"), newContainer(t, p.l, "c2", "10.1.0.12"), newContainer(t, p.l, "c3", "10.1.0.13")
	p.h1.attach("net1", p.c1, "--allow-spoof")
	p.h1.attach("net1", p.c2)
	p.h2.attach("net1", p.c3)
	return p
}

type tracePair struct {
	t          *testing.T
	l          *lab.Lab
	h1, h2     *Host
	c1, c2, c3 *Container
}

func (p *tracePair) mac(c *Container) net.HardwareAddr {
	p.t.Helper()
	ifi, err := c.Interface("eth1")
	if err != nil {
		p.t.Fatal(err)
	}
	return ifi.HardwareAddr
}

// superHeader returns the virtio header for a frame of the trace, and makes its
// checksum partial where it is a TCP super-frame.
func superHeader(f []byte) offload.Header {
	if len(f) <= 1550+14 {
		return offload.Header{}
	}
	ip := f[14:]
	ihl := int(ip[0]&15) * 4
	tcp := ip[ihl:]
	pseudo := append(append([]byte(nil), ip[12:20]...), 0, 6, byte(len(tcp)>>8), byte(len(tcp)))
	binary.BigEndian.PutUint16(tcp[16:], onesComplement(pseudo))
	return offload.Header{
		Flags: offload.FlagNeedsCsum, GSOType: offload.GSOTCPv4, GSOSize: 1400,
		HdrLen: uint16(14 + ihl + int(tcp[12]>>4)*4), CsumStart: uint16(14 + ihl), CsumOffset: 16,
	}
}

func checkStations(t *testing.T, h *Host, c *Container, stations map[string]bool) {
	t.Helper()
	if len(stations) != 36 {
		t.Errorf("the capture has %d stations, want 36", len(stations))
	}
	learned := map[string]bool{}
	for _, e := range h.fdb("net1") {
		if e.Kind == "learned" && e.Port == c.Name() {
			learned[e.MAC] = true
		}
	}
	if got, want := keys(learned), keys(stations); got != want {
		t.Errorf("learned %s, want %s", got, want)
	}
}

func keys(m map[string]bool) string {
	var list []string
	for k := range m {
		list = append(list, k)
	}
	sort.Strings(list)
	return strings.Join(list, " ")
}

// withoutAnnouncements returns what was received, less the gratuitous ARP of
// weft's own for attached containers, which may come at any time.
func withoutAnnouncements(all []captured) (in [][]byte) {
	for _, f := range all {
		probe := bytes.HasPrefix(f.data[12:], []byte("\x88\xb5weftloop")) // of the switch, for loops
		if !f.outgoing && !probe && !(gratuitous(f.data) && f.data[6] == 2) {
			in = append(in, f.data)
		}
	}
	return in
}

// checkCopies compares what a container received with what was sent, in order;
// of a super-frame all but the TCP checksum.
func checkCopies(t *testing.T, in, want [][]byte) {
	t.Helper()
	if len(in) != len(want) {
		t.Errorf("received %d frames, want %d", len(in), len(want))
	}
	for i := range min(len(in), len(want)) {
		g, w := in[i], want[i]
		if len(w) > 1550+14 && len(g) == len(w) {
			sum := 14 + int(w[14]&15)*4 + 16
			g, w = append(append([]byte(nil), g[:sum]...), g[sum+2:]...), append(append([]byte(nil), w[:sum]...), w[sum+2:]...)
		}
		if !bytes.Equal(g, w) {
			t.Fatalf("frame %d of %d bytes differs from what was sent, %d bytes:\n%x\n%x", i, len(in[i]), len(want[i]), clip(g), clip(w))
		}
	}
}

func clip(b []byte) []byte { return b[:min(len(b), 80)] }
