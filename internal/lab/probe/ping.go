package probe

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"weft/internal/lab"
)

// Pings says what became of a number of echo requests.
type Pings struct {
	Sent, Received int
	Min, Avg, Max  time.Duration // round trip; zero when nothing came back
	Refused        string        // the last ICMP error that came instead of an answer, such as "destination unreachable, code 4"
}

// Lost returns how many requests stayed without an answer.
func (p Pings) Lost() int { return p.Sent - p.Received }

// Echo describes the requests that Ping sends. The zero value is one request
// without payload, waited for a second.
type Echo struct {
	Count    int           // 0: 1
	Size     int           // bytes behind the 8-byte ICMP header
	Interval time.Duration // from an answer to the next request
	Timeout  time.Duration // per request; 0: 1 s
	DF       bool          // do not fragment, and ignore what the route is thought to take (IPv4)
}

// Ping sends echo requests to an address from inside a namespace, one at a
// time, and compares each answer with what was sent. Requests that stay without
// an answer are no error: see Pings.Lost.
func Ping(ctx context.Context, from *lab.NS, to netip.Addr, e Echo) (Pings, error) {
	var p Pings
	if e.Timeout == 0 {
		e.Timeout = time.Second
	}
	conn, err := listenICMP(from, to, e.DF)
	if err != nil {
		return p, fmt.Errorf("ping %s: %w", to, err)
	}
	defer conn.Close()
	ec := &echoer{conn: conn, to: to, id: uint16(rand.Uint32()), echo: e}
	var total time.Duration
	for i := range max(e.Count, 1) {
		if i > 0 {
			if err := sleep(ctx, e.Interval); err != nil {
				return p, err
			}
		}
		p.Sent++
		rtt, err := ec.once(ctx, uint16(i), &p)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() == nil:
			continue
		case err != nil:
			return p, fmt.Errorf("ping %s: %w", to, err)
		}
		p.Received++
		total += rtt
		p.Avg = total / time.Duration(p.Received)
		p.Max = max(p.Max, rtt)
		if p.Min == 0 || rtt < p.Min {
			p.Min = rtt
		}
	}
	return p, nil
}

// Reach pings until the first answer, for as long as ctx lasts.
func Reach(ctx context.Context, from *lab.NS, to netip.Addr) error {
	for {
		p, err := Ping(ctx, from, to, Echo{Timeout: 100 * time.Millisecond})
		if err == nil && p.Received > 0 {
			return nil
		}
		// A route or neighbour that is not there yet fails at once.
		if sleep(ctx, 10*time.Millisecond) != nil {
			return fmt.Errorf("reach %s from %s: no answer: %w", to, from.Name(), errors.Join(err, context.Cause(ctx)))
		}
	}
}

func listenICMP(from *lab.NS, to netip.Addr, df bool) (conn *icmp.PacketConn, err error) {
	network, any := "ip4:icmp", "0.0.0.0"
	if to.Is6() {
		network, any = "ip6:ipv6-icmp", "::"
	}
	err = from.Do(func() error {
		conn, err = icmp.ListenPacket(network, any)
		return err
	})
	if err != nil || !df || to.Is6() {
		return conn, err
	}
	raw, err := conn.IPv4PacketConn().PacketConn.(*net.IPConn).SyscallConn()
	if err == nil {
		cerr := raw.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE)
		})
		err = errors.Join(err, cerr)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// echoer sends requests of one identifier and finds their answers.
type echoer struct {
	conn *icmp.PacketConn
	to   netip.Addr
	id   uint16
	echo Echo
	buf  [65536]byte
}

// once sends one request and waits for its answer. ICMP errors about it are
// noted in p.
func (c *echoer) once(ctx context.Context, seq uint16, p *Pings) (time.Duration, error) {
	request := icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{ID: int(c.id), Seq: int(seq), Data: pattern(c.echo.Size, seq)}}
	if c.to.Is6() {
		request.Type = ipv6.ICMPTypeEchoRequest // the kernel fills in its checksum
	}
	b, err := request.Marshal(nil)
	if err != nil {
		return 0, err
	}
	start := time.Now()
	deadline := start.Add(c.echo.Timeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	if err := c.conn.SetReadDeadline(deadline); err != nil {
		return 0, err
	}
	if _, err := c.conn.WriteTo(b, &net.IPAddr{IP: c.to.AsSlice(), Zone: c.to.Zone()}); err != nil {
		return 0, err
	}
	for {
		n, _, err := c.conn.ReadFrom(c.buf[:])
		if err != nil {
			return 0, err
		}
		rtt := time.Since(start)
		proto := 1
		if c.to.Is6() {
			proto = 58
		}
		m, err := icmp.ParseMessage(proto, c.buf[:n])
		if err != nil {
			continue
		}
		if refusal := c.refusal(m); refusal != "" {
			p.Refused = refusal
			continue
		}
		reply, ok := m.Body.(*icmp.Echo)
		if !ok || reply.ID != int(c.id) || reply.Seq != int(seq) || m.Type != ipv4.ICMPTypeEchoReply && m.Type != ipv6.ICMPTypeEchoReply {
			continue
		}
		if !bytes.Equal(reply.Data, pattern(c.echo.Size, seq)) {
			return 0, fmt.Errorf("answer %d differs from the request of %d bytes", seq, c.echo.Size)
		}
		return rtt, nil
	}
}

// refusal says which ICMP error m is, where it is one about a request of ours.
func (c *echoer) refusal(m *icmp.Message) string {
	var quoted []byte
	switch body := m.Body.(type) {
	case *icmp.DstUnreach:
		quoted = body.Data
	case *icmp.TimeExceeded:
		quoted = body.Data
	case *icmp.PacketTooBig:
		quoted = body.Data
	default:
		return ""
	}
	header := 40
	if c.to.Is4() && len(quoted) > 0 {
		header = int(quoted[0]&15) * 4
	}
	if len(quoted) < header+8 || binary.BigEndian.Uint16(quoted[header+4:]) != c.id {
		return ""
	}
	return fmt.Sprintf("%v, code %d", m.Type, m.Code)
}

// pattern returns size bytes that differ from request to request.
func pattern(size int, seq uint16) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(i) + byte(i>>8) + byte(seq)
	}
	return b
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
