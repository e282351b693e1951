package encap

import (
	"errors"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"weft/internal/header"
)

// A socket for IPPROTO_RAW sends what its headers say, but IPsec policies and routing
// rules by protocol take it for protocol 255, unless it says at each datagram which
// one it is: over IPv4 by a control message, over IPv6 in place of the port
// (raw_sendmsg in net/ipv4/raw.c, rawv6_sendmsg in net/ipv6/raw.c, Linux 6.4).

const ipProtocol = 52 // IP_PROTOCOL in linux/in.h

// protocolControl is that control message.
type protocolControl struct {
	unix.Cmsghdr
	protocol int32
	_        [4]byte
}

// greControl says GRE; nil where the kernel does not know it.
var greControl = sync.OnceValue(func() *protocolControl {
	c := &protocolControl{protocol: header.ProtoGRE}
	c.Level, c.Type = unix.IPPROTO_IP, ipProtocol
	c.SetLen(unix.CmsgLen(4))
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	// A datagram to all is refused (SO_BROADCAST in socket(7)), after the message was read.
	dest := &unix.SockaddrInet4{Addr: [4]byte{255, 255, 255, 255}}
	oob := unsafe.Slice((*byte)(unsafe.Pointer(c)), unsafe.Sizeof(*c))
	if _, err := unix.SendmsgN(fd, make([]byte, header.IPv4Len), oob, dest, unix.MSG_DONTWAIT); errors.Is(err, unix.EINVAL) {
		return nil
	}
	return c
})

// sayGRE makes s, of a peer, the destination of a raw socket that says what it sends.
func (s *sockaddr) sayGRE() {
	c := greControl()
	switch {
	case c == nil:
	case s.v6.Family != 0:
		s.setPort(header.ProtoGRE)
	default:
		s.control = c
	}
}

// address has m go to s.
func (s *sockaddr) address(m *unix.Msghdr) {
	m.Name, m.Namelen = s.name()
	m.Control = (*byte)(unsafe.Pointer(s.control))
	if m.SetControllen(0); s.control != nil {
		m.SetControllen(int(unsafe.Sizeof(*s.control)))
	}
}
