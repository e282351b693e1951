package load

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"time"
)

// Client runs tests against a server. One goroutine uses it.
type Client struct {
	Place  Place          // where it sends from
	Server netip.AddrPort // of a Server that is reached from there
	WarmUp time.Duration  // passes before anything counts; 0: nothing is left out

	// Congestion is the congestion control of the TCP streams that it sends, one of
	// Congestions; empty: what the system sets.
	Congestion string
}

// Streams are TCP streams in each direction, seen from the client.
type Streams struct{ Up, Down int }

// Throughput is what TCP streams moved.
type Throughput struct {
	BitsPerSecond float64 // payload that arrived, all streams together
	Up, Down      float64 // of it, by direction
	Bytes         int64   // in all, the warm-up included
}

// Packets is what became of a flood.
type Packets struct {
	PerSecond float64 // received
	Sent      int64
	Received  int64
}

// Loss is the share of what was sent that did not arrive, 0 to 1.
func (p Packets) Loss() float64 {
	if p.Sent == 0 {
		return 0
	}
	return max(0, 1-float64(p.Received)/float64(p.Sent))
}

// Latency is the time from a request to its answer.
type Latency struct {
	P50, P99, Max time.Duration
	Count         int
}

// Stream runs TCP streams for d and returns what arrived.
func (c Client) Stream(ctx context.Context, n Streams, d time.Duration) (Throughput, error) {
	var t Throughput
	r := c.request("tcp", d)
	r.Up, r.Down = n.Up, n.Down
	up, down, err := c.stream(ctx, r)
	if err != nil {
		return t, fmt.Errorf("run TCP streams to %s: %w", c.Server, err)
	}
	t.Up, t.Down, t.Bytes = up.rate()*8, down.rate()*8, up.Total+down.Total
	t.BitsPerSecond = t.Up + t.Down
	if n.Up > 0 && t.Up == 0 || n.Down > 0 && t.Down == 0 {
		return t, fmt.Errorf("run TCP streams to %s: nothing arrived", c.Server)
	}
	return t, nil
}

func (c Client) stream(ctx context.Context, r request) (up, down taken, err error) {
	ctl, err := c.begin(ctx, r)
	if err != nil {
		return up, down, err
	}
	defer ctl.close()
	var socks []socket
	defer func() {
		for _, s := range socks {
			s.close()
		}
	}()
	ways := slices.Concat(slices.Repeat([]byte{wayUp}, r.Up), slices.Repeat([]byte{wayDown}, r.Down))
	for _, way := range ways {
		s, err := c.data(ctx, ctl.Token, way)
		if err != nil {
			return up, down, err
		}
		socks = append(socks, s)
	}
	defer makeRoom(len(socks))()
	w := r.window(time.Now())
	results := make([]taken, len(socks))
	var all []chan struct{}
	for i, s := range socks {
		all = append(all, onThread(func() {
			if ways[i] == wayUp {
				giveStream(s, w, ctx.Done())
			} else {
				results[i] = takeStream(s, w, ctx.Done())
				_ = syscall.Shutdown(s.fd, syscall.SHUT_RDWR) // the giver notices
			}
		}))
	}
	for i, done := range all {
		<-done
		down.add(results[i])
	}
	up, err = ctl.result()
	return up, down, err
}

// Flood sends datagrams of size bytes of UDP payload for d, one every interval;
// 0 is as fast as the kernel takes them.
func (c Client) Flood(ctx context.Context, size int, interval, d time.Duration) (Packets, error) {
	r := c.request("udp", d)
	r.Size = size
	p, err := c.flood(ctx, r, interval)
	if err != nil {
		return p, fmt.Errorf("send datagrams to %s: %w", c.Server, err)
	}
	return p, nil
}

func (c Client) flood(ctx context.Context, r request, interval time.Duration) (p Packets, err error) {
	ctl, err := c.begin(ctx, r)
	if err != nil {
		return p, err
	}
	defer ctl.close()
	var conn net.Conn
	err = c.Place.do(func() (err error) {
		conn, err = (&net.Dialer{}).DialContext(ctx, "udp", netip.AddrPortFrom(c.Server.Addr(), ctl.Port).String())
		return err
	})
	if err != nil {
		return p, err
	}
	s, err := take(conn.(*net.UDPConn))
	if err != nil {
		return p, err
	}
	defer s.close()
	defer makeRoom(1)()
	<-onThread(func() { p.Sent, err = giveFlood(s, r, ctl.Token, interval, ctx.Done()) })
	if err != nil {
		return p, err
	}
	t, err := ctl.result()
	p.PerSecond, p.Received = t.rate(), t.Total
	return p, err
}

// PingPong sends a request of size bytes over one TCP connection, waits for
// the same bytes back, and so on for d.
func (c Client) PingPong(ctx context.Context, size int, d time.Duration) (Latency, error) {
	r := c.request("echo", d)
	r.Size = size
	l, err := c.pingPong(ctx, r)
	if err != nil {
		return l, fmt.Errorf("exchange requests with %s: %w", c.Server, err)
	}
	return l, nil
}

func (c Client) pingPong(ctx context.Context, r request) (l Latency, err error) {
	ctl, err := c.begin(ctx, r)
	if err != nil {
		return l, err
	}
	defer ctl.close()
	s, err := c.data(ctx, ctl.Token, wayEcho)
	if err != nil {
		return l, err
	}
	defer s.close()
	times := make([]time.Duration, 0, 1<<16)
	defer makeRoom(1)()
	w := r.window(time.Now())
	<-onThread(func() {
		buf := make([]byte, r.Size)
		limit := w.to.Add(2 * time.Second)
		for before := time.Now(); before.Before(w.to) && err == nil; {
			if err = ctx.Err(); err != nil {
				return
			}
			if err = drain(s, buf, limit, ctx.Done()); err == nil {
				err = fill(s, buf, limit, ctx.Done())
			}
			now := time.Now()
			if err == nil && before.After(w.from) {
				times = append(times, now.Sub(before))
			}
			before = now
		}
	})
	if err == nil && len(times) == 0 {
		err = errors.New("no answer")
	}
	if err != nil {
		return l, err
	}
	slices.Sort(times)
	n := len(times)
	return Latency{P50: times[n/2], P99: times[min(n-1, n*99/100)], Max: times[n-1], Count: n}, nil
}

func (c Client) request(test string, d time.Duration) request {
	return request{Test: test, WarmUp: c.WarmUp.Nanoseconds(), Measure: d.Nanoseconds()}
}

// control is the connection over which a test was asked for.
type control struct {
	accepted
	conn  net.Conn
	in    *json.Decoder
	untie func() bool
}

func (c Client) begin(ctx context.Context, r request) (*control, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	conn, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(time.Duration(r.WarmUp+r.Measure) + 20*time.Second))
	ctl := &control{conn: conn, in: json.NewDecoder(conn), untie: context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })}
	if err = json.NewEncoder(conn).Encode(r); err == nil {
		err = ctl.in.Decode(&ctl.accepted)
	}
	if err == nil && ctl.Error != "" {
		err = errors.New(ctl.Error)
	}
	if err != nil {
		ctl.close()
		return nil, err
	}
	return ctl, nil
}

// result waits for what came in at the server.
func (ctl *control) result() (t taken, err error) {
	err = ctl.in.Decode(&t)
	return t, err
}

func (ctl *control) close() {
	ctl.untie()
	_ = ctl.conn.Close()
}

func (c Client) dial(ctx context.Context) (conn *net.TCPConn, err error) {
	err = c.Place.do(func() error {
		dialer := net.Dialer{Timeout: 10 * time.Second, Control: setCongestion(c.Congestion)}
		dialer.SetMultipathTCP(false)
		got, err := dialer.DialContext(ctx, "tcp", c.Server.String())
		if err == nil {
			conn = got.(*net.TCPConn)
		}
		return err
	})
	return conn, err
}

// data opens a data connection of a test.
func (c Client) data(ctx context.Context, token uint64, way byte) (socket, error) {
	conn, err := c.dial(ctx)
	if err != nil {
		return socket{-1}, err
	}
	head := binary.BigEndian.AppendUint64([]byte{way}, token)
	if _, err := conn.Write(head); err != nil {
		_ = conn.Close()
		return socket{-1}, err
	}
	return take(conn)
}
