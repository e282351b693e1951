package encap_test

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"weft/encap"
	"weft/internal/drop"
	"weft/internal/offload"
)

// sink is an Underlay whose datagrams can be thrown away, or sent back to it as
// if a peer had sent them.
type sink struct {
	u          *encap.Underlay
	s          *encap.Sender
	wire, loop int
	first      [1]byte
}

func newSink(t testing.TB) *sink {
	t.Helper()
	var fds [5][2]int
	for i := range fds {
		p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		fds[i] = p
		t.Cleanup(func() { _ = unix.Close(p[1]) })
	}
	send6, err := unix.Dup(fds[2][0])
	if err != nil {
		t.Fatal(err)
	}
	u, err := encap.OpenSockets(encap.Config{Local: []netip.Addr{local, local6}},
		encap.Sockets{Peers: fds[0][0], Strangers: fds[1][0], Send: fds[2][0]},
		encap.Sockets{V6: true, Peers: fds[3][0], Strangers: fds[4][0], Send: send6})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = u.Close() })
	setPeers(t, u, append(peers[:len(peers):len(peers)], keyed6)...)
	return &sink{u: u, s: u.NewSender(), wire: fds[2][1], loop: fds[0][1]}
}

// drain throws away what was sent and returns how many datagrams it was.
func (s *sink) drain() (n int) {
	for {
		if _, err := unix.Read(s.wire, s.first[:]); err != nil { // the rest of the datagram is lost
			return n
		}
		n++
	}
}

func TestNoAllocs(t *testing.T) {
	s := newSink(t)
	h, super, _ := tcpSuper(t, 60000, 1400)
	hu, undone, _ := udpFrame(t, 1000)
	pkts := make([]encap.Packet, 6)
	send := func() {
		pkts[0] = encap.Packet{Peer: keyed.ID, Proto: encap.ProtoTEB, Key: 7, Header: h, Frame: super}
		pkts[1] = encap.Packet{Peer: everyBit.ID, Proto: encap.ProtoTEB, Key: 7, Header: h, Frame: super}
		pkts[2] = encap.Packet{Peer: keyless.ID, Proto: encap.ProtoTEB, Frame: super[:60]}
		pkts[3] = encap.Packet{Peer: keyed.ID, Proto: encap.ProtoTEB, Header: hu, Frame: undone}
		pkts[4] = encap.Packet{Peer: 99, Proto: encap.ProtoTEB, Frame: super[:60]}
		pkts[5] = encap.Packet{Peer: keyed.ID, Proto: encap.ProtoTEB, Frame: super[:60]}
		s.s.Send(pkts)
	}
	sendOther := func() {
		pkts[0] = encap.Packet{Peer: keyed6.ID, Proto: encap.ProtoTEB, Key: 7, Header: h, Frame: super}
		pkts[1] = encap.Packet{Peer: keyed.ID, Proto: encap.ProtoIPv4, Key: 7, Header: h, Frame: super}
		s.s.Send(pkts[:2])
	}
	if n := testing.AllocsPerRun(20, func() {
		send()
		if got, want := s.drain(), 2*43+3; got != want {
			t.Fatalf("sent %d datagrams, want %d", got, want)
		}
		sendOther()
		if got, want := s.drain(), 2*43; got != want {
			t.Fatalf("sent %d datagrams over IPv6 and of bare IP, want %d", got, want)
		}
	}); n != 0 {
		t.Errorf("Send: %v allocations", n)
	}

	r, strangers := s.u.Receivers()[0], s.u.Strangers()[0]
	in := [][]byte{
		outer(keyed.Addr, local, unhex(t, "2000 6558 00000007"), frame(1400)),
		outer(ordered.Addr, local, unhex(t, "3000 6558 00000007 00000001"), frame(1400)),
		outer(summed.Addr, local, withChecksum(unhex(t, "a000 6558 0000 0000 00000007"), frame(1400))),
		outer(keyed.Addr, local, unhex(t, "4000 6558")),
	}
	if n := testing.AllocsPerRun(20, func() {
		for _, d := range in {
			if _, err := unix.Write(s.loop, d); err != nil {
				t.Fatal(err)
			}
		}
		if ds, err := r.Recv(); err != nil || len(ds) != len(in) {
			t.Fatalf("Recv = %d, %v", len(ds), err)
		}
		if ds, err := r.Recv(); err != nil || len(ds) != 0 {
			t.Fatalf("Recv again = %d, %v", len(ds), err)
		}
		r.Overflow()
		strangers.Count()
	}); n != 0 {
		t.Errorf("Recv: %v allocations", n)
	}
}

func BenchmarkGREPut(b *testing.B) {
	f := encap.GREFields{Protocol: encap.ProtoTEB, HasKey: true, Key: 7}
	buf := make([]byte, encap.GREMaxLen)
	for b.Loop() {
		f.Put(buf)
	}
}

func BenchmarkParseGRE(b *testing.B) {
	buf := cat(unhex(b, "2000 6558 00000007"), frame(1400))
	for b.Loop() {
		if g, r := encap.ParseGRE(buf); r != drop.None || g.Key() != 7 || len(g.Payload()) != 1400 {
			b.Fatal(r)
		}
	}
}

func BenchmarkGREChecksum(b *testing.B) {
	head, tail := cat(unhex(b, "a000 6558 0000 0000 00000007"), frame(54)), frame(1400)
	b.SetBytes(int64(len(head) + len(tail)))
	for b.Loop() {
		encap.PutGREChecksum(head, tail)
	}
}

func BenchmarkSend(b *testing.B) {
	h, super, _ := tcpSuper(b, 64000, 1400)
	for _, bb := range []struct {
		name  string
		frame []byte
		h     offload.Header
		to    encap.Peer
	}{
		{"64KB", super, h, keyed},
		{"64KB_csum", super, h, summed},
		{"1400B", super[:1400], offload.Header{}, keyed},
		{"64B", super[:64], offload.Header{}, keyed},
		{"64KB_IPv6", super, h, keyed6},
		{"64B_IPv6", super[:64], offload.Header{}, keyed6},
	} {
		b.Run(bb.name, func(b *testing.B) {
			s := newSink(b)
			pkts := make([]encap.Packet, 1)
			b.SetBytes(int64(len(bb.frame)))
			b.ReportAllocs()
			for b.Loop() {
				pkts[0] = encap.Packet{Peer: bb.to.ID, Proto: encap.ProtoTEB, Key: 7, Header: bb.h, Frame: bb.frame}
				s.s.Send(pkts)
				if pkts[0].Reason != drop.None {
					b.Fatal(pkts[0].Reason)
				}
				s.drain()
			}
		})
	}
}

func BenchmarkRecv(b *testing.B) {
	for _, n := range []int{64, 1400, 60000} {
		b.Run(map[int]string{64: "64B", 1400: "1400B", 60000: "60KB"}[n], func(b *testing.B) {
			s := newSink(b)
			d := outer(keyed.Addr, local, unhex(b, "2000 6558 00000007"), frame(n))
			r := s.u.Receivers()[0]
			b.SetBytes(int64(n))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := unix.Write(s.loop, d); err != nil {
					b.Fatal(err)
				}
				if ds, err := r.Recv(); err != nil || len(ds) != 1 || ds[0].Reason != drop.None {
					b.Fatal(err)
				}
			}
		})
	}
}
