package lab

import (
	"fmt"
	"path/filepath"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Feature is an offload of an interface that ethtool -K switches.
type Feature uint32

// Features, by the ethtool command that sets each (linux/ethtool.h).
const (
	TSO    Feature = unix.ETHTOOL_STSO    // sends TCP super-frames uncut
	GSO    Feature = unix.ETHTOOL_SGSO    // cuts super-frames as late as possible
	GRO    Feature = unix.ETHTOOL_SGRO    // merges received packets
	TxCsum Feature = unix.ETHTOOL_STXCSUM // sends with partial checksums
)

// SetFeature switches an offload of an interface on or off. Off must come
// before traffic that is to be affected: packets under way keep their form.
func (n *NS) SetFeature(ifname string, f Feature, on bool) error {
	value := ethtoolValue{cmd: uint32(f)}
	if on {
		value.data = 1
	}
	err := n.Do(func() error { return ethtool(ifname, unsafe.Pointer(&value)) })
	if err != nil {
		return fmt.Errorf("set feature %#x of %s in %s to %v: %w", uint32(f), ifname, n.name, on, err)
	}
	return nil
}

// ethtoolValue is struct ethtool_value (linux/ethtool.h).
type ethtoolValue struct{ cmd, data uint32 }

// ethtool issues SIOCETHTOOL with the command structure at arg.
func ethtool(ifname string, arg unsafe.Pointer) error {
	// struct ifreq with ifr_data; padded to its full 40 bytes.
	var req struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}
	if len(ifname) >= len(req.name) {
		return unix.ENAMETOOLONG
	}
	copy(req.name[:], ifname)
	req.data = arg
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req)))
	runtime.KeepAlive(arg)
	if errno != 0 {
		return errno
	}
	return nil
}

// SetLinkFile writes a file of the interface under /sys/class/net, such as
// "gro_flush_timeout". What is mounted on /sys shows another namespace, so a
// sysfs of the namespace's own is opened, attached nowhere (fsopen(2)).
func (n *NS) SetLinkFile(ifname, file, value string) error {
	err := n.Do(func() error { return writeSysfs(filepath.Join("class/net", ifname, file), value) })
	if err != nil {
		return fmt.Errorf("set %s of %s in %s: %w", file, ifname, n.name, err)
	}
	return nil
}

func writeSysfs(path, value string) error {
	fs, err := unix.Fsopen("sysfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return fmt.Errorf("open sysfs: %w", err)
	}
	defer unix.Close(fs)
	if err := unix.FsconfigCreate(fs); err != nil {
		return fmt.Errorf("make sysfs: %w", err)
	}
	root, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("mount sysfs: %w", err)
	}
	defer unix.Close(root)
	fd, err := unix.Openat(root, path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	defer unix.Close(fd)
	_, err = unix.Write(fd, []byte(value))
	return err
}
