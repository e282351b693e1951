package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"weft/internal/lab"
	"weft/internal/spec"
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
	t.Parallel()
	lab.Need(t, "iproute2", "ip")
	lab.Need(t, "nftables", "nft")
	for _, tt := range []struct {
		name, file string
		objects    int
		routes     string
		pings      bool // from the first container to the second one
	}{
		{"many ports", hostFile, 14, "10.40.0.0/16 via h2 vrf v\n", true},
		{"every field", wholeFile, 17, "10.40.0.0/16 via h3 vrf v\n10.41.0.0/16 via 10.1.0.12 vrf v\n", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := lab.ForTest(t)
			first, second := newApplied(t, l, "a"), newApplied(t, l, "b")
			if out := first.applied(tt.file); strings.Count(out, "+ ") != tt.objects {
				t.Errorf("got\n%s\nwant %d lines with +", out, tt.objects)
			}
			exported := first.nameless(first.h.Weft("export"))
			second.applied(exported)
			same := func(what string) {
				t.Helper()
				if got := second.nameless(second.h.Weft("export")); got != exported {
					t.Errorf("%s:\n%s\nwant\n%s", what, got, exported)
				}
			}
			same("applied")
			path := second.write(second.named(exported))
			if out := second.h.Weft("apply -f " + path); out != "no difference\n" {
				t.Errorf("applied again: %s", out)
			}
			for _, a := range []*applied{first, second} {
				if !tt.pings {
					continue
				}
				if _, err := a.c[0].Output(t.Context(), "ping", "-n", "-c", "1", "-W", "5", "10.1.0.6"); err != nil {
					t.Error(err)
				}
			}
			routes := filepath.Join(t.TempDir(), "routes")
			small := second.h.Weft("export --routes " + routes)
			if b, err := os.ReadFile(routes); err != nil || string(b) != tt.routes || !strings.Contains(small, "\nroutes: keep\n") {
				t.Errorf("the routes apart: %q, %v, and\n%s", b, err, small)
			}
			if out := second.h.Weft("apply -f " + second.write(small)); out != "no difference\n" {
				t.Errorf("without its routes: %s", out)
			}
			second.h.Weft("route add -f " + routes)
			second.h.Kill()
			second.h.Restart()
			same("after a crash")
		})
	}
}

// From any host to any other: a dry run changes nothing, and says in advance, word
// for word, what apply then does; after that there is no difference left.
func TestApplyDryRun(t *testing.T) {
	t.Parallel()
	l := lab.ForTest(t)
	lab.Need(t, "iproute2", "ip")
	lab.Need(t, "nftables", "nft")
	a := newApplied(t, l, "a")
	for _, file := range []string{hostFile, otherFile, wholeFile, hostFile, wholeFile, otherFile, hostFile, "networks: []\n"} {
		if out := a.applied(file); !strings.Contains(out, "\n") {
			t.Errorf("got %q, want differences", out)
		}
	}
	if out := a.h.Weft("export"); strings.Count(out, ": []") != 6 {
		t.Errorf("in the end there is\n%s", out)
	}
}

// applied applies a file, after a dry run, and returns what either printed.
func (a *applied) applied(file string) string {
	a.t.Helper()
	path := a.write(a.named(file))
	eventually(a.t, 20*time.Second, func() string {
		if strings.Contains(a.h.snapshot(), "tentative") {
			return "duplicate address detection does not end"
		}
		return ""
	})
	look := func() string { return a.h.Weft("export") + a.h.snapshot() + a.kernel() }
	before := look()
	foreseen, dry := a.h.Weft("apply --dry-run -f "+path), spec.Applied{}
	parse(a.t, "apply --dry-run", a.h.Weft("apply --dry-run -o json -f "+path), &dry)
	if diff := lab.Changes(before, look()); diff != "" {
		a.t.Errorf("a dry run changed\n%s", diff)
	}
	done := a.h.Weft("apply -f " + path)
	if done != foreseen {
		a.t.Errorf("apply says\n%s\nand the dry run said\n%s", done, foreseen)
	}
	if n := strings.Count(done, "\n"); !dry.DryRun || len(dry.Differences) != n {
		a.t.Errorf("the dry run has %d differences in JSON, and apply printed %d", len(dry.Differences), n)
	}
	if out := a.h.Weft("apply -f " + path); out != "no difference\n" {
		a.t.Errorf("applied again: %s", out)
	}
	return done
}

// A file that fails in its last step, at a port that somebody else has, leaves all
// as it was: networks, containers, the uplink, what is exposed and published.
func TestApplyFailsLate(t *testing.T) {
	t.Parallel()
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

// Standard input is a file too, and mistakes name it.
func TestApplyMistakes(t *testing.T) {
	t.Parallel()
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
