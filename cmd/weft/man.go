//go:build man

package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra/doc"
)

// With the build tag man, the program is another: it writes the manual page of
// every command into the directory os.Args[1], for the version os.Args[2]. weft
// itself links none of it. SOURCE_DATE_EPOCH sets the date of the pages.
func main() {
	if err := writeManual(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func writeManual(dir, version string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	root := newRoot(io.Discard, io.Discard)
	root.DisableAutoGenTag = true
	header := &doc.GenManHeader{Section: "8", Source: "weft " + version, Manual: "weft"}
	if os.Getenv("SOURCE_DATE_EPOCH") == "" {
		now := time.Now()
		header.Date = &now
	}
	return doc.GenManTree(root, header, dir)
}
