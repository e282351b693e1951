package rawdev

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"weft/internal/lab"
)

// inside runs f in a namespace of its own, where every name is free.
func inside(t *testing.T, f func()) {
	t.Helper()
	host, err := lab.ForTest(t).Host("h")
	if err != nil {
		t.Fatal(err)
	}
	if err := host.Do(func() error { f(); return nil }); err != nil {
		t.Fatal(err)
	}
}

// openTUN opens a descriptor that is closed when the test ends. It must not
// end the goroutine, which inside runs f on.
func openTUN(t *testing.T) int {
	fd, err := OpenTUN()
	if err != nil {
		t.Error(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

func TestAttachTAP(t *testing.T) {
	inside(t, func() {
		fd := openTUN(t)
		if _, _, err := Interface(fd); !errors.Is(err, unix.EBADFD) {
			t.Errorf("Interface of what is not attached = %v, want EBADFD", err)
		}
		if err := AttachTAP(fd, "tap0"); err != nil {
			t.Error(err)
		}
		if err := SetVirtio(fd, 10); err != nil {
			t.Error(err)
		}
		if err := SetPersist(fd, true); err != nil {
			t.Error(err)
		}
		name, flags, err := Interface(fd)
		if want := uint16(TAPFlags | unix.IFF_PERSIST); name != "tap0" || flags&want != want || err != nil {
			t.Errorf("Interface = %q, %#x, %v, want tap0 with %#x", name, flags, err, want)
		}
		if pins, err := Pins(fd); !pins || err != nil {
			t.Errorf("Pins = %t, %v for a TAP where it was opened, want true", pins, err)
		}
		if err := AttachTAP(openTUN(t), "tap0"); !errors.Is(err, unix.EBUSY) {
			t.Errorf("AttachTAP of what is open = %v, want EBUSY", err)
		}
	})
}

// TAPs that an older weft made have room for many queues. The kernel takes the
// flags of the first for all; where those are others it must not go unnoticed.
func TestAttachTAPManyQueues(t *testing.T) {
	for _, tt := range []struct {
		name  string
		first uint16 // flags of the queue that is open already
		says  string
	}{
		{"with virtio headers", TAPFlags | unix.IFF_MULTI_QUEUE, ""},
		{"without", TAPFlags&^unix.IFF_VNET_HDR | unix.IFF_MULTI_QUEUE, "another program"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inside(t, func() {
				ifr, err := unix.NewIfreq("tap0")
				if err != nil {
					t.Error(err)
					return
				}
				ifr.SetUint16(tt.first)
				if err := unix.IoctlIfreq(openTUN(t), unix.TUNSETIFF, ifr); err != nil {
					t.Error(err)
					return
				}
				err = AttachTAP(openTUN(t), "tap0")
				if (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) {
					t.Errorf("AttachTAP = %v, want %q", err, tt.says)
				}
			})
		})
	}
}

func TestAttachTAPLongName(t *testing.T) {
	if err := AttachTAP(-1, "abcdefghijklmnop"); err == nil {
		t.Error("AttachTAP took a name of 16 bytes")
	}
}
