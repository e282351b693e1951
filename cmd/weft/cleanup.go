package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"weft/internal/control"
	"weft/internal/spec"
)

func cleanupCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cleanup",
		Short: "Take off the host what weft put around the switch",
		Long: `Take off the host everything that "weft expose" and "weft publish" put there, and
what a switch that is gone left behind: rules, interfaces of the host, changed
settings. It asks the switch where one runs, and does it alone, as root, where
none does. Containers keep their interfaces.`,
		Example: "  weft cleanup\n  sudo weft cleanup --state-dir /var/lib/weft",
		Args:    wantArgs(0, 0),
	}
	dir := cmd.Flags().String("state-dir", "", "`directory` of the switch's state, where none runs; default /var/lib/weft")
	_ = cmd.MarkFlagDirname("state-dir")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if cmd.Flags().Changed("state-dir") && *dir == "" {
			return usageError{errors.New("--state-dir: the path of the directory is empty")}
		}
		removed, err := a.cleanUp(cmd.Context(), *dir)
		got := spec.Cleaned{Removed: removed}
		if got.Removed == nil {
			got.Removed = []string{}
		}
		if perr := a.print(got, func(w io.Writer) {
			for _, what := range removed {
				fmt.Fprintln(w, oneLine("removed "+what))
			}
		}); err == nil {
			err = perr
		}
		return err
	}
	return cmd
}

// cleanUp asks the daemon, or does it where none answers.
func (a *app) cleanUp(ctx context.Context, dir string) (removed []string, err error) {
	if _, err := a.client().Status(ctx); err == nil {
		return a.client().Cleanup(ctx)
	}
	if err := checkCapabilities(); err != nil {
		return nil, err
	}
	return control.Clean(dir)
}
