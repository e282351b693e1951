package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"weft/internal/spec"
)

// standardInput stands for itself as the name of a file.
const standardInput = "-"

func applyCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "apply -f FILE",
		Short: "Make the whole host what a file says",
		Long: `Make the whole host what a file says, in the form that weft export prints: what
it names is added or changed, what it leaves out is removed, and what is so
already is not touched. It prints each difference, + added, ~ changed, - removed.
Either all of it is done or nothing.

What the flags or the file of weft run declare is changed there; the file may
name it as it is, or leave it out.`,
		Example: `  weft export > host.yaml
  weft apply -f host.yaml --dry-run
  weft apply -f host.yaml
  weft apply -f - < host.yaml`,
		Args: wantArgs(0, 0),
	}
	file := cmd.Flags().StringP("file", "f", "", "YAML `file`; - reads standard input")
	dryRun := cmd.Flags().Bool("dry-run", false, "only say what would change")
	_ = cmd.MarkFlagFilename("file", "yaml", "yml")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *file == "" {
			return usageError{errors.New("name the file with -f FILE; - reads standard input")}
		}
		name, text, err := readHost(*file, cmd.InOrStdin())
		if err != nil {
			return err
		}
		got, err := a.client().Apply(cmd.Context(), name, text, *dryRun)
		if err != nil {
			return err
		}
		return a.print(got, func(w io.Writer) {
			for _, d := range got.Differences {
				fmt.Fprintln(w, oneLine(d.String()))
			}
			if len(got.Differences) == 0 {
				fmt.Fprintln(w, "no difference")
			}
		})
	}
	return cmd
}

// readHost reads a file, or stdin, and returns how errors name it.
func readHost(file string, stdin io.Reader) (name, text string, err error) {
	name, from := file, stdin
	if file == standardInput {
		name = "stdin"
	} else {
		f, err := os.Open(file)
		if err != nil {
			return "", "", fmt.Errorf("apply: %w; name a YAML file with -f", err)
		}
		defer f.Close()
		from = f
	}
	b, err := io.ReadAll(io.LimitReader(from, spec.ConfigMax+1))
	if err != nil {
		return "", "", fmt.Errorf("apply: read %s: %w; name a YAML file with -f", name, err)
	}
	if len(b) > spec.ConfigMax { // as text it may be too long for the daemon to say so
		_, err := spec.ParseHost(name, b)
		return "", "", err
	}
	return name, string(b), nil
}

func exportCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Print the whole host as YAML, for weft apply",
		Long: `Print the whole host as YAML: networks, peers, routes, attachments and static
FDB entries, those that are declared like all others. weft apply makes the same
of another switch with the same containers.

With --routes the static routes go to a file of their own, in the form of weft
route add --file, and the YAML says routes: keep. So it stays small where the
routes are many.`,
		Example: `  weft export > host.yaml
  weft export --routes routes.txt > host.yaml`,
		Args: wantArgs(0, 0),
	}
	file := cmd.Flags().String("routes", "", "write the routes to this `file`")
	_ = cmd.MarkFlagFilename("routes")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		apart := cmd.Flags().Changed("routes")
		if apart && *file == "" {
			return usageError{errors.New("--routes: the path of the file is empty")}
		}
		text, err := a.client().Export(cmd.Context(), apart)
		if err != nil {
			return err
		}
		if apart {
			if err := a.writeRoutes(cmd.Context(), *file); err != nil {
				return fmt.Errorf("write routes: %w", err)
			}
		}
		return a.print(map[string]string{"yaml": text}, func(w io.Writer) { fmt.Fprint(w, text) })
	}
	return cmd
}

// writeRoutes writes the static routes to a file that weft route add reads. It
// does not touch the file before it has them all.
func (a *app) writeRoutes(ctx context.Context, file string) error {
	var text bytes.Buffer
	for r, err := range a.client().Routes(ctx, "") {
		if err != nil {
			return err
		}
		if r.Kind == "static" && (r.Origin == "declared" || r.Origin == "api") { // others come with what they belong to
			fmt.Fprintf(&text, "%s via %s vrf %s\n", r.Prefix, r.Via, r.VRF)
		}
	}
	return os.WriteFile(file, text.Bytes(), 0o666)
}
