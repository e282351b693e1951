package e2e

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/safchain/ethtool"
	"golang.org/x/sys/unix"

	"weft/internal/lab"
)

// mangler is a link between two hosts that treats tunnels badly: it loses, repeats,
// swaps and damages their datagrams. It stands in a namespace of its own, and reads
// at one interface what it writes to the other.
type mangler struct {
	fds                                       [2]int
	lost, repeated, swapped, damaged, carried atomic.Int64 // written by the goroutines, read by the test
}

// newMangler joins two hosts, whose interfaces are eth0, cut everything to the MTU
// and, if merging, merge again what they receive.
func newMangler(t *testing.T, l *lab.Lab, ends [2]lab.End, merging bool) *mangler {
	t.Helper()
	wire, err := l.Host("wire")
	if err != nil {
		t.Fatal(err)
	}
	m := &mangler{}
	for i, end := range ends {
		name := fmt.Sprintf("to%d", i+1)
		if err := l.Link(end, lab.End{NS: wire, Name: name}); err != nil {
			t.Fatal(err)
		}
		uncut(t, end.NS, end.Name)
		uncut(t, wire, name)
		if merging {
			mergeOn(t, end.NS, end.Name)
		}
		m.fds[i] = packetSocket(t, wire, name, unix.ETH_P_ALL)
		t.Cleanup(func() { unix.Close(m.fds[i]) })
		if err := unix.SetsockoptInt(m.fds[i], unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1); err != nil {
			t.Fatal(err)
		}
		_ = unix.SetsockoptInt(m.fds[i], unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20)
	}
	stop, done := make(chan struct{}), make(chan struct{})
	for from := range m.fds {
		go func() { // ends with stop
			m.run(from, stop)
			done <- struct{}{}
		}()
	}
	t.Cleanup(func() { close(stop); <-done; <-done })
	return m
}

// uncut has an interface send nothing that is larger than its MTU, nor without a
// checksum.
func uncut(t *testing.T, n *lab.NS, ifname string) {
	t.Helper()
	for _, f := range []lab.Feature{lab.TSO, lab.GSO, lab.TxCsum} {
		feature(t, f, false, ifname, n)
	}
	if err := n.Do(func() error {
		tool, err := ethtool.NewEthtool()
		if err != nil {
			return err
		}
		defer tool.Close()
		return tool.Change(ifname, map[string]bool{"tx-udp-segmentation": false})
	}); err != nil {
		t.Fatal(err)
	}
}

// run carries one direction.
func (m *mangler) run(from int, stop <-chan struct{}) {
	random := rand.New(rand.NewPCG(uint64(from), 7))
	buf := make([]byte, 1<<16)
	var held []byte // waits for the next one to go first
	send := func(f []byte) { _, _ = unix.Write(m.fds[1-from], f) }
	for {
		p := []unix.PollFd{{Fd: int32(m.fds[from]), Events: unix.POLLIN}}
		_, _ = unix.Poll(p, 5)
		n, _, err := unix.Recvfrom(m.fds[from], buf, unix.MSG_DONTWAIT)
		if err != nil { // none is there
			if held != nil {
				send(held)
				held = nil
			}
			select {
			case <-stop:
				return
			default:
				continue
			}
		}
		f := buf[:n]
		if !tunnel(f) {
			send(f)
			continue
		}
		m.carried.Add(1)
		switch dice := random.IntN(1000); {
		case dice < 5:
			m.lost.Add(1)
			continue
		case dice < 15:
			m.repeated.Add(1)
			send(f)
		case dice < 20:
			m.damaged.Add(1)
			f[14+random.IntN(n-14)] ^= 1 << random.IntN(8)
		case dice < 60 && held == nil:
			m.swapped.Add(1)
			held = append([]byte(nil), f...)
			continue
		}
		send(f)
		if held != nil {
			send(held)
			held = nil
		}
	}
}

// tunnel reports whether a frame carries GRE or GRE-in-UDP.
func tunnel(f []byte) bool {
	var proto, to int
	switch {
	case len(f) > 38 && f[12] == 8 && f[13] == 0:
		proto, to = int(f[23]), int(binary.BigEndian.Uint16(f[36:]))
	case len(f) > 58 && f[12] == 0x86 && f[13] == 0xdd:
		proto, to = int(f[20]), int(binary.BigEndian.Uint16(f[56:]))
	}
	return proto == unix.IPPROTO_GRE || proto == unix.IPPROTO_UDP && to == 4754
}

// TestStreamsMangled moves streams over a link that loses, repeats, swaps and
// damages what it carries, also where the kernel merges what is left: they arrive
// bit by bit, over either version of IP, by whatever carrier.
func TestStreamsMangled(t *testing.T) {
	addrs := map[int][2]netip.Addr{4: {addr1, addr2}, 6: {netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")}}
	for _, way := range []struct{ accel, encap string }{{"auto", "gre"}, {"off", "gre"}, {"auto", "gre-udp"}, {"off", "gre-udp"}} {
		for _, version := range []int{4, 6} {
			for _, merging := range []bool{false, true} {
				t.Run(fmt.Sprintf("accel %s, encap %s, IPv%d, merging %v", way.accel, way.encap, version, merging), func(t *testing.T) {
					t.Parallel()
					l, a := lab.ForTest(t), addrs[version]
					p := &pair{l: l, h1: newHost(t, l, "host1"), h2: newHost(t, l, "host2")}
					bits := map[int]int{4: 24, 6: 64}[version]
					end := func(h *Host, a netip.Addr) lab.End {
						return lab.End{NS: h.NS, Name: "eth0", Addrs: []netip.Prefix{netip.PrefixFrom(a, bits)}}
					}
					m := newMangler(t, l, [2]lab.End{end(p.h1, a[0]), end(p.h2, a[1])}, merging)
					for i, h := range []*Host{p.h1, p.h2} {
						h.Start(fmt.Sprintf("--name host%d --local %s --network net1=10.1.0.0/24,id=%d --peer host%d=%s,encap=%s --accel=%s",
							i+1, a[i], netID, 2-i, a[1-i], way.encap, way.accel))
					}
					p.c1, p.c2 = newContainer(t, l, "c1", "10.1.0.11"), newContainer(t, l, "c2", "10.1.0.12")
					p.h1.attach("net1", p.c1)
					p.h2.attach("net1", p.c2)
					if way.accel == "auto" {
						p.h1.accelerated(t, p, "egress-tap")
						p.h2.accelerated(t, p, "egress-tap")
					}
					caught := newCapture(t, p.h2.NS, "eth0")
					for tries := 0; tries == 0 || m.lost.Load() == 0 || m.repeated.Load() == 0 || m.swapped.Load() == 0 || m.damaged.Load() == 0; tries++ {
						if tries == 10 {
							t.Fatalf("nothing was mangled: this test proves nothing")
						}
						moveBothWays(t, p, 4<<20)
					}
					merged := 0
					for _, f := range caught.stop() {
						if !f.outgoing && len(f.data) > 14+1500 && tunnel(f.data) {
							merged++
						}
					}
					t.Logf("of %d: %d lost, %d repeated, %d swapped, %d damaged; %d merged again",
						m.carried.Load(), m.lost.Load(), m.repeated.Load(), m.swapped.Load(), m.damaged.Load(), merged)
					if (merged > 0) != merging {
						t.Errorf("%d datagrams were merged, want any: %v", merged, merging)
					}
					for _, h := range []*Host{p.h1, p.h2} {
						if why := h.status().unbalanced(); why != "" {
							t.Error(why)
						}
					}
				})
			}
		}
	}
}

// TestOrderWhileCarrierChanges sends a numbered flow while its carrier is blocked
// and given back, again and again. It leaves in order across every change. It
// arrives in order by each carrier, and at a change only what the one carried
// last and the other first may overtake each other.
func TestOrderWhileCarrierChanges(t *testing.T) {
	for _, accel := range []string{"off", "auto"} {
		t.Run("accel "+accel, func(t *testing.T) {
			t.Parallel()
			l := lab.ForTest(t)
			h1, h2 := newHost(t, l, "host1"), newHost(t, l, "host2")
			underlay(t, l, h1.NS, h2.NS, 1500)
			uncut(t, h1.NS, "eth0") // one frame of the flow in each that is captured
			h1.Start(runArgs(1, ",encap=auto") + " --accel=" + accel)
			h2.Start(runArgs(2, ",encap=auto") + " --accel=" + accel)
			c1, c2 := newContainer(t, l, "c1", "10.1.0.11"), newContainer(t, l, "c2", "10.1.0.12")
			h1.attach("net1", c1)
			h2.attach("net1", c2)
			h1.untilPeer("up", isUp)
			move(t, c1, c2, c2.Addr, 1<<20)
			const first = "gre-udp"
			h1.untilPeer("by "+first, by(first))

			left, arrived := newCapture(t, h1.NS, "eth0"), newCapture(t, c2.NS, "eth1")
			s := newSender(t, c1.NS, "eth1")
			stop, done := make(chan struct{}), make(chan struct{})
			to, from := h2.status().Ports[0].MAC, h1.status().Ports[0].MAC
			go func() { // ends with stop
				defer close(done)
				for n := uint32(0); ; {
					for range 3 { // small bursts
						n++
						s.try(frame(to, from, 0x88b5, binary.BigEndian.AppendUint32([]byte("numbered"), n)))
					}
					select {
					case <-stop:
						return
					case <-time.After(2 * time.Millisecond):
					}
				}
			}()
			for range 2 {
				unblock := h2.block(t, "udp dport 4754")
				h1.untilPeer("by another carrier", func(p peerStatus) bool { return isUp(p) && p.Encap != first })
				unblock()
				h1.untilPeer("by the first again", by(first))
			}
			close(stop)
			<-done
			checkOrder(t, left, arrived)
		})
	}
}

func checkOrder(t *testing.T, left, arrived *capture) {
	t.Helper()
	run, runs, last, udp := map[uint32]int{}, 0, uint32(0), false
	for _, f := range left.stop() {
		n, ok := numbered(f.data)
		if !ok || !f.outgoing {
			continue
		}
		if n <= last {
			t.Fatalf("%d left behind %d", n, last)
		}
		if byUDP := f.data[23] == unix.IPPROTO_UDP; runs == 0 || byUDP != udp {
			runs, udp = runs+1, byUDP
		}
		last, run[n] = n, runs
	}
	if runs != 5 {
		t.Errorf("the carrier changed %d times, want 4", runs-1)
	}
	seen, highest, newest, late := map[uint32]bool{}, map[int]uint32{}, 0, 0
	for _, f := range arrived.stop() {
		n, ok := numbered(f.data)
		if !ok || f.outgoing {
			continue
		}
		r := run[n]
		switch {
		case r == 0:
			t.Fatalf("%d arrived and never left", n)
		case seen[n]:
			t.Fatalf("%d arrived twice", n)
		case n < highest[r]:
			t.Fatalf("%d arrived behind %d, by the same carrier", n, highest[r])
		case r < newest-1:
			t.Fatalf("%d arrived two changes late", n)
		case r < newest:
			late++
		}
		seen[n], highest[r], newest = true, n, max(newest, r)
	}
	if len(seen) == 0 {
		t.Error("nothing arrived")
	}
	t.Logf("%d left, %d arrived, %d of them behind the first by the next carrier", len(run), len(seen), late)
}

// numbered returns the number at the end of a frame of the flow.
func numbered(f []byte) (uint32, bool) {
	if len(f) < 26 || string(f[len(f)-12:len(f)-4]) != "numbered" {
		return 0, false
	}
	return binary.BigEndian.Uint32(f[len(f)-4:]), true
}
