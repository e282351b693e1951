package encaptest

import (
	"errors"
	"io"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"

	"weft/encap"
)

// Join makes a network of wires: what one Underlay sends reaches the one that
// has the outer destination as local address; what no one has is lost, as is
// what a full queue has no room for. It lasts until the test ends.
func Join(t testing.TB, wires ...*Wire) {
	t.Helper()
	var pumps sync.WaitGroup
	for _, w := range wires {
		pumps.Go(func() { pump(t, w, wires) }) // ends with its wire's deadline
	}
	t.Cleanup(func() {
		for _, w := range wires {
			_ = w.sent.SetReadDeadline(past)
		}
		pumps.Wait()
	})
}

// pump carries what one Underlay sends to the others.
func pump(t testing.TB, from *Wire, wires []*Wire) {
	buf := make([]byte, 1<<16)
	for {
		n, err := from.sent.Read(buf)
		if err != nil {
			if !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, io.EOF) {
				t.Errorf("read wire: %v", err)
			}
			return // the test ends, or closed the Underlay
		}
		to := holder(wires, buf[:n])
		if to == nil {
			continue
		}
		_ = to.inject(buf[:n]) // no room, or closed: lost
	}
}

// holder returns the wire whose Underlay has the destination of an outer
// datagram, nil where none has.
func holder(wires []*Wire, outer []byte) *Wire {
	var dst netip.Addr
	switch {
	case len(outer) >= 20 && outer[0]>>4 == 4:
		dst = netip.AddrFrom4([4]byte(outer[16:20]))
	case len(outer) >= 40 && outer[0]>>4 == 6:
		dst = netip.AddrFrom16([16]byte(outer[24:40]))
	}
	for _, w := range wires {
		if slices.Contains(w.local, dst) {
			return w
		}
	}
	return nil
}

// Pair returns two joined Underlays with one local address each. Neither has
// peers yet.
func Pair(t testing.TB, a, b netip.Addr) (*encap.Underlay, *encap.Underlay) {
	t.Helper()
	ua, wa := New(t, a)
	ub, wb := New(t, b)
	Join(t, wa, wb)
	return ua, ub
}
