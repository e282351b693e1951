package spec

import (
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// ConfigMax is the greatest size of a configuration file, in bytes.
const ConfigMax = 1 << 20

// LogLevels are the values of --log-level.
var LogLevels = []string{"debug", "info", "warn", "error"}

// AccelModes are the values of --accel: whatever the host allows, or raw sockets only.
var AccelModes = []string{"auto", "off"}

// LoadConfig reads a YAML file strictly; its errors name file and line.
func LoadConfig(path string) (Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return Config{}, fmt.Errorf("read config: %w; name a YAML file with --config", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, ConfigMax+1))
	if err != nil {
		return Config{}, fmt.Errorf("read config: %w; name a YAML file with --config", err)
	}
	return ParseConfig(path, data)
}

// ParseConfig reads a YAML document; file stands in its errors. An empty
// document is an empty configuration.
func ParseConfig(file string, data []byte) (Config, error) {
	if len(data) > ConfigMax {
		return Config{}, fmt.Errorf("read config: %s has more than %d bytes: routes can come from a file of their own, with weft route add --file", file, ConfigMax)
	}
	c := Config{File: file}
	if _, err := c.parse(data, dialect{fields: configFields, refused: hostOnly, why: "is for weft apply: take it out, a switch starts with the containers that it had"}); err != nil {
		return Config{}, fmt.Errorf("read config: %s:%w", file, err)
	}
	return c, nil
}

// Marshal returns the YAML that ParseConfig reads.
func (c Config) Marshal() ([]byte, error) {
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(c); err != nil {
		return nil, fmt.Errorf("print config: %w", err)
	}
	return b.Bytes(), nil
}

// AddNetwork adds n unless its name or id stands already.
func (c *Config) AddNetwork(n Network) error {
	for _, o := range c.Networks {
		if o.Name == n.Name {
			return fmt.Errorf("network %q is given twice", n.Name)
		}
		if n.ID != 0 && o.ID == n.ID {
			return fmt.Errorf("network %q: id %d is that of network %q already; choose another", n.Name, n.ID, o.Name)
		}
	}
	c.Networks = append(c.Networks, n)
	return nil
}

// AddPeer adds p unless its name or address stands already.
func (c *Config) AddPeer(p Peer) error {
	for _, o := range c.Peers {
		if o.Name == p.Name {
			return fmt.Errorf("peer %q is given twice", p.Name)
		}
		if o.Address == p.Address {
			return fmt.Errorf("peer %q: %s is the address of peer %q already; a host is one peer: leave one of them out, or give it another address", p.Name, p.Address, o.Name)
		}
	}
	c.Peers = append(c.Peers, p)
	return nil
}

// AddRoute adds r unless its prefix stands already in the same vrf.
func (c *Config) AddRoute(r Route) error {
	for _, o := range c.Routes {
		if o.Prefix == r.Prefix && o.VRF == r.VRF {
			return fmt.Errorf("route %q is given twice", r.Prefix)
		}
	}
	c.Routes = append(c.Routes, r)
	return nil
}

// AddLocal adds an address of this host unless it stands already.
func (c *Config) AddLocal(a netip.Addr) error {
	if slices.Contains(c.Local, a) {
		return fmt.Errorf("local %s is given twice", a)
	}
	c.Local = append(c.Local, a)
	return nil
}

// Over lays c, which the flags made, over file: what c names replaces what file
// says under the same name, the rest of both stays. The error is a clash
// between the two.
func (c Config) Over(file Config) (Config, error) {
	sum := Config{File: file.File, Name: file.Name, StateDir: file.StateDir, LogLevel: file.LogLevel, Accel: file.Accel, Local: slices.Clone(file.Local)}
	if c.Name != "" {
		sum.Name = c.Name
	}
	if c.StateDir != "" {
		sum.StateDir = c.StateDir
	}
	if c.LogLevel != "" {
		sum.LogLevel = c.LogLevel
	}
	if c.Accel != "" {
		sum.Accel = c.Accel
	}
	if len(c.Local) > 0 {
		sum.Local = slices.Clone(c.Local)
	}
	for _, n := range laidOver(c.Networks, file.Networks, func(n Network) string { return n.Name }) {
		if err := sum.AddNetwork(n); err != nil {
			return Config{}, sum.At(n.Line, "", err)
		}
	}
	for _, p := range laidOver(c.Peers, file.Peers, func(p Peer) string { return p.Name }) {
		if err := sum.AddPeer(p); err != nil {
			return Config{}, sum.At(p.Line, "", err)
		}
	}
	for _, r := range laidOver(c.Routes, file.Routes, func(r Route) string { return r.Prefix.String() + " " + r.VRF }) {
		if err := sum.AddRoute(r); err != nil {
			return Config{}, sum.At(r.Line, "", err)
		}
	}
	for _, u := range laidOver(c.Uplinks, file.Uplinks, func(u Uplink) string { return u.Network + " " + u.Device }) {
		if err := sum.AddUplink(u); err != nil {
			return Config{}, sum.At(u.Line, "", err)
		}
	}
	for _, e := range laidOver(c.Exposed, file.Exposed, func(e Expose) string { return e.Network }) {
		if err := sum.AddExpose(e); err != nil {
			return Config{}, sum.At(e.Line, "", err)
		}
	}
	for _, p := range laidOver(c.Published, file.Published, Publish.String) {
		if err := sum.AddPublish(p); err != nil {
			return Config{}, sum.At(p.Line, "", err)
		}
	}
	return sum, nil
}

// At puts before err, about an object, where that was declared: the file and its
// line, or, for an object without one, source, where that is not empty.
func (c Config) At(line int, source string, err error) error {
	switch {
	case line > 0 && c.File != "":
		return fmt.Errorf("%s:%d: %w", c.File, line, err)
	case source != "":
		return fmt.Errorf("%s: %w", source, err)
	}
	return err
}

// laidOver returns base with objects of the same name replaced by those of top,
// and the others of top behind it.
func laidOver[T any](top, base []T, name func(T) string) []T {
	sum := slices.Clone(base)
	for _, t := range top {
		i := slices.IndexFunc(sum, func(b T) bool { return name(b) == name(t) })
		if i >= 0 {
			sum[i] = t
		} else {
			sum = append(sum, t)
		}
	}
	return sum
}

// CheckAccel reports a value that is none of AccelModes.
func CheckAccel(s string) error {
	if !slices.Contains(AccelModes, s) {
		return fmt.Errorf("accel %q is not known; it is one of %s", s, strings.Join(AccelModes, ", "))
	}
	return nil
}

// CheckLogLevel reports a log level that is none of LogLevels.
func CheckLogLevel(s string) error {
	if !slices.Contains(LogLevels, s) {
		return fmt.Errorf("log level %q is not known; it is one of %s", s, strings.Join(LogLevels, ", "))
	}
	return nil
}
