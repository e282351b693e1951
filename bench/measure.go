package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"weft/internal/lab"
)

// bed is what one measurement stands on: namespaces and a directory, both gone
// after close.
type bed struct {
	*lab.Lab
	dir     string
	closers []func() // called in reverse order
}

func newBed() (*bed, error) {
	l, err := lab.New()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "weft-bench-")
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make directory: %w", err), l.Close())
	}
	return &bed{Lab: l, dir: dir}, nil
}

// onClose has f called before the namespaces go.
func (b *bed) onClose(f func()) { b.closers = append(b.closers, f) }

func (b *bed) close() error {
	for i := len(b.closers) - 1; i >= 0; i-- {
		b.closers[i]()
	}
	return errors.Join(b.Close(), os.RemoveAll(b.dir))
}

// cell is where a system meets a load: one value for each round in which that
// went well.
type cell struct {
	values []float64
	failed error // of the last round that did not
}

// measure runs all rounds. A measurement that fails is noted and the others go
// on; the error returned is that of ctx.
func measure(ctx context.Context, o options, systems []system, loads []load, progress io.Writer) (map[[2]string]*cell, error) {
	cells := map[[2]string]*cell{}
	for round := 1; round <= o.rounds; round++ {
		for _, s := range systems {
			for _, l := range loads {
				key := [2]string{s.name, l.name}
				if cells[key] == nil {
					cells[key] = &cell{}
				}
				value, err := one(ctx, s, l, time.Duration(o.seconds)*time.Second)
				if ctx.Err() != nil {
					return nil, ctx.Err()
				}
				if err != nil {
					cells[key].failed = err
					fmt.Fprintf(progress, "round %d/%d  %-28s %-14s failed: %v\n", round, o.rounds, s.name, l.name, err)
					continue
				}
				cells[key].values = append(cells[key].values, value)
				fmt.Fprintf(progress, "round %d/%d  %-28s %-14s %8.2f %s\n", round, o.rounds, s.name, l.name, value, l.unit)
			}
		}
	}
	return cells, nil
}

// one sets a system up, puts a load on it, and tears it down.
func one(ctx context.Context, s system, l load, d time.Duration) (value float64, err error) {
	b, err := newBed()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	from, to, err := s.setUp(ctx, b)
	if err != nil {
		return 0, fmt.Errorf("set up %s: %w", s.name, err)
	}
	if value, err = l.run(ctx, from, to, d); err != nil {
		return 0, fmt.Errorf("run %s: %w", l.name, err)
	}
	return value, nil
}
