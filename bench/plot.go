package main

import (
	"fmt"
	"image/color"
	"os"
	"path/filepath"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

// Colours that can be told apart on white, and with most kinds of colour
// blindness: weft's own, and that of all others.
var (
	ours   = color.RGBA{R: 0x00, G: 0x72, B: 0xb2, A: 0xff}
	theirs = color.RGBA{R: 0xb0, G: 0xb0, B: 0xb0, A: 0xff}
	shades = []color.RGBA{ours, {R: 0xd5, G: 0x5e, A: 0xff}, {G: 0x9e, B: 0x73, A: 0xff}, {R: 0xcc, G: 0x79, B: 0xa7, A: 0xff}}
)

// plots writes a chart for each metric, as SVG and PNG, into dir: bars of the
// medians, with whiskers from the worst to the best round.
func plots(dir string, r report) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make folder for plots: %w", err)
	}
	for _, m := range r.measured() {
		p, height, err := chart(m, r)
		if err != nil {
			return fmt.Errorf("plot %s: %w", m.name, err)
		}
		if err := savePlot(p, dir, m.id, 20*vg.Centimeter, height); err != nil {
			return err
		}
	}
	return nil
}

// savePlot writes dir/name.svg and dir/name.png.
func savePlot(p *plot.Plot, dir, name string, width, height vg.Length) error {
	p.BackgroundColor = color.White
	for _, form := range []string{".svg", ".png"} {
		if err := p.Save(width, height, filepath.Join(dir, name+form)); err != nil {
			return fmt.Errorf("write plot %s: %w", name+form, err)
		}
	}
	return nil
}

// whiskers are horizontal, as the bars are.
type whiskers struct {
	plotter.XYs
	plotter.XErrors
}

func chart(m metric, r report) (*plot.Plot, vg.Length, error) {
	p := plot.New()
	better := "higher is better"
	if m.lower {
		better = "lower is better"
	}
	p.Title.Text = fmt.Sprintf("%s, %s (%s)", m.name, m.unit, better)
	p.X.Min = 0
	var names []string
	var mine, others plotter.Values
	var w whiskers
	for i := len(r.Systems) - 1; i >= 0; i-- { // the first on top
		s := r.Systems[i]
		f := s.figureOf(m.id)
		if f == nil {
			continue
		}
		at := float64(len(names))
		names = append(names, s.Name)
		own, other := f.Median, 0.0
		if len(s.ID) < 4 || s.ID[:4] != "weft" {
			own, other = 0, f.Median
		}
		mine, others = append(mine, own), append(others, other)
		w.XYs = append(w.XYs, plotter.XY{X: f.Median, Y: at})
		w.XErrors = append(w.XErrors, struct{ Low, High float64 }{f.Min - f.Median, f.Max - f.Median})
	}
	for _, set := range []struct {
		values plotter.Values
		fill   color.Color
	}{{mine, ours}, {others, theirs}} {
		bars, err := plotter.NewBarChart(set.values, 12)
		if err != nil {
			return nil, 0, err
		}
		bars.Horizontal, bars.Color, bars.LineStyle.Width = true, set.fill, 0
		p.Add(bars)
	}
	ends, err := plotter.NewXErrorBars(w)
	if err != nil {
		return nil, 0, err
	}
	labels, err := plotter.NewLabels(plotter.XYLabels{XYs: w.XYs, Labels: valueLabels(m, w.XYs)})
	if err != nil {
		return nil, 0, err
	}
	labels.Offset.Y = 6
	labels.Offset.X = 3
	p.Add(ends, labels)
	p.NominalY(names...)
	return p, vg.Length(len(names))*0.9*vg.Centimeter + 2*vg.Centimeter, nil
}

func valueLabels(m metric, at plotter.XYs) (labels []string) {
	for _, xy := range at {
		labels = append(labels, fmt.Sprintf("%.*f", m.digits, xy.X))
	}
	return labels
}
