package demo

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"weft/internal/lab"
)

// network is the one that the containers share.
const (
	network = "blue"
	prefix  = "10.10.0.0/24"
)

// host is a host of the demo, a namespace with a switch in it.
type host struct {
	name   string
	local  netip.Prefix // underlay address; TEST-NET-2 of RFC 5737
	ns     *lab.NS
	proc   *lab.Proc // weft run; nil until started
	socket string
}

// container is a container of the demo: a namespace with nothing in it.
type container struct {
	name string
	addr netip.Prefix
	on   *host
	ns   *lab.NS
}

// stage is all that the demo builds.
type stage struct {
	lab          *lab.Lab
	dir          string // for sockets, state, logs, and short names of the namespaces
	program      string
	host1, host2 *host
	web, db, app *container
}

// newStage makes the namespaces and the underlay. On error nothing is left.
func newStage(program string) (*stage, error) {
	if err := lab.Sweep(); err != nil { // of demos that were killed
		return nil, err
	}
	l, err := lab.New()
	if err != nil {
		return nil, err
	}
	s := &stage{lab: l, program: program}
	s.host1 = &host{name: "host1", local: netip.MustParsePrefix("198.51.100.1/24")}
	s.host2 = &host{name: "host2", local: netip.MustParsePrefix("198.51.100.2/24")}
	s.web = &container{name: "web", on: s.host1, addr: netip.MustParsePrefix("10.10.0.1/24")}
	s.db = &container{name: "db", on: s.host1, addr: netip.MustParsePrefix("10.10.0.2/24")}
	s.app = &container{name: "app", on: s.host2, addr: netip.MustParsePrefix("10.10.0.3/24")}
	if err := s.build(); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *stage) build() (err error) {
	if s.dir, err = s.lab.Dir(); err != nil {
		return err
	}
	for _, h := range []*host{s.host1, s.host2} {
		h.socket = filepath.Join(s.dir, h.name+".sock")
		if h.ns, err = s.lab.Host(h.name); err != nil {
			return err
		}
	}
	for _, c := range []*container{s.web, s.db, s.app} {
		if c.ns, err = s.lab.Host(c.name); err != nil {
			return err
		}
		// Under this path it is called as in the picture; a port is named after its last element.
		if err := os.Symlink(c.ns.Path(), s.path(c)); err != nil {
			return fmt.Errorf("name container: %w", err)
		}
	}
	return s.lab.Link(
		lab.End{NS: s.host1.ns, Name: "eth0", Addrs: []netip.Prefix{s.host1.local}},
		lab.End{NS: s.host2.ns, Name: "eth0", Addrs: []netip.Prefix{s.host2.local}},
	)
}

// path returns the file under which a switch finds the container.
func (s *stage) path(c *container) string { return filepath.Join(s.dir, c.name) }

// close ends the switches and takes everything away. It may be called twice.
func (s *stage) close() error {
	for _, h := range []*host{s.host1, s.host2} {
		if h.proc != nil {
			_ = h.proc.Stop(2 * time.Second) // the lab kills what stays
		}
	}
	return s.lab.Close()
}

// start starts the switch of h with args and waits until it answers.
func (s *stage) start(ctx context.Context, h *host, args ...string) error {
	log, err := os.Create(filepath.Join(s.dir, h.name+".log"))
	if err != nil {
		return fmt.Errorf("make log: %w", err)
	}
	defer log.Close()
	// Its end is close's business: an interrupted demo still stops it in good order.
	cmd := h.ns.Command(context.WithoutCancel(ctx), s.program, append(args, "--state-dir", filepath.Join(s.dir, h.name))...)
	cmd.Env = append(os.Environ(), "WEFT_SOCKET="+h.socket)
	cmd.Stdout, cmd.Stderr = log, log
	if h.proc, err = h.ns.Start(cmd); err != nil {
		return err
	}
	for range 1000 {
		if _, err = s.weft(ctx, h, "status"); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-h.proc.Done():
			return fmt.Errorf("start the switch of %s: %s", h.name, tail(log.Name()))
		case <-time.After(5 * time.Millisecond):
		}
	}
	return fmt.Errorf("start the switch of %s: no answer: %w: %s", h.name, err, tail(log.Name()))
}

// weft runs a client command against the switch of h and returns what it printed.
func (s *stage) weft(ctx context.Context, h *host, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, s.program, args...)
	cmd.Env = append(os.Environ(), "WEFT_SOCKET="+h.socket)
	var out, diag strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &diag
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		return "", fmt.Errorf("weft %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(diag.String()))
	}
	return out.String(), nil
}

// tail returns the last lines of a log, for an error message.
func tail(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], "\n")
}
