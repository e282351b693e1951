package e2e

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"

	"weft/internal/offload"
)

// A container's kernel passes on what an AF_PACKET socket says of a frame
// (packet(7), PACKET_VNET_HDR). Lies end in tap_vnet; what is delivered is sound.
func TestLyingVirtioHeader(t *testing.T) {
	p := newPair(t, 1500)
	near := newContainer(t, p.l, "c3", "10.1.0.13")
	p.h1.attach("net1", near)
	for _, to := range []*Container{near, p.c2} {
		t.Run(to.Addr.String(), func(t *testing.T) {
			p.h1.t, p.h2.t = t, t
			defer func() { p.h1.t, p.h2.t = p.c1.t, p.c2.t }()
			for _, lie := range lies() {
				t.Run(strings.ReplaceAll(lie.name, " ", "_"), func(t *testing.T) { tellLie(t, p, to, lie) })
			}
		})
	}
}

type lie struct {
	name    string
	header  offload.Header
	payload int
	packet  func(ip []byte) // changes the packet; nil: does not
	dropped bool            // must end as tap_vnet; else it must be delivered whole or dropped
}

// lies describe a TCP segment with IPv4 at 14 and TCP at 34.
func lies() []lie {
	sound := offload.Header{Flags: offload.FlagNeedsCsum, GSOType: offload.GSOTCPv4, HdrLen: 54, GSOSize: 1000, CsumStart: 34, CsumOffset: 16}
	vary := func(change func(*offload.Header)) offload.Header {
		h := sound
		change(&h)
		return h
	}
	return []lie{
		{"the truth", sound, 5000, nil, false},
		{"segments of 1 byte", vary(func(h *offload.Header) { h.GSOSize = 1 }), 5000, nil, true},
		{"segments of 8 bytes", vary(func(h *offload.Header) { h.GSOSize = 8 }), 5000, nil, true},
		{"segments of 65535 bytes", vary(func(h *offload.Header) { h.GSOSize = 65535 }), 5000, nil, false},
		{"headers of 1 byte", vary(func(h *offload.Header) { h.HdrLen = 1 }), 5000, nil, false},
		{"headers of 1474 bytes", vary(func(h *offload.Header) { h.HdrLen = 1474 }), 5000, nil, false},
		{"headers as long as the frame", vary(func(h *offload.Header) { h.HdrLen = 5054 }), 5000, nil, false},
		{"UDP segmentation of TCP", vary(func(h *offload.Header) { h.GSOType = offload.GSOUDPL4 }), 5000, nil, true},
		{"IPv6 segmentation of IPv4", vary(func(h *offload.Header) { h.GSOType = offload.GSOTCPv6 }), 5000, nil, true},
		{"TCP segmentation of UDP", sound, 5000, asUDP, true},
		{"IPv4 length of 0", sound, 5000, withLength(0), true},
		{"IPv4 length of one segment", sound, 5000, withLength(1040), true},
		{"IPv4 length beyond the frame", sound, 5000, withLength(60000), true},
		{"IPv4 header beyond the frame", vary(func(h *offload.Header) { h.GSOType, h.GSOSize = 0, 0 }), 0, func(ip []byte) { ip[0] = 0x4f }, true},
		{"TCP header beyond the frame", sound, 300, func(ip []byte) { ip[32] = 0xf0 }, false},
		{"checksum over the addresses", vary(func(h *offload.Header) { h.GSOType, h.GSOSize, h.CsumStart, h.CsumOffset = 0, 0, 0, 6 }), 100, nil, true},
		{"checksum over the source address", vary(func(h *offload.Header) { h.GSOType, h.GSOSize, h.CsumStart, h.CsumOffset = 0, 0, 14, 12 }), 100, nil, true},
		{"checksum at the end", vary(func(h *offload.Header) { h.GSOType, h.GSOSize, h.CsumStart, h.CsumOffset = 0, 0, 150, 2 }), 100, nil, true},
		{"segmentation without checksum", vary(func(h *offload.Header) { h.Flags = 0 }), 5000, nil, false}, // the container's kernel segments itself
	}
}

// tellLie sends one frame with a lying header and looks at what became of it.
func tellLie(t *testing.T, p *pair, to *Container, l lie) {
	src, err := p.c1.Interface("eth1")
	if err != nil {
		t.Fatal(err)
	}
	dst, err := to.Interface("eth1")
	if err != nil {
		t.Fatal(err)
	}
	f := frame(dst.HardwareAddr.String(), src.HardwareAddr.String(), 0x0800, tcpPacket(p.c1.Addr, to.Addr, l.payload, l.packet))
	heard := newCapture(t, to.NS, "eth1")
	before := p.h1.status()
	if err := newSender(t, p.c1.NS, "eth1").sendVirtio(l.header, f); err != nil {
		t.Logf("the container's own kernel refuses it: %v", err)
		return
	}
	after := p.h1.settled()
	p.h2.settled()
	if after.port(t, p.c1.Name()).RxFrames == before.port(t, p.c1.Name()).RxFrames {
		t.Log("the container's own kernel dropped it")
		return
	}
	payload := 0
	for _, b := range withoutAnnouncements(heard.stop()) {
		if string(b[6:12]) == string(f[6:12]) && b[12] == 8 && b[13] == 0 {
			payload += soundPayload(t, b)
		}
	}
	drops := after.Drops["tap_vnet"] - before.Drops["tap_vnet"]
	t.Logf("%d bytes delivered, drops %v before, %v after", payload, nonZero(before.Drops), nonZero(after.Drops))
	switch {
	case l.dropped && (drops != 1 || payload != 0):
		t.Errorf("%d dropped as tap_vnet and %d bytes delivered, want 1 and 0; drops %v", drops, payload, nonZero(after.Drops))
	case !l.dropped && drops == 0 && payload != l.payload:
		t.Errorf("%d bytes delivered, want %d; drops %v", payload, l.payload, nonZero(after.Drops))
	}
	p.h1.alive()
}

// tcpPacket is an IPv4 packet with a TCP header whose checksum is that of the
// pseudo-header.
func tcpPacket(src, dst netip.Addr, payload int, change func(ip []byte)) []byte {
	p := outer(src, dst, make([]byte, 20+payload))
	p[9] = 6
	tcp := p[20:]
	copy(tcp, []byte{0x1f, 0x90, 0x1f, 0x91})
	tcp[12], tcp[13] = 0x50, 0x10 // header of 20 bytes, ACK
	if change != nil {
		change(p)
	}
	binary.BigEndian.PutUint16(p[10:], ^onesComplement(p[:20]))
	pseudo := append(append([]byte(nil), p[12:20]...), 0, p[9], byte((20+payload)>>8), byte(20+payload))
	binary.BigEndian.PutUint16(tcp[16:], onesComplement(pseudo))
	return p
}

func withLength(n uint16) func([]byte) {
	return func(ip []byte) { binary.BigEndian.PutUint16(ip[2:], n) }
}

func asUDP(ip []byte) {
	ip[9] = 17
	binary.BigEndian.PutUint16(ip[24:], uint16(len(ip)-20))
}

// soundPayload checks that a delivered IPv4 packet is as long as it says and
// no longer than a super-frame can be, and returns the length of its TCP payload.
func soundPayload(t *testing.T, f []byte) int {
	t.Helper()
	total := int(binary.BigEndian.Uint16(f[16:]))
	if total > len(f)-14 || onesComplement(f[14:34]) != 0xffff {
		t.Errorf("delivered a frame of %d bytes that says %d, or with a wrong IPv4 checksum", len(f), total)
	}
	return total - 40
}
