package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"weft/internal/load"
	"weft/internal/progress"
)

// options are what the flags say.
type options struct {
	growth  bool // `bench growth`
	rounds  int
	seconds float64
	output  string
	weft    string   // path of the program
	only    []string // systems
	loads   []string
	tcp     string // congestion control of all streams; empty: the system's
	plot    string // folder for charts; empty: none
	docs    string // folder of the repository whose documents are to be written; empty: none
}

func (o options) length() time.Duration { return time.Duration(o.seconds * float64(time.Second)) }

func main() {
	if len(os.Args) > 1 {
		if child := children[os.Args[1]]; child != nil {
			fmt.Fprintln(os.Stderr, child(os.Args[2:], os.Stdin, os.Stdout))
			os.Exit(1)
		}
	}
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
	if o.growth {
		err = growth(ctx, o, args[1:], stdout, stderr)
	} else {
		err = bench(ctx, o, args, stdout, stderr)
	}
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
	fs.IntVar(&o.rounds, "rounds", 7, "how often each system is measured, 1 to 100")
	fs.Float64Var(&o.seconds, "seconds", 1, "how long each load takes, 0.1 to 60")
	fs.StringVarP(&o.output, "output", "o", "table", "table, json or markdown")
	fs.StringVar(&o.weft, "weft", "bin/weft", "the weft `program` to measure")
	fs.StringSliceVar(&o.only, "only", nil, "`systems` to measure, by id or part of the name: weft-gre,vxlan")
	fs.StringSliceVar(&o.loads, "loads", nil, "`loads` to put on them: tcp1,tcp4,both,udp,rr; and iperf3, which is left out otherwise")
	fs.StringVar(&o.tcp, "congestion", usualCongestion(), "TCP congestion `control` of all streams, one that the kernel has; empty for the system's")
	fs.StringVar(&o.plot, "plot", "", "write charts, SVG and PNG, into this `folder`")
	fs.StringVar(&o.docs, "docs", "", "write tables and charts into README.md and docs/ of this `repository`")
	if o.growth = len(args) > 0 && args[0] == "growth"; o.growth {
		args = args[1:]
	}
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	switch {
	case o.growth && (fs.Changed("rounds") || fs.Changed("seconds") || fs.Changed("loads") || fs.Changed("congestion")):
		return o, errors.New("growth takes no --rounds, --seconds, --loads or --congestion")
	case fs.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q; see --help", fs.Arg(0))
	case o.rounds < 1 || o.rounds > 100:
		return o, fmt.Errorf("--rounds %d: must be 1 to 100", o.rounds)
	case !(o.seconds >= 0.1 && o.seconds <= 60): // not NaN either
		return o, fmt.Errorf("--seconds %v: must be 0.1 to 60", o.seconds)
	case o.tcp != "" && !slices.Contains(load.Congestions(), o.tcp):
		return o, fmt.Errorf("--congestion %q: this kernel has %s", o.tcp, strings.Join(load.Congestions(), ", "))
	case writers[o.output] == nil:
		return o, fmt.Errorf("--output %q: must be table, json or markdown", o.output)
	}
	if o.growth {
		for _, word := range o.only {
			if !slices.ContainsFunc(growths, func(g growthCurve) bool { return g.id == word }) {
				return o, fmt.Errorf("--only: nothing that grows is called %q; there are ports, peers, routes, stations", word)
			}
		}
		return o, nil
	}
	if _, _, err := choose(allSystems(o.weft), o.only); err != nil {
		return o, fmt.Errorf("--only: %w", err)
	}
	if _, err := chooseLoads(o.loads); err != nil {
		return o, fmt.Errorf("--loads: %w", err)
	}
	return o, nil
}

// bench measures and prints. Progress goes to stderr, the result to stdout.
func bench(ctx context.Context, o options, args []string, stdout, stderr io.Writer) error {
	path, err := findWeft(o.weft)
	if err != nil {
		return err
	}
	systems, missing, err := choose(allSystems(path), o.only)
	if err != nil {
		return err
	}
	gens, err := chooseLoads(o.loads)
	if err != nil {
		return err
	}
	results, err := withBar(ctx, o, systems, gens, missing, stderr)
	if err != nil {
		return err
	}
	r := sumUp(systems, results)
	r.Machine, r.Rounds, r.Missing, r.Congestion = machine(path), o.rounds, missing, o.tcp
	r.Command = strings.TrimSpace("make bench " + benchFlags(args))
	if err := writers[o.output](stdout, r); err != nil {
		return err
	}
	if o.plot != "" {
		if err := plots(o.plot, r); err != nil {
			return err
		}
	}
	if o.docs != "" {
		if err := writeDocs(o.docs, r); err != nil {
			return err
		}
	}
	return r.failed()
}

// benchFlags is how a user of make gives args, without those that say where
// results go.
func benchFlags(args []string) string {
	if args = slices.DeleteFunc(slices.Clone(args), func(a string) bool { return strings.HasPrefix(a, "--docs=") }); len(args) == 0 {
		return ""
	}
	return "BENCH='" + strings.Join(args, " ") + "'"
}

// withBar measures and shows how far it is.
func withBar(ctx context.Context, o options, systems []system, gens []generator, missing []string, stderr io.Writer) (map[string]*result, error) {
	total := time.Duration(o.rounds*len(systems)) * estimate(gens, o)
	ctx, cancel := context.WithTimeout(ctx, 3*total+5*time.Minute) // a system that hangs ends some day
	defer cancel()
	bar := progress.New(stderr, total)
	defer bar.Close()
	for _, m := range missing {
		bar.Say("left out: %s", m)
	}
	return measure(ctx, o, systems, gens, bar)
}
