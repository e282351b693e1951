package main

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"weft/internal/spec"
)

func attachCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "attach NETWORK TARGET [ADDR/LEN[@GATEWAY]]...",
		Short: "Give a container a port of a network",
		Long: `Give a container a port of a network: an interface appears in it, with an
address, and with a default route where there is a gateway. TARGET is the
container: docker:NAME, netns:NAME, netns:/path or pid:N; a bare name is Docker's.
Without an address it gets the next free one of this host, with 0/0 none: then it
finds one itself, as by DHCP behind an uplink. What is attached already is left as
it is.`,
		Example: `  weft attach blue netns:web
  weft attach blue netns:web 10.1.0.5/16@10.1.0.1 fd00:1::5/64
  weft attach blue docker:shop 10.1.0.7/16
  weft attach blue pid:4711 10.1.0.6/16 --mac U:web1 -i eth0
  weft attach blue netns:office --vlan 10
  weft attach blue netns:firewall 0/0 --trunk 10,20-30`,
		Args:              wantArgs(2, -1),
		ValidArgsFunction: a.completeArgs(networkNames, namespaces),
	}
	flags := cmd.Flags()
	mac := flags.String("mac", "", "`address` of the interface: xx:xx:xx:xx:xx:xx, or U:STRING to make one of a string")
	ifName := flags.StringP("ifname", "i", "", "`name` of the interface inside the container; default "+spec.DefaultIfName)
	mtu := flags.String("mtu", "", "`bytes` of IP that the container may send; default the network's")
	allowSpoof := flags.Bool("allow-spoof", false, "let the container send from addresses that are not its own, as a bridge or router does")
	isolated := flags.Bool("isolated", false, "keep the container apart from other isolated ones of this host")
	vlan := flags.String("vlan", "", "`N`, 1 to 4094: the VLAN of the network whose frames the container has, untagged")
	trunk := flags.String("trunk", "", "`LIST` of VLANs, as in 10,20-30, whose frames it has tagged; the untagged ones are the network's, or those of --vlan")
	macLimit := flags.String("mac-limit", "", fmt.Sprintf("`number` of addresses that are learned from a port with --allow-spoof; 0: no limit; default %d", spec.DefaultMACLimit))
	storm := flags.String("storm", "", fmt.Sprintf("`frames` a second that it may send to all, to a group and to unknown addresses, each; 0: no limit; default %d", spec.DefaultStorm))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		at := spec.Attach{Network: args[0], Target: args[1], MAC: *mac, IfName: *ifName, AllowSpoof: *allowSpoof, Isolated: *isolated}
		err := func() (err error) {
			for _, arg := range args[2:] {
				if arg == spec.AddressNone {
					at.NoAddress = true
					continue
				}
				addr, err := spec.ParseAddress(arg)
				if err != nil {
					return err
				}
				at.Addresses = append(at.Addresses, addr)
			}
			if flags.Changed("mtu") {
				if at.MTU, err = spec.ParseMTU(*mtu); err != nil {
					return err
				}
			}
			if flags.Changed("vlan") {
				if at.VLAN, err = spec.ParseVLAN(*vlan); err != nil {
					return err
				}
			}
			if flags.Changed("trunk") {
				if at.Trunk, err = spec.ParseTrunk(*trunk); err != nil {
					return err
				}
			}
			if flags.Changed("mac-limit") {
				if at.MACLimit, err = spec.ParseMACLimit(*macLimit); err != nil {
					return err
				}
			}
			if flags.Changed("storm") {
				if at.Storm, err = spec.ParseStorm(*storm); err != nil {
					return err
				}
			}
			if flags.Changed("mac") && *mac == "" {
				return errors.New("MAC is empty; leave --mac out to have one made")
			}
			if flags.Changed("ifname") { // left out it may be any, where the container is attached already
				if err := spec.CheckIfName(*ifName); err != nil {
					return err
				}
			}
			return at.Validate()
		}()
		if err != nil {
			return usageError{err}
		}
		got, err := a.client().Attach(cmd.Context(), at)
		if err != nil {
			return err
		}
		return a.print(got, func(w io.Writer) {
			fmt.Fprintln(w, oneLine(fmt.Sprintf("%s: %s on %s, MAC %s, MTU %d, network %s%s", got.Name, join(got.Addresses), got.IfName, got.MAC, got.MTU, got.Network, vlanText(got))))
		})
	}
	return cmd
}

func detachCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "detach NETWORK TARGET",
		Short:             "Take the port of a network away from a container",
		Long:              "Take the port of a network away from a container, also when the container is gone.",
		Example:           "  weft detach blue netns:web",
		Args:              wantArgs(2, 2),
		ValidArgsFunction: a.completeArgs(networkNames, attachedTargets),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkName("network", args[0]); err != nil {
				return err
			}
			if _, err := spec.ParseTarget(args[1]); err != nil {
				return usageError{err}
			}
			return a.done(a.client().Detach(cmd.Context(), args[0], args[1]))
		},
	}
}

func portCommand(a *app) *cobra.Command {
	return group("port", "Ports: list", &cobra.Command{
		Use:     "ls",
		Short:   "List the ports",
		Example: "  weft port ls",
		Args:    wantArgs(0, 0),
		RunE: func(cmd *cobra.Command, args []string) error {
			ps, err := a.client().Ports(cmd.Context())
			if err != nil {
				return err
			}
			return a.print(ps, func(w io.Writer) { portTable(w, "NAME", ps) })
		},
	})
}

func portTable(w io.Writer, first string, ps []spec.PortStatus) {
	var rows [][]string
	for _, p := range ps {
		rows = append(rows, []string{
			p.Name, p.Network, join(p.Addresses), p.MAC.String(), p.IfName, fmt.Sprint(p.MTU), linkWord(p), short(p.RxFrames), short(p.TxFrames), p.Target,
		})
	}
	portColumns(w, first+" NETWORK ADDRESSES MAC IFNAME MTU LINK RX TX TARGET", rows, ps)
}

// linkWord says whether frames pass a port.
func linkWord(p spec.PortStatus) string {
	switch {
	case p.Blocked:
		return "blocked"
	case p.Up:
		return "up"
	}
	return "down"
}

// vlanText says which VLANs a port has; empty where it has none.
func vlanText(p spec.PortStatus) (s string) {
	if p.VLAN != 0 {
		s = fmt.Sprintf(", VLAN %d", p.VLAN)
	}
	if p.Trunk != "" {
		s += ", trunk " + string(p.Trunk)
	}
	return s
}

// vlanCell is what a table shows of a port's VLANs: 10, or 10+20-30 for a trunk,
// tagged ones behind the sign.
func vlanCell(p spec.PortStatus) (s string) {
	if p.VLAN != 0 {
		s = fmt.Sprint(p.VLAN)
	}
	if p.Trunk != "" {
		s += "+" + string(p.Trunk)
	}
	return s
}

// portColumns is table for a row of each port. Where a port has VLANs, or frames whose
// source was not learned, a column more has them.
func portColumns(w io.Writer, header string, rows [][]string, ps []spec.PortStatus) {
	if slices.ContainsFunc(ps, func(p spec.PortStatus) bool { return vlanCell(p) != "" }) {
		header += " VLAN"
		for i, p := range ps {
			rows[i] = append(rows[i], vlanCell(p))
		}
	}
	if slices.ContainsFunc(ps, func(p spec.PortStatus) bool { return p.NotLearned > 0 }) {
		header += " UNLEARNED"
		for i, p := range ps {
			rows[i] = append(rows[i], short(p.NotLearned))
		}
	}
	table(w, header, rows)
}
