package e2e

import (
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weft/internal/lab"
	"weft/internal/lab/probe"
)

// internetTable is a full Internet routing table, beside the repository.
const internetTable = "../../../shared/data/bgp/prefixes.txt.gz"

// TestSeed is the layout that how-tos of 2017 build from nine tools: each host
// has a prefix and three containers, and knows the way to the other's; with a
// full Internet table beside it. WEFT_LONG tries all underlays and the whole
// table.
func TestSeed(t *testing.T) {
	lab.Need(t, "iputils-ping", "ping")
	long := os.Getenv("WEFT_LONG") != ""
	for _, under := range [][2]string{{"192.168.18.16", "192.168.18.17"}, {"fd18::16", "fd18::17"}} {
		for _, mtu := range []int{1500, 9000} {
			if !long && mtu != 1500 {
				continue
			}
			t.Run(fmt.Sprintf("%s mtu %d", under[0], mtu), func(t *testing.T) {
				s := newSeed(t, under, mtu)
				s.loadTable(long)
				s.ping()
				s.traceroute()
				s.iperf(long)
				for _, h := range s.hosts {
					// Looking for the MAC of the next hop, and its 3/1, belong to the first packets.
					h.onlyDrops(h.settled(), append(loadDrops, "l3_ttl")...)
				}
			})
		}
	}
}

// seed is two hosts that route to each other.
type seed struct {
	t     *testing.T
	hosts [2]*Host
	four  [2][3]*Container
	six   [2][3]*Container // the same containers by their IPv6 addresses
	gw    [2][2]string     // of each host, IPv4 and IPv6
}

func newSeed(t *testing.T, under [2]string, mtu int) *seed {
	l := lab.ForTest(t)
	s := &seed{t: t}
	var ends [2]lab.End
	for i := range s.hosts {
		s.hosts[i] = newHost(t, l, fmt.Sprintf("host%d", i+1))
		a := netip.MustParseAddr(under[i])
		ends[i] = lab.End{NS: s.hosts[i].NS, Name: "eth0", MTU: mtu, Addrs: []netip.Prefix{netip.PrefixFrom(a, map[bool]int{true: 24, false: 64}[a.Is4()])}}
	}
	if err := l.Link(ends[0], ends[1]); err != nil {
		t.Fatal(err)
	}
	for i, h := range s.hosts {
		me, other := i+1, 2-i
		s.gw[i] = [2]string{fmt.Sprintf("172.17.%d.1", me), fmt.Sprintf("fd17:%d::1", me)}
		h.Start(fmt.Sprintf("--name host%d --local %s --peer host%d=%s,networks=none", me, under[i], other, under[1-i]))
		h.Weft(fmt.Sprintf("network add n%d 172.17.%d.0/24,fd17:%d::/64 --gateway %s --gateway %s --vrf net", me, me, me, s.gw[i][0], s.gw[i][1]))
		h.Weft(fmt.Sprintf("route add 172.17.%d.0/24 via host%d", other, other))
		h.Weft(fmt.Sprintf("route add fd17:%d::/64 via host%d", other, other))
		for n := range s.four[i] {
			c := newContainer(t, l, fmt.Sprintf("c%d%d", me, n+2), fmt.Sprintf("172.17.%d.%d", me, n+2))
			six := fmt.Sprintf("fd17:%d::%d", me, n+2)
			h.Weft(fmt.Sprintf("attach n%d %s %s/24 %s/64", me, c.target(), c.Addr, six))
			s.four[i][n], s.six[i][n] = c, &Container{NS: c.NS, t: t, Addr: netip.MustParseAddr(six)}
		}
	}
	return s
}

// loadTable loads the table into both hosts, via the other one, while a
// container sends: no packet may be lost meanwhile.
func (s *seed) loadTable(whole bool) {
	s.t.Helper()
	f, err := os.Open(filepath.FromSlash(internetTable))
	if err != nil {
		s.t.Logf("no Internet table: %v", err)
		return
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		s.t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		s.t.Fatal(err)
	}
	lines := strings.SplitAfter(string(b), "\n")
	if !whole {
		lines = append(lines[:10_000:10_000], lines[len(lines)-10_000:]...)
	}
	path := filepath.Join(s.hosts[0].dir, "table")
	if err := os.WriteFile(path, []byte(strings.Join(lines, "")), 0o600); err != nil {
		s.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(s.t.Context())
	pings := make(chan probe.Pings, 1)
	go func() { // ends with ctx
		var all probe.Pings
		for ctx.Err() == nil {
			p, err := probe.Ping(s.t.Context(), s.four[0][0].NS, s.four[1][0].Addr, probe.Echo{Count: 20, Interval: 5 * time.Millisecond, Timeout: 5 * time.Second})
			if err != nil {
				s.t.Error(err)
				break
			}
			all.Sent, all.Received, all.Max = all.Sent+p.Sent, all.Received+p.Received, max(all.Max, p.Max)
		}
		pings <- all
	}()
	for i, h := range s.hosts {
		start := time.Now()
		out := h.Weft(fmt.Sprintf("route add --file %s via host%d --vrf net", path, 2-i))
		s.t.Logf("%s: %sin %v; %s", h.Name(), out, time.Since(start).Round(time.Millisecond), h.memory())
	}
	stop()
	if p := <-pings; p.Lost() > 0 || p.Sent == 0 {
		s.t.Errorf("%d of %d pings were lost while the table was loaded", p.Lost(), p.Sent)
	} else {
		s.t.Logf("%d pings while it was loaded, none lost, the slowest took %v", p.Sent, p.Max)
	}
}

// memory returns what the daemon uses.
func (h *Host) memory() string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", h.proc.PID()))
	if err != nil {
		h.t.Fatal(err)
	}
	var list []string
	for line := range strings.Lines(string(b)) {
		if strings.HasPrefix(line, "VmRSS") || strings.HasPrefix(line, "VmHWM") {
			list = append(list, strings.Join(strings.Fields(line), " "))
		}
	}
	return strings.Join(list, ", ")
}

// each calls f for every pair of containers on different hosts, in both families.
func (s *seed) each(f func(i int, from, to *Container)) {
	for _, family := range [][2][3]*Container{s.four, s.six} {
		for i := range family {
			for _, from := range family[i] {
				for _, to := range family[1-i] {
					f(i, from, to)
				}
			}
		}
	}
}

func (s *seed) ping() {
	s.t.Helper()
	s.each(func(_ int, from, to *Container) {
		if got, err := probe.Ping(s.t.Context(), from.NS, to.Addr, probe.Echo{Count: 2, Size: 1000, Timeout: 5 * time.Second}); err != nil || got.Lost() > 0 {
			s.t.Errorf("%s to %s: %+v, %v", from.Name(), to.Addr, got, err)
		}
	})
	for i := range s.hosts { // the gateways, in the largest packets that there are
		for _, c := range s.four[i] {
			got, err := probe.Ping(s.t.Context(), c.NS, netip.MustParseAddr(s.gw[i][0]), probe.Echo{Size: 65507, Timeout: 5 * time.Second})
			if err != nil || got.Lost() > 0 {
				s.t.Errorf("%s to its gateway: %+v, %v", c.Name(), got, err)
			}
		}
		got, err := probe.Ping(s.t.Context(), s.six[i][0].NS, netip.MustParseAddr(s.gw[1-i][1]), probe.Echo{Size: 65000, Timeout: 5 * time.Second})
		if err != nil || got.Lost() > 0 {
			s.t.Errorf("%s to the other gateway: %+v, %v", s.six[i][0].Name(), got, err)
		}
	}
}

// traceroute sees both switches and the container.
func (s *seed) traceroute() {
	s.t.Helper()
	m := &manual{t: s.t}
	for family, list := range [][2][3]*Container{s.four, s.six} {
		for i := range list {
			to := list[1-i][1].Addr.String()
			want := strings.Join([]string{s.gw[i][family], s.gw[1-i][family], to}, " ")
			if got := strings.Join(m.hops(list[i][0].NS, to), " "); got != want {
				s.t.Errorf("hops from %s: %s, want %s", list[i][0].Name(), got, want)
			}
			if path, err := exec.LookPath("traceroute"); err == nil {
				out, err := list[i][0].Output(s.t.Context(), path, "-n", "-q", "1", "-w", "5", to)
				if err != nil || !strings.Contains(out, s.gw[i][family]) || !strings.Contains(out, s.gw[1-i][family]) {
					s.t.Errorf("traceroute: %v\n%s", err, out)
				}
			}
		}
	}
}

func (s *seed) iperf(long bool) {
	s.t.Helper()
	seconds := 1
	if long {
		seconds = 3
	}
	for _, list := range [][2][3]*Container{s.four, s.six} {
		for _, direction := range []string{"", "--reverse"} {
			r := runIperf(s.t, list[0][0], list[1][0], fmt.Sprintf("--time %d %s", seconds, direction))
			s.t.Logf("iperf3 %s to %s: %v", direction, list[1][0].Addr, r)
			if r.End.Received.Bytes < 1<<20 {
				s.t.Errorf("iperf3 %s moved %.0f bytes", direction, r.End.Received.Bytes)
			}
		}
	}
}
