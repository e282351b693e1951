package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"weft/internal/lab/probe"
	"weft/internal/load"
)

// scene is a system that stands: two containers, and a server of loads in the second.
type scene struct {
	from, to container
	client   load.Client
}

// generator is what two containers do. run returns the readings of its metrics.
type generator struct {
	id    string
	extra bool // only where --loads names it
	gives []string
	run   func(ctx context.Context, s scene, d time.Duration) (readings, error)
}

// warmUp is how long a connection may grow before it counts.
const warmUp = 300 * time.Millisecond

// usualCongestion returns cubic, which a kernel uses unless it is told otherwise;
// where it has none, "" for whatever it uses. BBR, which some systems set, holds a
// stream to a rate that it estimates and paces by timers: with it a benchmark shows
// more of the estimate than of the path.
func usualCongestion() string {
	if slices.Contains(load.Congestions(), "cubic") {
		return "cubic"
	}
	return ""
}

// Sizes of what is small: the payload of the smallest Ethernet frame that holds
// UDP over IPv4, and what request-response benchmarks commonly send.
const (
	smallDatagram = 18
	smallRequest  = 64
)

var generators = []generator{
	{id: "tcp1", gives: []string{"tcp1", "cpu"}, run: oneStream},
	{id: "tcp4", gives: []string{"tcp4"}, run: streams("tcp4", load.Streams{Up: 4})},
	{id: "both", gives: []string{"both"}, run: streams("both", load.Streams{Up: 1, Down: 1})},
	{id: "udp", gives: []string{"udp"}, run: smallPackets},
	{id: "rr", gives: []string{"p50", "p99"}, run: requestResponse},
	{id: "iperf3", extra: true, gives: []string{"iperf3"}, run: iperf},
}

// oneStream also counts what the whole machine worked for it.
func oneStream(ctx context.Context, s scene, d time.Duration) (readings, error) {
	before, err := cpuTime()
	if err != nil {
		return nil, err
	}
	t, err := s.client.Stream(ctx, load.Streams{Up: 1}, d)
	if err != nil {
		return nil, err
	}
	after, err := cpuTime()
	if err != nil {
		return nil, err
	}
	return readings{"tcp1": t.BitsPerSecond / 1e9, "cpu": (after - before).Seconds() / (float64(t.Bytes) / 1e9)}, nil
}

func streams(metric string, n load.Streams) func(context.Context, scene, time.Duration) (readings, error) {
	return func(ctx context.Context, s scene, d time.Duration) (readings, error) {
		t, err := s.client.Stream(ctx, n, d)
		return readings{metric: t.BitsPerSecond / 1e9}, err
	}
}

func smallPackets(ctx context.Context, s scene, d time.Duration) (readings, error) {
	p, err := s.client.Flood(ctx, smallDatagram, 0, d)
	if err == nil && p.Received == 0 {
		err = errors.New("no datagram arrived")
	}
	return readings{"udp": p.PerSecond / 1e3}, err
}

func requestResponse(ctx context.Context, s scene, d time.Duration) (readings, error) {
	l, err := s.client.PingPong(ctx, smallRequest, d)
	us := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }
	return readings{"p50": us(l.P50), "p99": us(l.P99)}, err
}

// iperf is a cross-check of oneStream by a program that others use.
func iperf(ctx context.Context, s scene, d time.Duration) (readings, error) {
	if _, err := exec.LookPath("iperf3"); err != nil {
		return nil, fmt.Errorf("run iperf3: %w: apt-get install iperf3", err)
	}
	server, err := s.to.ns.Start(s.to.ns.Command(ctx, "iperf3", "--server", "--one-off", "--bind", s.to.addr.String()))
	if err != nil {
		return nil, err
	}
	defer server.Kill()
	for range 100 {
		rate, err := iperfClient(ctx, s, d)
		if !errors.Is(err, errRefused) {
			return readings{"iperf3": rate}, err
		}
		time.Sleep(20 * time.Millisecond) // the server is not listening yet
	}
	return nil, errRefused
}

var errRefused = errors.New("iperf3: connection refused")

// iperfClient sends for d after a second of warm-up and returns what arrived.
func iperfClient(ctx context.Context, s scene, d time.Duration) (gbps float64, err error) {
	ctx, cancel := context.WithTimeout(ctx, d+15*time.Second)
	defer cancel()
	args := []string{"--json", "--client", s.to.addr.String(), "--time", strconv.Itoa(max(1, int(d.Seconds()))), "--omit", "1"}
	if tcp := s.client.Congestion; tcp != "" {
		args = append(args, "--congestion", tcp)
	}
	out, failed := s.from.ns.Output(ctx, "iperf3", args...)
	var result struct {
		Error string
		End   struct {
			Received struct {
				Rate float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		}
	}
	if err := json.Unmarshal([]byte(out), &result); err != nil {
		return 0, errors.Join(failed, fmt.Errorf("read iperf3's answer: %w", err))
	}
	switch {
	case strings.Contains(result.Error, "refused"):
		return 0, errRefused
	case result.Error != "":
		return 0, fmt.Errorf("iperf3: %s", result.Error)
	case result.End.Received.Rate == 0:
		return 0, errors.New("iperf3: nothing arrived")
	}
	return result.End.Received.Rate / 1e9, failed
}

// ready waits until the other container answers, and starts its server.
func ready(ctx context.Context, b *bed, from, to container, congestion string) (scene, error) {
	wait, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := probe.Reach(wait, from.ns, to.addr); err != nil {
		return scene{}, err
	}
	server, err := load.Serve(ctx, to.ns.Do, netip.AddrPortFrom(to.addr, 0), congestion)
	if err != nil {
		return scene{}, err
	}
	b.onClose(server.Close)
	return scene{from, to, load.Client{Place: from.ns.Do, Server: server.Addr(), WarmUp: warmUp, Congestion: congestion}}, nil
}
