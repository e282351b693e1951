package tap

import (
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weft/internal/rawdev"
)

// A TAP that a killed Create left goes; one that is in use, or is another's, stays.
func TestSweep(t *testing.T) {
	c := newContainer(t) // stands for the host
	const left, used, foreign, tun = "weft0123456789a", "weft0123456789b", "weft0123", "weft0123456789c"
	c.do(func() error {
		for _, name := range []string{left, used, foreign} {
			if err := makePersistent(name); err != nil {
				return err
			}
		}
		link := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: tun}, Mode: netlink.TUNTAP_MODE_TUN, Flags: netlink.TUNTAP_MULTI_QUEUE_DEFAULTS, Queues: 1}
		err := netlink.LinkAdd(link)
		for _, f := range link.Fds {
			f.Close()
		}
		return err
	})
	var fd int
	c.do(func() (err error) {
		if fd, err = rawdev.OpenTUN(); err == nil {
			err = attach(fd, used)
		}
		return err
	})
	defer unix.Close(fd)
	for _, want := range []int{1, 0} {
		c.do(func() error {
			n, err := Sweep()
			if n != want {
				t.Errorf("removed %d TAPs, want %d", n, want)
			}
			return err
		})
	}
	if c.link(left) != nil {
		t.Errorf("%s is still there", left)
	}
	for _, name := range []string{used, foreign, tun} {
		if c.link(name) == nil {
			t.Errorf("%s is gone", name)
		}
	}
}
