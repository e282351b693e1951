package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"weft/internal/lab"
	"weft/internal/lab/probe"
)

// load is what two containers do; run returns one value in unit.
type load struct {
	name, unit string
	run        func(ctx context.Context, from, to container, d time.Duration) (float64, error)
}

// warmUp is how long the TCP connection may grow before it counts.
const warmUp = time.Second

// tcpStream is one TCP stream, by iperf3 where it is installed, else by our own sender.
func tcpStream() load {
	if _, err := exec.LookPath("iperf3"); err == nil {
		return load{name: "TCP 1 stream, iperf3", unit: "Gbit/s", run: iperfTCP}
	}
	return load{name: "TCP 1 stream, own sender", unit: "Gbit/s", run: ownTCP}
}

func ownTCP(ctx context.Context, from, to container, d time.Duration) (float64, error) {
	if err := reach(ctx, from, to); err != nil {
		return 0, err
	}
	rate, err := probe.Throughput(ctx, from.ns, to.ns, netip.AddrPortFrom(to.addr, 0), d)
	return rate / 1e9, err
}

func iperfTCP(ctx context.Context, from, to container, d time.Duration) (float64, error) {
	if err := reach(ctx, from, to); err != nil {
		return 0, err
	}
	server, err := to.ns.Start(to.ns.Command(ctx, "iperf3", "--server", "--one-off", "--bind", to.addr.String()))
	if err != nil {
		return 0, err
	}
	defer server.Kill()
	for range 100 {
		rate, err := iperfClient(ctx, from.ns, to.addr, d)
		if !errors.Is(err, errRefused) {
			return rate, err
		}
		time.Sleep(20 * time.Millisecond) // the server is not listening yet
	}
	return 0, errRefused
}

var errRefused = errors.New("iperf3: connection refused")

// iperfClient sends for d after the warm-up and returns what arrived.
func iperfClient(ctx context.Context, from *lab.NS, to netip.Addr, d time.Duration) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, warmUp+d+15*time.Second)
	defer cancel()
	out, failed := from.Output(ctx, "iperf3", "--json", "--client", to.String(),
		"--time", strconv.Itoa(int(d.Seconds())), "--omit", strconv.Itoa(int(warmUp.Seconds())))
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

// reach waits until the other container answers.
func reach(ctx context.Context, from, to container) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return probe.Reach(ctx, from.ns, to.addr)
}
