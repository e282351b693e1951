package taptest

import (
	"bytes"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weft/internal/offload"
)

var superHeader = offload.Header{Flags: offload.FlagNeedsCsum, GSOType: offload.GSOTCPv4, HdrLen: 54, GSOSize: 1400, CsumStart: 34, CsumOffset: 16}

func TestBothWays(t *testing.T) {
	d, c := New(t)
	buf := make([]byte, offload.HeaderLen+offload.MaxFrame)
	for _, size := range []int{14, 60, 1514, offload.MaxFrame} {
		frame := bytes.Repeat([]byte{byte(size)}, size)
		c.Send(superHeader, frame)
		n, err := d.Read(buf)
		if err != nil || offload.ParseHeader(buf) != superHeader || !bytes.Equal(buf[offload.HeaderLen:n], frame) {
			t.Errorf("frame of %d bytes: Read = %d, %v, header %+v", size, n, err, offload.ParseHeader(buf))
		}
		if err := d.Write(buf[:n]); err != nil {
			t.Errorf("frame of %d bytes: Write: %v", size, err)
		}
		h, got := c.Recv(time.Second)
		if h != superHeader || !bytes.Equal(got, frame) {
			t.Errorf("frame of %d bytes: received %d bytes with %+v", size, len(got), h)
		}
	}
	if _, err := d.Read(buf); err != unix.EAGAIN {
		t.Errorf("Read of an empty queue = %v, want EAGAIN", err)
	}
}

// A frame written in parts is one message.
func TestWriteV(t *testing.T) {
	d, c := New(t)
	msg := make([]byte, offload.HeaderLen+offload.MaxFrame)
	superHeader.Put(msg)
	for i := range msg[offload.HeaderLen:] {
		msg[offload.HeaderLen+i] = byte(i ^ i>>8)
	}
	var iov []syscall.Iovec
	for part := range slices.Chunk(msg, 1040) {
		v := syscall.Iovec{Base: &part[0]}
		v.SetLen(len(part))
		iov = append(iov, v)
	}
	if err := d.WriteV(iov); err != nil {
		t.Fatalf("WriteV of %d parts: %v", len(iov), err)
	}
	h, got := c.Recv(time.Second)
	if h != superHeader || !bytes.Equal(got, msg[offload.HeaderLen:]) {
		t.Errorf("received %d bytes with %+v, want %d with %+v", len(got), h, offload.MaxFrame, superHeader)
	}
	c.Close()
	if err := d.WriteV(iov); err != unix.EBADFD {
		t.Errorf("WriteV = %v, want EBADFD", err)
	}
}

func TestRecvTimesOut(t *testing.T) {
	d, c := New(t)
	if _, frame := c.Recv(time.Millisecond); frame != nil {
		t.Errorf("received %x from nobody", frame)
	}
	msg := make([]byte, offload.HeaderLen+14)
	go func() { // ends after one write
		time.Sleep(20 * time.Millisecond)
		_ = d.Write(msg)
	}()
	if _, frame := c.Recv(10 * time.Second); len(frame) != 14 {
		t.Errorf("received %d bytes, want the frame that came while waiting", len(frame))
	}
}

func TestDrain(t *testing.T) {
	d, c := New(t)
	for range 50 {
		if err := d.Write(make([]byte, 100)); err != nil {
			t.Fatal(err)
		}
	}
	if got := c.Drain(); got != 50 {
		t.Errorf("Drain() = %d, want 50", got)
	}
	if got := c.Drain(); got != 0 {
		t.Errorf("second Drain() = %d, want 0", got)
	}
}

// A closed container looks like a TAP that is gone, to epoll too.
func TestCloseLooksGone(t *testing.T) {
	d, c := New(t)
	c.Send(offload.Header{}, make([]byte, 60))
	if err := d.Write(make([]byte, 100)); err != nil { // which nobody receives
		t.Fatal(err)
	}
	c.Close()
	buf := make([]byte, 2000)
	if n, err := d.Read(buf); err != nil || n != 70 {
		t.Errorf("Read = %d, %v, want 70, which was sent before", n, err)
	}
	for range 2 {
		if _, err := d.Read(buf); err != unix.EBADFD {
			t.Errorf("Read = %v, want EBADFD", err)
		}
		if err := d.Write(make([]byte, 100)); err != unix.EBADFD {
			t.Errorf("Write = %v, want EBADFD", err)
		}
	}
	fds := []unix.PollFd{{Fd: int32(d.FD()), Events: unix.POLLIN}}
	if _, err := unix.Poll(fds, 0); err != nil || fds[0].Revents&unix.POLLHUP == 0 {
		t.Errorf("poll = %#x, %v, want POLLHUP", fds[0].Revents, err)
	}
}

func TestFullQueue(t *testing.T) {
	d, c := New(t)
	frame := make([]byte, offload.MaxFrame)
	var err error
	for range 100_000 {
		if err = c.TrySend(offload.Header{}, frame); err != nil {
			break
		}
	}
	if err != unix.EAGAIN {
		t.Errorf("TrySend to a full queue = %v, want EAGAIN", err)
	}
	d.Close()
	if err := c.TrySend(offload.Header{}, frame); err != unix.EPIPE && err != unix.ECONNRESET {
		t.Errorf("TrySend to a closed device = %v, want EPIPE or ECONNRESET", err)
	}
}
