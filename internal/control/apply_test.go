package control

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"weft/internal/spec"
	"weft/tap"
)

// goodHost has something of everything. Line numbers stand in tests.
const goodHost = `networks:
  - name: blue
    prefixes: [10.1.0.0/24, 'fd00:1::/64']
    gateway: [10.1.0.1, 'fd00:1::1']
    vrf: v
    range: 10.1.0.10-10.1.0.99
    mtu: 1400
  - name: red
    prefixes: [10.2.0.0/24]
    id: 77
    gateway: [10.2.0.1]
    vrf: v
    ageing: 60
peers:
  - name: h2
    address: 192.0.2.2
    networks: [blue, red]
  - name: h3
    address: 192.0.2.3
    csum: true
routes:
  - prefix: 10.40.0.0/16
    via: h2
    vrf: v
  - prefix: 10.41.0.0/16
    via: 10.1.0.12
    vrf: v
attachments:
  - network: blue
    target: netns:a
    addresses: [10.1.0.5/24, 'fd00:1::5/64']
    mac: 02:00:00:00:00:05
  - network: blue
    target: netns:b
    addresses: [10.1.0.6/28]
    mac: 02:00:00:00:00:06
    ifname: eth0
    mtu: 1300
    allow-spoof: true
  - network: red
    target: netns:a
    addresses: [10.2.0.5/24@10.2.0.9]
    mac: 02:00:00:00:02:05
    ifname: eth2
fdb:
  - network: blue
    mac: 02:00:00:00:00:77
    to: peer:h2
  - network: red
    mac: 02:00:00:00:00:78
    to: netns:a
`

// apply applies a text, or a mistake in it.
func apply(c *Controller, text string, dryRun bool) (spec.Applied, error) {
	cfg, err := spec.ParseHost("host.yaml", []byte(text))
	if err != nil {
		return spec.Applied{}, err
	}
	return c.Apply(cfg, dryRun)
}

// applied applies a text that must be fine, and returns the differences.
func (r *rig) applied(c *Controller, text string) string {
	r.t.Helper()
	got, err := apply(c, text, false)
	if err != nil {
		r.t.Fatal(err)
	}
	return diffText(got.Differences)
}

func diffText(list []spec.Difference) string {
	lines := make([]string, len(list))
	for i, d := range list {
		lines[i] = d.String()
	}
	return strings.Join(lines, "\n")
}

func (r *rig) exported(c *Controller) string {
	r.t.Helper()
	b, err := c.Export().MarshalHost()
	if err != nil {
		r.t.Fatal(err)
	}
	return string(b)
}

// everything is all that a change could have touched: state, switch and containers.
func (r *rig) everything(c *Controller) string {
	r.t.Helper()
	fdb, err := c.FDB("")
	if err != nil {
		r.t.Fatal(err)
	}
	var entries []string
	for _, e := range fdb {
		if e.Kind != "learned" {
			entries = append(entries, fmt.Sprint(e.Network, e.MAC, e.Port, e.Peer, e.Kind))
		}
	}
	taps := ""
	for _, path := range sortedKeys(r.containers) {
		for _, name := range sortedKeys(r.containers[path].taps) {
			taps += fmt.Sprintln(path, name, r.containers[path].taps[name].cfg)
		}
	}
	return strings.Join([]string{fmt.Sprint(c.store.last), fmt.Sprint(c.Networks(), stills(c.Ports())), fmt.Sprint(routeRowsOf(c, "")), fmt.Sprintf("%+v", c.sent), fmt.Sprint(entries), taps}, "\n")
}

// newHost returns a controller, and containers a to c.
func (r *rig) newHost(declare ...string) *Controller {
	for _, name := range []string{"a", "b", "c"} {
		r.container("/run/netns/" + name)
	}
	return r.open(declare...)
}

// What is exported and applied to a fresh host is exported again, letter by letter.
func TestApplyExport(t *testing.T) {
	r := newRig(t)
	c := r.newHost()
	if got := r.applied(c, goodHost); strings.Count(got, "\n")+1 != 11 || strings.Contains(got, "~") || strings.Contains(got, "- ") {
		t.Errorf("got\n%s\nwant 11 lines, each +", got)
	}
	text := r.exported(c)
	if r.inside(c); len(c.Ports()) != 3 {
		t.Errorf("got %+v", c.Ports())
	}
	again := newRig(t)
	fresh := again.newHost()
	again.applied(fresh, text)
	if got := again.exported(fresh); got != text {
		t.Errorf("got\n%s\nwant\n%s", got, text)
	}
	was := r.everything(c)
	for _, same := range []string{goodHost, text} {
		if got := r.applied(c, same); got != "" || r.everything(c) != was {
			t.Errorf("applied again:\n%s", got)
		}
	}
	r.close(c)
	c = r.open()
	if got := r.exported(c); got != text {
		t.Errorf("after a restart:\n%s\nwant\n%s", got, text)
	}
	if got := r.applied(c, "networks: []\n"); strings.Count(got, "\n")+1 != 11 || strings.Contains(got, "+ ") {
		t.Errorf("got\n%s\nwant 11 lines, each -", got)
	}
	if r.tap("/run/netns/a", "eth1") != nil || len(c.Ports())+len(c.Networks())+len(c.Peers()) > 0 {
		t.Errorf("something is left: %s", r.exported(c))
	}
}

// Every row changes the good host and says so; led back, all is as it was.
func TestApplyChanges(t *testing.T) {
	tests := []struct {
		name     string
		old, new string   // in the file
		want     []string // lines, or parts of them
	}{
		{"MTU", "mtu: 1400", "mtu: 1350", []string{"~ network blue=", "~ port netns:a in blue: 10.1.0.5/24 fd00:1::5/64, eth1, MAC 02:00:00:00:00:05, MTU 1400"}},
		{"an address", "[10.2.0.5/24@10.2.0.9]", "[10.2.0.6/24]", []string{"~ port netns:a in red: 10.2.0.5/24, eth2, MAC 02:00:00:00:02:05, MTU 1446, default route via 10.2.0.9 -> netns:a in red: 10.2.0.6/24, eth2, MAC 02:00:00:00:02:05, MTU 1446, default route via 10.2.0.1"}},
		{"a MAC", "02:00:00:00:00:06", "02:00:00:00:00:16", []string{"~ port netns:b in blue"}},
		{"a flag", "    allow-spoof: true\n", "", []string{"~ port netns:b in blue"}},
		{"a limit", "    allow-spoof: true\n", "    allow-spoof: true\n    mac-limit: 5\n    storm: 0\n", []string{"~ port netns:b in blue"}},
		{"an interface", "ifname: eth2", "ifname: eth5", []string{"~ port netns:a in red"}},
		{"another container", "target: netns:b", "target: netns:c", []string{"- port netns:b in blue", "+ port netns:c in blue"}},
		{"two change places", "mac: 02:00:00:00:00:05\n  - network: blue\n    target: netns:b\n    addresses: [10.1.0.6/28]\n    mac: 02:00:00:00:00:06",
			"mac: 02:00:00:00:00:06\n  - network: blue\n    target: netns:b\n    addresses: [10.1.0.7/28]\n    mac: 02:00:00:00:00:05", []string{"~ port netns:a in blue", "~ port netns:b in blue"}},
		{"an id", "id: 77", "id: 78", []string{"~ network red="}},
		{"a peer", "192.0.2.3", "192.0.2.4", []string{"~ peer h3="}},
		{"a peer's options", "csum: true", "seq: true", []string{"~ peer h3="}},
		{"a next hop", "via: 10.1.0.12", "via: 10.1.0.13", []string{"~ route 10.41.0.0/16=10.1.0.12,vrf=v -> 10.41.0.0/16=10.1.0.13,vrf=v"}},
		{"an entry", "to: peer:h2", "to: peer:h3", []string{"~ fdb 02:00:00:00:00:77 in blue to peer:h2 -> 02:00:00:00:00:77 in blue to peer:h3"}},
		{"a name, with its id", "  - name: red\n    prefixes: [10.2.0.0/24]\n    id: 77\n", "  - name: rot\n    prefixes: [10.2.0.0/24]\n    id: 77\n",
			[]string{"- network red=", "+ network rot=", "~ peer h2=", "- port netns:a in red", "+ port netns:a in rot", "- fdb", "+ fdb"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			c := r.newHost()
			r.applied(c, goodHost)
			text := strings.Replace(goodHost, tt.old, tt.new, 1)
			if strings.Contains(tt.name, "name, with") {
				text = strings.ReplaceAll(strings.ReplaceAll(text, "network: red", "network: rot"), "[blue, red]", "[blue, rot]")
			}
			was := r.everything(c)
			dry, err := apply(c, text, true)
			if err != nil {
				t.Fatal(err)
			}
			if r.everything(c) != was {
				t.Error("a dry run changed something")
			}
			got := r.applied(c, text)
			if got != diffText(dry.Differences) {
				t.Errorf("a dry run tells\n%s", diffText(dry.Differences))
			}
			lines := strings.Split(got, "\n")
			for _, want := range tt.want {
				if i := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, want) }); i >= 0 {
					lines = slices.Delete(lines, i, i+1)
				} else {
					t.Errorf("no line %q", want)
				}
			}
			if len(lines) > 0 || strings.Contains(got, " -> ") != strings.Contains(strings.Join(tt.want, ""), "~") {
				t.Errorf("got\n%s", got)
			}
			r.inside(c)
			if diff := r.applied(c, text); diff != "" {
				t.Errorf("applied again:\n%s", diff)
			}
			r.applied(c, goodHost)
			if now := r.everything(c); now != was && tt.name != "a peer" { // which has another number
				t.Errorf("led back:\n%s\nwant\n%s", now, was)
			}
		})
	}
}

// What cannot be done is refused with its line, and nothing is changed.
func TestApplyRefuses(t *testing.T) {
	tests := []struct{ old, new, want string }{
		{"prefixes: [10.2.0.0/24]", "prefixes: [10.1.0.0/24]", "8: network \"red\": gateway 10.2.0.1 is not in"},
		{"id: 77", "id: 77\n    vlan: 5", "11: network \"red\": field \"vlan\""},
		{"name: red", "name: blue", "8: network \"blue\" is given twice"},
		{"address: 192.0.2.3", "address: 192.0.2.1", "18: peer \"h3\": 192.0.2.1 is this host"},
		{"networks: [blue, red]", "networks: [blue, green]", "15: peer \"h2\": network \"green\""},
		{"via: h2", "via: h9", "22: route 10.40.0.0/16: peer \"h9\""},
		{"via: 10.1.0.12", "via: 10.9.0.12", "25: route 10.41.0.0/16: next hop"},
		{"prefix: 10.41.0.0/16", "prefix: 10.40.0.0/16", "25: "},
		{"target: netns:b", "target: netns:nobody", "33: attachment of \"netns:nobody\": open /run/netns/nobody"},
		{"target: netns:b", "target: netns:a", "33: attachment of \"netns:a\": it is attached to network \"blue\" on line 29"},
		{"target: netns:b", "target: netns:/var/run/netns/a", "33: attachment of \"netns:/var/run/netns/a\": line 29 attaches it"},
		{"target: netns:b", "target: pid:0", "34: attachment of"},
		{"10.1.0.6/28", "10.1.0.5/28", "33: network \"blue\": port netns:b"},
		{"10.1.0.6/28", "10.1.0.1/28", "33: network \"blue\": port netns:b"},
		{"10.1.0.6/28", "10.1.0.6/16", "33: attachment of \"netns:b\": address"},
		{"10.1.0.6/28", "10.7.0.6/28", "33: attachment of \"netns:b\": address 10.7.0.6/28 lies outside"},
		{"mac: 02:00:00:00:00:06", "mac: 02:00:00:00:00:05", "33: attachment of \"netns:b\": MAC"},
		{"ifname: eth2", "ifname: eth1", "40: attachment of \"netns:a\": interface eth1"},
		{"mtu: 1300", "mtu: 30", "38: attachment of \"netns:b\": mtu"},
		{"to: peer:h2", "to: peer:h9", "46: entry of \"02:00:00:00:00:77\": peer \"h9\""},
		{"to: netns:a", "to: netns:b", "49: entry of \"02:00:00:00:00:78\": netns:b"},
		{"mac: 02:00:00:00:00:77", "mac: 02:00:00:00:00:05", "46: entry of"},
		{"networks:\n  - name: blue", "name: h1\nnetworks:\n  - name: blue", "1: name is given to weft run"},
	}
	r := newRig(t)
	c := r.newHost()
	r.applied(c, goodHost)
	was := r.everything(c)
	for _, tt := range tests {
		text := strings.Replace(goodHost, tt.old, tt.new, 1)
		if text == goodHost {
			t.Errorf("%q is not there", tt.old)
		}
		_, err := apply(c, text, false)
		wantError(t, err, "host.yaml:"+tt.want)
		if r.everything(c) != was {
			t.Fatalf("%s: something changed", tt.new)
		}
	}
	_, err := apply(c, "# nothing\n", false)
	wantError(t, err, "host.yaml:1: it describes nothing", "networks: []")
}

// Broken files, 200 different ones, made of a good one by chance: none changes anything.
func TestApplyBrokenFiles(t *testing.T) {
	r := newRig(t)
	c := r.newHost()
	r.applied(c, goodHost)
	was := r.everything(c)
	rnd := rand.New(rand.NewPCG(1, 2))
	refused := 0
	different := map[string]bool{}
	for tries := 0; refused < 200; tries++ {
		if tries > 2000 {
			t.Fatalf("only %d of %d files are broken", refused, tries)
		}
		text := mutate(rnd, goodHost)
		if different[text] {
			continue
		}
		different[text] = true
		if _, err := apply(c, text, true); err == nil {
			continue // it is another good one
		}
		_, err := apply(c, text, false)
		if err == nil || !strings.HasPrefix(err.Error(), "host.yaml:") || strings.Contains(err.Error(), "\n") {
			t.Errorf("got %v for\n%s", err, text)
		}
		if now := r.everything(c); now != was {
			t.Fatalf("%v, and yet something changed:\n%s\nwant\n%s\nby\n%s", err, now, was, text)
		}
		refused++
	}
}

// mutate breaks a text, often: a line is lost, doubled, moved or cut, a byte is
// another, a number or word is replaced.
func mutate(rnd *rand.Rand, text string) string {
	lines := strings.SplitAfter(strings.TrimSuffix(text, "\n"), "\n")
	i, j := rnd.IntN(len(lines)), rnd.IntN(len(lines))
	switch rnd.IntN(7) {
	case 0:
		lines = slices.Delete(lines, i, i+1)
	case 1:
		lines = slices.Insert(lines, i, lines[i])
	case 2:
		lines[i], lines[j] = lines[j], lines[i]
	case 3:
		lines[i] = lines[i][:rnd.IntN(len(lines[i]))] + "\n"
	case 4:
		b := []byte(lines[i])
		b[rnd.IntN(len(b))] = byte(rnd.IntN(128))
		lines[i] = string(b)
	case 5:
		key, _, ok := strings.Cut(lines[i], ":")
		if ok {
			words := []string{"", "[]", "{}", "-1", "99999999999", "10.0.0.0/33", "nowhere", "*a", "\"", "10.1.0.5/24", "blue", "02:00:00:00:00:05", "[a, b", "!!binary x"}
			lines[i] = key + ": " + words[rnd.IntN(len(words))] + "\n"
		}
	case 6:
		return text[:rnd.IntN(len(text))] // a file cut off
	}
	return strings.Join(lines, "")
}

// A failure anywhere leads back to what was.
func TestApplyAllOrNothing(t *testing.T) {
	next := strings.NewReplacer("10.1.0.", "10.5.0.", "id: 77", "id: 78", "h3", "h4", "netns:b", "netns:c", "ifname: eth2", "ifname: eth7").Replace(goodHost)
	r := newRig(t)
	c := r.newHost()
	r.applied(c, goodHost)
	was := r.everything(c)
	fails := map[string]func(){
		"change": func() {
			once := false
			r.failChange = func(tap.Namespace, tap.Config) error {
				if once {
					return nil
				}
				once = true
				return errors.New("no buffer space available")
			}
		},
		"create": func() { r.failCreate = errors.New("too many devices") },
		"save":   func() { c.store.dir = "/proc/nowhere" },
	}
	for _, name := range sortedKeys(fails) {
		fails[name]()
		dir := r.dir
		_, err := apply(c, next, false)
		r.failChange, r.failCreate, c.store.dir = nil, nil, dir
		if err == nil {
			t.Fatalf("%s: it was applied", name)
		}
		if now := r.everything(c); strings.ReplaceAll(now, "eth2", "") != strings.ReplaceAll(was, "eth2", "") {
			t.Errorf("%s: %v\n%s\nwant\n%s", name, err, now, was)
		}
	}
	r.inside(c)
	if got := r.applied(c, next); got == "" {
		t.Error("nothing was applied")
	}
	r.inside(c)
}

// Wherever the daemon ends, the next start has the one or the other, whole.
func TestApplyCutShort(t *testing.T) {
	next := strings.NewReplacer("10.1.0.", "10.5.0.", "netns:b", "netns:c", "ifname: eth2", "ifname: eth7").Replace(goodHost)
	for end := range 2 {
		r := newRig(t)
		c := r.newHost()
		r.applied(c, goodHost)
		file := filepath.Join(r.dir, "state.json")
		var left []byte
		cut := func() error {
			left, _ = os.ReadFile(file)
			return errors.New("the daemon is gone")
		}
		if end == 0 {
			r.failChange = func(tap.Namespace, tap.Config) error {
				if left == nil {
					return cut()
				}
				return errors.New("the daemon is gone")
			}
		} else {
			r.mu.Lock()
			r.onCreate = func() error {
				if left == nil {
					return cut()
				}
				return errors.New("the daemon is gone")
			}
			r.mu.Unlock()
		}
		if _, err := apply(c, next, false); err == nil {
			t.Fatal("it was applied")
		}
		r.close(c)
		r.failChange, r.onCreate = nil, nil
		if err := os.WriteFile(file, left, 0o600); err != nil {
			t.Fatal(err)
		}
		c = r.open()
		if got := r.applied(c, next); got != "" {
			t.Errorf("after a restart there is a difference:\n%s", got)
		}
		r.inside(c)
		if r.tap("/run/netns/b", "eth0") != nil || r.tap("/run/netns/a", "eth2") != nil {
			t.Error("a TAP was left behind")
		}
	}
}

// Declared objects are not apply's to change.
func TestApplyBesideDeclared(t *testing.T) {
	r := newRig(t)
	c := r.newHost("network blue=10.1.0.0/24", "peer h2=192.0.2.2")
	if got := r.applied(c, "networks: []"); got != "" {
		t.Errorf("got\n%s", got)
	}
	if got := r.applied(c, r.exported(c)); got != "" {
		t.Errorf("got\n%s", got)
	}
	_, err := apply(c, "networks:\n  - name: blue\n    prefixes: [10.2.0.0/24]\n", false)
	wantError(t, err, `host.yaml:2: network "blue" is declared in weft.yaml`, "restart weft run")
	_, err = apply(c, "peers:\n  - name: h2\n    address: 192.0.2.2\n    csum: true\n", false)
	wantError(t, err, `host.yaml:2: peer "h2" is declared in weft.yaml`)
	if got := r.applied(c, "attachments:\n  - network: blue\n    target: netns:a\n"); !strings.HasPrefix(got, "+ port netns:a in blue: 10.1.0.1/24") {
		t.Errorf("got\n%s", got)
	}
}

// Docker containers are found by their names, and keep their places while they
// are stopped.
func TestApplyDocker(t *testing.T) {
	r := newRig(t)
	d := newFakeDocker(r)
	web := d.run("0123456789abcdef", "web")
	c := r.open()
	const text = "networks:\n- name: blue\n  prefixes: [10.1.0.0/24]\nattachments:\n- network: blue\n  target: docker:web\n  addresses: [10.1.0.5/24]\n"
	if got := r.applied(c, text); !strings.Contains(got, "+ port docker:web in blue: 10.1.0.5/24") {
		t.Errorf("got\n%s", got)
	}
	if p := c.Ports(); len(p) != 1 || p[0].Name != "web" || !p[0].Up {
		t.Fatalf("got %+v", p)
	}
	for _, same := range []string{text, strings.Replace(text, "docker:web", "web", 1), r.exported(c)} {
		if got := r.applied(c, same); got != "" {
			t.Errorf("applied again:\n%s", got)
		}
	}
	_, err := apply(c, strings.Replace(text, "docker:web", "docker:db", 1), false)
	wantError(t, err, `host.yaml:5: attachment of "docker:db"`)
	d.watched()
	d.stop(web)
	eventually(t, "the port is down", func() bool { return !c.Ports()[0].Up })
	if got := r.applied(c, r.exported(c)); got != "" {
		t.Errorf("while it is stopped:\n%s", got)
	}
	if got := r.applied(c, "networks: []"); !strings.Contains(got, "- port docker:web") || len(c.Ports()) > 0 {
		t.Errorf("got\n%s", got)
	}
}

// A file may leave the routes as they are, but not take from them what they need.
func TestApplyKeepsRoutes(t *testing.T) {
	r := newRig(t)
	c := r.newHost()
	text := "networks:\n- {name: blue, prefixes: 10.1.0.0/24, gateway: 10.1.0.1, vrf: v}\npeers:\n- {name: h2, address: 192.0.2.2}\n- {name: h3, address: 192.0.2.3}\n"
	r.applied(c, text+"routes:\n- {prefix: 10.40.0.0/16, via: h2, vrf: v}\n")
	if got := r.applied(c, text+"routes: keep\n"); got != "" {
		t.Errorf("got %s, want no difference", got)
	}
	if got := r.applied(c, strings.Replace(text, "- {name: h3, address: 192.0.2.3}\n", "", 1)+"routes: keep\n"); got != "- peer h3=192.0.2.3" {
		t.Errorf("got %s, want h3 gone", got)
	}
	before := r.everything(c)
	_, err := apply(c, strings.Replace(text, "h2, address: 192.0.2.2", "h4, address: 192.0.2.4", 1)+"routes: keep\n", false)
	if err == nil || !strings.Contains(err.Error(), "route 10.40.0.0/16, which stays since the file says routes: keep: ") {
		t.Errorf("without its peer: %v", err)
	}
	if now := r.everything(c); now != before {
		t.Errorf("changed: %s", now)
	}
	if got := r.applied(c, text); !strings.Contains(got, "- route 10.40.0.0/16=h2,vrf=v") {
		t.Errorf("without the word: %s", got)
	}
}
