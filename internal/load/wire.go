package load

import (
	"errors"
	"fmt"
	"time"
)

// What a test may ask for.
const (
	maxStreams  = 32
	maxDuration = time.Minute
	maxSize     = 1400 // bytes of a datagram or a request
	minDatagram = 12   // token and number
)

// tokenLen is how many bytes a data connection begins with, and directionLen
// more: which way it goes.
const tokenLen = 8

// Ways of a data connection.
const (
	wayUp   = 'u' // the server takes
	wayDown = 'd' // the server gives
	wayEcho = 'e' // the server sends back what came
)

// request asks a server for one test, as a line of JSON.
type request struct {
	Test    string `json:"test"` // tcp, udp or echo
	Up      int    `json:"up,omitempty"`
	Down    int    `json:"down,omitempty"`
	Size    int    `json:"size,omitempty"`
	WarmUp  int64  `json:"warm_up_ns,omitempty"`
	Measure int64  `json:"measure_ns"`
}

// accepted is the server's answer to a request, before the test.
type accepted struct {
	Token uint64 `json:"token,omitempty"`
	Port  uint16 `json:"port,omitempty"` // of UDP
	Error string `json:"error,omitempty"`
}

// taken is what came in at one end: within the time that was measured, and in all.
type taken struct {
	Within  int64 `json:"within"` // bytes of TCP, datagrams of UDP
	Elapsed int64 `json:"elapsed_ns"`
	Total   int64 `json:"total"`
}

func (t *taken) add(u taken) {
	t.Within, t.Total, t.Elapsed = t.Within+u.Within, t.Total+u.Total, max(t.Elapsed, u.Elapsed)
}

func (t taken) rate() float64 {
	if t.Elapsed <= 0 {
		return 0
	}
	return float64(t.Within) / time.Duration(t.Elapsed).Seconds()
}

// check holds a request to its bounds.
func (r request) check() error {
	warm, d := time.Duration(r.WarmUp), time.Duration(r.Measure)
	switch {
	case warm < 0 || d <= 0 || warm > maxDuration || d > maxDuration:
		return fmt.Errorf("a test takes at most %v", maxDuration)
	case r.Test == "tcp" && (r.Up < 0 || r.Down < 0 || r.Up+r.Down < 1 || r.Up+r.Down > maxStreams):
		return fmt.Errorf("a test has 1 to %d streams", maxStreams)
	case r.Test == "udp" && (r.Size < minDatagram || r.Size > maxSize):
		return fmt.Errorf("a datagram has %d to %d bytes", minDatagram, maxSize)
	case r.Test == "echo" && (r.Size < 1 || r.Size > maxSize):
		return fmt.Errorf("a request has 1 to %d bytes", maxSize)
	case r.Test != "tcp" && r.Test != "udp" && r.Test != "echo":
		return errors.New("no such test")
	}
	return nil
}
