package main

import (
	"context"
	"encoding/json"
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

// weftLocal is weft on one host: a TAP in each container.
func weftLocal(program string) system {
	return system{
		id: "weft-local", name: "weft, local", group: oneHost, needs: nothing,
		setUp: func(ctx context.Context, b *bed) (from, to container, err error) {
			host, err := b.Host("host1")
			if err != nil {
				return from, to, err
			}
			w, err := startWeft(ctx, b, program, host, "host1", "--network", "blue=10.10.0.0/24,id=7")
			if err != nil {
				return from, to, err
			}
			var c [2]*lab.NS
			for i, p := range []netip.Prefix{addr1, addr2} {
				if c[i], err = b.Host([]string{"c1", "c2"}[i]); err != nil {
					return from, to, err
				}
				if err = w.attach(ctx, c[i], p); err != nil {
					return from, to, err
				}
			}
			return containers(c, addr1, addr2)
		},
	}
}

// weftGRE is weft between two hosts, over raw GRE, as it comes.
func weftGRE(program string) system {
	return system{id: "weft-gre", name: "weft, raw GRE", group: twoHosts, needs: nothing, setUp: weftHosts(program, "gre")}
}

// weftGREPlain is the same by raw sockets alone.
func weftGREPlain(program string) system {
	return system{
		id: "weft-gre-plain", name: "weft, raw GRE, --accel=off", group: twoHosts,
		needs: func() error { return takes(program, "--accel=off", "run", "--accel=off", "--help") },
		setUp: weftHosts(program, "gre", "--accel=off"),
	}
}

// weftGREUDP is weft over GRE-in-UDP (RFC 8086).
func weftGREUDP(program string) system {
	return system{
		id: "weft-udp", name: "weft, GRE-in-UDP", group: twoHosts,
		needs: func() error {
			return takes(program, "encap=gre-udp", "peer", "add", "other", host2.Addr().String()+",encap=gre-udp", "--socket", "/nonexistent")
		},
		setUp: weftHosts(program, "gre-udp"),
	}
}

// takes returns nil where the program understands args, which try what, whatever
// comes of them.
func takes(program, what string, args ...string) error {
	err := exec.Command(program, args...).Run()
	exit := (*exec.ExitError)(nil)
	if errors.As(err, &exit) && exit.ExitCode() == 2 {
		return fmt.Errorf("this weft does not know %s", what)
	}
	return nil
}

// weftHosts joins a network on two hosts by the given encapsulation.
func weftHosts(program, encap string, args ...string) func(context.Context, *bed) (from, to container, err error) {
	return func(ctx context.Context, b *bed) (from, to container, err error) {
		h, c, err := hosts(b)
		if err != nil {
			return from, to, err
		}
		local, inner := [2]netip.Prefix{host1, host2}, [2]netip.Prefix{addr1, addr2}
		for i, name := range []string{"host1", "host2"} {
			w, err := startWeft(ctx, b, program, h[i], name, append([]string{
				"--local", local[i].Addr().String(),
				"--network", "blue=10.10.0.0/24,id=7",
				"--peer", fmt.Sprintf("other=%s,encap=%s", local[1-i].Addr(), encap),
			}, args...)...)
			if err != nil {
				return from, to, err
			}
			if err := w.attach(ctx, c[i], inner[i]); err != nil {
				return from, to, err
			}
		}
		return containers(c, addr1, addr2)
	}
}

// weftRouted gives each host a prefix and a gateway, and routes between them.
func weftRouted(program string) system {
	return system{
		id: "weft-routed", name: "weft, routed", group: twoHosts, needs: nothing,
		setUp: func(ctx context.Context, b *bed) (from, to container, err error) {
			h, c, err := hosts(b)
			if err != nil {
				return from, to, err
			}
			local := [2]netip.Prefix{host1, host2}
			for i, name := range []string{"host1", "host2"} {
				own, far := routed(i), routed(1-i)
				w, err := startWeft(ctx, b, program, h[i], name,
					"--local", local[i].Addr().String(),
					"--network", fmt.Sprintf("blue=%s,id=%d,gateway=%s,vrf=site", own.Masked(), 7+i, own.Masked().Addr().Next()),
					"--peer", "other="+local[1-i].Addr().String(),
					"--route", far.Masked().String()+"=other,vrf=site")
				if err != nil {
					return from, to, err
				}
				if err := w.attach(ctx, c[i], own); err != nil {
					return from, to, err
				}
			}
			return containers(c, routed1, routed2)
		},
	}
}

// weftSwitch is one `weft run`.
type weftSwitch struct {
	program, socket string
	proc            *lab.Proc
	pid             int // of proc
}

// startWeft starts a switch on a host and waits until it answers.
func startWeft(ctx context.Context, b *bed, program string, host *lab.NS, name string, args ...string) (*weftSwitch, error) {
	w := &weftSwitch{program: program, socket: filepath.Join(b.dir, name+".sock")}
	log, err := os.Create(filepath.Join(b.dir, name+".log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := host.Command(ctx, program, append([]string{"run", "--socket", w.socket, "--name", name, "--state-dir", filepath.Join(b.dir, name)}, args...)...)
	cmd.Stdout, cmd.Stderr = log, log
	if w.proc, err = host.Start(cmd); err != nil {
		return nil, err
	}
	w.pid = w.proc.PID()
	b.onClose(func() { _ = w.proc.Stop(2 * time.Second) })
	b.switchedBy(host, w.pid)
	b.path = w.path
	for range 500 {
		if _, err = w.ctl(ctx, "status"); err == nil {
			return w, nil
		}
		select {
		case <-w.proc.Done():
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

// path says how the switch reaches its peer: encapsulation and accelerator.
func (w *weftSwitch) path() string {
	out, err := w.ctl(context.Background(), "peer", "ls", "-o", "json")
	var peers []struct{ Encap, Accel string }
	if err != nil || json.Unmarshal([]byte(out), &peers) != nil || len(peers) == 0 {
		return ""
	}
	if p := peers[0]; p.Accel != "" {
		return p.Encap + ", " + p.Accel
	}
	return peers[0].Encap
}
