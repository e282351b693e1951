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
// away until SetPeers.
//
// Sending has a socket of its own: ICMP errors about GRE are reported to every
// socket of protocol 47 and would fail whatever is sent next, and errors of
// sends would take room in the receive buffer.
func openSockets(cfg *Config) (Sockets, error) {
	s := Sockets{Peers: -1, Strangers: -1, Send: -1, raw: true}
	err := s.open(cfg)
	if err != nil {
		_ = s.close()
	}
	return s, err
}

func (s *Sockets) open(cfg *Config) (err error) {
	if s.Peers, err = openReceive(cfg); err != nil {
		return err
	}
	if err := setOption(s.Peers, unix.IPPROTO_IP, unix.IP_RECVERR, 1, "IP_RECVERR"); err != nil {
		return err
	}
	if s.Strangers, err = openReceive(cfg); err != nil {
		return err
	}
	s.Send, err = openSend(cfg)
	return err
}

// openReceive opens a raw socket that gets a copy of every GRE datagram once it
// has another filter.
func openReceive(cfg *Config) (int, error) {
	fd, err := openRaw(unix.IPPROTO_GRE)
	if err != nil {
		return -1, err
	}
	// First of all: until now every GRE datagram of the host was queued.
	err = errors.Join(attach(fd, dropAll), drain(fd))
	if err == nil {
		err = setBuffer(cfg, fd, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF)
	}
	if err == nil {
		// An ICMP "fragmentation needed", easily forged, then does not change what
		// the host believes of the path (raw_err in net/ipv4/raw.c, ip_sk_accept_pmtu).
		err = setOption(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_INTERFACE, "IP_MTU_DISCOVER")
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// openSend opens a raw socket that only sends.
func openSend(cfg *Config) (int, error) {
	fd, err := openRaw(unix.IPPROTO_RAW)
	if err != nil {
		return -1, err
	}
	if err := setUpSend(cfg, fd); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func setUpSend(cfg *Config, fd int) error {
	if err := attach(fd, dropAll); err != nil { // it would queue what comes for protocol 255
		return err
	}
	for _, o := range []struct {
		option, value int
		name          string
	}{
		{unix.IP_HDRINCL, 1, "IP_HDRINCL"},
		{unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE, "IP_MTU_DISCOVER"}, // limit of the link, not what ICMP claims of the path
		{unix.IP_RECVERR, 1, "IP_RECVERR"},                                // else ENOBUFS counts as sent (raw_send_hdrinc in net/ipv4/raw.c)
		{unix.IP_FREEBIND, 1, "IP_FREEBIND"},                              // the local address may come and go
	} {
		if err := setOption(fd, unix.IPPROTO_IP, o.option, o.value, o.name); err != nil {
			return err
		}
	}
	// Nobody reads the errors that IP_RECVERR queues: keep room for few.
	if err := setOption(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 0, "SO_RCVBUF"); err != nil {
		return err
	}
	if err := setBuffer(cfg, fd, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF); err != nil {
		return err
	}
	if len(cfg.Local) == 0 {
		return nil
	}
	// So that routing rules that go by source apply.
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: cfg.Local[0].As4()}); err != nil {
		return fmt.Errorf("bind raw socket to %s: %w", cfg.Local[0], err)
	}
	return nil
}

func openRaw(proto int) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, proto)
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
func attach(fd int, prog []bpf.Instruction) error {
	raw, err := bpf.Assemble(prog)
	if err != nil {
		return fmt.Errorf("assemble socket filter: %w", err)
	}
	ins := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		ins[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	err = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(ins)), Filter: &ins[0]})
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

// sockaddr is an outer destination as the kernel takes it.
type sockaddr = unix.RawSockaddrInet4

func sockaddrOf(a netip.Addr) sockaddr {
	return sockaddr{Family: unix.AF_INET, Addr: a.As4()}
}

// name returns where a message to the peer goes, as msg_name of struct msghdr
// takes it.
func (p *peer) name() *byte { return (*byte)(unsafe.Pointer(&p.dest)) }
