package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"weft/internal/api"
	"weft/internal/spec"
)

func routeCommand(a *app) *cobra.Command {
	return group("route", "Routes between networks and hosts: add, replace, remove, show", routeAdd(a, false), routeAdd(a, true), routeRm(a), routeShow(a))
}

// routeAdd is `route add` and, where replace is set, `route replace`.
func routeAdd(a *app, replace bool) *cobra.Command {
	verb, short := "add", "Lead a prefix to a peer or a container"
	note := "Adding what is there already is no error; with another next hop it is."
	if replace {
		verb, short = "replace", "Lead a prefix to a peer or a container, whether it has a route or not"
		note = "No packet is lost on the way from the old next hop to the new one."
	}
	cmd := &cobra.Command{
		Use:   verb + " PREFIX via PEER|ADDR",
		Short: short,
		Long: `Lead a prefix to a peer, by its name or its underlay address, or to a container
that routes, by its address. 0.0.0.0/0 and ::/0 are the default routes. The
prefixes of networks with a gateway are routed without being told. ` + note + `

With --file the routes of a file take effect in one step, or none of them: one a
line, as PREFIX via PEER|ADDR [vrf NAME]. What a line leaves out stands on the
command line; what follows a # is passed over. A full Internet table takes
seconds.`,
		Example: strings.ReplaceAll(`  weft route add 172.17.2.0/24 via host2
  weft route add 172.17.2.0/24 via 192.168.18.17
  weft route add 0.0.0.0/0 via 10.1.0.9 --vrf red
  weft route add --file routes.txt
  zcat prefixes.gz | weft route add --file - via host2`, "route add", "route "+verb),
		Args:              wantArgs(0, 3),
		ValidArgsFunction: a.completeArgs(nil, words("via"), peerNames),
	}
	vrf := a.vrfFlag(cmd)
	file := cmd.Flags().StringP("file", "f", "", "`path` of a file of routes; - for standard input")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if cmd.Flags().Changed("file") {
			return a.addRoutes(cmd, *file, args, vrf, replace)
		}
		if err := wantArgs(3, 3)(cmd, args); err != nil {
			return usageError{err}
		}
		if args[1] != "via" {
			return usageError{fmt.Errorf("want %q between prefix and next hop, got %q", "via", args[1])}
		}
		items, err := vrf.items()
		if err != nil {
			return err
		}
		r, err := spec.RouteFrom(args[0], append([]string{args[2]}, items...))
		if err != nil {
			return usageError{err}
		}
		got, err := a.client().AddRoute(cmd.Context(), r, replace)
		if err != nil {
			return err
		}
		return a.print(got, func(w io.Writer) {
			fmt.Fprintln(w, oneLine(fmt.Sprintf("%s: via %s, vrf %s", got.Prefix, got.Via, got.VRF)))
		})
	}
	return cmd
}

// addRoutes makes the routes of a file. args are empty, or "via" and a next hop.
func (a *app) addRoutes(cmd *cobra.Command, path string, args []string, vrf vrfFlag, replace bool) error {
	var common spec.Route
	switch {
	case len(args) == 2 && args[0] == "via":
		common.Via = args[1]
	case len(args) != 0:
		return usageError{fmt.Errorf("with --file want nothing, or via PEER|ADDR, got %q", strings.Join(args, " "))}
	}
	var err error
	if common.VRF, err = vrf.name(); err != nil {
		return err
	}
	from := cmd.InOrStdin()
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return fmt.Errorf("read routes: %w", err)
		}
		defer f.Close()
		from = f
	}
	got, err := a.client().AddRoutes(cmd.Context(), from, common, replace)
	if err != nil {
		return err
	}
	return a.print(got, func(w io.Writer) {
		fmt.Fprintf(w, "%d routes added, %d replaced, %d were there\n", got.Added, got.Replaced, got.Unchanged)
	})
}

func routeRm(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:               "rm PREFIX",
		Short:             "Remove a route",
		Example:           "  weft route rm 172.17.2.0/24\n  weft route rm 0.0.0.0/0 --vrf red",
		Args:              wantArgs(1, 1),
		ValidArgsFunction: a.completeArgs(staticPrefixes),
	}
	vrf := a.vrfFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		prefix, err := spec.ParseRoutePrefix(args[0])
		if err != nil {
			return usageError{fmt.Errorf("route %q: %w", args[0], err)}
		}
		name, err := vrf.name()
		if err != nil {
			return err
		}
		return a.done(a.client().RemoveRoute(cmd.Context(), prefix, name))
	}
	return cmd
}

func routeShow(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show [ADDR]",
		Short: "Show the routes, or the one that leads to an address",
		Example: `  weft route show
  weft route show 172.17.2.5
  weft route show --vrf red`,
		Args: wantArgs(0, 1),
	}
	vrf := a.vrfFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		name, err := vrf.name()
		if err != nil {
			return err
		}
		if len(args) == 0 {
			return a.printRoutes(a.client().Routes(cmd.Context(), name))
		}
		to, err := spec.ParseRouteAddr(args[0])
		if err != nil {
			return usageError{err}
		}
		row, err := a.client().RouteTo(cmd.Context(), to, name)
		return a.printRoutes(func(yield func(spec.RouteStatus, error) bool) { yield(row, err) })
	}
	return cmd
}

// printRoutes prints routes as they come: a million are in memory as text alone.
func (a *app) printRoutes(routes iter.Seq2[spec.RouteStatus, error]) error {
	var out bytes.Buffer
	add, end := routeLines(&out)
	if a.output == "json" {
		add, end = routeList(&out)
	}
	for r, err := range routes {
		if err != nil {
			return err
		}
		add(r)
	}
	end()
	if _, err := a.stdout.Write(out.Bytes()); err != nil {
		return fmt.Errorf("print answer: %w", err)
	}
	return nil
}

// routeLines prints routes as a table.
func routeLines(out *bytes.Buffer) (add func(spec.RouteStatus), end func()) {
	var t *columns
	add = func(r spec.RouteStatus) {
		if t == nil {
			t = newColumns(out, "PREFIX VIA KIND VRF NETWORK PROBLEM")
		}
		t.add(r.Prefix.String(), r.Via, r.Kind, r.VRF, r.Network, r.Problem)
	}
	return add, func() {
		if t == nil {
			fmt.Fprintln(out, "no routes: a network with a gateway has one, `weft route add PREFIX via PEER` makes one")
			return
		}
		t.flush()
	}
}

// routeList prints routes as print does a slice of them.
func routeList(out *bytes.Buffer) (add func(spec.RouteStatus), end func()) {
	enc := json.NewEncoder(out)
	enc.SetIndent("  ", "  ")
	enc.SetEscapeHTML(false)
	out.WriteByte('[')
	add = func(r spec.RouteStatus) {
		if out.Len() > 1 {
			out.Truncate(out.Len() - 1) // the end of the line
			out.WriteByte(',')
		}
		out.WriteString("\n  ")
		_ = enc.Encode(r) // it has a JSON form
	}
	return add, func() { out.WriteString("]\n") }
}

// vrfFlag is the flag --vrf of a command.
type vrfFlag struct {
	flags *pflag.FlagSet
	value *string
}

func (a *app) vrfFlag(cmd *cobra.Command) vrfFlag {
	value := cmd.Flags().String("vrf", "", "`name`: where there are several vrfs")
	_ = cmd.RegisterFlagCompletionFunc("vrf", a.completeArgs(vrfNames))
	return vrfFlag{cmd.Flags(), value}
}

// name returns the flag's value, which is empty where it does not stand.
func (f vrfFlag) name() (string, error) {
	if !f.flags.Changed("vrf") {
		return "", nil
	}
	if *f.value == "" {
		return "", usageError{errors.New("--vrf: the name is empty; leave it out where there is one vrf")}
	}
	return *f.value, checkName("vrf", *f.value)
}

// items returns the flag as items of an option list.
func (f vrfFlag) items() ([]string, error) {
	name, err := f.name()
	if name == "" || err != nil {
		return nil, err
	}
	return []string{"vrf=" + name}, nil
}

// words completes to the same words always.
func words(list ...string) lister {
	return func(context.Context, *api.Client) []string { return list }
}

// staticPrefixes are those of routes that can be removed.
func staticPrefixes(ctx context.Context, c *api.Client) []string {
	var list []string
	for r, err := range c.Routes(ctx, "") {
		if err == nil && r.Kind == "static" {
			list = append(list, r.Prefix.String())
		}
	}
	return list
}

// vrfNames are those that a network names, or has for itself.
func vrfNames(ctx context.Context, c *api.Client) []string {
	ns, _ := c.Networks(ctx)
	var list []string
	seen := map[string]bool{}
	for _, n := range ns {
		name := n.VRF
		if name == "" && len(n.Gateways) > 0 {
			name = n.Name
		}
		if name != "" && !seen[name] {
			seen[name], list = true, append(list, name)
		}
	}
	return list
}
