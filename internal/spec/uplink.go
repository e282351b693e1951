package spec

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"weft/internal/header"
)

// ToUplink stands before a device where a static FDB entry leads to an uplink.
const ToUplink = "uplink:"

// Uplink joins a network to a link of the host, and so to the LAN behind it.
type Uplink struct {
	Network string `json:"network" yaml:"network"`
	Device  string `json:"device" yaml:"device"`                       // name of the link
	VLAN    int    `json:"vlan,omitempty" yaml:"vlan,omitempty"`       // of the link, that is the network's; 0: all of the link
	Transit bool   `json:"transit,omitempty" yaml:"transit,omitempty"` // peers of the network are used all the same
	Line    int    `json:"-" yaml:"-"`                                 // in the file that declares it; 0: from elsewhere
}

// UplinkStatus is an uplink as it is.
type UplinkStatus struct {
	Network string     `json:"network"`
	Device  string     `json:"device"`
	VLAN    int        `json:"vlan"`
	Transit bool       `json:"transit"`
	Port    string     `json:"port"` // its name among the ports
	MAC     header.MAC `json:"mac"`  // of the link, and so of the host; zero while it is gone
	MTU     int        `json:"mtu"`
	Up      bool       `json:"up"`
	Blocked bool       `json:"blocked"` // it is part of a loop
	Reason  string     `json:"reason"`  // why it is not up, or blocked
	Origin  string     `json:"origin"`  // declared or api
}

var (
	uplinkOptions = []string{"vlan", "transit"}
	uplinkFields  = []string{"network", "device", "vlan", "transit"}
)

// ParseUplink reads the value of --uplink: NETWORK=DEVICE[,vlan=N][,transit].
func ParseUplink(s string) (Uplink, error) {
	network, list, ok := strings.Cut(s, "=")
	if !ok {
		return Uplink{}, fmt.Errorf("uplink %q: want NETWORK=DEVICE[,vlan=N][,transit], as in lan=eth0", s)
	}
	u := Uplink{Network: network}
	seen := once{}
	for i, item := range strings.Split(list, ",") {
		key, value, ok := strings.Cut(item, "=")
		switch {
		case i == 0:
			key, value = "device", item
		case key == "transit" && !ok:
			value = "true"
		case !slices.Contains(uplinkOptions, key):
			return Uplink{}, fmt.Errorf("uplink %q: %w", s, &keyError{key, uplinkOptions})
		}
		err := seen.take(key)
		if err == nil {
			err = u.set(key, value)
		}
		if err != nil {
			return Uplink{}, fmt.Errorf("uplink %q: %w", s, err)
		}
	}
	return u, u.Validate()
}

// set is the setter of an uplink.
func (u *Uplink) set(key, value string) (err error) {
	switch key {
	case "network":
		u.Network = value
	case "device":
		u.Device = value
	case "vlan":
		u.VLAN, err = ParseVLAN(value)
	case "transit":
		if u.Transit, err = strconv.ParseBool(value); err != nil {
			err = fmt.Errorf("transit %q: want true or false", value)
		}
	default:
		err = &keyError{key, uplinkFields}
	}
	return err
}

// Validate reports the first thing that is wrong with u, whatever the switch has.
func (u *Uplink) Validate() error {
	if err := CheckName(u.Network); err != nil {
		return fmt.Errorf("network %q: %w", u.Network, err)
	}
	if err := u.validate(); err != nil {
		return fmt.Errorf("uplink of network %q: %w", u.Network, err)
	}
	return nil
}

func (u *Uplink) validate() error {
	if u.Network == "" {
		return errors.New("it names no network")
	}
	if err := CheckIfName(u.Device); err != nil {
		return fmt.Errorf("device: %w", err)
	}
	if u.VLAN != 0 {
		return checkNumber("vlan", int64(u.VLAN), VLANMin, VLANMax)
	}
	return nil
}

// String returns the form that ParseUplink reads.
func (u Uplink) String() string {
	s := u.Network + "=" + u.Device
	if u.VLAN != 0 {
		s += ",vlan=" + strconv.Itoa(u.VLAN)
	}
	if u.Transit {
		s += ",transit"
	}
	return s
}

// AddUplink adds u unless its network has one with that device already, or the
// device is taken.
func (c *Config) AddUplink(u Uplink) error {
	for _, o := range c.Uplinks {
		if err := u.Clash(o); err != nil {
			return err
		}
	}
	c.Uplinks = append(c.Uplinks, u)
	return nil
}

// Clash says why two uplinks cannot stand beside each other, and nil where they can.
func (u Uplink) Clash(o Uplink) error {
	switch {
	case u.Device != o.Device:
		return nil
	case u.Network == o.Network:
		return fmt.Errorf("network %q has an uplink with %s already, %q: remove that first", u.Network, u.Device, o)
	case u.VLAN == 0 || o.VLAN == 0:
		return fmt.Errorf("%s is an uplink of network %q already, and one of the two takes all of it: give each a VLAN of its own", u.Device, o.Network)
	case u.VLAN == o.VLAN:
		return fmt.Errorf("VLAN %d of %s is an uplink of network %q already: choose another VLAN or device", u.VLAN, u.Device, o.Network)
	}
	return nil
}
