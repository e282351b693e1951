package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"weft/internal/api"
	"weft/internal/spec"
)

func fdbCommand(a *app) *cobra.Command {
	return group("fdb", "The forwarding table, MAC address to port or peer: show, add, remove, flush", fdbShow(a), fdbAdd(a), fdbRm(a), fdbFlush(a))
}

func fdbShow(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show [NETWORK]",
		Short: "Show where each address is",
		Long: `Show where each address is. With --format brctl or ovs it prints what brctl
showmacs or ovs-appctl fdb/show would of one network; ports, and behind them
peers, are numbered in the order of weft show.`,
		Example:           "  weft fdb show blue\n  weft fdb show blue --format brctl\n  weft fdb show blue --format ovs",
		Args:              wantArgs(0, 1),
		ValidArgsFunction: a.completeArgs(networkNames),
	}
	format := a.foreignFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		network, err := optionalNetwork(args)
		if err != nil {
			return err
		}
		if err := a.checkForeign(*format); err != nil {
			return err
		}
		if *format != "" && network == "" {
			return usageError{errors.New("--format shows one network; name it")}
		}
		es, err := a.client().FDB(cmd.Context(), network)
		if err != nil {
			return err
		}
		var l layout
		if *format != "" {
			if l.Status, err = a.client().Status(cmd.Context()); err != nil {
				return err
			}
		}
		return a.print(es, func(w io.Writer) {
			switch *format {
			case likeBrctl:
				brctlMACs(w, es, l.members(network))
			case likeOVS:
				ovsFDB(w, es, l.members(network))
			default:
				fdbTable(w, es)
			}
		})
	}
	return cmd
}

func fdbTable(w io.Writer, es []spec.FDBEntry) {
	var rows [][]string
	for _, e := range es {
		to, age := e.Port, ""
		if e.Peer != "" {
			to = "peer:" + e.Peer
		}
		if e.Kind == "learned" {
			age = fmt.Sprintf("%ds", e.AgeSeconds)
		}
		rows = append(rows, []string{e.Network, e.MAC.String(), to, e.Kind, age})
	}
	header := "NETWORK MAC TO KIND AGE"
	if slices.ContainsFunc(es, func(e spec.FDBEntry) bool { return e.VLAN != 0 }) {
		header += " VLAN"
		for i, e := range es {
			rows[i] = append(rows[i], vlanCell(spec.PortStatus{VLAN: e.VLAN}))
		}
	}
	table(w, header, rows)
}

func fdbAdd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:               "add NETWORK MAC PORT|peer:NAME",
		Short:             "Make a static entry, which neither ages nor moves",
		Example:           "  weft fdb add blue 02:00:00:00:00:01 web\n  weft fdb add blue 02:00:00:00:00:02 peer:host2 --vlan 10",
		Args:              wantArgs(3, 3),
		ValidArgsFunction: a.completeArgs(networkNames, nil, destinations),
	}
	vlan := vlanFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := checkEntry(args[0], args[1]); err != nil {
			return err
		}
		if peer, ok := strings.CutPrefix(args[2], "peer:"); ok {
			if err := checkName("peer", peer); err != nil {
				return err
			}
		} else if args[2] == "" {
			return usageError{errors.New("port is empty; `weft port ls` lists them")}
		}
		vid, err := vlan()
		if err != nil {
			return err
		}
		return a.done(a.client().AddFDB(cmd.Context(), args[0], args[1], args[2], vid))
	}
	return cmd
}

// vlanFlag adds --vlan to a command that is about an entry, and returns what it is; 0
// where it is left out.
func vlanFlag(cmd *cobra.Command) func() (int, error) {
	s := cmd.Flags().String("vlan", "", "`N`, 1 to 4094: the VLAN of the network; default the untagged one")
	return func() (int, error) {
		if !cmd.Flags().Changed("vlan") {
			return 0, nil
		}
		vid, err := spec.ParseVLAN(*s)
		if err != nil {
			return 0, usageError{err}
		}
		return vid, nil
	}
}

func fdbRm(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:               "rm NETWORK MAC",
		Short:             "Remove an entry",
		Example:           "  weft fdb rm blue 02:00:00:00:00:01",
		Args:              wantArgs(2, 2),
		ValidArgsFunction: a.completeArgs(networkNames),
	}
	vlan := vlanFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := checkEntry(args[0], args[1]); err != nil {
			return err
		}
		vid, err := vlan()
		if err != nil {
			return err
		}
		return a.done(a.client().RemoveFDB(cmd.Context(), args[0], args[1], vid))
	}
	return cmd
}

func fdbFlush(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "flush [NETWORK]",
		Short:             "Forget what was learned",
		Example:           "  weft fdb flush blue",
		Args:              wantArgs(0, 1),
		ValidArgsFunction: a.completeArgs(networkNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			network, err := optionalNetwork(args)
			if err != nil {
				return err
			}
			n, err := a.client().FlushFDB(cmd.Context(), network)
			if err != nil {
				return err
			}
			return a.print(api.Flushed{Flushed: n}, func(w io.Writer) { fmt.Fprintf(w, "flushed: %d\n", n) })
		},
	}
}

func optionalNetwork(args []string) (string, error) {
	if len(args) == 0 {
		return "", nil
	}
	return args[0], checkName("network", args[0])
}

func checkEntry(network, mac string) error {
	if err := checkName("network", network); err != nil {
		return err
	}
	if _, err := spec.ParseMAC(mac); err != nil {
		return usageError{err}
	}
	return nil
}
