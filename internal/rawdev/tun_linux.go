package rawdev

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// TAPFlags is how every queue of weft is attached: whole frames without the
// packet information header, virtio header in front (linux/if_tun.h). Not among
// them is IFF_MULTI_QUEUE: one worker reads a port, and for a TAP with many
// queues the kernel makes 256, of 25 KB each, whether they are used or not.
const TAPFlags = unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR

// Offloads that a container may leave to the switch. USO4 and USO6 came
// together in Linux 6.2 and are only taken together.
const (
	offloads = unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6 | unix.TUN_F_TSO_ECN
	uso      = unix.TUN_F_USO4 | unix.TUN_F_USO6
)

// OpenTUN opens /dev/net/tun, not yet attached to anything. The namespace of
// the calling thread is the one whose TAPs AttachTAP can name, and the one that
// the descriptor keeps alive. The caller closes it.
func OpenTUN() (int, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENODEV):
		return -1, fmt.Errorf("open /dev/net/tun: %w: load the tun module, or give weft's own container --device /dev/net/tun", err)
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return -1, fmt.Errorf("open /dev/net/tun: %w: run as root", err)
	case err != nil:
		return -1, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	return fd, nil
}

// AttachTAP makes fd the queue of the TAP name with TAPFlags (TUNSETIFF, tun(4))
// and verifies that the kernel took every flag. Where there is no such TAP the
// kernel makes one, which lives as long as fd: the caller looks first. The error
// is EBUSY where another descriptor is its queue.
func AttachTAP(fd int, name string) error {
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return fmt.Errorf("attach queue to %q: %w", name, err)
	}
	ifr.SetUint16(TAPFlags)
	err = unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr)
	if errors.Is(err, unix.EINVAL) {
		// Made by an older weft, with many queues: it is opened as what it is, and
		// works alike (drivers/net/tun.c, tun_set_iff).
		ifr.SetUint16(TAPFlags | unix.IFF_MULTI_QUEUE)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr)
	}
	if errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("attach queue to %s: %w: another program holds it open", name, err)
	}
	if err != nil {
		return fmt.Errorf("attach queue to %s: TUNSETIFF: %w", name, err)
	}
	_, flags, err := Interface(fd)
	if err != nil {
		return fmt.Errorf("attach queue to %s: %w", name, err)
	}
	// One of many queues, with another open, keeps the flags of that one.
	if flags&TAPFlags != TAPFlags {
		return fmt.Errorf("attach queue to %s: flags are %#x, want %#x: another program holds it open", name, flags, TAPFlags)
	}
	return nil
}

// Interface returns the present name and the flags of the TAP that fd is a
// queue of (TUNGETIFF): IFF_PERSIST beside those of TAPFlags. The error is
// EBADFD when the TAP is gone or fd was never attached.
func Interface(fd int) (name string, flags uint16, err error) {
	ifr, err := unix.NewIfreq("")
	if err != nil {
		return "", 0, err
	}
	if err := unix.IoctlIfreq(fd, unix.TUNGETIFF, ifr); err != nil {
		return "", 0, fmt.Errorf("TUNGETIFF: %w", err)
	}
	return ifr.Name(), ifr.Uint16(), nil
}

// SetVirtio fixes the size of the virtio header at hdrLen bytes and lets the
// container leave checksums and segmentation to the reader: TCP always, UDP
// where the kernel knows it. The size outlives a descriptor, so it is set each time.
func SetVirtio(fd, hdrLen int) error {
	if err := unix.IoctlSetPointerInt(fd, unix.TUNSETVNETHDRSZ, hdrLen); err != nil {
		return fmt.Errorf("TUNSETVNETHDRSZ: %w", err)
	}
	err := unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, offloads|uso)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.2
		err = unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, offloads)
	}
	if err != nil {
		return fmt.Errorf("TUNSETOFFLOAD: %w", err)
	}
	return nil
}

// SetPersist says whether the TAP outlives its last descriptor (TUNSETPERSIST).
func SetPersist(fd int, on bool) error {
	arg := 0
	if on {
		arg = 1
	}
	if err := unix.IoctlSetInt(fd, unix.TUNSETPERSIST, arg); err != nil {
		return fmt.Errorf("TUNSETPERSIST: %w", err)
	}
	return nil
}

// Pins reports whether fd was opened in the very namespace that its TAP is in
// now. Such a descriptor keeps the namespace alive: when the container ends,
// the TAP stays up and nothing tells the reader (SIOCGSKNS, TUNGETDEVNETNS; Linux 5.2).
func Pins(fd int) (bool, error) {
	opener, err := namespaceOf(fd, unix.SIOCGSKNS)
	if err != nil {
		return false, fmt.Errorf("SIOCGSKNS: %w", err)
	}
	device, err := namespaceOf(fd, unix.TUNGETDEVNETNS)
	if err != nil {
		return false, fmt.Errorf("TUNGETDEVNETNS: %w", err)
	}
	return opener == device, nil
}

// namespaceOf returns the inode of the namespace that the ioctl req opens.
func namespaceOf(fd int, req uint) (uint64, error) {
	ns, err := unix.IoctlRetInt(fd, req)
	if err != nil {
		return 0, err
	}
	defer unix.Close(ns)
	var st unix.Stat_t
	if err := unix.Fstat(ns, &st); err != nil {
		return 0, err
	}
	return st.Ino, nil
}
