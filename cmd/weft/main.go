//go:build !man

// Command weft is a switch for containers and the tool to speak to it:
// `weft run` is the daemon, everything else asks it over its socket.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
)

// Exit codes.
const (
	exitDone   = 0 // also when it was so already
	exitFailed = 1
	exitUsage  = 2 // the arguments do not parse
)

// The main goroutine keeps the process's first thread: what changes threads'
// namespaces runs on others then. /proc/self/ns/net, by which the switch finds its
// host, is that of the first thread (proc(5)), which moreover never ends.
func init() { runtime.LockOSThread() }

func main() {
	ends := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // the terminal is gone; nohup(1) wants to stay
		ends = append(ends, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), ends...)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run does what args say and returns the exit code. Errors are one line on stderr.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot(stdout, stderr)
	root.SetArgs(append([]string{}, args...)) // never nil, which would mean os.Args
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitDone
	}
	if _, ok := errors.AsType[failure](err); ok {
		fmt.Fprintln(stderr, "weft:", oneLine(err.Error())) // says itself what was tried
		return exitFailed
	}
	where, text := strings.Replace(cmd.CommandPath(), "weft ", "weft: ", 1)+":", oneLine(err.Error())
	if name, _ := strings.CutPrefix(cmd.CommandPath(), "weft "); strings.HasPrefix(text, name+" ") {
		where = "weft:" // the error says what could not be done in the command's own word
	}
	fmt.Fprintln(stderr, where, text)
	return exitUsage
}
