package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/pflag"

	"weft/internal/lab"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run asks everything and prints it; 1 where weft differs from what is wanted.
func run(args []string, stdout, stderr io.Writer) int {
	flags := pflag.NewFlagSet("conformance", pflag.ContinueOnError)
	flags.SetOutput(stderr)
	form := flags.StringP("output", "o", "table", "table or markdown")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if *form != "table" && *form != "markdown" || flags.NArg() > 0 {
		fmt.Fprintln(stderr, "conformance: want nothing but -o table or -o markdown")
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	results, err := inLab(ctx)
	if err != nil {
		fmt.Fprintln(stderr, "conformance:", err)
		return 1
	}
	if *form == "markdown" {
		printMarkdown(stdout, results)
	} else {
		printTable(stdout, results)
	}
	for _, r := range results {
		if len(r.wrong()) > 0 {
			return 1
		}
	}
	return 0
}

// inLab runs everything in namespaces that are gone afterwards.
func inLab(ctx context.Context) (results []result, err error) {
	if err := lab.Sweep(); err != nil {
		return nil, err
	}
	l, err := lab.New()
	if err != nil {
		return nil, err
	}
	defer func() {
		if cerr := l.Close(); err == nil {
			err = cerr
		}
	}()
	dir, err := l.Dir()
	if err != nil {
		return nil, err
	}
	program, err := build(dir)
	if err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, func() { _ = l.Close() })() // every system is dead then, and the next row fails
	return conformance(ctx, l, program, dir)
}
