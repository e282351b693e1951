package spec

import (
	"reflect"
	"testing"
)

func TestParseExpose(t *testing.T) {
	for _, tt := range []struct{ in, want, err string }{
		{in: "blue", want: "blue"},
		{in: "blue,10.10.0.254/24", want: "blue,10.10.0.254/24"},
		{in: "blue,no-snat,fd00::1/64,10.10.0.254/24", want: "blue,fd00::1/64,10.10.0.254/24,no-snat"},
		{in: "Blue", err: `network "Blue": `},
		{in: "blue,snat", err: `expose network "blue": option "snat" is not known; the options are ADDR/LEN, no-snat`},
		{in: "blue,no-snat,no-snat", err: `expose network "blue": option "no-snat" is given twice`},
		{in: "blue,10.0.0.5", err: `expose network "blue": address "10.0.0.5": the prefix length is missing; maybe you meant 10.0.0.5/24`},
		{in: "blue,10.0.0.5/24@10.0.0.1", err: `expose network "blue": address 10.0.0.5/24@10.0.0.1: the host needs no gateway there; maybe you meant 10.0.0.5/24`},
		{in: "blue,10.0.0.5/24,10.0.0.5/25", err: `expose network "blue": address 10.0.0.5 is given twice`},
	} {
		e, err := ParseExpose(tt.in)
		if tt.err != "" {
			if err == nil || len(err.Error()) < len(tt.err) || err.Error()[:len(tt.err)] != tt.err {
				t.Errorf("%q: got error %v, want %s", tt.in, err, tt.err)
			}
			continue
		}
		if err != nil || e.String() != tt.want {
			t.Errorf("%q: got %s, %v, want %s", tt.in, e, err, tt.want)
		}
	}
}

func TestParsePorts(t *testing.T) {
	const form = "want [HOSTADDR:]PORT[-PORT]:PORT[-PORT][/tcp|udp], as in 8080:80 or [fd00::1]:5000-5009:5000-5009/udp"
	for _, tt := range []struct{ in, want, err string }{
		{in: "2222:22", want: "2222:22/tcp"},
		{in: "53:53/udp", want: "53:53/udp"},
		{in: "192.0.2.1:8080:80", want: "192.0.2.1:8080:80/tcp"},
		{in: "[2001:DB8::1]:8000-8009:9000-9009/udp", want: "[2001:db8::1]:8000-8009:9000-9009/udp"},
		{in: "65535:65535", want: "65535:65535/tcp"},
		{in: "80", err: form},
		{in: "", err: form},
		{in: "2001:db8::1:80:80", err: form + "; an IPv6 address stands in brackets"},
		{in: "[192.0.2.1]:80:80", err: form},
		{in: "[2001:db8::1:80:80", err: form},
		{in: "host:80:80", err: `"host" is not an address of the host; ` + form},
		{in: "0:80", err: `port "0" is not a number from 1 to 65535`},
		{in: "80:65536", err: `port "65536" is not a number from 1 to 65535`},
		{in: "80:80/sctp", err: `protocol "sctp" is not known; it is tcp or udp`},
		{in: "80:80/", want: "80:80/tcp"},
		{in: "90-80:90-80", err: "90 comes after 80: swap them"},
		{in: "80-82:80-81", err: "3 ports of the host cannot lead to 2 of the container; want as many of both"},
		{in: "1-2000:1-2000", err: "2000 ports are too many; at most 1024 go at once"},
		{in: "0.0.0.0:80:80", err: "0.0.0.0: leave the address out for every one"},
		{in: "[::ffff:10.0.0.1]:80:80", err: "::ffff:10.0.0.1 is IPv4 written as IPv6; maybe you meant 10.0.0.1"},
		{in: "224.0.0.1:80:80", err: "224.0.0.1 is no host's own address"},
	} {
		p, err := ParsePorts(tt.in)
		switch {
		case tt.err != "":
			wantError(t, tt.in, err, `publish "`+tt.in+`": `+tt.err)
		case tt.want != "" && (err != nil || p.Ports() != tt.want):
			t.Errorf("%q: got %s, %v, want %s", tt.in, p.Ports(), err, tt.want)
		}
	}
}

func TestOverlaps(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want bool
	}{
		{"80:80", "80:81", true},
		{"80:80", "81:80", false},
		{"80:80", "80:80/udp", false},
		{"80-90:80-90", "85:1", true},
		{"80-90:80-90", "91:1", false},
		{"192.0.2.1:80:80", "192.0.2.2:80:80", false},
		{"192.0.2.1:80:80", "80:80", true},
	} {
		a, err1 := ParsePorts(tt.a)
		b, err2 := ParsePorts(tt.b)
		if err1 != nil || err2 != nil || a.Overlaps(b) != tt.want || b.Overlaps(a) != tt.want {
			t.Errorf("%s and %s: got %t, want %t", tt.a, tt.b, a.Overlaps(b), tt.want)
		}
	}
}

func TestHostFieldsInYAML(t *testing.T) {
	c, err := ParseConfig("f", []byte(`networks:
- {name: blue, prefixes: 10.10.0.0/24, expose: [10.10.0.254/24, no-snat], publish: ["netns:web 2222:22", "netns:/run/a b 192.0.2.1:53:53/udp"]}
- {name: red, prefixes: 10.20.0.0/24, expose: true}
`))
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	back, err := ParseConfig("f", out)
	if err != nil || !reflect.DeepEqual(placeless(back), placeless(c)) {
		t.Errorf("%s gives %+v, %v, want %+v", out, back, err, c)
	}
	for in, want := range map[string]string{
		`{name: a, prefixes: 10.0.0.0/8, expose: [10.0.0.1]}`:                        `read config: f:2: network "a": address "10.0.0.1": the prefix length is missing; maybe you meant 10.0.0.1/24`,
		`{name: a, prefixes: 10.0.0.0/8, expose: false}`:                             `read config: f:2: network "a": leave expose out where the network is not to be exposed`,
		`{name: a, prefixes: 10.0.0.0/8, publish: "netns:web"}`:                      `read config: f:2: network "a": publish "netns:web": want TARGET PORTS, as in netns:web 8080:80`,
		`{name: a, prefixes: 10.0.0.0/8, publish: ["netns:w 1:1", "netns:v 1:2"]}`:   `read config: f:2: publish "a,netns:v,1:2/tcp": that is published already, as "a,netns:w,1:1/tcp"`,
		`{name: a, prefixes: 10.0.0.0/8, publish: ["netns:w 1:1", "netns:v 2:2:x"]}`: `read config: f:2: network "a": publish "2:2:x": "2" is not an address of the host; want [HOSTADDR:]PORT[-PORT]:PORT[-PORT][/tcp|udp], as in 8080:80 or [fd00::1]:5000-5009:5000-5009/udp`,
	} {
		_, err := ParseConfig("f", []byte("networks:\n- "+in+"\n"))
		wantError(t, in, err, want)
	}
}

func FuzzParsePorts(f *testing.F) {
	f.Add("2222:22")
	f.Add("[2001:db8::1]:8000-8009:9000-9009/udp")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePorts(s)
		if err != nil {
			oneLine(t, err)
			return
		}
		if back, err := ParsePorts(p.Ports()); err != nil || back != p {
			t.Fatalf("%q prints %q, which gives %+v, %v", s, p.Ports(), back, err)
		}
	})
}
