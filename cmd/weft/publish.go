package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"weft/internal/api"
	"weft/internal/spec"
)

func publishCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "publish NETWORK TARGET [HOSTADDR:]PORT[-PORT]:PORT[-PORT][/tcp|udp]",
		Short: "Lead ports of the host to a container",
		Long: `Lead ports of the host to a container that is attached here, for clients on the
LAN, whose addresses the container sees, for other containers, and for the host
itself. The left port is the host's, the right one the container's. A network
that is not exposed yet is exposed for as long as it has published ports.
The ports stay published while the container is away.`,
		Example: `  weft publish blue netns:web 8080:80
  weft publish blue netns:web 192.168.18.16:53:53/udp
  weft publish blue netns:web [2001:db8::16]:5000-5009:5000-5009/udp
  weft publish ls`,
		Args:              wantArgs(3, 3),
		ValidArgsFunction: a.completeArgs(networkNames, attachedTargets),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := spec.PublishFrom(args[0], args[1], args[2])
			if err != nil {
				return usageError{err}
			}
			got, err := a.client().Publish(cmd.Context(), p)
			if err != nil {
				return err
			}
			return a.print(got, func(w io.Writer) {
				line := fmt.Sprintf("%s: leads to %s of network %s", got.Ports(), got.Target, got.Network)
				if got.Problem != "" {
					line += "; " + got.Problem
				}
				fmt.Fprintln(w, oneLine(line))
			})
		},
	}
	cmd.AddCommand(&cobra.Command{
		Use:     "ls",
		Short:   "List the published ports",
		Example: "  weft publish ls",
		Args:    wantArgs(0, 0),
		RunE: func(cmd *cobra.Command, args []string) error {
			ps, err := a.client().Published(cmd.Context())
			if err != nil {
				return err
			}
			return a.print(ps, func(w io.Writer) { publishTable(w, ps) })
		},
	})
	return cmd
}

func publishTable(w io.Writer, ps []spec.PublishStatus) {
	if len(ps) == 0 {
		fmt.Fprintln(w, "no ports are published: weft publish NETWORK TARGET PORT:PORT does that")
		return
	}
	var rows [][]string
	for _, p := range ps {
		rows = append(rows, []string{p.Network, p.Target, p.Ports(), p.Problem})
	}
	table(w, "NETWORK TARGET PORTS PROBLEM", rows)
}

func unpublishCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "unpublish NETWORK TARGET [PORTS]",
		Short:             "Undo weft publish",
		Long:              "Take published ports away: those that are named as they were published, or all of the target.",
		Example:           "  weft unpublish blue netns:web 8080:80\n  weft unpublish blue netns:web",
		Args:              wantArgs(2, 3),
		ValidArgsFunction: a.completeArgs(networkNames, publishedTargets, publishedPorts),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkName("network", args[0]); err != nil {
				return err
			}
			if _, err := spec.ParseTarget(args[1]); err != nil {
				return usageError{err}
			}
			ports := ""
			if len(args) == 3 {
				p, err := spec.ParsePorts(args[2])
				if err != nil {
					return usageError{err}
				}
				ports = p.Ports()
			}
			return a.done(a.client().Unpublish(cmd.Context(), args[0], args[1], ports))
		},
	}
}

func publishedTargets(ctx context.Context, c *api.Client) (list []string) {
	ps, _ := c.Published(ctx)
	for _, p := range ps {
		list = append(list, p.Target)
	}
	return list
}

func publishedPorts(ctx context.Context, c *api.Client) (list []string) {
	ps, _ := c.Published(ctx)
	for _, p := range ps {
		list = append(list, p.Ports())
	}
	return list
}
