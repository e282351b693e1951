package main

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"weft/internal/spec"
)

// foreign is a value of --format: the tool whose words are wanted.
type foreign string

const (
	likeBrctl foreign = "brctl"
	likeOVS   foreign = "ovs"
)

var foreigns = []string{string(likeBrctl), string(likeOVS)}

func (f *foreign) String() string { return string(*f) }
func (f *foreign) Type() string   { return "tool" }
func (f *foreign) Set(s string) error {
	if !slices.Contains(foreigns, s) {
		return errors.New("it is brctl or ovs")
	}
	*f = foreign(s)
	return nil
}

// foreignFlag adds --format to a command. It goes with no -o json.
func (a *app) foreignFlag(cmd *cobra.Command) *foreign {
	f := new(foreign)
	cmd.Flags().Var(f, "format", "print what another `tool` would: brctl or ovs")
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(foreigns, cobra.ShellCompDirectiveNoFileComp))
	return f
}

// checkForeign refuses two forms at once.
func (a *app) checkForeign(f foreign) error {
	if f != "" && a.output == "json" {
		return usageError{errors.New("--format is text; leave it out for -o json")}
	}
	return nil
}

// layout is what bridges and their ports are made of.
type layout struct{ spec.Status }

func showCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Show which ports and peers each network has",
		Long: `Show which ports and peers each network has. With --format brctl or ovs it
prints what brctl show or ovs-vsctl show would of the same layout: a bridge for
each network, a port for each container, a tunnel for each peer.`,
		Example: `  weft show
  weft show --format brctl
  weft show --format ovs`,
		Args: wantArgs(0, 0),
	}
	format := a.foreignFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := a.checkForeign(*format); err != nil {
			return err
		}
		s, err := a.client().Status(cmd.Context())
		if err != nil {
			return err
		}
		l := layout{s}
		return a.print(s, func(w io.Writer) { l.show(w, *format) })
	}
	return cmd
}

func (l layout) show(w io.Writer, f foreign) {
	switch f {
	case likeBrctl:
		brctlShow(w, l)
	case likeOVS:
		ovsShow(w, l)
	default:
		ownShow(w, l)
	}
}

// portsOf returns the ports of a network, peersOf its peers.
func (l layout) portsOf(network string) (list []spec.PortStatus) {
	for _, p := range l.Ports {
		if p.Network == network {
			list = append(list, p)
		}
	}
	return list
}

func (l layout) peersOf(network string) (list []spec.PeerStatus) {
	for _, p := range l.Peers {
		if slices.Contains(p.Networks, network) {
			list = append(list, p)
		}
	}
	return list
}

// members returns the names of a network's ports, then of its peers. The place
// of one, counted from 1, is its number.
func (l layout) members(network string) (names []string) {
	for _, p := range l.portsOf(network) {
		names = append(names, p.Name)
	}
	for _, p := range l.peersOf(network) {
		names = append(names, p.Name)
	}
	return names
}

// ownShow is the overview in words of our own: one block for each network.
func ownShow(w io.Writer, l layout) {
	fmt.Fprintln(w, oneLine(l.Name))
	if len(l.Networks) == 0 {
		fmt.Fprintln(w, "    no networks: `weft network add NAME PREFIX` makes one")
	}
	for _, n := range l.Networks {
		line := "    network " + n.Name + "  " + join(n.Prefixes)
		if len(n.Gateways) > 0 {
			line += "  gateway " + join(n.Gateways)
		}
		if n.VRF != "" {
			line += "  vrf " + n.VRF
		}
		fmt.Fprintln(w, line)
		for _, p := range l.portsOf(n.Name) {
			line := "port " + p.Name + "  " + join(p.Addresses) + "  " + p.MAC.String()
			if cell := vlanCell(p); cell != "" {
				line += "  vlan " + cell
			}
			if !p.Up {
				line += "  down"
			}
			fmt.Fprintln(w, "        "+oneLine(line))
		}
		for _, p := range l.peersOf(n.Name) {
			fmt.Fprintln(w, "        "+oneLine("peer "+p.Name+"  "+p.Address.String()+"  "+p.Encap+"  "+p.State))
		}
	}
}
