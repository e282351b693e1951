package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"weft/internal/api"
	"weft/internal/spec"
)

// app is what the commands share: the global flags, and where to write.
type app struct {
	stdout, stderr io.Writer
	socket         string
	output         format
}

// newRoot returns the whole command tree.
func newRoot(stdout, stderr io.Writer) *cobra.Command {
	a := &app{stdout: stdout, stderr: stderr, output: "table"}
	root := &cobra.Command{
		Use:   "weft",
		Short: "A switch for containers: one process per host, GRE between hosts",
		Long: `weft is a userspace switch for containers. "weft run" is the switch, one per
host, in the foreground; every other command asks it over its socket.`,
		Example: `  sudo weft run --network blue=10.1.0.0/16 --peer host2=192.168.18.17
  sudo weft attach blue netns:web
  sudo weft status`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		RunE:          runGroup,
	}
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w; see `%s --help`", err, cmd.CommandPath())
	})
	root.PersistentFlags().StringVar(&a.socket, "socket", cmp.Or(os.Getenv("WEFT_SOCKET"), api.DefaultSocket), "`path` of the daemon's socket; default from WEFT_SOCKET")
	root.PersistentFlags().VarP(&a.output, "output", "o", "`form` of the answer: table or json")
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
	root.AddCommand(
		runCommand(a), statusCommand(a), showCommand(a), versionCommand(a),
		networkCommand(a), attachCommand(a), detachCommand(a), portCommand(a), peerCommand(a),
		exposeCommand(a), hideCommand(a), publishCommand(a), unpublishCommand(a), cleanupCommand(a),
		routeCommand(a), uplinkCommand(a), fdbCommand(a), dropsCommand(a), applyCommand(a), exportCommand(a),
		benchCommand(a), demoCommand(a),
	)
	root.SetHelpCommand(helpCommand())
	root.SetHelpFunc(plainHelp(root.HelpFunc(), stdout))
	root.InitDefaultCompletionCmd()
	fitCompletion(root)
	markFailures(root)
	return root
}

// fitCompletion makes errors of what cobra's own command takes for a cry for help.
func fitCompletion(root *cobra.Command) {
	for _, cmd := range root.Commands() {
		if cmd.Name() != "completion" {
			continue
		}
		cmd.Args, cmd.RunE, cmd.Example = cobra.ArbitraryArgs, runGroup, "  weft completion bash | sudo tee /etc/bash_completion.d/weft"
		for _, shell := range cmd.Commands() {
			shell.Args = wantArgs(0, 0)
			shell.Example = "  weft completion " + shell.Name()
		}
	}
}

// plainHelp prints help without the [=true|false] that pflag puts behind every switch.
func plainHelp(help func(*cobra.Command, []string), w io.Writer) func(*cobra.Command, []string) {
	const noise = "[=true|false]"
	return func(cmd *cobra.Command, args []string) {
		var b bytes.Buffer
		cmd.SetOut(&b)
		help(cmd, args)
		cmd.SetOut(w)
		_, _ = w.Write(bytes.ReplaceAll(b.Bytes(), []byte(noise), bytes.Repeat([]byte(" "), len(noise))))
	}
}

// failure is an error of a command that was understood. All others mean that
// the arguments do not parse.
type failure struct{ error }

func (f failure) Unwrap() error { return f.error }

// usageError is found by a command itself, but still lies with its arguments.
type usageError struct{ error }

// markFailures makes a failure of each command's error that is no usageError.
func markFailures(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		markFailures(sub)
	}
	if do := cmd.RunE; do != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			err := do(cmd, args)
			if _, ok := errors.AsType[usageError](err); ok || err == nil {
				return err
			}
			return failure{err}
		}
	}
}

// group returns a command that only holds others.
func group(use, short string, subs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: cobra.ArbitraryArgs, RunE: runGroup}
	for _, sub := range subs {
		cmd.Example += sub.Example + "\n"
	}
	cmd.Example = strings.TrimRight(cmd.Example, "\n")
	cmd.AddCommand(subs...)
	return cmd
}

// runGroup answers a command that is none: a group, or an unknown word behind it.
func runGroup(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		guess := ""
		cmd.SuggestionsMinimumDistance = min(2, len(args[0])/3) // letters wrong; a short word is near to everything
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			guess = fmt.Sprintf("maybe you meant %s; ", strings.Join(near, " or "))
		}
		return usageError{fmt.Errorf("unknown command %q; %s`%s --help` lists them", args[0], guess, cmd.CommandPath())}
	}
	if !cmd.HasParent() {
		return cmd.Help()
	}
	var names []string
	for _, sub := range cmd.Commands() {
		names = append(names, sub.Name())
	}
	return usageError{fmt.Errorf("want one of %s; see `%s --help`", strings.Join(names, ", "), cmd.CommandPath())}
}

// helpCommand is cobra's, but for an unknown command, which is an error.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]...",
		Short: "Help about a command",
		RunE: func(cmd *cobra.Command, args []string) error {
			target, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return usageError{fmt.Errorf("unknown command %q; `weft --help` lists them", strings.Join(args, " "))}
			}
			return target.Help()
		},
	}
}

// wantArgs checks the number of arguments; max -1 means any.
func wantArgs(min, max int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) >= min && (max < 0 || len(args) <= max) {
			return nil
		}
		_, form, _ := strings.Cut(cmd.Use, " ")
		return fmt.Errorf("want %s, got %s; see `%s --help`", cmp.Or(form, "no argument"), count(len(args), "argument"), cmd.CommandPath())
	}
}

// checkName holds an argument to what a name can be.
func checkName(what, name string) error {
	if err := spec.CheckName(name); err != nil {
		return usageError{fmt.Errorf("%s %q: %w", what, name, err)}
	}
	return nil
}

// format is the value of --output.
type format string

var formats = []string{"table", "json"}

func (f *format) String() string { return string(*f) }
func (f *format) Type() string   { return "form" }
func (f *format) Set(s string) error {
	if !slices.Contains(formats, s) {
		return fmt.Errorf("it is table or json")
	}
	*f = format(s)
	return nil
}

func (a *app) client() *api.Client { return api.NewClient(a.socket) }

// print writes v as JSON, or as what table makes of it, in one piece.
func (a *app) print(v any, table func(w io.Writer)) error {
	var b bytes.Buffer
	if a.output == "json" {
		enc := json.NewEncoder(&b)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		if err := enc.Encode(v); err != nil {
			return fmt.Errorf("print answer: %w", err)
		}
	} else {
		table(&b)
	}
	if _, err := a.stdout.Write(b.Bytes()); err != nil {
		return fmt.Errorf("print answer: %w", err)
	}
	return nil
}

// done ends a command that has nothing to show: {} for programs, silence for people.
func (a *app) done(err error) error {
	if err != nil {
		return err
	}
	return a.print(struct{}{}, func(io.Writer) {})
}
