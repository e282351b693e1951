package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"weft/internal/api"
	"weft/internal/control"
	"weft/internal/docker"
	"weft/internal/spec"
)

// closeGrace is how long running requests may hold up the end of the daemon.
const closeGrace = 100 * time.Millisecond

// watchSocketEvery is how often the daemon looks whether its socket is there.
// Tests make it short.
var watchSocketEvery = time.Second

func runCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the switch of this host, in the foreground",
		Long: `Run the switch of this host, in the foreground. It is ready when its socket
answers "weft status", and ends with SIGTERM or Ctrl-C; containers keep their
interfaces and find the switch again after a restart.

The flags and the YAML file are one schema; where both name the same thing, the
flag stands. It needs root, or CAP_NET_ADMIN, CAP_NET_RAW and CAP_SYS_ADMIN, and
CAP_SYS_PTRACE where containers are found by their processes.`,
		Example: `  sudo weft run --network blue=10.1.0.0/16 --peer host2=192.168.18.17
  sudo weft run --config /etc/weft.yaml --log-level debug
  sudo weft run --network blue=172.17.1.0/24,gateway=172.17.1.1,vrf=red --peer host2=192.168.18.17 --route 172.17.2.0/24=host2
  sudo weft run --local 192.168.18.16 --network blue=10.1.0.0/16,fd00:1::/64,id=7,gateway=10.1.0.1 \
      --peer host2=192.168.18.17,networks=blue --peer ovs=192.168.18.20,networks=blue,key=none,csum`,
		Args: wantArgs(0, 0),
	}
	var o runOptions
	flags := cmd.Flags()
	flags.StringVar(&o.config, "config", "", "YAML `file` with the same settings")
	flags.StringVar(&o.name, "name", "", "`name` of this host; default its host name")
	flags.StringArrayVar(&o.local, "local", nil, "own underlay `address`, IPv4 or IPv6, repeatable; default the one that the route to a peer picks")
	flags.StringVar(&o.stateDir, "state-dir", "", "`directory` for what survives a restart; default /var/lib/weft")
	flags.StringVar(&o.logLevel, "log-level", "", "`level`: debug, info, warn or error; default info")
	flags.StringVar(&o.accel, "accel", "", "`auto`, to carry packets to peers as fast as this host allows, or off, by raw sockets only; default auto")
	flags.StringArrayVar(&o.networks, "network", nil, "network: `NAME=PREFIX`[,PREFIX6][,id=N][,gateway=ADDR]...[,vrf=NAME][,range=A-B][,mtu=N][,ageing=SECONDS]; repeatable")
	flags.StringArrayVar(&o.peers, "peer", nil, "switch of another host: `NAME=ADDR`[,networks=A+B][,key=none][,csum][,seq][,encap=auto|gre|gre-udp]; repeatable")
	flags.StringArrayVar(&o.routes, "route", nil, "route: `PREFIX=PEER|ADDR`[,vrf=NAME]; repeatable")
	flags.StringArrayVar(&o.uplinks, "uplink", nil, "link of this host that a network is joined to: `NETWORK=DEVICE`[,vlan=N][,transit]; repeatable")
	flags.StringArrayVar(&o.exposed, "expose", nil, "network that the host takes part in: `NETWORK`[,ADDR/LEN]...[,no-snat]; repeatable")
	flags.StringArrayVar(&o.published, "publish", nil, "ports that lead to a container: `NETWORK,TARGET,PORTS`, as in blue,netns:web,8080:80; repeatable")
	_ = cmd.MarkFlagFilename("config", "yaml", "yml")
	_ = cmd.MarkFlagDirname("state-dir")
	_ = cmd.RegisterFlagCompletionFunc("log-level", cobra.FixedCompletions(spec.LogLevels, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("accel", cobra.FixedCompletions(spec.AccelModes, cobra.ShellCompDirectiveNoFileComp))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		declared, err := o.parse(flags.Changed)
		if err != nil {
			return usageError{err}
		}
		return control.Cured(a.run(cmd.Context(), o.config, declared))
	}
	return cmd
}

// run is the daemon: everything that exists is made here.
func (a *app) run(ctx context.Context, file string, flags spec.Config) error {
	cfg, source, err := layOver(file, flags)
	if err != nil {
		return err
	}
	if err := api.CheckSocketPath(a.socket); err != nil {
		return err
	}
	if err := checkMachine(); err != nil {
		return err
	}
	// Whoever reads the log may go away; that must not end the switch.
	signal.Ignore(syscall.SIGPIPE)
	log := slog.New(slog.NewTextHandler(a.stderr, &slog.HandlerOptions{Level: level(cfg.LogLevel)}))

	// GOMAXPROCS and the garbage collector are left as they are: workers have
	// threads of their own and allocate nothing, and the runtime preempts even a
	// busy one in time for the API.
	return serve(ctx, a.socket, log, func() (controller, error) {
		return control.Open(control.Options{Config: cfg, Source: source, Version: weftVersion(), Log: log, Docker: docker.NewEngine()})
	})
}

// controller is what serve needs of a *control.Controller.
type controller interface {
	api.Control
	io.Closer
}

// serve opens the switch and answers for it on socket until ctx ends. The
// socket is there first, so that a second daemon finds it taken before it
// touches anything; who asks early waits until the switch is ready. When its file
// is deleted, it is made again.
func serve(ctx context.Context, socket string, log *slog.Logger, open func() (controller, error)) error {
	sock, err := api.Listen(socket)
	if err != nil {
		return err
	}
	ctl, err := open()
	if err != nil {
		return errors.Join(err, sock.Close())
	}
	srv := api.NewServer(ctl, log)
	d := door{sock: sock, srv: srv, log: log, served: make(chan error, 1)}
	defer func() { d.sock.Close() }()
	d.open()
	log.Info("ready", "socket", socket)
	if err := notify("READY=1"); err != nil {
		log.Warn("systemd does not know that the switch is ready", "err", err)
	}

	watch := time.NewTicker(watchSocketEvery)
	defer watch.Stop()
	for running := true; running; {
		select {
		case err = <-d.served: // the socket broke
			running = false
		case <-ctx.Done():
			log.Info("stopping")
			running = false
		case <-watch.C:
			if ctx.Err() == nil { // never while it ends
				d.look()
			}
		}
	}
	grace, cancel := context.WithTimeout(context.Background(), closeGrace)
	defer cancel()
	err = errors.Join(err, srv.Close(grace))
	return errors.Join(err, ctl.Close())
}

// runOptions are the flags of `weft run` as they stand.
type runOptions struct {
	config, name, stateDir, logLevel, accel string
	local, networks, peers, routes, uplinks []string
	exposed, published                      []string
}

// parse returns what the flags declare; given says which of them stand.
func (o *runOptions) parse(given func(flag string) bool) (c spec.Config, err error) {
	if given("config") && o.config == "" {
		return c, errors.New("--config: the path of the file is empty")
	}
	if given("name") {
		if err := spec.CheckName(o.name); err != nil {
			return c, fmt.Errorf("--name %q: %w", o.name, err)
		}
	}
	if given("state-dir") && o.stateDir == "" {
		return c, errors.New("--state-dir: the path of the directory is empty")
	}
	if given("log-level") {
		if err := spec.CheckLogLevel(o.logLevel); err != nil {
			return c, fmt.Errorf("--log-level: %w", err)
		}
	}
	if given("accel") {
		if err := spec.CheckAccel(o.accel); err != nil {
			return c, fmt.Errorf("--accel: %w", err)
		}
	}
	c = spec.Config{Name: o.name, StateDir: o.stateDir, LogLevel: o.logLevel, Accel: o.accel}
	err = cmp.Or(
		parseAll("--local", o.local, spec.ParseLocal, c.AddLocal),
		parseAll("--network", o.networks, spec.ParseNetwork, c.AddNetwork),
		parseAll("--peer", o.peers, spec.ParsePeer, c.AddPeer),
		parseAll("--route", o.routes, spec.ParseRoute, c.AddRoute),
		parseAll("--uplink", o.uplinks, spec.ParseUplink, c.AddUplink),
		parseAll("--expose", o.exposed, spec.ParseExpose, c.AddExpose),
		parseAll("--publish", o.published, spec.ParsePublish, c.AddPublish),
	)
	return c, err
}

// parseAll parses each value of a repeatable flag and adds it.
func parseAll[T any](flag string, values []string, parse func(string) (T, error), add func(T) error) error {
	for _, v := range values {
		t, err := parse(v)
		if err == nil {
			err = add(t)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", flag, err)
		}
	}
	return nil
}

// layOver reads the file, where there is one, and lays the flags over it. The
// source names both for messages about what was declared.
func layOver(file string, flags spec.Config) (cfg spec.Config, source string, err error) {
	if file == "" {
		return flags, "the flags of weft run", nil
	}
	cfg, err = spec.LoadConfig(file)
	if err != nil {
		return spec.Config{}, "", err
	}
	source = file
	if len(flags.Networks)+len(flags.Peers)+len(flags.Routes)+len(flags.Uplinks)+len(flags.Exposed)+len(flags.Published) > 0 {
		source += " or the flags of weft run"
	}
	cfg, err = flags.Over(cfg)
	return cfg, source, err
}

func level(name string) slog.Level {
	var l slog.Level
	if err := l.UnmarshalText([]byte(cmp.Or(name, "info"))); err != nil {
		return slog.LevelInfo
	}
	return l
}

// checkMachine reports what the switch would miss at its first attach.
func checkMachine() error {
	if err := checkCapabilities(); err != nil {
		return err
	}
	f, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ENODEV), errors.Is(err, syscall.ENXIO):
		return fmt.Errorf("open /dev/net/tun: %w; load it with `modprobe tun`, or give this container the device (docker: --device /dev/net/tun)", errno(err))
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return fmt.Errorf("open /dev/net/tun: %w", errno(err))
	case err != nil:
		return fmt.Errorf("open /dev/net/tun: %w; allow this process to use the device", errno(err))
	}
	return f.Close()
}

// errno returns the cause without the call and the path in front of it.
func errno(err error) error {
	if e, ok := errors.AsType[syscall.Errno](err); ok {
		return e
	}
	return err
}
