package encap_test

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weft/encap"
	"weft/internal/drop"
	"weft/internal/lab"
)

// The tests of the netns files run between two hosts, a at 10.0.0.1 and 2001:db8::1
// and b at 10.0.0.2 and 2001:db8::2, joined by a link under0. They need root.

var (
	addrA, addrB   = local, keyed.Addr
	addrA6, addrB6 = local6, keyed6.Addr
)

// overBoth runs a test over IPv4 and over IPv6, given the addresses of a and b.
func overBoth(t *testing.T, test func(t *testing.T, addrA, addrB netip.Addr)) {
	t.Run("IPv4", func(t *testing.T) { test(t, addrA, addrB) })
	t.Run("IPv6", func(t *testing.T) { test(t, addrA6, addrB6) })
}

type host struct {
	*lab.NS
	t  *testing.T
	u  *encap.Underlay // nil before open
	v6 bool            // peers are
}

// receiver returns that for the version of IP of the host's peers.
func (h *host) receiver() encap.Receiver {
	rs := h.u.Receivers()
	rs = rs[:len(rs)/2] // the others are those of GRE-in-UDP
	if h.v6 {
		return rs[len(rs)-1]
	}
	return rs[0]
}

// strangers returns the count of strangers of the same version of IP.
func (h *host) strangers() *encap.Strangers {
	all := h.u.Strangers()
	all = all[:len(all)/2]
	if h.v6 {
		return all[len(all)-1]
	}
	return all[0]
}

// twoHosts makes a and b; neither has an Underlay yet.
func twoHosts(t *testing.T) (a, b *host) {
	t.Helper()
	l := lab.ForTest(t)
	hosts := [2]*host{}
	for i, name := range []string{"a", "b"} {
		ns, err := l.Host(name)
		if err != nil {
			t.Fatal(err)
		}
		hosts[i] = &host{NS: ns, t: t}
	}
	end := func(h *host, a, a6 netip.Addr) lab.End {
		return lab.End{NS: h.NS, Name: "under0", Addrs: []netip.Prefix{netip.PrefixFrom(a, 24), netip.PrefixFrom(a6, 64)}}
	}
	if err := l.Link(end(hosts[0], addrA, addrA6), end(hosts[1], addrB, addrB6)); err != nil {
		t.Fatal(err)
	}
	return hosts[0], hosts[1]
}

// open makes the host's Underlay.
func (h *host) open(cfg encap.Config, peers ...encap.Peer) {
	h.t.Helper()
	h.openDeaf(cfg)
	h.setPeers(peers...)
}

// openDeaf is open without peers set, be it none.
func (h *host) openDeaf(cfg encap.Config) {
	h.t.Helper()
	h.do(func() (err error) { h.u, err = encap.Open(cfg); return err })
	h.t.Cleanup(func() {
		if err := h.u.Close(); err != nil {
			h.t.Errorf("close underlay: %v", err)
		}
	})
}

func (h *host) setPeers(peers ...encap.Peer) {
	h.t.Helper()
	setPeers(h.t, h.u, peers...)
	h.v6 = len(peers) > 0 && peers[0].Addr.Is6()
}

// do runs f in the host's namespace.
func (h *host) do(f func() error) {
	h.t.Helper()
	if err := h.Do(f); err != nil {
		h.t.Fatal(err)
	}
}

// send sends packets and returns their reasons.
func (h *host) send(pkts ...encap.Packet) []drop.Reason {
	h.u.NewSender().Send(pkts)
	reasons := make([]drop.Reason, len(pkts))
	for i := range pkts {
		reasons[i] = pkts[i].Reason
	}
	return reasons
}

// wait waits until a descriptor of the host has one of the events.
func (h *host) wait(fd int, events int16) {
	h.t.Helper()
	if !ready(fd, events, 5*time.Second) {
		h.t.Fatal("nothing arrived")
	}
}

// ready reports whether a descriptor has one of the events before the time is over.
func ready(fd int, events int16, patience time.Duration) bool {
	for end := time.Now().Add(patience); ; {
		p := []unix.PollFd{{Fd: int32(fd), Events: events}}
		_, _ = unix.Poll(p, int(max(0, time.Until(end).Milliseconds()))) // EINTR: again
		if p[0].Revents&events != 0 {
			return true
		}
		if time.Now().After(end) {
			return false
		}
	}
}

// recv returns what arrives from peers until nothing has for 50 ms, frames copied.
func (h *host) recv() (all []encap.Datagram) {
	h.t.Helper()
	r := h.receiver()
	h.wait(r.FD(), unix.POLLIN)
	for {
		ds, err := r.Recv()
		if err != nil {
			h.t.Fatal(err)
		}
		for _, d := range ds {
			d.Frame, d.Buf = bytes.Clone(d.Frame), nil
			all = append(all, d)
		}
		if len(ds) == 0 && !ready(r.FD(), unix.POLLIN, 50*time.Millisecond) {
			return all
		}
	}
}

// teb is a packet with key 7.
func teb(to encap.PeerID, frame []byte) encap.Packet {
	return encap.Packet{Peer: to, Proto: encap.ProtoTEB, Key: 7, Frame: frame}
}

func TestNetnsRoundTrip(t *testing.T) { overBoth(t, testNetnsRoundTrip) }

func testNetnsRoundTrip(t *testing.T, addrA, addrB netip.Addr) {
	for _, opts := range []encap.Peer{{}, {Keyless: true}, {Checksum: true}, {Sequence: true}, {Checksum: true, Sequence: true}} {
		a, b := twoHosts(t)
		if err := b.SetFeature("under0", lab.GRO, false); err != nil { // see TestNetnsMerged
			t.Fatal(err)
		}
		toB, toA := opts, opts
		toB.ID, toB.Addr, toA.ID, toA.Addr = 5, addrB, 9, addrA
		a.open(encap.Config{Local: []netip.Addr{addrA}}, toB)
		b.open(encap.Config{}, toA) // the route picks the source, any address is heard

		h, super, payload := tcpSuper(t, 30000, 1380)
		superPkt := teb(5, super)
		superPkt.Header = h
		if got := a.send(teb(5, frame(14)), superPkt, teb(5, frame(1400))); got[0] != drop.None || got[1] != drop.None || got[2] != drop.None {
			t.Fatalf("%+v: sent %v", opts, got)
		}
		ds := b.recv()
		var stream []byte
		for _, d := range ds {
			if d.Reason != drop.None || d.Peer != 9 || d.HasKey == opts.Keyless || d.HasKey && d.Key != 7 {
				t.Fatalf("%+v: got %v, peer %d, key %v %d", opts, d.Reason, d.Peer, d.HasKey, d.Key)
			}
			if len(d.Frame) > 54 && d.Frame[12] == 8 {
				stream = append(stream, d.Frame[54:]...)
			}
		}
		if len(ds) != 24 || !bytes.Equal(ds[0].Frame, frame(14)) || !bytes.Equal(ds[23].Frame, frame(1400)) {
			t.Errorf("%+v: got %d datagrams, want 24", opts, len(ds))
		}
		if !bytes.Equal(stream, payload) {
			t.Errorf("%+v: the stream is not what was sent", opts)
		}
		if got := b.send(teb(9, frame(200))); got[0] != drop.None {
			t.Fatalf("%+v: b sent %v", opts, got)
		}
		if back := a.recv(); len(back) != 1 || back[0].Peer != 5 || !bytes.Equal(back[0].Frame, frame(200)) {
			t.Errorf("%+v: a got %v", opts, back)
		}
		if n := a.strangers().Count() + b.strangers().Count(); n != 0 {
			t.Errorf("%+v: %d strangers", opts, n)
		}
	}
}

func TestNetnsLinkMTU(t *testing.T) {
	a, b := twoHosts(t)
	a.open(encap.Config{Local: []netip.Addr{addrA, addrA6}})
	b.open(encap.Config{})
	if got := a.u.LinkMTU(); got != 1500 {
		t.Errorf("got %d, want 1500", got)
	}
	a.do(func() error { return setMTU("under0", 1400) })
	if got := a.u.LinkMTU(); got != 1400 { // asked from outside the namespace
		t.Errorf("after a change: got %d, want 1400", got)
	}
	for _, to := range []netip.Addr{addrB, addrB6} {
		if got := a.u.LinkMTUTo(to); got != 1400 {
			t.Errorf("to %s: got %d, want 1400", to, got)
		}
	}
	if got := b.u.LinkMTU(); got != 1500 {
		t.Errorf("without a local address: got %d, want 1500", got)
	}
	if a.u.OverheadTo(addrB6, false) != 70 || a.u.OverheadTo(addrB6, true) != 74 || a.u.OverheadTo(addrB, false) != 50 {
		t.Errorf("overhead over IPv6 is %d and %d, want 70 and 74", a.u.OverheadTo(addrB6, false), a.u.OverheadTo(addrB6, true))
	}
	if a.u.Overhead(false) != 50 || a.u.Overhead(true) != 54 {
		t.Errorf("overhead is %d and %d, want 50 and 54", a.u.Overhead(false), a.u.Overhead(true))
	}
}

func setMTU(link string, mtu int) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq(link)
	if err != nil {
		return err
	}
	req.SetUint32(uint32(mtu))
	return unix.IoctlIfreq(fd, unix.SIOCSIFMTU, req)
}

// TestNetnsLeavesNothing: Close gives back every descriptor, so does a failed Open.
func TestNetnsLeavesNothing(t *testing.T) {
	a, _ := twoHosts(t)
	before := openFiles(t)
	for range 3 {
		a.do(func() error {
			u, err := encap.Open(encap.Config{Local: []netip.Addr{addrA, addrA6}})
			if err != nil {
				return err
			}
			return errors.Join(u.Close(), u.Close())
		})
	}
	if _, err := encap.OpenSockets(encap.Config{}, encap.Sockets{Peers: -1, Strangers: -1, Send: -1}); err == nil {
		t.Error("sockets that are none: no error")
	}
	if after := openFiles(t); after != before {
		t.Errorf("%d descriptors are open, %d were before", after, before)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(files)
}
