package encap

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync/atomic"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

const (
	// udpPort is where GRE-in-UDP is heard (RFC 8086 section 8).
	udpPort = 4754

	// udpPorts is from how many source ports it is sent, so that routers and network
	// cards spread flows that differ inside (RFC 8086 section 3.1).
	udpPorts = 16

	firstDynamicPort = 49152 // RFC 6335 section 6
)

// udpSockets are the sockets of GRE-in-UDP for one version of IP. Both that
// receive are bound to one port; a program of the kernel's tells which of them
// gets a datagram (socket(7), SO_ATTACH_REUSEPORT_CBPF).
type udpSockets struct {
	peers, strangers int
	send             [udpPorts]int // one for each source port
	ports            [udpPorts]uint16
	singly           atomic.Bool // UDP_SEGMENT does not work here: every segment is a datagram of its own
	unlabelled       atomic.Bool // over IPv4, or the kernel takes no flow label: they are leased to others (IPV6_FLOWLABEL_MGR, ipv6(7))
}

// openUDP opens them. They hear nobody until hear.
func openUDP(cfg *Config, v6 bool) (*udpSockets, error) {
	s := &udpSockets{peers: -1, strangers: -1}
	for i := range s.send {
		s.send[i] = -1
	}
	s.unlabelled.Store(!v6)
	err := s.open(cfg, v6)
	if err != nil {
		_ = s.close()
		return nil, err
	}
	return s, nil
}

func (s *udpSockets) open(cfg *Config, v6 bool) (err error) {
	if s.peers, err = openUDPReceive(cfg, v6); err != nil { // the first one: number 0 of the group
		return err
	}
	if s.strangers, err = openUDPReceive(cfg, v6); err != nil {
		return err
	}
	for i := range s.send {
		if s.send[i], s.ports[i], err = openUDPSend(cfg, v6); err != nil {
			return err
		}
	}
	return nil
}

func openUDPReceive(cfg *Config, v6 bool) (int, error) {
	fd, err := openDatagram(v6)
	if err != nil {
		return -1, err
	}
	options := []option{
		{unix.SOL_SOCKET, unix.SO_REUSEPORT, 1, "SO_REUSEPORT"},
		{unix.IPPROTO_UDP, unix.UDP_GRO, 1, "UDP_GRO"},
	}
	if v6 {
		options = append(options, option{unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS, 1, "IPV6_RECVTCLASS"})
	} else {
		options = append(options, option{unix.IPPROTO_IP, unix.IP_RECVTOS, 1, "IP_RECVTOS"},
			option{unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_INTERFACE, "IP_MTU_DISCOVER"})
	}
	err = attach(fd, dropAll)
	if err == nil {
		err = setBuffer(cfg, fd, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF)
	}
	for _, o := range options {
		if err == nil {
			err = o.set(fd)
		}
	}
	if err == nil {
		err = bindPort(fd, v6, netip.Addr{}, udpPort)
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// openUDPSend opens a socket with a source port of its own.
func openUDPSend(cfg *Config, v6 bool) (fd int, port uint16, err error) {
	fd, err = openDatagram(v6)
	if err != nil {
		return -1, 0, err
	}
	options := []option{
		{unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE, "IP_MTU_DISCOVER"}, // DF; the link's MTU counts, not what ICMP says
		{unix.IPPROTO_IP, unix.IP_TTL, outerTTL, "IP_TTL"},
		{unix.IPPROTO_IP, unix.IP_FREEBIND, 1, "IP_FREEBIND"},
	}
	if v6 {
		options = []option{
			{unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE, "IPV6_MTU_DISCOVER"},
			{unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, outerTTL, "IPV6_UNICAST_HOPS"},
			{unix.IPPROTO_IPV6, unix.IPV6_FREEBIND, 1, "IPV6_FREEBIND"},
		}
	}
	const forErrors = 1 << 16 // to queue some; nobody answers there
	err = attach(fd, dropAll)
	for _, o := range append(options, recvErr(v6), option{unix.SOL_SOCKET, unix.SO_RCVBUF, forErrors, "SO_RCVBUF"}) {
		if err == nil {
			err = o.set(fd)
		}
	}
	if err == nil {
		err = setBuffer(cfg, fd, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF)
	}
	if err == nil {
		var local netip.Addr
		if as := cfg.localOf(v6); len(as) > 0 {
			local = as[0]
		}
		err = unix.EADDRINUSE
		for tries := 0; errors.Is(err, unix.EADDRINUSE) && tries < 100; tries++ {
			port = uint16(firstDynamicPort + rand.IntN(1<<16-firstDynamicPort))
			err = bindPort(fd, v6, local, port)
		}
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, 0, err
	}
	return fd, port, nil
}

func openDatagram(v6 bool) (int, error) {
	domain := unix.AF_INET
	if v6 {
		domain = unix.AF_INET6
	}
	fd, err := unix.Socket(domain, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_UDP)
	if err != nil {
		return -1, fmt.Errorf("open UDP socket: %w", err)
	}
	if v6 {
		if err := setOption(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1, "IPV6_V6ONLY"); err != nil {
			_ = unix.Close(fd)
			return -1, err
		}
	}
	return fd, nil
}

// bindPort binds a socket; an invalid address stands for all.
func bindPort(fd int, v6 bool, local netip.Addr, port uint16) error {
	if !local.IsValid() {
		local = netip.IPv4Unspecified()
		if v6 {
			local = netip.IPv6Unspecified()
		}
	}
	a := sockaddrOf(local)
	a.setPort(port)
	name, size := a.name()
	if _, _, errno := unix.Syscall(unix.SYS_BIND, uintptr(fd), uintptr(unsafe.Pointer(name)), uintptr(size)); errno != 0 {
		return fmt.Errorf("bind UDP socket to port %d: %w", port, errno)
	}
	return nil
}

// setPort sets the port, which a raw socket's address does not have.
func (s *sockaddr) setPort(port uint16) {
	swapped := port<<8 | port>>8 // little-endian machines only
	s.v4.Port, s.v6.Port = swapped, swapped
}

// hear says whose datagrams go to the peers' socket.
func (s *udpSockets) hear(v6 bool, local, peers []netip.Addr) error {
	l := layout{src: atNetwork + 12, dst: atNetwork + 16, words: 1}
	if v6 {
		l = layoutOf(true)
	}
	const peersSocket, strangersSocket = 0, 1 // in the order of bind(2)
	sort, err := l.filter(local, peers, verdicts{peer: peersSocket, stranger: strangersSocket})
	if err != nil {
		return err
	}
	if err := attachAs(s.peers, unix.SO_ATTACH_REUSEPORT_CBPF, sort); err != nil {
		return err
	}
	if err := attach(s.peers, []bpf.Instruction{bpf.RetConstant{Val: passAll}}); err != nil {
		return err
	}
	return attach(s.strangers, []bpf.Instruction{bpf.RetConstant{Val: passHeads}})
}

// source returns the number of the socket, and so the source port, that a frame's flow
// is sent from.
func (s *udpSockets) source(seed uint64, frame []byte) int {
	return int(flowLabel(seed, frame) % udpPorts)
}

// label returns the flow label of what is sent from one source port, over IPv6. The
// kernel's own would be another one than that of the same flow's super-frames.
func (s *udpSockets) label(source int) uint32 {
	if s.unlabelled.Load() {
		return 0
	}
	return uint32(s.ports[source])
}

// refused reports whether the kernel has refused UDP_SEGMENT; nil has sent nothing.
func (s *udpSockets) refused() bool { return s != nil && s.singly.Load() }

func (s *udpSockets) close() error {
	if s == nil {
		return nil
	}
	var errs []error
	for _, fd := range append(s.send[:], s.peers, s.strangers) {
		if fd >= 0 {
			errs = append(errs, unix.Close(fd))
		}
	}
	return errors.Join(errs...)
}
