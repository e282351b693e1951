package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"weft/internal/spec"
)

var update = flag.Bool("update", false, "write the golden files anew")

// weft runs a command line and returns its exit code and what it wrote.
func weft(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, diag bytes.Buffer
	code = run(t.Context(), args, &out, &diag)
	return code, out.String(), diag.String()
}

// Every way to get the arguments wrong ends with 2, one line that names the
// thing and the cure, and nothing asked of the daemon.
func TestBadArguments(t *testing.T) {
	f := &fake{}
	t.Setenv("WEFT_SOCKET", startFake(t, f))
	tests := []struct{ args, want string }{
		{"statsu", "weft: unknown command \"statsu\"; maybe you meant status; `weft --help` lists them"},
		{"xyzzy", "weft: unknown command \"xyzzy\"; `weft --help` lists them"},
		{"route", "weft: route: want one of add, replace, rm, show; see `weft route --help`"},
		{"route add 10.9.0.0/16 host2", "weft: route add: want PREFIX via PEER|ADDR, got 2 arguments; see `weft route add --help`"},
		{"route add 10.9.0.0/16 dev host2", `weft: route add: want "via" between prefix and next hop, got "dev"`},
		{"route add 10.9.0.1/16 via host2", `weft: route add: route "10.9.0.1/16": 10.9.0.1/16 is an address, not a prefix; maybe you meant 10.9.0.0/16`},
		{"route add 10.9.0.0/16 via Host2", `weft: route add: route "10.9.0.0/16": next hop "Host2" is neither an address nor a peer's name: 'H' cannot stand in a name; use a-z, 0-9, '-', '_' and '.'`},
		{"route add 10.9.0.0/16 via 10.1.0.0/16", `weft: route add: route "10.9.0.0/16": next hop "10.1.0.0/16" is neither an address nor a peer's name: '/' cannot stand in a name; use a-z, 0-9, '-', '_' and '.'`},
		{"route add 10.9.0.0/16 via host2 --vrf Red", `weft: route add: vrf "Red": 'R' cannot stand in a name; use a-z, 0-9, '-', '_' and '.'`},
		{"route add 10.9.0.0/16 via host2 --vrf=", `weft: route add: --vrf: the name is empty; leave it out where there is one vrf`},
		{"expose", "weft: expose: want NETWORK [ADDR/LEN]..., got 0 arguments; see `weft expose --help`"},
		{"expose blue 10.1.0.5", `weft: expose network "blue": address "10.1.0.5": the prefix length is missing; maybe you meant 10.1.0.5/24`},
		{"expose Blue", `weft: expose: network "Blue": 'B' cannot stand in a name; use a-z, 0-9, '-', '_' and '.'`},
		{"hide", "weft: hide: want NETWORK, got 0 arguments; see `weft hide --help`"},
		{"publish blue netns:web", "weft: publish: want NETWORK TARGET [HOSTADDR:]PORT[-PORT]:PORT[-PORT][/tcp|udp], got 2 arguments; see `weft publish --help`"},
		{"publish blue netns:web 80", `weft: publish "80": want [HOSTADDR:]PORT[-PORT]:PORT[-PORT][/tcp|udp], as in 8080:80 or [fd00::1]:5000-5009:5000-5009/udp`},
		{"publish blue x:y 80:80", `weft: publish: target "x:y": scheme "x" is not known; want netns:NAME, netns:/path, pid:N or docker:NAME`},
		{"publish ls x", "weft: publish ls: want no argument, got 1 argument; see `weft publish ls --help`"},
		{"unpublish blue netns:web 0:80", `weft: unpublish: publish "0:80": port "0" is not a number from 1 to 65535`},
		{"cleanup x", "weft: cleanup: want no argument, got 1 argument; see `weft cleanup --help`"},
		{"run --expose blue,snat", `weft: run: --expose: expose network "blue": option "snat" is not known; the options are ADDR/LEN, no-snat`},
		{"run --publish blue,80:80", `weft: run: --publish: publish "blue,80:80": want NETWORK,TARGET,PORT:PORT, as in blue,netns:web,8080:80`},
		{"route rm", "weft: route rm: want PREFIX, got 0 arguments; see `weft route rm --help`"},
		{"route rm 10.9.0.1", `weft: route rm: route "10.9.0.1": the prefix length is missing; maybe you meant 10.9.0.1/24`},
		{"route show 10.9.0.0/16", `weft: route show: route to "10.9.0.0/16": want an address, as in 172.17.2.5`},
		{"route show ::ffff:10.9.0.1", `weft: route show: route to ::ffff:10.9.0.1: it is IPv4 written as IPv6; maybe you meant 10.9.0.1`},
		{"route show 10.9.0.1 10.9.0.2", "weft: route show: want [ADDR], got 2 arguments; see `weft route show --help`"},
		{"help xyzzy", "weft: help: unknown command \"xyzzy\"; `weft --help` lists them"},
		{"network", "weft: network: want one of add, ls, rm, set; see `weft network --help`"},
		{"network del x", "weft: network: unknown command \"del\"; `weft network --help` lists them"},
		{"completion tcsh", "weft: completion: unknown command \"tcsh\"; `weft completion --help` lists them"},
		{"completion bash x", "weft: completion bash: want no argument, got 1 argument; see `weft completion bash --help`"},
		{"--foo", "weft: unknown flag: --foo; see `weft --help`"},
		{"status --foo", "weft: status: unknown flag: --foo; see `weft status --help`"},
		{"status -x", "weft: status: unknown shorthand flag: 'x' in -x; see `weft status --help`"},
		{"status x", "weft: status: want no argument, got 1 argument; see `weft status --help`"},
		{"-o xml status", `weft: status: invalid argument "xml" for "-o, --output" flag: it is table or json; see ` + "`weft status --help`"},
		{"status -o", "weft: status: flag needs an argument: 'o' in -o; see `weft status --help`"},
		{"bench", "weft: bench: want FROM TO, got 0 arguments; see `weft bench --help`"},
		{"bench netns:web", "weft: bench: want two containers, a container and an address, or peer:NAME alone"},
		{"bench peer:host2 web", "weft: bench: want two containers, a container and an address, or peer:NAME alone"},
		{"bench netns:c1 peer:h2", "weft: bench: peer:h2 has no other end that is known: name the address at which `weft bench serve` runs on that host, or peer:h2 alone, to measure from this host"},
		{"bench web db --address 10.1.0.9/24", "weft: bench: --address is that of the container that is made to measure to peer:NAME, and here none is made"},
		{"bench peer:Host2", `weft: bench: peer "Host2": 'H' cannot stand in a name; use a-z, 0-9, '-', '_' and '.'`},
		{"bench web db --seconds 61", "weft: bench: --seconds 61: want 0.1 to 60"},
		{"bench web db --seconds nan", "weft: bench: --seconds NaN: want 0.1 to 60"},
		{"bench serve blue green", "weft: bench serve: want [NETWORK], got 2 arguments; see `weft bench serve --help`"},
		{"attach", "weft: attach: want NETWORK TARGET [ADDR/LEN[@GATEWAY]]..., got 0 arguments; see `weft attach --help`"},
		{"attach blue", "weft: attach: want NETWORK TARGET [ADDR/LEN[@GATEWAY]]..., got 1 argument; see `weft attach --help`"},
		{"attach Blue netns:web", `weft: attach: network "Blue": 'B' cannot stand in a name; use a-z, 0-9, '-', '_' and '.'`},
		{"attach blue vm:web", `weft: attach: target "vm:web": scheme "vm" is not known; want netns:NAME, netns:/path, pid:N or docker:NAME`},
		{"attach blue pid:x", `weft: attach: target "pid:x": want the number of a process, as in pid:4711`},
		{"attach blue netns:web 192.168.18.29", `weft: attach: address "192.168.18.29": the prefix length is missing; maybe you meant 192.168.18.29/24`},
		{"attach blue netns:web 10.1.0.5/16@10.2.0.1", `weft: attach: address "10.1.0.5/16@10.2.0.1": gateway 10.2.0.1 is not in 10.1.0.0/16: name one that is, as in 10.1.0.1`},
		{"attach blue netns:web 10.1.0.5/16 10.1.0.5/24", `weft: attach: address 10.1.0.5 is given twice`},
		{"attach blue netns:web --mac zz", `weft: attach: MAC "zz": want six octets, as in 02:00:00:00:00:01, or U:STRING`},
		{"attach blue netns:web --mac 01:00:5e:00:00:01", `weft: attach: MAC 01:00:5e:00:00:01 is a group's address; the first octet of a station's is even`},
		{"attach blue netns:web --mac=", `weft: attach: MAC is empty; leave --mac out to have one made`},
		{"attach blue netns:web -i sixteenbyteslong", `weft: attach: interface name "sixteenbyteslong" has 16 bytes; the kernel takes at most 15`},
		{"attach blue netns:web -i a/b", `weft: attach: interface name "a/b": use letters, digits and signs of ASCII, but no '/', ':', '%' and spaces`},
		{"attach blue netns:web --ifname=", `weft: attach: the interface name is empty`},
		{"attach blue netns:web --mtu 575", `weft: attach: mtu 575 is out of range; it goes from 576 to 65521`},
		{"attach blue netns:web --mtu 0", `weft: attach: mtu 0 is out of range; it goes from 576 to 65521`},
		{"attach blue netns:web --mtu big", `weft: attach: mtu "big" is not a number from 576 to 65521`},
		{"detach blue", "weft: detach: want NETWORK TARGET, got 1 argument; see `weft detach --help`"},
		{"detach blue x:y", `weft: detach: target "x:y": scheme "x" is not known; want netns:NAME, netns:/path, pid:N or docker:NAME`},
		{"network add red", "weft: network add: want NAME PREFIX[,PREFIX6][,OPTION=VALUE]..., got 1 argument; see `weft network add --help`"},
		{"network add red 10.1.0.5/16", `weft: network add: network "red": 10.1.0.5/16 is an address, not a prefix; maybe you meant 10.1.0.0/16`},
		{"network add red 10.1.0.0/16,foo=1", `weft: network add: network "red": option "foo" is not known; the options are id, gateway, vrf, range, mtu, ageing, icc`},
		{"network add red 10.1.0.0/16,id=1 --id 2", `weft: network add: network "red": option "id" is given twice`},
		{"network add red 10.1.0.0/16 --id 1 --id 1", `weft: network add: network "red": option "id" is given twice`},
		{"network add red 10.1.0.0/16 --id 0", `weft: network add: network "red": id 0 is out of range; it goes from 1 to 4294967295`},
		{"network add red 10.1.0.0/16 --gateway 10.1.0.1,mtu=1400", `weft: network add: network "red": gateway "10.1.0.1,mtu=1400" is not an address; want one of the network's prefix, as in 10.1.0.1`},
		{"network set blue", `weft: network set: network "blue": nothing to change; name its prefixes, or options: gateway, vrf, range, mtu, ageing, icc`},
		{"export --routes=", "weft: export: --routes: the path of the file is empty"},
		{"apply", "weft: apply: name the file with -f FILE; - reads standard input"},
		{"show --format iproute2", "weft: show: invalid argument \"iproute2\" for \"--format\" flag: it is brctl or ovs; see `weft show --help`"},
		{"show --format ovs -o json", "weft: show: --format is text; leave it out for -o json"},
		{"fdb show --format ovs", "weft: fdb show: --format shows one network; name it"},
		{"network set blue --id 3", "weft: network set: unknown flag: --id; see `weft network set --help`"},
		{"network set blue --mtu 1", `weft: network set: network "blue": mtu 1 is out of range; it goes from 576 to 65521`},
		{"network rm Blue", `weft: network rm: network "Blue": 'B' cannot stand in a name; use a-z, 0-9, '-', '_' and '.'`},
		{"peer add host2", "weft: peer add: want NAME ADDR[,OPTION]..., got 1 argument; see `weft peer add --help`"},
		{"peer add host2 192.168.18", `weft: peer add: peer "host2": "192.168.18" is not an address; want that of the other host, as in 192.168.18.17`},
		{"peer add host2 192.168.18.17,csum --csum", `weft: peer add: peer "host2": option "csum" is given twice`},
		{"peer add host2 192.168.18.17 --encap vxlan", `weft: peer add: peer "host2": encap "vxlan" is not known; it is auto, gre or gre-udp`},
		{"peer rm ..", `weft: peer rm: peer "..": a name starts with a letter or digit, not with '.'`},
		{"fdb add blue 02:00:00:00:00:01", "weft: fdb add: want NETWORK MAC PORT|peer:NAME, got 2 arguments; see `weft fdb add --help`"},
		{"fdb add blue 2 web", `weft: fdb add: MAC "2": want six octets, as in 02:00:00:00:00:01, or U:STRING`},
		{"fdb add blue 02:00:00:00:00:01 peer:", `weft: fdb add: peer "": a name is missing`},
		{"fdb rm blue ff:ff:ff:ff:ff:ff", `weft: fdb rm: MAC ff:ff:ff:ff:ff:ff is a group's address; the first octet of a station's is even`},
		{"fdb show Blue", `weft: fdb show: network "Blue": 'B' cannot stand in a name; use a-z, 0-9, '-', '_' and '.'`},
		{"route replace 10.9.0.0/16", "weft: route replace: want PREFIX via PEER|ADDR, got 1 argument; see `weft route replace --help`"},
		{"route add --file x 10.9.0.0/16", `weft: route add: with --file want nothing, or via PEER|ADDR, got "10.9.0.0/16"`},
		{"run x", "weft: run: want no argument, got 1 argument; see `weft run --help`"},
		{"run --route 10.9.0.0/16", `weft: run: --route: route "10.9.0.0/16": want PREFIX=PEER|ADDR[,vrf=NAME], as in 172.17.2.0/24=host2`},
		{"run --route 10.9.0.0/16=h,metric=5", `weft: run: --route: route "10.9.0.0/16": option "metric" is not known; the options are vrf`},
		{"run --route 10.9.0.0/16=h --route 10.9.0.0/16=g", `weft: run: --route: route "10.9.0.0/16" is given twice`},
		{"run --name Host", `weft: run: --name "Host": 'H' cannot stand in a name; use a-z, 0-9, '-', '_' and '.'`},
		{"run --config=", `weft: run: --config: the path of the file is empty`},
		{"run --state-dir=", `weft: run: --state-dir: the path of the directory is empty`},
		{"run --accel on", `weft: run: --accel: accel "on" is not known; it is one of auto, off`},
		{"run --log-level loud", `weft: run: --log-level: log level "loud" is not known; it is one of debug, info, warn, error`},
		{"run --local eth0", `weft: run: --local: local "eth0" is not an address; want one of this host, as in 192.168.18.16`},
		{"run --local 10.0.0.1 --local 10.0.0.1", `weft: run: --local: local 10.0.0.1 is given twice`},
		{"run --network blue", `weft: run: --network: network "blue": want NAME=PREFIX[,option...], as in blue=10.1.0.0/16`},
		{"run --network a=10.1.0.0/16 --network a=10.2.0.0/16", `weft: run: --network: network "a" is given twice`},
		{"run --network a=10.1.0.0/16,id=5 --network b=10.2.0.0/16,id=5", `weft: run: --network: network "b": id 5 is that of network "a" already; choose another`},
		{"run --network a=10.1.0.0/16,id=4294967296", `weft: run: --network: network "a": id 4294967296 is out of range; it goes from 1 to 4294967295`},
		{"run --peer h=10.0.0.1 --peer g=10.0.0.1", `weft: run: --peer: peer "g": 10.0.0.1 is the address of peer "h" already; a host is one peer: leave one of them out, or give it another address`},
		{"run --peer h=10.0.0.1,seq,encap=gre-udp", `weft: run: --peer: peer "h": encap=gre-udp has no room for sequence numbers: leave out seq`},
	}
	for _, tt := range tests {
		code, stdout, stderr := weft(t, strings.Fields(tt.args)...)
		if code != 2 || stdout != "" || stderr != tt.want+"\n" {
			t.Errorf("weft %s\n got %d %q %s\nwant 2 %q %s", tt.args, code, stdout, stderr, "", tt.want)
		}
	}
	if len(f.asked) > 0 {
		t.Errorf("the daemon was asked %q", f.asked)
	}
}

// What the daemon or the machine refuses ends with 1 and one line.
func TestFailures(t *testing.T) {
	f := &fake{}
	socket := startFake(t, f)
	dir := t.TempDir()
	config := filepath.Join(dir, "weft.yaml")
	if err := os.WriteFile(config, []byte("name: host1\nnetworks:\n- name: blue\n  prefix: 10.1.0.0/16\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	good := filepath.Join(dir, "good.yaml")
	if err := os.WriteFile(good, []byte("networks:\n- {name: blue, prefixes: 10.1.0.0/16, id: 5}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", 108)
	const cure = "; start it with `weft run` or name its socket with --socket"
	tests := []struct {
		args []string
		want string
	}{
		{[]string{"bench", "web", "nope"}, `weft: no port is called "nope": ` + "`weft port ls` lists them"},
		{[]string{"bench", "web", "web"}, `weft: that is one container: name two`},
		{[]string{"bench", "peer:nope"}, `weft: peer "nope" is not known: ` + "`weft peer ls` lists them"},
		{[]string{"bench", "peer:host2", "--network", "nope"}, `weft: network "nope" is not shared with peer host2: it has blue, green`},
		{[]string{"attach", "red", "netns:web"}, `weft: attach netns:web: network "red" is not known; weft network ls lists them`},
		{[]string{"fdb", "show", "red"}, `weft: network "red" is not known; weft network ls lists them`},
		{[]string{"network", "set", "red", "--mtu", "1400"}, `weft: network "red" is not known; weft network ls lists them`},
		{[]string{"network", "add", "blue", "10.1.0.0/16"}, `weft: network "blue" exists with id 4711; remove it first`},
		{[]string{"route", "show", "10.77.0.1"}, `weft: route to 10.77.0.1: there is none in vrf "red": add one`},
		{[]string{"route", "show", "--vrf", "w"}, `weft: vrf "w" does not exist: there is red`},
		{[]string{"status", "--socket", dir + "/absent"}, "weft: reach the daemon: there is no socket " + dir + "/absent" + cure},
		{[]string{"--socket", long, "status"}, "weft: the path of the socket has 108 bytes and the kernel takes at most 107; choose a shorter one with --socket: " + long},
		{[]string{"run", "--socket", long}, "weft: the path of the socket has 108 bytes and the kernel takes at most 107; choose a shorter one with --socket: " + long},
		{[]string{"run", "--config", dir + "/absent"}, "weft: read config: open " + dir + "/absent: no such file or directory; name a YAML file with --config"},
		{[]string{"run", "--config", config}, "weft: read config: " + config + `:4: network "blue": field "prefix" is not known; the fields are name, prefixes, id, gateway, vrf, range, mtu, ageing, icc, expose, publish`},
		{[]string{"run", "--config", good, "--network", "red=10.2.0.0/16,id=5"}, `weft: network "red": id 5 is that of network "blue" already; choose another`},
	}
	t.Setenv("WEFT_SOCKET", socket)
	for _, tt := range tests {
		code, stdout, stderr := weft(t, tt.args...)
		if code != 1 || stdout != "" || stderr != tt.want+"\n" {
			t.Errorf("weft %s\n got %d %q %s\nwant 1 %s", tt.args, code, stdout, stderr, tt.want)
		}
	}
}

// Whatever bytes come as arguments, an error is one line.
func TestErrorsAreOneLine(t *testing.T) {
	t.Setenv("WEFT_SOCKET", startFake(t, &fake{}))
	for _, args := range [][]string{{"a\nb"}, {"status", "\x1b[2J\n"}, {"attach", "a\nb", "c\nd"}, {"network", "add", "n", "x\ny"}, {"status", "--a\nb"}, {"status", "-o", "\r\n"}} {
		code, _, stderr := weft(t, args...)
		if code != 2 || strings.Count(stderr, "\n") != 1 || strings.ContainsAny(stderr[:len(stderr)-1], "\n\r\x1b") {
			t.Errorf("%q: got %d %q", args, code, stderr)
		}
	}
}

// The commands ask for what their arguments say.
func TestCommandsAsk(t *testing.T) {
	f := &fake{}
	t.Setenv("WEFT_SOCKET", startFake(t, f))
	tests := []struct{ args, asked, stdout string }{
		{"network add red 10.2.0.0/16,fd00:2::/64,id=7 --gateway 10.2.0.1 --gateway fd00:2::1 --vrf v --range 10.2.0.5-10.2.0.9 --mtu 1400 --ageing 60",
			"AddNetwork red=10.2.0.0/16,fd00:2::/64,id=7,gateway=10.2.0.1,gateway=fd00:2::1,vrf=v,range=10.2.0.5-10.2.0.9,mtu=1400,ageing=60",
			"red: 10.2.0.0/16,fd00:2::/64, id 7, MTU 1450, gateway 10.2.0.1,fd00:2::1\n"},
		{"network add blue 10.1.0.0/16,id=4711,mtu=1400", "AddNetwork blue=10.1.0.0/16,id=4711,mtu=1400", "blue: 10.1.0.0/16, id 4711, MTU 1450\n"},
		{"network set blue --mtu 1400 --gateway 10.1.0.9 --ageing 0 --range none --vrf x", "SetNetwork blue=10.1.0.0/16,gateway=10.1.0.9,vrf=x,mtu=1400 false", "blue: 10.1.0.0/16, id 4711, MTU 1400\n"},
		{"network set blue 10.9.0.0/16,gateway=10.9.0.1 --mtu 1400 --dry-run", "SetNetwork blue=10.9.0.0/16,gateway=10.9.0.1,mtu=1400 true",
			"blue: 10.9.0.0/16, id 4711, MTU 1400\n  web: 10.1.0.2/16 -> 10.9.0.2/16, gateway 10.1.0.1 -> none, MTU 1450 -> 1400\n"},
		{"network rm blue", "RemoveNetwork blue false", ""},
		{"network rm --force blue", "RemoveNetwork blue true", ""},
		{"attach blue netns:web", "Attach blue netns:web [] mac= if= mtu=0 spoof=false", "web: 10.1.0.2/16,fd00:1::2/64 on eth1, MAC 02:00:00:00:00:01, MTU 1450, network blue\n"},
		{"attach blue netns:/run/x 192.168.18.29/24@192.168.18.1 fd00::1/64 --mac U:<x> -i eth0 --mtu 1400 --allow-spoof",
			"Attach blue netns:/run/x [192.168.18.29/24@192.168.18.1 fd00::1/64] mac=U:<x> if=eth0 mtu=1400 spoof=true",
			"web: 10.1.0.2/16,fd00:1::2/64 on eth1, MAC 02:00:00:00:00:01, MTU 1450, network blue\n"},
		{"attach blue netns:web -i eth1", "Attach blue netns:web [] mac= if=eth1 mtu=0 spoof=false", "web: 10.1.0.2/16,fd00:1::2/64 on eth1, MAC 02:00:00:00:00:01, MTU 1450, network blue\n"},
		{"attach blue netns:web --allow-spoof --mac-limit 16 --storm 0", "Attach blue netns:web [] mac= if= mtu=0 spoof=true mac-limit=16 storm=0", "web: 10.1.0.2/16,fd00:1::2/64 on eth1, MAC 02:00:00:00:00:01, MTU 1450, network blue\n"},
		{"detach blue netns:/run/x", "Detach blue netns:/run/x", ""},
		{"peer add ovs 192.168.18.20,key=none --networks blue --csum --seq --encap gre", "AddPeer ovs=192.168.18.20,networks=blue,key=none,csum,seq,encap=gre", "ovs: 192.168.18.20, encap gre, MTU 1446, networks blue\n"},
		{"peer rm ovs", "RemovePeer ovs", ""},
		{"expose blue", "Expose blue", "blue: the host is 10.1.0.3/16 on weft-blue, MTU 1450\n"},
		{"expose blue 10.1.0.3/16 --no-snat", "Expose blue,10.1.0.3/16,no-snat", "blue: the host is 10.1.0.3/16 on weft-blue, MTU 1450\n"},
		{"hide blue", "Hide blue", ""},
		{"publish blue netns:web 8080:80", "Publish blue,netns:web,8080:80/tcp", "8080:80/tcp: leads to netns:web of network blue\n"},
		{"publish blue netns:web [FD00::1]:53:53/udp", "Publish blue,netns:web,[fd00::1]:53:53/udp", "53:53/udp: leads to netns:web of network blue\n"},
		{"unpublish blue netns:web", `Unpublish blue netns:web ""`, ""},
		{"unpublish blue netns:web 8080:80", `Unpublish blue netns:web "8080:80/tcp"`, ""},
		{"cleanup", "Cleanup", "removed interface weft-blue\nremoved nftables table inet weft\n"},
		{"route add 10.9.0.0/16 via host2", "AddRoute 10.9.0.0/16=host2 false", "10.9.0.0/16: via host2, vrf red\n"},
		{"route add ::/0 via FD00:1:0::9 --vrf red", "AddRoute ::/0=fd00:1::9,vrf=red false", "::/0: via fd00:1::9, vrf red\n"},
		{"route replace 10.9.0.0/16 via host2", "AddRoute 10.9.0.0/16=host2 true", "10.9.0.0/16: via host2, vrf red\n"},
		{"route add --file testdata/routes.txt via host2 --vrf red", "AddRoutes [10.9.0.0/16=host2,vrf=red 10.8.0.0/16=host3,vrf=red 10.7.0.0/16=host2,vrf=blue] false", "3 routes added, 0 replaced, 0 were there\n"},
		{"route rm 10.9.0.0/16", `RemoveRoute 10.9.0.0/16 ""`, ""},
		{"route rm --vrf red 10.9.0.0/16", `RemoveRoute 10.9.0.0/16 "red"`, ""},
		{"uplink add lan eth0", "AddUplink lan=eth0", "lan: eth0, up, MTU 1500\n"},
		{"uplink add lan eth0 --vlan 7 --transit", "AddUplink lan=eth0,vlan=7,transit", "lan: VLAN 7 of eth0, up, MTU 1500\n"},
		{"uplink rm lan eth0", "RemoveUplink lan eth0", ""},
		{"fdb add blue 02:00:00:00:00:01 peer:host2", "AddFDB blue 02:00:00:00:00:01 peer:host2 0", ""},
		{"fdb rm blue 02:00:00:00:00:01", "RemoveFDB blue 02:00:00:00:00:01 0", ""},
		{"fdb add blue 02:00:00:00:00:01 web --vlan 10", "AddFDB blue 02:00:00:00:00:01 web 10", ""},
		{"fdb rm blue 02:00:00:00:00:01 --vlan 4094", "RemoveFDB blue 02:00:00:00:00:01 4094", ""},
		{"fdb flush", "FlushFDB ", "flushed: 12\n"},
		{"fdb flush blue", "FlushFDB blue", "flushed: 12\n"},
	}
	for _, tt := range tests {
		f.asked = nil
		code, stdout, stderr := weft(t, strings.Fields(tt.args)...)
		if code != 0 || stderr != "" || stdout != tt.stdout || !reflect.DeepEqual(f.asked, []string{tt.asked}) {
			t.Errorf("weft %s\n got %d %q %q, asked %q\nwant 0 %q, asked %q", tt.args, code, stdout, stderr, f.asked, tt.stdout, tt.asked)
		}
		code, stdout, stderr = weft(t, append([]string{"-o", "json"}, strings.Fields(tt.args)...)...)
		if code != 0 || stderr != "" || !json.Valid([]byte(stdout)) {
			t.Errorf("weft -o json %s\n got %d %q %q", tt.args, code, stdout, stderr)
		}
	}
}

// The pages that people read, in one golden file.
func TestTablesGolden(t *testing.T) {
	f := &fake{drops: []spec.Drop{
		{At: "host2", Reason: "tx_toobig", Count: 3}, {At: "host2", Reason: "gre_key", Count: 0}, {At: "web", Reason: "tap_full", Count: 1234567},
		{At: "switch", Reason: "gre_peer", Count: 2}, {At: "switch", Reason: "gre_short", Count: 0},
	}}
	t.Setenv("WEFT_SOCKET", startFake(t, f))
	var got bytes.Buffer
	show := func(args ...string) {
		t.Helper()
		code, stdout, stderr := weft(t, args...)
		if code != 0 || stderr != "" {
			t.Errorf("weft %s: got %d %s", args, code, stderr)
		}
		got.WriteString("$ weft " + strings.Join(args, " ") + "\n" + stdout + "\n")
		for line := range strings.Lines(stdout) {
			if len(line) > 101 && args[0] == "status" {
				t.Errorf("line of %d columns: %s", len(line), line)
			}
		}
	}
	show("status")
	show("network", "ls")
	show("port", "ls")
	show("peer", "ls")
	show("route", "show")
	show("route", "show", "10.9.8.7")
	show("uplink", "ls")
	show("fdb", "show")
	show("drops")
	show("show")
	show("show", "--format", "brctl")
	show("show", "--format", "ovs")
	show("fdb", "show", "blue", "--format", "brctl")
	show("fdb", "show", "blue", "--format", "ovs")
	show("export")
	show("apply", "-f", "testdata/host.yaml", "--dry-run")
	show("apply", "-f", "testdata/none.yaml")
	f.degraded = []spec.Degraded{{What: "peer host2", Why: "no datagram for 41 s", Since: time.Now().Add(-90 * time.Second)}, {What: "port web", Why: "its container is gone", Since: time.Now().Add(-50 * time.Hour)}}
	f.empty, f.drops = true, nil
	show("status")
	show("network", "ls")
	show("route", "show")
	show("drops")

	const file = "testdata/tables.golden"
	if *update {
		if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("got\n%s", &got)
	}
}

func TestStatusCheck(t *testing.T) {
	f := &fake{}
	t.Setenv("WEFT_SOCKET", startFake(t, f))
	if code, _, stderr := weft(t, "status", "--check"); code != 0 || stderr != "" {
		t.Errorf("well: got %d %s", code, stderr)
	}
	f.degraded = []spec.Degraded{{What: "peer host2", Why: "silent", Since: time.Now()}, {What: "port web", Why: "gone", Since: time.Now()}}
	if code, stdout, stderr := weft(t, "status"); code != 0 || stderr != "" || !strings.Contains(stdout, "2 things wrong") {
		t.Errorf("degraded, unchecked: got %d %s%s", code, stdout, stderr)
	}
	code, stdout, stderr := weft(t, "status", "--check", "-o", "json")
	if want := "weft: degraded: peer host2 (silent); port web (gone)\n"; code != 1 || stderr != want || !json.Valid([]byte(stdout)) {
		t.Errorf("degraded: got %d %s%s\nwant 1 %s", code, stdout, stderr, want)
	}

	f.degraded = nil
	for i := range 100 {
		f.degraded = append(f.degraded, spec.Degraded{What: fmt.Sprint("port p", i), Why: "gone", Since: time.Now()})
	}
	_, _, stderr = weft(t, "status", "--check")
	if want := "weft: degraded: port p0 (gone); port p1 (gone); port p2 (gone); and 97 more, which weft status shows\n"; stderr != want {
		t.Errorf("many: got %swant %s", stderr, want)
	}
	f.degraded = f.degraded[:4]
	_, _, stderr = weft(t, "status", "--check")
	if want := "weft: degraded: port p0 (gone); port p1 (gone); port p2 (gone); and 1 more, which weft status shows\n"; stderr != want {
		t.Errorf("four: got %swant %s", stderr, want)
	}
}

// Global flags stand before and behind the command, and before WEFT_SOCKET.
func TestGlobalFlags(t *testing.T) {
	socket := startFake(t, &fake{})
	t.Setenv("WEFT_SOCKET", "/nowhere")
	for _, args := range [][]string{
		{"--socket", socket, "-o", "json", "network", "ls"},
		{"network", "ls", "--socket", socket, "-o", "json"},
		{"network", "--socket=" + socket, "ls", "--output=json"},
		{"network", "-ojson", "ls", "--socket", socket},
	} {
		code, stdout, stderr := weft(t, args...)
		var ns []spec.NetworkStatus
		if err := json.Unmarshal([]byte(stdout), &ns); code != 0 || stderr != "" || err != nil || len(ns) != 2 {
			t.Errorf("weft %s: got %d %s%s %v", args, code, stdout, stderr, err)
		}
	}
}

// A full disk or closed pipe behind stdout is an error, not silence.
func TestOutputFails(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("no /dev/full here")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	var diag bytes.Buffer
	if code := run(t.Context(), []string{"version"}, full, &diag); code != 1 || !strings.Contains(diag.String(), "no space left on device") {
		t.Errorf("got %d %s", code, &diag)
	}
}

func TestVersion(t *testing.T) {
	code, stdout, _ := weft(t, "version", "-o", "json")
	var v struct{ Version, Go, Kernel string }
	if err := json.Unmarshal([]byte(stdout), &v); code != 0 || err != nil || v.Version == "" || !strings.HasPrefix(v.Go, "go1.") || !strings.Contains(v.Kernel, ".") {
		t.Errorf("got %d %s %v", code, stdout, err)
	}
}

// Every command has an example, and help on stdout with exit code 0.
func TestHelp(t *testing.T) {
	var out bytes.Buffer
	root := newRoot(&out, &out)
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		args := append(strings.Fields(cmd.CommandPath())[1:], "--help")
		code, stdout, stderr := weft(t, args...)
		if code != 0 || stderr != "" || !strings.Contains(stdout, "Examples:\n") || !strings.Contains(stdout, "  -h, --help ") {
			t.Errorf("weft %s: got %d %s\n%s", args, code, stderr, stdout)
		}
		if strings.Contains(stdout, "=true|false") {
			t.Errorf("weft %s: switches look odd:\n%s", args, stdout)
		}
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	walk(root)
	if code, stdout, _ := weft(t); code != 0 || !strings.Contains(stdout, "Examples:") {
		t.Errorf("without arguments: got %d %s", code, stdout)
	}
	if code, stdout, _ := weft(t, "help", "fdb", "add"); code != 0 || !strings.Contains(stdout, "weft fdb add NETWORK MAC PORT|peer:NAME") {
		t.Errorf("help fdb add: got %d %s", code, stdout)
	}
}

func TestCompletion(t *testing.T) {
	t.Setenv("WEFT_SOCKET", startFake(t, &fake{}))
	tests := []struct {
		args []string
		want string
	}{
		{[]string{"attach", ""}, "blue\ngreen\n"},
		{[]string{"attach", "g"}, "green\n"},
		{[]string{"detach", "blue", ""}, "pid:4711\nnetns:web\n"},
		{[]string{"peer", "rm", ""}, "host2\n"},
		{[]string{"network", "set", "b"}, "blue\n"},
		{[]string{"fdb", "add", "blue", "02:00:00:00:00:01", ""}, "pid-4711\nweb\npeer:host2\n"},
		{[]string{"fdb", "add", "blue", ""}, ""},
		{[]string{"route", "add", "10.9.0.0/16", ""}, "via\n"},
		{[]string{"route", "add", "10.9.0.0/16", "via", ""}, "host2\n"},
		{[]string{"route", "rm", "10.9"}, "10.9.0.0/16\n"},
		{[]string{"route", "show", "--vrf", ""}, "red\n"},
		{[]string{"status", "-o", ""}, "table\njson\n"},
		{[]string{"run", "--accel", ""}, "auto\noff\n"},
		{[]string{"run", "--log-level", ""}, "debug\ninfo\nwarn\nerror\n"},
		{[]string{"attach", "--socket", "/nowhere", ""}, ""},
	}
	for _, tt := range tests {
		code, stdout, _ := weft(t, append([]string{"__complete"}, tt.args...)...)
		if code != 0 || stdout != tt.want+":4\n" {
			t.Errorf("complete %q: got %d %q, want %q", tt.args, code, stdout, tt.want)
		}
	}
	if code, stdout, _ := weft(t, "completion", "bash"); code != 0 || !strings.Contains(stdout, "__weft") {
		t.Errorf("completion bash: got %d, %d bytes", code, len(stdout))
	}
}

func TestShort(t *testing.T) {
	for n, want := range map[uint64]string{0: "0", 9999: "9999", 10000: "10k", 12345: "12.3k", 999499: "999k", 999500: "1M", 1 << 40: "1.1T", 1<<64 - 1: "18.4E"} {
		if got := short(n); got != want {
			t.Errorf("short(%d) = %s, want %s", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{-time.Second: "0s", 0: "0s", 59 * time.Second: "59s", 61 * time.Second: "1m01s", 3*time.Hour + 12*time.Minute: "3h12m", 50 * time.Hour: "2d2h"} {
		if got := span(d); got != want {
			t.Errorf("span(%v) = %s, want %s", d, got, want)
		}
	}
}

// Long tables are aligned in pieces; a later one is as wide as what came before.
func TestLongTable(t *testing.T) {
	var rows [][]string
	for i := range 2 * columnsRows {
		rows = append(rows, []string{"a", "b"})
		if i == columnsRows+5 {
			rows = append(rows, []string{"wider", "ö"})
		}
	}
	rows = append(rows, []string{"ä", ""})
	var out strings.Builder
	table(&out, "X Y", rows)
	lines := strings.Split(out.String(), "\n")
	for i, want := range map[int]string{0: "X  Y", 1: "a  b", columnsRows - 1: "a  b", columnsRows: "a      b", columnsRows + 7: "wider  ö", 2*columnsRows + 2: "ä      -", 2*columnsRows + 3: ""} {
		if lines[i] != want {
			t.Errorf("line %d: got %q, want %q", i, lines[i], want)
		}
	}
}
