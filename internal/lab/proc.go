package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Proc is a process that was started inside a namespace.
type Proc struct {
	cmd  *exec.Cmd
	done chan struct{} // closed once the process was waited for
	err  error         // of Wait; valid once done is closed
}

// Command returns a command to be given to Start or Run. When ctx ends, the
// process is killed.
func (n *NS) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	cmd.WaitDelay = time.Second
	return cmd
}

// Start starts cmd inside the namespace. The process leads a group of its own,
// so that an interrupt typed at the terminal reaches only the caller, and dies
// with the caller. Use Proc.Wait, not cmd.Wait.
func (n *NS) Start(cmd *exec.Cmd) (*Proc, error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &unix.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	cmd.SysProcAttr.Pdeathsig = unix.SIGKILL

	n.lab.mu.Lock()
	defer n.lab.mu.Unlock()
	if n.lab.closed {
		return nil, fmt.Errorf("start %s in %s: lab is closed", cmd.Path, n.name)
	}
	p := &Proc{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go p.run(n, started) // ends with the process, which Close kills
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s in %s: %w", cmd.Path, n.name, err)
	}
	n.lab.procs = append(n.lab.procs, p)
	return p, nil
}

// run starts the process inside n and waits for it, all on one thread: the
// child inherits the namespace of the thread that forks, and Pdeathsig means the
// death of that thread (prctl(2), PR_SET_PDEATHSIG), so it has to stay. It goes
// back to its own namespace at once: else it would pin n, and were it the main
// thread, which cannot end, for ever.
func (p *Proc) run(n *NS, started chan<- error) {
	runtime.LockOSThread()
	back, err := thereAndBack(func() error {
		if err := n.enter(); err != nil {
			return err
		}
		return p.cmd.Start()
	})
	started <- err
	if err == nil {
		p.err = p.cmd.Wait()
		close(p.done)
	}
	if back {
		runtime.UnlockOSThread()
	}
}

// PID returns the process id.
func (p *Proc) PID() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended.
func (p *Proc) Done() <-chan struct{} { return p.done }

// Wait waits for the end and returns how it was, as exec.Cmd.Wait does. It may
// be called more than once.
func (p *Proc) Wait() error {
	<-p.done
	return p.err
}

// Signal sends a signal to the process alone.
func (p *Proc) Signal(sig unix.Signal) error {
	select {
	case <-p.done:
		return unix.ESRCH
	default:
		return p.cmd.Process.Signal(sig)
	}
}

// Kill kills the process and its group, and waits.
func (p *Proc) Kill() {
	select {
	case <-p.done:
	default:
		// Not reaped yet, so the number cannot belong to another group.
		_ = unix.Kill(-p.PID(), unix.SIGKILL)
		<-p.done
	}
}

// Stop asks the process to end by SIGTERM, waits up to grace, then kills it.
// It returns how the process ended.
func (p *Proc) Stop(grace time.Duration) error {
	_ = p.Signal(unix.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(grace):
		p.Kill()
	}
	return p.Wait()
}

// Run runs a command to its end inside the namespace.
func (n *NS) Run(cmd *exec.Cmd) error {
	p, err := n.Start(cmd)
	if err != nil {
		return err
	}
	return p.Wait()
}

// Output runs a command to its end and returns its standard output; the error
// of a command that failed ends with what it said last on standard error.
func (n *NS) Output(ctx context.Context, name string, args ...string) (string, error) {
	cmd := n.Command(ctx, name, args...)
	var out, diag bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &diag
	if err := n.Run(cmd); err != nil {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			err = ctx.Err()
		}
		return out.String(), fmt.Errorf("run %s in %s: %w: %s", name, n.name, err, lastLine(diag.String()))
	}
	return out.String(), nil
}

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return s[strings.LastIndexByte(s, '\n')+1:]
}
