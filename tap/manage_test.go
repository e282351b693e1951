package tap

import (
	"errors"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestRemove(t *testing.T) {
	c := newContainer(t)
	ns := c.open()
	d := c.create(testConfig("10.1.1.2/24"))
	if err := Remove(ns, "eth1"); err != nil {
		t.Fatal(err)
	}
	if link := c.link("eth1"); link != nil {
		t.Errorf("%v is still there", link)
	}
	wantGone(t, d)
	if err := Remove(ns, "eth1"); err != nil {
		t.Errorf("Remove of a TAP that is gone: %v", err)
	}
	c.do(func() error {
		return netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "eth1"}})
	})
	if err := Remove(ns, "eth1"); err != nil || c.link("eth1") == nil {
		t.Errorf("Remove = %v, link = %v: want a bridge of that name left alone", err, c.link("eth1"))
	}
	if err := c.Remove(); err != nil {
		t.Fatal(err)
	}
	if err := Remove(ns, "eth1"); err != nil {
		t.Errorf("Remove from a namespace that is gone: %v", err)
	}
}

// What the container sends beyond the queue's 1,000 frames is counted.
func TestStats(t *testing.T) {
	c := newContainer(t)
	ns := c.open()
	d := c.withNeighbour()
	const sent = 1300
	c.do(func() error {
		sock, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(sock)
		for range sent {
			if err := unix.Sendto(sock, []byte("x"), 0, &unix.SockaddrInet4{Port: 9, Addr: [4]byte{10, 1, 1, 9}}); err != nil {
				return err
			}
		}
		return nil
	})
	lost, err := Stats(ns, "eth1")
	if err != nil {
		t.Fatal(err)
	}
	read := 0
	buf := make([]byte, 2000)
	for {
		if _, err := d.Read(buf); err != nil {
			break
		}
		read++
	}
	// The container's IPv6 may have sent a few of its own.
	if lost == 0 || uint64(read)+lost < sent || uint64(read)+lost > sent+20 {
		t.Errorf("read %d, lost %d, want together %d", read, lost, sent)
	}
	if _, err := Stats(ns, "eth9"); !errors.Is(err, ErrNoTAP) {
		t.Errorf("Stats of no interface = %v, want ErrNoTAP", err)
	}
}
