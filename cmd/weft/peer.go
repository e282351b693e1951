package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"weft/internal/spec"
)

func peerCommand(a *app) *cobra.Command {
	return group("peer", "Peers, the switches of other hosts: add, remove, list", peerAdd(a), peerRm(a), peerLs(a))
}

func peerAdd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "add NAME ADDR[,OPTION]...",
		Short: "Add a peer",
		Long: `Add a peer: the switch of another host, a weft, an Open vSwitch or anything else
that speaks GRE. Each option may stand in the list or as a flag. Only peers are
heard, so both ends have to name each other.`,
		Example: `  weft peer add host2 192.168.18.17
  weft peer add ovs 192.168.18.20,key=none,networks=blue --csum`,
		Args: wantArgs(2, 2),
	}
	flags := cmd.Flags()
	option(flags, "networks", "`A+B`: networks shared with it; default all, none: for routes alone")
	option(flags, "key", "`none`: its frames have no GRE key, which makes it a peer of one network")
	option(flags, "encap", "`auto`, gre or gre-udp: how frames are carried")
	csum := flags.Bool("csum", false, "send GRE checksums")
	seq := flags.Bool("seq", false, "send GRE sequence numbers and drop late datagrams; slower")
	_ = cmd.RegisterFlagCompletionFunc("networks", a.completeArgs(networkNames))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		items := append(strings.Split(args[1], ","), optionItems(cmd.Flags())...)
		if *csum {
			items = append(items, "csum")
		}
		if *seq {
			items = append(items, "seq")
		}
		p, err := spec.PeerFrom(args[0], items)
		if err != nil {
			return usageError{err}
		}
		got, err := a.client().AddPeer(cmd.Context(), p)
		if err != nil {
			return err
		}
		return a.print(got, func(w io.Writer) {
			fmt.Fprintln(w, oneLine(fmt.Sprintf("%s: %s, encap %s, MTU %d, networks %s", got.Name, got.Address, got.Encap, got.MTU, cmp.Or(strings.Join(got.Networks, ","), spec.NoNetworks))))
		})
	}
	return cmd
}

func peerRm(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "rm NAME",
		Short:             "Remove a peer",
		Example:           "  weft peer rm host2",
		Args:              wantArgs(1, 1),
		ValidArgsFunction: a.completeArgs(peerNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkName("peer", args[0]); err != nil {
				return err
			}
			return a.done(a.client().RemovePeer(cmd.Context(), args[0]))
		},
	}
}

func peerLs(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "ls",
		Short:   "List the peers",
		Example: "  weft peer ls",
		Args:    wantArgs(0, 0),
		RunE: func(cmd *cobra.Command, args []string) error {
			ps, err := a.client().Peers(cmd.Context())
			if err != nil {
				return err
			}
			return a.print(ps, func(w io.Writer) { peerTable(w, "NAME", ps) })
		},
	}
}

func peerTable(w io.Writer, first string, ps []spec.PeerStatus) {
	var rows [][]string
	for _, p := range ps {
		rows = append(rows, []string{
			p.Name, p.Address.String(), p.Encap, p.Accel, p.State, roundTrip(p), fmt.Sprint(p.MTU), short(p.RxFrames), short(p.TxFrames), strings.Join(p.Networks, ","), peerReason(p),
		})
	}
	table(w, first+" ADDRESS ENCAP ACCEL STATE RTT MTU RX TX NETWORKS REASON", rows)
}

// roundTrip shows the round-trip time to a peer; "-" where it is not known.
func roundTrip(p spec.PeerStatus) string {
	if p.RTTMicros == 0 {
		return "-"
	}
	return (time.Duration(p.RTTMicros) * time.Microsecond).String()
}
