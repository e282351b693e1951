package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"weft/internal/api"
	"weft/internal/spec"
)

func exposeCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "expose NETWORK [ADDR/LEN]...",
		Short: "Let the host, and the world beyond it, take part in a network",
		Long: `Give the host an address in a network, on an interface of its own called
weft-NETWORK. The host reaches the network's containers and every prefix that the
network is routed to, on other hosts too; the containers reach the host, and
whatever it reaches, behind its address (SNAT).
Without an address the host gets the next free one of each prefix. "weft hide"
puts everything back.`,
		Example: `  weft expose blue
  weft expose blue 10.1.255.254/16 fd00:1::fe/64
  weft expose blue --no-snat`,
		Args:              wantArgs(1, -1),
		ValidArgsFunction: a.completeArgs(networkNames),
	}
	noSNAT := cmd.Flags().Bool("no-snat", false, "route only: others must know the way to the containers, and may start connections to them")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		items := args[1:]
		if *noSNAT {
			items = append(items, "no-snat")
		}
		e, err := spec.ExposeFrom(args[0], items)
		if err != nil {
			return usageError{err}
		}
		got, err := a.client().Expose(cmd.Context(), e)
		if err != nil {
			return err
		}
		return a.print(got, func(w io.Writer) {
			fmt.Fprintln(w, oneLine(fmt.Sprintf("%s: the host is %s on %s, MTU %d", got.Network, join(got.Addresses), got.IfName, got.MTU)))
		})
	}
	return cmd
}

func hideCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "hide NETWORK",
		Short:             "Undo weft expose",
		Long:              "Take the host out of a network, and put its rules, routes and settings back as they were.",
		Example:           "  weft hide blue",
		Args:              wantArgs(1, 1),
		ValidArgsFunction: a.completeArgs(exposedNetworks),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkName("network", args[0]); err != nil {
				return err
			}
			return a.done(a.client().Hide(cmd.Context(), args[0]))
		},
	}
}

// exposedNetworks are those that the host has a port in.
func exposedNetworks(ctx context.Context, c *api.Client) []string {
	ps, _ := c.Ports(ctx)
	var names []string
	for _, p := range ps {
		if p.Kind == "host" {
			names = append(names, p.Network)
		}
	}
	return names
}
