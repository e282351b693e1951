package header

import (
	"testing"

	"github.com/google/gopacket/layers"
)

// touch calls every accessor of every view that b parses as, as a frame and as
// what is inside, and checks what the parsers promise.
func touch(t *testing.T, b []byte) {
	e, ok := ParseEthernet(b)
	if !ok {
		return
	}
	e.Dst()
	e.Src()
	_, off := e.L3()
	if off < EthernetLen || off > EthernetLen+2*VLANLen || off > len(b) {
		t.Fatalf("L3 offset %d in %d bytes", off, len(b))
	}
	l3 := b[off:]
	if a, ok := ParseARP(l3); ok {
		a.SenderMAC()
		a.SenderAddr()
		a.TargetMAC()
		a.TargetAddr()
	}
	if p, ok := ParseIPv4(l3); ok {
		p.ChecksumOK()
		u := p.Upper()
		checkUpper(t, u, p)
		touchL4(t, p[u.Off:])
	}
	if p, ok := ParseIPv6(l3); ok {
		p.SrcAddr()
		p.DstAddr()
		if u, ok := p.Upper(); ok {
			checkUpper(t, u, p)
			touchL4(t, p[u.Off:])
			if m, ok := ParseICMPv6(p[u.Off:]); ok {
				m.ChecksumOK(p)
			}
		}
	}
}

func checkUpper(t *testing.T, u Upper, p []byte) {
	if u.Off < IPv4Len || u.Off > len(p) {
		t.Fatalf("upper layer at %d in %d bytes", u.Off, len(p))
	}
	if !u.First && !u.Fragment {
		t.Fatalf("%+v: not first and no fragment", u)
	}
}

func touchL4(t *testing.T, b []byte) {
	if s, ok := ParseTCP(b); ok {
		if n := s.HeaderLen() + len(s.Payload()); n != len(b) {
			t.Fatalf("TCP header and payload are %d bytes of %d", n, len(b))
		}
	}
	if d, ok := ParseUDP(b); ok && len(d.Payload()) > len(b) {
		t.Fatal("UDP payload is longer than the packet")
	}
	if m, ok := ParseICMPv4(b); ok {
		m.ChecksumOK()
		m.IsError()
		m.Rest()
	}
	if m, ok := ParseICMPv6(b); ok {
		m.IsError()
		m.Rest()
		if n, ok := ParseNDP(m); ok {
			n.Target()
			n.Flags()
			n.LinkAddr()
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(GratuitousARP(macA, addrA))
	f.Add(UnsolicitedNA(macA, addrA6))
	ip := ip4(layers.IPProtocolTCP)
	tcp := &layers.TCP{}
	_ = tcp.SetNetworkLayerForChecksum(ip)
	f.Add(serialize(f, ethernet(layers.EthernetTypeIPv4), ip, tcp))
	f.Add(serialize(f, ethernet(layers.EthernetTypeDot1Q), &layers.Dot1Q{VLANIdentifier: 5, Type: layers.EthernetTypeIPv4},
		ip4(layers.IPProtocolICMPv4), &layers.ICMPv4{}))
	f.Fuzz(func(t *testing.T, b []byte) { touch(t, b) })
}
