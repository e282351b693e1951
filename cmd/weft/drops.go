package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"weft/internal/drop"
	"weft/internal/spec"
)

func dropsCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "drops",
		Short: "Show how many frames were dropped where and why",
		Long: `Show how many frames were dropped, per port and peer ("switch" is what belongs
to neither), by reason. Every frame that enters is delivered, answered, or counted here.`,
		Example: "  weft drops\n  weft drops -o json",
		Args:    wantArgs(0, 0),
		RunE: func(cmd *cobra.Command, args []string) error {
			ds, err := a.client().Drops(cmd.Context())
			if err != nil {
				return err
			}
			return a.print(ds, func(w io.Writer) { dropTable(w, ds) })
		},
	}
}

// dropTable shows what was dropped, and then names the reasons for which nothing was.
func dropTable(w io.Writer, ds []spec.Drop) {
	var rows [][]string
	seen := map[string]bool{}
	for _, d := range ds {
		if d.Count > 0 {
			rows = append(rows, []string{d.At, d.Reason, fmt.Sprint(d.Count)})
			seen[d.Reason] = true
		}
	}
	if len(rows) > 0 {
		table(w, "AT REASON COUNT", rows)
		fmt.Fprintln(w)
	}
	var zero []string
	for _, r := range drop.All() {
		if !seen[r.String()] {
			zero = append(zero, r.String())
		}
	}
	wrap(w, "none:", zero, 96)
}
