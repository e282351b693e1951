package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"weft/internal/lab"
	"weft/internal/lab/ovs"
)

// answer is a row with what every system said; "" where one was not asked.
type answer struct {
	row              *row
	weft, linux, ovs string
}

// result is a section with its answers.
type result struct {
	section
	answers []answer
}

// conformance builds the systems and asks every row. Without Open vSwitch
// installed, that one is not asked.
func conformance(ctx context.Context, l *lab.Lab, program, dir string) ([]result, error) {
	type builder func(dir string) (*system, error)
	builders := []builder{
		func(dir string) (*system, error) { return newWeft(l, program, dir) },
		func(string) (*system, error) { return newLinux(l) },
	}
	if ovs.Installed() == nil {
		builders = append(builders, func(dir string) (*system, error) { return newOVS(ctx, l, dir) })
	}
	systems := make([]*system, len(builders))
	failures := make([]error, len(builders))
	for i, b := range builders {
		at := filepath.Join(dir, fmt.Sprint(i))
		if err := os.Mkdir(at, 0o700); err != nil {
			return nil, err
		}
		s, err := b(at)
		if s != nil {
			defer s.end()
		}
		if err != nil {
			return nil, err
		}
		systems[i] = s
	}
	for i, s := range systems {
		if err := s.warmUp(); err != nil {
			failures[i] = err
		}
	}
	if err := errors.Join(failures...); err != nil {
		return nil, err
	}
	var results []result
	for _, f := range sections {
		sec := f()
		sec.make = f
		results = append(results, ask(sec, systems))
	}
	return results, nil
}

// ask asks every row of a section, the systems side by side.
func ask(sec section, systems []*system) result {
	res := result{section: sec, answers: make([]answer, len(sec.rows))}
	outcomes := make([][]*outcome, len(systems))
	var wg sync.WaitGroup
	for i, s := range systems {
		outcomes[i] = make([]*outcome, len(sec.rows))
		rows := sec.make().rows // own ones: descriptions may remember
		wg.Go(func() {          // ends with the last row
			for j := range rows {
				if r := &rows[j]; s.asked(r) {
					o := s.run(r)
					outcomes[i][j] = &o
				}
			}
		})
	}
	wg.Wait()
	for j := range sec.rows {
		r := &sec.rows[j]
		a := answer{row: r, weft: outcomes[0][j].at(r.at, systems[0].knows)}
		for i, s := range systems[1:] {
			o := outcomes[i+1][j]
			if o == nil {
				continue
			}
			said, here := silent(o.at(r.at, s.knows)), silent(outcomes[0][j].at(r.at, s.knows))
			if said == here {
				said = same
			}
			if i == 0 {
				a.linux = said
			} else {
				a.ovs = said
			}
		}
		res.answers[j] = a
	}
	return res
}

// end closes what a system holds.
func (s *system) end() {
	for _, p := range s.places {
		p.close()
	}
	if s.listener != 0 {
		unix.Close(s.listener)
	}
	if s.close != nil {
		s.close()
	}
}

// build builds weft, unless WEFT_BIN names a binary.
func build(dir string) (string, error) {
	if path := os.Getenv("WEFT_BIN"); path != "" {
		return path, nil
	}
	path := filepath.Join(dir, "weft")
	out, err := exec.Command("go", "build", "-o", path, "weft/cmd/weft").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build weft: %w\n%s", err, out)
	}
	return path, nil
}
