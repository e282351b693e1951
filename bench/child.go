package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"weft/internal/lab"
)

// children are the systems that are no program of their own: bench starts
// itself with the name and its arguments, inside a host, so that they have a
// process to be measured. Each says "ready" on its standard output and goes on
// until it is killed.
var children = map[string]func(args []string, in io.Reader, out io.Writer) error{
	"child-tap-loop":  tapLoop,
	"child-wireguard": wireguardDevice,
}

const childReady = "ready"

// startChild starts one of children inside host, and waits until it is ready.
func startChild(ctx context.Context, b *bed, host *lab.NS, in, name string, args ...string) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find own program: %w", err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make pipe: %w", err)
	}
	defer r.Close()
	var diag strings.Builder
	cmd := host.Command(ctx, self, append([]string{name}, args...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(in), w, &diag
	p, err := host.Start(cmd)
	_ = w.Close()
	if err != nil {
		return err
	}
	b.onClose(p.Kill)
	b.switchedBy(host, p.PID())
	_ = r.SetReadDeadline(time.Now().Add(time.Minute))
	line, err := bufio.NewReader(r).ReadString('\n')
	if strings.TrimSpace(line) == childReady {
		return nil
	}
	p.Kill()
	if said := strings.TrimSpace(diag.String()); said != "" {
		return fmt.Errorf("start %s: %s", name, said)
	}
	return fmt.Errorf("start %s: %w", name, err)
}
