package spec

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"testing"
)

func TestParsePeer(t *testing.T) {
	addr := netip.MustParseAddr
	tests := []struct {
		in    string
		want  Peer
		print string
	}{
		{"host2=192.168.18.17", Peer{Name: "host2", Address: addr("192.168.18.17")}, ""},
		{"h=10.0.0.1,networks=a+b,csum,seq,encap=gre", Peer{Name: "h", Address: addr("10.0.0.1"), Networks: []string{"a", "b"}, Checksum: true, Sequence: true, Encap: "gre"}, ""},
		{"h=10.0.0.1,networks=none", Peer{Name: "h", Address: addr("10.0.0.1"), Networks: []string{"none"}}, "h=10.0.0.1,networks=none"},
		{"h=10.0.0.1,key=none,networks=a", Peer{Name: "h", Address: addr("10.0.0.1"), Networks: []string{"a"}, Keyless: true}, "h=10.0.0.1,networks=a,key=none"},
		{"h=fd00::1,encap=auto", Peer{Name: "h", Address: addr("fd00::1")}, "h=fd00::1"},
	}
	for _, tt := range tests {
		got, err := ParsePeer(tt.in)
		if err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("ParsePeer(%q)\n got %+v, %v\nwant %+v", tt.in, got, err, tt.want)
			continue
		}
		if want := orElse(tt.print, tt.in); got.String() != want {
			t.Errorf("String() = %s, want %s", got, want)
		}
		b, _ := json.Marshal(got)
		var back Peer
		if err := json.Unmarshal(b, &back); err != nil || !reflect.DeepEqual(back, got) {
			t.Errorf("JSON %s gives %+v, %v", b, back, err)
		}
	}
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

func TestParsePeerRefuses(t *testing.T) {
	tests := []struct{ in, want string }{
		{"", `peer "": want NAME=ADDR[,option...], as in host2=192.168.18.17`},
		{"10.0.0.1", `peer "10.0.0.1": want NAME=ADDR[,option...], as in host2=192.168.18.17`},
		{"h=", `peer "h": "" is not an address; want that of the other host, as in 192.168.18.17`},
		{"h=csum", `peer "h": "csum" is not an address; want that of the other host, as in 192.168.18.17`},
		{"h=10.0.0.1/24", `peer "h": "10.0.0.1/24" is not an address; want that of the other host, as in 192.168.18.17`},
		{"H=10.0.0.1", `peer "H": 'H' cannot stand in a name; use a-z, 0-9, '-', '_' and '.'`},
		{"h=0.0.0.0", `peer "h": 0.0.0.0 is not the address of one host: name one of its own, as in 192.168.18.17`},
		{"h=224.0.0.1", `peer "h": 224.0.0.1 is not the address of one host: name one of its own, as in 192.168.18.17`},
		{"h=255.255.255.255", `peer "h": 255.255.255.255 is not the address of one host: name one of its own, as in 192.168.18.17`},
		{"h=::ffff:10.0.0.1", `peer "h": ::ffff:10.0.0.1 is IPv4 written as IPv6; maybe you meant 10.0.0.1`},
		{"h=fe80::1%eth0", `peer "h": fe80::1%eth0 has a zone; use an address that needs none`},
		{"h=10.0.0.1,foo", `peer "h": option "foo" is not known; the options are networks, key, csum, seq, encap`},
		{"h=10.0.0.1,", `peer "h": option "" is not known; the options are networks, key, csum, seq, encap`},
		{"h=10.0.0.1,10.0.0.2", `peer "h": option "10.0.0.2" is not known; the options are networks, key, csum, seq, encap`},
		{"h=10.0.0.1,address=10.0.0.2", `peer "h": option "address" is not known; the options are networks, key, csum, seq, encap`},
		{"h=10.0.0.1,csum,csum", `peer "h": option "csum" is given twice`},
		{"h=10.0.0.1,csum=1", `peer "h": option "csum" takes no value`},
		{"h=10.0.0.1,key", `peer "h": option "key" wants a value, as in key=...`},
		{"h=10.0.0.1,key=5", `peer "h": key "5" is not known; key=none is the only form, else a network's id is its key`},
		{"h=10.0.0.1,encap=vxlan", `peer "h": encap "vxlan" is not known; it is auto, gre or gre-udp`},
		{"h=10.0.0.1,seq,encap=gre-udp", `peer "h": encap=gre-udp has no room for sequence numbers: leave out seq`},
		{"h=10.0.0.1,encap=", `peer "h": encap is empty; it is auto, gre or gre-udp`},
		{"h=10.0.0.1,networks=", `peer "h": network "": a name is missing`},
		{"h=10.0.0.1,networks=a+", `peer "h": network "": a name is missing`},
		{"h=10.0.0.1,networks=a+a", `peer "h": network "a" is named twice`},
		{"h=10.0.0.1,networks=a+none", `peer "h": networks=a+none: either none or others`},
		{"h=10.0.0.1,networks=none,key=none", `peer "h": with key=none it has one network; networks=none leaves it without`},
		{"h=10.0.0.1,networks=a+b,key=none", `peer "h": with key=none it can share one network, not a and b`},
	}
	for _, tt := range tests {
		_, err := ParsePeer(tt.in)
		wantError(t, tt.in, err, tt.want)
	}
	p := Peer{Name: "h", Address: netip.MustParseAddr("10.0.0.1"), Encap: "auto"}
	if err := p.Validate(); err != nil || p.Encap != "" {
		t.Errorf("Validate() = %v, encap %q; want encap auto to become empty", err, p.Encap)
	}
}
