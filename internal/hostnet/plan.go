package hostnet

import (
	"net/netip"
	"slices"
)

// Plan is what the host shall look like. The zero value is a host without weft.
type Plan struct {
	Links     []Link // by name
	Published []Published
	Held      []Held   // ports that listeners of the host's own clients hold (Listen)
	Sysctls   []Sysctl // what was found to be in the way, with its former values
}

// Link is the host's TAP in an exposed network. The TAP is there, or will be soon.
type Link struct {
	Name   string
	SNAT   bool           // what leaves the host gets the host's address, and nothing comes in but answers and published ports
	Apart  bool           // no packet goes back to where it came from, but to published ports
	Addrs  []netip.Prefix // of the TAP
	Routes []Via          // to other prefixes of the vrf
}

// Via is a route through a link.
type Via struct {
	Prefix  netip.Prefix
	Gateway netip.Addr
}

// Published is a range of ports of the host that leads to a container.
type Published struct {
	Proto   string     // tcp or udp
	Host    netip.Addr // address of the host; invalid: every one
	First   uint16     // port of the host
	Count   int        // of ports, from 1
	Target  netip.Addr
	To      uint16 // port of the container that First leads to
	Comment string // for people who list the rules
}

// Held is a range of ports of the host on which nothing but clients of the host
// itself is to be heard.
type Held struct {
	Proto   string     // tcp or udp
	Host    netip.Addr // address of the host; invalid: every one
	First   uint16
	Count   int    // from 1
	Comment string // for people who list the rules
}

// families are the versions of IP that a plan is about.
func (p Plan) families() (is4, is6 bool) {
	for _, l := range p.Links {
		for _, a := range l.Addrs {
			if a.Addr().Is4() {
				is4 = true
			} else {
				is6 = true
			}
		}
	}
	return is4, is6
}

// linkNames returns the names of all links.
func (p Plan) linkNames() []string {
	names := make([]string, len(p.Links))
	for i, l := range p.Links {
		names[i] = l.Name
	}
	slices.Sort(names)
	return names
}
