package dataplane

import (
	"fmt"

	"weft/fib"
	"weft/internal/header"
	"weft/internal/offload"
)

// maxAnnounced bounds the frames that wait for a worker.
const maxAnnounced = 4096

// announced is a frame that control wants flooded.
type announced struct {
	port PortID
	buf  []byte // room for a tag, virtio header, then the frame
	far  bool   // to uplinks and peers alone
}

// Announce floods a complete frame into the port's domain as if the port had
// sent it: a gratuitous ARP or an unsolicited neighbour advertisement. The
// frame is copied. It returns before the frame is sent.
func (s *Switch) Announce(id PortID, f []byte) error { return s.announce(id, f, false) }

// AnnounceFar is Announce to the uplinks and peers of the domain alone: a second
// time to every container of this host would cost a write for each and tell it
// nothing.
func (s *Switch) AnnounceFar(id PortID, f []byte) error { return s.announce(id, f, true) }

func (s *Switch) announce(id PortID, f []byte, far bool) error {
	if s.snapshot.Load().port(id) == nil {
		return fmt.Errorf("announce: no port %d", id)
	}
	if _, ok := header.ParseEthernet(f); !ok || len(f) > offload.MaxFrame {
		return fmt.Errorf("announce: frame of %d bytes", len(f))
	}
	buf := make([]byte, tagRoom+offload.HeaderLen+len(f))
	copy(buf[tagRoom+offload.HeaderLen:], f)
	w := s.workers[0]
	w.mu.Lock()
	full := len(w.announce) >= maxAnnounced
	if !full {
		w.announce = append(w.announce, announced{port: id, buf: buf, far: far})
	}
	w.mu.Unlock()
	if full {
		return fmt.Errorf("announce: %d frames are waiting", maxAnnounced)
	}
	w.wake()
	return nil
}

// sendAnnounced floods what Announce left.
func (w *worker) sendAnnounced() {
	w.mu.Lock()
	list := w.announce
	w.announce = nil
	w.mu.Unlock()
	for _, a := range list {
		p := w.snap.port(a.port)
		if p == nil {
			continue
		}
		w.reset()
		f := frame{buf: a.buf[tagRoom:], from: fib.PortDest(uint16(p.id)), domain: w.snap.domain(p.domain), generated: true}
		if f.domain.vid != 0 {
			f.wide, f.tci = a.buf, f.domain.vid
		}
		w.frames = append(w.frames, f)
		send := w.flood
		if a.far {
			send = w.floodFar
		}
		w.total.generated.Add(uint64(send(0)))
		w.flush()
	}
}
