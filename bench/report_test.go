package main

import (
	"errors"
	"strings"
	"testing"
)

func TestMedian(t *testing.T) {
	tests := []struct {
		in   []float64
		want float64
	}{
		{[]float64{3}, 3},
		{[]float64{9, 1, 2}, 2},
		{[]float64{4, 1, 2, 9}, 3},
	}
	for _, tt := range tests {
		if got := median(tt.in); got != tt.want {
			t.Errorf("median(%v): got %v, want %v", tt.in, got, tt.want)
		}
	}
}

func TestRows(t *testing.T) {
	systems := []system{
		{name: "a", group: "one host"}, {name: "b", group: "one host"},
		{name: "c", group: "two hosts"}, {name: "d", group: "two hosts"},
	}
	loads := []load{{name: "tcp", unit: "Gbit/s"}}
	cells := map[[2]string]*cell{
		{"a", "tcp"}: {values: []float64{8, 10, 12}},
		{"b", "tcp"}: {values: []float64{5}},
		{"c", "tcp"}: {failed: errors.New("no answer")},
		{"d", "tcp"}: {values: []float64{2}},
	}
	got := rows(systems, loads, cells)
	want := []struct {
		median, ratio float64
		failed        string
	}{{10, 1, ""}, {5, 0.5, ""}, {0, 0, "no answer"}, {2, 0, ""}}
	if len(got) != len(want) {
		t.Fatalf("got %d rows, want %d", len(got), len(want))
	}
	for i, w := range want {
		if g := got[i]; g.Median != w.median || g.Ratio != w.ratio || g.Failed != w.failed {
			t.Errorf("row %d: got %v %v %q, want %v %v %q", i, g.Median, g.Ratio, g.Failed, w.median, w.ratio, w.failed)
		}
	}
	if err := (report{Rows: got}).failed(); err == nil || !strings.Contains(err.Error(), "measure c:") {
		t.Errorf("failed: got %v, want an error that names c", err)
	}
	for form, write := range writers {
		var out strings.Builder
		if err := write(&out, report{Rows: got, Missing: []string{"e (not here)"}}); err != nil {
			t.Errorf("%s: %v", form, err)
		}
		for _, text := range []string{"no answer", "e (not here)"} {
			if !strings.Contains(out.String(), text) {
				t.Errorf("%s: %q is missing in\n%s", form, text, out.String())
			}
		}
	}
}

func TestParse(t *testing.T) {
	tests := []struct {
		args string
		ok   bool
	}{
		{"", true},
		{"--rounds 2 --seconds 1 -o json", true},
		{"--rounds 0", false},
		{"--seconds 61", false},
		{"-o yaml", false},
		{"--nope", false},
		{"extra", false},
	}
	for _, tt := range tests {
		_, err := parse(strings.Fields(tt.args), &strings.Builder{})
		if got := err == nil; got != tt.ok {
			t.Errorf("parse(%q): got error %v, want ok %v", tt.args, err, tt.ok)
		}
	}
}
