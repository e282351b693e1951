package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"weft/internal/lab"
	"weft/internal/progress"
)

// bed is what one measurement stands on: namespaces and a directory, both gone
// after close.
type bed struct {
	*lab.Lab
	dir      string
	closers  []func()         // called in reverse order
	switches map[string][]int // processes that switch, by host
	path     func() string    // what the system says of the way it takes; nil: nothing
}

func newBed() (*bed, error) {
	l, err := lab.New()
	if err != nil {
		return nil, err
	}
	dir, err := l.Dir()
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return &bed{Lab: l, dir: dir, switches: map[string][]int{}}, nil
}

// onClose has f called before the namespaces go.
func (b *bed) onClose(f func()) { b.closers = append(b.closers, f) }

func (b *bed) close() error {
	for i := len(b.closers) - 1; i >= 0; i-- {
		b.closers[i]()
	}
	return b.Close()
}

// switchedBy notes that pids belong to the switch of host.
func (b *bed) switchedBy(host *lab.NS, pids ...int) {
	b.switches[host.Name()] = append(b.switches[host.Name()], pids...)
}

// peakMemory returns the most memory that the switch of one host took; ok is
// false where the kernel switches.
func (b *bed) peakMemory() (most float64, ok bool) {
	for _, pids := range b.switches {
		var sum float64
		for _, pid := range pids {
			if mb, err := memory(pid, "VmHWM"); err == nil {
				sum += mb
			}
		}
		most = max(most, sum)
	}
	return most, most > 0
}

// result is what became of a system: one value for each round and metric, NaN
// where that round failed.
type result struct {
	values map[string][]float64
	failed error  // of the last round that did
	path   string // that it took, in its own words
}

// estimate is how long one system takes in one round.
func estimate(gens []generator, o options) time.Duration {
	d := 1200 * time.Millisecond // to set up and tear down
	for _, g := range gens {
		d += o.length() + warmUp + 100*time.Millisecond
		if g.extra {
			d += time.Second
		}
	}
	return d
}

// measure runs all rounds. A system that fails is noted and the others go on;
// the error returned is that of ctx.
func measure(ctx context.Context, o options, systems []system, gens []generator, bar *progress.Bar) (map[string]*result, error) {
	results := map[string]*result{}
	for _, s := range systems {
		results[s.id] = &result{values: map[string][]float64{}}
	}
	for round := 1; round <= o.rounds; round++ {
		for _, s := range systems {
			bar.Step(estimate(gens, o), "round %d of %d: %s", round, o.rounds, s.name)
			res := results[s.id]
			got, path, err := one(ctx, o, s, gens)
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			line := ""
			for _, m := range metrics {
				value, ok := got[m.id]
				if !ok {
					value = math.NaN()
				} else {
					line += fmt.Sprintf("  %s %.*f %s", m.id, m.digits, value, m.unit)
				}
				res.values[m.id] = append(res.values[m.id], value)
			}
			if path != "" {
				res.path = path
			}
			if err != nil {
				res.failed = err
				line += fmt.Sprintf("  failed: %v", err)
			}
			bar.Say("round %d/%d  %-26s%s", round, o.rounds, s.name, line)
		}
	}
	return results, nil
}

// one sets a system up, puts every load on it, and tears it down. Readings that
// were taken before an error are returned with it.
func one(ctx context.Context, o options, s system, gens []generator) (all readings, path string, err error) {
	b, err := newBed()
	if err != nil {
		return nil, "", err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	from, to, err := s.setUp(ctx, b)
	if err != nil {
		return nil, "", fmt.Errorf("set up: %w", err)
	}
	at, err := ready(ctx, b, from, to, o.tcp)
	if err != nil {
		return nil, "", err
	}
	all = readings{}
	for _, g := range gens {
		got, lerr := g.run(ctx, at, o.length())
		if lerr != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", g.id, lerr))
			continue
		}
		for id, value := range got {
			all[id] = value
		}
	}
	if mb, ok := b.peakMemory(); ok {
		all["memory"] = mb
	}
	if b.path != nil {
		path = b.path()
	}
	return all, path, err
}
