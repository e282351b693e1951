package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	"weft/internal/lab"
	"weft/internal/lab/probe"
)

// BenchmarkRestart kills a switch with 100 ports and starts it again. It reports
// the time from the start of the process until its socket answers, and until the
// first frame got through from one container to another and back.
func BenchmarkRestart(b *testing.B) {
	const ports = 100
	l := lab.ForTest(b)
	h := newHost(b, l, "host")
	h.Start("--name host --network net1=10.1.0.0/24")
	var first, last *Container
	for i := range ports {
		last = newContainer(b, l, fmt.Sprintf("c%d", i), fmt.Sprintf("10.1.0.%d", i+1))
		h.attach("net1", last)
		if first == nil {
			first = last
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var ready, through time.Duration
	for b.Loop() {
		h.Kill()
		start := time.Now()
		h.spawn()
		reached := make(chan error, 1)
		go func() { reached <- firstEcho(ctx, first, last) }() // ends with ctx
		h.waitReady()
		ready += time.Since(start)
		if err := <-reached; err != nil {
			b.Fatal(err)
		}
		through += time.Since(start)
	}
	b.ReportMetric(float64(ready.Milliseconds())/float64(b.N), "ms-to-status")
	b.ReportMetric(float64(through.Milliseconds())/float64(b.N), "ms-to-frame")
	b.ReportMetric(0, "ns/op")
}

// firstEcho sends echo requests, one every 5 ms, until one is answered.
func firstEcho(ctx context.Context, from, to *Container) error {
	for {
		p, _ := probe.Ping(ctx, from.NS, to.Addr, probe.Echo{Count: 1, Timeout: 5 * time.Millisecond})
		if p.Received > 0 {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		time.Sleep(time.Millisecond) // without a carrier there is an error at once
	}
}
