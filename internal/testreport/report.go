package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// event is one line of `go test -json`; see `go doc test2json`.
type event struct {
	Action, Package, Test, Output string
	ImportPath                    string // of build-output
	Elapsed                       float64
}

// report gathers events and prints each package as it ends.
type report struct {
	w        io.Writer
	packages map[string]*pkg // those that have not ended
	skipped  []string        // "package test: reason", in order
	passed   int
	failed   int
	broken   int // packages that failed
}

// pkg is what is known of a package under test.
type pkg struct {
	order  []string            // tests in the order of their first output; "" is the package itself
	output map[string][]string // of tests that have not passed
}

func newReport(w io.Writer) *report {
	return &report{w: w, packages: map[string]*pkg{}}
}

// read takes in events until r ends. Lines that are no JSON are printed as they are.
func (r *report) read(in io.Reader) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			fmt.Fprintln(r.w, lines.Text())
			continue
		}
		r.take(e)
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read test events: %w", err)
	}
	return nil
}

func (r *report) take(e event) {
	if e.Action == "build-output" {
		fmt.Fprint(r.w, e.Output)
		return
	}
	if e.Package == "" {
		return
	}
	p := r.packages[e.Package]
	if p == nil {
		p = &pkg{output: map[string][]string{}}
		r.packages[e.Package] = p
	}
	switch e.Action {
	case "output":
		p.add(e.Test, e.Output)
	case "pass", "fail", "skip":
		if e.Test == "" {
			r.end(p, e)
			delete(r.packages, e.Package)
			return
		}
		r.endTest(p, e)
	}
}

func (p *pkg) add(test, output string) {
	if _, seen := p.output[test]; !seen {
		p.order = append(p.order, test)
	}
	p.output[test] = append(p.output[test], output)
}

func (r *report) endTest(p *pkg, e event) {
	switch e.Action {
	case "pass":
		r.passed++
		delete(p.output, e.Test)
	case "fail":
		r.failed++ // its output is printed when the package ends
	case "skip":
		r.skipped = append(r.skipped, fmt.Sprintf("%s %s: %s", e.Package, e.Test, reason(p.output[e.Test])))
		delete(p.output, e.Test)
	}
}

// end prints the package, and where it failed what its tests said that did not pass.
func (r *report) end(p *pkg, e event) {
	switch e.Action {
	case "pass":
		fmt.Fprintf(r.w, "ok    %-32s %6.1fs\n", e.Package, e.Elapsed)
	case "fail":
		r.broken++
		fmt.Fprintf(r.w, "FAIL  %-32s %6.1fs\n", e.Package, e.Elapsed)
		for _, test := range p.order {
			for _, line := range p.output[test] {
				if !strings.HasPrefix(line, "=== ") {
					fmt.Fprint(r.w, "      ", line)
				}
			}
		}
	}
}

// reason finds what t.Skip was told among a test's output: the lines between
// its frame, "=== RUN" and "--- SKIP".
func reason(output []string) string {
	var said []string
	for _, line := range output {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "=== ") || strings.HasPrefix(line, "--- ") {
			continue
		}
		if _, text, ok := strings.Cut(line, ".go:"); ok { // file.go:12: text
			if _, text, ok = strings.Cut(text, ": "); ok {
				line = text
			}
		}
		said = append(said, line)
	}
	if len(said) == 0 {
		return "no reason given"
	}
	return strings.Join(said, " ")
}

// finish prints the sums and reports whether all is well. A package that never
// ended is not.
func (r *report) finish() bool {
	for name := range r.packages {
		r.broken++
		fmt.Fprintf(r.w, "FAIL  %s: no end of its tests was seen\n", name)
	}
	if len(r.skipped) > 0 {
		fmt.Fprintln(r.w, "skipped:")
		for _, s := range r.skipped {
			fmt.Fprintln(r.w, "  ", s)
		}
	}
	fmt.Fprintf(r.w, "%d passed, %d failed, %d skipped\n", r.passed, r.failed, len(r.skipped))
	return r.broken == 0 && r.failed == 0
}
