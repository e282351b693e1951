package load

import (
	"syscall"
	"time"
)

// chunk is how much one write of a stream hands to the kernel, as iperf3's.
const chunk = 128 << 10

// window is the time of a test: first the connection may grow, then it counts.
type window struct{ from, to time.Time }

func (r request) window(start time.Time) window {
	from := start.Add(time.Duration(r.WarmUp))
	return window{from, from.Add(time.Duration(r.Measure))}
}

// takeStream reads until the window ends and counts.
func takeStream(s socket, w window, stop <-chan struct{}) (t taken) {
	buf := make([]byte, chunk)
	for {
		n, err := s.read(buf)
		now := time.Now()
		t.Total += int64(n)
		if now.After(w.from) && now.Before(w.to) {
			t.Within += int64(n)
		}
		if now.After(w.to) || n == 0 && err == nil || err != nil && err != syscall.EAGAIN || ended(stop) {
			t.Elapsed = max(0, min(now.Sub(w.from), w.to.Sub(w.from)).Nanoseconds())
			return t
		}
	}
}

// giveStream writes until the reader has gone, or a little after the window.
func giveStream(s socket, w window, stop <-chan struct{}) {
	buf := make([]byte, chunk)
	for limit := w.to.Add(time.Second); time.Now().Before(limit) && !ended(stop); {
		if _, err := s.write(buf); err != nil && err != syscall.EAGAIN {
			return
		}
	}
}

// echo sends back what comes, size bytes at a time.
func echo(s socket, size int, limit time.Time, stop <-chan struct{}) {
	buf := make([]byte, size)
	for time.Now().Before(limit) && !ended(stop) {
		if fill(s, buf, limit, stop) != nil || drain(s, buf, limit, stop) != nil {
			return
		}
	}
}

// fill reads the whole of b.
func fill(s socket, b []byte, limit time.Time, stop <-chan struct{}) error {
	for len(b) > 0 {
		n, err := s.read(b)
		switch {
		case err == syscall.EAGAIN && time.Now().Before(limit) && !ended(stop):
			continue
		case err != nil:
			return err
		case n == 0:
			return syscall.EPIPE
		}
		b = b[n:]
	}
	return nil
}

// drain writes the whole of b.
func drain(s socket, b []byte, limit time.Time, stop <-chan struct{}) error {
	for len(b) > 0 {
		n, err := s.write(b)
		switch {
		case err == syscall.EAGAIN && time.Now().Before(limit) && !ended(stop):
			continue
		case err != nil:
			return err
		}
		b = b[n:]
	}
	return nil
}

func ended(stop <-chan struct{}) bool {
	select {
	case <-stop:
		return true
	default:
		return false
	}
}
