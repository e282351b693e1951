package rawdev

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// EgressHeaderLen is the size of the virtio header of an egress TAP: struct
// virtio_net_hdr_v1_hash_tunnel (linux/virtio_net.h).
const EgressHeaderLen = 24

// Offloads of a TAP that takes super-frames inside a tunnel (Linux 6.17).
const (
	tunnelGSO     = 0x80  // TUN_F_UDP_TUNNEL_GSO
	tunnelGSOCsum = 0x100 // TUN_F_UDP_TUNNEL_GSO_CSUM
)

// ErrNoTunnelGSO says that the kernel's TAPs take no super-frames inside a tunnel.
var ErrNoTunnelGSO = errors.New("TAPs of this kernel take no super-frames in a tunnel: that came with Linux 6.17")

// AttachEgress makes a TAP of fd, which came from OpenTUN or lost its TAP, and
// returns its name: the first free one of pattern, which holds %d. Frames are
// written to it behind EgressHeaderLen bytes of virtio header; what the kernel
// sends by it is dropped there, since nobody reads. It is down, and goes away with
// fd. The error is ErrNoTunnelGSO where the kernel is too old.
func AttachEgress(fd int, pattern string) (name string, err error) {
	ifr, err := unix.NewIfreq(pattern)
	if err != nil {
		return "", fmt.Errorf("make egress TAP %q: %w", pattern, err)
	}
	ifr.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
		return "", fmt.Errorf("make egress TAP: TUNSETIFF: %w", err)
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TUNSETVNETHDRSZ, EgressHeaderLen); err != nil {
		return "", fmt.Errorf("make egress TAP: TUNSETVNETHDRSZ: %w", err)
	}
	if err := SetTunnelOffload(fd, true); err != nil {
		return "", err
	}
	if err := refuseAll(fd); err != nil {
		return "", fmt.Errorf("make egress TAP: %w", err)
	}
	return ifr.Name(), nil
}

// SetTunnelOffload says whether the TAP of fd takes super-frames, in a tunnel or
// not, also as the device that frames leave by: without, the kernel cuts them before.
func SetTunnelOffload(fd int, on bool) error {
	flags := 0
	if on {
		flags = offloads | uso | tunnelGSO | tunnelGSOCsum
	}
	err := unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, flags)
	if errors.Is(err, unix.EINVAL) {
		return ErrNoTunnelGSO
	}
	if err != nil {
		return fmt.Errorf("make egress TAP: TUNSETOFFLOAD: %w", err)
	}
	return nil
}

// refuseAll makes the TAP of fd drop what the kernel sends by it.
func refuseAll(fd int) error {
	raw, err := bpf.Assemble([]bpf.Instruction{bpf.RetConstant{Val: 0}})
	if err != nil {
		return fmt.Errorf("assemble filter: %w", err)
	}
	filter := unix.SockFilter{Code: raw[0].Op, K: raw[0].K}
	prog := unix.SockFprog{Len: 1, Filter: &filter}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TUNATTACHFILTER, uintptr(unsafe.Pointer(&prog))); errno != 0 {
		return fmt.Errorf("TUNATTACHFILTER: %w", errno)
	}
	return nil
}

// AcceptAll undoes that: what the kernel sends by the TAP of fd can be read.
func AcceptAll(fd int) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TUNDETACHFILTER, 0); errno != 0 {
		return fmt.Errorf("TUNDETACHFILTER: %w", errno)
	}
	return nil
}
