package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"weft/internal/lab"
)

// options are what the flags say.
type options struct {
	rounds  int
	seconds int
	output  string
	weft    string // path of the program
	only    string // part of the names of the systems to run
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is main with its surroundings given. It returns the exit code: 0, 2 when
// the flags are wrong, 1 for everything else.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stderr)
	if errors.Is(err, pflag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintf(stderr, "bench: %v\n", err)
		return 2
	}
	err = bench(ctx, o, stdout, stderr)
	if errors.Is(err, context.Canceled) {
		err = errors.New("interrupted; everything was taken away again")
	}
	if err != nil {
		fmt.Fprintf(stderr, "bench: %v\n", err)
		return 1
	}
	return 0
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	fs := pflag.NewFlagSet("bench", pflag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.IntVar(&o.rounds, "rounds", 5, "how often each system is measured, 1 to 100")
	fs.IntVar(&o.seconds, "seconds", 3, "how long each measurement takes, 1 to 60")
	fs.StringVarP(&o.output, "output", "o", "table", "table, json or markdown")
	fs.StringVar(&o.weft, "weft", "bin/weft", "the weft program to measure")
	fs.StringVar(&o.only, "only", "", "measure only systems whose name contains this")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	switch {
	case fs.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q; see --help", fs.Arg(0))
	case o.rounds < 1 || o.rounds > 100:
		return o, fmt.Errorf("--rounds %d: must be 1 to 100", o.rounds)
	case o.seconds < 1 || o.seconds > 60:
		return o, fmt.Errorf("--seconds %d: must be 1 to 60", o.seconds)
	case writers[o.output] == nil:
		return o, fmt.Errorf("--output %q: must be table, json or markdown", o.output)
	}
	return o, nil
}

// bench measures and prints. Progress goes to stderr, the result to stdout.
func bench(ctx context.Context, o options, stdout, stderr io.Writer) error {
	if err := lab.Check(); err != nil {
		return err
	}
	if err := lab.Sweep(); err != nil { // of runs that were killed
		return err
	}
	path, err := filepath.Abs(o.weft)
	if err != nil {
		return err
	}
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("find weft: %w; build it with: make build", err)
	}
	systems, missing := choose(path, o.only)
	for _, m := range missing {
		fmt.Fprintf(stderr, "left out: %s\n", m)
	}
	loads := []load{tcpStream()}

	limit := time.Duration(o.rounds*len(systems)*len(loads)) * (time.Duration(o.seconds)*time.Second + 30*time.Second)
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cells, err := measure(ctx, o, systems, loads, stderr)
	if err != nil {
		return err
	}
	r := report{Machine: machine(path), Command: "bench " + strings.Join(os.Args[1:], " "), Missing: missing, Rows: rows(systems, loads, cells)}
	if err := writers[o.output](stdout, r); err != nil {
		return err
	}
	return r.failed()
}
