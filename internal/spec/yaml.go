package spec

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// The document is walked as nodes rather than decoded into structs: so every
// error has its line, and every value goes through the same setter as an item
// of an option list.

var (
	configFields  = []string{"name", "local", "state-dir", "log-level", "accel", "networks", "peers", "routes", "uplinks"}
	networkFields = []string{"name", "prefixes", "id", "gateway", "vrf", "range", "mtu", "ageing", "icc"}
	peerFields    = []string{"name", "address", "networks", "key", "csum", "seq", "encap"}
	routeFields   = []string{"prefix", "via", "vrf"}
)

// lineError is an error at a line of the file; it prints as LINE: cause.
type lineError struct {
	line int
	err  error
}

func (e *lineError) Error() string { return fmt.Sprintf("%d: %v", e.line, e.err) }
func (e *lineError) Unwrap() error { return e.err }

// at gives err the line of n unless it has one already.
func at(n *yaml.Node, err error) error {
	var le *lineError
	if err == nil || errors.As(err, &le) {
		return err
	}
	return &lineError{n.Line, err}
}

// dialect is what may stand at the top of a document.
type dialect struct {
	fields  []string
	refused []string // that another dialect has
	why     string   // they are
	keep    bool     // routes may stay as they are
}

// parse reads a document and returns how many fields it gives a value to.
func (c *Config) parse(data []byte, d dialect) (fields int, err error) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return 0, nil
	} else if err != nil {
		return 0, syntaxError(err)
	}
	var second yaml.Node
	if err := dec.Decode(&second); err == nil {
		return 0, at(&second, errors.New("a second document starts; a configuration is one document"))
	} else if !errors.Is(err, io.EOF) {
		return 0, syntaxError(err)
	}
	if len(doc.Content) == 0 || isNull(doc.Content[0]) {
		return 0, nil
	}
	if top := doc.Content[0]; top.Kind == yaml.MappingNode {
		for i := 0; i < len(top.Content); i += 2 {
			if k := top.Content[i]; contains(d.refused, k) {
				return 0, at(k, fmt.Errorf("%s %s", k.Value, d.why))
			}
		}
	}
	err = eachField(doc.Content[0], "the configuration", d.fields, func(key string, v *yaml.Node) error {
		fields++
		if d.keep && key == "routes" && v.Kind == yaml.ScalarNode && v.Value == keepRoutes {
			c.KeepRoutes = true
			return nil
		}
		return c.setField(key, v)
	})
	return fields, err
}

func (c *Config) setField(key string, n *yaml.Node) error {
	switch key {
	case "networks":
		return eachItem(n, func(n *yaml.Node) error {
			var net Network
			var host hostFields
			set := func(key, value string) error {
				if slices.Contains(hostFieldNames, key) {
					return host.set(key, value)
				}
				return net.set(key, value)
			}
			if err := parseObject(n, "network", slices.Concat(networkFields, hostFieldNames), set, &net.Name, net.validate); err != nil {
				return err
			}
			net.Line = n.Line
			if err := c.AddNetwork(net); err != nil {
				return err
			}
			return at(n, host.addTo(c, net.Name, n.Line))
		})
	case "peers":
		return eachItem(n, func(n *yaml.Node) error {
			var p Peer
			if err := parseObject(n, "peer", peerFields, p.set, &p.Name, p.validate); err != nil {
				return err
			}
			p.Line = n.Line
			return c.AddPeer(p)
		})
	case "routes":
		return eachItem(n, func(n *yaml.Node) error {
			var r Route
			prefix := "" // which names the route in errors, also where it is none
			set := func(key, value string) error {
				if key == "prefix" {
					prefix = value
				}
				return r.set(key, value)
			}
			if err := parseObject(n, "route", routeFields, set, &prefix, r.validate); err != nil {
				return err
			}
			r.Line = n.Line
			return c.AddRoute(r)
		})
	case "uplinks":
		return eachItem(n, func(n *yaml.Node) error {
			var u Uplink
			if err := parseObject(n, "uplink", uplinkFields, u.set, &u.Device, u.validate); err != nil {
				return err
			}
			u.Line = n.Line
			return c.AddUplink(u)
		})
	case "attachments":
		return eachItem(n, func(n *yaml.Node) error {
			var a Attach
			if err := parseObject(n, "attachment of", attachFields, a.set, &a.Target, a.Validate); err != nil {
				return err
			}
			a.Line = n.Line
			return at(n, prefixed("attachment of", a.Target, c.addAttachment(a)))
		})
	case "fdb":
		return eachItem(n, func(n *yaml.Node) error {
			var s Static
			if err := parseObject(n, "entry of", staticFields, s.set, &s.MAC, s.validate); err != nil {
				return err
			}
			s.Line = n.Line
			return at(n, prefixed("entry of", s.MAC, c.addStatic(s)))
		})
	case "local":
		return eachValue(n, key, true, func(s string) error {
			a, err := ParseLocal(s)
			if err != nil {
				return err
			}
			return c.AddLocal(a)
		})
	default:
		return eachValue(n, key, false, func(s string) error { return c.setScalar(key, s) })
	}
}

func (c *Config) setScalar(key, s string) error {
	switch key {
	case "name":
		if err := CheckName(s); err != nil {
			return fmt.Errorf("name %q: %w", s, err)
		}
		c.Name = s
	case "state-dir":
		if s == "" || hasControl(s) {
			return fmt.Errorf("state-dir %q is not the path of a directory", s)
		}
		c.StateDir = s
	case "accel":
		if err := CheckAccel(s); err != nil {
			return err
		}
		c.Accel = s
	case "log-level":
		if err := CheckLogLevel(s); err != nil {
			return err
		}
		c.LogLevel = s
	}
	return nil
}

// parseObject reads a network, peer or route: every field but the name goes to
// set. Its errors name the object where the name came first.
func parseObject(n *yaml.Node, kind string, fields []string, set setter, name *string, validate func() error) error {
	named := func(err error) error {
		if err == nil {
			return nil
		}
		var le *lineError
		if errors.As(err, &le) {
			return &lineError{le.line, fmt.Errorf("%s %q: %w", kind, *name, le.err)}
		}
		return at(n, fmt.Errorf("%s %q: %w", kind, *name, err))
	}
	err := eachField(n, kind, fields, func(key string, v *yaml.Node) error {
		if key == "name" {
			return eachValue(v, key, false, func(s string) error { *name = s; return CheckName(s) })
		}
		list := key == "prefixes" || key == "gateway" || key == "networks" || key == "addresses" || slices.Contains(hostFieldNames, key)
		return eachValue(v, key, list, func(s string) error { return set(key, s) })
	})
	if err == nil {
		err = validate()
	}
	return named(err)
}

// prefixed puts kind and name of an object before err; nil stays nil.
func prefixed(kind, name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %q: %w", kind, name, err)
}

// eachField calls f for each field of the mapping n; unknown and repeated ones
// are errors, and so is what f returns, at the field's value.
func eachField(n *yaml.Node, what string, known []string, f func(key string, v *yaml.Node) error) error {
	if n.Kind != yaml.MappingNode {
		return at(n, fmt.Errorf("%s is a mapping of fields; they are %s", what, strings.Join(known, ", ")))
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], resolve(n.Content[i+1])
		if !contains(known, k) {
			return at(k, fmt.Errorf("field %q is not known; the fields are %s", k.Value, strings.Join(known, ", ")))
		}
		if line, ok := seen[k.Value]; ok {
			return at(k, fmt.Errorf("field %q stands on line %d already", k.Value, line))
		}
		seen[k.Value] = k.Line
		if isNull(v) {
			continue
		}
		if err := f(k.Value, v); err != nil {
			return at(v, err)
		}
	}
	return nil
}

// eachItem calls f for each item of the sequence n.
func eachItem(n *yaml.Node, f func(n *yaml.Node) error) error {
	if n.Kind != yaml.SequenceNode {
		return at(n, errors.New("want a list here, each item behind a '-'"))
	}
	for _, item := range n.Content {
		item = resolve(item)
		if err := f(item); err != nil {
			return at(item, err)
		}
	}
	return nil
}

// eachValue calls f with the text of the scalar n, or of every item where list
// allows a sequence.
func eachValue(n *yaml.Node, key string, list bool, f func(string) error) error {
	if list && n.Kind == yaml.SequenceNode {
		return eachItem(n, func(n *yaml.Node) error { return eachValue(n, key, false, f) })
	}
	if n.Kind != yaml.ScalarNode || isNull(n) {
		return at(n, fmt.Errorf("%s: want a single value here", key))
	}
	return at(n, f(n.Value))
}

func contains(known []string, k *yaml.Node) bool {
	for _, s := range known {
		if k.Kind == yaml.ScalarNode && k.Value == s {
			return true
		}
	}
	return false
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// resolve follows an alias. Anchors nest no deeper than the schema does, so
// that a small file stays small.
func resolve(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

var yamlLine = regexp.MustCompile(`^yaml: line (\d+): `)

// syntaxError gives an error of the YAML parser the form of a lineError.
func syntaxError(err error) error {
	msg := strings.ReplaceAll(err.Error(), "\n", " ")
	if m := yamlLine.FindStringSubmatch(msg); m != nil {
		line, _ := strconv.Atoi(m[1])
		return &lineError{line, fmt.Errorf("not YAML: %s", msg[len(m[0]):])}
	}
	return &lineError{1, fmt.Errorf("not YAML: %s", strings.TrimPrefix(msg, "yaml: "))}
}

// MarshalYAML prints a peer with the keys of its option list.
func (p Peer) MarshalYAML() (any, error) {
	key := ""
	if p.Keyless {
		key = "none"
	}
	return struct {
		Name     string   `yaml:"name"`
		Address  string   `yaml:"address"`
		Networks []string `yaml:"networks,omitempty,flow"`
		Key      string   `yaml:"key,omitempty"`
		Checksum bool     `yaml:"csum,omitempty"`
		Sequence bool     `yaml:"seq,omitempty"`
		Encap    string   `yaml:"encap,omitempty"`
	}{p.Name, p.Address.String(), p.Networks, key, p.Checksum, p.Sequence, p.Encap}, nil
}
