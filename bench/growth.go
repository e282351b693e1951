package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"

	"weft/internal/lab"
	"weft/internal/progress"
)

// curve is how a switch takes to more and more of something.
type curve struct {
	ID      string           `json:"id"`
	Of      string           `json:"of"` // what there is more of
	Metrics []growthMetric   `json:"metrics"`
	Points  []map[string]any `json:"points"` // by metric; "n" is how many there were
}

// growthMetric is one figure at each point of a curve.
type growthMetric struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	Unit   string `json:"unit"`
	digits int
}

// growthCurve is a curve to be measured.
type growthCurve struct {
	id   string        // that --only names
	long time.Duration // roughly, for the bar
	run  func(context.Context, options, *progress.Bar) (curve, error)
}

var growths = []growthCurve{
	{"ports", 2 * time.Minute, growPorts},
	{"peers", 30 * time.Second, growPeers},
	{"routes", 2 * time.Minute, growRoutes},
	{"stations", 30 * time.Second, growStations},
}

// growthReport is the result of `bench growth`.
type growthReport struct {
	Machine hostInfo `json:"machine"`
	Command string   `json:"command"`
	Curves  []curve  `json:"curves"`
	Failed  []string `json:"failed,omitempty"`
}

// growth measures every curve that was asked for.
func growth(ctx context.Context, o options, args []string, stdout, stderr io.Writer) error {
	path, err := findWeft(o.weft)
	if err != nil {
		return err
	}
	o.weft = path
	var total time.Duration
	for _, g := range growths {
		if wanted(o.only, g.id) {
			total += g.long
		}
	}
	bar := progress.New(stderr, total)
	defer bar.Close()
	r := growthReport{Machine: machine(path), Command: strings.TrimSpace("make bench-growth " + benchFlags(args))}
	for _, g := range growths {
		if !wanted(o.only, g.id) {
			continue
		}
		bar.Step(g.long, "%s", g.id)
		c, err := g.run(ctx, o, bar)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			r.Failed = append(r.Failed, fmt.Sprintf("%s: %s", g.id, oneLine(err.Error())))
			bar.Say("%s: failed: %v", g.id, err)
		}
		if len(c.Points) > 0 {
			r.Curves = append(r.Curves, c)
		}
	}
	bar.Close()
	if err := growthWriters[o.output](stdout, r); err != nil {
		return err
	}
	if o.plot != "" {
		if err := growthPlots(o.plot, r); err != nil {
			return err
		}
	}
	if o.docs != "" {
		if err := writeGrowthDocs(o.docs, r); err != nil {
			return err
		}
	}
	if len(r.Failed) > 0 {
		return fmt.Errorf("measure growth: %s", strings.Join(r.Failed, "; "))
	}
	return nil
}

// findWeft returns the absolute path of the program, and sees that this is a
// place to run it.
func findWeft(name string) (string, error) {
	if err := lab.Check(); err != nil {
		return "", err
	}
	if err := lab.Sweep(); err != nil { // of runs that were killed
		return "", err
	}
	path, err := filepath.Abs(name)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("find weft: %w; build it with: make build", err)
	}
	return path, nil
}

func wanted(only []string, id string) bool { return len(only) == 0 || slices.Contains(only, id) }

// When a process counts as idle: once it takes next to nothing, or has not taken
// less for a while.
const (
	calm       = 0.002 // of a core
	settleFor  = 5     // seconds without a lower share
	settleMost = 60    // seconds that are waited
)

// idle returns the share of one core that a process takes while nobody asks
// anything of it, when it has come down to that: containers that were just
// attached report their multicast groups for some seconds, and are announced.
func idle(ctx context.Context, pid int) (float64, error) {
	least := math.Inf(1)
	for n, since := 0, 0; n < settleMost && since < settleFor && least > calm; n++ {
		share, err := busy(ctx, pid, time.Second)
		if err != nil {
			return 0, err
		}
		if since++; share < 0.9*least {
			least, since = share, 0
		}
	}
	return busy(ctx, pid, 2*time.Second)
}

// busy returns the share of one core that a process takes for d.
func busy(ctx context.Context, pid int, d time.Duration) (float64, error) {
	before, err := runTime(pid)
	if err != nil {
		return 0, err
	}
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-time.After(d):
	}
	after, err := runTime(pid)
	return (after - before).Seconds() / d.Seconds(), err
}

// runTime returns how long a process has run, to the nanosecond, with those of its
// threads that have ended (clock_getcpuclockid(3)).
func runTime(pid int) (time.Duration, error) {
	const cpuClock = 2 // CPUCLOCK_SCHED in linux/posix-timers.h
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid)<<3|cpuClock, &t); err != nil {
		return 0, fmt.Errorf("read run time of process %d: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
}

// growthWriters print a report in the forms that --output names.
var growthWriters = map[string]func(io.Writer, growthReport) error{
	"json":     func(w io.Writer, r growthReport) error { return writeJSON(w, r) },
	"table":    func(w io.Writer, r growthReport) error { return r.write(w, table.plain) },
	"markdown": func(w io.Writer, r growthReport) error { return r.write(w, table.markdownTo) },
}

func (r growthReport) write(w io.Writer, form func(table, io.Writer) error) error {
	fmt.Fprintf(w, "`%s` on %s\n", r.Command, r.Machine)
	for _, c := range r.Curves {
		if err := form(c.table(), w); err != nil {
			return err
		}
	}
	for _, f := range r.Failed {
		fmt.Fprintf(w, "\nFailed: %s\n", f)
	}
	return nil
}

func (c curve) table() table {
	head := []string{c.Of}
	for _, m := range c.Metrics {
		head = append(head, m.Name+", "+m.Unit)
	}
	t := table{head}
	for _, p := range c.Points {
		row := []string{fmt.Sprint(p["n"])}
		for _, m := range c.Metrics {
			if v, ok := p[m.ID].(float64); ok {
				row = append(row, fmt.Sprintf("%.*f", m.digits, v))
			} else {
				row = append(row, "-")
			}
		}
		t = append(t, row)
	}
	return t
}

// growthPlots writes one chart for each metric of each curve, beside each other
// in one picture: growth-ports.svg and so on.
func growthPlots(dir string, r growthReport) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make folder for plots: %w", err)
	}
	for _, c := range r.Curves {
		for _, m := range c.Metrics {
			p, err := c.plot(m)
			if err != nil {
				return fmt.Errorf("plot %s: %w", c.ID, err)
			}
			if p == nil {
				continue
			}
			if err := savePlot(p, dir, "growth-"+c.ID+"-"+m.ID, 11*vg.Centimeter, 7*vg.Centimeter); err != nil {
				return err
			}
		}
	}
	return nil
}

// plot draws a metric over how many there were, on a logarithmic scale; nil
// where there is no point.
func (c curve) plot(m growthMetric) (*plot.Plot, error) {
	var xys plotter.XYs
	for _, p := range c.Points {
		if v, ok := p[m.ID].(float64); ok {
			xys = append(xys, plotter.XY{X: float64(p["n"].(int)), Y: v})
		}
	}
	if len(xys) == 0 {
		return nil, nil
	}
	p := plot.New()
	p.Title.Text = m.Name + ", " + m.Unit
	p.X.Label.Text = c.Of
	if len(xys) > 1 {
		p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	}
	p.Y.Min = 0
	line, points, err := plotter.NewLinePoints(xys)
	if err != nil {
		return nil, err
	}
	line.Color, points.Color = ours, ours
	line.Width = vg.Points(1.5)
	p.Add(plotter.NewGrid(), line, points)
	p.Y.Min = 0
	return p, nil
}
