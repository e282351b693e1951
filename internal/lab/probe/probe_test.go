package probe

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"weft/internal/lab"
)

var (
	a4 = netip.MustParseAddr("10.0.0.1")
	b4 = netip.MustParseAddr("10.0.0.2")
	b6 = netip.MustParseAddr("fd00::2")
)

// pair returns two hosts on one link.
func pair(t *testing.T) (a, b *lab.NS) {
	t.Helper()
	l := lab.ForTest(t)
	a, err := l.Host("a")
	if err != nil {
		t.Fatal(err)
	}
	if b, err = l.Host("b"); err != nil {
		t.Fatal(err)
	}
	err = l.Link(
		lab.End{NS: a, Name: "eth0", Addrs: []netip.Prefix{netip.PrefixFrom(a4, 24), netip.MustParsePrefix("fd00::1/64")}},
		lab.End{NS: b, Name: "eth0", Addrs: []netip.Prefix{netip.PrefixFrom(b4, 24), netip.PrefixFrom(b6, 64)}})
	if err != nil {
		t.Fatal(err)
	}
	return a, b
}

func TestPing(t *testing.T) {
	a, _ := pair(t)
	for _, tt := range []struct {
		name string
		to   netip.Addr
		echo Echo
		lost int
	}{
		{"v4", b4, Echo{Count: 3}, 0},
		{"v4 largest unfragmented", b4, Echo{Size: 1472, DF: true}, 0},
		{"v4 fragments", b4, Echo{Size: 3200}, 0},
		{"v6", b6, Echo{Count: 3, Size: 56}, 0},
		{"v6 fragments", b6, Echo{Size: 3200}, 0},
		{"nobody", netip.MustParseAddr("10.0.0.77"), Echo{Timeout: 50 * time.Millisecond, Count: 2}, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.lost == 0 { // a new link takes up to a second until the kernel says that it is up
				if err := Reach(t.Context(), a, tt.to); err != nil {
					t.Fatal(err)
				}
			}
			p, err := Ping(t.Context(), a, tt.to, tt.echo)
			if err != nil {
				t.Fatal(err)
			}
			if p.Lost() != tt.lost || p.Sent != max(tt.echo.Count, 1) {
				t.Errorf("%+v, want %d lost", p, tt.lost)
			}
			if p.Received > 0 && !(0 < p.Min && p.Min <= p.Avg && p.Avg <= p.Max) {
				t.Errorf("round trips %+v are not in order", p)
			}
		})
	}
	if _, err := Ping(t.Context(), a, b4, Echo{Size: 1473, DF: true}); err == nil {
		t.Error("a packet larger than the MTU left with DF")
	}
}

func TestReach(t *testing.T) {
	a, _ := pair(t)
	if err := Reach(t.Context(), a, b4); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
	defer cancel()
	err := Reach(ctx, a, netip.MustParseAddr("10.0.0.77"))
	if err == nil || !strings.Contains(err.Error(), "10.0.0.77") {
		t.Errorf("error = %v, want one that names the address", err)
	}
}

func TestTCP(t *testing.T) {
	a, b := pair(t)
	for _, to := range []netip.Addr{b4, b6} {
		tr, err := TCP(t.Context(), a, b, netip.AddrPortFrom(to, 0), 3<<20+17)
		if err != nil {
			t.Fatal(err)
		}
		if tr.Bytes != 3<<20+17 || tr.Sent != tr.Received || tr.Rate() <= 0 {
			t.Errorf("%+v", tr)
		}
	}
	if _, err := TCP(t.Context(), a, b, netip.AddrPortFrom(b4, 0), 0); err != nil {
		t.Errorf("an empty stream: %v", err)
	}
	if _, err := TCP(t.Context(), a, b, netip.MustParseAddrPort("10.0.0.77:0"), 1); err == nil {
		t.Error("moved bytes to an address that nobody has")
	}
}

// Whatever differs from the stream is noticed.
func TestReadNoticesDifference(t *testing.T) {
	seed := newSeed()
	for _, tt := range []struct {
		name   string
		change func([]byte) []byte
		want   string
	}{
		{"flipped", func(b []byte) []byte { b[300000] ^= 1; return b }, "byte 300000"},
		{"short", func(b []byte) []byte { return b[:len(b)-1] }, "after 499999 bytes"},
		{"long", func(b []byte) []byte { return append(b, 0) }, "too many"},
		{"same", func(b []byte) []byte { return b }, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			stream := record(t, seed, 500000)
			tx, rx := tcpPair(t)
			go func() {
				tx.Write(tt.change(stream))
				tx.Close()
			}()
			_, err := read(rx, seed, 500000)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %v, want %q", err, tt.want)
			}
		})
	}
}

// record returns what write sends.
func record(t *testing.T, seed [32]byte, length int) []byte {
	tx, rx := tcpPair(t)
	go write(tx, seed, int64(length))
	var all []byte
	buf := make([]byte, 65536)
	for {
		n, err := rx.Read(buf)
		all = append(all, buf[:n]...)
		if err != nil {
			return all
		}
	}
}

func tcpPair(t *testing.T) (tx, rx *net.TCPConn) {
	t.Helper()
	ln, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if tx, err = net.DialTCP("tcp", nil, ln.Addr().(*net.TCPAddr)); err != nil {
		t.Fatal(err)
	}
	if rx, err = ln.AcceptTCP(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tx.Close(); rx.Close() })
	return tx, rx
}

func TestUDP(t *testing.T) {
	a, b := pair(t)
	for _, size := range []int{8, 1000, 3000} {
		d, err := UDP(t.Context(), a, b, netip.AddrPortFrom(b4, 0), 50, size, 100*time.Microsecond)
		if err != nil {
			t.Fatal(err)
		}
		if want := (Datagrams{Sent: 50, Received: 50}); d != want {
			t.Errorf("size %d: %+v, want %+v", size, d, want)
		}
	}
	if err := b.SetLink("eth0", false); err != nil {
		t.Fatal(err)
	}
	d, err := UDP(t.Context(), a, b, netip.AddrPortFrom(b4, 0), 3, 100, 0)
	if err == nil && d.Received != 0 {
		t.Errorf("datagrams crossed a link that is down: %+v", d)
	}
}

func TestCheckNoticesDamage(t *testing.T) {
	_, rx := pair(t)
	var d Datagrams
	var conn, tx *net.UDPConn
	err := rx.Do(func() (err error) {
		if conn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(b4, 0))); err != nil {
			return err
		}
		tx, err = net.DialUDP("udp", nil, conn.LocalAddr().(*net.UDPAddr))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	defer tx.Close()
	go func() {
		send(t.Context(), tx, 2, 100, 0) // 0, 1
		send(t.Context(), tx, 1, 100, 0) // 0 again
		tx.Write([]byte("short"))
		tx.Write(make([]byte, 100)) // wrong checksum
	}()
	d.receive(conn, 5)
	if want := (Datagrams{Received: 2, Duplicate: 1, Corrupt: 2}); d != want {
		t.Errorf("%+v, want %+v", d, want)
	}
}

func TestThroughput(t *testing.T) {
	a, b := pair(t)
	rate, err := Throughput(t.Context(), a, b, netip.AddrPortFrom(b4, 0), 100*time.Millisecond)
	if err != nil || rate <= 0 {
		t.Errorf("rate %g, %v", rate, err)
	}
	t.Logf("%.2f Gbit/s", rate/1e9)
}
