// Package spec holds the words that users and programs exchange with weft:
// what can be asked for (networks, peers, attachments, as option lists, YAML
// and JSON) and what is answered (status, ports, drops). One schema serves
// flags, configuration file, state file and API.
//
// It is a leaf: no behaviour beyond parsing, checking and printing of values.
package spec

import (
	"net/netip"
	"time"

	"weft/internal/header"
)

// Network is a bridge domain as the user asks for it.
type Network struct {
	Name     string         `json:"name" yaml:"name"`
	Prefixes []netip.Prefix `json:"prefixes" yaml:"prefixes,flow"`                    // one IPv4, one IPv6, or both, in this order; at least one
	ID       uint32         `json:"id,omitempty" yaml:"id,omitempty"`                 // 0: 24-bit hash of the name
	Gateways []netip.Addr   `json:"gateways,omitempty" yaml:"gateway,omitempty,flow"` // at most one per family
	VRF      string         `json:"vrf,omitempty" yaml:"vrf,omitempty"`               // empty: a vrf of its own
	Range    Range          `json:"range,omitzero" yaml:"range,omitempty"`            // of addresses given out; zero: the whole prefix
	MTU      int            `json:"mtu,omitempty" yaml:"mtu,omitempty"`               // L3; 0: from the underlay
	Ageing   int            `json:"ageing,omitempty" yaml:"ageing,omitempty"`         // seconds; 0: 300
	ICC      string         `json:"icc,omitempty" yaml:"icc,omitempty"`               // ICCOff: its containers do not reach one another; empty: they do
	Line     int            `json:"-" yaml:"-"`                                       // in the file that declares it; 0: from elsewhere
}

// Range is a range of addresses, both ends included. The zero value is none.
type Range struct{ From, To netip.Addr }

// NetworkChange is what `network set` changes; nil leaves a property alone.
type NetworkChange struct {
	Prefixes *[]netip.Prefix `json:"prefixes,omitempty"` // the whole new set; gateways and range that are not named go along, see With
	Gateways *[]netip.Addr   `json:"gateways,omitempty"`
	VRF      *string         `json:"vrf,omitempty"`
	Range    *Range          `json:"range,omitempty"`
	MTU      *int            `json:"mtu,omitempty"`
	Ageing   *int            `json:"ageing,omitempty"`
	ICC      *string         `json:"icc,omitempty"`
}

// Peer is a remote switch as the user asks for it. Its YAML is made by MarshalYAML.
type Peer struct {
	Name     string     `json:"name"`
	Address  netip.Addr `json:"address"`
	Networks []string   `json:"networks,omitempty"` // shared with it; empty: all; NoNetworks alone: none
	Keyless  bool       `json:"keyless,omitempty"`  // key=none
	Checksum bool       `json:"csum,omitempty"`
	Sequence bool       `json:"seq,omitempty"`
	Encap    string     `json:"encap,omitempty"` // gre, or empty: auto
	Line     int        `json:"-"`               // in the file that declares it; 0: from elsewhere
}

// Route leads a prefix to a peer, or to an address of a connected network.
type Route struct {
	Prefix netip.Prefix `json:"prefix" yaml:"prefix"`
	Via    string       `json:"via" yaml:"via"`                     // a peer's name, its underlay address, or an address inside the vrf
	VRF    string       `json:"vrf,omitempty" yaml:"vrf,omitempty"` // empty: the only one
	Line   int          `json:"-" yaml:"-"`                         // in the file that declares it; 0: from elsewhere
}

// Attach asks for a port.
type Attach struct {
	Network    string    `json:"network"`
	Target     string    `json:"target"` // netns:NAME, netns:/path, pid:N
	Addresses  []Address `json:"addresses,omitempty"`
	NoAddress  bool      `json:"no_address,omitempty"` // none is given out: the container finds one itself, as by DHCP
	MAC        string    `json:"mac,omitempty"`        // xx:xx:xx:xx:xx:xx or U:STRING as pipework has it; empty: derived
	IfName     string    `json:"ifname,omitempty"`     // empty: eth1
	MTU        int       `json:"mtu,omitempty"`        // 0: the network's
	AllowSpoof bool      `json:"allow_spoof,omitempty"`
	Isolated   bool      `json:"isolated,omitempty"`  // no frames to and from other isolated ports of this host
	VLAN       int       `json:"vlan,omitempty"`      // of its untagged frames; 0: they are the network's
	Trunk      Trunk     `json:"trunk,omitempty"`     // VLANs that it has tagged, without VLAN
	MACLimit   *int      `json:"mac_limit,omitempty"` // addresses that are learned; nil: DefaultMACLimit; 0: as many as the table takes
	Storm      *int      `json:"storm,omitempty"`     // frames a second; nil: DefaultStorm; 0: no limit
	Line       int       `json:"-"`                   // in the file that is applied; 0: from elsewhere
}

// Address is ADDR/LEN[@GW], pipework's form.
type Address struct {
	Prefix  netip.Prefix // address and length, host bits kept
	Gateway netip.Addr   // invalid: none
}

// Config is what the flags of `weft run` and the YAML file declare.
type Config struct {
	File     string       `yaml:"-"` // that was read, for messages; empty: none
	Name     string       `yaml:"name,omitempty"`
	Local    []netip.Addr `yaml:"local,omitempty,flow"`
	StateDir string       `yaml:"state-dir,omitempty"`
	LogLevel string       `yaml:"log-level,omitempty"` // one of LogLevels
	Accel    string       `yaml:"accel,omitempty"`     // one of AccelModes; empty: auto
	Networks []Network    `yaml:"networks,omitempty"`
	Peers    []Peer       `yaml:"peers,omitempty"`
	Routes   []Route      `yaml:"routes,omitempty"`
	Uplinks  []Uplink     `yaml:"uplinks,omitempty"`

	Exposed   []Expose  `yaml:"-"` // with their networks, in the file
	Published []Publish `yaml:"-"`

	// What a file for `weft run` must not have, and one for `weft apply` may.
	Attachments []Attach `yaml:"attachments,omitempty"`
	FDB         []Static `yaml:"fdb,omitempty"`
	KeepRoutes  bool     `yaml:"-"` // routes that commands made stay as they are, and Routes is empty
}

// Status is the answer to `weft status`.
type Status struct {
	Name          string            `json:"name"`
	Version       string            `json:"version"`
	UptimeSeconds int64             `json:"uptime_seconds"`
	Degraded      []Degraded        `json:"degraded"`
	Networks      []NetworkStatus   `json:"networks"`
	Ports         []PortStatus      `json:"ports"`
	Peers         []PeerStatus      `json:"peers"`
	Frames        Frames            `json:"frames"`
	Drops         map[string]uint64 `json:"drops"` // every reason, zero included
}

// Degraded is one thing that is wrong.
type Degraded struct {
	What  string    `json:"what"`
	Why   string    `json:"why"`
	Since time.Time `json:"since"`
}

// NetworkStatus is a network as it is.
type NetworkStatus struct {
	Name     string         `json:"name"`
	ID       uint32         `json:"id"`
	VRF      string         `json:"vrf"` // empty: its own
	Prefixes []netip.Prefix `json:"prefixes"`
	Gateways []netip.Addr   `json:"gateways"`
	MTU      int            `json:"mtu"`
	Ageing   int            `json:"ageing"`
	ICC      string         `json:"icc"` // on or off
	Range    string         `json:"range,omitempty"`
	Origin   string         `json:"origin"` // declared or api
}

// NetworkSet is the answer to `network set`: the network, and what its ports
// became with it.
type NetworkSet struct {
	NetworkStatus
	Ports []PortChange `json:"ports"`
}

// PortChange is a port that changes with its network.
type PortChange struct {
	Name   string    `json:"name"`
	Target string    `json:"target"`
	Was    PortPlace `json:"was"`
	Now    PortPlace `json:"now"`
}

// PortPlace is what a container sees of its port.
type PortPlace struct {
	IfName    string         `json:"ifname"`
	MAC       header.MAC     `json:"mac"`
	Addresses []netip.Prefix `json:"addresses"`
	Gateways  []netip.Addr   `json:"gateways"` // default routes
	MTU       int            `json:"mtu"`
}

// PortStatus is a port as it is.
type PortStatus struct {
	Name       string         `json:"name"`
	Network    string         `json:"network"`
	Kind       string         `json:"kind"` // tap, host or uplink
	Target     string         `json:"target"`
	Namespace  string         `json:"namespace"` // file of the container's network namespace
	IfName     string         `json:"ifname"`
	MAC        header.MAC     `json:"mac"`
	Addresses  []netip.Prefix `json:"addresses"`
	MTU        int            `json:"mtu"`
	Up         bool           `json:"up"`
	AllowSpoof bool           `json:"allow_spoof"`
	Isolated   bool           `json:"isolated"`
	VLAN       int            `json:"vlan"`        // of its untagged frames; 0: the network's
	Trunk      Trunk          `json:"trunk"`       // VLANs that it has tagged
	MACLimit   int            `json:"mac_limit"`   // addresses that are known at it; 0: as many as the table takes
	Storm      int            `json:"storm"`       // 0: no limit
	Blocked    bool           `json:"blocked"`     // because of a loop
	NotLearned uint64         `json:"not_learned"` // frames forwarded whose source address was not learned
	RxFrames   uint64         `json:"rx_frames"`
	TxFrames   uint64         `json:"tx_frames"`
	RxBytes    uint64         `json:"rx_bytes"`
	TxBytes    uint64         `json:"tx_bytes"`
}

// PeerStatus is a peer as it is.
type PeerStatus struct {
	Name        string     `json:"name"`
	Address     netip.Addr `json:"address"`
	Encap       string     `json:"encap"`        // what carries the tunnel now: gre or gre-udp
	EncapReason string     `json:"encap_reason"` // why that
	State       string     `json:"state"`        // up, down or unknown
	Reason      string     `json:"reason"`
	Since       time.Time  `json:"since"`  // State is what it is
	Weft        bool       `json:"weft"`   // it answers the hello of weft
	RTTMicros   int64      `json:"rtt_us"` // round trip to another weft, in microseconds; 0: not measured
	MTU         int        `json:"mtu"`
	RxFrames    uint64     `json:"rx_frames"`
	TxFrames    uint64     `json:"tx_frames"`
	Keyless     bool       `json:"keyless"` // the options that it was given
	Checksum    bool       `json:"csum"`
	Sequence    bool       `json:"seq"`
	Accel       string     `json:"accel"`                  // what carries to it faster than raw sockets: egress-tap, packet-socket, or none
	NoAccel     string     `json:"accel_reason,omitempty"` // why no egress-tap
	Networks    []string   `json:"networks"`
	Origin      string     `json:"origin"`
}

// RouteStatus is one row of `weft route show`.
type RouteStatus struct {
	Prefix  netip.Prefix `json:"prefix"`
	Via     string       `json:"via"`               // the network of a connected prefix, else a peer or an address
	Kind    string       `json:"kind"`              // connected, static or cluster
	VRF     string       `json:"vrf"`               // a network's name for a vrf of its own
	Network string       `json:"network,omitempty"` // in which packets leave; empty: through a tunnel
	Origin  string       `json:"origin"`            // declared or api
	Problem string       `json:"problem,omitempty"` // why it is not in use
}

// RoutesAdded says what became of many routes.
type RoutesAdded struct {
	Added     int `json:"added"`
	Replaced  int `json:"replaced"`  // had another next hop
	Unchanged int `json:"unchanged"` // were there already
}

// Frames is the balance sheet of the switch.
type Frames struct {
	In          uint64 `json:"in"`
	Generated   uint64 `json:"generated"`
	Forwarded   uint64 `json:"forwarded"`
	Local       uint64 `json:"local"`
	Copies      uint64 `json:"copies"`
	Transmitted uint64 `json:"transmitted"`
	DroppedIn   uint64 `json:"dropped_ingress"`
	DroppedOut  uint64 `json:"dropped_egress"`
}

// AtSwitch stands in Drop.At for what belongs to no port and no peer.
const AtSwitch = "switch"

// Drop is one row of `weft drops`. At names the port or peer; AtSwitch stands
// for what belongs to neither, and lists every reason, zero included.
type Drop struct {
	At     string `json:"at"`
	Reason string `json:"reason"`
	Count  uint64 `json:"count"`
}

// FDBEntry is one row of `weft fdb show`; Port or Peer is set.
type FDBEntry struct {
	Network    string     `json:"network"`
	VLAN       int        `json:"vlan"` // 0: the untagged one
	MAC        header.MAC `json:"mac"`
	Port       string     `json:"port,omitempty"`
	Peer       string     `json:"peer,omitempty"`
	Kind       string     `json:"kind"` // attached, learned or static
	AgeSeconds uint32     `json:"age_seconds"`
}
