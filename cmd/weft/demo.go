package main

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"weft/internal/demo"
)

func demoCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "Show two hosts and three containers at work, on this machine",
		Long: `Show two hosts and three containers at work, on this machine: network
namespaces with two real switches in them, pings, data both ways, throughput,
and what the switches know. Everything is gone afterwards, also after Ctrl-C. It
takes about 15 seconds, needs root, and touches nothing that is there already.`,
		Example: "  sudo weft demo",
		Args:    wantArgs(0, 0),
		RunE: func(cmd *cobra.Command, args []string) error {
			program, err := os.Executable()
			if err != nil {
				return fmt.Errorf("find own program: %w", err)
			}
			// Output that nobody reads (weft demo | head) ends the demo in good order.
			signal.Ignore(syscall.SIGPIPE)
			return demo.Run(cmd.Context(), demo.Options{Program: program, Out: a.stdout, Color: isTerminal(a.stdout)})
		},
	}
}

// isTerminal reports whether w shows colours: it is a terminal, and the user
// did not ask for none (NO_COLOR).
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
