package main

import (
	"context"
	"fmt"
	"io"
	"net"

	"github.com/spf13/cobra"

	"weft/internal/api"
	"weft/internal/spec"
)

func uplinkCommand(a *app) *cobra.Command {
	return group("uplink", "Uplinks, which join networks to the LAN: add, remove, list", uplinkAdd(a), uplinkRm(a), uplinkLs(a))
}

func uplinkAdd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "add NETWORK DEVICE",
		Short: "Join a network to a link of this host",
		Long: `Join a network to a link of this host, such as its network card: containers, the
machines of the LAN behind it and the host itself see each other as in one
segment. The link stays the host's, with its addresses and connections. A network
with an uplink uses no peers on this host, since other hosts join it to the same
LAN; --transit, on one host only, carries frames between the LAN and the peers.`,
		Example: `  weft uplink add lan eth0
  weft uplink add lan eth0 --vlan 12`,
		Args:              wantArgs(2, 2),
		ValidArgsFunction: a.completeArgs(networkNames, hostLinks),
	}
	flags := cmd.Flags()
	vlan := flags.String("vlan", "", "`N`, 1 to 4094: the VLAN of the link that is the network's; default the link as a whole, tags and all")
	transit := flags.Bool("transit", false, "use the network's peers too; on one host of a LAN only")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		u := spec.Uplink{Network: args[0], Device: args[1], Transit: *transit}
		err := func() (err error) {
			if flags.Changed("vlan") {
				if u.VLAN, err = spec.ParseVLAN(*vlan); err != nil {
					return err
				}
			}
			return u.Validate()
		}()
		if err != nil {
			return usageError{err}
		}
		got, err := a.client().AddUplink(cmd.Context(), u)
		if err != nil {
			return err
		}
		return a.print(got, func(w io.Writer) {
			of := got.Device
			if got.VLAN != 0 {
				of = fmt.Sprintf("VLAN %d of %s", got.VLAN, got.Device)
			}
			state := fmt.Sprintf("up, MTU %d", got.MTU)
			if !got.Up {
				state = "down: " + got.Reason
			}
			fmt.Fprintln(w, oneLine(fmt.Sprintf("%s: %s, %s", got.Network, of, state)))
		})
	}
	return cmd
}

func uplinkRm(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "rm NETWORK DEVICE",
		Short:             "Part a network from a link of this host",
		Example:           "  weft uplink rm lan eth0",
		Args:              wantArgs(2, 2),
		ValidArgsFunction: a.completeArgs(networkNames, hostLinks),
		RunE: func(cmd *cobra.Command, args []string) error {
			u := spec.Uplink{Network: args[0], Device: args[1]}
			if err := u.Validate(); err != nil {
				return usageError{err}
			}
			return a.done(a.client().RemoveUplink(cmd.Context(), u.Network, u.Device))
		},
	}
}

func uplinkLs(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "ls",
		Short:   "List the uplinks",
		Example: "  weft uplink ls",
		Args:    wantArgs(0, 0),
		RunE: func(cmd *cobra.Command, args []string) error {
			us, err := a.client().Uplinks(cmd.Context())
			if err != nil {
				return err
			}
			return a.print(us, func(w io.Writer) { uplinkTable(w, us) })
		},
	}
}

func uplinkTable(w io.Writer, us []spec.UplinkStatus) {
	var rows [][]string
	for _, u := range us {
		vlan, transit, link := "", "", "down"
		if u.VLAN != 0 {
			vlan = fmt.Sprint(u.VLAN)
		}
		if u.Transit {
			transit = "yes"
		}
		switch {
		case u.Up && u.Blocked:
			link = "blocked"
		case u.Up:
			link = "up"
		}
		rows = append(rows, []string{u.Network, u.Device, vlan, transit, link, fmt.Sprint(u.MTU), u.Reason})
	}
	table(w, "NETWORK DEVICE VLAN TRANSIT LINK MTU REASON", rows)
}

// hostLinks lists the links of this machine that can be uplinks.
func hostLinks(context.Context, *api.Client) (names []string) {
	list, _ := net.Interfaces()
	for _, l := range list {
		if len(l.HardwareAddr) == 6 {
			names = append(names, l.Name)
		}
	}
	return names
}
