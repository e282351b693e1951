package load

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
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// DefaultPort is where a server is looked for, by TCP and UDP.
const DefaultPort = 5310

// A search is one datagram to everyone on the link or to one address; each
// server answers it with one that is no longer: no traffic can be multiplied by
// it. Behind the word stand a number, which the answer repeats, and in the answer
// the server's MAC address, its port and its name.
const (
	searchWord = "weft-bench find "
	foundWord  = "weft-bench here "
	searchLen  = 96
	maxName    = 63
)

// Found is a server that answered a search.
type Found struct {
	Addr netip.AddrPort
	MAC  net.HardwareAddr
	Name string
}

// Find asks on the link ifname of place for servers, at one address, or where to
// is invalid at all of them, and returns who answered within wait. It asks from the
// address from, whose version of IP tells how to reach all; where that is invalid, from
// one that the kernel chooses. What asks all from a link-local address of IPv6 is
// answered from one, and not from where the server serves (RFC 6724 section 5, rule 2).
func Find(ctx context.Context, place Place, ifname string, from, to netip.Addr, wait time.Duration) (all []Found, err error) {
	everyone := netip.AddrFrom4([4]byte{255, 255, 255, 255})
	if from.Is6() {
		everyone = netip.MustParseAddr("ff02::1").WithZone(ifname)
	}
	if !to.IsValid() {
		to = everyone
	}
	var pc net.PacketConn
	err = place.do(func() (err error) {
		lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error { return bindTo(raw, ifname) }}
		local := ":0"
		if from.IsValid() {
			local = netip.AddrPortFrom(from, 0).String()
		}
		pc, err = lc.ListenPacket(ctx, "udp", local)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look for servers: %w", err)
	}
	defer pc.Close()
	nonce := rand.Uint64()
	ask := make([]byte, searchLen)
	binary.BigEndian.PutUint64(ask[copy(ask, searchWord):], nonce)
	buf := make([]byte, searchLen+1)
	seen := map[netip.AddrPort]bool{}
	for end := time.Now().Add(wait); time.Now().Before(end) && ctx.Err() == nil; {
		err := place.do(func() error { // a zone is a link of the namespace
			_, err := pc.WriteTo(ask, net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, DefaultPort)))
			return err
		})
		if err != nil && !errors.Is(err, syscall.ECONNREFUSED) {
			return all, fmt.Errorf("look for servers: %w", err)
		}
		_ = pc.SetReadDeadline(time.Now().Add(wait / 4))
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				break
			}
			if f, ok := parseFound(buf[:n], nonce, from); ok && !seen[f.Addr] {
				seen[f.Addr], all = true, append(all, f)
			}
		}
		if to != everyone && len(all) > 0 {
			break
		}
	}
	return all, ctx.Err()
}

// bindTo lets a socket send to everyone on one link.
func bindTo(raw syscall.RawConn, ifname string) (err error) {
	cerr := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BROADCAST, 1)
		if err == nil && ifname != "" {
			err = unix.BindToDevice(int(fd), ifname)
		}
	})
	return errors.Join(cerr, err)
}

func parseFound(b []byte, nonce uint64, from net.Addr) (f Found, ok bool) {
	rest, ok := bytes.CutPrefix(b, []byte(foundWord))
	if !ok || len(rest) < 16 || binary.BigEndian.Uint64(rest) != nonce {
		return f, false
	}
	addr := from.(*net.UDPAddr).AddrPort().Addr().Unmap()
	f.Addr = netip.AddrPortFrom(addr, binary.BigEndian.Uint16(rest[14:]))
	f.MAC = bytes.Clone(rest[8:14])
	f.Name = string(rest[16:])
	return f, true
}

// AnswerSearches has a server be found at port DefaultPort until it is closed:
// by those whose address is in one of near.
func (s *Server) AnswerSearches(ctx context.Context, mac net.HardwareAddr, name string, near []netip.Prefix) error {
	var pc net.PacketConn
	err := s.place.do(func() (err error) {
		pc, err = (&net.ListenConfig{}).ListenPacket(ctx, "udp", fmt.Sprintf(":%d", DefaultPort))
		return err
	})
	if err != nil {
		return fmt.Errorf("answer searches: %w", err)
	}
	s.wait.Go(func() { // ends with Close
		defer pc.Close()
		s.answerSearches(pc, mac, name[:min(len(name), maxName)], near)
	})
	return nil
}

func (s *Server) answerSearches(pc net.PacketConn, mac net.HardwareAddr, name string, near []netip.Prefix) {
	buf := make([]byte, searchLen+1)
	for !ended(s.stop) {
		_ = pc.SetReadDeadline(time.Now().Add(10 * tick))
		n, from, err := pc.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		rest, ok := bytes.CutPrefix(buf[:max(n, 0)], []byte(searchWord))
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) || !ok || n != searchLen || !isNear(from, near) {
			continue
		}
		answer := append([]byte(foundWord), rest[:8]...)
		answer = append(append(answer, mac...), byte(s.Addr().Port()>>8), byte(s.Addr().Port()))
		_, _ = pc.WriteTo(append(answer, name...), from)
	}
}

func isNear(from net.Addr, near []netip.Prefix) bool {
	a := from.(*net.UDPAddr).AddrPort().Addr().Unmap().WithZone("")
	for _, p := range near {
		if p.Contains(a) {
			return true
		}
	}
	return a.IsLinkLocalUnicast()
}
