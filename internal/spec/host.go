package spec

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"weft/internal/header"
)

// A host is all that a switch was told to be, as one YAML document: the
// configuration's schema, and beyond it what only commands make otherwise,
// attachments and static FDB entries. `weft export` prints it, `weft apply` reads it.

// Static is a static FDB entry.
type Static struct {
	Network string `json:"network"`
	VLAN    int    `json:"vlan,omitempty"` // 0: the untagged one
	MAC     string `json:"mac"`
	To      string `json:"to"` // an attached target, host, peer:NAME, or uplink:DEVICE
	Line    int    `json:"-"`  // in the file; 0: from elsewhere
}

// settings are the fields of a configuration that a process is started with, and
// keeps; objects are those that may change, hostOnly those of them that no
// configuration has.
var (
	settings = []string{"name", "local", "state-dir", "log-level", "accel"}
	hostOnly = []string{"attachments", "fdb"}
	objects  = append([]string{"networks", "peers", "routes", "uplinks"}, hostOnly...)
)

// ParseHost reads a host strictly; file stands in its errors, which are
// FILE:LINE: CAUSE. It refuses a document without objects, which may be a file
// that was never written, and settings of the process.
func ParseHost(file string, data []byte) (Config, error) {
	fail := func(err error) (Config, error) {
		var le *lineError
		if errors.As(err, &le) {
			return Config{}, fmt.Errorf("%s:%w", file, err)
		}
		return Config{}, fmt.Errorf("%s:1: %w", file, err)
	}
	if len(data) > ConfigMax {
		return fail(fmt.Errorf("it has more than %d bytes: keep its routes in a file of their own, as weft export --routes FILE does", ConfigMax))
	}
	c := Config{File: file}
	fields, err := c.parse(data, dialect{fields: objects, refused: settings, why: "is given to weft run, and cannot be applied: take it out", keep: true})
	if err == nil && fields == 0 {
		err = errors.New("it describes nothing: networks: [] stands for a host without any")
	}
	if err != nil {
		return fail(err)
	}
	return c, nil
}

// keepRoutes stands in the place of the routes where they stay as they are.
const keepRoutes = "keep"

// leastRoute is what a route takes at least in a document, in bytes.
const leastRoute = len("  - prefix: ::/0\n    via: a\n")

// MarshalHost returns the YAML that ParseHost reads: the objects of c, each section
// there also where it is empty. More than ParseHost takes is an error.
func (c Config) MarshalHost() ([]byte, error) {
	tooLong := fmt.Errorf("print host: with its %d routes it has more than the %d bytes that weft apply takes: write them to a file of their own, with weft export --routes FILE", len(c.Routes), ConfigMax)
	if len(c.Routes)*leastRoute > ConfigMax {
		return nil, tooLong
	}
	var routes any = c.Routes
	if c.KeepRoutes {
		routes = keepRoutes
	}
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	var doc yaml.Node
	err := doc.Encode(struct {
		Networks    []Network `yaml:"networks"`
		Peers       []Peer    `yaml:"peers"`
		Routes      any       `yaml:"routes"`
		Uplinks     []Uplink  `yaml:"uplinks"`
		Attachments []Attach  `yaml:"attachments"`
		FDB         []Static  `yaml:"fdb"`
	}{c.Networks, c.Peers, routes, c.Uplinks, c.Attachments, c.FDB})
	if err == nil {
		err = c.addAllHostFields(&doc)
	}
	if err == nil {
		err = e.Encode(&doc)
	}
	if err != nil {
		return nil, fmt.Errorf("print host: %w", err)
	}
	if b.Len() > ConfigMax && len(c.Routes) > 0 {
		return nil, tooLong
	}
	return b.Bytes(), nil
}

var attachFields = []string{"network", "target", "addresses", "mac", "ifname", "mtu", "allow-spoof", "isolated", "vlan", "trunk", "mac-limit", "storm"}

// set is the setter of an attachment; addresses collect.
func (a *Attach) set(key, value string) (err error) {
	switch key {
	case "network":
		a.Network, err = value, CheckName(value)
	case "target":
		_, err = ParseTarget(value)
		a.Target = value
	case "addresses":
		if value == AddressNone {
			a.NoAddress = true
			return nil
		}
		var addr Address
		addr, err = ParseAddress(value)
		a.Addresses = append(a.Addresses, addr)
	case "mac":
		_, err = ParseMAC(value)
		a.MAC = value
	case "ifname":
		a.IfName, err = value, CheckIfName(value)
	case "mtu":
		a.MTU, err = ParseMTU(value)
	case "allow-spoof":
		a.AllowSpoof, err = parseSwitch(key, value)
	case "isolated":
		a.Isolated, err = parseSwitch(key, value)
	case "vlan":
		a.VLAN, err = ParseVLAN(value)
	case "trunk":
		a.Trunk, err = ParseTrunk(value)
	case "mac-limit":
		a.MACLimit, err = ParseMACLimit(value)
	case "storm":
		a.Storm, err = ParseStorm(value)
	default:
		err = &keyError{key, attachFields}
	}
	return err
}

// MarshalYAML prints an attachment with the keys that set reads.
func (a Attach) MarshalYAML() (any, error) {
	addrs := make([]string, len(a.Addresses))
	for i, p := range a.Addresses {
		addrs[i] = p.String()
	}
	if a.NoAddress {
		addrs = []string{AddressNone}
	}
	return struct {
		Network    string   `yaml:"network"`
		Target     string   `yaml:"target"`
		Addresses  []string `yaml:"addresses,omitempty,flow"`
		MAC        string   `yaml:"mac,omitempty"`
		IfName     string   `yaml:"ifname,omitempty"`
		MTU        int      `yaml:"mtu,omitempty"`
		AllowSpoof bool     `yaml:"allow-spoof,omitempty"`
		Isolated   bool     `yaml:"isolated,omitempty"`
		VLAN       int      `yaml:"vlan,omitempty"`
		Trunk      Trunk    `yaml:"trunk,omitempty"`
		MACLimit   *int     `yaml:"mac-limit,omitempty"`
		Storm      *int     `yaml:"storm,omitempty"`
	}{a.Network, a.Target, addrs, a.MAC, a.IfName, a.MTU, a.AllowSpoof, a.Isolated, a.VLAN, a.Trunk, a.MACLimit, a.Storm}, nil
}

var staticFields = []string{"network", "vlan", "mac", "to"}

// set is the setter of a static entry.
func (s *Static) set(key, value string) (err error) {
	switch key {
	case "network":
		s.Network, err = value, CheckName(value)
	case "vlan":
		s.VLAN, err = ParseVLAN(value)
	case "mac":
		var m header.MAC
		m, err = ParseMAC(value)
		s.MAC = m.String()
	case "to":
		s.To = value
		if name, ok := strings.CutPrefix(value, "peer:"); ok {
			err = CheckName(name)
		} else if device, ok := strings.CutPrefix(value, ToUplink); ok {
			err = CheckIfName(device)
		} else {
			_, err = ParseTarget(value)
		}
	default:
		err = &keyError{key, staticFields}
	}
	return err
}

// validate reports what is missing.
func (s *Static) validate() error {
	if s.Network == "" || s.MAC == "" || s.To == "" {
		return errors.New("want network, mac, to, all of them")
	}
	return nil
}

// MarshalYAML prints a static entry with the keys that set reads.
func (s Static) MarshalYAML() (any, error) {
	return struct {
		Network string `yaml:"network"`
		VLAN    int    `yaml:"vlan,omitempty"`
		MAC     string `yaml:"mac"`
		To      string `yaml:"to"`
	}{s.Network, s.VLAN, s.MAC, s.To}, nil
}

// addAttachment adds a unless its target has a place in the network already.
func (c *Config) addAttachment(a Attach) error {
	for _, o := range c.Attachments {
		if o.Network == a.Network && o.Target == a.Target {
			return fmt.Errorf("it is attached to network %q on line %d already", a.Network, o.Line)
		}
	}
	c.Attachments = append(c.Attachments, a)
	return nil
}

// addStatic adds s unless its address has an entry already.
func (c *Config) addStatic(s Static) error {
	for _, o := range c.FDB {
		if o.Network == s.Network && o.VLAN == s.VLAN && o.MAC == s.MAC {
			return fmt.Errorf("it has an entry in network %q on line %d already", s.Network, o.Line)
		}
	}
	c.FDB = append(c.FDB, s)
	return nil
}

// Difference is something in which a host and a file differ.
type Difference struct {
	Op   string `json:"op"`            // + added, ~ changed, - removed
	Kind string `json:"kind"`          // network, peer, route, exposed network, published port, port or fdb
	Was  string `json:"was,omitempty"` // empty where it is added
	Now  string `json:"now,omitempty"` // empty where it is removed
}

// String returns d as one line.
func (d Difference) String() string {
	s := d.Op + " " + d.Kind + " "
	switch {
	case d.Was == "":
		return s + d.Now
	case d.Now == "":
		return s + d.Was
	}
	return s + d.Was + " -> " + d.Now
}

// Applied is the answer to `weft apply`.
type Applied struct {
	DryRun      bool         `json:"dry_run"` // nothing was changed
	Differences []Difference `json:"differences"`
}
