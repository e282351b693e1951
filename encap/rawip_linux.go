package encap

import (
	"errors"
	"fmt"
	"net/netip"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// bufferSize is asked for each socket, in bytes of datagrams; the kernel doubles
// it for its own bookkeeping (socket(7), SO_RCVBUF).
const bufferSize = 8 << 20

// openSockets makes the sockets of an Underlay, with filters that keep peers
// away until SetPeers. They are of the versions of IP that the local addresses
// have, or of those that the host has.
//
// Sending has a socket of its own: ICMP errors about GRE are reported to every
// socket of protocol 47 and would fail whatever is sent next, and errors of
// sends would take room in the receive buffer.
func openSockets(cfg *Config) (all []Sockets, err error) {
	for _, v6 := range []bool{false, true} {
		if len(cfg.Local) > 0 && len(cfg.localOf(v6)) == 0 {
			continue
		}
		s := Sockets{V6: v6, Peers: -1, Strangers: -1, Send: -1, raw: true}
		err := s.open(cfg)
		all = append(all, s)
		if v6 && len(cfg.Local) == 0 && errors.Is(err, unix.EAFNOSUPPORT) {
			cfg.Log.Info("host has no IPv6: no underlay over it")
			all = all[:len(all)-1]
		} else if err != nil {
			_ = closeAll(all)
			return nil, err
		}
	}
	return all, nil
}

func closeAll(all []Sockets) error {
	var errs []error
	for i := range all {
		errs = append(errs, all[i].close())
	}
	return errors.Join(errs...)
}

func (s *Sockets) open(cfg *Config) (err error) {
	if s.Peers, err = openReceive(cfg, s.V6, receiveOptions(s.V6)); err != nil {
		return err
	}
	if err := recvErr(s.V6).set(s.Peers); err != nil {
		return err
	}
	if s.Strangers, err = openReceive(cfg, s.V6, receiveOptions(s.V6)); err != nil {
		return err
	}
	s.Send, err = openSend(cfg, s.V6)
	return err
}

// option is a socket option with the value that it gets.
type option struct {
	level, option, value int
	name                 string
}

func (o option) set(fd int) error { return setOption(fd, o.level, o.option, o.value, o.name) }

// receiveOptions are those of both sockets that receive.
//
// Over IPv4, an ICMP "fragmentation needed", easily forged, then does not change
// what the host believes of the path (raw_err in net/ipv4/raw.c, ip_sk_accept_pmtu).
// Over IPv6 nothing keeps the kernel from that where errors are to be queued
// (rawv6_err in net/ipv6/raw.c): other traffic of the host to the peer may be cut
// down to 1280 bytes. It may be so without this socket too: the kernel believes a
// "packet too big" about any ping, sent or not (icmpv6_err in net/ipv6/icmp.c), so
// reading errors in another way would win nothing. What is sent from here minds
// neither.
func receiveOptions(v6 bool) []option {
	if v6 {
		return []option{{unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS, 1, "IPV6_RECVTCLASS"}} // the outer header is not delivered
	}
	return []option{{unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_INTERFACE, "IP_MTU_DISCOVER"}}
}

// sendOptions: headers come from us; the limit is that of the link, not what ICMP
// claims of the path; the local address may come and go.
func sendOptions(v6 bool) []option {
	if v6 {
		return []option{
			{unix.IPPROTO_IPV6, unix.IPV6_HDRINCL, 1, "IPV6_HDRINCL"},
			{unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE, "IPV6_MTU_DISCOVER"},
			{unix.IPPROTO_IPV6, unix.IPV6_FREEBIND, 1, "IPV6_FREEBIND"},
		}
	}
	return []option{
		{unix.IPPROTO_IP, unix.IP_HDRINCL, 1, "IP_HDRINCL"},
		{unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE, "IP_MTU_DISCOVER"},
		{unix.IPPROTO_IP, unix.IP_FREEBIND, 1, "IP_FREEBIND"},
	}
}

// recvErr queues ICMP errors to be read. On the socket that sends it is needed,
// too: else ENOBUFS counts as sent (raw_send_hdrinc in net/ipv4/raw.c).
func recvErr(v6 bool) option {
	if v6 {
		return option{unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1, "IPV6_RECVERR"}
	}
	return option{unix.IPPROTO_IP, unix.IP_RECVERR, 1, "IP_RECVERR"}
}

// openReceive opens a raw socket that gets a copy of every GRE datagram once it
// has another filter.
func openReceive(cfg *Config, v6 bool, options []option) (int, error) {
	fd, err := openRaw(v6, unix.IPPROTO_GRE)
	if err != nil {
		return -1, err
	}
	// First of all: until now every GRE datagram of the host was queued.
	err = errors.Join(attach(fd, dropAll), drain(fd))
	if err == nil {
		err = setBuffer(cfg, fd, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF)
	}
	for _, o := range options {
		if err == nil {
			err = o.set(fd)
		}
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// openSend opens a raw socket that only sends.
func openSend(cfg *Config, v6 bool) (int, error) {
	fd, err := openRaw(v6, unix.IPPROTO_RAW)
	if err != nil {
		return -1, err
	}
	if err := setUpSend(cfg, fd, v6); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func setUpSend(cfg *Config, fd int, v6 bool) error {
	if err := attach(fd, dropAll); err != nil { // it would queue what comes for protocol 255
		return err
	}
	for _, o := range append(sendOptions(v6), recvErr(v6)) {
		if err := o.set(fd); err != nil {
			return err
		}
	}
	// Nobody reads the errors that are queued: keep room for few.
	if err := setOption(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 0, "SO_RCVBUF"); err != nil {
		return err
	}
	if err := setBuffer(cfg, fd, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF); err != nil {
		return err
	}
	local := cfg.localOf(v6)
	if len(local) == 0 {
		return nil
	}
	// So that routing rules that go by source apply.
	dest := sockaddrOf(local[0])
	name, size := dest.name()
	if _, _, errno := unix.Syscall(unix.SYS_BIND, uintptr(fd), uintptr(unsafe.Pointer(name)), uintptr(size)); errno != 0 {
		return fmt.Errorf("bind raw socket to %s: %w", local[0], errno)
	}
	return nil
}

func openRaw(v6 bool, proto int) (int, error) {
	domain := unix.AF_INET
	if v6 {
		domain = unix.AF_INET6
	}
	fd, err := unix.Socket(domain, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, proto)
	if errors.Is(err, unix.EPERM) {
		return -1, fmt.Errorf("open raw socket: %w: run as root or with CAP_NET_RAW", err)
	}
	if err != nil {
		return -1, fmt.Errorf("open raw socket: %w", err)
	}
	return fd, nil
}

func setOption(fd, level, option, value int, name string) error {
	if err := unix.SetsockoptInt(fd, level, option, value); err != nil {
		return fmt.Errorf("set socket option %s: %w", name, err)
	}
	return nil
}

// setBuffer makes a socket buffer large; where that takes more rights than the
// process has, as large as the system allows anyone.
func setBuffer(cfg *Config, fd, force, plain int) error {
	err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, bufferSize)
	if errors.Is(err, unix.EPERM) {
		cfg.Log.Warn("socket buffer stays small: needs CAP_NET_ADMIN or a larger net.core.rmem_max and wmem_max", "err", err)
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, plain, bufferSize)
	}
	if err != nil {
		return fmt.Errorf("set socket buffer: %w", err)
	}
	return nil
}

// attach replaces the filter of a socket in one step: no datagram passes by
// neither the old one nor the new one.
func attach(fd int, prog []bpf.Instruction) error { return attachAs(fd, unix.SO_ATTACH_FILTER, prog) }

// attachAs is attach for one of the socket options that take a program.
func attachAs(fd, option int, prog []bpf.Instruction) error {
	raw, err := bpf.Assemble(prog)
	if err != nil {
		return fmt.Errorf("assemble socket filter: %w", err)
	}
	ins := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		ins[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	err = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, option, &unix.SockFprog{Len: uint16(len(ins)), Filter: &ins[0]})
	if errors.Is(err, unix.ENOMEM) {
		return fmt.Errorf("attach socket filter of %d instructions: %w: raise net.core.optmem_max", len(ins), err)
	}
	if err != nil {
		return fmt.Errorf("attach socket filter: %w", err)
	}
	return nil
}

// drain throws away what a socket holds.
func drain(fd int) error {
	for {
		switch _, _, err := unix.Recvfrom(fd, nil, unix.MSG_DONTWAIT|unix.MSG_TRUNC); {
		case err == nil, errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			return nil
		default:
			return fmt.Errorf("drain raw socket: %w", err)
		}
	}
}

func (s *Sockets) close() error {
	var errs []error
	for _, fd := range []*int{&s.Peers, &s.Strangers, &s.Send} {
		if *fd >= 0 {
			errs = append(errs, unix.Close(*fd))
			*fd = -1
		}
	}
	return errors.Join(errs...)
}

// sockaddr is an outer destination as the kernel takes it, of either version.
type sockaddr struct {
	v4 unix.RawSockaddrInet4
	v6 unix.RawSockaddrInet6 // used where its family is set

	control *protocolControl // goes along; nil: nothing
}

func sockaddrOf(a netip.Addr) (s sockaddr) {
	if a.Is6() {
		s.v6 = unix.RawSockaddrInet6{Family: unix.AF_INET6, Addr: a.As16()}
	} else {
		s.v4 = unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: a.As4()}
	}
	return s
}

// name returns the address as msg_name and msg_namelen of struct msghdr take it.
func (s *sockaddr) name() (*byte, uint32) {
	if s.v6.Family != 0 {
		return (*byte)(unsafe.Pointer(&s.v6)), unix.SizeofSockaddrInet6
	}
	return (*byte)(unsafe.Pointer(&s.v4)), unix.SizeofSockaddrInet4
}
