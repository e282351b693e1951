package encap_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weft/encap"
	"weft/internal/drop"
	"weft/internal/header"
)

// addAddr gives under0 an IPv6 address.
func (h *host) addAddr(a netip.Addr) {
	h.t.Helper()
	h.do(func() error {
		link, err := netlink.LinkByName("under0")
		if err != nil {
			return err
		}
		return netlink.AddrAdd(link, &netlink.Addr{IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(64, 128)}, Flags: unix.IFA_F_NODAD})
	})
}

// TestNetnsMixed: one Underlay speaks to peers over both versions of IP.
func TestNetnsMixed(t *testing.T) {
	a, b := twoHosts(t)
	a.open(encap.Config{Local: []netip.Addr{addrA, addrA6}}, encap.Peer{ID: 1, Addr: addrB}, encap.Peer{ID: 2, Addr: addrB6})
	b.open(encap.Config{Local: []netip.Addr{addrB6}}, encap.Peer{ID: 3, Addr: addrA6})
	var pkts []encap.Packet
	for i := range 10 {
		pkts = append(pkts, teb(encap.PeerID(i%2+1), frame(60+i)))
	}
	for i, r := range a.send(pkts...) {
		if r != drop.None {
			t.Errorf("packet %d: %v", i, r)
		}
	}
	ds := b.recv()
	for i, d := range ds {
		if d.Peer != 3 || len(d.Frame) != 61+2*i {
			t.Errorf("datagram %d: peer %d, %d bytes", i, d.Peer, len(d.Frame))
		}
	}
	if len(ds) != 5 {
		t.Errorf("got %d datagrams over IPv6, want 5", len(ds))
	}
	if b.u.Speaks(addrA) || !b.u.Speaks(addrA6) || !a.u.Speaks(addrA) || !a.u.Speaks(addrA6) {
		t.Error("the local addresses do not say what the Underlay speaks")
	}
	if err := b.u.SetPeers([]encap.Peer{{ID: 1, Addr: addrA}}); err == nil || !strings.Contains(err.Error(), "peer 1: 10.0.0.1: no local address of this version of IP") {
		t.Errorf("IPv4 peer where only IPv6 is local: got %v", err)
	}
}

// TestNetnsTrafficClass: outer ECN arrives though the outer header does not.
func TestNetnsTrafficClass(t *testing.T) { overBoth(t, testNetnsTrafficClass) }

func testNetnsTrafficClass(t *testing.T, addrA, addrB netip.Addr) {
	a, b := twoHosts(t)
	a.open(encap.Config{Local: []netip.Addr{addrA}}, encap.Peer{ID: 1, Addr: addrB})
	b.open(encap.Config{}, encap.Peer{ID: 1, Addr: addrA})
	for ecn := range uint8(4) {
		f := cat(frame(12), []byte{8, 0, 0x45, 0xb8 | ecn}, frame(30))
		if got := a.send(teb(1, f)); got[0] != drop.None {
			t.Fatalf("sent %v", got[0])
		}
		if ds := b.recv(); len(ds) != 1 || ds[0].TOS != ecn {
			t.Errorf("ECN %d: got %+v", ecn, ds)
		}
	}
}

// TestNetnsNoAllocs6: neither does what a raw socket says beside a datagram cost
// memory.
func TestNetnsNoAllocs6(t *testing.T) {
	a, b := twoHosts(t)
	a.open(encap.Config{Local: []netip.Addr{addrA6}}, encap.Peer{ID: 1, Addr: addrB6})
	b.open(encap.Config{}, encap.Peer{ID: 1, Addr: addrA6})
	s, r, strangers := a.u.NewSender(), b.receiver(), b.strangers()
	pkts := []encap.Packet{teb(1, frame(100))}
	s.Send(pkts)
	b.recv() // neighbours know each other
	got := 0
	if n := testing.AllocsPerRun(100, func() {
		s.Send(pkts)
		ds, err := r.Recv()
		if err != nil {
			t.Fatal(err)
		}
		got += len(ds)
		r.Overflow()
		strangers.Count()
		a.u.Room(1, encap.ProtoTEB)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if got == 0 {
		t.Error("nothing was received")
	}
}

// TestNetnsRoom: Refresh follows the link and the route.
func TestNetnsRoom(t *testing.T) {
	a, b := twoHosts(t)
	toB := []encap.Peer{{ID: 1, Addr: addrB}, {ID: 2, Addr: addrB6, Checksum: true, Sequence: true}, {ID: 3, Addr: netip.MustParseAddr("2001:db8:1::1"), Keyless: true}}
	a.open(encap.Config{Local: []netip.Addr{addrA, addrA6}}, toB...)
	b.open(encap.Config{}, encap.Peer{ID: 1, Addr: addrA6}, encap.Peer{ID: 2, Addr: netip.MustParseAddr("2001:db8:1::1")})
	check := func(what string, u *encap.Underlay, want ...int) {
		t.Helper()
		for i, w := range want {
			id := encap.PeerID(i + 1)
			if got := u.Room(id, encap.ProtoTEB); got != w {
				t.Errorf("%s: room for %d bytes to peer %d, want %d", what, got, id, w)
			}
			if got := u.Room(id, encap.ProtoIPv6); got != w+14 {
				t.Errorf("%s: room for %d bytes with bare IP to peer %d, want %d", what, got, id, w+14)
			}
		}
	}
	check("MTU 1500", a.u, 1500-20-8, 1500-40-16, 1500-40-4)
	check("by route", b.u, 1500-40-8, 1500-40-8)
	if got := a.u.Room(9, encap.ProtoTEB); got != 0 {
		t.Errorf("no such peer: room for %d bytes", got)
	}
	a.do(func() error { return setMTU("under0", 1400) })
	b.do(func() error { return setMTU("under0", 1300) })
	check("before Refresh", a.u, 1500-20-8)
	a.u.Refresh()
	b.u.Refresh()
	check("after Refresh", a.u, 1400-20-8, 1400-40-16, 1400-40-4)
	check("after Refresh, by route", b.u, 1300-40-8)

	// A route that is missing may come.
	p := teb(2, frame(60))
	if got := b.send(p); got[0] != drop.TxUnreachable {
		t.Errorf("without a route: %v", got[0])
	}
	b.addAddr(netip.MustParseAddr("2001:db8:1::2"))
	b.u.Refresh()
	if got := b.send(p); got[0] != drop.None {
		t.Errorf("with a route: %v", got[0])
	}
}

// TestNetnsErrors6 is TestNetnsErrors over IPv6.
func TestNetnsErrors6(t *testing.T) {
	a, b := twoHosts(t)
	a.open(encap.Config{Local: []netip.Addr{addrA6}}, encap.Peer{ID: 6, Addr: addrB6})
	r := a.receiver()
	errorOf := func() *encap.ICMPError {
		t.Helper()
		a.wait(r.FD(), unix.POLLERR)
		if ds, err := r.Recv(); len(ds) != 0 || err != nil {
			t.Errorf("Recv with an error pending = %v, %v", ds, err)
		}
		var got []*encap.ICMPError
		r.Errors(func(id encap.PeerID, err error) {
			var e *encap.ICMPError
			if !errors.As(err, &e) || id != 6 {
				t.Errorf("got peer %d, %v", id, err)
			}
			got = append(got, e)
		})
		if len(got) != 1 {
			t.Fatalf("got %v, want one error", got)
		}
		if ready(r.FD(), unix.POLLERR, 0) {
			t.Error("the event is still there")
		}
		return got[0]
	}

	// No switch on b: a next header that nobody takes.
	if got := a.send(teb(6, frame(60))); got[0] != drop.None {
		t.Fatalf("sent %v", got)
	}
	const want = "protocol 47 unreachable: no switch runs there, says 2001:db8::2"
	if e := errorOf(); e.Error() != want || !errors.Is(e, syscall.EPROTO) {
		t.Errorf("got %q, %v, want %q, %v", e, e.Errno, want, syscall.EPROTO)
	}

	// A forged "packet too big" is told; it neither stops nor cuts what leaves.
	b.open(encap.Config{}, encap.Peer{ID: 1, Addr: addrA6})
	b.do(func() error { return forgeTooBig(1280) })
	if e := errorOf(); e.MTU != 1280 || e.Errno != syscall.EMSGSIZE || !strings.HasPrefix(e.Error(), "datagram too big for the path, MTU 1280") {
		t.Errorf("got %v, want an MTU of 1280", e)
	}
	if mtu := a.pathMTU6(addrB6); mtu != 1280 {
		t.Errorf("path MTU is %d, want 1280 for this test", mtu)
	}
	if got := a.send(teb(6, frame(1400))); got[0] != drop.None {
		t.Errorf("behind a forged MTU: sent %v", got)
	}
	if ds := b.recv(); len(ds) != 1 || !bytes.Equal(ds[0].Frame, frame(1400)) {
		t.Errorf("behind a forged MTU: b got %v", ds)
	}
	if n := b.reassembled(); n != 0 {
		t.Errorf("behind a forged MTU: b reassembled %d fragments", n)
	}
}

// forgeTooBig sends ICMPv6 from the namespace that it runs in to a, about a
// datagram from a to b.
func forgeTooBig(mtu uint32) error {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMPV6) // the kernel fills in the checksum
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	msg := binary.BigEndian.AppendUint32([]byte{2, 0, 0, 0}, mtu)
	msg = append(msg, outer(addrA6, addrB6, []byte{0x20, 0, 0x65, 0x58, 0, 0, 0, 7})...)
	return unix.Sendto(fd, msg, 0, &unix.SockaddrInet6{Addr: addrA6.As16()})
}

// pathMTU6 returns what the host takes for the MTU of the path to an address.
func (h *host) pathMTU6(to netip.Addr) (mtu int) {
	h.t.Helper()
	h.do(func() error {
		fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := unix.Connect(fd, &unix.SockaddrInet6{Port: 9, Addr: to.As16()}); err != nil {
			return err
		}
		mtu, err = unix.GetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MTU)
		return err
	})
	return mtu
}

// reassembled returns how many IPv6 fragments the host has received.
func (h *host) reassembled() (n int) {
	h.t.Helper()
	h.do(func() error {
		b, err := os.ReadFile("/proc/thread-self/net/snmp6")
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(b)) {
			if f := strings.Fields(line); len(f) == 2 && f[0] == "Ip6ReasmReqds" {
				n, err = strconv.Atoi(f[1])
			}
		}
		return err
	})
	return n
}

// TestNetnsNotForUs6: multicast and another address of the host are strangers';
// fragments arrive as the datagram that they were, extension headers are gone.
func TestNetnsNotForUs6(t *testing.T) {
	a, b := twoHosts(t)
	b.addAddr(netip.MustParseAddr("2001:db8::b"))
	b.open(encap.Config{Local: []netip.Addr{addrB6}}, encap.Peer{ID: 1, Addr: addrA6})
	gre := []byte{0x20, 0, 0x65, 0x58, 0, 0, 0, 7}
	r, strangers := b.receiver(), b.strangers()
	for what, to := range map[string]string{"multicast": "ff02::1%under0", "another address": "2001:db8::b"} {
		a.do(func() error { return sendRaw6(netip.MustParseAddr(to), cat(gre, frame(60)), nil) })
		b.wait(strangers.FD(), unix.POLLIN)
		if n := strangers.Count(); n != 1 {
			t.Errorf("%s: counted %d, want 1", what, n)
		}
		if ds, err := r.Recv(); len(ds) != 0 || err != nil {
			t.Errorf("%s: received %v, %v", what, ds, err)
		}
	}
	a.do(func() error { return sendRaw6(addrB6, cat(gre, frame(4000)), nil) })
	if ds := b.recv(); len(ds) != 1 || ds[0].Reason != drop.None || !bytes.Equal(ds[0].Frame, frame(4000)) {
		t.Errorf("fragments: received %d datagrams", len(ds))
	}
	if b.reassembled() == 0 {
		t.Error("there were no fragments")
	}
	options := []byte{header.ProtoGRE, 0, 1, 4, 0, 0, 0, 0} // a destination options header with padding
	a.do(func() error { return sendRaw6(addrB6, cat(gre, frame(60)), options) })
	if ds := b.recv(); len(ds) != 1 || ds[0].Reason != drop.None || !bytes.Equal(ds[0].Frame, frame(60)) {
		t.Errorf("extension header: received %v", ds)
	}
}

// sendRaw6 sends a GRE packet that the kernel puts into IPv6, behind destination
// options if there are any.
func sendRaw6(to netip.Addr, gre, options []byte) error {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_GRE)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if options != nil {
		if err := unix.SetsockoptString(fd, unix.IPPROTO_IPV6, unix.IPV6_DSTOPTS, string(options)); err != nil {
			return err
		}
	}
	if err := unix.Bind(fd, &unix.SockaddrInet6{Addr: addrA6.As16()}); err != nil {
		return err
	}
	dest := &unix.SockaddrInet6{Addr: to.As16()}
	if to.Zone() != "" {
		link, err := net.InterfaceByName(to.Zone())
		if err != nil {
			return err
		}
		dest.ZoneId = uint32(link.Index)
	}
	return unix.Sendto(fd, gre, 0, dest)
}
