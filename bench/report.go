package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"
)

// report is the result of a run.
type report struct {
	Machine     hostInfo       `json:"machine"`
	Command     string         `json:"command"`
	Rounds      int            `json:"rounds"`
	Congestion  string         `json:"congestion"` // of TCP; empty: the system's
	Missing     []string       `json:"left_out"`
	Systems     []systemReport `json:"systems"`
	Comparisons []ratioReport  `json:"comparisons"`
}

// systemReport is what was measured of one system.
type systemReport struct {
	ID      string   `json:"id"`
	Name    string   `json:"name"`
	Group   string   `json:"group"`
	Path    string   `json:"path,omitempty"` // that it took, in its own words
	Figures []figure `json:"figures"`
	Failed  string   `json:"failed,omitempty"` // why the last round that failed did
}

// figure is one metric of a system. Ratio is the median of the ratios, round by
// round, to the reference of the group; nil where there is none.
type figure struct {
	Metric string    `json:"metric"`
	Unit   string    `json:"unit"`
	Median float64   `json:"median"`
	Min    float64   `json:"min"`
	Max    float64   `json:"max"`
	Values []float64 `json:"values"`
	Ratio  *spread   `json:"ratio,omitempty"`
}

// spread is a median with its extremes.
type spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// ratioReport is one of comparisons.
type ratioReport struct {
	Metric    string `json:"metric"`
	System    string `json:"system"`
	Reference string `json:"reference"`
	Lower     bool   `json:"lower_is_better,omitempty"`
	spread
}

type hostInfo struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Kernel string `json:"kernel"`
	Go     string `json:"go"`
	Weft   string `json:"weft"`
	Date   string `json:"date"`
}

// sumUp makes a report of what was measured.
func sumUp(systems []system, results map[string]*result) report {
	var r report
	for _, s := range systems {
		res := results[s.id]
		sr := systemReport{ID: s.id, Name: s.name, Group: s.group, Path: res.path}
		if res.failed != nil {
			sr.Failed = oneLine(res.failed.Error())
		}
		for _, m := range metrics {
			good := numbers(res.values[m.id])
			if len(good) == 0 {
				continue
			}
			f := figure{Metric: m.id, Unit: m.unit, Values: good}
			sp := spreadOf(good)
			f.Median, f.Min, f.Max = sp.Median, sp.Min, sp.Max
			if ref := results[references[s.group]]; ref != nil {
				f.Ratio = ratios(res.values[m.id], ref.values[m.id])
			}
			sr.Figures = append(sr.Figures, f)
		}
		r.Systems = append(r.Systems, sr)
	}
	for _, c := range comparisons {
		of, to := results[c.system], results[c.reference]
		if of == nil || to == nil {
			continue
		}
		if sp := ratios(of.values[c.metric], to.values[c.metric]); sp != nil {
			m := metricOf(c.metric)
			r.Comparisons = append(r.Comparisons, ratioReport{m.name, nameOf(systems, c.system), nameOf(systems, c.reference), m.lower, *sp})
		}
	}
	return r
}

func metricOf(id string) metric {
	return metrics[slices.IndexFunc(metrics, func(m metric) bool { return m.id == id })]
}

func nameOf(systems []system, id string) string {
	return systems[slices.IndexFunc(systems, func(s system) bool { return s.id == id })].name
}

// ratios compares two systems round by round, where both went well.
func ratios(of, to []float64) *spread {
	var rs []float64
	for i := range min(len(of), len(to)) {
		if r := of[i] / to[i]; !math.IsNaN(r) && !math.IsInf(r, 0) {
			rs = append(rs, r)
		}
	}
	if len(rs) == 0 {
		return nil
	}
	sp := spreadOf(rs)
	return &sp
}

// numbers returns what is one.
func numbers(values []float64) (good []float64) {
	for _, v := range values {
		if !math.IsNaN(v) {
			good = append(good, v)
		}
	}
	return good
}

func spreadOf(values []float64) spread {
	return spread{median(values), slices.Min(values), slices.Max(values)}
}

// median returns the middle of values, which are at least one.
func median(values []float64) float64 {
	v := slices.Sorted(slices.Values(values))
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}

// figureOf returns a system's figure of a metric, nil where it has none.
func (s systemReport) figureOf(metric string) *figure {
	for i := range s.Figures {
		if s.Figures[i].Metric == metric {
			return &s.Figures[i]
		}
	}
	return nil
}

// writers print a report in the forms that --output names.
var writers = map[string]func(io.Writer, report) error{
	"table":    writeTable,
	"json":     func(w io.Writer, r report) error { return writeJSON(w, r) },
	"markdown": writeMarkdown,
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// measured returns the metrics that any system has.
func (r report) measured() (ms []metric) {
	for _, m := range metrics {
		if slices.ContainsFunc(r.Systems, func(s systemReport) bool { return s.figureOf(m.id) != nil }) {
			ms = append(ms, m)
		}
	}
	return ms
}

// groups returns the groups in their order.
func (r report) groups() (gs []string) {
	for _, s := range r.Systems {
		if !slices.Contains(gs, s.Group) {
			gs = append(gs, s.Group)
		}
	}
	return gs
}

// table is rows of cells, the first of which is the head.
type table [][]string

// summary has a row for each system of a group: medians, and behind them the
// ratio to the reference.
func (r report) summary(group string) table {
	ms := r.measured()
	head := []string{group}
	for _, m := range ms {
		head = append(head, m.name+", "+m.unit)
	}
	t := table{head}
	for _, s := range r.Systems {
		if s.Group != group {
			continue
		}
		row := []string{s.Name}
		for _, m := range ms {
			row = append(row, s.figureOf(m.id).short(m))
		}
		t = append(t, row)
	}
	return t
}

func (f *figure) short(m metric) string {
	if f == nil {
		return "-"
	}
	text := fmt.Sprintf("%.*f", m.digits, f.Median)
	if f.Ratio != nil {
		text += fmt.Sprintf(" (%.2f)", f.Ratio.Median)
	}
	return text
}

// details has a row for each figure: how far its rounds lie apart.
func (r report) details() table {
	t := table{{"metric", "system", "median", "min - max", "rounds", "ratio", "min - max of it"}}
	for _, m := range r.measured() {
		for _, s := range r.Systems {
			f := s.figureOf(m.id)
			if f == nil {
				continue
			}
			row := []string{m.name, s.Name, fmt.Sprintf("%.*f %s", m.digits, f.Median, m.unit), fmt.Sprintf("%.*f - %.*f", m.digits, f.Min, m.digits, f.Max), fmt.Sprint(len(f.Values)), "-", "-"}
			if f.Ratio != nil {
				row[5], row[6] = fmt.Sprintf("%.2f", f.Ratio.Median), fmt.Sprintf("%.2f - %.2f", f.Ratio.Min, f.Ratio.Max)
			}
			t = append(t, row)
		}
	}
	return t
}

// compared has a row for each of comparisons.
func (r report) compared() table {
	t := table{{"metric", "system", "against", "ratio", "min - max"}}
	for _, c := range r.Comparisons {
		name := c.Metric
		if c.Lower {
			name += " (lower is better)"
		}
		t = append(t, []string{name, c.System, c.Reference, fmt.Sprintf("%.2f", c.Median), fmt.Sprintf("%.2f - %.2f", c.Min, c.Max)})
	}
	return t
}

// notes are lines about what did not go as it might have, and about paths.
func (r report) notes() (lines []string) {
	for _, s := range r.Systems {
		if s.Path != "" {
			lines = append(lines, fmt.Sprintf("%s went by %s", s.Name, s.Path))
		}
	}
	for _, m := range r.Missing {
		lines = append(lines, "left out: "+m)
	}
	for _, s := range r.Systems {
		if s.Failed != "" {
			lines = append(lines, fmt.Sprintf("%s failed in a round: %s", s.Name, s.Failed))
		}
	}
	return lines
}

func writeTable(w io.Writer, r report) error {
	fmt.Fprintf(w, "%s\n", r.heading())
	for _, g := range r.groups() {
		if err := r.summary(g).plain(w); err != nil {
			return err
		}
	}
	fmt.Fprintf(w, "\nIn parentheses: median of the ratios, round by round, to %s and %s.\n", references[oneHost], references[twoHosts])
	for _, t := range []table{r.compared(), r.details()} {
		if len(t) > 1 {
			if err := t.plain(w); err != nil {
				return err
			}
		}
	}
	for _, line := range r.notes() {
		fmt.Fprintln(w, line)
	}
	return nil
}

func (t table) plain(w io.Writer) error {
	fmt.Fprintln(w)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for i, row := range t {
		line := strings.Join(row, "\t")
		if i == 0 {
			line = strings.ToUpper(line)
		}
		fmt.Fprintln(tw, line)
	}
	return tw.Flush()
}

func (t table) markdown(w io.Writer) {
	fmt.Fprintln(w)
	for i, row := range t {
		fmt.Fprintf(w, "| %s |\n", strings.Join(row, " | "))
		if i == 0 {
			fmt.Fprintf(w, "|%s\n", strings.Repeat("---|", len(row)))
		}
	}
}

// markdownTo is markdown where an error may be returned.
func (t table) markdownTo(w io.Writer) error {
	t.markdown(w)
	return nil
}

// writeMarkdown is writeTable for documents.
func writeMarkdown(w io.Writer, r report) error {
	r.summaryMarkdown(w)
	for _, t := range []table{r.compared(), r.details()} {
		if len(t) > 1 {
			t.markdown(w)
		}
	}
	if lines := r.notes(); len(lines) > 0 {
		fmt.Fprintln(w)
		for _, line := range lines {
			fmt.Fprintf(w, "- %s\n", line)
		}
	}
	return nil
}

func (r report) summaryMarkdown(w io.Writer) {
	fmt.Fprintf(w, "%s\n", r.heading())
	for _, g := range r.groups() {
		r.summary(g).markdown(w)
	}
	fmt.Fprintf(w, "\nMedians of %d rounds; in parentheses the ratio to %s and %s, median of the rounds.\n", r.Rounds, kernelBridge().name, kernelVXLAN().name)
}

// failed returns an error when any measurement failed.
func (r report) failed() error {
	var which []string
	for _, s := range r.Systems {
		if s.Failed != "" {
			which = append(which, s.Name)
		}
	}
	if len(which) == 0 {
		return nil
	}
	return fmt.Errorf("measure %s: at least one round failed; see above", strings.Join(which, ", "))
}

func (r report) heading() string {
	s := "`" + r.Command + "` on " + r.Machine.String()
	if r.Congestion != "" {
		s += ", TCP " + r.Congestion
	}
	return s
}

func (m hostInfo) String() string {
	return fmt.Sprintf("%s, %d cores, Linux %s, %s, weft %s, %s", m.CPU, m.Cores, m.Kernel, m.Go, m.Weft, m.Date)
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// machine says what the figures were measured on.
func machine(weft string) hostInfo {
	m := hostInfo{CPU: cpuModel(), Cores: runtime.NumCPU(), Go: runtime.Version(), Weft: "unknown", Date: time.Now().Format(time.DateOnly)}
	var uts unix.Utsname
	if unix.Uname(&uts) == nil {
		m.Kernel = unix.ByteSliceToString(uts.Release[:])
	}
	if out, err := exec.Command(weft, "version", "-o", "json").Output(); err == nil {
		var v struct{ Version string }
		if json.Unmarshal(out, &v) == nil {
			m.Weft = v.Version
		}
	}
	return m
}

func cpuModel() string {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown CPU"
	}
	for line := range strings.Lines(string(info)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown CPU"
}
