package probe

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"time"

	"weft/internal/lab"
)

// udpHeader is the least size of a datagram of UDP: number and checksum.
const udpHeader = 8

// Datagrams says what became of a number of UDP datagrams.
type Datagrams struct {
	Sent      int
	Received  int // distinct and intact
	Corrupt   int
	Duplicate int
	Late      int // arrived after one with a higher number
}

// Lost returns how many never arrived.
func (d Datagrams) Lost() int { return d.Sent - d.Received }

// UDP sends count numbered datagrams of the given size (at least 8 bytes) from
// one namespace to an address in another, one every interval, and counts what
// arrives until all did or half a second passed in silence.
func UDP(ctx context.Context, from, to *lab.NS, addr netip.AddrPort, count, size int, interval time.Duration) (Datagrams, error) {
	var d Datagrams
	var rx, tx *net.UDPConn
	err := to.Do(func() (err error) {
		rx, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr))
		return err
	})
	if err != nil {
		return d, fmt.Errorf("send datagrams to %s: %w", addr, err)
	}
	defer rx.Close()
	_ = rx.SetReadBuffer(4 << 20) // as much as the system allows
	err = from.Do(func() (err error) {
		tx, err = net.DialUDP("udp", nil, rx.LocalAddr().(*net.UDPAddr))
		return err
	})
	if err != nil {
		return d, fmt.Errorf("send datagrams to %s: %w", addr, err)
	}
	defer tx.Close()

	done := make(chan struct{})
	go func() { // ends in silence, or with rx
		defer close(done)
		d.receive(rx, count)
	}()
	sent, err := send(ctx, tx, count, max(size, udpHeader), interval)
	<-done
	d.Sent = sent
	if err != nil {
		return d, fmt.Errorf("send datagrams to %s: %w", addr, err)
	}
	return d, nil
}

func send(ctx context.Context, tx *net.UDPConn, count, size int, interval time.Duration) (sent int, err error) {
	b := make([]byte, size)
	rand.NewChaCha8(newSeed()).Read(b)
	for i := range count {
		binary.BigEndian.PutUint32(b, uint32(i))
		binary.BigEndian.PutUint32(b[4:], 0)
		binary.BigEndian.PutUint32(b[4:], crc32.ChecksumIEEE(b))
		if _, err := tx.Write(b); err != nil {
			return sent, err
		}
		sent++
		if interval > 0 {
			if err := sleep(ctx, interval); err != nil {
				return sent, err
			}
		}
	}
	return sent, nil
}

// receive counts datagrams until all arrived or silence.
func (d *Datagrams) receive(rx *net.UDPConn, count int) {
	seen := make([]bool, count)
	highest := -1
	buf := make([]byte, 65536)
	for d.Received < count {
		rx.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
		n, err := rx.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an ICMP error about another datagram
		}
		number, ok := check(buf[:n])
		switch {
		case !ok || number >= count:
			d.Corrupt++
		case seen[number]:
			d.Duplicate++
		default:
			seen[number] = true
			d.Received++
			if number < highest {
				d.Late++
			}
			highest = max(highest, number)
		}
	}
}

// check verifies a datagram in place and returns its number.
func check(b []byte) (number int, ok bool) {
	if len(b) < udpHeader {
		return 0, false
	}
	sum := binary.BigEndian.Uint32(b[4:])
	binary.BigEndian.PutUint32(b[4:], 0)
	return int(binary.BigEndian.Uint32(b)), crc32.ChecksumIEEE(b) == sum
}
