package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"weft/internal/spec"
)

func networkCommand(a *app) *cobra.Command {
	return group("network", "Networks: make, change, remove, list", networkAdd(a), networkSet(a), networkRm(a), networkLs(a))
}

func networkAdd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "add NAME PREFIX[,PREFIX6][,OPTION=VALUE]...",
		Short: "Make a network",
		Long: `Make a network: a bridge of its own with an IPv4 prefix, an IPv6 prefix, or both.
Each option may stand in the list or as a flag. Hosts that share a network give
it the same name, or the same id.`,
		Example: `  weft network add blue 10.1.0.0/16
  weft network add red 10.2.0.0/16,fd00:2::/64,id=7 --gateway 10.2.0.1 --gateway fd00:2::1`,
		Args: wantArgs(2, 2),
	}
	flags := cmd.Flags()
	option(flags, "id", "`N`, 1 to 4294967295: the GRE key; default from the name")
	networkOptions(flags)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		n, err := spec.NetworkFrom(args[0], append(strings.Split(args[1], ","), optionItems(cmd.Flags())...))
		if err != nil {
			return usageError{err}
		}
		got, err := a.client().AddNetwork(cmd.Context(), n)
		if err != nil {
			return err
		}
		return a.printNetwork(got)
	}
	return cmd
}

func networkSet(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "set NAME [PREFIX[,PREFIX6][,OPTION=VALUE]...]",
		Short: "Change a network, and its containers with it",
		Long: `Change properties of a network; those that are not named stay. "none" takes a
gateway, vrf or range away; 0 puts mtu or ageing back to the default.

The containers follow: addresses, default routes and MTU are changed inside
them, on the same interface. With other prefixes, named all, addresses keep
their host part where the length is the same; those that a prefix still has
stay; all others get the next free one. Either all of it is done or nothing.`,
		Example: `  weft network set blue --mtu 1400 --ageing 60
  weft network set blue --gateway none
  weft network set blue 10.9.0.0/16 --dry-run
  weft network set blue 10.9.0.0/16,fd00:9::/64`,
		Args:              wantArgs(1, 2),
		ValidArgsFunction: a.completeArgs(networkNames),
	}
	networkOptions(cmd.Flags())
	dryRun := cmd.Flags().Bool("dry-run", false, "only say what would change")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := checkName("network", args[0]); err != nil {
			return err
		}
		var items []string
		if len(args) > 1 {
			items = strings.Split(args[1], ",")
		}
		ch, err := spec.ChangeFrom(append(items, optionItems(cmd.Flags())...))
		if err != nil {
			return usageError{fmt.Errorf("network %q: %w", args[0], err)}
		}
		got, err := a.client().SetNetwork(cmd.Context(), args[0], ch, *dryRun)
		if err != nil {
			return err
		}
		return a.print(got, func(w io.Writer) {
			networkLine(w, got.NetworkStatus)
			for _, p := range got.Ports {
				fmt.Fprintln(w, " ", oneLine(p.Name+": "+placeChange(p.Was, p.Now)))
			}
		})
	}
	return cmd
}

func networkRm(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:               "rm NAME",
		Short:             "Remove a network",
		Example:           "  weft network rm blue\n  weft network rm blue --force",
		Args:              wantArgs(1, 1),
		ValidArgsFunction: a.completeArgs(networkNames),
	}
	force := cmd.Flags().Bool("force", false, "also when ports are attached: they are detached first")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := checkName("network", args[0]); err != nil {
			return err
		}
		return a.done(a.client().RemoveNetwork(cmd.Context(), args[0], *force))
	}
	return cmd
}

func networkLs(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "ls",
		Short:   "List the networks",
		Example: "  weft network ls",
		Args:    wantArgs(0, 0),
		RunE: func(cmd *cobra.Command, args []string) error {
			ns, err := a.client().Networks(cmd.Context())
			if err != nil {
				return err
			}
			return a.print(ns, func(w io.Writer) { networkTable(w, "NAME", ns) })
		},
	}
}

func networkTable(w io.Writer, first string, ns []spec.NetworkStatus) {
	var rows [][]string
	for _, n := range ns {
		rows = append(rows, []string{n.Name, fmt.Sprint(n.ID), n.VRF, join(n.Prefixes), join(n.Gateways), fmt.Sprint(n.MTU)})
	}
	table(w, first+" ID VRF PREFIXES GATEWAYS MTU", rows)
}

func (a *app) printNetwork(n spec.NetworkStatus) error {
	return a.print(n, func(w io.Writer) { networkLine(w, n) })
}

func networkLine(w io.Writer, n spec.NetworkStatus) {
	line := fmt.Sprintf("%s: %s, id %d, MTU %d", n.Name, join(n.Prefixes), n.ID, n.MTU)
	if len(n.Gateways) > 0 {
		line += ", gateway " + join(n.Gateways)
	}
	if n.ICC == spec.ICCOff {
		line += ", icc off"
	}
	fmt.Fprintln(w, oneLine(line))
}

// placeChange names what is different between two places.
func placeChange(was, now spec.PortPlace) string {
	var list []string
	add := func(what, was, now string) {
		if was != now {
			list = append(list, what+cmp.Or(was, "none")+" -> "+cmp.Or(now, "none"))
		}
	}
	add("", join(was.Addresses), join(now.Addresses))
	add("gateway ", join(was.Gateways), join(now.Gateways))
	add("MTU ", fmt.Sprint(was.MTU), fmt.Sprint(now.MTU))
	add("MAC ", was.MAC.String(), now.MAC.String())
	return strings.Join(list, ", ")
}

// networkOptions adds the options that a network can be made with and changed in.
func networkOptions(flags *pflag.FlagSet) {
	option(flags, "gateway", "`address` that the switch answers to in this network; one per family, repeatable")
	option(flags, "vrf", "`name`: networks of one vrf, all with a gateway, route to each other")
	option(flags, "range", "`FROM-TO`: addresses given out where an attach names none")
	option(flags, "mtu", "`bytes` of IP that a container may send; default from the underlay")
	option(flags, "ageing", "`seconds` until a silent address is forgotten, 10 to 1000000")
	option(flags, "icc", "`on` or off: with off its containers reach gateway, host and uplinks, and not one another; default on")
}

// option adds a flag that stands for an item of an option list. It may be
// repeated here: whether it makes sense is up to the list.
func option(flags *pflag.FlagSet, name, usage string) {
	flags.StringArray(name, nil, usage)
	_ = flags.SetAnnotation(name, optionAnnotation, []string{})
}

const optionAnnotation = "weft_option"

// optionItems returns the flags made by option as items of an option list.
func optionItems(flags *pflag.FlagSet) []string {
	var items []string
	flags.Visit(func(f *pflag.Flag) {
		if _, ok := f.Annotations[optionAnnotation]; !ok {
			return
		}
		for _, v := range f.Value.(pflag.SliceValue).GetSlice() {
			items = append(items, f.Name+"="+v)
		}
	})
	return items
}
