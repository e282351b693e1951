package offload

import (
	"encoding/binary"
	"net"
	"slices"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// spec describes a frame for build. The zero value is TCP over IPv4, empty.
type spec struct {
	v6, udp    bool
	tags       int
	ipOptions  bool // IPv4 router alert; IPv6 destination options, twice
	tcpOptions bool // timestamps
	flags      string
	payload    int
	seq        uint32
	id         uint16
	pad        int // bytes behind the packet
}

// build makes the frame with gopacket, checksums complete.
func build(t testing.TB, s spec) []byte {
	t.Helper()
	types := []layers.EthernetType{layers.EthernetTypeDot1Q, layers.EthernetTypeDot1Q}[:s.tags]
	proto := layers.IPProtocolTCP
	if s.udp {
		proto = layers.IPProtocolUDP
	}
	var ls []gopacket.SerializableLayer
	var ip interface {
		gopacket.SerializableLayer
		gopacket.NetworkLayer
	}
	if s.v6 {
		types = append(types, layers.EthernetTypeIPv6)
		v6 := &layers.IPv6{Version: 6, FlowLabel: 0x12345, HopLimit: 64, NextHeader: proto,
			SrcIP: net.ParseIP("fd00:1::a"), DstIP: net.ParseIP("fd00:1::b")}
		ip, ls = v6, []gopacket.SerializableLayer{v6}
		if s.ipOptions {
			opt := []byte{1, 4, 0, 0, 0, 0}
			v6.NextHeader = layers.IPProtocolIPv6Destination // gopacket takes a packet with hop-by-hop options for truncated
			ls = append(ls, gopacket.Payload(append([]byte{byte(layers.IPProtocolIPv6Destination), 0}, opt...)),
				gopacket.Payload(append([]byte{byte(proto), 0}, opt...)))
		}
	} else {
		types = append(types, layers.EthernetTypeIPv4)
		v4 := &layers.IPv4{Version: 4, Id: s.id, Flags: layers.IPv4DontFragment, TTL: 64, Protocol: proto,
			SrcIP: net.IPv4(10, 1, 0, 10), DstIP: net.IPv4(10, 1, 0, 11)}
		if s.ipOptions {
			v4.Options = []layers.IPv4Option{{OptionType: 148, OptionLength: 4, OptionData: []byte{0, 0}}}
		}
		ip, ls = v4, []gopacket.SerializableLayer{v4}
	}
	link := []gopacket.SerializableLayer{&layers.Ethernet{SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 10},
		DstMAC: net.HardwareAddr{2, 0, 0, 0, 0, 11}, EthernetType: types[0]}}
	for i := range s.tags {
		link = append(link, &layers.Dot1Q{VLANIdentifier: uint16(100 + i), Priority: 3, Type: types[i+1]})
	}
	ls = append(link, ls...)
	if s.udp {
		l := &layers.UDP{SrcPort: 40000, DstPort: 4000}
		_ = l.SetNetworkLayerForChecksum(ip)
		ls = append(ls, l)
	} else {
		l := &layers.TCP{SrcPort: 40000, DstPort: 80, Seq: s.seq, Ack: 7, Window: 501, ACK: true}
		for _, f := range s.flags {
			switch f {
			case 'F':
				l.FIN = true
			case 'P':
				l.PSH = true
			case 'C':
				l.CWR = true
			case 'E':
				l.ECE = true
			}
		}
		if s.tcpOptions {
			nop := layers.TCPOption{OptionType: layers.TCPOptionKindNop, OptionLength: 1}
			l.Options = []layers.TCPOption{nop, nop, {OptionType: layers.TCPOptionKindTimestamps, OptionLength: 10, OptionData: []byte("timestmp")}}
		}
		_ = l.SetNetworkLayerForChecksum(ip)
		ls = append(ls, l)
	}
	data := make([]byte, s.payload)
	for i := range data {
		data[i] = byte(i*7 + i>>8)
	}
	buf := gopacket.NewSerializeBuffer()
	opts := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := gopacket.SerializeLayers(buf, opts, append(ls, gopacket.Payload(data))...); err != nil {
		t.Fatal(err)
	}
	packet := buf.Bytes()[:s.headers()+s.payload] // gopacket pads to 60 bytes
	return append(slices.Clone(packet), make([]byte, s.pad)...)
}

// l3, l4 and headers return the offsets of build's frame.
func (s spec) l3() int { return 14 + 4*s.tags }

func (s spec) l4() int {
	n := s.l3() + 20
	if s.v6 {
		n += 20
	}
	switch {
	case s.ipOptions && s.v6:
		n += 16
	case s.ipOptions:
		n += 4
	}
	return n
}

func (s spec) headers() int {
	switch {
	case s.udp:
		return s.l4() + 8
	case s.tcpOptions:
		return s.l4() + 32
	}
	return s.l4() + 20
}

func (s spec) checksum() int {
	if s.udp {
		return 6
	}
	return 16
}

// partial is build with the checksum as a kernel leaves it, and the virtio
// header that it says so with: hdr_len as wrong as kernels have it.
func partial(t testing.TB, s spec) (Header, []byte) {
	t.Helper()
	frame := build(t, s)
	putPseudo(t, frame[:len(frame)-s.pad], s.l4()+s.checksum())
	return Header{Flags: FlagNeedsCsum, HdrLen: 1474, CsumStart: uint16(s.l4()), CsumOffset: uint16(s.checksum())}, frame
}

// super is partial for a super-frame, cut at size.
func super(t testing.TB, s spec, size int) (Header, []byte) {
	t.Helper()
	h, frame := partial(t, s)
	h.GSOSize = uint16(size)
	switch {
	case s.udp:
		h.GSOType = GSOUDPL4
	case s.v6:
		h.GSOType = GSOTCPv6
	default:
		h.GSOType = GSOTCPv4
	}
	return h, frame
}

func putPseudo(t testing.TB, frame []byte, off int) {
	t.Helper()
	pseudo, _ := l4Bytes(t, frame)
	binary.BigEndian.PutUint16(frame[off:], onesSum(pseudo))
}

// onesSum is the ones' complement sum, word by word.
func onesSum(b []byte) uint16 {
	if len(b)%2 != 0 {
		b = append(slices.Clip(b), 0)
	}
	sum := 0
	for ; len(b) > 0; b = b[2:] {
		sum += int(binary.BigEndian.Uint16(b))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}

// l4Bytes returns the pseudo-header of a TCP or UDP frame and what its checksum
// covers beside it, as gopacket sees them.
func l4Bytes(t testing.TB, frame []byte) (pseudo, l4 []byte) {
	t.Helper()
	p := parse(t, frame)
	tl := p.TransportLayer()
	if tl == nil {
		t.Fatalf("no transport layer in %s", p)
	}
	proto := byte(layers.IPProtocolTCP)
	if tl.LayerType() == layers.LayerTypeUDP {
		proto = byte(layers.IPProtocolUDP)
	}
	l4 = slices.Concat(tl.LayerContents(), tl.LayerPayload())
	switch ip := p.NetworkLayer().(type) {
	case *layers.IPv4:
		pseudo = slices.Concat(ip.SrcIP.To4(), ip.DstIP.To4())
	case *layers.IPv6:
		pseudo = slices.Concat(ip.SrcIP, ip.DstIP)
	}
	return binary.BigEndian.AppendUint32(append(pseudo, 0, proto), uint32(len(l4))), l4
}

func parse(t testing.TB, frame []byte) gopacket.Packet {
	t.Helper()
	p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.Default)
	if e := p.ErrorLayer(); e != nil {
		t.Fatalf("gopacket: %v in %x", e.Error(), frame[:min(len(frame), 100)])
	}
	if p.Metadata().Truncated {
		t.Fatalf("gopacket: frame of %d bytes is truncated", len(frame))
	}
	return p
}

// verify fails unless lengths and all checksums of a frame are right.
func verify(t testing.TB, frame []byte) gopacket.Packet {
	t.Helper()
	p := parse(t, frame)
	if ip, ok := p.NetworkLayer().(*layers.IPv4); ok {
		if got := onesSum(ip.Contents); got != 0xffff {
			t.Fatalf("IPv4 header sums to %#x", got)
		}
		if int(ip.Length) != len(ip.Contents)+len(ip.Payload) {
			t.Fatalf("total length %d, packet has %d", ip.Length, len(ip.Contents)+len(ip.Payload))
		}
	}
	pseudo, l4 := l4Bytes(t, frame)
	if udp, ok := p.TransportLayer().(*layers.UDP); ok && (udp.Checksum == 0 || int(udp.Length) != len(l4)) {
		t.Fatalf("UDP checksum %#x, length %d of %d", udp.Checksum, udp.Length, len(l4))
	}
	if got := onesSum(slices.Concat(pseudo, l4)); got != 0xffff {
		t.Fatalf("transport sums to %#x", got)
	}
	return p
}

// split returns all segments as frames.
func split(h Header, frame []byte) (segments [][]byte) {
	var s Splitter
	hdr := make([]byte, MaxHeaders)
	for s.Init(h, frame); ; {
		n, payload, ok := s.Next(hdr)
		if !ok {
			return segments
		}
		segments = append(segments, slices.Concat(hdr[:n], payload))
	}
}
