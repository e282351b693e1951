package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"weft/internal/lab"
)

// hostFile is a host whose containers are called as in a lab.
const hostFile = `networks:
  - name: blue
    prefixes: [10.1.0.0/24, 'fd00:1::/64']
    gateway: [10.1.0.1]
    vrf: v
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
attachments:
  - network: blue
    target: netns:CONTAINER1
    addresses: [10.1.0.5/24, 'fd00:1::5/64']
  - network: blue
    target: netns:CONTAINER2
    addresses: [10.1.0.6/24]
    ifname: eth0
    mtu: 1300
  - network: red
    target: netns:CONTAINER1
    addresses: [10.2.0.5/24]
    ifname: eth2
fdb:
  - network: blue
    mac: 02:00:00:00:00:77
    to: netns:CONTAINER2
`

// applied is a host in a lab of its own, with two containers.
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
	if out := first.h.Weft("apply -f " + first.write(first.named(hostFile))); strings.Count(out, "+ ") != 8 {
		t.Errorf("got\n%s\nwant 8 lines with +", out)
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
	second.h.Kill()
	second.h.Restart()
	if got, want := second.nameless(second.h.Weft("export")), first.nameless(exported); got != want {
		t.Errorf("after a crash:\n%s\nwant\n%s", got, want)
	}
}

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
		{"export more", 2, "want no argument"},
	} {
		if got := a.h.CLI(tt.line); got.code != tt.code || !strings.Contains(got.err, tt.want) {
			t.Errorf("weft %s: got %+v, want %d and %q", tt.line, got, tt.code, tt.want)
		}
	}
}
