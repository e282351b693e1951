package encap_test

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weft/encap"
	"weft/internal/drop"
	"weft/internal/lab"
	"weft/internal/offload"
)

// accelWait is how long a carrier may take to change.
const accelWait = 20 * time.Second

// reaches waits until a's peer 1 is carried to as wanted, for a reason that holds
// why, while a keeps sending, as a raw socket must have before it is believed.
func (h *host) reaches(name, why string) {
	h.t.Helper()
	for end := time.Now().Add(accelWait); ; time.Sleep(10 * time.Millisecond) {
		h.send(teb(1, frame(100)))
		got, reason := h.u.Accel(1)
		if got == name && strings.Contains(reason, why) {
			return
		}
		if time.Now().After(end) {
			h.t.Fatalf("peer is reached by %q, %q; want %q, %q", got, reason, name, why)
		}
	}
}

// accelerated returns a and b, with an egress TAP from a to b.
func accelerated(t *testing.T, addrA, addrB netip.Addr, toB encap.Peer) (a, b *host) {
	t.Helper()
	a, b = twoHosts(t)
	toA := toB
	toB.ID, toB.Addr, toA.ID, toA.Addr = 1, addrB, 1, addrA
	a.open(encap.Config{Local: []netip.Addr{addrA}, Accel: true}, toB)
	b.open(encap.Config{Local: []netip.Addr{addrB}}, toA)
	a.reaches("egress-tap", "")
	b.recv()
	return a, b
}

// stream puts the payload of TCP segments together, however they were cut or merged.
func stream(t *testing.T, ds []encap.Datagram, proto uint16, n int) []byte {
	t.Helper()
	got, seen := make([]byte, n), 0
	for _, d := range ds {
		if d.Reason != drop.None || d.Proto != proto {
			t.Fatalf("datagram of protocol %04x: %v", d.Proto, d.Reason)
		}
		tcp := d.Frame[20:]
		if proto == encap.ProtoTEB {
			tcp = d.Frame[34:]
		}
		at := int(binary.BigEndian.Uint32(tcp[4:])) - 1000
		seen += copy(got[at:], tcp[20:])
	}
	if seen != n {
		t.Fatalf("%d bytes of payload in %d datagrams, want %d", seen, len(ds), n)
	}
	return got
}

func TestNetnsEgress(t *testing.T) { overBoth(t, testNetnsEgress) }

func testNetnsEgress(t *testing.T, addrA, addrB netip.Addr) {
	for _, tt := range []struct {
		name    string
		peer    encap.Peer
		proto   uint16
		tso     bool
		merging bool
		whole   bool // a super-frame arrives in one piece
	}{
		{"uncut", encap.Peer{}, encap.ProtoTEB, true, false, true},
		{"uncut, keyless", encap.Peer{Keyless: true}, encap.ProtoTEB, true, false, true},
		{"uncut, bare IP", encap.Peer{}, encap.ProtoIPv4, true, false, true},
		{"cut by raw socket, bare IP without key", encap.Peer{Keyless: true}, encap.ProtoIPv4, true, false, false},
		{"cut by the kernel", encap.Peer{}, encap.ProtoTEB, false, false, false},
		{"cut by the kernel, bare IP", encap.Peer{}, encap.ProtoIPv4, false, false, false},
		{"cut and merged again", encap.Peer{}, encap.ProtoTEB, false, true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a, b := accelerated(t, addrA, addrB, tt.peer)
			if tt.merging {
				forceMerging(t, a, b)
			} else if err := a.SetFeature("under0", lab.TSO, tt.tso); err != nil {
				t.Fatal(err)
			}
			a.reaches("egress-tap", "")
			b.recv()

			h, super, payload := tcpSuper(t, 60000, 1380)
			pkt := teb(1, super)
			pkt.Header, pkt.Proto = h, tt.proto
			before := bytes.Clone(super)
			if got := a.send(teb(1, frame(100)), pkt, teb(1, frame(101))); got[0]|got[1]|got[2] != drop.None {
				t.Fatalf("sent %v", got)
			}
			if !bytes.Equal(super, before) {
				t.Error("the super-frame was changed")
			}
			ds := b.recv()
			other := func(d encap.Datagram) bool { return len(d.Frame) == 100 || len(d.Frame) == 101 }
			if last := len(ds) - 1; !tt.merging && (last < 2 || !other(ds[0]) || !other(ds[last])) { // merging holds segments back
				t.Fatalf("%d datagrams: order is lost", len(ds))
			}
			ds = slices.DeleteFunc(ds, other)
			if !bytes.Equal(stream(t, ds, tt.proto, len(payload)), payload) {
				t.Error("the payload is another one")
			}
			switch {
			case tt.merging:
				if len(ds) > 43 {
					t.Errorf("%d datagrams: nothing was merged", len(ds))
				}
			case tt.whole != (len(ds) == 1), !tt.whole && len(ds) != 44:
				t.Errorf("%d datagrams, want 1 (%v) or 44", len(ds), tt.whole)
			}
		})
	}
}

// TestNetnsEgressChecks takes away, one by one, what an egress TAP needs, and
// gives it back.
func TestNetnsEgressChecks(t *testing.T) {
	for _, tt := range []struct {
		name      string
		do, undo  string // by sh in a's namespace
		carrier   string // in between; empty: for a moment perhaps none
		why       string
		reachable bool // b is, in between
	}{
		{"IPsec", "ip xfrm policy add dst 10.0.0.2 dir out tmpl proto esp mode transport", "ip xfrm policy flush", "none", "IPsec", false},
		{"IPsec for GRE alone", "ip xfrm policy add dst 10.0.0.2 proto 47 dir out action block", "ip xfrm policy flush", "none", "IPsec", false},
		{"route to nowhere", "ip route add blackhole 10.0.0.2", "ip route del 10.0.0.2", "none", "the route to 10.0.0.2 is a blackhole: remove it", false},
		{"route to itself", "ip addr add 10.0.0.2/32 dev lo", "ip addr del 10.0.0.2/32 dev lo", "none", "no other host", false},
		{"next hop does not answer", "ip route add 10.0.0.2 via 10.0.0.77", "ip route del 10.0.0.2", "none", "10.0.0.77 on under0", false},
		{"link without Ethernet", "ip tuntap add dev t0 mode tun; ip link set t0 up; ip route add 10.0.0.2 dev t0 src 10.0.0.1", "ip link del t0", "none", "no Ethernet", false},
		{"uplink down", "ip link set under0 down", "ip link set under0 up", "none", "", false},
		{"firewall", "nft add table ip f; nft add chain ip f o '{ type filter hook output priority 0; }'; nft add rule ip f o ip protocol gre drop", "nft delete table ip f", "none", "firewall", false},
		{"firewall that lets pass", "nft add table ip f; nft add chain ip f o '{ type filter hook output priority 0; }'", "nft delete table ip f", "", "", true},
		{"TAP down", "ip link set weft-out0 down", "true", "", "", true},
		{"TAP deleted", "ip link del weft-out0", "true", "", "", true},
		{"redirection deleted", "tc qdisc del dev weft-out0 clsact", "true", "", "", true},
		{"bridge over the uplink", "ip link add br0 type bridge; ip link set under0 master br0; ip addr del 10.0.0.1/24 dev under0; ip addr add 10.0.0.1/24 dev br0; ip link set br0 up",
			"ip link del br0; ip addr add 10.0.0.1/24 dev under0", "", "", true},
		{"macvlan on the uplink", "ip link add mv0 link under0 type macvlan mode bridge; ip addr del 10.0.0.1/24 dev under0; ip addr add 10.0.0.1/24 dev mv0; ip link set mv0 up",
			"ip link del mv0; ip addr add 10.0.0.1/24 dev under0", "", "", true},
		{"lasting neighbour", "ip neigh replace 10.0.0.2 lladdr 02:00:00:00:00:99 dev under0 nud permanent", "ip neigh del 10.0.0.2 dev under0", "egress-tap", "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a, b := accelerated(t, addrA, addrB, encap.Peer{})
			a.shell(tt.do)
			if tt.carrier != "" {
				a.reaches(tt.carrier, tt.why)
			}
			if tt.reachable {
				a.reaches("egress-tap", "")
				a.arrives(b)
			}
			a.shell(tt.undo)
			a.reaches("egress-tap", "")
			a.arrives(b)
		})
	}
}

// shell runs a command in the host's namespace.
func (h *host) shell(command string) {
	h.t.Helper()
	if out, err := h.Output(h.t.Context(), "sh", "-c", command); err != nil {
		h.t.Fatalf("%s: %v: %s", command, err, out)
	}
}

// arrives sends super-frames until one has arrived whole.
func (h *host) arrives(b *host) {
	h.t.Helper()
	header, super, payload := tcpSuper(h.t, 20000, 1380)
	for end := time.Now().Add(accelWait); time.Now().Before(end); {
		pkt := teb(1, super)
		pkt.Header = header
		h.send(pkt)
		if !ready(b.receiver().FD(), 1, time.Second) {
			continue
		}
		for _, d := range b.recv() {
			if d.Reason == drop.None && len(d.Frame) == len(super) && bytes.HasSuffix(d.Frame, payload) && offload.Partial(d.Frame) {
				return
			}
		}
	}
	h.t.Fatal("no super-frame arrives whole")
}

// What egress TAPs cannot carry, and what nobody wants carried by them. By raw GRE it
// goes by packet socket: TestNetnsPacket.
func TestNetnsEgressNone(t *testing.T) {
	for _, tt := range []struct {
		name, why string
		accel     bool
		peer      encap.Peer
	}{
		{"off", "switched off", false, encap.Peer{}},
		{"sequence numbers", "seq", true, encap.Peer{Sequence: true, Choice: encap.ChooseUDP}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a, _ := twoHosts(t)
			tt.peer.ID, tt.peer.Addr = 1, addrB
			a.open(encap.Config{Local: []netip.Addr{addrA}, Accel: tt.accel}, tt.peer)
			a.reaches("none", tt.why)
		})
	}
}

// Frames that the uplink's queue has no room for were handed to the kernel; it
// counts them.
func TestNetnsEgressDropped(t *testing.T) {
	a, b := accelerated(t, addrA, addrB, encap.Peer{})
	a.shell("tc qdisc add dev under0 root tbf rate 1mbit burst 4000 limit 4000")
	a.reaches("egress-tap", "")
	const n = 400
	pkts := make([]encap.Packet, n)
	h, super, _ := tcpSuper(t, 2000, 1380)
	for i := range pkts {
		pkts[i] = teb(1, super)
		pkts[i].Header = h
	}
	before := a.u.EgressDropped()
	for _, r := range a.send(pkts...) {
		if r != drop.None {
			t.Fatalf("sent: %v", r)
		}
	}
	got := len(b.recv())
	for end := time.Now().Add(accelWait); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if int(a.u.EgressDropped()-before)+got >= n {
			break
		}
	}
	if lost := int(a.u.EgressDropped() - before); lost == 0 || lost+got < n || lost > n {
		t.Errorf("received %d, dropped %d, want %d together", got, lost, n)
	}
}

// Nothing stays behind in the host's namespace.
func TestNetnsEgressLeavesNothing(t *testing.T) {
	a, _ := accelerated(t, addrA, addrB, encap.Peer{})
	if err := a.u.Close(); err != nil {
		t.Fatal(err)
	}
	out, err := a.Output(t.Context(), "ip", "-br", "link")
	if err != nil || strings.Contains(out, "weft-out") {
		t.Errorf("links: %s, %v", out, err)
	}
}

// fewestAllocs returns how many allocations f makes every time. All goroutines are
// counted, and that which watches over the TAP allocates now and then.
func fewestAllocs(f func()) float64 {
	n := testing.AllocsPerRun(50, f)
	for tries := 0; n != 0 && tries < 10; tries++ {
		n = min(n, testing.AllocsPerRun(50, f))
	}
	return n
}

func TestNetnsEgressNoAllocs(t *testing.T) { overBoth(t, testNetnsEgressNoAllocs) }

func testNetnsEgressNoAllocs(t *testing.T, addrA, addrB netip.Addr) {
	a, _ := accelerated(t, addrA, addrB, encap.Peer{})
	a.noAllocs("egress-tap")
}

// noAllocs sends to peer 1, which is reached as name says, without allocation.
func (h *host) noAllocs(name string) {
	h.t.Helper()
	header, super, _ := tcpSuper(h.t, 60000, 1380)
	s, pkts := h.u.NewSender(), []encap.Packet{teb(1, super), teb(1, frame(100)), teb(1, frame(2000))}
	send := func() {
		pkts[0].Header = header
		s.Send(pkts)
		if pkts[0].Reason != drop.None || pkts[1].Reason != drop.None || pkts[2].Reason != drop.TxTooBig {
			h.t.Fatal(pkts[0].Reason, pkts[1].Reason, pkts[2].Reason)
		}
	}
	if n := fewestAllocs(send); n != 0 {
		h.t.Errorf("Send: %v allocations", n)
	}
	if got, _ := h.u.Accel(1); got != name {
		h.t.Errorf("peer was reached by %s", got)
	}
}

// onOneCPU keeps the test on one CPU: a veth keeps the order of what one sends.
func onOneCPU(t *testing.T) {
	t.Helper()
	runtime.LockOSThread()
	var was, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &was); err != nil {
		t.Fatal(err)
	}
	for cpu := range was.Count() * 64 {
		if was.IsSet(cpu) {
			one.Set(cpu)
			break
		}
	}
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = unix.SchedSetaffinity(0, &was)
		runtime.UnlockOSThread()
	})
}

// Packets to a peer stay in order while its carrier changes.
func TestNetnsEgressOrder(t *testing.T) {
	a, b := accelerated(t, addrA, addrB, encap.Peer{})
	onOneCPU(t)
	h, super, _ := tcpSuper(t, 20000, 1380)
	small, s, carriers := frame(100), a.u.NewSender(), map[string]int{}
	for round := range uint32(60) {
		switch round % 12 {
		case 0:
			a.shell("ip xfrm policy add dst 203.0.113.1 dir out tmpl proto esp mode transport")
		case 6:
			a.shell("ip xfrm policy flush")
		}
		name, _ := a.u.Accel(1)
		carriers[name]++
		pkts := []encap.Packet{teb(1, small), teb(1, super), teb(1, small)}
		pkts[1].Header = h
		binary.BigEndian.PutUint32(small[40:], round)
		binary.BigEndian.PutUint32(super[38:], round<<16)
		s.Send(pkts)
		ds := b.recv()
		for i, d := range ds {
			got := binary.BigEndian.Uint32(d.Frame[38:])
			if len(d.Frame) == len(small) {
				got = binary.BigEndian.Uint32(d.Frame[40:]) << 16
			}
			if ends := i == 0 || i == len(ds)-1; got>>16 != round || ends != (len(d.Frame) == len(small)) {
				t.Fatalf("round %d: datagram %d of %d has %d bytes and number %d", round, i, len(ds), len(d.Frame), got>>16)
			}
		}
	}
	if len(carriers) != 2 {
		t.Errorf("carriers were %v: this test proves nothing", carriers)
	}
}
