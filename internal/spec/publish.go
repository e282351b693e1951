package spec

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// publishMax is how many ports may be published at once: each is held by a
// socket of the daemon.
const publishMax = 1024

// Publish asks for ports of the host that lead to a container.
type Publish struct {
	Network string     `json:"network"`
	Target  string     `json:"target"`          // of a port of this host
	Host    netip.Addr `json:"host,omitzero"`   // address of the host; invalid: every one
	Port    uint16     `json:"port"`            // the first
	Count   int        `json:"count,omitempty"` // of ports; 0: one
	To      uint16     `json:"target_port"`     // that the first leads to
	Proto   string     `json:"proto,omitempty"` // tcp or udp; empty: tcp
	Line    int        `json:"-"`               // in the file that declares it; 0: from elsewhere
}

// PublishStatus is one row of `weft publish ls`.
type PublishStatus struct {
	Network    string `json:"network"`
	Target     string `json:"target"`
	Host       string `json:"host"` // empty: every address
	Port       uint16 `json:"port"`
	Count      int    `json:"count"`
	TargetPort uint16 `json:"target_port"`
	Proto      string `json:"proto"`
	Origin     string `json:"origin"`            // declared or api
	Problem    string `json:"problem,omitempty"` // why it does not lead there, or not from everywhere
}

// Cleaned is the answer to `weft cleanup`: what was removed or put back, in words.
type Cleaned struct {
	Removed []string `json:"removed"`
}

// Ports returns the form that ParsePorts reads.
func (p PublishStatus) Ports() string {
	host, _ := netip.ParseAddr(p.Host)
	return Publish{Host: host, Port: p.Port, Count: p.Count, To: p.TargetPort, Proto: p.Proto}.Ports()
}

// ParsePublish reads the value of --publish: NETWORK,TARGET,PORTS.
func ParsePublish(s string) (Publish, error) {
	network, rest, ok1 := strings.Cut(s, ",")
	i := strings.LastIndexByte(rest, ',')
	if !ok1 || i < 0 {
		return Publish{}, fmt.Errorf("publish %q: want NETWORK,TARGET,PORT:PORT, as in blue,netns:web,8080:80", s)
	}
	return PublishFrom(network, rest[:i], rest[i+1:])
}

// PublishFrom makes a publication of its three arguments.
func PublishFrom(network, target, ports string) (Publish, error) {
	p, err := ParsePorts(ports)
	if err != nil {
		return Publish{}, err
	}
	p.Network, p.Target = network, target
	return p, p.Validate()
}

// ParsePorts reads [HOSTADDR:]PORT[-PORT]:PORT[-PORT][/tcp|udp]. An IPv6 address
// stands in brackets.
func ParsePorts(s string) (Publish, error) {
	p, err := parsePorts(s)
	if err != nil {
		return Publish{}, fmt.Errorf("publish %q: %w", s, err)
	}
	return p, nil
}

func parsePorts(s string) (p Publish, err error) {
	list, proto, ok := strings.Cut(s, "/")
	if p.Proto = proto; !ok {
		p.Proto = "tcp"
	}
	const form = "want [HOSTADDR:]PORT[-PORT]:PORT[-PORT][/tcp|udp], as in 8080:80 or [fd00::1]:5000-5009:5000-5009/udp"
	i := strings.LastIndexByte(list, ':')
	if i < 0 {
		return p, errors.New(form)
	}
	host, to := list[:i], list[i+1:]
	if i := strings.LastIndexByte(host, ':'); i >= 0 {
		addr := host[:i]
		if inner, ok := strings.CutPrefix(addr, "["); ok {
			addr, ok = strings.CutSuffix(inner, "]")
			if a, err := netip.ParseAddr(addr); !ok || err != nil || !a.Is6() {
				return p, errors.New(form)
			}
		} else if strings.Contains(addr, ":") {
			return p, fmt.Errorf("%s; an IPv6 address stands in brackets", form)
		}
		if p.Host, err = netip.ParseAddr(addr); err != nil {
			return p, fmt.Errorf("%q is not an address of the host; %s", addr, form)
		}
		host = host[i+1:]
	}
	var count int
	if p.Port, p.Count, err = parsePortRange(host); err != nil {
		return p, err
	}
	if p.To, count, err = parsePortRange(to); err != nil {
		return p, err
	}
	if count != p.Count {
		return p, fmt.Errorf("%d ports of the host cannot lead to %d of the container; want as many of both", p.Count, count)
	}
	return p, p.validate()
}

// parsePortRange reads PORT or PORT-PORT.
func parsePortRange(s string) (first uint16, count int, err error) {
	from, to, ok := strings.Cut(s, "-")
	if !ok {
		to = from
	}
	a, err := parsePort(from)
	if err != nil {
		return 0, 0, err
	}
	b, err := parsePort(to)
	if err != nil {
		return 0, 0, err
	}
	if b < a {
		return 0, 0, fmt.Errorf("%d comes after %d: swap them", a, b)
	}
	return a, int(b-a) + 1, nil
}

func parsePort(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("port %q is not a number from 1 to 65535", s)
	}
	return uint16(n), nil
}

// Validate fills in what may be left out, and reports the first thing that is
// wrong with p. What only the switch can know is not asked.
func (p *Publish) Validate() error {
	if err := CheckName(p.Network); err != nil {
		return fmt.Errorf("network %q: %w", p.Network, err)
	}
	if _, err := ParseTarget(p.Target); err != nil {
		return err
	}
	if err := p.validate(); err != nil {
		return fmt.Errorf("publish %q: %w", p.Ports(), err)
	}
	return nil
}

func (p *Publish) validate() error {
	p.Count, p.Proto = cmp.Or(p.Count, 1), cmp.Or(p.Proto, "tcp")
	switch {
	case p.Proto != "tcp" && p.Proto != "udp":
		return fmt.Errorf("protocol %q is not known; it is tcp or udp", p.Proto)
	case p.Port == 0 || p.To == 0:
		return errors.New("a port is a number from 1 to 65535")
	case p.Count < 1 || p.Count > publishMax:
		return fmt.Errorf("%d ports are too many; at most %d go at once", p.Count, publishMax)
	case int(p.Port)+p.Count > 1<<16 || int(p.To)+p.Count > 1<<16:
		return errors.New("its ports go beyond 65535")
	case !p.Host.IsValid():
		return nil
	case p.Host.Is4In6():
		return fmt.Errorf("%s is IPv4 written as IPv6; maybe you meant %s", p.Host, p.Host.Unmap())
	case p.Host.Zone() != "":
		return fmt.Errorf("%s: an address with a zone cannot be published on", p.Host)
	case p.Host.IsUnspecified():
		return fmt.Errorf("%s: leave the address out for every one", p.Host)
	case p.Host.IsMulticast():
		return fmt.Errorf("%s is no host's own address", p.Host)
	}
	return nil
}

// Ports returns the form that ParsePorts reads.
func (p Publish) Ports() string {
	span := func(first uint16) string {
		if p.Count > 1 {
			return fmt.Sprintf("%d-%d", first, int(first)+p.Count-1)
		}
		return strconv.Itoa(int(first))
	}
	s := span(p.Port) + ":" + span(p.To) + "/" + cmp.Or(p.Proto, "tcp")
	switch {
	case p.Host.Is4():
		return p.Host.String() + ":" + s
	case p.Host.IsValid():
		return "[" + p.Host.String() + "]:" + s
	}
	return s
}

// String returns the form that ParsePublish reads.
func (p Publish) String() string { return p.Network + "," + p.Target + "," + p.Ports() }

// Overlaps reports whether p and q take the same port of the host.
func (p Publish) Overlaps(q Publish) bool {
	return p.Proto == q.Proto && int(p.Port) < int(q.Port)+q.Count && int(q.Port) < int(p.Port)+p.Count &&
		(p.Host == q.Host || !p.Host.IsValid() || !q.Host.IsValid())
}

// item is how the file writes p below its network: TARGET PORTS.
func (p Publish) item() string { return p.Target + " " + p.Ports() }

func publishItem(s string) (Publish, error) {
	i := strings.LastIndexByte(s, ' ')
	if i < 0 {
		return Publish{}, fmt.Errorf("publish %q: want TARGET PORTS, as in netns:web 8080:80", s)
	}
	p, err := ParsePorts(s[i+1:])
	p.Target = strings.TrimSpace(s[:i])
	return p, err
}

// AddPublish adds p unless its ports are published already.
func (c *Config) AddPublish(p Publish) error {
	if i := slices.IndexFunc(c.Published, p.Overlaps); i >= 0 {
		return fmt.Errorf("publish %q: that is published already, as %q", p, c.Published[i])
	}
	c.Published = append(c.Published, p)
	return nil
}
