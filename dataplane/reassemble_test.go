package dataplane

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/ip4defrag"
	"github.com/google/gopacket/layers"

	"weft/internal/drop"
	"weft/internal/header"
	"weft/internal/offload"
)

// pattern is n bytes that differ by place.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i) ^ byte(i>>8)
	}
	return b
}

// echo4 is an echo request to the gateway 10.1.0.1, in fragments of room bytes.
func echo4(id uint16, body []byte, room int) (list [][]byte) {
	m := make([]byte, header.ICMPLen+len(body))
	header.PutICMPv4(m, header.ICMPv4Echo, 0, 0x0007_0001, body)
	for at := 0; at < len(m); at += room {
		word := uint16(at / 8)
		if at+room < len(m) {
			word |= 0x2000
		}
		list = append(list, packet4("10.1.0.2", "10.1.0.1", 64, header.ProtoICMPv4, m[at:min(at+room, len(m))], func(p header.IPv4) {
			binary.BigEndian.PutUint16(p[4:], id)
			binary.BigEndian.PutUint16(p[6:], word)
		}))
	}
	return list
}

// fragment6 is a fragment of ICMPv6 to the gateway fd00:1::1.
func fragment6(id uint32, at int, more bool, data []byte) []byte {
	h := make([]byte, header.FragmentLen, header.FragmentLen+len(data))
	header.FragmentFields{NextHeader: header.ProtoICMPv6, Offset: at, More: more, ID: id}.Put(h)
	return packet6("fd00:1::2", "fd00:1::1", 64, header.ProtoFragment, append(h, data...))
}

// message6 is an ICMPv6 message to the gateway fd00:1::1.
func message6(typ uint8, body []byte) []byte {
	p := packet6("fd00:1::2", "fd00:1::1", 64, header.ProtoICMPv6, make([]byte, header.ICMPLen+len(body)))
	ip := header.IPv6(p[header.EthernetLen:])
	header.PutICMPv6(ip, typ, 0, 0x0007_0001, body)
	return ip[header.IPv6Len:]
}

func echo6(id uint32, body []byte, room int) (list [][]byte) {
	m := message6(header.ICMPv6Echo, body)
	for at := 0; at < len(m); at += room {
		end := min(at+room, len(m))
		list = append(list, fragment6(id, at, end < len(m), m[at:end]))
	}
	return list
}

// send sends frames from the container one after another, as fast as they are taken.
func (z *fuzzed) send(frames ...[]byte) {
	for _, f := range frames {
		z.guarded.Send(offload.Header{}, f)
		z.w.snap, z.w.now = z.snapshot.Load(), z.second.Load()
		z.w.drainPort(z.w.snap.port(z.guarded.id), false)
		z.w.balance()
	}
}

// wait lets seconds pass.
func (z *fuzzed) wait(seconds uint32) {
	z.w.snap, z.w.now = z.snapshot.Load(), z.second.Add(seconds)
	z.w.ageAssemblies()
	z.w.balance()
}

// received returns what the container got.
func (z *fuzzed) received() (list [][]byte) {
	for {
		_, got := z.guarded.Recv(0)
		if got == nil {
			return list
		}
		list = append(list, bytes.Clone(got))
	}
}

// reply4 puts an answer together with gopacket's means, which also holds its
// fragments to RFC 791, and returns the ICMP message.
func reply4(t *testing.T, frames [][]byte, mtu int) []byte {
	t.Helper()
	d := ip4defrag.NewIPv4Defragmenter()
	for i, f := range frames {
		if len(f) > header.EthernetLen+mtu {
			t.Fatalf("a fragment of %d bytes, MTU %d", len(f)-header.EthernetLen, mtu)
		}
		p, ok := header.ParseIPv4(f[header.EthernetLen:])
		if !ok || !p.ChecksumOK() {
			t.Fatalf("no IPv4 header: %x", f)
		}
		ip := gopacket.NewPacket(f, layers.LayerTypeEthernet, gopacket.Default).Layer(layers.LayerTypeIPv4).(*layers.IPv4)
		whole, err := d.DefragIPv4(ip)
		if err != nil {
			t.Fatal(err)
		}
		if whole != nil {
			if i != len(frames)-1 {
				t.Fatalf("%d frames behind the answer", len(frames)-1-i)
			}
			return whole.Payload
		}
	}
	t.Fatalf("no answer in %d frames", len(frames))
	return nil
}

// reply6 puts an answer together.
func reply6(t *testing.T, frames [][]byte, mtu int) (m []byte) {
	t.Helper()
	for i, f := range frames {
		pkt := gopacket.NewPacket(f, layers.LayerTypeEthernet, gopacket.NoCopy)
		h, ok := pkt.Layer(layers.LayerTypeIPv6Fragment).(*layers.IPv6Fragment)
		if !ok || len(f) > header.EthernetLen+mtu {
			t.Fatalf("frame %d of %d bytes: %x", i, len(f), f[:min(len(f), 62)])
		}
		if int(h.FragmentOffset)*8 != len(m) || h.MoreFragments != (i < len(frames)-1) || h.Identification != 9 {
			t.Fatalf("fragment %d at %d, want %d: %+v", i, h.FragmentOffset*8, len(m), h)
		}
		m = append(m, h.Payload...)
	}
	return m
}

// TestReassembleEcho is R28: in order, in reverse, shuffled, and each fragment
// twice. gopacket does not take the last bytes below 65,535; internal/e2e has ping
// for that.
func TestReassembleEcho(t *testing.T) {
	z := newFuzzed(t)
	orders := map[string]func([][]byte) [][]byte{
		"in order": func(l [][]byte) [][]byte { return l },
		"reverse":  func(l [][]byte) [][]byte { slices.Reverse(l); return l },
		"shuffled": func(l [][]byte) [][]byte {
			rand.New(rand.NewPCG(1, 2)).Shuffle(len(l), func(i, j int) { l[i], l[j] = l[j], l[i] })
			return l
		},
		"twice": func(l [][]byte) (out [][]byte) {
			for _, f := range l[:len(l)-1] {
				out = append(out, f, bytes.Clone(f))
			}
			return append(out, l[len(l)-1])
		},
	}
	for name, order := range orders {
		for _, size := range []int{1500, 1501, 3000, 65400} {
			t.Run(name, func(t *testing.T) {
				body := pattern(size)
				z.send(order(echo4(uint16(size), body, 1424))...)
				m := header.ICMPv4(reply4(t, z.received(), 1450))
				if m.Type() != header.ICMPv4EchoReply || m.Rest() != 0x0007_0001 || !m.ChecksumOK() || !bytes.Equal(m[header.ICMPLen:], body) {
					t.Errorf("%d bytes: answered by %d bytes, type %d", size, len(m), m.Type())
				}
				z.send(order(echo6(9, body, 1400))...)
				m6 := header.ICMPv6(reply6(t, z.received(), 1450))
				ip := packet6("fd00:1::1", "fd00:1::2", 64, header.ProtoICMPv6, m6)
				if m6.Type() != header.ICMPv6EchoReply || m6.Rest() != 0x0007_0001 || !m6.ChecksumOK(ip[header.EthernetLen:]) || !bytes.Equal(m6[header.ICMPLen:], body) {
					t.Errorf("%d bytes over IPv6: answered by %d bytes, type %d", size, len(m6), m6.Type())
				}
			})
		}
	}
	if n := z.OtherDrops()[drop.L3Fragment] + z.PortStats(z.guarded.id).Drops[drop.L3Fragment]; n != 0 {
		t.Errorf("%d fragments dropped", n)
	}
	z.check(t)
}

// TestReassembleEchoLarge is the largest message of IPv6.
func TestReassembleEchoLarge(t *testing.T) {
	z := newFuzzed(t)
	body := pattern(65527)
	z.send(echo6(9, body, 1400)...)
	m := reply6(t, z.received(), 1450)
	if !bytes.Equal(m[header.ICMPLen:], body) {
		t.Errorf("%d bytes, want %d", len(m)-header.ICMPLen, len(body))
	}
	z.check(t)
}

// TestReassembleBad sends what cannot be put together: it ends under l3_frag,
// and the same packet sent rightly is answered all the same.
func TestReassembleBad(t *testing.T) {
	good := func() [][]byte { return echo4(5, pattern(3000), 1424) }
	six := func() [][]byte { return echo6(5, pattern(3000), 1400) }
	tests := []struct {
		name        string
		frames      func() [][]byte
		port, other uint64 // drops under l3_frag
		answers     int
	}{
		{"overlap", func() [][]byte {
			l := good()
			return append(l[:1], packet4("10.1.0.2", "10.1.0.1", 64, 1, make([]byte, 800), func(p header.IPv4) {
				p[5], p[6], p[7] = 5, 0x20, 100
			}))
		}, 1, 1, 0},
		{"the same place with other bytes", func() [][]byte {
			l := good()
			other := bytes.Clone(l[0])
			other[len(other)-1]++
			return append(l[:1], other)
		}, 1, 1, 0},
		{"two ends", func() [][]byte {
			l := good()
			return append(l[2:], packet4("10.1.0.2", "10.1.0.1", 64, 1, make([]byte, 8), func(p header.IPv4) { p[5], p[7] = 5, 200 }))
		}, 1, 1, 0},
		{"behind the end", func() [][]byte {
			l := good()
			return append(l[2:], packet4("10.1.0.2", "10.1.0.1", 64, 1, make([]byte, 8), func(p header.IPv4) {
				p[5], p[6], p[7] = 5, 0x21, 200
			}))
		}, 1, 1, 0},
		{"no multiple of 8", func() [][]byte { return echo4(5, pattern(3000), 1421)[:1] }, 1, 0, 0},
		{"empty", func() [][]byte {
			return [][]byte{packet4("10.1.0.2", "10.1.0.1", 64, 1, nil, func(p header.IPv4) { p[7] = 9 })}
		}, 1, 0, 0},
		{"IPv6: overlap", func() [][]byte { return append(six()[:1], fragment6(5, 800, true, make([]byte, 800))) }, 1, 1, 0},
		{"IPv6: no multiple of 8", func() [][]byte { return [][]byte{fragment6(5, 0, true, message6(128, make([]byte, 5)))} }, 1, 0, 1},
		{"IPv6: beyond 65535", func() [][]byte { return [][]byte{fragment6(5, 65528, false, make([]byte, 8))} }, 1, 0, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			z := newFuzzed(t)
			z.send(tt.frames()...)
			if got := z.PortStats(z.guarded.id).Drops[drop.L3Fragment]; got != tt.port {
				t.Errorf("%d fragments dropped at the port, want %d", got, tt.port)
			}
			if got := z.OtherDrops()[drop.L3Fragment]; got != tt.other {
				t.Errorf("%d packets given up, want %d", got, tt.other)
			}
			if got := z.received(); len(got) != tt.answers {
				t.Errorf("answered by %d frames, want %d", len(got), tt.answers)
			}
			z.send(good()...)
			reply4(t, z.received(), 1450)
			z.check(t)
		})
	}
}

// TestReassembleOther sends fragments of what is no echo request.
func TestReassembleOther(t *testing.T) {
	z := newFuzzed(t)
	l := echo4(5, pattern(3000), 1424)
	l[0][header.EthernetLen+header.IPv4Len+8]++ // the checksum is wrong now
	z.send(l...)
	z.send(packet4("10.1.0.2", "10.1.0.1", 64, 17, pattern(800), func(p header.IPv4) { p[6] = 0x20 }))
	m := message6(header.ICMPv6EchoReply, pattern(100))
	z.send(fragment6(1, 0, true, m[:48]), fragment6(1, 48, false, m[48:]))
	drops := z.PortStats(z.guarded.id).Drops
	if drops[drop.L3Header] != 1 || drops[drop.L3Dest] != 1 {
		t.Errorf("drops %v", drops)
	}
	if got := z.received(); got != nil {
		t.Errorf("answered by %x", got)
	}
	z.check(t)
}

// TestReassembleTimeout: the sender is told, once, if it sent the beginning.
func TestReassembleTimeout(t *testing.T) {
	z := newFuzzed(t)
	first, first6 := echo4(5, pattern(3000), 1424)[0], echo6(5, pattern(3000), 1400)[0]
	z.send(first, echo4(6, pattern(3000), 1424)[1], first6)
	z.wait(assemblySeconds)
	if got := z.received(); got != nil {
		t.Fatalf("told too early: %x", got)
	}
	z.wait(1)
	got := z.received()
	if len(got) != 2 {
		t.Fatalf("%d errors, want 2", len(got))
	}
	if z.w.gathers.Load() {
		t.Error("still waits")
	}
	if header.Ethernet(got[0]).Type() == header.TypeIPv6 {
		slices.Reverse(got)
	}
	checkError(t, got[0], first, [2]uint8{11, 1})
	checkError(t, got[1], first6, [2]uint8{3, 1})
	if n := z.OtherDrops()[drop.L3Fragment]; n != 3 {
		t.Errorf("%d packets given up, want 3", n)
	}
	z.wait(1)
	if got := z.received(); got != nil {
		t.Errorf("told again: %x", got)
	}
	z.check(t)
}

// TestReassembleShare: who sends beginnings without ends loses his own oldest,
// and leaves room for others.
func TestReassembleShare(t *testing.T) {
	z := newFuzzed(t)
	for id := range uint16(1000) {
		z.send(echo4(id, pattern(3000), 1424)[0])
	}
	if n := z.OtherDrops()[drop.L3Fragment]; n != 1000-assemblyShare {
		t.Errorf("%d packets given up, want %d", n, 1000-assemblyShare)
	}
	used := 0
	for i := range z.w.assemblies {
		if z.w.assemblies[i].key != (assemblyKey{}) {
			used++
		}
	}
	if used != assemblyShare {
		t.Errorf("%d of %d places in use, want %d", used, maxAssemblies, assemblyShare)
	}
	z.send(echo4(2000, pattern(3000), 1424)...)
	reply4(t, z.received(), 1450)
	z.check(t)
}

// TestReassembleBare answers a peer that sends fragments as bare IP.
func TestReassembleBare(t *testing.T) {
	z := newFuzzed(t)
	body := pattern(3000)
	for _, f := range echo4(5, body, 1400) {
		p := header.IPv4(f[header.EthernetLen:])
		copy(p[12:], []byte{10, 3, 0, 2})
		p[10], p[11] = 0, 0
		binary.BigEndian.PutUint16(p[10:], ^header.Fold(header.Sum(p[:header.IPv4Len])))
		z.wire.Inject(outer(addr2, addr1, append([]byte("\x20\x00\x08\x00\x00\x00\x00\x63"), p...)))
		z.step(nil)
	}
	var frames [][]byte
	for _, d := range z.sent() {
		gre := gopacket.NewPacket(d, layers.LayerTypeIPv4, gopacket.Default).Layer(layers.LayerTypeGRE).(*layers.GRE)
		f := append(make([]byte, header.EthernetLen), gre.LayerPayload()...)
		header.PutEthernet(f, 1, 2, header.TypeIPv4)
		frames = append(frames, f)
	}
	if m := reply4(t, frames, 1450); !bytes.Equal(m[header.ICMPLen:], body) {
		t.Errorf("answered by %d bytes", len(m))
	}
	z.check(t)
}
