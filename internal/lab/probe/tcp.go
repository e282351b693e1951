package probe

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	"weft/internal/lab"
)

// chunk is how many bytes one read or write of a stream takes.
const chunk = 256 << 10

// Transfer says what one TCP stream moved.
type Transfer struct {
	Bytes          int64
	Elapsed        time.Duration // from the first byte written to the last one read
	Sent, Received [sha256.Size]byte
}

// Rate returns bits per second.
func (t Transfer) Rate() float64 { return float64(t.Bytes) * 8 / t.Elapsed.Seconds() }

// TCP moves a random stream of the given length from one namespace to an
// address in another. It fails at the first byte that differs, when bytes are
// missing or too many, and when ctx ends. Port 0 takes a free one.
func TCP(ctx context.Context, from, to *lab.NS, addr netip.AddrPort, length int64) (Transfer, error) {
	t := Transfer{Bytes: length}
	tx, rx, err := connect(ctx, from, to, addr)
	if err != nil {
		return t, fmt.Errorf("move %d bytes to %s: %w", length, addr, err)
	}
	defer tx.Close()
	defer rx.Close()
	defer bound(ctx, tx, rx)()
	seed := newSeed()
	start := time.Now()
	sent := make(chan error, 1)
	go func() { // ends with the stream, which Close of tx breaks
		var err error
		t.Sent, err = write(tx, seed, length)
		if err != nil {
			rx.Close() // or the reader would wait on
		}
		sent <- err
	}()
	received, err := read(rx, seed, length)
	t.Elapsed = time.Since(start)
	if err != nil {
		tx.Close()
	}
	serr := <-sent
	t.Received = received
	if err != nil || serr != nil {
		return t, fmt.Errorf("move %d bytes to %s: %w", length, addr, errors.Join(err, serr))
	}
	if t.Sent != t.Received {
		return t, fmt.Errorf("move %d bytes to %s: hash %x was sent, %x arrived", length, addr, t.Sent[:4], t.Received[:4])
	}
	return t, nil
}

func newSeed() (seed [32]byte) {
	for i := range seed {
		seed[i] = byte(rand.Uint32())
	}
	return seed
}

// write sends length bytes of the stream and says that no more follow.
func write(conn *net.TCPConn, seed [32]byte, length int64) (sum [sha256.Size]byte, err error) {
	source, hash, buf := rand.NewChaCha8(seed), sha256.New(), make([]byte, chunk)
	for left := length; left > 0; {
		b := buf[:min(left, chunk)]
		source.Read(b) // never fails
		hash.Write(b)
		if _, err := conn.Write(b); err != nil {
			return sum, err
		}
		left -= int64(len(b))
	}
	return [sha256.Size]byte(hash.Sum(nil)), conn.CloseWrite()
}

// read receives the stream to its end and compares it with what was sent.
func read(conn *net.TCPConn, seed [32]byte, length int64) (sum [sha256.Size]byte, err error) {
	source, hash := rand.NewChaCha8(seed), sha256.New()
	got, want := make([]byte, chunk), make([]byte, chunk)
	for at := int64(0); at < length; {
		n, err := io.ReadFull(conn, got[:min(length-at, chunk)])
		source.Read(want[:min(length-at, chunk)])
		if i := mismatch(got[:n], want[:n]); i >= 0 {
			return sum, fmt.Errorf("byte %d is %#02x, want %#02x", at+int64(i), got[i], want[i])
		}
		hash.Write(got[:n])
		at += int64(n)
		if err != nil {
			return sum, fmt.Errorf("after %d bytes: %w", at, err)
		}
	}
	if n, err := conn.Read(got[:1]); !errors.Is(err, io.EOF) {
		return sum, fmt.Errorf("%d bytes too many, %w", n, err)
	}
	return [sha256.Size]byte(hash.Sum(nil)), nil
}

// mismatch returns the index of the first byte that differs, -1 if none.
func mismatch(a, b []byte) int {
	if bytes.Equal(a, b) {
		return -1
	}
	for i := range a {
		if a[i] != b[i] {
			return i
		}
	}
	return -1
}

// Throughput sends as fast as TCP takes it for the given time and returns the
// bits per second that arrived, the start of the connection left out.
func Throughput(ctx context.Context, from, to *lab.NS, addr netip.AddrPort, d time.Duration) (float64, error) {
	tx, rx, err := connect(ctx, from, to, addr)
	if err != nil {
		return 0, fmt.Errorf("measure throughput to %s: %w", addr, err)
	}
	defer tx.Close()
	defer rx.Close()
	const warmUp = 50 * time.Millisecond
	start := time.Now()
	tx.SetWriteDeadline(start.Add(warmUp + d))
	rx.SetReadDeadline(start.Add(warmUp + d))
	defer bound(ctx, tx, rx)()
	go func() { // ends at its deadline or with tx
		buf := make([]byte, chunk)
		for {
			if _, err := tx.Write(buf); err != nil {
				return
			}
		}
	}()
	var total int64
	var first time.Time
	buf := make([]byte, chunk)
	for {
		n, err := rx.Read(buf)
		now := time.Now()
		switch {
		case first.IsZero() && now.Sub(start) >= warmUp:
			first = now
		case !first.IsZero():
			total += int64(n)
		}
		if err != nil {
			if ne := net.Error(nil); !errors.As(err, &ne) || !ne.Timeout() || total == 0 {
				return 0, fmt.Errorf("measure throughput to %s: %d bytes: %w", addr, total, err)
			}
			return float64(total) * 8 / now.Sub(first).Seconds(), nil
		}
	}
}

// connect opens a connection to addr in namespace to, and returns both ends.
func connect(ctx context.Context, from, to *lab.NS, addr netip.AddrPort) (tx, rx *net.TCPConn, err error) {
	var ln *net.TCPListener
	err = to.Do(func() error {
		lc := net.ListenConfig{}
		lc.SetMultipathTCP(false)
		l, err := lc.Listen(ctx, "tcp", addr.String())
		if err == nil {
			ln = l.(*net.TCPListener)
		}
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	defer ln.Close()
	err = from.Do(func() error {
		c, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, "tcp", ln.Addr().String())
		if err == nil {
			tx = c.(*net.TCPConn)
		}
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	ln.SetDeadline(time.Now().Add(10 * time.Second))
	if rx, err = ln.AcceptTCP(); err != nil {
		tx.Close()
		return nil, nil, err
	}
	return tx, rx, nil
}

// bound breaks what the connections wait for when ctx ends; stop unties them.
func bound(ctx context.Context, tx, rx *net.TCPConn) (stop func() bool) {
	return context.AfterFunc(ctx, func() {
		past := time.Unix(1, 0)
		tx.SetDeadline(past)
		rx.SetDeadline(past)
	})
}
