package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weft/internal/lab"
)

// benchAnswer is what `weft bench -o json` prints.
type benchAnswer struct {
	Network string
	Path    struct{ Kind, Peer, Encap string }
	TCP     float64 `json:"tcp_bits_per_second"`
	Back    float64 `json:"tcp_back_bits_per_second"`
	Packets float64 `json:"packets_per_second"`
	P50     float64 `json:"rtt_p50_us"`
	P99     float64 `json:"rtt_p99_us"`
}

func readBench(t *testing.T, out string) (b benchAnswer) {
	t.Helper()
	if err := json.Unmarshal([]byte(out), &b); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	if b.TCP <= 0 || b.Back <= 0 || b.Packets <= 0 || b.P50 <= 0 || b.P99 < b.P50 {
		t.Errorf("got %s", out)
	}
	return b
}

func TestBench(t *testing.T) {
	p := newPair(t, 1500)
	second := newContainer(t, p.l, "c1b", "10.1.0.13")
	p.h1.attach("net1", second)
	ports, entries := len(p.h1.status().Ports), len(p.h2.status().Ports)

	b := readBench(t, p.h1.Weft("bench "+p.c1.target()+" "+second.Name()+" --seconds 0.2 -o json"))
	if b.Path.Kind != "local" || b.Network != "net1" {
		t.Errorf("on one host: got %+v", b)
	}
	none := newContainer(t, p.l, "none", "10.9.9.9")
	p.h1.Weft("attach net1 " + none.target() + " 0/0 -i eth9")
	for args, want := range map[string]string{
		p.c1.target() + " 10.1.0.13":        "weft bench " + p.c1.Name() + " " + second.Name(),
		none.target() + " " + second.Name(): "attached with 0/0",
	} {
		if a := p.h1.CLI("bench " + args + " --seconds 0.2"); a.code != 1 || !strings.Contains(a.err, want) {
			t.Errorf("bench %s: got exit %d: %s, want %s", args, a.code, a.err, want)
		}
	}
	p.h1.Weft("detach net1 " + none.target())
	peer := p.h1.status().Peers[0].Name
	if a := p.h1.CLI("bench peer:" + peer + " --seconds 0.2"); a.code != 1 || !strings.Contains(a.err, "weft bench serve net1") {
		t.Errorf("without a server: got exit %d: %s", a.code, a.err)
	}

	serve, addr := p.h2.serveBench("net1")
	b = readBench(t, p.h1.Weft("bench peer:"+peer+" --seconds 0.2 -o json"))
	if b.Path.Kind != "peer" || b.Path.Peer != peer || b.Path.Encap == "" {
		t.Errorf("between hosts: got %+v", b)
	}
	b = readBench(t, p.h1.Weft("bench "+second.target()+" "+addr+" --seconds 0.2 -o json"))
	if b.Path.Peer != peer {
		t.Errorf("to an address: got %+v", b)
	}
	if err := serve.Signal(unix.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := serve.Wait(); err != nil {
		t.Errorf("serve ended by SIGINT: %v", err)
	}
	if got1, got2 := len(p.h1.status().Ports), len(p.h2.status().Ports); got1 != ports || got2 != entries {
		t.Errorf("%d and %d ports are left, want %d and %d", got1, got2, ports, entries)
	}
}

// TestBenchIPv6 is TestBench in a network that has no IPv4.
func TestBenchIPv6(t *testing.T) {
	p := newPair(t, 1500)
	for _, h := range []*Host{p.h1, p.h2} {
		h.Weft("network add six fd00:6::/64 --id 66")
	}
	c := newContainer(t, p.l, "c6", "10.9.9.9")
	p.h1.Weft("attach six " + c.target() + " fd00:6::11/64")
	other := newContainer(t, p.l, "d6", "10.9.9.9")
	p.h1.Weft("attach six " + other.target() + " fd00:6::12/64")
	readBench(t, p.h1.Weft("bench "+c.target()+" "+other.target()+" --seconds 0.2 -o json"))

	peer := p.h1.status().Peers[0].Name
	_, addr := p.h2.serveBench("six")
	for _, args := range []string{"peer:" + peer + " --network six", c.target() + " " + addr} {
		if b := readBench(t, p.h1.Weft("bench "+args+" --seconds 0.2 -o json")); b.Path.Peer != peer || b.Network != "six" {
			t.Errorf("%s: got %+v", args, b)
		}
	}
}

// A bench that was killed leaves nothing: the switch takes its container's place
// away by itself, which is not exported meanwhile.
func TestBenchKilled(t *testing.T) {
	p := newPair(t, 1500)
	ports := len(p.h2.status().Ports)
	for _, restart := range []bool{false, true} {
		serve, _ := p.h2.serveBench("net1")
		if got := len(p.h2.status().Ports); got != ports+1 {
			t.Fatalf("%d ports beside a bench, want %d", got, ports+1)
		}
		if got := p.h2.Weft("export"); strings.Contains(got, "/proc/") {
			t.Errorf("exported:\n%s", got)
		}
		if restart {
			p.h2.Kill()
			p.h2.Restart() // from now on it is the switch that keeps the namespace alive
		}
		serve.Kill()
		eventually(t, 20*time.Second, func() string {
			if got := p.h2.status().Ports; len(got) != ports {
				return fmt.Sprintf("ports after the kill: %+v", got)
			}
			return ""
		})
		if got := p.h2.status().Degraded; len(got) != 0 {
			t.Errorf("degraded: %+v", got)
		}
	}
}

// Where a container of another host has the address that a bench drew, it draws
// again, and where all are taken it says so.
func TestBenchAddressElsewhere(t *testing.T) {
	p := newPair(t, 1500)
	for _, h := range []*Host{p.h1, p.h2} { // two hosts, and no range of theirs
		h.Weft("network add small 10.9.0.0/30,fd00:9::/126 --id 99")
	}
	other := newContainer(t, p.l, "other", "10.9.0.1")
	p.h1.Weft("attach small " + other.target() + " 10.9.0.1/30 10.9.0.2/30 -i eth9")
	ports := len(p.h2.status().Ports)
	if a := p.h2.CLI("bench serve small"); a.code != 1 || !strings.Contains(a.err, "--address") {
		t.Errorf("all taken: got exit %d: %s", a.code, a.err)
	}
	if got := len(p.h2.status().Ports); got != ports {
		t.Errorf("%d ports are left, want %d", got, ports)
	}
	p.h1.Weft("detach small " + other.target())
	p.h1.Weft("attach small " + other.target() + " 10.9.0.2/30 -i eth9")
	serve, addr := p.h2.serveBench("small")
	if addr != "10.9.0.1" {
		t.Errorf("got %s, which the other host's container has", addr)
	}
	if err := serve.Signal(unix.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := serve.Wait(); err != nil {
		t.Errorf("serve ended by SIGINT: %v", err)
	}
}

// serveBench starts `weft bench serve` as a user does, outside of the host's
// namespace, which is where weft made it, and returns where it serves.
func (h *Host) serveBench(network string) (serve *lab.Proc, addr string) {
	h.t.Helper()
	path, err := weftBinary()
	if err != nil {
		h.t.Fatal(err)
	}
	cmd := h.Command(h.t.Context(), path, "--socket", h.socket(), "bench", "serve", network)
	log, err := os.CreateTemp(h.dir, "serve")
	if err != nil {
		h.t.Fatal(err)
	}
	defer log.Close()
	cmd.Stderr = log
	if serve, err = h.NS.Start(cmd); err != nil {
		h.t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		said, _ := os.ReadFile(log.Name())
		if strings.Contains(string(said), "serving at") {
			return serve, strings.Fields(string(said))[2]
		}
		if time.Now().After(deadline) {
			h.t.Fatalf("serve does not: %s", said)
		}
	}
}
