package spec

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

func TestParseNetwork(t *testing.T) {
	prefix, addr := netip.MustParsePrefix, netip.MustParseAddr
	tests := []struct {
		name, in string
		want     Network
		print    string // in, where empty
	}{
		{"shortest", "blue=10.1.0.0/16", Network{Name: "blue", Prefixes: []netip.Prefix{prefix("10.1.0.0/16")}}, ""},
		{"all options", "b-1.x_y=10.1.0.0/16,fd00:1::/64,id=4294967295,gateway=10.1.0.1,gateway=fd00:1::1,vrf=red,range=10.1.0.10-10.1.0.99,mtu=1400,ageing=10",
			Network{
				Name: "b-1.x_y", Prefixes: []netip.Prefix{prefix("10.1.0.0/16"), prefix("fd00:1::/64")}, ID: 1<<32 - 1,
				Gateways: []netip.Addr{addr("10.1.0.1"), addr("fd00:1::1")}, VRF: "red",
				Range: Range{addr("10.1.0.10"), addr("10.1.0.99")}, MTU: 1400, Ageing: 10,
			}, ""},
		{"order is put right", "n=fd00::/64,gateway=fd00::1,id=1,10.0.0.0/8,gateway=10.0.0.1",
			Network{
				Name: "n", Prefixes: []netip.Prefix{prefix("10.0.0.0/8"), prefix("fd00::/64")}, ID: 1,
				Gateways: []netip.Addr{addr("10.0.0.1"), addr("fd00::1")},
			}, "n=10.0.0.0/8,fd00::/64,id=1,gateway=10.0.0.1,gateway=fd00::1"},
		{"point to point", "n=10.0.0.0/31,gateway=10.0.0.0", Network{Name: "n", Prefixes: []netip.Prefix{prefix("10.0.0.0/31")}, Gateways: []netip.Addr{addr("10.0.0.0")}}, ""},
		{"IPv6 only", "n=fd00::/64,range=fd00::10-fd00::ff,mtu=1280",
			Network{Name: "n", Prefixes: []netip.Prefix{prefix("fd00::/64")}, Range: Range{addr("fd00::10"), addr("fd00::ff")}, MTU: 1280}, ""},
		{"longest name", strings.Repeat("a", 63) + "=10.0.0.0/8", Network{Name: strings.Repeat("a", 63), Prefixes: []netip.Prefix{prefix("10.0.0.0/8")}}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseNetwork(tt.in)
			if err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Fatalf("ParseNetwork(%q)\n got %+v, %v\nwant %+v", tt.in, got, err, tt.want)
			}
			want := tt.print
			if want == "" {
				want = tt.in
			}
			if got.String() != want {
				t.Errorf("String()\n got %s\nwant %s", got, want)
			}
			b, err := json.Marshal(got)
			if err != nil {
				t.Fatal(err)
			}
			var back Network
			if err := json.Unmarshal(b, &back); err != nil || !reflect.DeepEqual(back, got) {
				t.Errorf("JSON %s\n got %+v, %v\nwant %+v", b, back, err, got)
			}
		})
	}
}

func TestParseNetworkRefuses(t *testing.T) {
	tests := []struct{ in, want string }{
		{"", `network "": want NAME=PREFIX[,option...], as in blue=10.1.0.0/16`},
		{"blue", `network "blue": want NAME=PREFIX[,option...], as in blue=10.1.0.0/16`},
		{"=10.1.0.0/16", `network "": a name is missing`},
		{"Blue=10.1.0.0/16", `network "Blue": 'B' cannot stand in a name; use a-z, 0-9, '-', '_' and '.'`},
		{".=10.1.0.0/16", `network ".": a name starts with a letter or digit, not with '.'`},
		{"..=10.1.0.0/16", `network "..": a name starts with a letter or digit, not with '.'`},
		{"-a=10.1.0.0/16", `network "-a": a name starts with a letter or digit, not with '-'`},
		{"a b=10.1.0.0/16", `network "a b": ' ' cannot stand in a name; use a-z, 0-9, '-', '_' and '.'`},
		{"10.1.0.1=10.1.0.0/16", `network "10.1.0.1": a name must not be an address`},
		{strings.Repeat("a", 64) + "=10.1.0.0/16", `network "` + strings.Repeat("a", 64) + `": the name has 64 characters; at most 63 are allowed`},
		{"n=", `network "n": an item of the option list is empty; it starts with a prefix, as in 10.1.0.0/16`},
		{"n=10.1.0.0/16,", `network "n": an item of the option list is empty; it starts with a prefix, as in 10.1.0.0/16`},
		{"n=id=3", `network "n": it has no prefix; give it one, as in 10.1.0.0/16`},
		{"n=10.1.0.5/16", `network "n": 10.1.0.5/16 is an address, not a prefix; maybe you meant 10.1.0.0/16`},
		{"n=10.1.0.0", `network "n": prefix "10.1.0.0": the prefix length is missing; maybe you meant 10.1.0.0/24`},
		{"n=fd00::", `network "n": prefix "fd00::": the prefix length is missing; maybe you meant fd00::/64`},
		{"n=10.1.0.0/33", `network "n": "10.1.0.0/33" is neither a prefix, as in 10.1.0.0/16, nor an option; the options are id, gateway, vrf, range, mtu, ageing, icc`},
		{"n=10.1.0.0/16,mtu", `network "n": "mtu" is neither a prefix, as in 10.1.0.0/16, nor an option; the options are id, gateway, vrf, range, mtu, ageing, icc`},
		{"n=0.0.0.0/0", `network "n": prefix 0.0.0.0/0 spans every address there is`},
		{"n=10.1.0.0/32", `network "n": prefix 10.1.0.0/32 has room for one address only`},
		{"n=127.0.0.0/8", `network "n": prefix 127.0.0.0/8: 127.0.0.0/8 is loopback`},
		{"n=224.0.0.0/24", `network "n": prefix 224.0.0.0/24: 224.0.0.0/4 is multicast`},
		{"n=fe80::/64", `network "n": prefix fe80::/64: fe80::/10 is link-local, which every interface has anyway`},
		{"n=::ffff:10.0.0.0/104", `network "n": prefix ::ffff:10.0.0.0/104: ::ffff:10.0.0.0 is IPv4 written as IPv6; maybe you meant 10.0.0.0`},
		{"n=10.1.0.0/16,10.2.0.0/16", `network "n": prefixes 10.1.0.0/16 and 10.2.0.0/16 are of one family; one IPv4 and one IPv6 prefix can stand`},
		{"n=10.1.0.0/16,fd00::/64,fd01::/64", `network "n": it has more than one prefix of a family; one IPv4 and one IPv6 prefix can stand`},
		{"n=10.1.0.0/16,foo=1", `network "n": option "foo" is not known; the options are id, gateway, vrf, range, mtu, ageing, icc`},
		{"n=10.1.0.0/16,prefixes=10.2.0.0/16", `network "n": option "prefixes" is not known; the options are id, gateway, vrf, range, mtu, ageing, icc`},
		{"n=10.1.0.0/16,id=1,id=1", `network "n": option "id" is given twice`},
		{"n=10.1.0.0/16,mtu=1400,mtu=1400", `network "n": option "mtu" is given twice`},
		{"n=10.1.0.0/16,id=0", `network "n": id 0 is out of range; it goes from 1 to 4294967295`},
		{"n=10.1.0.0/16,id=4294967296", `network "n": id 4294967296 is out of range; it goes from 1 to 4294967295`},
		{"n=10.1.0.0/16,id=", `network "n": id "" is not a number from 1 to 4294967295`},
		{"n=10.1.0.0/16,id=-1", `network "n": id -1 is out of range; it goes from 1 to 4294967295`},
		{"n=10.1.0.0/16,id=0x10", `network "n": id "0x10" is not a number from 1 to 4294967295`},
		{"n=10.1.0.0/16,gateway=10.2.0.1", `network "n": gateway 10.2.0.1 is not in 10.1.0.0/16: name one that is, as in 10.1.0.1`},
		{"n=10.1.0.0/16,gateway=10.1.0.1/16", `network "n": gateway "10.1.0.1/16" is not an address; want one of the network's prefix, as in 10.1.0.1`},
		{"n=10.1.0.0/16,gateway=10.1.0.1,gateway=10.1.0.2", `network "n": gateways 10.1.0.1 and 10.1.0.2 are of one family; one each can stand`},
		{"n=10.1.0.0/16,gateway=10.1.0.0", `network "n": gateway: 10.1.0.0 is the prefix itself; maybe you meant 10.1.0.1/16`},
		{"n=10.1.0.0/16,gateway=10.1.255.255", `network "n": gateway: 10.1.255.255 is the broadcast address of 10.1.0.0/16; maybe you meant 10.1.255.254/16`},
		{"n=10.1.0.0/16,vrf=Red", `network "n": vrf "Red": 'R' cannot stand in a name; use a-z, 0-9, '-', '_' and '.'`},
		{"n=10.1.0.0/16,vrf=none", `network "n": vrf "none" would mean that there is no vrf; choose another name`},
		{"n=10.1.0.0/16,range=10.1.0.10", `network "n": range "10.1.0.10": want FROM-TO, as in 10.1.0.10-10.1.0.99`},
		{"n=10.1.0.0/16,range=10.1.0.10-10.2.0.1", `network "n": range 10.1.0.10-10.2.0.1 is not within 10.1.0.0/16`},
		{"n=10.1.0.0/16,range=10.1.0.99-10.1.0.10", `network "n": range "10.1.0.99-10.1.0.10" ends before it starts; maybe you meant 10.1.0.10-10.1.0.99`},
		{"n=10.1.0.0/16,fd00::/64,range=10.1.0.1-fd00::1", `network "n": range "10.1.0.1-fd00::1": both ends must be IPv4 or IPv6 addresses`},
		{"n=10.1.0.0/16,mtu=575", `network "n": mtu 575 is out of range; it goes from 576 to 65521`},
		{"n=10.1.0.0/16,mtu=65522", `network "n": mtu 65522 is out of range; it goes from 576 to 65521`},
		{"n=fd00::/64,mtu=1279", `network "n": mtu 1279 is out of range; it goes from 1280 to 65521`},
		{"n=10.1.0.0/16,ageing=9", `network "n": ageing 9 is out of range; it goes from 10 to 1000000`},
		{"n=10.1.0.0/16,ageing=1000001", `network "n": ageing 1000001 is out of range; it goes from 10 to 1000000`},
		{"n=10.1.0.0/16,ageing=5m", `network "n": ageing "5m" is not a number from 10 to 1000000`},
	}
	for _, tt := range tests {
		got, err := ParseNetwork(tt.in)
		wantError(t, tt.in, err, tt.want)
		if !reflect.DeepEqual(got, Network{}) {
			t.Errorf("%s: got %+v beside the error", tt.in, got)
		}
	}
}

func wantError(t *testing.T, in string, err error, want string) {
	t.Helper()
	if err == nil || err.Error() != want {
		t.Errorf("%s\n got %v\nwant %s", in, err, want)
	}
}

// What comes as JSON did not pass a parser: Validate has to find the same faults.
func TestValidateNetworkJSON(t *testing.T) {
	tests := []struct{ in, want string }{
		{`{"name":"n","prefixes":["10.0.0.0/8"],"mtu":-5}`, `network "n": mtu -5 is out of range; it goes from 576 to 65521`},
		{`{"name":"n","prefixes":["10.0.0.0/8"],"ageing":1}`, `network "n": ageing 1 is out of range; it goes from 10 to 1000000`},
		{`{"name":"n","prefixes":[""]}`, `network "n": a prefix is empty`},
		{`{"name":"n","prefixes":["10.0.0.1/8"]}`, `network "n": 10.0.0.1/8 is an address, not a prefix; maybe you meant 10.0.0.0/8`},
		{`{"name":"n","prefixes":["10.0.0.0/8"],"gateways":[""]}`, `network "n": gateway invalid IP is not in 10.0.0.0/8: name one that is, as in 10.0.0.1`},
		{`{"name":"n","prefixes":["10.0.0.0/8"],"range":"11.0.0.1-11.0.0.2"}`, `network "n": range 11.0.0.1-11.0.0.2 is not within 10.0.0.0/8`},
		{`{}`, `network "": a name is missing`},
	}
	for _, tt := range tests {
		var n Network
		if err := json.Unmarshal([]byte(tt.in), &n); err != nil {
			t.Fatal(err)
		}
		wantError(t, tt.in, n.Validate(), tt.want)
	}
	n := Network{Name: "n", Prefixes: []netip.Prefix{netip.MustParsePrefix("fd00::/64"), netip.MustParsePrefix("10.0.0.0/8")}}
	if err := n.Validate(); err != nil || !n.Prefixes[0].Addr().Is4() {
		t.Errorf("got %v, %v; want IPv4 first", n, err)
	}
}

func TestChangeFrom(t *testing.T) {
	n, err := ParseNetwork("n=10.0.0.0/8,fd00::/64,id=7,gateway=10.0.0.1,vrf=red,range=10.0.0.5-10.0.0.9,mtu=1400,ageing=60")
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct{ in, want string }{
		{"mtu=1300", "n=10.0.0.0/8,fd00::/64,id=7,gateway=10.0.0.1,vrf=red,range=10.0.0.5-10.0.0.9,mtu=1300,ageing=60"},
		{"icc=off", "n=10.0.0.0/8,fd00::/64,id=7,gateway=10.0.0.1,vrf=red,range=10.0.0.5-10.0.0.9,mtu=1400,ageing=60,icc=off"},
		{"mtu=0 ageing=0", "n=10.0.0.0/8,fd00::/64,id=7,gateway=10.0.0.1,vrf=red,range=10.0.0.5-10.0.0.9"},
		{"gateway=none vrf=none range=none", "n=10.0.0.0/8,fd00::/64,id=7,mtu=1400,ageing=60"},
		{"11.0.0.0/8", "n=11.0.0.0/8,id=7,gateway=11.0.0.1,vrf=red,range=11.0.0.5-11.0.0.9,mtu=1400,ageing=60"},
		{"fd01::/64 11.0.0.0/8 gateway=11.0.0.7", "n=11.0.0.0/8,fd01::/64,id=7,gateway=11.0.0.7,vrf=red,range=11.0.0.5-11.0.0.9,mtu=1400,ageing=60"},
		{"fd01::/64 range=none", "n=fd01::/64,id=7,vrf=red,mtu=1400,ageing=60"},
		{"10.0.0.0/16", "n=10.0.0.0/16,id=7,gateway=10.0.0.1,vrf=red,range=10.0.0.5-10.0.0.9,mtu=1400,ageing=60"},
		{"gateway=fd00::1 gateway=10.0.0.2", "n=10.0.0.0/8,fd00::/64,id=7,gateway=10.0.0.2,gateway=fd00::1,vrf=red,range=10.0.0.5-10.0.0.9,mtu=1400,ageing=60"},
	}
	for _, tt := range tests {
		ch, err := ChangeFrom(strings.Fields(tt.in))
		if err != nil {
			t.Fatal(err)
		}
		got := n.With(ch)
		if err := got.Validate(); err != nil || got.String() != tt.want {
			t.Errorf("%s\n got %s, %v\nwant %s", tt.in, got, err, tt.want)
		}
		b, err := json.Marshal(ch)
		if err != nil {
			t.Fatal(err)
		}
		var back NetworkChange
		if err := json.Unmarshal(b, &back); err != nil || !reflect.DeepEqual(back, ch) {
			t.Errorf("%s: JSON %s gives %+v, %v", tt.in, b, back, err)
		}
	}
	refused := []struct{ in, want string }{
		{"", "nothing to change; name its prefixes, or options: gateway, vrf, range, mtu, ageing, icc"},
		{"id=5", "the id of a network cannot change; remove the network and add it again"},
		{"mtu=1", "mtu 1 is out of range; it goes from 576 to 65521"},
		{"mtu=1400 mtu=1400", `option "mtu" is given twice`},
		{"mtu", `"mtu" is neither a prefix, as in 10.1.0.0/16, nor an option; the options are id, gateway, vrf, range, mtu, ageing, icc`},
		{"foo=1", `option "foo" is not known; the options are gateway, vrf, range, mtu, ageing, icc`},
		{"gateway=none gateway=10.0.0.1", "gateway none goes with no other gateway"},
		{"gateway=10.0.0.1 gateway=none", "gateway none goes with no other gateway"},
		{"prefixes=10.0.0.0/8", `option "prefixes" is not known; the options are gateway, vrf, range, mtu, ageing, icc`},
		{"range=1", `range "1": want FROM-TO, as in 10.1.0.10-10.1.0.99`},
	}
	for _, tt := range refused {
		_, err := ChangeFrom(strings.Fields(tt.in))
		wantError(t, tt.in, err, tt.want)
	}
}
