package encaptest_test

import (
	"bytes"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"weft/encap"
	"weft/encap/encaptest"
	"weft/internal/drop"
)

// TestJoin sends in a triangle: every datagram reaches the one that it is for.
func TestJoin(t *testing.T) {
	addrs := []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.0.0.3")}
	var us []*encap.Underlay
	var wires []*encaptest.Wire
	for _, a := range addrs {
		u, w := encaptest.New(t, a)
		us, wires = append(us, u), append(wires, w)
	}
	encaptest.Join(t, wires...)
	for i, u := range us {
		to := addrs[(i+1)%3]
		from := addrs[(i+2)%3]
		if err := u.SetPeers([]encap.Peer{{ID: 1, Addr: to}, {ID: 2, Addr: from}, {ID: 3, Addr: netip.MustParseAddr("10.0.0.4")}}); err != nil {
			t.Fatal(err)
		}
	}
	for i, u := range us {
		frame := bytes.Repeat([]byte{byte(i)}, 100)
		pkts := []encap.Packet{
			{Peer: 3, Proto: encap.ProtoTEB, Key: 7, Frame: frame}, // lost
			{Peer: 1, Proto: encap.ProtoTEB, Key: 7, Frame: frame},
		}
		u.NewSender().Send(pkts)
		if pkts[0].Reason != drop.None || pkts[1].Reason != drop.None {
			t.Fatalf("sent %v, %v", pkts[0].Reason, pkts[1].Reason)
		}
		d := receive(t, us[(i+1)%3])
		if d.Peer != 2 || d.Key != 7 || !bytes.Equal(d.Frame, frame) {
			t.Errorf("from %d: got peer %d, key %d, frame % x", i, d.Peer, d.Key, d.Frame)
		}
	}
}

// TestPair leaves one side closed: the other one is not disturbed.
func TestPair(t *testing.T) {
	a, b := encaptest.Pair(t, netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2"))
	if err := a.SetPeers([]encap.Peer{{ID: 9, Addr: netip.MustParseAddr("10.0.0.2")}}); err != nil {
		t.Fatal(err)
	}
	if err := b.SetPeers(nil); err != nil { // from now on everybody is a stranger
		t.Fatal(err)
	}
	send := func() drop.Reason {
		pkts := []encap.Packet{{Peer: 9, Proto: encap.ProtoTEB, Key: 7, Frame: make([]byte, 60)}}
		a.NewSender().Send(pkts)
		return pkts[0].Reason
	}
	if r := send(); r != drop.None {
		t.Fatalf("sent %v", r)
	}
	wait(t, b.Strangers()[0].FD())
	if n := b.Strangers()[0].Count(); n != 1 {
		t.Errorf("counted %d strangers, want 1", n)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if r := send(); r != drop.None {
		t.Errorf("with the other side closed: sent %v", r)
	}
}

func wait(t *testing.T, fd int) {
	t.Helper()
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(p, 5000)
		if n == 1 {
			return
		}
		if err != unix.EINTR {
			t.Fatalf("nothing arrived: %v", err)
		}
	}
}

func receive(t *testing.T, u *encap.Underlay) encap.Datagram {
	t.Helper()
	wait(t, u.Receivers()[0].FD())
	ds, err := u.Receivers()[0].Recv()
	if err != nil || len(ds) != 1 {
		t.Fatalf("received %d, %v, want 1", len(ds), err)
	}
	return ds[0]
}
