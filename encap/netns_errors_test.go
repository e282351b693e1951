package encap_test

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weft/encap"
	"weft/internal/drop"
	"weft/internal/header"
)

// TestNetnsSendErrors: each packet has its own error, and no other one's.
func TestNetnsSendErrors(t *testing.T) { overBoth(t, testNetnsSendErrors) }

func testNetnsSendErrors(t *testing.T, addrA, addrB netip.Addr) {
	a, b := twoHosts(t)
	nowhere := encap.Peer{ID: 2, Addr: netip.MustParseAddr("192.0.2.1")}
	most := 1500 - 20 - 8 // frame that fits the link
	if addrB.Is6() {
		nowhere.Addr = netip.MustParseAddr("2001:db8:1::1")
		most = 1500 - 40 - 8
	}
	a.open(encap.Config{Local: []netip.Addr{addrA}}, encap.Peer{ID: 1, Addr: addrB}, nowhere)
	b.open(encap.Config{}, encap.Peer{ID: 1, Addr: addrA})

	if got := a.u.Room(1, encap.ProtoTEB); got != most {
		t.Errorf("room for frames of %d bytes, want %d", got, most)
	}
	h, super, _ := tcpSuper(t, 30000, most)
	big := teb(1, super) // its segments have headers on top
	big.Header = h
	pkts := []encap.Packet{teb(1, frame(most)), teb(1, frame(most+1)), teb(1, frame(60)), teb(2, frame(60)), big, teb(2, frame(most+1)), teb(1, frame(61))}
	a.u.NewSender().Send(pkts)
	want := []drop.Reason{drop.None, drop.TxTooBig, drop.None, drop.TxUnreachable, drop.TxTooBig, drop.TxUnreachable, drop.None}
	wantErr := []error{nil, unix.EMSGSIZE, nil, unix.ENETUNREACH, unix.EMSGSIZE, unix.ENETUNREACH, nil}
	for i := range pkts {
		if pkts[i].Reason != want[i] || pkts[i].Err != wantErr[i] {
			t.Errorf("packet %d: got %v, %v, want %v, %v", i, pkts[i].Reason, pkts[i].Err, want[i], wantErr[i])
		}
	}
	var got []int
	for _, d := range b.recv() {
		got = append(got, len(d.Frame))
	}
	if len(got) != 3 || got[0] != most || got[1] != 60 || got[2] != 61 {
		t.Errorf("b got frames of %v bytes, want [%d 60 61]", got, most)
	}

	// The sends that failed left nothing behind that hurts reception.
	for range 1000 {
		a.send(teb(1, frame(most+1)))
	}
	b.send(teb(1, frame(60)))
	if ds := a.recv(); len(ds) != 1 || ds[0].Reason != drop.None {
		t.Errorf("a got %v", ds)
	}
}

// TestNetnsLinkDown: sends fail while the link is down and work when it is back.
func TestNetnsLinkDown(t *testing.T) { overBoth(t, testNetnsLinkDown) }

func testNetnsLinkDown(t *testing.T, addrA, addrB netip.Addr) {
	a, b := twoHosts(t)
	a.open(encap.Config{Local: []netip.Addr{addrA}}, encap.Peer{ID: 1, Addr: addrB})
	b.open(encap.Config{}, encap.Peer{ID: 1, Addr: addrA})
	if err := a.SetLink("under0", false); err != nil {
		t.Fatal(err)
	}
	if got := a.send(teb(1, frame(60))); got[0] != drop.TxUnreachable {
		t.Errorf("link down: got %v, want %v", got[0], drop.TxUnreachable)
	}
	if err := a.SetLink("under0", true); err != nil {
		t.Fatal(err)
	}
	if addrA.Is6() { // a link that goes down loses its IPv6 addresses
		a.addAddr(addrA)
	}
	if got := a.send(teb(1, frame(60))); got[0] != drop.None {
		t.Errorf("link up again: got %v", got[0])
	}
	b.recv()
}

// TestNetnsErrors: what ICMP says of a peer is told, and disturbs nothing.
func TestNetnsErrors(t *testing.T) {
	a, b := twoHosts(t)
	a.open(encap.Config{Local: []netip.Addr{addrA}}, encap.Peer{ID: 6, Addr: addrB}, encap.Peer{ID: 7, Addr: netip.MustParseAddr("10.0.0.77")})
	r := a.u.Receivers()[0]
	errorsOf := func() (got []error) {
		a.wait(r.FD(), unix.POLLERR)
		if ds, err := r.Recv(); len(ds) != 0 || err != nil {
			t.Errorf("Recv with an error pending = %v, %v", ds, err)
		}
		r.Errors(func(id encap.PeerID, err error) {
			if id != 6 {
				t.Errorf("got peer %d, want 6", id)
			}
			got = append(got, err)
		})
		p := []unix.PollFd{{Fd: int32(r.FD())}}
		if _, _ = unix.Poll(p, 0); p[0].Revents != 0 {
			t.Errorf("events %#x are left", p[0].Revents)
		}
		return got
	}

	// No switch on b: protocol unreachable.
	if got := a.send(teb(6, frame(60))); got[0] != drop.None {
		t.Fatalf("sent %v", got)
	}
	got := errorsOf()
	if len(got) != 1 || !errors.Is(got[0], syscall.ENOPROTOOPT) {
		t.Fatalf("got %v, want %v", got, syscall.ENOPROTOOPT)
	}
	const want = "protocol 47 unreachable: no switch runs there, says 10.0.0.2"
	if got[0].Error() != want {
		t.Errorf("got %q, want %q", got[0], want)
	}

	// A forged "fragmentation needed" is told, and not believed.
	b.do(func() error { return forgeUnreachable(4, 600) })
	got = errorsOf()
	var icmp *encap.ICMPError
	if len(got) != 1 || !errors.As(got[0], &icmp) || icmp.MTU != 600 || icmp.Errno != syscall.EMSGSIZE {
		t.Fatalf("got %v, want an MTU of 600", got)
	}
	if mtu := a.pathMTU(addrB); mtu != 1500 {
		t.Errorf("the host believes in a path MTU of %d", mtu)
	}

	// Even where other software on the host falls for it, datagrams leave.
	a.do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_GRE)
		if err == nil {
			t.Cleanup(func() { _ = unix.Close(fd) })
		}
		return err
	})
	b.do(func() error { return forgeUnreachable(4, 600) })
	errorsOf()
	if mtu := a.pathMTU(addrB); mtu != 600 {
		t.Errorf("path MTU is %d, want 600 for this test", mtu)
	}
	b.open(encap.Config{}, encap.Peer{ID: 1, Addr: addrA})
	if got := a.send(teb(6, frame(1400))); got[0] != drop.None {
		t.Errorf("behind a forged MTU: sent %v", got)
	}
	if ds := b.recv(); len(ds) != 1 || len(ds[0].Frame) != 1400 {
		t.Errorf("behind a forged MTU: b got %v", ds)
	}
}

// TestNetnsErrorNotQueued: an error for which the full receive buffer has no room
// goes away with Errors too; else its event would stay for ever.
func TestNetnsErrorNotQueued(t *testing.T) {
	a, b := twoHosts(t)
	a.open(encap.Config{Local: []netip.Addr{addrA}}, encap.Peer{ID: 6, Addr: addrB})
	b.open(encap.Config{}, encap.Peer{ID: 1, Addr: addrA})
	r := a.u.Receivers()[0]
	if err := unix.SetsockoptInt(r.FD(), unix.SOL_SOCKET, unix.SO_RCVBUF, 0); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		b.send(teb(1, frame(1400)))
	}
	a.wait(r.FD(), unix.POLLIN)
	b.do(func() error { return forgeUnreachable(2, 0) })
	a.wait(r.FD(), unix.POLLERR)
	r.Errors(func(_ encap.PeerID, err error) { t.Errorf("got %v, want nothing", err) })
	if ready(r.FD(), unix.POLLERR, 0) {
		t.Error("the event is still there")
	}
}

// forgeUnreachable sends ICMP from the namespace that it runs in to a, about a
// datagram from a to b.
func forgeUnreachable(code uint8, mtu uint16) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMP)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	quoted := outer(addrA, addrB, []byte{0x20, 0, 0x65, 0x58, 0, 0, 0, 7})
	msg := cat([]byte{3, code, 0, 0, 0, 0, byte(mtu >> 8), byte(mtu)}, quoted)
	binary.BigEndian.PutUint16(msg[2:], ^header.Fold(header.Sum(msg)))
	return unix.Sendto(fd, msg, 0, &unix.SockaddrInet4{Addr: addrA.As4()})
}

// pathMTU returns what the host takes for the MTU of the path to an address.
func (h *host) pathMTU(to netip.Addr) (mtu int) {
	h.t.Helper()
	h.do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := unix.Connect(fd, &unix.SockaddrInet4{Port: 9, Addr: to.As4()}); err != nil {
			return err
		}
		mtu, err = unix.GetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU)
		return err
	})
	return mtu
}

// TestNetnsPendingError: an ICMP error that waits at the sending socket is not
// taken for a failure of what is sent next. The socket has protocol 47 here,
// which is reported to; so are those of protocol 255 by kernels before 2026.
func TestNetnsPendingError(t *testing.T) {
	a, b := twoHosts(t)
	b.open(encap.Config{}, encap.Peer{ID: 1, Addr: addrA})
	var s encap.Sockets
	a.do(func() error {
		for _, fd := range []*int{&s.Peers, &s.Strangers, &s.Send} {
			var err error
			if *fd, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_GRE); err != nil {
				return err
			}
		}
		return errors.Join(
			unix.SetsockoptInt(s.Send, unix.IPPROTO_IP, unix.IP_HDRINCL, 1),
			unix.SetsockoptInt(s.Send, unix.IPPROTO_IP, unix.IP_RECVERR, 1))
	})
	u, err := encap.OpenSockets(encap.Config{Local: []netip.Addr{addrA}}, s)
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	setPeers(t, u, encap.Peer{ID: 6, Addr: addrB})
	a.u = u

	b.do(func() error { return forgeUnreachable(2, 0) })
	a.wait(s.Send, unix.POLLERR)
	if got := a.send(teb(6, frame(60)), teb(6, frame(61))); got[0] != drop.None || got[1] != drop.None {
		t.Errorf("sent %v", got)
	}
	if ds := b.recv(); len(ds) != 2 {
		t.Errorf("b got %d datagrams, want 2", len(ds))
	}
}

// TestNetnsNoBuffers: what the link's queue has no room for is tx_nobufs.
func TestNetnsNoBuffers(t *testing.T) {
	a, b := twoHosts(t)
	a.open(encap.Config{Local: []netip.Addr{addrA}}, encap.Peer{ID: 1, Addr: addrB})
	b.open(encap.Config{}, encap.Peer{ID: 1, Addr: addrA})
	a.send(teb(1, frame(60)))
	b.recv() // ARP is done: it has a queue of its own
	a.do(func() error {
		link, err := netlink.LinkByName("under0")
		if err != nil {
			return err
		}
		return netlink.QdiscAdd(&netlink.Tbf{
			QdiscAttrs: netlink.QdiscAttrs{LinkIndex: link.Attrs().Index, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT},
			Rate:       10000, Limit: 20000, Buffer: 20000,
		})
	})
	pkts := []encap.Packet{teb(1, frame(1400)), teb(1, frame(1400))} // each is more than the bucket holds
	a.u.NewSender().Send(pkts)
	for _, p := range pkts {
		if p.Reason != drop.TxNoBufs || p.Err != syscall.ENOBUFS {
			t.Errorf("got %v, %v, want %v, %v", p.Reason, p.Err, drop.TxNoBufs, syscall.ENOBUFS)
		}
	}
}

// TestNetnsRouteError sends to peers that routes keep from this host, and asks what the
// errors mean.
func TestNetnsRouteError(t *testing.T) { overBoth(t, testNetnsRouteError) }

func testNetnsRouteError(t *testing.T, addrA, _ netip.Addr) {
	a, _ := twoHosts(t)
	prefix := "192.0.2."
	if addrA.Is6() {
		prefix = "2001:db8:9::"
	}
	routes := []struct{ kind, want string }{
		{"blackhole", "the route to " + prefix + "1 is a blackhole: remove it"},
		{"prohibit", "the route to " + prefix + "2 prohibits it: remove it"},
		{"unreachable", "no route to host"},
	}
	var peers []encap.Peer
	for i, r := range routes {
		to := netip.MustParseAddr(prefix + string(rune('1'+i)))
		if _, err := a.Output(t.Context(), "ip", "route", "add", r.kind, to.String()); err != nil {
			t.Fatal(err)
		}
		peers = append(peers, encap.Peer{ID: encap.PeerID(i + 1), Addr: to})
	}
	for _, choice := range []encap.Choice{encap.ChooseGRE, encap.ChooseUDP} {
		for i := range peers {
			peers[i].Choice = choice
		}
		if a.u == nil {
			a.open(encap.Config{Local: []netip.Addr{addrA}}, peers...)
		} else {
			a.setPeers(peers...)
		}
		for i, r := range routes {
			pkts := []encap.Packet{teb(peers[i].ID, frame(60))}
			a.u.NewSender().Send(pkts)
			got := encap.RouteError(peers[i].Addr, pkts[0].Err)
			if pkts[0].Reason != drop.TxUnreachable || got == nil || !strings.HasPrefix(got.Error(), r.want) {
				t.Errorf("choice %d, %s: got %v, %v (%v), want %s", choice, r.kind, pkts[0].Reason, got, pkts[0].Err, r.want)
			}
		}
	}
}
