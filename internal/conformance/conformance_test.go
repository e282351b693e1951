package main

import (
	"os"
	"strings"
	"testing"

	"weft/internal/lab"
	"weft/internal/lab/ovs"
)

// Every row is answered as expected, and every difference of a reference has a
// reason.
func TestConformance(t *testing.T) {
	lab.Need(t, "iproute2", "ip")
	ovs.Need(t)
	l := lab.ForTest(t)
	dir, err := os.MkdirTemp("", "weft") // short: sockets are in it
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	program, err := build(dir)
	if err != nil {
		t.Fatal(err)
	}
	results, err := conformance(t.Context(), l, program, dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		for _, a := range r.wrong() {
			t.Errorf("%s %s: got %q, want %q", a.row.id, a.row.what, a.weft, a.row.want)
		}
		for _, d := range r.differences() {
			if d.why == "" {
				t.Errorf("%s %s: %s says %q, without a reason in the table", d.answer.row.id, d.answer.row.what, d.system, d.said)
			}
		}
	}
	t.Log(summary(results))
}

// A wrong answer is noticed, and shown.
func TestReport(t *testing.T) {
	r := result{
		section: section{number: "1", title: "T", absent: []absent{{"X2", "other", "because"}}},
		answers: []answer{{row: &row{id: "X1", what: "thing", want: "forward: a", linux: "reason"}, weft: "drop l3_src", linux: "forward: a"}},
	}
	if len(r.wrong()) != 1 || len(r.differences()) != 1 {
		t.Errorf("got %d wrong and %d different, want 1 each", len(r.wrong()), len(r.differences()))
	}
	for _, print := range []func(*strings.Builder){
		func(b *strings.Builder) { printTable(b, []result{r}) }, func(b *strings.Builder) { printMarkdown(b, []result{r}) },
	} {
		var b strings.Builder
		print(&b)
		for _, want := range []string{"X1", "**no**: drop l3_src", "X2", "because", "reason", "1 rows, 0 as expected"} {
			if !strings.Contains(b.String(), want) {
				t.Errorf("report lacks %q:\n%s", want, b.String())
			}
		}
	}
}
