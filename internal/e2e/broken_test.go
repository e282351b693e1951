package e2e

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"weft/internal/lab"
)

// wholeFile is a host whose first network, peer, route and so on have every field
// that there is, and whose containers are called as in a lab.
const wholeFile = `networks:
  - name: blue
    prefixes: [10.1.0.0/24, 'fd00:1::/64']
    id: 77
    gateway: [10.1.0.1, 'fd00:1::1']
    vrf: v
    range: 10.1.0.100-10.1.0.200
    mtu: 1400
    ageing: 60
    icc: off
    expose: [10.1.0.254/24, no-snat]
    publish: ['netns:CONTAINER2 2222:22', 'netns:CONTAINER2 5000-5003:6000-6003/udp']
  - name: lan
    prefixes: [10.3.0.0/24]
    id: 78
peers:
  - name: h2
    address: 192.0.2.2
    networks: [blue]
    key: none
    csum: true
    seq: true
    encap: gre
  - name: h3
    address: 192.0.2.3
    csum: true
routes:
  - prefix: 10.40.0.0/16
    via: h3
    vrf: v
  - prefix: 10.41.0.0/16
    via: 10.1.0.12
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
    mac: 02:00:00:00:00:05
    ifname: eth0
    mtu: 1300
    allow-spoof: true
    isolated: true
    vlan: 10
    mac-limit: 16
    storm: 0
  - network: blue
    target: netns:CONTAINER2
    addresses: [10.1.0.6/24]
    allow-spoof: true
    trunk: 20-30,40
    mac-limit: 0
    storm: 100
  - network: lan
    target: netns:CONTAINER2
    addresses: [0/0]
    ifname: eth2
fdb:
  - network: blue
    vlan: 10
    mac: 02:00:00:00:00:77
    to: netns:CONTAINER1
  - network: blue
    mac: 02:00:00:00:00:78
    to: peer:h3
  - network: blue
    mac: 02:00:00:00:00:79
    to: host
  - network: lan
    mac: 02:00:00:00:00:80
    to: uplink:eth0
`

// wrong has, for each field of each section, values that it must not have there: out
// of its range, of another kind, or the name of something that is not there. A field
// that stands in a later item of its section has the number of that item before it.
var wrong = map[string][]string{
	"networks name":     {"''", "Blue!", "lan", "none", strings.Repeat("n", 64)},
	"networks prefixes": {"[]", "10.1.0.0", "10.1.0.0/33", "10.1.0.1/24", "0.0.0.0/0", "10.1.0.0/32", "[10.1.0.0/24, 10.2.0.0/24]", "224.0.0.0/8", "['fd00:1::/64']", "[10.1.0.0/24, '']"},
	"networks id":       {"0", "-1", "4294967296", "seven", "78", "7.5"},
	"networks gateway":  {"10.4.0.1", "10.1.0.0", "10.1.0.255", "10.1.0.5", "ten", "[10.1.0.1, 10.1.0.2]", "'fd00:2::1'"},
	"networks vrf":      {"none", "V!", strings.Repeat("v", 64)},
	"networks range":    {"10.1.0.9", "10.1.0.9-10.1.0.2", "10.2.0.1-10.2.0.9", "a-b", "10.1.0.9-10.1.9.9"},
	"networks mtu":      {"575", "0", "65522", "-1", "1400.5", "big"},
	"networks ageing":   {"9", "0", "1000001", "-1", "long"},
	"networks icc":      {"''", "maybe", "1500"},
	"networks expose":   {"10.1.0.254", "10.2.0.254/24", "10.1.0.5/24", "10.1.0.0/24", "false", "snat", "[10.1.0.254/24, 10.1.0.254/24]", "10.1.0.254/24@10.1.0.1"},
	"networks publish":  {"netns:CONTAINER2", "netns:CONTAINER2 0:22", "netns:CONTAINER2 2222:65536", "netns:CONTAINER2 1-3:1-2", "netns:CONTAINER2 22:22/sctp", "netns:gone 2222:22", "netns:CONTAINER2 198.51.100.7:22:22", "netns:CONTAINER2 1-2000:1-2000", "['netns:CONTAINER2 22:22', 'netns:CONTAINER2 22:23']", "moon:rock 22:22"},

	"peers name":     {"''", "H2!", "h3"},
	"peers address":  {"192.0.2", "192.0.2.3", "127.0.0.1", "224.0.0.1", "0.0.0.0", "''"},
	"peers networks": {"red", "[blue, blue]", "B!", "''"},
	"peers key":      {"7", "some", "''"},
	"peers csum":     {"1500", "maybe", "''"},
	"peers seq":      {"1500", "maybe", "''"},
	"peers encap":    {"vxlan", "GRE", "gre-udp", "''"},

	"routes prefix": {"10.40.0.0", "10.40.0.1/16", "10.40.0.0/33", "10.41.0.0/16", "''", "10.1.0.0/24"},
	"routes via":    {"nobody", "10.9.0.1", "H3!", "''", "'fd00:1::9'"},
	"routes vrf":    {"none", "w", "V!"},

	"uplinks network": {"red", "''", "L!"},
	"uplinks device":  {"nosuch", "lo", "a/b", "interface-of-16b", "''"},
	"uplinks vlan":    {"0", "4095", "-1", "x"},
	"uplinks transit": {"maybe", "12", "''"},

	"attachments network":     {"red", "''", "B!", "lan"}, // where its addresses are not
	"attachments target":      {"moon:rock", "netns:gone", "pid:none", "pid:4194305", "netns:/etc/passwd", "netns:CONTAINER2", "''"},
	"attachments addresses":   {"10.1.0.5", "10.1.0.5/40", "10.9.0.5/24", "10.1.0.0/24", "10.1.0.255/24", "10.1.0.6/24", "10.1.0.1/24", "10.1.0.254/24", "10.1.0.5/24@10.7.0.1", "[10.1.0.5/24, 10.1.0.5/24]", "[0/0, 10.1.0.5/24]", "ten"},
	"attachments mac":         {"03:00:00:00:00:05", "02:00:00", "00:00:00:00:00:00", "02:00:00:00:00:78", "card"},
	"attachments ifname":      {"lo", "a/b", "interface-of-16b", "eth1 2", "''", ".."},
	"attachments mtu":         {"20", "65522", "-1", "big"},
	"attachments allow-spoof": {"maybe", "1500", "false"}, // with a limit of addresses
	"attachments isolated":    {"maybe", "1500"},
	"attachments vlan":        {"0", "4095", "-1", "x"},
	"attachments trunk":       {"0", "4095", "30-20", "20,20", "a-b", "''"},
	"attachments mac-limit":   {"-1", "1048577", "few"},
	"attachments storm":       {"-1", "100000001", "few"},

	"fdb network": {"red", "''", "B!"},
	"fdb vlan":    {"0", "4095", "-1", "x"},
	"fdb mac":     {"03:00:00:00:00:77", "02:00:00", "ff:ff:ff:ff:ff:ff", "02:00:00:00:00:05", "''"},
	"fdb to":      {"peer:nobody", "uplink:nosuch", "uplink:eth0", "netns:gone", "moon:rock", "''"},
}

// stands is in which item of its section a field is tried, where not in the first.
var stands = map[string]int{"attachments trunk": 1}

// mistake is a file with something wrong in it.
type mistake struct{ what, text string }

// mistakes breaks good, a file such as wholeFile, in every way that it knows, one at a
// time: each field has another name, stands twice, or has a value of a wrong type or
// one of wrong, and each section, too.
func mistakes(t *testing.T, good string) (list []mistake) {
	t.Helper()
	broken := func(what string, breakIt func(section func(string) *yaml.Node)) {
		t.Helper()
		var doc yaml.Node
		if err := yaml.Unmarshal([]byte(good), &doc); err != nil {
			t.Fatal(err)
		}
		breakIt(func(name string) *yaml.Node { return field(doc.Content[0], name) })
		text, err := yaml.Marshal(&doc)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		list = append(list, mistake{what, string(text)})
	}
	for _, name := range slices.Sorted(maps.Keys(wrong)) {
		section, key, _ := strings.Cut(name, " ")
		item := func(of func(string) *yaml.Node) *yaml.Node { return of(section).Content[stands[name]] }
		broken(name+" has another name", func(of func(string) *yaml.Node) {
			for _, k := range item(of).Content {
				if k.Value == key {
					k.Value += "s"
					return
				}
			}
		})
		broken(name+" stands twice", func(of func(string) *yaml.Node) {
			it := item(of)
			it.Content = append(it.Content, scalar(key), field(it, key))
		})
		for _, value := range append([]string{"{a: b}", "[[a]]"}, wrong[name]...) {
			broken(name+": "+value, func(of func(string) *yaml.Node) {
				var v yaml.Node
				if err := yaml.Unmarshal([]byte(value), &v); err != nil {
					t.Fatalf("%s: %v", value, err)
				}
				*field(item(of), key) = *v.Content[0]
			})
		}
	}
	for _, section := range []string{"networks", "peers", "routes", "uplinks", "attachments", "fdb"} {
		broken(section+": no list", func(of func(string) *yaml.Node) { *of(section) = *scalar("nothing") })
		broken(section+": a mapping", func(of func(string) *yaml.Node) { of(section).Kind, of(section).Tag = yaml.MappingNode, "!!map" })
		broken(section+": an item that is no mapping", func(of func(string) *yaml.Node) { of(section).Content[0] = scalar("thing") })
		broken(section+": an item without fields", func(of func(string) *yaml.Node) { of(section).Content[0].Content = nil })
		broken(section+": an item twice", func(of func(string) *yaml.Node) {
			of(section).Content = append(of(section).Content, of(section).Content[0])
		})
		list = append(list,
			mistake{section + ": twice", good + section + ": []\n"},
			mistake{section + ": another name", strings.Replace(good, section+":", section+"s:", 1)})
	}
	for _, line := range []string{"name: host1", "local: 10.0.0.1", "state-dir: /nowhere", "log-level: debug", "accel: off", "colour: red", "---", "\tnetworks: []", "- a", "'", "{", "[", "&a *a", "? :", "\x00", "%YAML 9.9"} {
		list = append(list, mistake{"with the line " + line, good + line + "\n"})
	}
	for _, text := range []string{"", "\n", "# a host", "---\n", "null\n", "[]\n", "host\n", "{}\n", "networks: *a\n", "\xff\xfe\n"} {
		list = append(list, mistake{fmt.Sprintf("%q", text), text})
	}
	for _, n := range []int{3, 2} { // cut off within a word or a quotation
		at := strings.LastIndex(good[:len(good)*n/4], "'") - 2
		list = append(list, mistake{fmt.Sprintf("cut off after %d bytes", at), good[:at]})
	}
	return list
}

// field returns the value of a field of a mapping.
func field(mapping *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == key {
			return mapping.Content[i+1]
		}
	}
	panic("no field " + key)
}

func scalar(s string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Value: s} }

// late is what only kernels can say, which they do when all else is done.
var late = map[string]bool{"attachments ifname: lo": true, "networks publish: netns:CONTAINER2 198.51.100.7:22:22": true}

var (
	atLine      = regexp.MustCompile(`^weft: (apply )?\S+:\d+: .`)
	knownFields = regexp.MustCompile(`"notafield" is not known; the fields are (.*)`)
)

// More than 200 broken files, which break each field of the schema in several ways:
// each is one error that names its line, and none changes anything, neither what is
// exported nor the state on the disk nor host and containers.
func TestApplyBroken(t *testing.T) {
	t.Parallel()
	l := lab.ForTest(t)
	lab.Need(t, "iproute2", "ip")
	lab.Need(t, "nftables", "nft")
	a := newApplied(t, l, "a")
	good := a.named(wholeFile)
	a.h.Weft("apply -f " + a.write(good))
	for _, section := range []string{"networks", "peers", "routes", "uplinks", "attachments", "fdb"} {
		got := a.h.CLI("apply -f " + a.write(section+": [{notafield: 1}]\n"))
		m := knownFields.FindStringSubmatch(got.err)
		if m == nil {
			t.Fatalf("%s: got %+v", section, got)
		}
		for _, key := range strings.Split(strings.TrimSpace(m[1]), ", ") {
			if wrong[section+" "+key] == nil {
				t.Errorf("nothing breaks field %s of %s: give it wrong values", key, section)
			}
		}
	}
	eventually(t, 20*time.Second, func() string {
		if strings.Contains(a.h.snapshot(), "tentative") {
			return "duplicate address detection does not end"
		}
		return ""
	})
	state := func() string {
		b, err := os.ReadFile(filepath.Join(a.h.dir, "state", "state.json"))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	exported, written, kernel, host := a.h.Weft("export"), state(), a.kernel(), a.h.snapshot()
	unchanged := func() bool {
		now := a.h.Weft("export")
		diff := lab.Changes(exported, now) + lab.Changes(kernel, a.kernel()) + lab.Changes(host, a.h.snapshot())
		if diff != "" {
			t.Errorf("something changed:\n%s", diff)
		}
		return diff == ""
	}
	path := a.write(good)
	different := map[string]bool{}
	for _, m := range mistakes(t, good) {
		text := a.named(m.text)
		different[text] = true
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got := a.h.CLI("apply -f " + path)
		if got.code != 1 || got.out != "" || !atLine.MatchString(got.err) && !late[m.what] || !strings.Contains(got.err, path+":") || strings.Count(got.err, "\n") != 1 {
			t.Errorf("%s: got %+v, want one error with the line", m.what, got)
		}
		if diff := lab.Changes(written, state()); diff != "" {
			t.Fatalf("%s: the state is not as it was:\n%s", m.what, diff)
		}
		if len(different)%25 == 0 && !unchanged() {
			t.Fatalf("%s, or one of the 24 before it", m.what)
		}
	}
	unchanged()
	if len(different) < 200 {
		t.Errorf("%d broken files differ, want 200", len(different))
	}
	t.Logf("%d broken files", len(different))
	if out := a.h.Weft("apply -f " + a.write(good)); out != "no difference\n" {
		t.Errorf("the good one, in the end: %s", out)
	}
}
