package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"time"

	"weft/internal/lab"
	"weft/internal/lab/probe"
)

// Options describe a run. The zero value is not usable: Program and Out must be set.
type Options struct {
	Program string        // path of the weft program
	Out     io.Writer     // what the user reads
	Color   bool          // Out is a terminal
	Stream  time.Duration // length of each throughput measurement; 0: 1.5 s
}

// demo is one run.
type demo struct {
	*stage
	script
	stream time.Duration
	across float64 // bits per second from web to app, as measured
}

// Run shows everything and returns when it is gone again: also when ctx ends
// early, which is an error.
func Run(ctx context.Context, o Options) (err error) {
	if err := lab.Check(); err != nil {
		if os.Geteuid() != 0 {
			err = errors.New("the demo needs root, to make network namespaces: sudo weft demo")
		}
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	began := time.Now()
	st, err := newStage(o.Program)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.close()) }()
	d := &demo{stage: st, stream: o.Stream}
	if d.stream == 0 {
		d.stream = 1500 * time.Millisecond
	}
	d.script = script{w: &screen{w: o.Out, gone: cancel}, color: o.Color, short: strings.NewReplacer(st.dir+"/", "")}

	d.say("Two hosts and three containers, all of them network namespaces of this machine.")
	d.say("Behind a $ stands what you would type there.")
	fmt.Fprint(d.w, picture)
	for _, step := range []func(context.Context) error{d.startSwitches, d.attachContainers, d.ping, d.moveData, d.measure, d.survive, d.show, d.detach} {
		if err := step(ctx); err != nil {
			if ctx.Err() != nil {
				return errors.New("demo interrupted; everything was taken away again")
			}
			return err
		}
	}
	if err := d.close(); err != nil {
		return err
	}
	d.heading(fmt.Sprintf("Done in %.0f s, and everything is gone again", time.Since(began).Seconds()))
	d.say("On real hosts it is the same commands: see README.md, and `weft --help`.")
	return nil
}

// startSwitches starts one switch per host, each told where the other is.
func (d *demo) startSwitches(ctx context.Context) error {
	d.heading("1. One switch on each host, knowing the other as its peer")
	if err := d.startSwitch(ctx, d.host1, d.host2); err != nil {
		return err
	}
	return d.startSwitch(ctx, d.host2, d.host1)
}

func (d *demo) startSwitch(ctx context.Context, here, there *host) error {
	args := []string{"run", "--name", here.name, "--local", here.local.Addr().String(),
		"--network", network + "=" + prefix, "--peer", there.name + "=" + there.local.Addr().String()}
	d.command(here.name, append([]string{"weft"}, args...)...)
	began := time.Now()
	if err := d.start(ctx, here, args...); err != nil {
		return err
	}
	d.answer(fmt.Sprintf("ready after %d ms", time.Since(began).Milliseconds()), 1)
	return nil
}

// attachContainers gives each container a TAP with its address.
func (d *demo) attachContainers(ctx context.Context) error {
	d.heading("2. A port for each container: a TAP device appears in it, with its address")
	for _, c := range []*container{d.web, d.db, d.app} {
		if err := d.typed(ctx, c.on, 6, "attach", network, "netns:"+d.path(c), c.addr.String()); err != nil {
			return err
		}
	}
	return nil
}

// typed shows a weft command, runs it on a host, and shows its answer.
func (d *demo) typed(ctx context.Context, h *host, most int, args ...string) error {
	d.command(h.name, append([]string{"weft"}, args...)...)
	out, err := d.weft(ctx, h, args...)
	if err != nil {
		return err
	}
	if strings.TrimSpace(out) != "" {
		d.answer(out, most)
	}
	return nil
}

// ping sends echoes on one host and across.
func (d *demo) ping(ctx context.Context) error {
	d.heading("3. They reach each other, on one host and across (the demo plays ping and iperf3 itself)")
	for _, p := range []struct{ from, to *container }{{d.web, d.db}, {d.web, d.app}, {d.app, d.db}} {
		addr := p.to.addr.Addr()
		if err := reach(ctx, p.from, p.to); err != nil {
			return err
		}
		d.command(p.from.name, "ping -c 5 -i 0.1", addr.String())
		got, err := probe.Ping(ctx, p.from.ns, addr, probe.Echo{Count: 5, Size: 56, Interval: 100 * time.Millisecond})
		if err != nil {
			return err
		}
		d.answer(fmt.Sprintf("%d sent, %d answered; round trip %s / %s / %s (min / avg / max)", got.Sent, got.Received, us(got.Min), us(got.Avg), us(got.Max)), 1)
		if got.Lost() > 0 {
			return fmt.Errorf("ping %s from %s: %d of %d lost", addr, p.from.name, got.Lost(), got.Sent)
		}
	}
	return nil
}

// reach waits until to answers: the kernel takes up to a second until it knows
// that a link is up.
func reach(ctx context.Context, from, to *container) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return probe.Reach(ctx, from.ns, to.addr.Addr())
}

func us(t time.Duration) string { return fmt.Sprintf("%d us", t.Microseconds()) }

// moveData moves random bytes between the hosts and compares what arrives.
func (d *demo) moveData(ctx context.Context) error {
	d.heading("4. Random data arrives as it was sent")
	for _, p := range []struct{ from, to *container }{{d.web, d.app}, {d.app, d.web}, {d.web, d.db}} {
		line, err := move(ctx, p.from, p.to, 32)
		if err != nil {
			return err
		}
		d.say("%s", line)
	}
	return nil
}

// move sends megabytes over one TCP connection, compares them, and says so.
func move(ctx context.Context, from, to *container, megabytes int64) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	got, err := probe.TCP(ctx, from.ns, to.ns, netip.AddrPortFrom(to.addr.Addr(), 0), megabytes<<20)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%-3s -> %-3s   %d MB, SHA-256 %x... on both sides", from.name, to.name, megabytes, got.Received[:6]), nil
}

// measure sends TCP as fast as it goes, both ways.
func (d *demo) measure(ctx context.Context) error {
	d.heading("5. How fast: one TCP stream, all on the cores of this one machine")
	for _, p := range []struct {
		from, to *container
		where    string
	}{
		{d.web, d.db, "on one host"},
		{d.db, d.web, "on one host"},
		{d.web, d.app, "between hosts, in GRE"},
		{d.app, d.web, "between hosts, in GRE"},
	} {
		rate, err := probe.Throughput(ctx, p.from.ns, p.to.ns, netip.AddrPortFrom(p.to.addr.Addr(), 0), d.stream)
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if p.from == d.web && p.to == d.app {
			d.across = rate
		}
		d.say("%-3s -> %-3s   %5.2f Gbit/s   %s", p.from.name, p.to.name, rate/1e9, p.where)
	}
	return nil
}

// survive kills a switch under a TCP connection and starts it again.
func (d *demo) survive(ctx context.Context) error {
	d.heading("6. A switch may be killed: TAPs stay in their containers, and connections go on")
	d.say("web sends to app all the while:")
	type result struct {
		line string
		err  error
	}
	moved := make(chan result, 1)
	megabytes := min(max(int64(d.across/8/1e6), 32), 1024) // about a second
	go func() {                                            // ends with the transfer, which ctx bounds
		line, err := move(ctx, d.web, d.app, megabytes)
		moved <- result{line, err}
	}()
	sleep(ctx, 200*time.Millisecond)
	d.command(d.host1.name, "kill -9 $(pidof weft)")
	d.host1.proc.Kill()
	if err := d.startSwitch(ctx, d.host1, d.host2); err != nil {
		return errors.Join(err, (<-moved).err)
	}
	r := <-moved
	if r.err != nil {
		return r.err
	}
	d.say("%s", r.line)
	return nil
}

func sleep(ctx context.Context, t time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(t):
	}
}

// show asks the switches what they know.
func (d *demo) show(ctx context.Context) error {
	d.heading("7. What the switches know")
	for _, c := range []struct {
		on   *host
		most int
		args []string
	}{
		{d.host1, 12, []string{"fdb", "show"}},
		{d.host2, 12, []string{"fdb", "show"}},
		{d.host2, 30, []string{"status"}},
	} {
		if err := d.typed(ctx, c.on, c.most, c.args...); err != nil {
			return err
		}
	}
	return nil
}

// detach takes a container off the network.
func (d *demo) detach(ctx context.Context) error {
	d.heading("8. What was attached can be detached")
	return d.typed(ctx, d.host1, 6, "detach", network, "netns:"+d.path(d.db))
}
