package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weft/fib"
	"weft/internal/api"
	"weft/internal/header"
	"weft/internal/lab"
	"weft/internal/load"
	"weft/internal/progress"
	"weft/internal/spec"
)

// Points of the curves.
var (
	portCounts    = []int{1, 10, 100, 300, 1000}
	peerCounts    = []int{1, 10, 50, 200}
	routeCounts   = []int{10, 1000, 10_000, 100_000, 1_000_000}
	stationCounts = []int{100, 1000, 10_000, 60_000}
)

var (
	memoryMetric = growthMetric{"memory", "resident memory", "MB", 1}
	peakMetric   = growthMetric{"peak", "peak memory", "MB", 1}
	kernelMetric = growthMetric{"kernel", "kernel memory of a container", "MB", 2}
	idleMetric   = growthMetric{"idle", "idle CPU", "% of a core", 2}
)

// growPorts attaches containers to one network, one after the other.
func growPorts(ctx context.Context, o options, bar *progress.Bar) (curve, error) {
	c := curve{ID: "ports", Of: "ports", Metrics: []growthMetric{
		{"attach", "attach, median of the last ten", "ms", 1}, {"slowest", "the slowest of them", "ms", 1}, memoryMetric, peakMetric, kernelMetric, idleMetric, {"tcp", "TCP 1 stream between two", "Gbit/s", 2},
	}}
	err := onHost(func(b *bed, h *lab.NS) error { return c.addPorts(ctx, o, bar, b, h) })
	return c, err
}

func (c *curve) addPorts(ctx context.Context, o options, bar *progress.Bar, b *bed, h *lab.NS) error {
	w, err := startWeft(ctx, b, o.weft, h, "host1", "--network", "blue=10.10.0.0/16,id=7")
	if err != nil {
		return err
	}
	before, err := kernelMemory()
	if err != nil {
		return err
	}
	var first [2]container
	var took []time.Duration
	client := api.NewClient(w.socket)
	for n := 1; n <= slices.Max(portCounts) && ctx.Err() == nil; n++ {
		ns, err := b.Host(fmt.Sprintf("c%d", n))
		if err != nil {
			return err
		}
		addr := netip.AddrFrom4([4]byte{10, 10, byte(n >> 8), byte(n)})
		begin := time.Now()
		_, err = client.Attach(ctx, spec.Attach{Network: "blue", Target: "netns:" + ns.Name(), Addresses: []spec.Address{{Prefix: netip.PrefixFrom(addr, 16)}}})
		if err != nil {
			return err
		}
		took = append(took, time.Since(begin))
		if n <= len(first) {
			first[n-1] = container{ns, addr}
		}
		if slices.Contains(portCounts, n) {
			p := map[string]any{"n": n}
			last := slices.Sorted(slices.Values(took[max(0, n-10):]))
			p["attach"], p["slowest"] = ms(last[len(last)/2]), ms(last[len(last)-1])
			if err := w.figures(ctx, p); err != nil {
				return err
			}
			if n >= 100 { // of fewer, others of the machine do more
				now, err := kernelMemory()
				if err != nil {
					return err
				}
				p["kernel"] = (now - before) / float64(n)
			}
			if n > 1 {
				if p["tcp"], err = pairRate(ctx, b, first); err != nil {
					return err
				}
			}
			c.Points = append(c.Points, p)
			bar.Say("ports: %v", p)
		}
	}
	return ctx.Err()
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }

// figures adds memory and idle CPU of the switch to a point.
func (w *weftSwitch) figures(ctx context.Context, p map[string]any) error {
	for id, key := range map[string]string{"memory": "VmRSS", "peak": "VmHWM"} {
		mb, err := memory(w.pid, key)
		if err != nil {
			return err
		}
		p[id] = mb
	}
	share, err := idle(ctx, w.pid)
	p["idle"] = share * 100
	return err
}

// pairRate is one TCP stream between two containers.
func pairRate(ctx context.Context, b *bed, pair [2]container) (float64, error) {
	at, err := ready(ctx, b, pair[0], pair[1], usualCongestion())
	if err != nil {
		return 0, err
	}
	t, err := at.client.Stream(ctx, load.Streams{Up: 1}, time.Second)
	return t.BitsPerSecond / 1e9, err
}

// grow measures a point for each count, on a host of its own.
func (c *curve) grow(bar *progress.Bar, counts []int, measure func(b *bed, h *lab.NS, n int, p map[string]any) error) error {
	for _, n := range counts {
		p := map[string]any{"n": n}
		if err := onHost(func(b *bed, h *lab.NS) error { return measure(b, h, n, p) }); err != nil {
			return err
		}
		c.Points = append(c.Points, p)
		bar.Say("%s: %v", c.ID, p)
	}
	return nil
}

// onHost calls f with a host, and takes it away with all that f made.
func onHost(f func(b *bed, h *lab.NS) error) error {
	b, err := newBed()
	if err != nil {
		return err
	}
	h, err := b.Host("host1")
	if err == nil {
		err = f(b, h)
	}
	if cerr := b.close(); err == nil {
		return cerr
	}
	return err
}

// floodPace is how many broadcasts a second the container sends: fewer than the
// storm control of a port lets pass.
const floodPace = 500

// growPeers has a container send broadcasts, each of which goes to every peer.
// The peers are addresses that nobody has, behind a link that takes everything.
func growPeers(ctx context.Context, o options, bar *progress.Bar) (curve, error) {
	c := curve{ID: "peers", Of: "peers", Metrics: []growthMetric{{"flood", "CPU of a flooded frame", "us", 1}, {"copy", "CPU of a copy", "us", 2}, memoryMetric, peakMetric, idleMetric}}
	err := c.grow(bar, peerCounts, func(b *bed, h *lab.NS, n int, p map[string]any) error { return peersPoint(ctx, o, b, h, n, p) })
	return c, err
}

func peersPoint(ctx context.Context, o options, b *bed, h *lab.NS, n int, p map[string]any) error {
	sink, err := b.Host("sink")
	if err != nil {
		return err
	}
	// RFC 2544's prefix for benchmarks.
	under := netip.MustParsePrefix("198.18.255.1/16")
	if err := b.Link(lab.End{NS: h, Name: "eth0", Addrs: []netip.Prefix{under}}, lab.End{NS: sink, Name: "eth0"}); err != nil {
		return err
	}
	err = h.Do(func() error { // nobody answers ARP there
		link, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		return netlink.LinkSetARPOff(link)
	})
	if err != nil {
		return fmt.Errorf("switch ARP off: %w", err)
	}
	args := []string{"--local", under.Addr().String(), "--network", "blue=10.10.0.0/24,id=7"}
	for i := range n {
		args = append(args, "--peer", fmt.Sprintf("p%d=198.18.%d.%d,encap=gre", i, i/250, i%250+1))
	}
	w, err := startWeft(ctx, b, o.weft, h, "host1", args...)
	if err != nil {
		return err
	}
	ns, err := b.Host("c1")
	if err != nil {
		return err
	}
	if err := w.attach(ctx, ns, addr1); err != nil {
		return err
	}
	time.Sleep(4 * time.Second) // until its address was announced for the last time
	if err := w.figures(ctx, p); err != nil {
		return err
	}
	before, err := runTime(w.pid)
	if err != nil {
		return err
	}
	const d = 2 * time.Second
	sent, err := broadcasts(ctx, ns, d)
	if err != nil {
		return err
	}
	after, err := runTime(w.pid)
	if err != nil {
		return err
	}
	cpu := (after - before).Seconds() - p["idle"].(float64)/100*d.Seconds()
	p["flood"] = max(0, cpu) * 1e6 / float64(sent)
	p["copy"] = p["flood"].(float64) / float64(n)
	return nil
}

// broadcasts sends from a container for d and returns how many.
func broadcasts(ctx context.Context, ns *lab.NS, d time.Duration) (sent int, err error) {
	var conn net.PacketConn
	err = ns.Do(func() (err error) {
		conn, err = (&net.ListenConfig{}).ListenPacket(ctx, "udp4", ":0")
		return err
	})
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	to := &net.UDPAddr{IP: net.IPv4(10, 10, 0, 255), Port: 9} // discard
	for end := time.Now().Add(d); time.Now().Before(end) && ctx.Err() == nil; sent++ {
		if _, err := conn.WriteTo(make([]byte, 64), to); err != nil {
			return sent, fmt.Errorf("send broadcast: %w", err)
		}
		time.Sleep(time.Second / floodPace)
	}
	return sent, ctx.Err()
}

// growRoutes gives switches many routes in one step.
func growRoutes(ctx context.Context, o options, bar *progress.Bar) (curve, error) {
	c := curve{ID: "routes", Of: "routes", Metrics: []growthMetric{
		{"lookup", "lookup, random", "ns", 1}, {"bytes", "table, a route", "B", 0}, {"load", "all added in one step", "s", 2}, {"change", "one more", "ms", 1}, {"restart", "start with state", "s", 2}, memoryMetric, peakMetric, idleMetric,
	}}
	err := c.grow(bar, routeCounts, func(b *bed, h *lab.NS, n int, p map[string]any) error { return routesPoint(ctx, o, b, h, n, p) })
	return c, err
}

// routesPoint adds the routes to a switch, kills it, and starts it again: memory
// is that of the second one, which read its state.
func routesPoint(ctx context.Context, o options, b *bed, h *lab.NS, n int, p map[string]any) error {
	table := syntheticTable(n)
	p["lookup"], p["bytes"] = lookupCost(table)
	args := []string{"--network", "blue=172.17.1.0/24,id=7,gateway=172.17.1.1,vrf=site", "--peer", "other=" + host2.Addr().String()}
	w, err := startWeft(ctx, b, o.weft, h, "host1", args...)
	if err != nil {
		return err
	}
	var lines bytes.Buffer
	for _, r := range table {
		fmt.Fprintln(&lines, r)
	}
	client, common := api.NewClient(w.socket), spec.Route{Via: "other", VRF: "site"}
	begin := time.Now()
	if _, err := client.AddRoutes(ctx, &lines, common, false); err != nil {
		return err
	}
	p["load"] = time.Since(begin).Seconds()
	common.Prefix = netip.MustParsePrefix("223.255.255.0/24")
	begin = time.Now()
	if _, err := client.AddRoute(ctx, common, false); err != nil {
		return err
	}
	p["change"] = ms(time.Since(begin))
	w.proc.Kill()
	begin = time.Now()
	if w, err = startWeft(ctx, b, o.weft, h, "host1", args...); err != nil {
		return err
	}
	p["restart"] = time.Since(begin).Seconds()
	return w.figures(ctx, p)
}

// lookupCost returns what a look-up of a random address takes, and what a route
// takes in memory.
func lookupCost(table []netip.Prefix) (ns, bytes float64) {
	before := heapInUse()
	var routes fib.Routes
	routes.Update(func(b *fib.Batch) {
		for i, p := range table {
			b.Insert(p, fib.NextHop{Kind: fib.HopPeer, Dest: fib.PeerDest(uint16(i%1000 + 1))})
		}
	})
	bytes = float64(heapInUse()-before) / float64(len(table))
	addrs := addressesIn(table, 1<<16)
	return perCall(len(addrs), func(i int) { routes.Lookup(addrs[i]) }), max(0, bytes)
}

// growStations has a container send from many MAC addresses, as a bridge does.
func growStations(ctx context.Context, o options, bar *progress.Bar) (curve, error) {
	c := curve{ID: "stations", Of: "stations", Metrics: []growthMetric{
		{"lookup", "FDB lookup, random", "ns", 1}, {"learned", "addresses in the FDB", "", 0}, {"show", "weft fdb show", "ms", 1}, memoryMetric, peakMetric, idleMetric,
	}}
	err := c.grow(bar, stationCounts, func(b *bed, h *lab.NS, n int, p map[string]any) error { return stationsPoint(ctx, o, b, h, n, p) })
	return c, err
}

func stationsPoint(ctx context.Context, o options, b *bed, h *lab.NS, n int, p map[string]any) error {
	w, err := startWeft(ctx, b, o.weft, h, "host1", "--network", "blue=10.10.0.0/24,id=7")
	if err != nil {
		return err
	}
	client := api.NewClient(w.socket)
	attach := func(i int) (*lab.NS, spec.PortStatus, error) {
		ns, err := b.Host(fmt.Sprintf("c%d", i))
		if err != nil {
			return nil, spec.PortStatus{}, err
		}
		addr := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 10, 0, byte(i + 1)}), 24)
		at, err := client.Attach(ctx, spec.Attach{Network: "blue", Target: "netns:" + ns.Name(), Addresses: []spec.Address{{Prefix: addr}}, AllowSpoof: i > 0})
		return ns, at, err
	}
	_, sink, err := attach(0)
	if err != nil {
		return err
	}
	ports := 1
	for first := 0; first < n; first, ports = first+stationsOfPort, ports+1 {
		ns, _, err := attach(ports)
		if err == nil {
			err = speakAs(ns, sink.MAC, first, min(n, first+stationsOfPort))
		}
		if err != nil {
			return err
		}
	}
	p["lookup"] = stationCost(n)
	begin := time.Now()
	entries, err := client.FDB(ctx, "blue")
	if err != nil {
		return err
	}
	p["show"], p["learned"] = ms(time.Since(begin)), float64(len(entries)-ports)
	return w.figures(ctx, p)
}

// stationsOfPort is how many stations speak through one port: fewer than a port
// may teach.
const stationsOfPort = 1000

// station returns the address of the ith station.
func station(i int) header.MAC { return header.MAC(0x0600_0000_0000 | i) }

// stationCost returns what a look-up of one of n random stations takes.
func stationCost(n int) float64 {
	f := fib.NewFDB(fib.FDBConfig{Capacity: n + 2})
	order := rand.Perm(n)
	for _, i := range order {
		f.Learn(station(i), fib.PortDest(uint16(i%50+1)), 1)
	}
	rand.Shuffle(n, func(i, j int) { order[i], order[j] = order[j], order[i] })
	return perCall(n, func(i int) { f.Lookup(station(order[i])) })
}

// speakAs sends one frame from each of the stations from first on to a MAC
// address, a little slower than the switch can read.
func speakAs(ns *lab.NS, to header.MAC, first, end int) error {
	return ns.Do(func() error {
		link, err := netlink.LinkByName("eth1")
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		addr := unix.SockaddrLinklayer{Ifindex: link.Attrs().Index}
		frame := make([]byte, 60)
		for i := first; i < end; i++ {
			header.PutEthernet(frame, to, station(i), 0x88b6) // local experimental EtherType 2 (IEEE 802)
			binary.BigEndian.PutUint32(frame[header.EthernetLen:], uint32(i))
			if err := unix.Sendto(fd, frame, 0, &addr); err != nil {
				return fmt.Errorf("send as a station: %w", err)
			}
			if i%50 == 49 {
				time.Sleep(2 * time.Millisecond)
			}
		}
		time.Sleep(50 * time.Millisecond) // for what is under way
		return nil
	})
}
