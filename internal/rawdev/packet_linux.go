package rawdev

import (
	"errors"
	"fmt"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// PacketBuffer is what a packet socket's queues hold, in bytes: some hundred
// super-frames. The kernel's default holds three.
const PacketBuffer = 8 << 20

// OpenPacket opens a packet socket (packet(7)) on the Ethernet interface with
// number ifindex in the calling thread's namespace: non-blocking, whole frames
// behind a virtio header of 10 bytes, VLAN tags in auxiliary data, and the
// interface promiscuous for as long as the socket is open. It sees what the
// host itself sends there too, but never what it sends itself. filter decides
// from the first frame on. The caller closes it.
func OpenPacket(ifindex int, filter []bpf.RawInstruction) (fd int, err error) {
	fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0) // protocol 0: deaf until bound
	if errors.Is(err, unix.EPERM) {
		return -1, fmt.Errorf("open packet socket: %w: run as root", err)
	}
	if err != nil {
		return -1, fmt.Errorf("open packet socket: %w", err)
	}
	if err := setUpPacket(fd, ifindex, filter); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func setUpPacket(fd, ifindex int, filter []bpf.RawInstruction) error {
	for _, opt := range []struct {
		name             string
		level, key, want int
	}{
		{"PACKET_VNET_HDR", unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1},
		{"PACKET_AUXDATA", unix.SOL_PACKET, unix.PACKET_AUXDATA, 1},
		{"SO_RCVBUFFORCE", unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, PacketBuffer},
		{"SO_SNDBUFFORCE", unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, PacketBuffer},
	} {
		if err := unix.SetsockoptInt(fd, opt.level, opt.key, opt.want); err != nil {
			return fmt.Errorf("set %s: %w", opt.name, err)
		}
	}
	if err := SetFilter(fd, filter); err != nil {
		return err
	}
	promisc := unix.PacketMreq{Ifindex: int32(ifindex), Type: unix.PACKET_MR_PROMISC}
	if err := unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &promisc); err != nil {
		return fmt.Errorf("make interface promiscuous: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: ifindex}); err != nil {
		return fmt.Errorf("bind packet socket: %w", err)
	}
	return nil
}

// SetFilter puts a filter in the place of a socket's former one, in one step.
func SetFilter(fd int, filter []bpf.RawInstruction) error {
	prog := make([]unix.SockFilter, len(filter))
	for i, ins := range filter {
		prog[i] = unix.SockFilter{Code: ins.Op, Jt: ins.Jt, Jf: ins.Jf, K: ins.K}
	}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}); err != nil {
		return fmt.Errorf("set socket filter: %w", err)
	}
	return nil
}

// PacketDrops returns how many frames the socket lost since the last call, for
// want of room in its queue (PACKET_STATISTICS).
func PacketDrops(fd int) (uint64, error) {
	st, err := unix.GetsockoptTpacketStats(fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return 0, fmt.Errorf("PACKET_STATISTICS: %w", err)
	}
	return uint64(st.Drops), nil
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }
