package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"weft/internal/load"
	"weft/internal/spec"
)

// benchWait is how long servers on other hosts may take to answer.
const benchWait = 2 * time.Second

// benchServeCommand is the other side of `weft bench peer:NAME`.
func benchServeCommand(a *app) *cobra.Command {
	b := &bencher{app: a}
	cmd := &cobra.Command{
		Use:   "serve [NETWORK]",
		Short: "Be the other side of a bench, until Ctrl-C",
		Long: `Be the other side of a bench, until Ctrl-C: a container is made that is attached to the
network and takes part in the tests of whoever asks from within it. It answers
nobody who did not ask over TCP, and no test takes longer than a minute.`,
		Example:           "  weft bench serve blue",
		Args:              wantArgs(0, 1),
		ValidArgsFunction: a.completeArgs(networkNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				if err := checkName("network", args[0]); err != nil {
					return err
				}
				b.network = args[0]
			}
			return b.serve(cmd.Context())
		},
	}
	b.addressFlag(cmd)
	return cmd
}

// addressFlag lets the user choose the address of a guest.
func (b *bencher) addressFlag(cmd *cobra.Command) {
	cmd.Flags().Func("address", "`address` with length for the container that is made; default one that is free on this host", func(s string) (err error) {
		b.address, err = spec.ParseAddress(s)
		return err
	})
}

// serve runs until ctx ends.
func (b *bencher) serve(ctx context.Context) error {
	s, err := b.client().Status(ctx)
	if err != nil {
		return err
	}
	if b.network == "" {
		if len(s.Networks) != 1 {
			return fmt.Errorf("this switch has %s: name the one to serve in", count(len(s.Networks), "network"))
		}
		b.network = s.Networks[0].Name
	}
	guest, err := b.newGuest(ctx, b.network)
	if err != nil {
		return err
	}
	defer guest.leave()
	server, err := load.Serve(ctx, guest.place, netip.AddrPortFrom(guest.port.Addresses[0].Addr(), load.DefaultPort), "")
	if err != nil {
		return err
	}
	defer server.Close()
	if err := server.AnswerSearches(ctx, guest.port.MAC.HardwareAddr(), s.Name, guest.port.Addresses); err != nil {
		return err
	}
	fmt.Fprintf(b.stderr, "serving at %s in network %s until Ctrl-C; on the other host: weft bench peer:NAME\n", guest.port.Addresses[0].Addr(), b.network)
	<-ctx.Done()
	return nil
}

// guest is a container that is there for a bench alone: a namespace without a
// name, that of a thread, attached to a network. Where this process is killed, the
// namespace ends with it, and the switch takes the port away.
type guest struct {
	b      *bencher
	port   spec.PortStatus
	place  load.Place
	remove func()
}

// guestIfName is what a guest's interface is called.
const guestIfName = "bench0"

func (b *bencher) newGuest(ctx context.Context, network string) (*guest, error) {
	draw, err := b.drawsFrom(ctx, network)
	if err != nil {
		return nil, err
	}
	path, remove, err := load.NewNamespace()
	if err != nil {
		return nil, fmt.Errorf("%w: run it as root", err)
	}
	g := &guest{b: b, place: load.Namespace(path), remove: remove}
	at := spec.Attach{Network: network, Target: spec.SchemeNetns + ":" + path, IfName: guestIfName}
	g.port = spec.PortStatus{Network: network, Target: at.Target} // it may be attached where the answer was cut off
	if b.address.Prefix.IsValid() {
		at.Addresses = []spec.Address{b.address}
	} else if draw.IsValid() {
		at.Addresses, err = g.draw(ctx, at, draw)
	}
	var port spec.PortStatus
	if err == nil {
		port, err = b.client().Attach(ctx, at)
	}
	if err != nil {
		g.leave()
		return nil, err
	}
	g.port = port
	return g, nil
}

// leave takes the guest away, also after ctx ended.
func (g *guest) leave() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := g.b.client().Detach(ctx, g.port.Network, g.port.Target); err != nil {
		fmt.Fprintln(g.b.stderr, "weft: detach the container of the bench:", oneLine(err.Error()))
	}
	g.remove()
}

// toPeer measures from a guest of this host to a server behind a peer.
func (b *bencher) toPeer(ctx context.Context, name string) (r benchResult, err error) {
	peers, err := b.client().Peers(ctx)
	if err != nil {
		return r, err
	}
	i := slices.IndexFunc(peers, func(p spec.PeerStatus) bool { return p.Name == name })
	if i < 0 {
		return r, fmt.Errorf("peer %q is not known: `weft peer ls` lists them", name)
	}
	networks := peers[i].Networks
	if b.network != "" {
		if !slices.Contains(networks, b.network) {
			return r, fmt.Errorf("network %q is not shared with peer %s: %s", b.network, name, sharedWith(networks))
		}
		networks = []string{b.network}
	}
	if len(networks) == 0 {
		return r, fmt.Errorf("no network is shared with peer %s", name)
	}
	for _, network := range networks {
		r, err = b.inNetwork(ctx, name, network)
		if !errors.Is(err, errNoServer) {
			return r, err
		}
	}
	return r, fmt.Errorf("bench to peer %s: nobody serves there in network %s (peer is %s%s): run `weft bench serve %s` on that host meanwhile",
		name, strings.Join(networks, ", "), peers[i].State, because(peers[i].Reason), networks[0])
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + reason
}

func sharedWith(networks []string) string {
	if len(networks) == 0 {
		return "none is"
	}
	return "it has " + strings.Join(networks, ", ")
}

var errNoServer = errors.New("nobody serves there")

// inNetwork is toPeer in one network.
func (b *bencher) inNetwork(ctx context.Context, peer, network string) (r benchResult, err error) {
	g, err := b.newGuest(ctx, network)
	if err != nil {
		return r, err
	}
	defer g.leave()
	found, err := load.Find(ctx, g.place, g.port.IfName, g.port.Addresses[0].Addr(), netip.Addr{}, benchWait)
	if err != nil {
		return r, err
	}
	for _, f := range found {
		path, err := b.pathTo(ctx, g.port, net.HardwareAddr(f.MAC))
		if err != nil {
			return r, err
		}
		if path.Peer != peer {
			continue
		}
		r = benchResult{From: "this host", To: fmt.Sprintf("%s, %s", f.Name, f.Addr.Addr()), Network: network, Path: path, targets: []string{g.port.Target}}
		return r, b.measure(ctx, &r, load.Client{Place: g.place, Server: f.Addr})
	}
	return r, errNoServer
}
