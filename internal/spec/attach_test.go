package spec

import (
	"net/netip"
	"strings"
	"testing"
)

func TestParseAddress(t *testing.T) {
	for _, in := range []string{
		"192.168.18.29/24", "192.168.18.29/24@192.168.18.1", "10.0.0.0/31", "10.0.0.1/32", "fd00::5/64", "fd00::5/64@fd00::1", "10.1.0.255/16",
	} {
		a, err := ParseAddress(in)
		if err != nil || a.String() != in {
			t.Errorf("ParseAddress(%q) = %v, %v", in, a, err)
		}
	}
	refused := []struct{ in, want string }{
		{"192.168.18.29", `address "192.168.18.29": the prefix length is missing; maybe you meant 192.168.18.29/24`},
		{"192.168.18.29@192.168.18.1", `address "192.168.18.29@192.168.18.1": the prefix length is missing; maybe you meant 192.168.18.29/24@192.168.18.1`},
		{"fd00::5", `address "fd00::5": the prefix length is missing; maybe you meant fd00::5/64`},
		{"", `address "": the prefix length is missing; want ADDR/LEN[@GATEWAY], as in 192.168.18.29/24`},
		{"web", `address "web": the prefix length is missing; want ADDR/LEN[@GATEWAY], as in 192.168.18.29/24`},
		{"10.0.0.1/", `address "10.0.0.1/": want ADDR/LEN[@GATEWAY], as in 192.168.18.29/24@192.168.18.1`},
		{"10.0.0.1/255.0.0.0", `address "10.0.0.1/255.0.0.0": want ADDR/LEN[@GATEWAY], as in 192.168.18.29/24@192.168.18.1`},
		{"10.0.0.1/33", `address "10.0.0.1/33": want ADDR/LEN[@GATEWAY], as in 192.168.18.29/24@192.168.18.1`},
		{"10.0.0.1/8@", `address "10.0.0.1/8@": gateway "" is not an address`},
		{"10.0.0.1/8@10.0.0.2@10.0.0.3", `address "10.0.0.1/8@10.0.0.2@10.0.0.3": gateway "10.0.0.2@10.0.0.3" is not an address`},
		{"10.0.0.1/8@10.0.0.1", `address "10.0.0.1/8@10.0.0.1": the gateway is the address itself`},
		{"10.0.0.1/8@11.0.0.1", `address "10.0.0.1/8@11.0.0.1": gateway 11.0.0.1 is not in 10.0.0.0/8: name one that is, as in 10.0.0.2`},
		{"10.0.0.1/8@fd00::1", `address "10.0.0.1/8@fd00::1": gateway fd00::1 is not in 10.0.0.0/8: name one that is, as in 10.0.0.2`},
		{"10.0.0.1/8@10.255.255.255", `address "10.0.0.1/8@10.255.255.255": gateway: 10.255.255.255 is the broadcast address of 10.0.0.0/8; maybe you meant 10.255.255.254/8`},
		{"10.1.0.0/16", `address "10.1.0.0/16": 10.1.0.0 is the prefix itself; maybe you meant 10.1.0.1/16`},
		{"10.1.255.255/16", `address "10.1.255.255/16": 10.1.255.255 is the broadcast address of 10.1.0.0/16; maybe you meant 10.1.255.254/16`},
		{"10.1.0.1/0", `address "10.1.0.1/0": a prefix length of 0 spans every address there is`},
		{"127.0.0.1/8", `address "127.0.0.1/8": 127.0.0.0/8 is loopback`},
		{"224.0.0.1/4", `address "224.0.0.1/4": 224.0.0.0/4 is multicast`},
		{"::ffff:10.0.0.1/100", `address "::ffff:10.0.0.1/100": ::ffff:10.0.0.1 is IPv4 written as IPv6; maybe you meant 10.0.0.1`},
	}
	for _, tt := range refused {
		_, err := ParseAddress(tt.in)
		wantError(t, tt.in, err, tt.want)
	}
}

func TestLastAddr(t *testing.T) {
	for in, want := range map[string]string{
		"10.1.0.0/16": "10.1.255.255", "10.0.0.4/31": "10.0.0.5", "10.0.0.4/32": "10.0.0.4", "0.0.0.0/0": "255.255.255.255", "10.1.2.128/25": "10.1.2.255",
		"fd00::/64": "fd00::ffff:ffff:ffff:ffff",
	} {
		if got := LastAddr(netip.MustParsePrefix(in)); got.String() != want {
			t.Errorf("LastAddr(%s) = %s, want %s", in, got, want)
		}
	}
}

func TestParseTarget(t *testing.T) {
	tests := []struct{ in, print, port string }{
		{"netns:web", "netns:web", "web"},
		{"netns:/run/netns/web", "netns:/run/netns/web", "web"},
		{"netns:/proc/12/ns/../ns/net", "netns:/proc/12/ns/net", "net"},
		{"pid:4711", "pid:4711", "pid-4711"},
		{"docker:web_1.x-y", "docker:web_1.x-y", "web_1.x-y"},
		{"web", "docker:web", "web"},
	}
	for _, tt := range tests {
		got, err := ParseTarget(tt.in)
		if err != nil || got.String() != tt.print || got.PortName() != tt.port {
			t.Errorf("ParseTarget(%q) = %q, port %q, %v; want %q, port %q", tt.in, got, got.PortName(), err, tt.print, tt.port)
		}
	}
	refused := []struct{ in, want string }{
		{"", `target "": want netns:NAME, netns:/path, pid:N or the name of a Docker container`},
		{"netns:", `target "netns:": want the name of a namespace or an absolute path, as in netns:web or netns:/run/netns/web`},
		{"netns:..", `target "netns:..": want the name of a namespace or an absolute path, as in netns:web or netns:/run/netns/web`},
		{"netns:/", `target "netns:/": want the name of a namespace or an absolute path, as in netns:web or netns:/run/netns/web`},
		{"netns:run/x", `target "netns:run/x": a path starts with '/'; maybe you meant netns:/run/x`},
		{"netns:a\nb", `target "netns:a\nb": a namespace has no control characters in its name`},
		{"pid:x", `target "pid:x": want the number of a process, as in pid:4711`},
		{"pid:0", `target "pid:0": want the number of a process, as in pid:4711`},
		{"pid:-1", `target "pid:-1": want the number of a process, as in pid:4711`},
		{"vm:a", `target "vm:a": scheme "vm" is not known; want netns:NAME, netns:/path, pid:N or docker:NAME`},
		{"/run/netns/web", `target "/run/netns/web": '/' cannot stand in the name of a container; a namespace is netns:NAME or netns:/path`},
		{"-x", `target "-x": '-' cannot stand in the name of a container; a namespace is netns:NAME or netns:/path`},
	}
	for _, tt := range refused {
		_, err := ParseTarget(tt.in)
		wantError(t, tt.in, err, tt.want)
	}
}

func TestParseMAC(t *testing.T) {
	// printf 'web1\n' | md5sum gives 66ee606d50...
	for in, want := range map[string]string{"02:00:00:00:00:01": "02:00:00:00:00:01", "0A:bb:CC:00:00:01": "0a:bb:cc:00:00:01", "U:web1": "02:66:ee:60:6d:50"} {
		if got, err := ParseMAC(in); err != nil || got.String() != want {
			t.Errorf("ParseMAC(%q) = %s, %v; want %s", in, got, err, want)
		}
	}
	refused := []struct{ in, want string }{
		{"", `MAC "": want six octets, as in 02:00:00:00:00:01, or U:STRING`},
		{"02:00:00:00:00", `MAC "02:00:00:00:00": want six octets, as in 02:00:00:00:00:01, or U:STRING`},
		{"02:00:00:00:00:00:00:01", `MAC "02:00:00:00:00:00:00:01": want six octets, as in 02:00:00:00:00:01, or U:STRING`},
		{"00:00:00:00:00:00", `MAC 00:00:00:00:00:00 is no station's address`},
		{"01:00:5e:00:00:01", `MAC 01:00:5e:00:00:01 is a group's address; the first octet of a station's is even`},
		{"U:", `MAC "U:": want a string to make it of, as in U:web1`},
	}
	for _, tt := range refused {
		_, err := ParseMAC(tt.in)
		wantError(t, tt.in, err, tt.want)
	}
}

func TestCheckIfName(t *testing.T) {
	for _, ok := range []string{"eth1", "a", strings.Repeat("a", 15), "veth.100-x_y@"} {
		if err := CheckIfName(ok); err != nil {
			t.Errorf("CheckIfName(%q) = %v", ok, err)
		}
	}
	for _, bad := range []string{"", ".", "..", strings.Repeat("a", 16), "a/b", "a b", "a:b", "eth%d", "a\x00", "a\n", "é", "\x80"} {
		if err := CheckIfName(bad); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("CheckIfName(%q) = %v, want an error of one line", bad, err)
		}
	}
}

func TestValidateAttach(t *testing.T) {
	address := func(s string) Address {
		a, err := ParseAddress(s)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	good := Attach{Network: "blue", Target: "netns:web", Addresses: []Address{address("10.0.0.2/8@10.0.0.1"), address("10.0.0.3/8@10.0.0.1"), address("fd00::2/64@fd00::1")}, MAC: "U:x", IfName: "eth0", MTU: 1400}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	tests := []struct {
		change func(a *Attach)
		want   string
	}{
		{func(a *Attach) { a.Network = "" }, `network "": a name is missing`},
		{func(a *Attach) { a.Target = "x:y" }, `target "x:y": scheme "x" is not known; want netns:NAME, netns:/path, pid:N or docker:NAME`},
		{func(a *Attach) { a.Addresses = []Address{{}} }, `address "invalid Prefix": it is empty; want ADDR/LEN, as in 192.168.18.29/24`},
		{func(a *Attach) { a.Addresses = []Address{address("10.0.0.2/8"), address("10.0.0.2/16")} }, `address 10.0.0.2 is given twice`},
		{func(a *Attach) {
			a.Addresses = []Address{address("10.0.0.2/8@10.0.0.1"), address("10.0.0.3/8@10.0.0.4")}
		}, `gateways 10.0.0.1 and 10.0.0.4: a container has one default route per family`},
		{func(a *Attach) { a.MAC = "x" }, `MAC "x": want six octets, as in 02:00:00:00:00:01, or U:STRING`},
		{func(a *Attach) { a.IfName = "sixteen-bytes-xx" }, `interface name "sixteen-bytes-xx" has 16 bytes; the kernel takes at most 15`},
		{func(a *Attach) { a.MTU = 1 }, `mtu 1 is out of range; it goes from 576 to 65521`},
	}
	for _, tt := range tests {
		a := good
		tt.change(&a)
		wantError(t, tt.want, a.Validate(), tt.want)
	}
}

func TestNameFrom(t *testing.T) {
	for in, want := range map[string]string{
		"host1": "host1", "Host1.Example.ORG": "host1.example.org", "a b/c": "a-b-c", "": "host", "---": "host", "-web": "web", "é1": "1",
		"10.0.0.1": "host-10-0-0-1", strings.Repeat("x", 70): strings.Repeat("x", 63), "..": "host",
	} {
		got := NameFrom(in)
		if got != want || CheckName(got) != nil {
			t.Errorf("NameFrom(%q) = %q, %v; want %q", in, got, CheckName(got), want)
		}
	}
}
