package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"weft/internal/lab"
)

// hostFile is a host whose containers are called as in a lab.
const hostFile = `networks:
  - name: blue
    prefixes: [10.1.0.0/24, 'fd00:1::/64']
    gateway: [10.1.0.1]
    vrf: v
    expose: [10.1.0.254/24, no-snat]
    publish: ['netns:CONTAINER1 2222:22', 'netns:CONTAINER2 5000-5003:6000-6003/udp']
  - name: lan
    prefixes: [10.3.0.0/24]
  - name: red
    prefixes: [10.2.0.0/24]
    gateway: [10.2.0.1]
    vrf: v
    mtu: 1400
peers:
  - name: h2
    address: 192.0.2.2
routes:
  - prefix: 10.40.0.0/16
    via: h2
    vrf: v
uplinks:
  - network: lan
    device: eth0
    vlan: 12
    transit: true
attachments:
  - network: blue
    target: netns:CONTAINER1
    addresses: [10.1.0.5/24, 'fd00:1::5/64']
  - network: blue
    target: netns:CONTAINER2
    addresses: [10.1.0.6/24]
    ifname: eth0
    mtu: 1300
    isolated: true
  - network: red
    target: netns:CONTAINER1
    addresses: [10.2.0.5/24]
    ifname: eth2
fdb:
  - network: blue
    mac: 02:00:00:00:00:77
    to: netns:CONTAINER2
  - network: lan
    mac: 02:00:00:00:00:78
    to: uplink:eth0
`

// applied is a host with a link eth0 and two containers.
type applied struct {
	t *testing.T
	h *Host
	c [2]*lab.NS
}

func newApplied(t *testing.T, l *lab.Lab, name string) *applied {
	t.Helper()
	a := &applied{t: t, h: newHost(t, l, name)}
	for i := range a.c {
		ns, err := l.Host(fmt.Sprintf("%sc%d", name, i+1))
		if err != nil {
			t.Fatal(err)
		}
		a.c[i] = ns
	}
	far, err := l.Host(name + "lan")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Link(end(a.h.NS, "eth0"), end(far, "eth0")); err != nil {
		t.Fatal(err)
	}
	a.h.Start("--name host1")
	return a
}

// named puts the names of the containers into a text, or takes them out.
func (a *applied) named(text string) string {
	return strings.NewReplacer("CONTAINER1", a.c[0].Name(), "CONTAINER2", a.c[1].Name()).Replace(text)
}

func (a *applied) nameless(text string) string {
	return strings.NewReplacer(a.c[0].Name(), "CONTAINER1", a.c[1].Name(), "CONTAINER2").Replace(text)
}

// write writes a file for apply.
func (a *applied) write(text string) string {
	a.t.Helper()
	path := filepath.Join(a.t.TempDir(), "host.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		a.t.Fatal(err)
	}
	return path
}

// kernel is what the containers have.
func (a *applied) kernel() string {
	a.t.Helper()
	var b strings.Builder
	for _, ns := range a.c {
		for _, args := range []string{"-o link", "-o addr", "route", "-6 route"} {
			out, err := ns.Output(a.t.Context(), "ip", strings.Fields(args)...)
			if err != nil {
				a.t.Fatal(err)
			}
			b.WriteString(out)
		}
	}
	return strings.ReplaceAll(b.String(), " tentative", "") // which passes by itself
}

// A host that is exported and applied to a fresh one exports the same again, and
// its containers have what those of the first have.
func TestExportApply(t *testing.T) {
	l := lab.ForTest(t)
	lab.Need(t, "iproute2", "ip")
	first, second := newApplied(t, l, "a"), newApplied(t, l, "b")
	if out := first.h.Weft("apply -f " + first.write(first.named(hostFile))); strings.Count(out, "+ ") != 14 {
		t.Errorf("got\n%s\nwant 14 lines with +", out)
	}
	exported := first.h.Weft("export")
	path := second.write(second.named(first.nameless(exported)))
	second.h.Weft("apply --dry-run -f " + path)
	if out := second.h.Weft("port ls -o json"); strings.TrimSpace(out) != "[]" {
		t.Errorf("after a dry run there is %s", out)
	}
	second.h.Weft("apply -f " + path)
	if got, want := second.nameless(second.h.Weft("export")), first.nameless(exported); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if out := second.h.Weft("apply -f " + path); out != "no difference\n" {
		t.Errorf("applied again: %s", out)
	}
	for _, a := range []*applied{first, second} {
		if _, err := a.c[0].Output(t.Context(), "ping", "-n", "-c", "1", "-W", "5", "10.1.0.6"); err != nil {
			t.Error(err)
		}
	}
	routes := filepath.Join(t.TempDir(), "routes")
	small := second.h.Weft("export --routes " + routes)
	if b, err := os.ReadFile(routes); err != nil || string(b) != "10.40.0.0/16 via h2 vrf v\n" || !strings.Contains(small, "\nroutes: keep\n") {
		t.Errorf("the routes apart: %q, %v, and\n%s", b, err, small)
	}
	if out := second.h.Weft("apply -f " + second.write(small)); out != "no difference\n" {
		t.Errorf("without its routes: %s", out)
	}
	second.h.Weft("route add -f " + routes)
	second.h.Kill()
	second.h.Restart()
	if got, want := second.nameless(second.h.Weft("export")), first.nameless(exported); got != want {
		t.Errorf("after a crash:\n%s\nwant\n%s", got, want)
	}
}

// A file that fails in its last step, at a port that somebody else has, leaves all
// as it was: networks, containers, the uplink, what is exposed and published.
func TestApplyFailsLate(t *testing.T) {
	l := lab.ForTest(t)
	lab.Need(t, "iproute2", "ip")
	lab.Need(t, "nftables", "nft")
	a := newApplied(t, l, "a")
	a.h.Weft("apply -f " + a.write(a.named(hostFile)))
	serve(t, a.h.NS, "tcp", 2223)
	eventually(t, 20*time.Second, func() string {
		if strings.Contains(a.h.snapshot(), "tentative") {
			return "duplicate address detection does not end"
		}
		return ""
	})
	exported, kernel, host, uplinks := a.h.Weft("export"), unnumbered(a.kernel()), unnumbered(a.h.snapshot()), a.h.Weft("uplink ls")
	for _, tt := range []struct{ old, new string }{
		{"    mtu: 1400\n", "    mtu: 1300\n"}, // of a network
		{"10.1.0.6/24", "10.1.0.7/24"},         // of a container
		{"    vlan: 12\n", "    vlan: 13\n"},   // of the uplink
		{"uplinks:\n  - network: lan\n    device: eth0\n    vlan: 12\n    transit: true\n", ""},                  // without it
		{"10.1.0.254/24, no-snat", "10.1.0.253/24"},                                                              // exposed otherwise
		{"    expose: [10.1.0.254/24, no-snat]\n", ""},                                                           // for the ports alone
		{"  - network: red\n    target: netns:CONTAINER1\n    addresses: [10.2.0.5/24]\n    ifname: eth2\n", ""}, // a container less
		{"'fd00:1::/64'", "'fd00:9::/64'"},                                                                       // refused at once
		{"", ""},
	} {
		text := strings.Replace(hostFile, tt.old, tt.new, 1)
		if tt.new == "" && strings.HasPrefix(tt.old, "uplinks") {
			text = strings.Replace(text, "  - network: lan\n    mac: 02:00:00:00:00:78\n    to: uplink:eth0\n", "", 1)
		}
		text = strings.Replace(text, " 2222:22'", " 2222:22', 'netns:CONTAINER2 2223:22'", 1)
		if got := a.h.CLI("apply -f " + a.write(a.named(text))); got.code != 1 || strings.Count(got.err, "\n") != 1 {
			t.Errorf("%q: got %+v, want one error", tt.new, got)
		}
		if now := a.h.Weft("export"); now != exported {
			t.Errorf("%q: exported is now\n%s\nwant\n%s", tt.new, now, exported)
		}
		eventually(t, 20*time.Second, func() string {
			if now := unnumbered(a.kernel()); now != kernel {
				return fmt.Sprintf("%q: the containers have\n%s\nwant\n%s", tt.new, now, kernel)
			}
			if diff := lab.Changes(host, unnumbered(a.h.snapshot())); diff != "" {
				return fmt.Sprintf("%q: the host is not as before:\n%s", tt.new, diff)
			}
			if now := a.h.Weft("uplink ls"); now != uplinks {
				return fmt.Sprintf("%q: uplinks are now\n%s\nwant\n%s", tt.new, now, uplinks)
			}
			return ""
		})
	}
	a.h.Weft("apply -f " + a.write("networks: []\n"))
}

// unnumbered takes the numbers of interfaces, and the order that follows from them,
// out of what ip prints: one that was taken away and put back has another.
func unnumbered(text string) string {
	lines := strings.Split(interfaceNumber.ReplaceAllString(text, ""), "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

var interfaceNumber = regexp.MustCompile(`(?m)^\d+: `)

// 200 broken files change nothing, neither of the switch nor in the containers.
func TestApplyBroken(t *testing.T) {
	l := lab.ForTest(t)
	lab.Need(t, "iproute2", "ip")
	a := newApplied(t, l, "a")
	good := a.named(hostFile)
	a.h.Weft("apply -f " + a.write(good))
	exported, kernel := a.h.Weft("export"), a.kernel()
	path := a.write(good)
	rnd := rand.New(rand.NewPCG(3, 4))
	refused := 0
	for tries := 0; refused < 200; tries++ {
		if tries > 2000 {
			t.Fatalf("only %d files of %d are broken", refused, tries)
		}
		if err := os.WriteFile(path, []byte(broken(rnd, good)), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := a.h.CLI("apply --dry-run -f " + path); got.code == 0 {
			continue // it is another good one
		}
		got := a.h.CLI("apply -f " + path)
		if got.code != 1 || !strings.HasPrefix(got.err, "weft: "+path+":") || strings.Count(got.err, "\n") != 1 {
			b, _ := os.ReadFile(path)
			t.Errorf("got %+v for\n%s", got, b)
		}
		refused++
		if refused%20 == 0 && a.kernel() != kernel {
			t.Fatalf("the containers have\n%s\nwant\n%s", a.kernel(), kernel)
		}
	}
	if now := a.h.Weft("export"); now != exported || a.kernel() != kernel {
		t.Errorf("something changed: %s\n%s", now, a.kernel())
	}
}

// broken breaks a text, most of the time.
func broken(rnd *rand.Rand, text string) string {
	lines := strings.SplitAfter(strings.TrimSuffix(text, "\n"), "\n")
	i := rnd.IntN(len(lines))
	switch rnd.IntN(4) {
	case 0:
		lines = slices.Delete(lines, i, i+1)
	case 1:
		lines = slices.Insert(lines, i, lines[i])
	case 2:
		b := []byte(lines[i])
		b[rnd.IntN(len(b))] = "-:[]{}#&*!|>'\"%@`?,=\x00/9a"[rnd.IntN(24)]
		lines[i] = string(b)
	case 3:
		if key, _, ok := strings.Cut(lines[i], ":"); ok {
			words := []string{"", "[]", "-1", "99999999999", "10.0.0.0/33", "nowhere", "*a", "10.1.0.6/24", "netns:gone", "02:00:00:00:00", "[a, b"}
			lines[i] = key + ": " + words[rnd.IntN(len(words))] + "\n"
		}
	}
	return strings.Join(lines, "")
}

// Standard input is a file too, and mistakes name it.
func TestApplyMistakes(t *testing.T) {
	l := lab.ForTest(t)
	a := newApplied(t, l, "a")
	for _, tt := range []struct {
		line string
		code int
		want string
	}{
		{"apply", 2, "-f FILE"},
		{"apply -f /nowhere/host.yaml", 1, "/nowhere/host.yaml: no such file"},
		{"apply -f /", 1, "is a directory"},
		{"apply -f -", 1, "stdin:1: it describes nothing"}, // which is empty here
		{"apply -f " + a.write("networks:\n- name: a\n  prefixes: [10.0.0.0/8]\n  mtu: 5\n"), 1, `host.yaml:4: network "a": mtu 5 is out of range`},
		{"apply -f " + a.write(strings.Repeat("\x00", 2<<20)), 1, "host.yaml:1: it has more than 1048576 bytes"},
		{"export more", 2, "want no argument"},
	} {
		if got := a.h.CLI(tt.line); got.code != tt.code || !strings.Contains(got.err, tt.want) {
			t.Errorf("weft %s: got %+v, want %d and %q", tt.line, got, tt.code, tt.want)
		}
	}
}
