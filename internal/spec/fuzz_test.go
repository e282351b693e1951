package spec

import (
	"os"
	"reflect"
	"strings"
	"testing"
)

// What parses prints, and the print parses to the same.

func FuzzParseNetwork(f *testing.F) {
	f.Add("blue=10.1.0.0/16")
	f.Add("b=10.1.0.0/16,fd00::/64,id=7,gateway=10.1.0.1,gateway=fd00::1,vrf=r,range=10.1.0.2-10.1.0.9,mtu=1400,ageing=60")
	f.Add("b=fd00::/127,gateway=fd00::,range=fd00::-fd00::1")
	f.Fuzz(func(t *testing.T, s string) {
		n, err := ParseNetwork(s)
		if err != nil {
			oneLine(t, err)
			return
		}
		if back, err := ParseNetwork(n.String()); err != nil || !reflect.DeepEqual(back, n) {
			t.Fatalf("%q prints %q, which gives %+v, %v", s, n, back, err)
		}
	})
}

func FuzzParsePeer(f *testing.F) {
	f.Add("h=10.0.0.1")
	f.Add("h=fd00::1,networks=a+b,csum,seq,encap=auto")
	f.Add("h=10.0.0.1,key=none,networks=a,encap=gre")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePeer(s)
		if err != nil {
			oneLine(t, err)
			return
		}
		if back, err := ParsePeer(p.String()); err != nil || !reflect.DeepEqual(back, p) {
			t.Fatalf("%q prints %q, which gives %+v, %v", s, p, back, err)
		}
	})
}

func FuzzParseRoute(f *testing.F) {
	f.Add("172.17.2.0/24=host2")
	f.Add("fd00::/64=FD00:0::1,vrf=red")
	f.Add("0.0.0.0/0=::1,vrf=none")
	f.Add("::ffff:10.0.0.0/96=1.2")
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseRoute(s)
		if err != nil {
			oneLine(t, err)
			return
		}
		if back, err := ParseRoute(r.String()); err != nil || back != r {
			t.Fatalf("%q prints %q, which gives %+v, %v", s, r, back, err)
		}
		if r.Prefix != r.Prefix.Masked() || r.Prefix.Addr().Is4In6() {
			t.Fatalf("%q gives %v, which no table holds as it is", s, r.Prefix)
		}
		if err := r.Validate(); err != nil {
			t.Fatalf("%q parses and is not valid: %v", s, err)
		}
	})
}

func FuzzParseAddress(f *testing.F) {
	f.Add("192.168.18.29/24@192.168.18.1")
	f.Add("fd00::5/64")
	f.Add("192.168.18.29")
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseAddress(s)
		if err != nil {
			oneLine(t, err)
			return
		}
		if back, err := ParseAddress(a.String()); err != nil || back != a {
			t.Fatalf("%q prints %q, which gives %v, %v", s, a, back, err)
		}
	})
}

func FuzzParseTarget(f *testing.F) {
	for _, s := range []string{"netns:web", "netns:/run/netns/web", "pid:1", "docker:x", "x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		target, err := ParseTarget(s)
		if err != nil {
			oneLine(t, err)
			return
		}
		if back, err := ParseTarget(target.String()); err != nil || back != target {
			t.Fatalf("%q prints %q, which gives %v, %v", s, target, back, err)
		}
	})
}

func FuzzLoadConfig(f *testing.F) {
	for _, file := range []string{"testdata/config.yaml", "testdata/config.golden.yaml"} {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte("a: &a [*a]"))
	f.Add([]byte("networks: &n\n- {name: a, prefixes: &p [10.0.0.0/8], gateway: *p}\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ParseConfig("f", b)
		if err != nil {
			oneLine(t, err)
			return
		}
		out, err := c.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if back, err := ParseConfig("printed", out); err != nil || !reflect.DeepEqual(placeless(back), placeless(c)) {
			t.Fatalf("%q prints\n%s which gives %+v, %v\nwant %+v", b, out, back, err, c)
		}
	})
}

func oneLine(t *testing.T, err error) {
	t.Helper()
	if strings.ContainsAny(err.Error(), "\n\r") {
		t.Fatalf("error of more than one line: %q", err)
	}
}
