package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"weft/internal/lab"
	"weft/internal/lab/probe"
)

// manual runs the commands of a page as they stand there, on two
// hosts with the addresses that it names. Names of namespaces are the lab's.
type manual struct {
	t          *testing.T
	l          *lab.Lab
	hosts      map[string]*Host
	containers map[string]*lab.NS
	key        string // that the SSH server knows
}

// newManual makes the two hosts.
func newManual(t *testing.T) *manual {
	t.Helper()
	m := &manual{t: t, l: lab.ForTest(t), containers: map[string]*lab.NS{}}
	m.hosts = map[string]*Host{"host1": newHost(t, m.l, "host1"), "host2": newHost(t, m.l, "host2")}
	err := m.l.Link(
		lab.End{NS: m.hosts["host1"].NS, Name: "eth0", Addrs: []netip.Prefix{netip.MustParsePrefix("192.168.18.16/24")}},
		lab.End{NS: m.hosts["host2"].NS, Name: "eth0", Addrs: []netip.Prefix{netip.MustParsePrefix("192.168.18.17/24")}})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

var manualLine = regexp.MustCompile(`^    (host[12])# (\S.*?)(?:\s+#.*)?$`)

// read runs every command of text.
func (m *manual) read(text string) {
	m.t.Helper()
	for line := range strings.Lines(text) {
		f := manualLine.FindStringSubmatch(strings.TrimRight(line, "\n"))
		if f == nil {
			continue
		}
		host, words := m.hosts[f[1]], strings.Fields(f[2])
		switch {
		case words[0] == "weft" && words[1] == "run":
			host.Stop() // the page says so
			host.Start(strings.Join(words[2:], " "))
		case words[0] == "weft":
			host.Weft(strings.Join(m.named(words[1:]), " "))
		case strings.HasPrefix(f[2], "ip netns add "):
			ns, err := m.l.Host(words[3])
			if err != nil {
				m.t.Fatal(err)
			}
			m.containers[words[3]] = ns
		case strings.HasPrefix(f[2], "ip netns del "):
			if err := m.containers[words[3]].Remove(); err != nil {
				m.t.Error(err)
			}
		case strings.HasPrefix(f[2], "ip netns exec ") && words[4] == "ping":
			m.run(m.containers[words[3]], words[4:])
		case strings.HasPrefix(f[2], "ip netns exec ") && words[4] == "traceroute": // hops does the same
		case words[0] == "ping":
			m.run(host.NS, words)
		case strings.HasPrefix(f[2], "ip netns exec ") && words[4] == "dropbear":
			m.key = sshd(m.t, &Container{NS: m.containers[words[3]], t: m.t})
		case strings.HasPrefix(f[2], "ssh -p "):
			port, err := strconv.Atoi(words[2])
			if err != nil {
				m.t.Fatal(err)
			}
			_, at, _ := strings.Cut(words[3], "@")
			if seen, err := netip.ParseAddr(ssh(m.t, host.NS, m.key, at, port)); err != nil || host == m.hosts["host2"] && seen.String() != "192.168.18.17" {
				m.t.Errorf("%s: seen as %v, %v", f[2], seen, err)
			}
		default:
			m.t.Errorf("do not know how to run %q", f[2])
		}
	}
}

// named puts the lab's names in the place of the document's.
func (m *manual) named(words []string) []string {
	for i, w := range words {
		if name, ok := strings.CutPrefix(w, "netns:"); ok {
			words[i] = "netns:" + m.containers[name].Name()
		}
	}
	return words
}

func (m *manual) run(ns *lab.NS, words []string) string {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), 20*time.Second)
	defer cancel()
	out, err := ns.Output(ctx, words[0], words[1:]...)
	if err != nil {
		m.t.Errorf("%s: %v\n%s", strings.Join(words, " "), err, out)
	}
	return out
}

var hopFrom = regexp.MustCompile(`(?m)^From (\S+)`)

// hops returns who answers to packets with 1, 2, 3 hops left on their way to an address.
func (m *manual) hops(from *lab.NS, to string) (who []string) {
	m.t.Helper()
	for ttl := 1; ttl <= 4; ttl++ {
		ctx, cancel := context.WithTimeout(m.t.Context(), 10*time.Second)
		out, _ := from.Output(ctx, "ping", "-n", "-c", "1", "-W", "3", "-t", fmt.Sprint(ttl), to) // fails until the last hop
		cancel()
		if f := hopFrom.FindStringSubmatch(out); f != nil {
			who = append(who, f[1])
			continue
		}
		if strings.Contains(out, " 0% packet loss") {
			return append(who, to)
		}
		return append(who, "nobody")
	}
	return who
}

// try checks what the document says of two containers: how many hops there are
// between them, by TTL and by name, and that streams arrive both ways.
func (m *manual) try(from, to *lab.NS, at [2]string, back [2]string, ttl int, hops [2][]string) {
	m.t.Helper()
	for i := range at {
		out := m.run(from, []string{"ping", "-n", "-c", "1", "-W", "5", at[i]})
		if want := fmt.Sprintf("ttl=%d ", ttl); !strings.Contains(out, want) {
			m.t.Errorf("ping %s: got %s, want %s", at[i], out, want)
		}
		if got := m.hops(from, at[i]); strings.Join(got, " ") != strings.Join(hops[i], " ") {
			m.t.Errorf("hops to %s: got %v, want %v", at[i], got, hops[i])
		}
		for _, way := range []struct {
			from, to *lab.NS
			addr     string
		}{{from, to, at[i]}, {to, from, back[i]}} {
			ctx, cancel := context.WithTimeout(m.t.Context(), time.Minute)
			tr, err := probe.TCP(ctx, way.from, way.to, netip.AddrPortFrom(netip.MustParseAddr(way.addr), 0), 8<<20)
			cancel()
			if err != nil || tr.Sent != tr.Received {
				m.t.Errorf("stream to %s: %v", way.addr, err)
			}
		}
	}
}

// The document works as it stands.
func TestTwoHostsDocument(t *testing.T) {
	t.Parallel()
	lab.Need(t, "iputils-ping", "ping")
	text, err := os.ReadFile("../../docs/two-hosts.md")
	if err != nil {
		t.Fatal(err)
	}
	routed, bridged := between(t, text, "## Routed", "## Bridged"), between(t, text, "## Bridged", "## Both")
	m := newManual(t)
	build, undo, found := strings.Cut(routed, "### Undo")
	if !found {
		t.Fatal("no section Undo")
	}
	m.read(build)
	web, app := m.containers["web"], m.containers["app"]
	m.try(web, app, [2]string{"172.17.2.2", "fd17:2::2"}, [2]string{"172.17.1.2", "fd17:1::2"}, 62, [2][]string{
		{"172.17.1.1", "172.17.2.1", "172.17.2.2"}, {"fd17:1::1", "fd17:2::1", "fd17:2::2"},
	})
	if ifi, err := web.Interface("eth1"); err != nil || ifi.MTU != 1450 {
		t.Errorf("interface %+v, %v, want MTU 1450", ifi, err)
	}
	for _, h := range m.hosts {
		if n := h.settled().Drops["gre_key"]; n != 0 {
			t.Errorf("%s: %d frames of networks that it does not have", h.Name(), n)
		}
	}
	m.read(undo)
	m.empty()

	at := strings.Index(bridged, "    host1# weft detach")
	m.read(bridged[:at])
	m.try(web, app, [2]string{"172.17.0.100", "fd17::100"}, [2]string{"172.17.0.2", "fd17::2"}, 64, [2][]string{
		{"172.17.0.100"}, {"fd17::100"},
	})
	m.read(bridged[at:])
	m.empty()
}

// The page for those who come from other tools works from its top to its end, and
// leaves nothing.
func TestMigrateDocument(t *testing.T) {
	t.Parallel()
	lab.Need(t, "iputils-ping", "ping")
	text, err := os.ReadFile("../../docs/migrate.md")
	if err != nil {
		t.Fatal(err)
	}
	m := newManual(t)
	m.read(string(text))
	m.empty()
}

// empty checks that nothing is left of what was made.
func (m *manual) empty() {
	m.t.Helper()
	for _, h := range m.hosts {
		s := h.settled()
		s.Degraded = slices.DeleteFunc(s.Degraded, func(d degraded) bool { return strings.Contains(d.Why, "rx_overflow") }) // of a slow machine
		if len(s.Networks) > 0 || len(s.Ports) > 0 || len(s.Degraded) > 0 {
			m.t.Errorf("%s: left are networks %v, ports %v; degraded %v", h.Name(), s.Networks, s.Ports, s.Degraded)
		}
	}
}

// between returns the part of text from one heading to the next.
func between(t *testing.T, text []byte, from, to string) string {
	t.Helper()
	_, rest, ok := strings.Cut(string(text), "\n"+from)
	part, _, found := strings.Cut(rest, "\n"+to)
	if !ok || !found {
		t.Fatalf("no part from %q to %q", from, to)
	}
	return part
}
