package spec

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"testing"
)

func TestParseRoute(t *testing.T) {
	prefix := netip.MustParsePrefix
	tests := []struct {
		in    string
		want  Route
		print string // in, where empty
	}{
		{"172.17.2.0/24=host2", Route{Prefix: prefix("172.17.2.0/24"), Via: "host2"}, ""},
		{"10.9.0.0/16=10.1.0.5,vrf=red", Route{Prefix: prefix("10.9.0.0/16"), Via: "10.1.0.5", VRF: "red"}, ""},
		{"fd00:2::/64=host2", Route{Prefix: prefix("fd00:2::/64"), Via: "host2"}, ""},
		{"fd00:2::/64=FD00:1:0::5", Route{Prefix: prefix("fd00:2::/64"), Via: "fd00:1::5"}, "fd00:2::/64=fd00:1::5"},
		{"fd00:2::/64=192.168.18.17", Route{Prefix: prefix("fd00:2::/64"), Via: "192.168.18.17"}, ""}, // a peer's, maybe
		{"0.0.0.0/0=host2", Route{Prefix: prefix("0.0.0.0/0"), Via: "host2"}, ""},
		{"::/0=host2", Route{Prefix: prefix("::/0"), Via: "host2"}, ""},
		{"128.0.0.0/1=host2", Route{Prefix: prefix("128.0.0.0/1"), Via: "host2"}, ""},
		{"10.9.1.1/32=host2", Route{Prefix: prefix("10.9.1.1/32"), Via: "host2"}, ""},
	}
	for _, tt := range tests {
		got, err := ParseRoute(tt.in)
		if err != nil || got != tt.want {
			t.Errorf("ParseRoute(%q)\n got %+v, %v\nwant %+v", tt.in, got, err, tt.want)
			continue
		}
		if want := orElse(tt.print, tt.in); got.String() != want {
			t.Errorf("String() = %s, want %s", got, want)
		}
		b, _ := json.Marshal(got)
		var back Route
		if err := json.Unmarshal(b, &back); err != nil || back != got {
			t.Errorf("JSON %s gives %+v, %v", b, back, err)
		}
	}
}

func TestParseRouteRefuses(t *testing.T) {
	tests := []struct{ in, want string }{
		{"", `route "": want PREFIX=PEER|ADDR[,vrf=NAME], as in 172.17.2.0/24=host2`},
		{"10.9.0.0/16", `route "10.9.0.0/16": want PREFIX=PEER|ADDR[,vrf=NAME], as in 172.17.2.0/24=host2`},
		{"=host2", `route "": "" is not a prefix; want one as in 172.17.2.0/24`},
		{"default=host2", `route "default": "default" is not a prefix; want one as in 172.17.2.0/24`},
		{"10.9.0.1=host2", `route "10.9.0.1": the prefix length is missing; maybe you meant 10.9.0.1/24`},
		{"10.9.0.1/16=host2", `route "10.9.0.1/16": 10.9.0.1/16 is an address, not a prefix; maybe you meant 10.9.0.0/16`},
		{"10.9.0.0/33=host2", `route "10.9.0.0/33": "10.9.0.0/33" is not a prefix; want one as in 172.17.2.0/24`},
		{"::ffff:10.9.0.0/112=host2", `route "::ffff:10.9.0.0/112": ::ffff:10.9.0.0/112 is IPv4 written as IPv6; maybe you meant 10.9.0.0/16`},
		{"127.1.0.0/16=host2", `route "127.1.0.0/16": nothing is routed to 127.1.0.0/16: 127.0.0.0/8 is loopback`},
		{"224.0.0.0/4=host2", `route "224.0.0.0/4": nothing is routed to 224.0.0.0/4: 224.0.0.0/4 is multicast`},
		{"fe80::/64=host2", `route "fe80::/64": nothing is routed to fe80::/64: fe80::/10 is link-local, which every interface has anyway`},
		{"10.9.0.0/16=", `route "10.9.0.0/16": its next hop is missing; want a peer's name, or an address`},
		{"10.9.0.0/16=Host2", `route "10.9.0.0/16": next hop "Host2" is neither an address nor a peer's name: 'H' cannot stand in a name; use a-z, 0-9, '-', '_' and '.'`},
		{"10.9.0.0/16=10.1.0.5/24", `route "10.9.0.0/16": next hop "10.1.0.5/24" is neither an address nor a peer's name: '/' cannot stand in a name; use a-z, 0-9, '-', '_' and '.'`},
		{"10.9.0.0/16=0.0.0.0", `route "10.9.0.0/16": next hop: 0.0.0.0 is not the address of one host: name one of its own, as in 192.168.18.17`},
		{"10.9.0.0/16=fe80::1%eth0", `route "10.9.0.0/16": next hop: fe80::1%eth0 has a zone; use an address that needs none`},
		{"10.9.0.0/16=host2,vrf=", `route "10.9.0.0/16": vrf "": a name is missing`},
		{"10.9.0.0/16=host2,vrf", `route "10.9.0.0/16": option "vrf" wants a value, as in vrf=...`},
		{"10.9.0.0/16=host2,vrf=a,vrf=a", `route "10.9.0.0/16": option "vrf" is given twice`},
		{"10.9.0.0/16=host2,metric=5", `route "10.9.0.0/16": option "metric" is not known; the options are vrf`},
		{"10.9.0.0/16=host2,via=host3", `route "10.9.0.0/16": option "via" is not known; the options are vrf`},
	}
	for _, tt := range tests {
		got, err := ParseRoute(tt.in)
		wantError(t, tt.in, err, tt.want)
		if got != (Route{}) {
			t.Errorf("%s: got %+v beside the error", tt.in, got)
		}
	}
}

func TestValidateRouteJSON(t *testing.T) {
	tests := []struct{ in, want string }{
		{`{"via":"host2"}`, `route: its prefix is missing, as in 172.17.2.0/24`},
		{`{"prefix":"10.9.0.0/16"}`, `route "10.9.0.0/16": its next hop is missing; want a peer's name, or an address`},
		{`{"prefix":"10.9.0.0/16","via":"host2","vrf":"none"}`, `route "10.9.0.0/16": vrf "none" would mean that there is no vrf; choose another name`},
	}
	for _, tt := range tests {
		var r Route
		if err := json.Unmarshal([]byte(tt.in), &r); err != nil {
			t.Fatal(err)
		}
		wantError(t, tt.in, r.Validate(), tt.want)
	}
}

// What flags say replaces what the file says of the same prefix in the same vrf.
func TestRoutesOver(t *testing.T) {
	routes := func(list ...string) (c Config) {
		for _, s := range list {
			r, err := ParseRoute(s)
			if err == nil {
				err = c.AddRoute(r)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		return c
	}
	got, err := routes("10.9.0.0/16=h3", "10.8.0.0/16=h3").Over(routes("10.9.0.0/16=h2", "10.9.0.0/16=h2,vrf=red"))
	want := routes("10.9.0.0/16=h3", "10.9.0.0/16=h2,vrf=red", "10.8.0.0/16=h3")
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	if err := want.AddRoute(want.Routes[0]); err == nil {
		t.Error("the same route twice: no error")
	}
}
