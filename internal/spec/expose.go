package spec

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Expose asks for the host's own place in a network.
type Expose struct {
	Network   string         `json:"network"`
	Addresses []netip.Prefix `json:"addresses,omitempty"` // none: the next free one of each prefix
	NoSNAT    bool           `json:"no_snat,omitempty"`   // route only
	Line      int            `json:"-"`                   // in the file that declares it; 0: from elsewhere
}

// noSNAT and exposeOnly are the words among the addresses of an exposure.
const (
	noSNAT     = "no-snat"
	exposeOnly = "true" // in YAML, where there is nothing else to say
)

// ParseExpose reads the value of --expose: NETWORK[,ADDR/LEN]...[,no-snat].
func ParseExpose(s string) (Expose, error) {
	network, list, more := strings.Cut(s, ",")
	if !more {
		return ExposeFrom(network, nil)
	}
	return ExposeFrom(network, strings.Split(list, ","))
}

// ExposeFrom makes an exposure of a network's name and its items: addresses, and
// no-snat.
func ExposeFrom(network string, items []string) (Expose, error) {
	e := Expose{Network: network}
	for _, item := range items {
		if err := e.set(item); err != nil {
			return Expose{}, fmt.Errorf("expose network %q: %w", network, err)
		}
	}
	if err := e.Validate(); err != nil {
		return Expose{}, err
	}
	return e, nil
}

func (e *Expose) set(item string) error {
	if item == noSNAT {
		if e.NoSNAT {
			return fmt.Errorf("option %q is given twice", noSNAT)
		}
		e.NoSNAT = true
		return nil
	}
	a, err := ParseAddress(item)
	switch {
	case err != nil && !strings.Contains(item, "/") && !strings.ContainsAny(item, ".:"):
		return &keyError{item, []string{"ADDR/LEN", noSNAT}}
	case err != nil:
		return err
	case a.Gateway.IsValid():
		return fmt.Errorf("address %s: the host needs no gateway there; maybe you meant %s", a, a.Prefix)
	}
	e.Addresses = append(e.Addresses, a.Prefix)
	return nil
}

// Validate reports the first thing that is wrong with e. Whether the network
// exists, and has the addresses free, is not asked.
func (e *Expose) Validate() error {
	if err := CheckName(e.Network); err != nil {
		return fmt.Errorf("network %q: %w", e.Network, err)
	}
	for i, p := range e.Addresses {
		if err := (Address{Prefix: p}).Validate(); err != nil {
			return fmt.Errorf("expose network %q: %w", e.Network, err)
		}
		for _, q := range e.Addresses[:i] {
			if q.Addr() == p.Addr() {
				return fmt.Errorf("expose network %q: address %s is given twice", e.Network, p.Addr())
			}
		}
	}
	return nil
}

// items are the words that ExposeFrom reads.
func (e Expose) items() []string {
	var list []string
	for _, p := range e.Addresses {
		list = append(list, p.String())
	}
	if e.NoSNAT {
		list = append(list, noSNAT)
	}
	return list
}

// String returns the form that ParseExpose reads.
func (e Expose) String() string { return strings.Join(append([]string{e.Network}, e.items()...), ",") }

// AddExpose adds e unless its network is exposed already.
func (c *Config) AddExpose(e Expose) error {
	if slices.ContainsFunc(c.Exposed, func(o Expose) bool { return o.Network == e.Network }) {
		return fmt.Errorf("network %q is exposed twice", e.Network)
	}
	c.Exposed = append(c.Exposed, e)
	return nil
}

// hostFields are the fields of a network in YAML that say what the host makes of
// it: its own place there, and the ports that lead to containers.
type hostFields struct {
	exposed   bool
	expose    Expose
	published []Publish
}

var hostFieldNames = []string{"expose", "publish"}

// set takes an item of one of hostFieldNames.
func (h *hostFields) set(key, value string) error {
	if key == "publish" {
		p, err := publishItem(value)
		h.published = append(h.published, p)
		return err
	}
	h.exposed = true
	switch value {
	case exposeOnly:
		return nil
	case "false":
		return errors.New("leave expose out where the network is not to be exposed")
	}
	return h.expose.set(value)
}

// addTo adds what the network has to c.
func (h *hostFields) addTo(c *Config, network string, line int) error {
	if h.exposed {
		h.expose.Network, h.expose.Line = network, line
		if err := h.expose.Validate(); err != nil {
			return err
		}
		if err := c.AddExpose(h.expose); err != nil {
			return err
		}
	}
	for _, p := range h.published {
		p.Network, p.Line = network, line
		if err := p.Validate(); err != nil {
			return err
		}
		if err := c.AddPublish(p); err != nil {
			return err
		}
	}
	return nil
}

// MarshalYAML prints exposures and published ports with their networks.
func (c Config) MarshalYAML() (any, error) {
	type plain Config // without this method
	var doc yaml.Node
	if err := doc.Encode(plain(c)); err != nil {
		return nil, err
	}
	return &doc, c.addAllHostFields(&doc)
}

// addAllHostFields does addHostFields for the networks of a document.
func (c Config) addAllHostFields(doc *yaml.Node) error {
	for i := 0; i+1 < len(doc.Content); i += 2 {
		if doc.Content[i].Value != "networks" {
			continue
		}
		for j, n := range doc.Content[i+1].Content {
			if err := c.addHostFields(n, c.Networks[j].Name); err != nil {
				return err
			}
		}
	}
	return nil
}

// addHostFields adds to the mapping of a network what the host makes of it.
func (c Config) addHostFields(n *yaml.Node, network string) error {
	var fields struct {
		Expose  []string `yaml:"expose,omitempty,flow"`
		Publish []string `yaml:"publish,omitempty,flow"`
	}
	for _, e := range c.Exposed {
		if e.Network == network {
			if fields.Expose = e.items(); len(fields.Expose) == 0 {
				fields.Expose = []string{exposeOnly}
			}
		}
	}
	for _, p := range c.Published {
		if p.Network == network {
			fields.Publish = append(fields.Publish, p.item())
		}
	}
	var add yaml.Node
	if err := add.Encode(fields); err != nil {
		return err
	}
	n.Content = append(n.Content, add.Content...)
	return nil
}
