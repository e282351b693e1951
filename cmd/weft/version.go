package main

import (
	"cmp"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// version is set by the linker: -ldflags "-X main.version=1.2.3".
var version string

func versionCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Show the version of weft, of Go and of the kernel",
		Example: "  weft version",
		Args:    wantArgs(0, 0),
		RunE: func(cmd *cobra.Command, args []string) error {
			v := struct {
				Version string `json:"version"`
				Go      string `json:"go"`
				Kernel  string `json:"kernel"`
			}{weftVersion(), runtime.Version(), kernelRelease()}
			return a.print(v, func(w io.Writer) { fmt.Fprintf(w, "weft %s, %s, kernel %s\n", v.Version, v.Go, v.Kernel) })
		},
	}
}

// weftVersion returns what the linker was told, else what the go tool knows of
// the module, else devel.
func weftVersion() string {
	built := ""
	if info, ok := debug.ReadBuildInfo(); ok {
		built = strings.Trim(info.Main.Version, "()")
	}
	return cmp.Or(version, built, "devel")
}

func kernelRelease() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(u.Release[:])
}
