package load

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"runtime"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var usualProcs = runtime.GOMAXPROCS(0) // before any test

var loopback = netip.MustParseAddrPort("127.0.0.1:0")

func serve(t *testing.T) (*Server, Client) {
	t.Helper()
	s, err := Serve(t.Context(), nil, loopback, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s, Client{Server: s.Addr(), WarmUp: 10 * time.Millisecond}
}

func TestTests(t *testing.T) {
	s, c := serve(t)
	const d = 100 * time.Millisecond
	for _, n := range []Streams{{Up: 1}, {Down: 1}, {Up: 4}, {Up: 1, Down: 1}} {
		got, err := c.Stream(t.Context(), n, d)
		if err != nil {
			t.Fatalf("%+v: %v", n, err)
		}
		if (got.Up > 0) != (n.Up > 0) || (got.Down > 0) != (n.Down > 0) || got.BitsPerSecond != got.Up+got.Down {
			t.Errorf("%+v: got %+v", n, got)
		}
		if least := got.BitsPerSecond / 8 * d.Seconds(); float64(got.Bytes) < least {
			t.Errorf("%+v: %d bytes in all, but %.0f while it counted", n, got.Bytes, least)
		}
	}
	p, err := c.Flood(t.Context(), 18, time.Millisecond, d)
	if err != nil {
		t.Fatal(err)
	}
	if p.Received < 1 || p.Received > p.Sent || p.Sent < 2 || p.Sent > 200 || p.Loss() != 1-float64(p.Received)/float64(p.Sent) {
		t.Errorf("one datagram a millisecond over loopback: got %+v", p)
	}
	if p, err = c.Flood(t.Context(), 18, 0, d); err != nil || p.Sent < 200 {
		t.Errorf("flood: got %+v, %v", p, err)
	}
	l, err := c.PingPong(t.Context(), 64, d)
	if err != nil {
		t.Fatal(err)
	}
	if l.Count == 0 || l.P50 <= 0 || l.P50 > l.P99 || l.P99 > l.Max {
		t.Errorf("ping-pong: got %+v", l)
	}
	s.Close()
	for range 100 { // the last thread may still be on its way out
		if runtime.GOMAXPROCS(0) == usualProcs {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("GOMAXPROCS is %d after the tests, was %d", runtime.GOMAXPROCS(0), usualProcs)
}

// TestCongestion looks with getsockopt at what both ends set. Reno is in every kernel
// and allowed to everybody.
func TestCongestion(t *testing.T) {
	server, err := Serve(t.Context(), nil, loopback, "reno")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	c := Client{Server: server.Addr(), Congestion: "reno"}
	conn, err := c.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for name, sock := range map[string]syscall.Conn{"client": conn, "server": server.ln} {
		raw, err := sock.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		if err := raw.Control(func(fd uintptr) {
			if got, err := unix.GetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION); err != nil || got != "reno" {
				t.Errorf("%s: got %q, %v, want reno", name, got, err)
			}
		}); err != nil {
			t.Error(err)
		}
	}
	if _, err := c.Stream(t.Context(), Streams{Up: 1, Down: 1}, 50*time.Millisecond); err != nil {
		t.Error(err)
	}
	c.Congestion = "nope"
	if _, err := c.Stream(t.Context(), Streams{Up: 1}, 50*time.Millisecond); err == nil {
		t.Error("an unknown congestion control: got nil, want an error")
	}
}

func TestNothingToMeasure(t *testing.T) {
	s, c := serve(t)
	if _, err := c.Stream(t.Context(), Streams{Up: 33}, time.Second); err == nil {
		t.Error("33 streams: got nil, want an error")
	}
	if _, err := c.Flood(t.Context(), 18, 0, time.Hour); err == nil {
		t.Error("an hour: got nil, want an error")
	}
	s.Close()
	if _, err := c.PingPong(t.Context(), 64, time.Second); err == nil {
		t.Error("without a server: got nil, want an error")
	}
}

func TestCancelled(t *testing.T) {
	_, c := serve(t)
	for name, run := range map[string]func(context.Context) error{
		"stream": func(ctx context.Context) error {
			_, err := c.Stream(ctx, Streams{Up: 1, Down: 1}, time.Minute)
			return err
		},
		"flood": func(ctx context.Context) error { _, err := c.Flood(ctx, 18, 0, time.Minute); return err },
		"echo":  func(ctx context.Context) error { _, err := c.PingPong(ctx, 64, time.Minute); return err },
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			done := make(chan error, 1)
			go func() { done <- run(ctx) }()
			select {
			case err := <-done:
				if err == nil {
					t.Error("got nil, want an error")
				}
			case <-time.After(20 * time.Second):
				t.Error("goes on after its context")
			}
		})
	}
}

// What nobody asked for is neither counted nor answered.
func TestStrangers(t *testing.T) {
	s, _ := serve(t)
	for _, said := range []string{"u12345678", "e\x80234567\xff hello", "GET / HTTP/1.0\r\n\r\n", "{}\n", "{\n", `{"test":"tcp","up":1,"measure_ns":-5}` + "\n"} {
		conn, err := net.Dial("tcp", s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Write([]byte(said))
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		var got bytes.Buffer
		_, _ = got.ReadFrom(conn)
		if got.Len() > 200 || bytes.Contains(got.Bytes(), []byte("token")) {
			t.Errorf("%q: answered %q", said, got.String())
		}
		_ = conn.Close()
	}
}

func TestCloseEndsTests(t *testing.T) {
	s, c := serve(t)
	done := make(chan error, 1)
	go func() { _, err := c.Stream(context.Background(), Streams{Down: 1}, time.Minute); done <- err }()
	time.Sleep(50 * time.Millisecond)
	s.Close()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Error("the client goes on after its server")
	}
}
