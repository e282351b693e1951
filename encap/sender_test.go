package encap_test

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"syscall"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"weft/encap"
	"weft/encap/encaptest"
	"weft/internal/drop"
	"weft/internal/header"
	"weft/internal/offload"
)

// TestSend holds the rows E01 to E03, E05 to E07, E11 and E12: exact bytes.
func TestSend(t *testing.T) {
	tagged := slices.Insert(frame(60), 12, 0x81, 0x00, 0xe0, 0x05)
	tests := []struct {
		name  string
		to    encap.Peer
		proto uint16
		key   uint32
		frame []byte
		want  []byte // GRE packet
	}{
		{"E01 keyless", keyless, encap.ProtoTEB, 7, frame(60), cat(unhex(t, "0000 6558"), frame(60))},
		{"E02 keyed", keyed, encap.ProtoTEB, 0x01020304, frame(60), cat(unhex(t, "2000 6558 01020304"), frame(60))},
		{"E02 key 0", keyed, encap.ProtoTEB, 0, frame(60), cat(unhex(t, "2000 6558 00000000"), frame(60))},
		{"E03 checksum", summed, encap.ProtoTEB, 7, frame(60), withChecksum(unhex(t, "a000 6558 0000 0000 00000007"), frame(60))},
		{"E03 checksum, odd length", summed, encap.ProtoTEB, 7, frame(61), withChecksum(unhex(t, "a000 6558 0000 0000 00000007"), frame(61))},
		{"E04 sequence", ordered, encap.ProtoTEB, 7, frame(60), cat(unhex(t, "3000 6558 00000007 00000000"), frame(60))},
		{"E03 E04 all options", everyBit, encap.ProtoTEB, 7, frame(60), withChecksum(unhex(t, "b000 6558 0000 0000 00000007 00000000"), frame(60))},
		{"E12 tagged frame", keyed, encap.ProtoTEB, 7, tagged, cat(unhex(t, "2000 6558 00000007"), tagged)},
		{"shortest frame", keyed, encap.ProtoTEB, 7, frame(14), cat(unhex(t, "2000 6558 00000007"), frame(14))},
		{"IPv4", keyed, encap.ProtoIPv4, 7, frame(42), cat(unhex(t, "2000 0800 00000007"), frame(42)[14:])},
		{"IPv6", keyed, encap.ProtoIPv6, 7, frame(62), cat(unhex(t, "2000 86dd 00000007"), frame(62)[14:])},
		{"IPv4 without key", keyless, encap.ProtoIPv4, 7, frame(42), cat(unhex(t, "0000 0800"), frame(42)[14:])},
		{"IPv4 with all options", everyBit, encap.ProtoIPv4, 8, frame(43), withChecksum(unhex(t, "b000 0800 0000 0000 00000008 00000000"), frame(43)[14:])},
	}
	bothVersions(t, func(t *testing.T, at func(netip.Addr) netip.Addr) {
		u, wire := encaptest.New(t, at(local), at(netip.MustParseAddr("10.0.0.11")))
		setPeers(t, u, peersAt(at)...)
		s := u.NewSender()
		for _, tt := range tests {
			pkts := []encap.Packet{{Peer: tt.to.ID, Proto: tt.proto, Key: tt.key, Frame: slices.Clone(tt.frame), Reason: drop.L2Limit}}
			s.Send(pkts)
			if pkts[0].Reason != drop.None || pkts[0].Err != nil {
				t.Fatalf("%s: got %v, %v", tt.name, pkts[0].Reason, pkts[0].Err)
			}
			got := wire.Read()
			wire.Idle()
			checkOuter(t, got, at(tt.to.Addr), 0)
			if gre := got[headerLen(got):]; !bytes.Equal(gre, tt.want) {
				t.Errorf("%s:\ngot  % x\nwant % x", tt.name, gre, tt.want)
			}
			if !bytes.Equal(pkts[0].Frame, tt.frame) {
				t.Errorf("%s: the frame was changed", tt.name)
			}
			if room := u.Room(tt.to.ID, tt.proto); room-len(tt.frame) != 1500-len(got) {
				t.Errorf("%s: room for %d bytes, but %d make %d", tt.name, room, len(tt.frame), len(got))
			}
		}
	})
}

// checkOuter holds E06, E07 and E11: an outer header of exactly these bytes,
// its checksum as gopacket computes it.
func checkOuter(t *testing.T, datagram []byte, to netip.Addr, tos uint8) {
	t.Helper()
	var ip gopacket.SerializableLayer = &layers.IPv4{
		Version: 4, TOS: tos, TTL: 64, Flags: layers.IPv4DontFragment, Protocol: layers.IPProtocolGRE,
		SrcIP: local.AsSlice(), DstIP: to.AsSlice(),
	}
	if to.Is6() {
		label := header.IPv6(datagram).FlowLabel()
		if label == 0 {
			t.Error("no flow label")
		}
		ip = &layers.IPv6{
			Version: 6, TrafficClass: tos, FlowLabel: label, HopLimit: 64, NextHeader: layers.IPProtocolGRE,
			SrcIP: local6.AsSlice(), DstIP: to.AsSlice(),
		}
	}
	size := headerLen(datagram)
	want := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(want, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ip, gopacket.Payload(datagram[size:]))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := datagram[:size], want.Bytes()[:size]; !bytes.Equal(got, want) {
		t.Errorf("outer header\ngot  % x\nwant % x", got, want)
	}
}

// TestSendECN: the outer ECN is the inner one, DSCP is 0 (RFC 6040 section 4.1).
func TestSendECN(t *testing.T) {
	u, wire := encaptest.New(t, local)
	setPeers(t, u, keyed)
	s := u.NewSender()
	for ecn := range uint8(4) {
		v4, v6 := []byte{0x45, 0xb8 | ecn, 0, 20}, []byte{0x6b, 0x80 | ecn<<4, 0, 0}
		tests := []struct {
			name  string
			proto uint16
			frame []byte
			want  uint8
		}{
			{"IPv4", encap.ProtoTEB, cat(frame(12), unhex(t, "0800"), v4), ecn},
			{"IPv6", encap.ProtoTEB, cat(frame(12), unhex(t, "86dd"), v6), ecn},
			{"IPv4 behind a tag", encap.ProtoTEB, cat(frame(12), unhex(t, "8100 0005 0800"), v4), ecn},
			{"IPv6 behind two tags", encap.ProtoTEB, cat(frame(12), unhex(t, "88a8 0005 8100 0006 86dd"), v6), ecn},
			{"IPv4 alone", encap.ProtoIPv4, cat(frame(12), unhex(t, "0800"), v4), ecn},
			{"IPv6 alone", encap.ProtoIPv6, cat(frame(12), unhex(t, "86dd"), v6), ecn},
			{"ARP", encap.ProtoTEB, cat(frame(12), unhex(t, "0806"), v4), 0},
			{"three tags", encap.ProtoTEB, cat(frame(12), unhex(t, "8100 0005 8100 0006 8100 0007 0800"), v4), 0},
			{"wrong version", encap.ProtoTEB, cat(frame(12), unhex(t, "0800"), v6), 0},
			{"cut short", encap.ProtoTEB, cat(frame(12), unhex(t, "0800 45")), 0},
		}
		for _, tt := range tests {
			pkts := []encap.Packet{{Peer: keyed.ID, Proto: tt.proto, Key: 7, Frame: tt.frame}}
			s.Send(pkts)
			if got := wire.Read()[1]; got != tt.want {
				t.Errorf("%s with ECN %d: got outer TOS %#x, want %#x", tt.name, ecn, got, tt.want)
			}
		}
	}
}

// TestSendSequence holds E04: numbers start at 0 and ascend per key, over all
// workers and through SetPeers.
func TestSendSequence(t *testing.T) {
	u, wire := encaptest.New(t, local)
	setPeers(t, u, ordered)
	workers := []*encap.Sender{u.NewSender(), u.NewSender()}
	next := map[uint32]uint32{}
	for i := range 600 {
		if i == 300 {
			setPeers(t, u, keyed, ordered)
			u.Refresh()
		}
		key := uint32(i % 3)
		workers[i%2].Send([]encap.Packet{{Peer: ordered.ID, Proto: encap.ProtoTEB, Key: key, Frame: frame(60)}})
		g, reason := encap.ParseGRE(wire.Read()[header.IPv4Len:])
		if reason != drop.None || g.Key() != key || g.Sequence() != next[key] {
			t.Fatalf("got key %d number %d, want key %d number %d", g.Key(), g.Sequence(), key, next[key])
		}
		next[key]++
	}
}

// TestSendChecksumLeftUndone holds E13: a checksum that the container's kernel
// left to the device is completed, once for all copies of a frame.
func TestSendChecksumLeftUndone(t *testing.T) {
	u, wire := encaptest.New(t, local)
	setPeers(t, u, peers...)
	h, f, want := udpFrame(t, 1000)
	other := cat(f)
	pkts := []encap.Packet{
		{Peer: keyed.ID, Proto: encap.ProtoTEB, Key: 7, Header: h, Frame: f},
		{Peer: keyless.ID, Proto: encap.ProtoTEB, Key: 7, Header: h, Frame: f},
		{Peer: summed.ID, Proto: encap.ProtoTEB, Key: 7, Header: h, Frame: f},
		{Peer: everyBit.ID, Proto: encap.ProtoTEB, Key: 7, Header: h, Frame: f}, // an even number: completing twice undoes it
		{Peer: keyed.ID, Proto: encap.ProtoTEB, Key: 7, Header: h, Frame: other},
	}
	u.NewSender().Send(pkts)
	for i := range pkts {
		g, reason := encap.ParseGRE(wire.Read()[header.IPv4Len:])
		if reason != drop.None {
			t.Fatalf("copy %d: %v", i, reason)
		}
		if !bytes.Equal(g.Payload(), want) {
			t.Errorf("copy %d\ngot  % x\nwant % x", i, g.Payload()[:60], want[:60])
		}
		if g.HasChecksum() && !bytes.Equal(g, withChecksum(g)) {
			t.Errorf("copy %d: wrong GRE checksum", i)
		}
		if pkts[i].Header != (offload.Header{}) {
			t.Errorf("copy %d: header is %+v still", i, pkts[i].Header)
		}
	}
}

// TestSendSuperFrame holds E14: a super-frame leaves as segments that fit.
func TestSendSuperFrame(t *testing.T) { bothVersions(t, testSendSuperFrame) }

func testSendSuperFrame(t *testing.T, at func(netip.Addr) netip.Addr) {
	const size, mss = 60000, 1400
	for _, to := range []encap.Peer{keyed, keyless, everyBit} {
		to.Addr = at(to.Addr)
		u, wire := encaptest.New(t, at(local))
		setPeers(t, u, peersAt(at)...)
		h, super, _ := tcpSuper(t, size, mss)
		before := cat(super)
		pkts := []encap.Packet{
			{Peer: to.ID, Proto: encap.ProtoTEB, Key: 7, Header: h, Frame: super},
			{Peer: to.ID, Proto: encap.ProtoTEB, Key: 7, Header: h, Frame: super}, // more than one batch of messages
			{Peer: to.ID, Proto: encap.ProtoIPv4, Key: 7, Header: h, Frame: super},
			{Peer: to.ID, Proto: encap.ProtoTEB, Key: 7, Frame: frame(60)},
		}
		u.NewSender().Send(pkts)
		for i := range pkts {
			if pkts[i].Reason != drop.None {
				t.Fatalf("packet %d: %v, %v", i, pkts[i].Reason, pkts[i].Err)
			}
		}
		if !bytes.Equal(super, before) {
			t.Error("the super-frame was changed")
		}
		for _, proto := range []uint16{encap.ProtoTEB, encap.ProtoTEB, encap.ProtoIPv4} {
			checkStream(t, wire, to, proto, super, mss)
		}
		if last := wire.Read(); !bytes.HasSuffix(last, frame(60)) {
			t.Errorf("the frame behind: got % x", last)
		}
		wire.Idle()
	}
}

// checkStream reads segments until they make up a super-frame's payload, and has gopacket verify each.
func checkStream(t *testing.T, wire *encaptest.Wire, to encap.Peer, proto uint16, super []byte, mss int) {
	t.Helper()
	payload := super[54:]
	var got []byte
	for len(got) < len(payload) {
		d := wire.Read()
		checkOuter(t, d, to.Addr, 2) // ECT(0), as the inner packet has it
		g, reason := encap.ParseGRE(d[headerLen(d):])
		if reason != drop.None || g.Protocol() != proto || g.HasChecksum() != to.Checksum || g.HasKey() == to.Keyless || g.HasSequence() != to.Sequence {
			t.Fatalf("got %v, header % x", reason, d[headerLen(d):][:16])
		}
		if g.HasChecksum() && !bytes.Equal(g, withChecksum(g)) {
			t.Fatal("wrong GRE checksum")
		}
		inner := g.Payload()
		if proto != encap.ProtoTEB {
			inner = cat(super[:header.EthernetLen], inner)
		}
		pkt := gopacket.NewPacket(inner, layers.LayerTypeEthernet, gopacket.Default)
		ip, _ := pkt.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
		tcp, _ := pkt.Layer(layers.LayerTypeTCP).(*layers.TCP)
		if ip == nil || tcp == nil {
			t.Fatalf("no TCP segment: %v", pkt)
		}
		if int(tcp.Seq) != 1000+len(got) || len(tcp.Payload) > mss {
			t.Fatalf("got sequence number %d with %d bytes, want %d with at most %d", tcp.Seq, len(tcp.Payload), 1000+len(got), mss)
		}
		got = append(got, tcp.Payload...)
		if last := len(got) == len(payload); tcp.PSH != last {
			t.Errorf("PSH is %v, last is %v", tcp.PSH, last)
		}
		if !bytes.Equal(reserialize(t, pkt), inner) {
			t.Fatal("lengths or checksums are not what gopacket computes")
		}
	}
	if !bytes.Equal(got, payload) {
		t.Error("the stream is not what was sent")
	}
}

// reserialize has gopacket compute lengths and checksums anew.
func reserialize(t *testing.T, pkt gopacket.Packet) []byte {
	t.Helper()
	eth := pkt.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
	ip := pkt.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
	tcp := pkt.Layer(layers.LayerTypeTCP).(*layers.TCP)
	return serialize(t, eth, ip, tcp, tcp.Payload)
}

func TestSendRefuses(t *testing.T) {
	u, wire := encaptest.New(t, local)
	setPeers(t, u, keyed)
	tests := []struct {
		name   string
		pkt    encap.Packet
		reason drop.Reason
		err    error
	}{
		{"no such peer", encap.Packet{Peer: keyless.ID, Frame: frame(60)}, drop.TxUnreachable, syscall.EDESTADDRREQ},
		{"peer 0", encap.Packet{Frame: frame(60)}, drop.TxUnreachable, syscall.EDESTADDRREQ},
		{"peer far out", encap.Packet{Peer: 65535, Frame: frame(60)}, drop.TxUnreachable, syscall.EDESTADDRREQ},
		{"no frame", encap.Packet{Peer: keyed.ID}, drop.TapShort, nil},
		{"no packet", encap.Packet{Peer: keyed.ID, Proto: encap.ProtoIPv4, Frame: frame(14)}, drop.TapShort, nil},
		{"too long for IPv4", encap.Packet{Peer: keyed.ID, Frame: frame(65535 - 28 + 1)}, drop.TxTooBig, syscall.EMSGSIZE},
		{"super-frame of nothing", encap.Packet{Peer: keyed.ID, Frame: frame(60), Header: offload.Header{GSOType: offload.GSOTCPv4, GSOSize: 1000, HdrLen: 54}}, drop.TapVirtio, nil},
		{"longest", encap.Packet{Peer: keyed.ID, Frame: frame(65535 - 28)}, drop.None, nil},
		{"longest packet", encap.Packet{Peer: keyed.ID, Proto: encap.ProtoIPv4, Frame: frame(65535 - 28 + 14)}, drop.None, nil},
		{"packet too long for IPv4", encap.Packet{Peer: keyed.ID, Proto: encap.ProtoIPv4, Frame: frame(65535 - 28 + 14 + 1)}, drop.TxTooBig, syscall.EMSGSIZE},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.pkt.Proto == 0 {
				tt.pkt.Proto = encap.ProtoTEB
			}
			pkts := []encap.Packet{tt.pkt, {Peer: keyed.ID, Proto: encap.ProtoTEB, Frame: frame(60)}}
			u.NewSender().Send(pkts)
			if pkts[0].Reason != tt.reason || pkts[0].Err != tt.err {
				t.Errorf("got %v, %v, want %v, %v", pkts[0].Reason, pkts[0].Err, tt.reason, tt.err)
			}
			if tt.reason == drop.None {
				wire.Read()
			}
			if pkts[1].Reason != drop.None || !bytes.HasSuffix(wire.Read(), frame(60)) {
				t.Error("the packet behind it was not sent")
			}
			wire.Idle()
		})
	}
}

// TestSendQueueFull: what the kernel has no room for is tx_nobufs, and nothing waits.
func TestSendQueueFull(t *testing.T) {
	u, _ := encaptest.New(t, local)
	setPeers(t, u, keyed)
	s := u.NewSender()
	pkts := make([]encap.Packet, 100)
	for range 1000 {
		for i := range pkts {
			pkts[i] = encap.Packet{Peer: keyed.ID, Proto: encap.ProtoTEB, Frame: frame(9000)}
		}
		s.Send(pkts)
		if p := pkts[len(pkts)-1]; p.Reason != drop.None {
			if p.Reason != drop.TxNoBufs || p.Err != syscall.EAGAIN {
				t.Errorf("got %v, %v, want %v, %v", p.Reason, p.Err, drop.TxNoBufs, syscall.EAGAIN)
			}
			return
		}
	}
	t.Error("the queue never filled")
}

// tcpSuper returns a super-frame of n payload bytes as a TAP delivers it.
func tcpSuper(t testing.TB, n, mss int) (offload.Header, []byte, []byte) {
	t.Helper()
	payload := make([]byte, n)
	for i := range payload {
		payload[i] = byte(i ^ i>>8)
	}
	f := serialize(t, innerEthernet(),
		&layers.IPv4{Version: 4, TOS: 2, TTL: 64, Id: 77, Flags: layers.IPv4DontFragment, Protocol: layers.IPProtocolTCP, SrcIP: innerSrc, DstIP: innerDst},
		&layers.TCP{SrcPort: 1234, DstPort: 80, Seq: 1000, Ack: 5, ACK: true, PSH: true, Window: 500}, payload)
	const l4 = 34
	pseudo := header.IPv4(f[14:]).PseudoSum(header.ProtoTCP, len(f)-l4)
	binary.BigEndian.PutUint16(f[l4+16:], header.Fold(pseudo))
	h := offload.Header{Flags: offload.FlagNeedsCsum, GSOType: offload.GSOTCPv4, HdrLen: l4 + 20, GSOSize: uint16(mss), CsumStart: l4, CsumOffset: 16}
	return h, f, payload
}

// udpFrame returns a frame whose checksum is left undone, and what it must become.
func udpFrame(t testing.TB, n int) (h offload.Header, undone, done []byte) {
	t.Helper()
	done = serialize(t, innerEthernet(),
		&layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: innerSrc, DstIP: innerDst},
		&layers.UDP{SrcPort: 1234, DstPort: 53}, make([]byte, n))
	undone = cat(done)
	pseudo := header.IPv4(undone[14:]).PseudoSum(header.ProtoUDP, len(undone)-34)
	binary.BigEndian.PutUint16(undone[40:], header.Fold(pseudo))
	return offload.Header{Flags: offload.FlagNeedsCsum, CsumStart: 34, CsumOffset: 6}, undone, done
}

var innerSrc, innerDst = []byte{10, 1, 0, 1}, []byte{10, 1, 0, 2}

func innerEthernet() *layers.Ethernet {
	return &layers.Ethernet{SrcMAC: []byte{2, 0, 0, 0, 0, 1}, DstMAC: []byte{2, 0, 0, 0, 0, 2}, EthernetType: layers.EthernetTypeIPv4}
}

// serialize has gopacket write a frame, lengths and checksums right.
func serialize(t testing.TB, eth *layers.Ethernet, ip *layers.IPv4, l4 gopacket.SerializableLayer, payload []byte) []byte {
	t.Helper()
	if c, ok := l4.(interface {
		SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
	}); ok {
		if err := c.SetNetworkLayerForChecksum(ip); err != nil {
			t.Fatal(err)
		}
	}
	b := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, eth, ip, l4, gopacket.Payload(payload))
	if err != nil {
		t.Fatal(err)
	}
	return cat(b.Bytes())
}
