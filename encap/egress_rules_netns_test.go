package encap_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weft/encap"
)

// logged is a log that can be read while it is written.
type logged struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logged) count(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), what)
}

// greeted returns a and b with an egress TAP from a to b, both saying hello, and
// what a writes to its log.
func greeted(t *testing.T, choice encap.Choice) (a, b *host, log *logged) {
	t.Helper()
	log = new(logged)
	a, b = twoHosts(t)
	var readers sync.WaitGroup
	stop := make(chan struct{})
	a.open(encap.Config{Local: []netip.Addr{addrA}, Accel: true, Log: slog.New(slog.NewTextHandler(log, nil))}, encap.Peer{ID: 1, Addr: addrB, Choice: choice})
	b.open(encap.Config{Local: []netip.Addr{addrB}}, encap.Peer{ID: 1, Addr: addrA, Choice: choice})
	t.Cleanup(func() { close(stop); readers.Wait() })
	for _, h := range []*host{a, b} {
		h.u.StartHello()
		readers.Go(func() { // ends with stop
			for {
				select {
				case <-stop:
					return
				case <-time.After(5 * time.Millisecond):
				}
				for _, r := range h.u.Receivers() {
					_, _ = r.Recv()
					r.Errors(func(encap.PeerID, error) {})
				}
			}
		})
	}
	a.reaches("egress-tap", "")
	for end := time.Now().Add(accelWait); a.u.Path(1).State != encap.PathUp; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no hello: %+v", a.u.Path(1))
		}
	}
	return a, b, log
}

const bySocket = "peer is reached by socket"

// TestNetnsEgressRules changes rules of the firewall that let the tunnel pass: the
// egress TAP stays in use all the time.
func TestNetnsEgressRules(t *testing.T) {
	a, _, log := greeted(t, encap.ChooseGRE)
	for _, change := range []string{
		"nft add table ip t; nft delete table ip t",
		"nft add table ip t; nft add chain ip t c; nft add rule ip t c drop",
		"nft add set ip t s '{ type ipv4_addr; }'; nft add element ip t s '{ 10.0.0.2 }'; nft delete element ip t s '{ 10.0.0.2 }'",
		"nft add chain ip t i '{ type filter hook input priority 0; }'; nft add rule ip t i ip saddr @s counter drop",
		"nft add chain ip t o '{ type filter hook output priority 0; }'; nft add rule ip t o counter",
		"nft add element ip t s '{ 10.0.0.9 }'; nft add counter ip t k; nft reset counters >/dev/null",
		"nft add chain ip t n '{ type nat hook postrouting priority 100; }'; nft add rule ip t n ip saddr 172.17.0.0/16 masquerade",
		"nft delete table ip t",
	} {
		a.shell(change)
		for end := time.Now().Add(3 * time.Second / 4); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
			if name, reason := a.u.Accel(1); name != "egress-tap" {
				t.Fatalf("%s: peer is reached by %s: %s", change, name, reason)
			}
		}
	}
	if n := log.count(bySocket); n != 0 {
		t.Errorf("the log says %d times: %s", n, bySocket)
	}
}

// TestNetnsEgressForbidden has the firewall forbid what a peer is sent: it is
// forbidden to the egress TAP, too, however that was said.
func TestNetnsEgressForbidden(t *testing.T) {
	const output = "nft add table ip t; nft add set ip t s '{ type ipv4_addr; }'; nft add chain ip t o '{ type filter hook output priority 0; }'; nft add rule ip t o ip daddr @s drop"
	for _, tt := range []struct{ name, first, do, undo, why string }{
		{"rule", "true", "nft add table ip t; nft add chain ip t o '{ type filter hook output priority 0; }'; nft add rule ip t o ip protocol gre drop", "nft delete table ip t", "firewall"},
		{"rule in a chain that another jumps to", output + "; nft add chain ip t c; nft add rule ip t o jump c", "nft add rule ip t c ip protocol gre drop", "nft flush chain ip t c", "firewall"},
		{"element of a set", output, "nft add element ip t s '{ 10.0.0.2 }'", "nft delete element ip t s '{ 10.0.0.2 }'", "firewall"},
		{"policy", "nft add table inet t; nft add chain inet t p '{ type filter hook postrouting priority 0; policy accept; }'",
			"nft add chain inet t p '{ policy drop; }'", "nft add chain inet t p '{ policy accept; }'", "firewall"},
		{"chain where the uplink sends", "true", "nft add table netdev t; nft add chain netdev t e '{ type filter hook egress device under0 priority 0; policy drop; }'", "nft delete table netdev t", "netdev t"},
	} {
		for choice, proto := range map[encap.Choice]string{encap.ChooseGRE: "gre", encap.ChooseUDP: "udp"} {
			t.Run(tt.name+", "+proto, func(t *testing.T) {
				t.Parallel()
				a, _, _ := greeted(t, choice)
				forbidden := "none"
				if proto == "gre" && tt.why != "firewall" { // that chain sees what a packet socket sends
					forbidden = "packet-socket"
				}
				a.shell(tt.first)
				for range 2 {
					a.reaches("egress-tap", "")
					a.shell(strings.ReplaceAll(tt.do, "protocol gre", "protocol "+proto))
					a.reaches(forbidden, tt.why)
					a.shell(tt.undo)
				}
				a.reaches("egress-tap", "")
			})
		}
	}
}

// TestNetnsEgressElements has sets change all the time, as programs that ban
// addresses do, in a table with a say in what is sent: little is sent for it, and
// the egress TAP stays in use.
func TestNetnsEgressElements(t *testing.T) {
	a, _, log := greeted(t, encap.ChooseGRE)
	a.shell("nft add table ip t; nft add set ip t s '{ type ipv4_addr; }'; nft add chain ip t o '{ type filter hook output priority 0; }'; nft add rule ip t o ip daddr @s drop")
	a.reaches("egress-tap", "")
	const n = 20000
	file := filepath.Join(t.TempDir(), "elements")
	var changes bytes.Buffer
	for i := range n / 2 {
		fmt.Fprintf(&changes, "add element ip t s { 10.77.%d.%d }\ndelete element ip t s { 10.77.%d.%d }\n", i>>8, i&255, i>>8, i&255)
	}
	if err := os.WriteFile(file, changes.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	start, before := time.Now(), cpuTime(t)
	a.shell("split -l 100 --filter='nft -f -' " + file)
	took := time.Since(start)
	t.Logf("%d changes in %v took this process %v of CPU", n, took.Round(time.Millisecond), cpuTime(t)-before)
	if name, reason := a.u.Accel(1); name != "egress-tap" || log.count(bySocket) != 0 {
		t.Errorf("peer is reached by %s: %s; %d times by socket meanwhile", name, reason, log.count(bySocket))
	}
}

func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
