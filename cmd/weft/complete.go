package main

import (
	"context"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"weft/internal/api"
)

// completeTimeout is how long a shell waits at most for the daemon's names.
const completeTimeout = 300 * time.Millisecond

// A lister names what may stand in one place of a command line.
type lister func(ctx context.Context, c *api.Client) []string

// completeArgs completes each argument by its lister; the last one stands for
// itself only. A daemon that does not answer has no names.
func (a *app) completeArgs(by ...lister) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) >= len(by) || by[len(args)] == nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(context.Background(), completeTimeout)
		defer cancel()
		var fit []string
		for _, name := range by[len(args)](ctx, a.client()) {
			if strings.HasPrefix(name, toComplete) {
				fit = append(fit, name)
			}
		}
		return fit, cobra.ShellCompDirectiveNoFileComp
	}
}

func networkNames(ctx context.Context, c *api.Client) []string {
	ns, _ := c.Networks(ctx)
	var names []string
	for _, n := range ns {
		names = append(names, n.Name)
	}
	return names
}

func peerNames(ctx context.Context, c *api.Client) []string {
	ps, _ := c.Peers(ctx)
	var names []string
	for _, p := range ps {
		names = append(names, p.Name)
	}
	return names
}

func attachedTargets(ctx context.Context, c *api.Client) []string {
	ps, _ := c.Ports(ctx)
	var targets []string
	for _, p := range ps {
		targets = append(targets, p.Target)
	}
	return targets
}

// destinations are the ports and peers that an FDB entry can point to.
func destinations(ctx context.Context, c *api.Client) []string {
	ps, _ := c.Ports(ctx)
	var names []string
	for _, p := range ps {
		names = append(names, p.Name)
	}
	for _, name := range peerNames(ctx, c) {
		names = append(names, "peer:"+name)
	}
	return names
}

// namespaces are those of ip-netns(8) on this host.
func namespaces(context.Context, *api.Client) []string {
	entries, _ := os.ReadDir("/run/netns")
	var targets []string
	for _, e := range entries {
		targets = append(targets, "netns:"+e.Name())
	}
	return targets
}
