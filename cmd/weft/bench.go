package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"weft/internal/load"
	"weft/internal/progress"
	"weft/internal/spec"
)

// Loads of a bench: as in package bench, and a slow one that finds losses.
const (
	benchWarmUp   = 300 * time.Millisecond
	benchDatagram = 18 // bytes: the smallest Ethernet frame
	benchRequest  = 64
	benchPace     = time.Millisecond
	benchTests    = 5
)

// benchResult is the answer of `weft bench`. Fields that could not be measured
// are left out.
type benchResult struct {
	From    string    `json:"from"`
	To      string    `json:"to"`
	Network string    `json:"network"`
	Path    benchPath `json:"path"`
	Seconds float64   `json:"seconds"` // of each test

	TCP       float64 `json:"tcp_bits_per_second,omitempty"`
	TCPBack   float64 `json:"tcp_back_bits_per_second,omitempty"`
	Packets   float64 `json:"packets_per_second,omitempty"` // small ones received, sent as fast as possible
	Overrun   float64 `json:"packets_lost_share"`           // of those
	Loss      float64 `json:"loss_share"`                   // at 1,000 packets a second
	RTTp50    float64 `json:"rtt_p50_us,omitempty"`
	RTTp99    float64 `json:"rtt_p99_us,omitempty"`
	RTTMax    float64 `json:"rtt_max_us,omitempty"`
	Exchanges int     `json:"exchanges,omitempty"`

	Drops    map[string]uint64 `json:"drops"`           // what was dropped meanwhile at the ports and the peer of the path, by reason
	AnyDrops map[string]uint64 `json:"drops_of_switch"` // what belongs to no port and no peer, so it may be others'

	targets []string // whose ports the path has
}

// benchPath is the way that frames take, as the switch sees it.
type benchPath struct {
	Kind  string `json:"kind"`           // local, peer or unknown
	Peer  string `json:"peer,omitempty"` // with kind peer
	port  string // of this switch, with kind local
	Encap string `json:"encap,omitempty"`
	Accel string `json:"accel,omitempty"` // what carries to it faster than raw sockets, or none
	State string `json:"state,omitempty"`
	MTU   int    `json:"mtu"` // of the sender's interface
}

func benchCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench FROM TO",
		Short: "Measure the path between two containers, or to a peer",
		Long: `Measure the path between two containers, or from this host to a peer: TCP both
ways, small packets, loss, and round trips. As root, who may enter containers;
nothing has to be installed in them.
FROM and TO are containers attached to this switch, by target or by the name of
their port. TO may also be an address in FROM's network at which "weft bench
serve" runs. "weft bench peer:NAME" measures to another host, on which "weft
bench serve" runs: a container is made here for the time of the measurement.
Each of the five tests takes --seconds.`,
		Example: `  weft bench netns:web netns:db
  weft bench web db --seconds 5 -o json
  weft bench serve blue            # on the other host
  weft bench peer:host2`,
		Args:              wantArgs(1, 2),
		ValidArgsFunction: a.completeArgs(attachedTargets, attachedTargets),
	}
	b := &bencher{app: a}
	b.addressFlag(cmd)
	cmd.Flags().StringVar(&b.network, "network", "", "`name` of the network, where there is more than one")
	seconds := cmd.Flags().Float64("seconds", 2, "how long each test takes, 0.1 to 60 `seconds`")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !(*seconds >= 0.1 && *seconds <= 60) { // not NaN either
			return usageError{fmt.Errorf("--seconds %v: want 0.1 to 60", *seconds)}
		}
		b.length = time.Duration(*seconds * float64(time.Second))
		peer, toPeer, err := benchForm(args)
		if err == nil && !toPeer && b.address.Prefix.IsValid() {
			err = errors.New("--address is that of the container that is made to measure to peer:NAME, and here none is made")
		}
		if err != nil {
			return usageError{err}
		}
		var r benchResult
		if toPeer {
			if err := checkName("peer", peer); err != nil {
				return err
			}
			r, err = b.toPeer(cmd.Context(), peer)
		} else {
			r, err = b.fromContainer(cmd.Context(), args[0], args[1])
		}
		if cmd.Context().Err() != nil {
			return errors.New("bench interrupted; nothing of it is left")
		}
		if err != nil {
			return err
		}
		return a.print(r, func(w io.Writer) { benchPage(w, r) })
	}
	cmd.AddCommand(benchServeCommand(a))
	return cmd
}

// benchForm tells the forms of the arguments apart.
func benchForm(args []string) (peer string, toPeer bool, err error) {
	const peerPrefix = "peer:"
	peer, toPeer = strings.CutPrefix(args[0], peerPrefix)
	switch {
	case len(args) == 2 && !toPeer && strings.HasPrefix(args[1], peerPrefix):
		return "", false, fmt.Errorf("%s has no other end that is known: name the address at which `weft bench serve` runs on that host, or %s alone, to measure from this host", args[1], args[1])
	case toPeer != (len(args) == 1):
		return "", false, errors.New("want two containers, a container and an address, or peer:NAME alone")
	}
	return peer, toPeer, nil
}

// bencher is one run.
type bencher struct {
	*app
	network string       // asked for; empty: any
	address spec.Address // of a guest, asked for; zero: any
	length  time.Duration
}

// fromContainer measures from a container to another, or to an address.
func (b *bencher) fromContainer(ctx context.Context, from, to string) (r benchResult, err error) {
	ports, err := b.client().Ports(ctx)
	if err != nil {
		return r, err
	}
	addr, aerr := netip.ParseAddr(to)
	if aerr == nil {
		p, err := b.port(ports, from)
		if err != nil {
			return r, err
		}
		return b.toAddress(ctx, ports, p, addr)
	}
	one, other, err := b.pair(ports, from, to)
	if err != nil {
		return r, err
	}
	target, err := addressIn(one, other)
	if err != nil {
		return r, err
	}
	server, err := load.Serve(ctx, load.Namespace(other.Namespace), netip.AddrPortFrom(target, 0), "")
	if err != nil {
		return r, err
	}
	defer server.Close()
	r = benchResult{From: one.Name, To: other.Name, Network: one.Network, Path: benchPath{Kind: "local", MTU: one.MTU}, targets: []string{one.Target, other.Target}}
	return r, b.measure(ctx, &r, load.Client{Place: load.Namespace(one.Namespace), Server: server.Addr()})
}

// toAddress measures from a container to where somebody serves.
func (b *bencher) toAddress(ctx context.Context, ports []spec.PortStatus, from spec.PortStatus, to netip.Addr) (r benchResult, err error) {
	place := load.Namespace(from.Namespace)
	found, err := load.Find(ctx, place, from.IfName, netip.Addr{}, to, time.Second)
	if err != nil {
		return r, err
	}
	if len(found) == 0 {
		for _, p := range ports {
			if p.Network == from.Network && slices.ContainsFunc(p.Addresses, func(a netip.Prefix) bool { return a.Addr() == to }) {
				return r, fmt.Errorf("bench to %s: nobody serves there, but it is port %s of this switch: weft bench %s %s", to, p.Name, from.Name, p.Name)
			}
		}
		return r, fmt.Errorf("bench to %s: nobody answers there: start it with `weft bench serve %s` on the other host", to, from.Network)
	}
	r = benchResult{From: from.Name, To: to.String(), Network: from.Network, targets: []string{from.Target}}
	if r.Path, err = b.pathTo(ctx, from, found[0].MAC); err != nil {
		return r, err
	}
	return r, b.measure(ctx, &r, load.Client{Place: place, Server: found[0].Addr})
}

// pathTo asks the switch where a MAC address of from's network is.
func (b *bencher) pathTo(ctx context.Context, from spec.PortStatus, mac net.HardwareAddr) (p benchPath, err error) {
	p = benchPath{Kind: "unknown", MTU: from.MTU}
	entries, err := b.client().FDB(ctx, from.Network)
	if err != nil {
		return p, err
	}
	i := slices.IndexFunc(entries, func(e spec.FDBEntry) bool { return e.MAC.String() == mac.String() })
	if i < 0 {
		return p, nil
	}
	if p.Kind, p.Peer, p.port = "local", entries[i].Peer, entries[i].Port; p.Peer == "" {
		return p, nil
	}
	p.Kind = "peer"
	peers, err := b.client().Peers(ctx)
	for _, peer := range peers {
		if peer.Name == p.Peer {
			p.Encap, p.Accel, p.State = peer.Encap, peer.Accel, peer.State
		}
	}
	return p, err
}

// port finds an attached container by target or port name.
func (b *bencher) port(ports []spec.PortStatus, word string) (spec.PortStatus, error) {
	fit := b.ports(ports, word)
	switch len(fit) {
	case 0:
		return spec.PortStatus{}, fmt.Errorf("no port is called %q: `weft port ls` lists them", word)
	case 1:
		return fit[0], b.isUp(fit[0])
	}
	return spec.PortStatus{}, fmt.Errorf("%s has %s: choose one with --network", word, count(len(fit), "port"))
}

func (b *bencher) ports(ports []spec.PortStatus, word string) (fit []spec.PortStatus) {
	for _, p := range ports {
		name, _, _ := strings.Cut(p.Name, "@") // which has its network where others are called so too
		if (p.Target == word || p.Name == word || name == word) && (b.network == "" || p.Network == b.network) {
			fit = append(fit, p)
		}
	}
	return fit
}

func (b *bencher) isUp(p spec.PortStatus) error {
	if !p.Up {
		return fmt.Errorf("port %s is down: `weft status` says why", p.Name)
	}
	return nil
}

// pair finds two containers, in one network where they share one.
func (b *bencher) pair(ports []spec.PortStatus, from, to string) (one, other spec.PortStatus, err error) {
	for _, p := range b.ports(ports, from) {
		for _, q := range b.ports(ports, to) {
			if p.Network == q.Network && p.Namespace != q.Namespace {
				return p, q, cmp.Or(b.isUp(p), b.isUp(q))
			}
		}
	}
	if one, err = b.port(ports, from); err == nil {
		other, err = b.port(ports, to)
	}
	if err == nil && one.Namespace == other.Namespace {
		err = errors.New("that is one container: name two")
	}
	return one, other, err
}

// addressIn returns an address of other that one reaches: of a family that both have.
func addressIn(one, other spec.PortStatus) (netip.Addr, error) {
	for _, p := range []spec.PortStatus{one, other} {
		if len(p.Addresses) == 0 {
			return netip.Addr{}, fmt.Errorf("%s has no address that the switch knows, since it is attached with %s: attach it with one, or attach another container", p.Name, spec.AddressNone)
		}
	}
	for _, q := range other.Addresses {
		for _, p := range one.Addresses {
			if p.Addr().Is4() == q.Addr().Is4() {
				return q.Addr(), nil
			}
		}
	}
	return netip.Addr{}, fmt.Errorf("%s and %s have no address of one family", one.Name, other.Name)
}

// measure runs the tests one after the other.
func (b *bencher) measure(ctx context.Context, r *benchResult, c load.Client) error {
	r.Seconds = b.length.Seconds()
	before, beforeAny, err := b.dropped(ctx, r)
	if err != nil {
		return err
	}
	c.WarmUp = benchWarmUp
	step := b.length + benchWarmUp
	bar := progress.New(b.stderr, benchTests*step)
	defer bar.Close()
	for _, test := range []struct {
		name string
		run  func() error
	}{
		{"TCP to " + r.To, func() error {
			t, err := c.Stream(ctx, load.Streams{Up: 1}, b.length)
			r.TCP = t.Up
			return err
		}},
		{"TCP back", func() error {
			t, err := c.Stream(ctx, load.Streams{Down: 1}, b.length)
			r.TCPBack = t.Down
			return err
		}},
		{"small packets", func() error {
			p, err := c.Flood(ctx, benchDatagram, 0, b.length)
			r.Packets, r.Overrun = p.PerSecond, p.Loss()
			return err
		}},
		{"loss", func() error {
			p, err := c.Flood(ctx, benchDatagram, benchPace, b.length)
			r.Loss = p.Loss()
			return err
		}},
		{"round trips", func() error {
			l, err := c.PingPong(ctx, benchRequest, b.length)
			us := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }
			r.RTTp50, r.RTTp99, r.RTTMax, r.Exchanges = us(l.P50), us(l.P99), us(l.Max), l.Count
			return err
		}},
	} {
		bar.Step(step, "%s", test.name)
		if err := test.run(); err != nil {
			return fmt.Errorf("%w: the other end, or the way to it, went away meanwhile: see `weft status`, on the other host too, and try again", err)
		}
	}
	after, afterAny, err := b.dropped(ctx, r)
	if err != nil {
		return err
	}
	r.Drops, r.AnyDrops = since(before, after), since(beforeAny, afterAny)
	return nil
}

// dropped returns what the switch has dropped so far on a path, by reason, and what
// belongs to no port and no peer.
func (b *bencher) dropped(ctx context.Context, r *benchResult) (here, anywhere map[string]uint64, err error) {
	ports, err := b.client().Ports(ctx)
	if err != nil {
		return nil, nil, err
	}
	on := map[string]bool{r.Path.Peer: true, r.Path.port: true}
	for _, p := range ports { // each time: a port's name depends on which others there are
		if p.Network == r.Network && slices.Contains(r.targets, p.Target) {
			on[p.Name] = true
		}
	}
	drops, err := b.client().Drops(ctx)
	if err != nil {
		return nil, nil, err
	}
	here, anywhere = map[string]uint64{}, map[string]uint64{}
	for _, d := range drops {
		switch {
		case on[d.At]:
			here[d.Reason] += d.Count
		case d.At == spec.AtSwitch:
			anywhere[d.Reason] += d.Count
		}
	}
	return here, anywhere, nil
}

// since returns what counters have more than before, without zeros.
func since(before, after map[string]uint64) map[string]uint64 {
	more := map[string]uint64{}
	for reason, n := range after {
		if n > before[reason] {
			more[reason] = n - before[reason]
		}
	}
	return more
}

func benchPage(w io.Writer, r benchResult) {
	way := map[string]string{"local": "on this host, TAP to TAP", "unknown": "by a way that this switch does not know"}[r.Path.Kind]
	if r.Path.Kind == "peer" {
		way = fmt.Sprintf("through peer %s (%s, accelerator %s, %s)", r.Path.Peer, r.Path.Encap, r.Path.Accel, r.Path.State)
	}
	fmt.Fprintln(w, oneLine(fmt.Sprintf("%s to %s: network %s, %s, MTU %d", r.From, r.To, r.Network, way, r.Path.MTU)))
	fmt.Fprintln(w)
	fmt.Fprintf(w, "TCP, one stream  %.2f Gbit/s there, %.2f Gbit/s back\n", r.TCP/1e9, r.TCPBack/1e9)
	fmt.Fprintf(w, "small packets    %.1f k/s of %d bytes arrived; of those sent as fast as possible %.0f %% were lost\n", r.Packets/1e3, benchDatagram, r.Overrun*100)
	fmt.Fprintf(w, "loss             %.2f %% at 1000 packets a second\n", r.Loss*100)
	fmt.Fprintf(w, "round trip       p50 %.0f us, p99 %.0f us, max %.0f us; %d bytes over TCP, %d times\n", r.RTTp50, r.RTTp99, r.RTTMax, benchRequest, r.Exchanges)
	dropped := "nothing by this switch on this path"
	if words := reasons(r.Drops); words != "" {
		dropped = "by this switch on this path: " + words
	}
	if words := reasons(r.AnyDrops); words != "" {
		dropped += "; by the whole switch meanwhile: " + words
	}
	fmt.Fprintln(w, "dropped          "+dropped)
}

// reasons lists counters of drops by reason.
func reasons(drops map[string]uint64) string {
	var words []string
	for _, reason := range slices.Sorted(maps.Keys(drops)) {
		words = append(words, fmt.Sprintf("%s %s", reason, short(drops[reason])))
	}
	return strings.Join(words, ", ")
}
