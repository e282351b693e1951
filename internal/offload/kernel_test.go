package offload

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weft/internal/drop"
	"weft/internal/lab"
	"weft/internal/rawdev"
)

// cable joins the TAPs of two namespaces and does to each frame what the test
// asks for. Two goroutines carry frames; both end when the TAPs are closed.
// send writes the parts of a frame as such, by writev(2).
type cable struct {
	way    func(h Header, frame []byte, send func(h Header, parts ...[]byte))
	supers [256]atomic.Int64 // super-frames by type
	errs   chan error
	wg     sync.WaitGroup
}

func (c *cable) carry(from, to *os.File) {
	defer c.wg.Done()
	buf := make([]byte, HeaderLen+MaxFrame)
	raw, err := to.SyscallConn()
	if err != nil {
		c.fail(err)
		return
	}
	send := func(h Header, parts ...[]byte) {
		head := make([]byte, HeaderLen)
		h.Put(head)
		vector := append([][]byte{head}, parts...)
		var werr error
		err := raw.Write(func(fd uintptr) bool {
			_, werr = unix.Writev(int(fd), vector)
			return werr != unix.EAGAIN
		})
		if err == nil && werr != nil { // err: the TAP is closed
			c.fail(fmt.Errorf("write %+v in %d parts: %w", h, len(vector), werr))
		}
	}
	for {
		n, err := from.Read(buf)
		if err != nil {
			return // closed
		}
		frame := buf[HeaderLen:n]
		h, reason := Check(ParseHeader(buf), frame)
		if reason != drop.None {
			c.fail(fmt.Errorf("Check(%+v) of %x: %v", ParseHeader(buf), frame[:min(len(frame), 80)], reason))
			continue
		}
		if h.IsGSO() {
			c.supers[h.GSOType].Add(1)
		}
		c.way(h, frame, send)
	}
}

func (c *cable) fail(err error) {
	select {
	case c.errs <- err:
	default:
	}
}

func straight(h Header, frame []byte, send func(Header, ...[]byte)) { send(h, frame) }

// cut sends what a wire would carry.
func cut(h Header, frame []byte, send func(Header, ...[]byte)) {
	if !h.IsGSO() {
		Complete(h, frame)
	}
	var s Splitter
	hdr := make([]byte, MaxHeaders)
	for s.Init(h, frame); ; {
		n, payload, ok := s.Next(hdr)
		if !ok {
			return
		}
		send(Header{}, hdr[:n], payload)
	}
}

var mergedFrames atomic.Int64 // by rejoined

// rejoined sends what a wire would carry and a Merger joined again: ten segments
// at a time, so that super-frames and their ends are others than before.
func rejoined(h Header, frame []byte, send func(Header, ...[]byte)) {
	m, parts := new(Merger), [][]byte{}
	flush := func() {
		for i := range m.Len() {
			it := m.Item(i)
			mergedFrames.Add(int64(it.Frames - 1))
			parts = parts[:0]
			for _, v := range it.Vector {
				parts = append(parts, unsafe.Slice(v.Base, v.Len))
			}
			head := parts[0]
			parts[0] = head[HeaderLen:]
			send(ParseHeader(head), parts...)
		}
		m.Reset()
	}
	cut(h, frame, func(_ Header, parts ...[]byte) {
		m.Add(1, withHeader(Header{}, slices.Concat(parts...)))
		if m.used == 10 {
			flush()
		}
	})
	flush()
}

// guessed forgets the header and finds it again, as behind a tunnel. UDP can not
// be merged there.
func guessed(h Header, frame []byte, send func(Header, ...[]byte)) {
	if h.GSOType == GSOUDPL4 {
		cut(h, frame, send)
		return
	}
	h, reason := FromWire(frame, mtu)
	if reason == drop.None {
		send(h, frame)
	}
}

// What a real kernel sends passes Check, and what becomes of it another real
// kernel takes for right: every byte arrives and no checksum is counted as wrong.
func TestKernelNetns(t *testing.T) {
	ways := map[string]func(Header, []byte, func(Header, ...[]byte)){"straight": straight, "cut": cut, "rejoined": rejoined, "guessed": guessed}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			l := lab.ForTest(t)
			c := &cable{way: way, errs: make(chan error, 8)}
			a, fa := end(t, l, "a", "10.9.0.1/24", "fd09::1/64")
			b, fb := end(t, l, "b", "10.9.0.2/24", "fd09::2/64")
			c.wg.Add(2)
			go c.carry(fa, fb)
			go c.carry(fb, fa)
			stop := sync.OnceFunc(func() {
				fa.Close()
				fb.Close()
				c.wg.Wait()
			})
			defer stop()

			for _, addr := range []string{"10.9.0.2", "fd09::2"} {
				moveTCP(t, a, b, net.JoinHostPort(addr, "5000"))
				moveUDP(t, a, b, net.JoinHostPort(addr, "5001"))
			}
			stop()
			for typ, what := range map[uint8]string{GSOTCPv4: "TCP over IPv4", GSOTCPv6: "TCP over IPv6"} {
				if c.supers[typ].Load() == 0 {
					t.Errorf("no super-frame of %s was sent: nothing is proven", what)
				}
			}
			if name == "rejoined" && mergedFrames.Load() == 0 {
				t.Error("no segments were joined: nothing is proven")
			}
			if c.supers[GSOUDPL4].Load() == 0 {
				t.Log("no super-frame of UDP was sent: the kernel cuts it before the TAP, as Linux before 6.2 does")
			}
			for _, ns := range []*lab.NS{a, b} {
				if n := checksumErrors(t, ns); n != "" {
					t.Errorf("%s: checksum errors: %s", ns.Name(), n)
				}
			}
			close(c.errs)
			for err := range c.errs {
				t.Error(err)
			}
		})
	}
}

// end makes a namespace with a TAP in it.
func end(t *testing.T, l *lab.Lab, name string, addrs ...string) (*lab.NS, *os.File) {
	t.Helper()
	ns, err := l.Host(name)
	if err != nil {
		t.Fatal(err)
	}
	var fd int
	err = ns.Do(func() error {
		if fd, err = rawdev.OpenTUN(); err != nil {
			return err
		}
		if err := rawdev.AttachTAP(fd, "eth1"); err != nil {
			return err
		}
		if err := rawdev.SetVirtio(fd, HeaderLen); err != nil {
			return err
		}
		link, err := netlink.LinkByName("eth1")
		if err != nil {
			return err
		}
		for _, a := range addrs {
			p := netip.MustParsePrefix(a)
			addr := &netlink.Addr{Flags: unix.IFA_F_NODAD, IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}}
			if err := netlink.AddrAdd(link, addr); err != nil {
				return err
			}
		}
		if err := netlink.LinkSetMTU(link, mtu); err != nil {
			return err
		}
		return netlink.LinkSetUp(link)
	})
	if err != nil {
		t.Fatal(err)
	}
	return ns, os.NewFile(uintptr(fd), "eth1")
}

// moveTCP sends 4 MB and compares what arrives.
func moveTCP(t *testing.T, from, to *lab.NS, addr string) {
	t.Helper()
	data := make([]byte, 4<<20)
	for i := range data {
		data[i] = byte(i ^ i>>9)
	}
	var ln net.Listener
	var conn net.Conn
	err := to.Do(func() (err error) { ln, err = net.Listen("tcp", addr); return err })
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	sum := make(chan []byte, 1)
	go func() { // ends when the connection does, or the listener is closed
		hash := sha256.New()
		if c, err := ln.Accept(); err == nil {
			_, _ = io.Copy(hash, c)
			c.Close()
		}
		sum <- hash.Sum(nil)
	}()
	err = from.Do(func() (err error) { conn, err = net.DialTimeout("tcp", addr, 10*time.Second); return err })
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := conn.Write(data); err != nil {
		t.Fatalf("send to %s: %v", addr, err)
	}
	conn.Close()
	select {
	case got := <-sum:
		if want := sha256.Sum256(data); !bytes.Equal(got, want[:]) {
			t.Errorf("%s: what arrived differs", addr)
		}
	case <-time.After(20 * time.Second):
		t.Errorf("%s: connection did not end", addr)
	}
}

// moveUDP sends datagrams that the kernel leaves to the switch to cut.
func moveUDP(t *testing.T, from, to *lab.NS, addr string) {
	t.Helper()
	const size, count = 1001, 20
	var pc net.PacketConn
	var conn net.Conn
	err := to.Do(func() (err error) { pc, err = net.ListenPacket("udp", addr); return err })
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	err = from.Do(func() (err error) { conn, err = net.Dial("udp", addr); return err })
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	raw, err := conn.(*net.UDPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	_ = raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_UDP, unix.UDP_SEGMENT, size) })
	if err != nil {
		t.Fatal(err)
	}
	data := make([]byte, size*count-7) // the last one is shorter
	for i := range data {
		data[i] = byte(i ^ i>>9)
	}
	if _, err := conn.Write(data); err != nil {
		t.Fatal(err)
	}
	_ = pc.SetReadDeadline(time.Now().Add(10 * time.Second))
	buf := make([]byte, 65536)
	for left := data; len(left) > 0; {
		n, _, err := pc.ReadFrom(buf)
		if err != nil {
			t.Fatalf("%s: %d bytes are missing: %v", addr, len(left), err)
		}
		if want := left[:min(size, len(left))]; !bytes.Equal(buf[:n], want) {
			t.Fatalf("%s: datagram of %d bytes, want %d, or they differ", addr, n, len(want))
		}
		left = left[n:]
	}
}

// checksumErrors returns the counters of wrong checksums that are not 0.
func checksumErrors(t *testing.T, ns *lab.NS) (bad string) {
	t.Helper()
	err := ns.Do(func() error {
		snmp, err := os.ReadFile("/proc/thread-self/net/snmp")
		if err != nil {
			return err
		}
		snmp6, err := os.ReadFile("/proc/thread-self/net/snmp6")
		if err != nil {
			return err
		}
		lines := strings.Split(string(snmp), "\n")
		for i := 0; i+1 < len(lines); i += 2 { // a line of names, a line of numbers
			names, values := strings.Fields(lines[i]), strings.Fields(lines[i+1])
			for j := range names {
				if strings.Contains(names[j], "Csum") && values[j] != "0" {
					bad += names[0] + names[j] + "=" + values[j] + " "
				}
			}
		}
		for line := range strings.Lines(string(snmp6)) {
			if f := strings.Fields(line); strings.Contains(f[0], "Csum") && f[1] != "0" {
				bad += f[0] + "=" + f[1] + " "
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return bad
}
