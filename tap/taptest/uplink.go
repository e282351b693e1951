package taptest

import (
	"testing"

	"golang.org/x/sys/unix"

	"weft/tap"
)

// NewUplink returns an Uplink in memory, the LAN's end of it and the host's. No
// filter is at work, and nothing is seen that the host sends. All are closed when
// the test ends.
func NewUplink(t testing.TB, vlan int) (u *tap.Uplink, lan, host *Container) {
	t.Helper()
	fds := socketpair(t)
	dev, host := New(t)
	u, lan = tap.FromPacketSocket(fds[0], vlan, dev), &Container{t: t, fd: fds[1]}
	t.Cleanup(func() {
		lan.Close()
		u.Close()
	})
	return u, lan, host
}

// socketpair makes the two ends of a device in memory.
func socketpair(t testing.TB) (fds [2]int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatalf("make device in memory: %v", err)
	}
	for _, fd := range fds {
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, queueBytes) != nil {
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, queueBytes) // the kernel bounds it
		}
	}
	return fds
}
