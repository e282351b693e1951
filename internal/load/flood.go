package load

import (
	"encoding/binary"
	"syscall"
	"time"
)

// silence is how long nothing arrives until the rest of a flood counts as lost.
const silence = 150 * time.Millisecond

// takeFlood counts datagrams that carry the token. Time runs from the first one.
func takeFlood(s socket, r request, token uint64, stop <-chan struct{}) (t taken) {
	buf := make([]byte, maxSize+1)
	limit := time.Now().Add(time.Duration(r.WarmUp+r.Measure) + 5*time.Second)
	var w window
	var last time.Time
	for {
		n, err := s.read(buf)
		now := time.Now()
		switch {
		case err == nil && n >= minDatagram && binary.BigEndian.Uint64(buf) == token:
			if t.Total == 0 {
				w = r.window(now)
			}
			t.Total++
			if now.After(w.from) && now.Before(w.to) {
				t.Within++
			}
			last = now
		case err != nil && err != syscall.EAGAIN && err != syscall.ECONNREFUSED:
			return t
		}
		over := t.Total > 0 && now.After(w.to) && now.Sub(last) > silence
		if over || now.After(limit) || ended(stop) {
			t.Elapsed = r.Measure
			return t
		}
	}
}

// giveFlood sends datagrams for as long as the test takes, one every interval,
// or as fast as the kernel takes them, and returns how many.
func giveFlood(s socket, r request, token uint64, interval time.Duration, stop <-chan struct{}) (sent int64, err error) {
	buf := make([]byte, r.Size)
	binary.BigEndian.PutUint64(buf, token)
	start := time.Now()
	for end := start.Add(time.Duration(r.WarmUp + r.Measure)); ; {
		now := time.Now()
		if now.After(end) || ended(stop) {
			return sent, nil
		}
		if wait := start.Add(time.Duration(sent) * interval).Sub(now); interval > 0 && wait > 0 {
			time.Sleep(wait)
		}
		binary.BigEndian.PutUint32(buf[8:], uint32(sent))
		switch _, err := s.write(buf); err {
		case nil:
			sent++
		case syscall.EAGAIN, syscall.ENOBUFS, syscall.ECONNREFUSED:
		default:
			return sent, err
		}
	}
}
