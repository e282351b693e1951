package e2e

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"weft/internal/lab"
	"weft/internal/lab/probe"
)

// BenchmarkMACFlood has a container send 1,000,000 frames from random source MACs
// while its neighbours move TCP, and before that as many, as fast, from its own. It
// reports both throughputs, and fails where a neighbour's entry was lost.
func BenchmarkMACFlood(b *testing.B) {
	for name, option := range map[string]string{"guarded": "", "allow-spoof": "--allow-spoof"} {
		b.Run(name, func(b *testing.B) { benchMACFlood(b, option) })
	}
}

func benchMACFlood(b *testing.B, option string) {
	const (
		frames = 1_000_000
		load   = 20 * time.Second // at 50,000 frames a second, which two cores shared with TCP can make
		own    = "02:00:00:00:00:14"
		behind = "06:00:00:00:00:01" // a station behind a neighbour that may spoof
	)
	l := lab.ForTest(b)
	h := newHost(b, l, "host")
	h.Start("--name host --network net1=10.1.0.0/24")
	server, client, bridge, flooder := newContainer(b, l, "server", "10.1.0.11"), newContainer(b, l, "client", "10.1.0.12"), newContainer(b, l, "bridge", "10.1.0.13"), newContainer(b, l, "flooder", "10.1.0.14")
	h.attach("net1", server, "--mac 02:00:00:00:00:11")
	h.attach("net1", client, "--mac 02:00:00:00:00:12")
	h.attach("net1", bridge, "--mac 02:00:00:00:00:13 --allow-spoof")
	h.attach("net1", flooder, "--mac "+own, option)
	newSender(b, bridge.NS, "eth1").send(frame("02:00:00:00:00:11", behind, 0x88b5, make([]byte, 46)))
	out := newSender(b, flooder.NS, "eth1")

	// run sends the frames, each changed by next, and returns what TCP moved meanwhile.
	run := func(next func(f []byte)) (gbits float64) {
		ctx, cancel := context.WithTimeout(b.Context(), 2*load)
		defer cancel()
		sent := make(chan struct{})
		go func() { // ends when all are sent, or with ctx
			defer close(sent)
			f := frame("02:00:00:00:00:13", own, 0x88b5, make([]byte, 46))
			start := time.Now()
			for i := range frames {
				next(f)
				out.try(f)
				if i%64 == 63 && ctx.Err() == nil {
					time.Sleep(time.Until(start.Add(load * time.Duration(i) / frames)))
				}
			}
		}()
		rate, err := probe.Throughput(ctx, client.NS, server.NS, netip.AddrPortFrom(server.Addr, 5201), load)
		if err != nil {
			b.Fatal(err)
		}
		<-sent
		return rate / 1e9
	}

	var honest, random float64
	for b.Loop() {
		honest += run(func([]byte) {})
		source := rand.NewPCG(1, uint64(b.N))
		random += run(func(f []byte) {
			binary.BigEndian.PutUint64(f[4:], source.Uint64()) // bytes 6 to 11 are the source; 4 and 5 are put back
			copy(f[4:], []byte{0x00, 0x13})
			f[6] = f[6]&^1 | 2
		})
	}
	b.ReportMetric(honest/float64(b.N), "Gbit/s-beside-own")
	b.ReportMetric(random/float64(b.N), "Gbit/s-beside-random")
	b.ReportMetric(100*random/honest, "%-left")
	b.ReportMetric(0, "ns/op")

	var at []string
	for _, row := range h.fdb("net1") {
		at = append(at, row.MAC)
	}
	for _, mac := range []string{"02:00:00:00:00:11", "02:00:00:00:00:12", "02:00:00:00:00:13", behind} {
		if !slices.Contains(at, mac) {
			b.Errorf("the entry of %s is gone", mac)
		}
	}
	for _, p := range h.status().Ports {
		if p.Name == "flooder" && p.RxFrames < 2*frames {
			b.Errorf("%d frames came from the flooder, want %d", p.RxFrames, 2*frames)
		}
	}
}
