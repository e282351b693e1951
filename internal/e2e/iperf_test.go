package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"weft/internal/lab"
)

// iperf is what tests read of the JSON that iperf3 -J prints.
type iperf struct {
	Error     string `json:"error"`
	Intervals []struct {
		Sum struct {
			Start, End float64
			Bytes      float64 `json:"bytes"`
		} `json:"sum"`
	} `json:"intervals"`
	End struct {
		Received struct {
			Bytes   float64 `json:"bytes"`
			Rate    float64 `json:"bits_per_second"`
			Packets float64 `json:"packets"`
			Lost    float64 `json:"lost_packets"`
		} `json:"sum_received"`
		Sum struct {
			Packets float64 `json:"packets"`
			Lost    float64 `json:"lost_packets"`
		} `json:"sum"`
	} `json:"end"`
}

// iperfServer starts a server for one test and waits until it listens.
func iperfServer(t *testing.T, on *Container) *lab.Proc {
	t.Helper()
	lab.Need(t, "iperf3", "iperf3")
	cmd := on.Command(t.Context(), "iperf3", "--server", "--one-off", "--forceflush", "--bind", on.Addr.String())
	ready := &signalWriter{mark: "listening", seen: make(chan struct{})}
	cmd.Stdout = ready
	p, err := on.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-ready.seen:
	case <-p.Done():
		t.Fatalf("iperf3 server ended: %v", p.Wait())
	case <-time.After(10 * time.Second):
		t.Fatal("iperf3 server does not listen")
	}
	return p
}

// signalWriter closes seen when mark was written.
type signalWriter struct {
	mark string
	text strings.Builder
	seen chan struct{}
	done bool
}

func (w *signalWriter) Write(b []byte) (int, error) {
	w.text.Write(b)
	if !w.done && strings.Contains(w.text.String(), w.mark) {
		w.done = true
		close(w.seen)
	}
	return len(b), nil
}

// iperfRun is a client under way.
type iperfRun struct {
	t              *testing.T
	client, server *lab.Proc
	out            bytes.Buffer
}

// startIperf starts a client of a server that it starts too. -R in options
// turns the direction round.
func startIperf(t *testing.T, from, to *Container, options string) *iperfRun {
	t.Helper()
	r := &iperfRun{t: t, server: iperfServer(t, to)}
	cmd := from.Command(context.Background(), "iperf3", append(strings.Fields(options), "--client", to.Addr.String(), "--json", "--connect-timeout", "5000")...)
	cmd.Stdout = &r.out
	var err error
	if r.client, err = from.Start(cmd); err != nil {
		t.Fatal(err)
	}
	return r
}

// wait returns the result of a run that must succeed.
func (r *iperfRun) wait() (result iperf) {
	r.t.Helper()
	err := r.client.Wait()
	if jerr := json.Unmarshal(r.out.Bytes(), &result); jerr != nil {
		r.t.Fatalf("iperf3: %v, %v: %s", err, jerr, r.out.Bytes())
	}
	if err != nil || result.Error != "" {
		r.t.Fatalf("iperf3: %v: %s", err, result.Error)
	}
	select {
	case <-r.server.Done():
	case <-time.After(5 * time.Second):
		r.t.Error("iperf3 server did not end")
	}
	return result
}

func runIperf(t *testing.T, from, to *Container, options string) iperf {
	t.Helper()
	return startIperf(t, from, to, options).wait()
}

func (r iperf) String() string { return fmt.Sprintf("%.2f Gbit/s", r.End.Received.Rate/1e9) }
