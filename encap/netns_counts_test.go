package encap_test

import (
	"bytes"
	"net/netip"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"weft/encap"
	"weft/internal/drop"
)

// TestNetnsCounts: nobody reads while 500 datagrams arrive at a queue that holds
// a few. What was read later and what was lost adds up.
func TestNetnsCounts(t *testing.T) { overBoth(t, testNetnsCounts) }

func testNetnsCounts(t *testing.T, addrA, addrB netip.Addr) {
	a, b := twoHosts(t)
	a.open(encap.Config{Local: []netip.Addr{addrA}}, encap.Peer{ID: 1, Addr: addrB})
	b.open(encap.Config{Local: []netip.Addr{addrB}})
	r, strangers := b.u.Receivers()[0], b.u.Strangers()[0]
	shrink := func(fd int) {
		t.Helper()
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 10000); err != nil {
			t.Fatal(err)
		}
	}
	flood := func() {
		t.Helper()
		pkts := make([]encap.Packet, 500)
		for i := range pkts {
			pkts[i] = teb(1, frame(1000))
		}
		for i, reason := range a.send(pkts...) {
			if reason != drop.None {
				t.Fatalf("packet %d: %v", i, reason)
			}
		}
	}
	// settle waits until a queue gets no more: with the machine busy the kernel
	// delivers later than Send returns.
	settle := func(fd int) {
		t.Helper()
		for last, quiet := meminfo(t, fd), 0; quiet < 10; quiet++ {
			time.Sleep(10 * time.Millisecond)
			if now := meminfo(t, fd); now != last {
				last, quiet = now, 0
			}
		}
	}
	count := func() (read, calls uint64) {
		for {
			n := strangers.Count()
			if n == 0 {
				return read, calls
			}
			read += n
			calls++
		}
	}

	// The link may take a second to come up, and neighbours to know each other.
	for a.send(teb(1, frame(60))); !ready(strangers.FD(), unix.POLLIN, 100*time.Millisecond); {
		a.send(teb(1, frame(60)))
	}
	settle(strangers.FD())
	count()
	flood()
	settle(strangers.FD())
	if n, calls := count(); n != 500 || calls < 500/64 {
		t.Errorf("counted %d strangers in %d calls, want 500 in at least %d", n, calls, 500/64)
	}
	shrink(strangers.FD())
	flood()
	settle(strangers.FD())
	if n, calls := count(); n != 500 || calls > 2 {
		t.Errorf("counted %d strangers in %d calls, want 500 in one or two", n, calls)
	}
	if n := r.Overflow(); n != 0 {
		t.Errorf("overflow of %d without peers", n)
	}

	b.setPeers(encap.Peer{ID: 1, Addr: addrA})
	shrink(r.FD())
	flood()
	settle(r.FD())
	got := len(b.recv())
	lost := r.Overflow()
	if got == 0 || lost == 0 || got+int(lost) != 500 {
		t.Errorf("received %d, lost %d, want some of each, 500 together", got, lost)
	}
	if n := r.Overflow(); n != 0 {
		t.Errorf("overflow counted twice: %d", n)
	}
	if n := strangers.Count(); n != 0 {
		t.Errorf("%d datagrams of a peer counted as strangers'", n)
	}
}

// meminfo returns what the kernel says of a socket: its queue and its drops are
// among it (SK_MEMINFO_VARS, linux/sock_diag.h).
func meminfo(t *testing.T, fd int) (info [9]uint32) {
	t.Helper()
	size := uint32(unsafe.Sizeof(info))
	if _, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0); errno != 0 {
		t.Fatal(errno)
	}
	return info
}

// TestNetnsNotForUs holds G37 and the rest of G36: broadcast and another address
// of the host, as the kernel delivers them.
func TestNetnsNotForUs(t *testing.T) {
	a, b := twoHosts(t)
	b.open(encap.Config{}, encap.Peer{ID: 1, Addr: addrA})
	gre := cat([]byte{0x20, 0, 0x65, 0x58, 0, 0, 0, 7}, frame(60))
	a.do(func() error { return sendRaw(netip.MustParseAddr("10.0.0.255"), gre) })
	r, strangers := b.u.Receivers()[0], b.u.Strangers()[0]
	b.wait(strangers.FD(), unix.POLLIN)
	if n := strangers.Count(); n != 1 {
		t.Errorf("broadcast: counted %d, want 1", n)
	}
	if ds, err := r.Recv(); len(ds) != 0 || err != nil {
		t.Errorf("broadcast: received %v, %v", ds, err)
	}

	// G40: fragments arrive as the datagram that they were.
	long := cat([]byte{0x20, 0, 0x65, 0x58, 0, 0, 0, 7}, frame(4000))
	a.do(func() error { return sendRaw(addrB, long) })
	if ds := b.recv(); len(ds) != 1 || ds[0].Reason != drop.None || !bytes.Equal(ds[0].Frame, frame(4000)) {
		t.Errorf("fragments: received %d datagrams", len(ds))
	}
}

// sendRaw sends a GRE packet that the kernel puts into IP, and may fragment.
func sendRaw(to netip.Addr, gre []byte) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_GRE)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BROADCAST, 1); err != nil {
		return err
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DONT); err != nil {
		return err
	}
	return unix.Sendto(fd, gre, 0, &unix.SockaddrInet4{Addr: to.As4()})
}
