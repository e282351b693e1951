package main

import (
	"errors"
	"math"
	"os"
	"path/filepath"
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

func TestSumUp(t *testing.T) {
	nan := math.NaN()
	systems := []system{
		{id: "bridge", name: "Bridge", group: oneHost}, {id: "weft-local", name: "Local", group: oneHost},
		{id: "vxlan", name: "VXLAN", group: twoHosts}, {id: "weft-gre", name: "GRE", group: twoHosts},
	}
	results := map[string]*result{
		"bridge":     {values: map[string][]float64{"tcp1": {8, 10, 12}, "p50": {30, 30, 30}}},
		"weft-local": {values: map[string][]float64{"tcp1": {4, 5, 12}, "p50": {60, nan, 15}}, failed: errors.New("no\nanswer")},
		"vxlan":      {values: map[string][]float64{"tcp1": {nan, nan, nan}}},
		"weft-gre":   {values: map[string][]float64{"tcp1": {2, nan, 3}}, path: "gre, egress"},
	}
	r := sumUp(systems, results)
	local := r.Systems[1].figureOf("tcp1")
	if local.Median != 5 || local.Min != 4 || local.Max != 12 || *local.Ratio != (spread{0.5, 0.5, 1}) {
		t.Errorf("local: got %+v, ratio %+v", local, local.Ratio)
	}
	if f := r.Systems[1].figureOf("p50"); *f.Ratio != (spread{1.25, 0.5, 2}) || len(f.Values) != 2 {
		t.Errorf("local, p50: got %+v, ratio %+v", f, f.Ratio)
	}
	if f := r.Systems[2].figureOf("tcp1"); f != nil {
		t.Errorf("a system that never ran has a figure: %+v", f)
	}
	if f := r.Systems[3].figureOf("tcp1"); f.Median != 2.5 || f.Ratio != nil {
		t.Errorf("without a reference: got %+v, want no ratio", f)
	}
	if len(r.Comparisons) != 1 || r.Comparisons[0].System != "Local" || r.Comparisons[0].Median != 0.5 {
		t.Errorf("comparisons: got %+v", r.Comparisons)
	}
	if err := r.failed(); err == nil || !strings.Contains(err.Error(), "measure Local:") {
		t.Errorf("failed: got %v, want an error that names the system", err)
	}
	r.Missing = []string{"e (not here)"}
	for form, write := range writers {
		var out strings.Builder
		if err := write(&out, r); err != nil {
			t.Errorf("%s: %v", form, err)
		}
		for _, text := range []string{"no answer", "e (not here)", "gre, egress"} {
			if !strings.Contains(out.String(), text) {
				t.Errorf("%s: %q is missing in\n%s", form, text, out.String())
			}
		}
	}
	dir := t.TempDir()
	for _, name := range []string{"README.md", "docs/benchmarks.md"} {
		_ = os.MkdirAll(filepath.Join(dir, "docs"), 0o755)
		if err := os.WriteFile(filepath.Join(dir, name), []byte("head\n<!-- figures: written by make bench-docs -->\nold\n<!-- end of figures -->\ntail\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := writeDocs(dir, r); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"README.md", "docs/benchmarks.md"} {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if s := string(got); err != nil || !strings.HasPrefix(s, "head\n") || !strings.HasSuffix(s, "\ntail\n") || strings.Contains(s, "old") || !strings.Contains(s, "| Local |") {
			t.Errorf("%s: got %v\n%s", name, err, s)
		}
	}
	for _, name := range []string{"tcp1.svg", "tcp1.png", "p50.svg", "bench.json"} {
		if st, err := os.Stat(filepath.Join(dir, "docs/benchmarks", name)); err != nil || st.Size() < 500 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestChoose(t *testing.T) {
	cannot := func() error { return errors.New("not here") }
	all := []system{{id: "a", name: "first one", needs: nothing}, {id: "b", name: "first two", needs: nothing}, {id: "c", name: "c", needs: cannot}}
	tests := []struct {
		only          []string
		want, missing int
		ok            bool
	}{
		{nil, 2, 1, true},
		{[]string{"a"}, 1, 0, true},
		{[]string{"first"}, 2, 0, true},
		{[]string{"b", "c"}, 1, 1, true},
		{[]string{"nope"}, 0, 0, false},
	}
	for _, tt := range tests {
		systems, missing, err := choose(all, tt.only)
		if len(systems) != tt.want || len(missing) != tt.missing || (err == nil) != tt.ok {
			t.Errorf("%v: got %d systems, %d missing, %v", tt.only, len(systems), len(missing), err)
		}
	}
}

func TestCost(t *testing.T) {
	before, err := cpuTime()
	if err != nil || before <= 0 {
		t.Errorf("CPU time: got %v, %v", before, err)
	}
	if mb, err := memory(os.Getpid(), "VmHWM"); err != nil || mb < 1 || mb > 10_000 {
		t.Errorf("memory: got %v, %v", mb, err)
	}
	if _, err := procTime(os.Getpid()); err != nil {
		t.Error(err)
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
		{"--seconds nan", false},
		{"-o yaml", false},
		{"--only vxlan,weft-gre --loads tcp1,rr", true},
		{"--only nope", false},
		{"--loads nope", false},
		{"--congestion reno", true},
		{"--congestion=", true},
		{"--congestion nope", false},
		{"growth --congestion reno", false},
		{"growth --only ports,routes", true},
		{"growth --only vxlan", false},
		{"growth --rounds 3", false},
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

func TestGrowthReport(t *testing.T) {
	r := growthReport{Curves: []curve{{ID: "ports", Of: "ports", Metrics: []growthMetric{{"attach", "attach", "ms", 1}, {"tcp", "TCP", "Gbit/s", 2}}, Points: []map[string]any{
		{"n": 1, "attach": 22.84}, {"n": 10, "attach": 24.9, "tcp": 9.5},
	}}}}
	for form, write := range growthWriters {
		var out strings.Builder
		if err := write(&out, r); err != nil || !strings.Contains(out.String(), "22.8") {
			t.Errorf("%s: %v\n%s", form, err, out.String())
		}
	}
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "docs"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "docs/benchmarks.md"), []byte("<!-- growth: written by make bench-docs -->\n<!-- end of growth -->\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := writeGrowthDocs(dir, r); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"growth-ports-attach.svg", "growth-ports-tcp.png", "growth.json"} {
		if st, err := os.Stat(filepath.Join(dir, "docs/benchmarks", name)); err != nil || st.Size() < 300 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSyntheticTable(t *testing.T) {
	table := syntheticTable(20_000)
	byLength := map[int]int{}
	for _, p := range table {
		if p != p.Masked() || !p.Addr().Is4() {
			t.Fatalf("%s is no prefix", p)
		}
		byLength[p.Bits()]++
	}
	if n := byLength[24]; n < 11_000 || n > 13_500 {
		t.Errorf("%d of 20,000 have length 24, want 6 in 10", n)
	}
	for i, a := range addressesIn(table, 64) {
		in := false
		for _, p := range table {
			in = in || p.Contains(a)
		}
		if !in {
			t.Errorf("address %d, %s, is in no prefix", i, a)
		}
	}
}
