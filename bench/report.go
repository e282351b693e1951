package main

import (
	"encoding/json"
	"fmt"
	"io"
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
	Machine hostInfo `json:"machine"`
	Command string   `json:"command"`
	Missing []string `json:"left_out"`
	Rows    []row    `json:"rows"`
}

// row is one system under one load. Ratio is its median to that of the first
// system of its group under the same load; 0 where there is none.
type row struct {
	Group  string    `json:"group"`
	System string    `json:"system"`
	Load   string    `json:"load"`
	Unit   string    `json:"unit"`
	Median float64   `json:"median"`
	Min    float64   `json:"min"`
	Max    float64   `json:"max"`
	Ratio  float64   `json:"ratio"`
	Values []float64 `json:"values"`
	Failed string    `json:"failed,omitempty"` // why the last round that failed did
}

type hostInfo struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Kernel string `json:"kernel"`
	Go     string `json:"go"`
	Weft   string `json:"weft"`
	Date   string `json:"date"`
}

// rows sums up what was measured, group by group.
func rows(systems []system, loads []load, cells map[[2]string]*cell) []row {
	var all []row
	for _, l := range loads {
		first := map[string]float64{} // median of each group's first system
		for _, s := range systems {
			c := cells[[2]string{s.name, l.name}]
			if c == nil {
				continue
			}
			r := row{Group: s.group, System: s.name, Load: l.name, Unit: l.unit, Values: c.values}
			if c.failed != nil {
				r.Failed = c.failed.Error()
			}
			if len(c.values) > 0 {
				r.Median, r.Min, r.Max = median(c.values), slices.Min(c.values), slices.Max(c.values)
			}
			if _, seen := first[s.group]; !seen {
				first[s.group] = r.Median
			}
			if base := first[s.group]; base > 0 {
				r.Ratio = r.Median / base
			}
			all = append(all, r)
		}
	}
	return all
}

// median returns the middle of values, which are at least one.
func median(values []float64) float64 {
	v := slices.Sorted(slices.Values(values))
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}

// writers print a report in the forms that --output names.
var writers = map[string]func(io.Writer, report) error{
	"table":    writeTable,
	"json":     writeJSON,
	"markdown": writeMarkdown,
}

func writeTable(w io.Writer, r report) error {
	fmt.Fprintf(w, "%s\n\n", r.heading())
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "GROUP\tSYSTEM\tLOAD\tMEDIAN\tMIN - MAX\tROUNDS\tRATIO")
	for _, r := range r.Rows {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%d\t%s\n", r.Group, r.System, r.Load, r.middle(), r.spread(), len(r.Values), r.ratio())
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, m := range r.Missing {
		fmt.Fprintf(w, "left out: %s\n", m)
	}
	return nil
}

func writeMarkdown(w io.Writer, r report) error {
	fmt.Fprintf(w, "%s\n\n| group | system | load | median | min - max | rounds | ratio |\n|---|---|---|---|---|---|---|\n", r.heading())
	for _, r := range r.Rows {
		fmt.Fprintf(w, "| %s | %s | %s | %s | %s | %d | %s |\n", r.Group, r.System, r.Load, r.middle(), r.spread(), len(r.Values), r.ratio())
	}
	for _, m := range r.Missing {
		fmt.Fprintf(w, "\nLeft out: %s\n", m)
	}
	return nil
}

func writeJSON(w io.Writer, r report) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// failed returns an error when any measurement failed.
func (r report) failed() error {
	var which []string
	for _, row := range r.Rows {
		if row.Failed != "" {
			which = append(which, row.System)
		}
	}
	if len(which) == 0 {
		return nil
	}
	return fmt.Errorf("measure %s: at least one round failed; see above", strings.Join(which, ", "))
}

func (r report) heading() string {
	m := r.Machine
	return fmt.Sprintf("`%s` on %s, %d cores, Linux %s, %s, weft %s, %s", r.Command, m.CPU, m.Cores, m.Kernel, m.Go, m.Weft, m.Date)
}

func (r row) middle() string {
	if len(r.Values) == 0 {
		return "failed"
	}
	return fmt.Sprintf("%.2f %s", r.Median, r.Unit)
}

func (r row) spread() string {
	if len(r.Values) == 0 {
		line, _, _ := strings.Cut(r.Failed, "\n")
		return line
	}
	return fmt.Sprintf("%.2f - %.2f", r.Min, r.Max)
}

func (r row) ratio() string {
	if r.Ratio == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", r.Ratio)
}

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
