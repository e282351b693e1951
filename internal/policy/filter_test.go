package policy

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"weft/internal/drop"
	"weft/internal/header"
)

const (
	ownMAC   header.MAC = 0x0200_0000_0001
	otherMAC header.MAC = 0x0200_0000_0002
)

var (
	own4, other4 = netip.MustParseAddr("10.1.0.2"), netip.MustParseAddr("10.1.0.3")
	own6, other6 = netip.MustParseAddr("fd00::2"), netip.MustParseAddr("fd00::3")
	ownLL        = header.LinkLocal(ownMAC)
	zero4, zero6 = netip.IPv4Unspecified(), netip.IPv6Unspecified()
	nodes        = netip.MustParseAddr("ff02::1")
	body         = []byte("twelve bytes")
)

// frame is an Ethernet frame from the port.
func frame(typ uint16, parts ...[]byte) []byte {
	b := make([]byte, header.EthernetLen)
	header.PutEthernet(b, header.Broadcast, ownMAC, typ)
	return slices.Concat(append([][]byte{b}, parts...)...)
}

// tagged puts n VLAN tags into a frame.
func tagged(n int, f []byte) []byte {
	for range n {
		f = slices.Concat(f[:12], []byte{0x81, 0, 0, 5}, f[12:])
	}
	return f
}

func arp(op uint16, mac header.MAC, sender, target netip.Addr) []byte {
	b := make([]byte, header.ARPLen)
	header.ARPFields{Op: op, SenderMAC: mac, SenderAddr: sender, TargetMAC: otherMAC, TargetAddr: target}.Put(b)
	return frame(header.TypeARP, b)
}

// ip4 is a packet; frag is its word of flags and offset.
func ip4(src netip.Addr, proto uint8, frag uint16, payload []byte) []byte {
	b := make([]byte, header.IPv4Len)
	header.IPv4Fields{Length: len(b) + len(payload), TTL: 64, Protocol: proto, Src: src, Dst: other4}.Put(b)
	binary.BigEndian.PutUint16(b[6:], frag)
	return frame(header.TypeIPv4, b, payload)
}

func udp(src, dst uint16) []byte {
	b := make([]byte, header.UDPLen)
	binary.BigEndian.PutUint16(b, src)
	binary.BigEndian.PutUint16(b[2:], dst)
	binary.BigEndian.PutUint16(b[4:], uint16(len(b)+len(body)))
	return append(b, body...)
}

// ip6 is a packet; next is the type of its first payload header.
func ip6(src netip.Addr, next uint8, payload ...[]byte) []byte {
	all := slices.Concat(payload...)
	b := make([]byte, header.IPv6Len)
	header.IPv6Fields{PayloadLength: len(all), NextHeader: next, HopLimit: 255, Src: src, Dst: nodes}.Put(b)
	return frame(header.TypeIPv6, b, all)
}

// ext is an extension header of 8 bytes.
func ext(next uint8) []byte { return []byte{next, 0, 1, 4, 0, 0, 0, 0} }

// fragHeader is a fragment header; word is offset and the more flag.
func fragHeader(next uint8, word uint16) []byte {
	return []byte{next, 0, byte(word >> 8), byte(word), 0, 0, 0, 1}
}

// nd is a neighbour discovery message: its fixed part, with target where it has
// one, and options of a type and a MAC.
func nd(typ uint8, target netip.Addr, options ...any) []byte {
	size := map[uint8]int{133: 8, 134: 16, 135: 24, 136: 24, 137: 40}[typ]
	b := make([]byte, size)
	b[0] = typ
	if size >= 24 {
		t := target.As16()
		copy(b[8:], t[:])
	}
	for i := 0; i < len(options); i += 2 {
		o := make([]byte, 8)
		o[0], o[1] = byte(options[i].(int)), 1
		options[i+1].(header.MAC).Put(o[2:])
		b = append(b, o...)
	}
	return b
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

// cases are frames with the reason that a filter with addresses has, and the
// one without (DESIGN section 6; conformance A05 to A07, A18, F15).
var cases = []struct {
	name       string
	frame      []byte
	want, open drop.Reason
}{
	{"no IP", frame(0x88b5, body), drop.None, drop.None},
	{"empty", frame(0x88b5), drop.None, drop.None},

	{"request", arp(1, ownMAC, own4, other4), drop.None, drop.None},
	{"reply", arp(2, ownMAC, own4, other4), drop.None, drop.None},
	{"announcement", arp(1, ownMAC, own4, own4), drop.None, drop.None},
	{"probe", arp(1, ownMAC, zero4, other4), drop.None, drop.None},
	{"A07 sender MAC", arp(2, otherMAC, own4, other4), drop.L2Spoof, drop.L2Spoof},
	{"A06 sender MAC is broadcast", arp(2, header.Broadcast, own4, other4), drop.L2Spoof, drop.L2Spoof},
	{"sender address", arp(2, ownMAC, other4, own4), drop.L2Spoof, drop.None},
	{"sender address, gratuitous", arp(1, ownMAC, other4, other4), drop.L2Spoof, drop.None},
	{"sender address, two tags", tagged(2, arp(1, ownMAC, other4, other4)), drop.L2Spoof, drop.None},
	{"request, two tags", tagged(2, arp(1, ownMAC, own4, other4)), drop.None, drop.None},
	{"cut off", arp(1, ownMAC, own4, other4)[:41], drop.ARPBad, drop.ARPBad},
	{"hardware type 6", frame(header.TypeARP, []byte{0, 6}, arp(1, otherMAC, other4, own4)[16:]), drop.ARPBad, drop.ARPBad},
	{"A20 reverse ARP", frame(0x8035, body), drop.None, drop.None},

	{"three tags", tagged(3, ip4(own4, 6, 0, body)), drop.InnerVLAN, drop.InnerVLAN},
	{"tag cut off", frame(header.TypeVLAN, []byte{0, 5, 8}), drop.InnerVLAN, drop.InnerVLAN},
	{"802.2", frame(3, unhex("424203")), drop.None, drop.None},
	{"SNAP, spanning tree", frame(20, unhex("aaaa0300000c010b"), body), drop.None, drop.None},
	{"SNAP, IPv4", frame(20, unhex("aaaa030000000800"), body), drop.L2Spoof, drop.L2Spoof},
	{"SNAP, ARP", frame(20, unhex("aaaa030000000806"), body), drop.L2Spoof, drop.L2Spoof},
	{"SNAP, IPv6, wrong length", frame(1, unhex("aaaa0300000086dd"), body), drop.L2Spoof, drop.L2Spoof},
	{"SNAP, tag", tagged(1, frame(20, unhex("aaaa030000008100"), body)), drop.L2Spoof, drop.L2Spoof},

	{"TCP", ip4(own4, 6, 0, body), drop.None, drop.None},
	{"UDP", ip4(own4, 17, 0, udp(5000, 53)), drop.None, drop.None},
	{"other protocol", ip4(own4, 253, 0, nil), drop.None, drop.None},
	{"another's source", ip4(other4, 6, 0, body), drop.L3Source, drop.None},
	{"another's source, two tags", tagged(2, ip4(other4, 6, 0, body)), drop.L3Source, drop.None},
	{"broadcast source", ip4(netip.MustParseAddr("255.255.255.255"), 6, 0, body), drop.L3Source, drop.None},
	{"version 5", frame(header.TypeIPv4, []byte{0x55}, ip4(own4, 6, 0, body)[15:]), drop.L3Header, drop.L3Header},
	{"cut off", ip4(own4, 6, 0, body)[:40], drop.L3Header, drop.L3Header},
	{"DHCP client", ip4(zero4, 17, 0, udp(68, 67)), drop.None, drop.None},
	{"DHCP server", ip4(own4, 17, 0, udp(67, 68)), drop.L2Spoof, drop.L2Spoof},
	{"DHCP server from 0.0.0.0", ip4(zero4, 17, 0, udp(67, 68)), drop.L2Spoof, drop.L2Spoof},
	{"DHCP server from another port", ip4(own4, 17, 0, udp(1067, 68)), drop.L2Spoof, drop.L2Spoof},
	{"DHCP relay", ip4(own4, 17, 0, udp(67, 67)), drop.L2Spoof, drop.L2Spoof},
	{"DHCP server, tagged", tagged(1, ip4(own4, 17, 0, udp(67, 68))), drop.L2Spoof, drop.L2Spoof},
	{"DHCP server, first fragment", ip4(own4, 17, 0x2000, udp(67, 68)[:16]), drop.L2Spoof, drop.L2Spoof},
	{"later fragment", ip4(own4, 17, 0x2001, udp(67, 68)), drop.None, drop.None},
	{"first fragment without UDP header", ip4(own4, 17, 0x2000, udp(67, 68)[:7]), drop.L3Header, drop.L3Header},
	{"redirect", ip4(own4, 1, 0, []byte{5, 1, 0, 0, 0, 0, 0, 0}), drop.L2Spoof, drop.L2Spoof},
	{"router advertisement", ip4(own4, 1, 0, []byte{9, 0, 0, 0, 0, 0, 0, 0}), drop.L2Spoof, drop.L2Spoof},
	{"echo", ip4(own4, 1, 0, []byte{8, 0, 0, 0, 0, 0, 0, 0}), drop.None, drop.None},
	{"ICMP cut off", ip4(own4, 1, 0, []byte{5}), drop.L3Header, drop.L3Header},

	{"TCP", ip6(own6, 6, body), drop.None, drop.None},
	{"TCP from link-local", ip6(ownLL, 6, body), drop.None, drop.None},
	{"behind hop-by-hop", ip6(own6, 0, ext(6), body), drop.None, drop.None},
	{"another's source", ip6(other6, 6, body), drop.L3Source, drop.None},
	{"another's link-local", ip6(header.LinkLocal(otherMAC), 6, body), drop.L3Source, drop.None},
	{"another link-local", ip6(netip.MustParseAddr("fe80::1"), 6, body), drop.L3Source, drop.None},
	{"multicast source", ip6(nodes, 6, body), drop.L3Source, drop.None},
	{"version 4", frame(header.TypeIPv6, ip4(own4, 6, 0, make([]byte, 20))[14:]), drop.L3Header, drop.L3Header},
	{"cut off", ip6(own6, 6, body)[:60], drop.L3Header, drop.L3Header},
	{"DHCP client", ip6(ownLL, 17, udp(546, 547)), drop.None, drop.None},
	{"DHCP server", ip6(ownLL, 17, udp(547, 546)), drop.L2Spoof, drop.L2Spoof},
	{"DHCP server behind options", ip6(ownLL, 60, ext(60), ext(17), udp(547, 546)), drop.L2Spoof, drop.L2Spoof},
	{"UDP cut off", ip6(ownLL, 17, udp(547, 546)[:7]), drop.L3Header, drop.L3Header},
	{"A18 advertisement", ip6(ownLL, 58, nd(134, zero6)), drop.L2Spoof, drop.L2Spoof},
	{"A18 behind hop-by-hop", ip6(ownLL, 0, ext(58), nd(134, zero6)), drop.L2Spoof, drop.L2Spoof},
	{"A18 behind three headers", ip6(ownLL, 0, ext(60), ext(43), ext(58), nd(134, zero6)), drop.L2Spoof, drop.L2Spoof},
	{"A18 in an atomic fragment", ip6(ownLL, 44, fragHeader(58, 0), nd(134, zero6)), drop.L2Spoof, drop.L2Spoof},
	{"A18 in a first fragment", ip6(ownLL, 44, fragHeader(60, 1), ext(58), nd(134, zero6)), drop.L2Spoof, drop.L2Spoof},
	{"A18 in the second fragment", ip6(ownLL, 44, fragHeader(60, 1), ext(58)), drop.L3Header, drop.L3Header},
	{"A18 chain in the second fragment", ip6(ownLL, 44, fragHeader(60, 1), ext(60)), drop.L3Header, drop.L3Header},
	{"later fragment", ip6(ownLL, 44, fragHeader(60, 9), body), drop.None, drop.None},
	{"A18 tagged twice", tagged(2, ip6(ownLL, 58, nd(134, zero6))), drop.L2Spoof, drop.L2Spoof},
	{"redirect", ip6(ownLL, 58, nd(137, other6)), drop.L2Spoof, drop.L2Spoof},
	{"second hop-by-hop", ip6(ownLL, 60, ext(0), ext(58), nd(134, zero6)), drop.L3Header, drop.L3Header},
	{"nine headers", ip6(own6, 60, ext(60), ext(60), ext(60), ext(60), ext(60), ext(60), ext(60), ext(60), ext(58), nd(134, zero6)), drop.L3Header, drop.L3Header},
	{"chain cut off", ip6(own6, 60, []byte{58, 9, 0, 0, 0, 0, 0, 0}, body), drop.L3Header, drop.L3Header},
	{"ICMP cut off", ip6(ownLL, 58, []byte{134}), drop.L3Header, drop.L3Header},
	{"echo", ip6(own6, 58, []byte{128, 0, 0, 0, 0, 0, 0, 0}), drop.None, drop.None},

	{"router solicitation", ip6(ownLL, 58, nd(133, zero6, 1, ownMAC)), drop.None, drop.None},
	{"router solicitation, another's link", ip6(ownLL, 58, nd(133, zero6, 1, otherMAC)), drop.L2Spoof, drop.L2Spoof},
	{"solicitation", ip6(own6, 58, nd(135, other6, 1, ownMAC)), drop.None, drop.None},
	{"duplicate address detection", ip6(zero6, 58, nd(135, own6)), drop.None, drop.None},
	{"solicitation, another's link", ip6(own6, 58, nd(135, other6, 1, otherMAC)), drop.L2Spoof, drop.L2Spoof},
	{"solicitation, another's second link", ip6(own6, 58, nd(135, other6, 1, ownMAC, 1, otherMAC)), drop.L2Spoof, drop.L2Spoof},
	{"solicitation, another's source", ip6(other6, 58, nd(135, own6, 1, ownMAC)), drop.L3Source, drop.None},
	{"advertisement", ip6(own6, 58, nd(136, own6, 2, ownMAC)), drop.None, drop.None},
	{"advertisement of link-local", ip6(ownLL, 58, nd(136, ownLL, 2, ownMAC)), drop.None, drop.None},
	{"advertisement of another", ip6(own6, 58, nd(136, other6, 2, ownMAC)), drop.L2Spoof, drop.None},
	{"advertisement of another, no link", ip6(own6, 58, nd(136, other6)), drop.L2Spoof, drop.None},
	{"advertisement of another behind options", ip6(own6, 60, ext(58), nd(136, other6, 2, ownMAC)), drop.L2Spoof, drop.None},
	{"advertisement of another's link", ip6(own6, 58, nd(136, own6, 2, otherMAC)), drop.L2Spoof, drop.L2Spoof},
	{"advertisement in a fragment", ip6(own6, 44, fragHeader(58, 0), nd(136, own6, 2, ownMAC)), drop.NDBad, drop.NDBad},
	{"A14 option of length 0", ip6(own6, 58, nd(136, own6), make([]byte, 8)), drop.NDBad, drop.NDBad},
	{"A14 hop limit", func() []byte { f := ip6(own6, 58, nd(136, own6)); f[21] = 254; return f }(), drop.NDBad, drop.NDBad},
	{"A14 code", func() []byte { f := ip6(own6, 58, nd(136, own6)); f[55] = 1; return f }(), drop.NDBad, drop.NDBad},
}

func TestCheck(t *testing.T) {
	closed, open := New(ownMAC, []netip.Addr{own4, own6}), New(ownMAC, nil)
	if closed.Open() || !open.Open() || !New(ownMAC, []netip.Addr{zero4}).Open() {
		t.Error("a filter is open where it has no addresses, and only there")
	}
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			if got := closed.Check(tt.frame); got != tt.want {
				t.Errorf("with addresses: %v, want %v; frame %x", got, tt.want, tt.frame)
			}
			if got := open.Check(tt.frame); got != tt.open {
				t.Errorf("without: %v, want %v; frame %x", got, tt.open, tt.frame)
			}
		})
	}
}

// TestOneFamily has a port with addresses of one family: of the other it may
// use none but those that claim nothing, and its link-local one.
func TestOneFamily(t *testing.T) {
	v4, v6 := New(ownMAC, []netip.Addr{own4}), New(ownMAC, []netip.Addr{own6})
	if got := v4.Check(ip6(own6, 6, body)); got != drop.L3Source {
		t.Errorf("IPv6 from a port with IPv4: %v", got)
	}
	if got := v4.Check(ip6(ownLL, 6, body)); got != drop.None {
		t.Errorf("link-local IPv6 from a port with IPv4: %v", got)
	}
	if got := v6.Check(ip4(own4, 6, 0, body)); got != drop.L3Source {
		t.Errorf("IPv4 from a port with IPv6: %v", got)
	}
	if got := v6.Check(arp(1, ownMAC, own4, other4)); got != drop.L2Spoof {
		t.Errorf("ARP from a port with IPv6: %v", got)
	}
}

// TestCheckGopacket lets pass what gopacket writes for an honest container.
func TestCheckGopacket(t *testing.T) {
	f := New(ownMAC, []netip.Addr{own4, own6})
	eth := &layers.Ethernet{SrcMAC: ownMAC.HardwareAddr(), DstMAC: otherMAC.HardwareAddr(), EthernetType: layers.EthernetTypeIPv4}
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: own4.AsSlice(), DstIP: other4.AsSlice()}
	tcp := &layers.TCP{SrcPort: 67, DstPort: 68, SYN: true}
	eth6 := &layers.Ethernet{SrcMAC: eth.SrcMAC, DstMAC: eth.DstMAC, EthernetType: layers.EthernetTypeIPv6}
	ip6 := &layers.IPv6{Version: 6, HopLimit: 255, NextHeader: layers.IPProtocolICMPv6, SrcIP: own6.AsSlice(), DstIP: other6.AsSlice()}
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(136, 0)}
	na := &layers.ICMPv6NeighborAdvertisement{Flags: 0x60, TargetAddress: own6.AsSlice(), Options: layers.ICMPv6Options{
		{Type: layers.ICMPv6OptTargetAddress, Data: ownMAC.HardwareAddr()},
	}}
	_ = tcp.SetNetworkLayerForChecksum(ip)
	_ = icmp.SetNetworkLayerForChecksum(ip6)
	for _, all := range [][]gopacket.SerializableLayer{{eth, ip, tcp, gopacket.Payload(body)}, {eth6, ip6, icmp, na}} {
		buf := gopacket.NewSerializeBuffer()
		if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, all...); err != nil {
			t.Fatal(err)
		}
		if got := f.Check(buf.Bytes()); got != drop.None {
			t.Errorf("%v: %x", got, buf.Bytes())
		}
	}
}

func TestClaims(t *testing.T) {
	tests := []struct {
		name           string
		frame          []byte
		source, target netip.Addr
	}{
		{"no IP", frame(0x88b5, body), netip.Addr{}, netip.Addr{}},
		{"ARP", arp(2, ownMAC, other4, own4), other4, netip.Addr{}},
		{"ARP, tagged", tagged(2, arp(2, ownMAC, other4, own4)), other4, netip.Addr{}},
		{"IPv4", ip4(other4, 6, 0, body), other4, netip.Addr{}},
		{"IPv6", ip6(other6, 6, body), other6, netip.Addr{}},
		{"advertisement", ip6(own6, 58, nd(136, other6)), own6, other6},
		{"hidden advertisement", ip6(own6, 60, ext(58), nd(136, other6)), own6, other6},
		{"solicitation", ip6(own6, 58, nd(135, other6)), own6, netip.Addr{}},
		{"bad", ip6(own6, 6, body)[:50], netip.Addr{}, netip.Addr{}},
	}
	for _, tt := range tests {
		if source, target := Claims(tt.frame); source != tt.source || target != tt.target {
			t.Errorf("%s: claims %v and %v, want %v and %v", tt.name, source, target, tt.source, tt.target)
		}
	}
}

func TestNoAllocs(t *testing.T) {
	f := New(ownMAC, []netip.Addr{own4, own6})
	for _, tt := range cases {
		if n := testing.AllocsPerRun(10, func() { f.Check(tt.frame); Claims(tt.frame) }); n != 0 {
			t.Errorf("%s: %v allocations", tt.name, n)
		}
	}
}

func BenchmarkCheck(b *testing.B) {
	f := New(ownMAC, []netip.Addr{own4, own6})
	for _, bm := range []struct {
		name  string
		frame []byte
	}{
		{"TCPv4", ip4(own4, 6, 0, body)}, {"UDPv4", ip4(own4, 17, 0, udp(5000, 53))}, {"TCPv6", ip6(own6, 6, body)},
		{"UDPv6", ip6(own6, 17, udp(5000, 53))}, {"ARP", arp(1, ownMAC, own4, other4)}, {"NA", ip6(own6, 58, nd(136, own6, 2, ownMAC))},
	} {
		b.Run(bm.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				f.Check(bm.frame)
			}
		})
		b.Run(bm.name+"/claims", func(b *testing.B) {
			for b.Loop() {
				Claims(bm.frame)
			}
		})
	}
}
