package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"weft/internal/lab"
)

// weftLocal is weft on one host: a TAP in each container.
func weftLocal(program string) system {
	return system{
		name:  "weft, local",
		group: "one host",
		needs: nothing,
		setUp: func(ctx context.Context, b *bed) (from, to container, err error) {
			host, err := b.Host("host1")
			if err != nil {
				return from, to, err
			}
			w, err := startWeft(ctx, b, program, host, "host1")
			if err != nil {
				return from, to, err
			}
			ends := [2]container{{addr: addr1.Addr()}, {addr: addr2.Addr()}}
			for i, p := range []netip.Prefix{addr1, addr2} {
				if ends[i].ns, err = b.Host([]string{"c1", "c2"}[i]); err != nil {
					return from, to, err
				}
				if err = w.attach(ctx, ends[i].ns, p); err != nil {
					return from, to, err
				}
			}
			return ends[0], ends[1], nil
		},
	}
}

// weftGRE is weft between two hosts, over raw GRE.
func weftGRE(program string) system {
	return system{
		name:  "weft, raw GRE",
		group: "two hosts, GRE",
		needs: nothing,
		setUp: func(ctx context.Context, b *bed) (from, to container, err error) {
			h, c, err := hosts(b)
			if err != nil {
				return from, to, err
			}
			local, inner := [2]netip.Prefix{host1, host2}, [2]netip.Prefix{addr1, addr2}
			for i, name := range []string{"host1", "host2"} {
				w, err := startWeft(ctx, b, program, h[i], name,
					"--local", local[i].Addr().String(),
					"--peer", fmt.Sprintf("other=%s,encap=gre", local[1-i].Addr()))
				if err != nil {
					return from, to, err
				}
				if err := w.attach(ctx, c[i], inner[i]); err != nil {
					return from, to, err
				}
			}
			return container{c[0], addr1.Addr()}, container{c[1], addr2.Addr()}, nil
		},
	}
}

// weftSwitch is one `weft run`.
type weftSwitch struct{ program, socket string }

// startWeft starts a switch on a host, with the network blue, and waits until
// it answers.
func startWeft(ctx context.Context, b *bed, program string, host *lab.NS, name string, args ...string) (*weftSwitch, error) {
	w := &weftSwitch{program, filepath.Join(b.dir, name+".sock")}
	log, err := os.Create(filepath.Join(b.dir, name+".log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := host.Command(ctx, program, append([]string{
		"run", "--socket", w.socket, "--name", name, "--state-dir", filepath.Join(b.dir, name),
		"--network", "blue=10.10.0.0/24,id=7",
	}, args...)...)
	cmd.Stdout, cmd.Stderr = log, log
	p, err := host.Start(cmd)
	if err != nil {
		return nil, err
	}
	b.onClose(func() { _ = p.Stop(2 * time.Second) })
	for range 500 {
		if _, err = w.ctl(ctx, "status"); err == nil {
			return w, nil
		}
		select {
		case <-p.Done():
			said, _ := os.ReadFile(log.Name())
			return nil, fmt.Errorf("start weft: %s", strings.TrimSpace(string(said)))
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil, fmt.Errorf("start weft: no answer after 10 s: %w", err)
}

// ctl runs a client command.
func (w *weftSwitch) ctl(ctx context.Context, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, w.program, append([]string{"--socket", w.socket}, args...)...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("run weft %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return string(out), nil
}

func (w *weftSwitch) attach(ctx context.Context, c *lab.NS, addr netip.Prefix) error {
	_, err := w.ctl(ctx, "attach", "blue", "netns:"+c.Name(), addr.String())
	return err
}
