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
	const left, older, used, foreign, tun = "weft0123456789a", "weft0123456789d", "weft0123456789b", "weft0123", "weft0123456789c"
	c.do(func() error {
		for _, name := range []string{left, used, foreign} {
			if err := makePersistent(name); err != nil {
				return err
			}
		}
		if err := addTuntap(older, netlink.TUNTAP_MODE_TAP, netlink.TUNTAP_MULTI_QUEUE_DEFAULTS); err != nil {
			return err
		}
		return addTuntap(tun, netlink.TUNTAP_MODE_TUN, netlink.TUNTAP_MULTI_QUEUE_DEFAULTS)
	})
	var fd int
	c.do(func() (err error) {
		if fd, err = rawdev.OpenTUN(); err == nil {
			err = attach(fd, used)
		}
		return err
	})
	defer unix.Close(fd)
	for _, want := range []int{2, 0} {
		c.do(func() error {
			n, err := Sweep()
			if n != want {
				t.Errorf("removed %d TAPs, want %d", n, want)
			}
			return err
		})
	}
	for _, name := range []string{left, older} {
		if c.link(name) != nil {
			t.Errorf("%s is still there", name)
		}
	}
	for _, name := range []string{used, foreign, tun} {
		if c.link(name) == nil {
			t.Errorf("%s is gone", name)
		}
	}
}
