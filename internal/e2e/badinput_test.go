package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weft/internal/lab"
)

// oneLine checks that a refusal is a line that names the thing.
func oneLine(t *testing.T, a answer, code int, names ...string) {
	t.Helper()
	if a.code != code {
		t.Errorf("exit %d, want %d: %s", a.code, code, a.err)
	}
	if a.out != "" || strings.Count(a.err, "\n") != 1 || !strings.HasSuffix(a.err, "\n") {
		t.Errorf("want one line on standard error alone: out %q, err %q", a.out, a.err)
	}
	for _, n := range names {
		if !strings.Contains(a.err, n) {
			t.Errorf("%q does not name %q", strings.TrimSpace(a.err), n)
		}
	}
}

// configuration is everything of a status that a command could change.
func (h *Host) configuration() string {
	h.t.Helper()
	s := h.status()
	for i := range s.Ports {
		s.Ports[i].RxFrames, s.Ports[i].TxFrames, s.Ports[i].RxBytes, s.Ports[i].TxBytes = 0, 0, 0, 0
	}
	var peers []peer // without what is found out about them
	for _, p := range s.Peers {
		peers = append(peers, peer{Name: p.Name, Address: p.Address})
	}
	b, err := json.MarshalIndent([]any{s.Networks, s.Ports, peers, h.fdb(""), h.Weft("export")}, "", " ")
	if err != nil {
		h.t.Fatal(err)
	}
	return age.ReplaceAllString(string(b), "")
}

func TestBadInputChangesNothing(t *testing.T) {
	t.Parallel()
	l := lab.ForTest(t)
	h := newHost(t, l, "host1")
	other, err := l.Host("host2")
	if err != nil {
		t.Fatal(err)
	}
	underlay(t, l, h.NS, other, 1500)
	h.Start(runArgs(1, ""))
	h.Weft("network add blue 10.2.0.0/24,id=77")
	h.Weft("peer add host3 192.0.2.3")
	c := newContainer(t, l, "c1", "10.1.0.11")
	h.attach("net1", c, "--mac 02:00:00:00:00:11")
	free := newContainer(t, l, "free", "10.1.0.12")
	const long = "interface-of-16b"
	before := h.configuration()

	for _, tt := range []struct {
		line  string
		code  int
		names []string
	}{
		// Networks.
		{"network add red", 2, nil},
		{"network add red 10.3.0.0/33", 2, []string{"10.3.0.0/33"}},
		{"network add red 10.3.0.0", 2, []string{"10.3.0.0/24"}},
		{"network add red 10.3.0.1/24", 2, []string{"10.3.0.1/24", "10.3.0.0/24"}},
		{"network add red ten", 2, []string{"ten"}},
		{"network add Red! 10.3.0.0/24", 2, []string{"Red!"}},
		{"network add red 10.3.0.0/24,id=0", 2, []string{"id"}},
		{"network add red 10.3.0.0/24,id=4294967296", 2, []string{"4294967296"}},
		{"network add red 10.3.0.0/24,id=seven", 2, []string{"seven"}},
		{"network add red 10.3.0.0/24,color=1", 2, []string{"color"}},
		{"network add red 10.3.0.0/24,mtu=1400,mtu=1400", 2, []string{"mtu"}},
		{"network add red 10.3.0.0/24,ageing=9", 2, []string{"9"}},
		{"network add red 10.3.0.0/24,gateway=10.4.0.1", 2, []string{"10.4.0.1"}},
		{"network add red 10.3.0.0/24,range=10.3.0.9-10.3.0.2", 2, []string{"10.3.0.9"}},
		{"network add red 10.3.0.0/24,mtu=17", 2, []string{"17"}},
		{"network add red 10.3.0.0/24,id=77", 1, []string{"77", "blue"}},
		{"network add blue 10.4.0.0/24", 1, []string{"blue"}},
		{"network add net1 10.1.0.0/25", 1, []string{"net1"}},
		{"network set red --mtu 1400", 1, []string{"red"}},
		{"network set blue", 2, []string{"blue"}},
		{"network rm net1", 1, []string{"net1"}},
		{"network rm net1 --force", 1, []string{"net1"}}, // declared
		// Containers.
		{"attach red netns:" + free.Name() + " 10.1.0.12/24", 1, []string{"red"}},
		{"attach net1 netns:nobody 10.1.0.12/24", 1, []string{"nobody"}},
		{"attach net1 netns:/no/such/path 10.1.0.12/24", 1, []string{"/no/such/path"}},
		{"attach net1 netns:/etc/passwd 10.1.0.12/24", 1, []string{"/etc/passwd"}},
		{"attach net1 pid:4194305 10.1.0.12/24", 1, []string{"4194305"}},
		{"attach net1 pid:none 10.1.0.12/24", 2, []string{"none"}},
		{"attach net1 moon:rock 10.1.0.12/24", 2, []string{"moon"}},
		{"attach net1 " + free.target() + " 10.9.0.12/24", 1, []string{"10.9.0.12", "10.1.0.0/24"}},
		{"attach net1 " + free.target() + " 10.1.0.12", 2, []string{"10.1.0.12/24"}},
		{"attach net1 " + free.target() + " 10.1.0.12/40", 2, []string{"10.1.0.12/40"}},
		{"attach net1 " + free.target() + " 10.1.0.0/24", 2, []string{"10.1.0.0"}},
		{"attach net1 " + free.target() + " 10.1.0.255/24", 2, []string{"10.1.0.255"}},
		{"attach net1 " + free.target() + " 10.1.0.12/24@10.7.0.1", 2, []string{"10.7.0.1"}},
		{"attach net1 " + free.target() + " 10.1.0.11/24", 1, []string{"10.1.0.11", c.Name()}},
		{"attach net1 " + free.target() + " 10.1.0.12/24 --mac 02:00:00:00:00:11", 1, []string{"02:00:00:00:00:11", c.Name()}},
		{"attach net1 " + free.target() + " 10.1.0.12/24 --mac 03:00:00:00:00:12", 2, []string{"03:00:00:00:00:12"}},
		{"attach net1 " + free.target() + " 10.1.0.12/24 --mac 02:00:00", 2, []string{"02:00:00"}},
		{"attach net1 " + free.target() + " 10.1.0.12/24 -i " + long, 2, []string{long, "15"}},
		{"attach net1 " + free.target() + " 10.1.0.12/24 -i lo", 1, []string{"lo"}},
		{"attach net1 " + free.target() + " 10.1.0.12/24 -i a/b", 2, []string{"a/b"}},
		{"attach net1 " + free.target() + " 10.1.0.12/24 --mtu 20", 2, []string{"20"}},
		{"attach net1 " + free.target() + " 10.1.0.12/24 --colour red", 2, []string{"colour"}},
		{"attach net1 " + c.target() + " 10.1.0.77/24", 1, []string{"10.1.0.11"}},
		{"attach blue " + c.target() + " 10.2.0.5/24", 1, []string{"eth1"}}, // taken by net1
		{"attach net1", 2, nil},
		{"detach red " + c.target(), 1, []string{"red"}},
		{"detach net1 moon:rock", 2, []string{"moon"}},
		// Peers.
		{"peer add host3 192.0.2.4", 1, []string{"host3"}},
		{"peer add host4 192.0.2.3", 1, []string{"192.0.2.3", "host3"}},
		{"peer add me 192.0.2.1", 1, []string{"192.0.2.1"}},
		{"peer add me 127.0.0.1", 1, []string{"127.0.0.1"}},
		{"peer add host4 192.0.2", 2, []string{"192.0.2"}},
		{"peer add host4 192.0.2.4,networks=red", 1, []string{"red"}},
		{"peer add host4 192.0.2.4,key=7", 2, []string{"7"}},
		{"peer add host4 192.0.2.4,csum,csum", 2, []string{"csum"}},
		{"peer add host4 192.0.2.4,encap=vxlan", 2, []string{"vxlan"}},
		{"peer add host4 192.0.2.4,networks=net1+blue,key=none", 2, []string{"key=none"}},
		{"peer add host4 224.0.0.1", 2, []string{"224.0.0.1"}},
		{"peer rm host2", 1, []string{"host2"}}, // declared
		// FDB.
		{"fdb add net1 02:00:00:00:00:99 nobody", 1, []string{"nobody"}},
		{"fdb add net1 02:00:00:00:00:99 peer:nobody", 1, []string{"nobody"}},
		{"fdb add red 02:00:00:00:00:99 peer:host2", 1, []string{"red"}},
		{"fdb add net1 03:00:00:00:00:99 peer:host2", 2, []string{"03:00:00:00:00:99"}},
		{"fdb add net1 02:00:00:00:00:11 peer:host2", 1, []string{"02:00:00:00:00:11"}}, // attached
		{"fdb rm red 02:00:00:00:00:98", 1, []string{"red"}},
		{"fdb rm net1 02:00:00:00:00:11", 1, []string{"02:00:00:00:00:11"}}, // attached
		{"fdb show red", 1, []string{"red"}},
		{"fdb flush red", 1, []string{"red"}},
		// The command line itself.
		{"netwrok ls", 2, []string{"netwrok"}},
		{"status --loud", 2, []string{"loud"}},
		{"status extra", 2, []string{"status", "argument"}},
		{"status -o xml", 2, []string{"xml"}},
	} {
		t.Run(tt.line, func(t *testing.T) {
			oneLine(t, h.CLI(tt.line), tt.code, tt.names...)
		})
	}
	if after := h.configuration(); after != before {
		t.Errorf("the configuration changed to\n%s\nfrom\n%s", after, before)
	}
	if links, err := free.Interface("eth1"); err == nil {
		t.Errorf("a refused attach left %v behind", links.Name)
	}
	// Already so is no error.
	h.attach("net1", c, "--mac 02:00:00:00:00:11")
	h.Weft("peer add host3 192.0.2.3")
	h.Weft("network add blue 10.2.0.0/24,id=77")
	h.Weft("detach net1 " + free.target())
	h.Weft("network rm red")
	h.Weft("peer rm nobody")
	h.Weft("fdb rm net1 02:00:00:00:00:98")
	if after := h.configuration(); after != before {
		t.Errorf("repeating what is so changed the configuration to\n%s\nfrom\n%s", after, before)
	}
}

// `weft run` refuses before it touches anything.
func TestRunRefuses(t *testing.T) {
	t.Parallel()
	l := lab.ForTest(t)
	h := newHost(t, l, "host1")
	other, err := l.Host("host2")
	if err != nil {
		t.Fatal(err)
	}
	underlay(t, l, h.NS, other, 1500)
	write := func(name, text string) string {
		path := filepath.Join(h.dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	unknown := write("unknown.yaml", "name: host1\nnetworks:\n  - name: red\n    prefixes: [10.3.0.0/24]\n    colour: red\n")
	badValue := write("value.yaml", "name: host1\nlocal: [192.0.2.1]\nnetworks:\n  - name: red\n    prefixes: [10.3.0.0/33]\n")
	broken := write("broken.yaml", "name: host1\nnetworks:\n  - name: [red\n")
	longPath := filepath.Join(h.dir, strings.Repeat("s", 108))
	ok := " --state-dir " + filepath.Join(h.dir, "st") + " --socket " + filepath.Join(h.dir, "s1")

	for _, tt := range []struct {
		line  string
		code  int
		names []string
	}{
		{"run --local 192.0.2.1 --state-dir " + h.dir + " --socket " + longPath, 1, []string{"107"}},
		{"run --config " + unknown + ok, 1, []string{"unknown.yaml:5", "colour"}},
		{"run --config " + badValue + ok, 1, []string{"value.yaml:5", "10.3.0.0/33"}},
		{"run --config " + broken + ok, 1, []string{"broken.yaml"}},
		{"run --config " + filepath.Join(h.dir, "missing.yaml") + ok, 1, []string{"missing.yaml"}},
		{"run --local 192.0.2.1 --network red=10.3.0.0/24,colour=red" + ok, 2, []string{"colour"}},
		{"run --local 192.0.2.1 --network red" + ok, 2, []string{"red"}},
		{"run --local 192.0.2.1 --network red=10.3.0.0/24 --network red=10.4.0.0/24" + ok, 2, []string{"red"}},
		{"run --local 192.0.2.1 --network red=10.3.0.0/24,id=5 --network tan=10.4.0.0/24,id=5" + ok, 2, []string{"red", "tan", "5"}},
		{"run --local 192.0.2.1 --peer me=192.0.2.1" + ok, 1, []string{"192.0.2.1"}},
		{"run --local 192.0.2.1 --peer a=192.0.2.2 --peer b=192.0.2.2" + ok, 2, []string{"192.0.2.2"}},
		{"run --local here" + ok, 2, []string{"here"}},
		{"run --name Host! --local 192.0.2.1" + ok, 2, []string{"Host!"}},
		{"run --log-level loud" + ok, 2, []string{"loud"}},
		{"run surprise" + ok, 2, []string{"run", "argument"}},
	} {
		t.Run(tt.line, func(t *testing.T) {
			oneLine(t, h.startRefused(tt.line), tt.code, tt.names...)
		})
	}
}

// A second daemon in the same namespace, or on the same state, ends before it
// touches anything; the first does not notice.
func TestSecondDaemonRefused(t *testing.T) {
	t.Parallel()
	l := lab.ForTest(t)
	h := newHost(t, l, "host1")
	other := newHost(t, l, "host2")
	underlay(t, l, h.NS, other.NS, 1500)
	h.Start(runArgs(1, ""))
	before := h.configuration()
	t.Run("same namespace", func(t *testing.T) {
		oneLine(t, h.startRefused(fmt.Sprintf("run --local 192.0.2.1 --state-dir %s --socket %s", filepath.Join(other.dir, "st"), filepath.Join(other.dir, "s"))), 1, "already")
	})
	t.Run("same state", func(t *testing.T) {
		oneLine(t, other.startRefused(fmt.Sprintf("run --local 192.0.2.2 --state-dir %s --socket %s", filepath.Join(h.dir, "state"), filepath.Join(other.dir, "s"))), 1, "state")
	})
	t.Run("same socket", func(t *testing.T) {
		oneLine(t, other.startRefused(fmt.Sprintf("run --local 192.0.2.2 --state-dir %s --socket %s", filepath.Join(other.dir, "st"), h.socket())), 1, h.socket())
	})
	if after := h.configuration(); after != before {
		t.Errorf("the configuration changed to\n%s\nfrom\n%s", after, before)
	}
}

// A daemon that is not there is said so, with the cure.
func TestNoDaemon(t *testing.T) {
	l := lab.ForTest(t)
	h := newHost(t, l, "host1")
	for _, line := range []string{"status", "network ls", "drops -o json"} {
		oneLine(t, h.CLI(line), 1, h.socket(), "weft run")
	}
}
