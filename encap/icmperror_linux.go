package encap

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// errorBatch is the most entries of the error queue that one call of Errors reads.
const errorBatch = 32

// ICMPError is what a host or router said about a datagram to a peer.
type ICMPError struct {
	Errno syscall.Errno // what the kernel makes of it, such as ENOPROTOOPT or EHOSTUNREACH
	Type  uint8
	Code  uint8
	MTU   int        // of the next hop, in bytes, for "fragmentation needed"; else 0
	From  netip.Addr // who said so
}

// Destination unreachable (RFC 792) and what its codes mean here.
const icmpUnreachable = 3

var unreachable = [...]string{
	0: "network unreachable",
	1: "host unreachable",
	2: "protocol 47 unreachable: no switch runs there",
	3: "port unreachable: GRE is known there, but not this tunnel",
	4: "datagram too big for the path",
}

// Error says what is wrong and who said so.
func (e *ICMPError) Error() string {
	what := fmt.Sprintf("ICMP type %d code %d", e.Type, e.Code)
	if e.Type == icmpUnreachable && int(e.Code) < len(unreachable) {
		what = unreachable[e.Code]
	}
	if e.MTU != 0 {
		what += fmt.Sprintf(", MTU %d", e.MTU)
	}
	return what + ", says " + e.From.String()
}

// Unwrap returns the error number, for errors.Is.
func (e *ICMPError) Unwrap() error { return e.Errno }

// Errors drains the socket's error queue (ip(7), IP_RECVERR), a bounded number
// at a time, and calls f with an *ICMPError for each entry that names a peer: a
// hint, never proof, since ICMP can be forged. Only the Receiver's worker calls
// it, when FD is ready with EPOLLERR.
func (r *Receiver) Errors(f func(PeerID, error)) {
	if !r.u.sockets.raw { // a socketpair has no error queue and would give up a datagram
		return
	}
	fd := r.u.sockets.Peers
	peers := r.u.peers.Load()
	var control [256]byte
	for range errorBatch {
		_, n, _, to, err := unix.Recvmsg(fd, nil, control[:], unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			break
		}
		dest, ok := to.(*unix.SockaddrInet4) // of the quoted datagram: the peer
		if !ok {
			continue
		}
		p := peers.byAddr[netip.AddrFrom4(dest.Addr)]
		if e := parseICMPError(control[:n]); p != nil && e != nil {
			f(p.ID, e)
		}
	}
	// The kernel keeps the last error apart as well and would report it in place of a datagram.
	_, _ = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
}

// parseICMPError finds the struct sock_extended_err (linux/errqueue.h) in a
// control message, and the address behind it; nil where it does not speak of an
// ICMP message.
func parseICMPError(control []byte) *ICMPError {
	const (
		errno, origin, kind, code, info = 0, 4, 5, 6, 8 // offsets
		from                            = 16 + 4        // of sin_addr in the struct sockaddr_in that follows
	)
	msgs, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return nil
	}
	for _, m := range msgs {
		b := m.Data
		if m.Header.Level != unix.IPPROTO_IP || m.Header.Type != unix.IP_RECVERR || len(b) < from+4 || b[origin] != unix.SO_EE_ORIGIN_ICMP {
			continue
		}
		e := &ICMPError{
			Errno: syscall.Errno(binary.NativeEndian.Uint32(b[errno:])),
			Type:  b[kind], Code: b[code],
			From: netip.AddrFrom4([4]byte(b[from:])),
		}
		if e.Errno == syscall.EMSGSIZE {
			e.MTU = int(binary.NativeEndian.Uint32(b[info:]))
		}
		return e
	}
	return nil
}
