// Command testreport reads what `go test -json` writes and prints what a person
// wants to know: one line for each package, everything that failing tests said,
// and at the end which tests were skipped and why, which plain `go test` hides.
// It ends with status 1 when anything failed.
package main

import (
	"fmt"
	"os"
)

func main() {
	r := newReport(os.Stdout)
	if err := r.read(os.Stdin); err != nil {
		fmt.Fprintf(os.Stderr, "testreport: %v\n", err)
		os.Exit(1)
	}
	if !r.finish() {
		os.Exit(1)
	}
}
