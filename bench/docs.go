package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
)

// Marks in a document between which a generated part stands.
const (
	markBegin = "<!-- %s: written by make %s -->"
	markEnd   = "<!-- end of %s -->"
)

// writeDocs writes the results into the documents of the repository at root:
// the summary into README.md, everything into docs/benchmarks.md, figures and
// charts into docs/benchmarks/.
func writeDocs(root string, r report) error {
	dir := filepath.Join(root, "docs", "benchmarks")
	if err := plots(dir, r); err != nil {
		return err
	}
	var summary, all, figures bytes.Buffer
	r.summaryMarkdown(&summary)
	fmt.Fprint(&summary, "\n![TCP, one stream](docs/benchmarks/tcp1.svg)\n")
	if err := writeMarkdown(&all, r); err != nil {
		return err
	}
	for _, m := range r.measured() {
		fmt.Fprintf(&all, "\n![%s](benchmarks/%s.svg)\n", m.name, m.id)
	}
	if err := writeJSON(&figures, r); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "bench.json"), figures.Bytes(), 0o644); err != nil {
		return fmt.Errorf("write figures: %w", err)
	}
	if err := replacePart(filepath.Join(root, "README.md"), "figures", "bench-docs", summary.Bytes()); err != nil {
		return err
	}
	return replacePart(filepath.Join(root, "docs", "benchmarks.md"), "figures", "bench-docs", all.Bytes())
}

// writeGrowthDocs writes the curves into docs/benchmarks.md, and charts beside it.
func writeGrowthDocs(root string, r growthReport) error {
	dir := filepath.Join(root, "docs", "benchmarks")
	if err := growthPlots(dir, r); err != nil {
		return err
	}
	var all, figures bytes.Buffer
	if err := growthWriters["markdown"](&all, r); err != nil {
		return err
	}
	fmt.Fprintln(&all)
	for _, c := range r.Curves {
		for _, m := range c.Metrics {
			fmt.Fprintf(&all, "![%s by %s](benchmarks/growth-%s-%s.svg)\n", m.Name, c.Of, c.ID, m.ID)
		}
	}
	if err := writeJSON(&figures, r); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "growth.json"), figures.Bytes(), 0o644); err != nil {
		return fmt.Errorf("write figures: %w", err)
	}
	return replacePart(filepath.Join(root, "docs", "benchmarks.md"), "growth", "bench-docs", all.Bytes())
}

// replacePart puts text between the marks of a document.
func replacePart(path, part, target string, text []byte) error {
	old, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read document: %w", err)
	}
	begin, end := fmt.Sprintf(markBegin, part, target), fmt.Sprintf(markEnd, part)
	head, rest, found := bytes.Cut(old, []byte(begin))
	_, tail, ended := bytes.Cut(rest, []byte(end))
	if !found || !ended {
		return fmt.Errorf("write %s: want the lines %q and %q in it, to know the place", path, begin, end)
	}
	text = bytes.Join([][]byte{head, []byte(begin), []byte("\n\n"), bytes.TrimSpace(text), []byte("\n\n"), []byte(end), tail}, nil)
	if err := os.WriteFile(path, text, 0o644); err != nil {
		return fmt.Errorf("write document: %w", err)
	}
	return nil
}
