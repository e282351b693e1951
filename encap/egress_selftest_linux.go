package encap

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"weft/internal/drop"
	"weft/internal/header"
	"weft/internal/offload"
	"weft/internal/rawdev"
)

// To the kernel an egress TAP's super-frame is in a UDP tunnel, and that it cuts GRE
// all the same is nowhere promised. So each start shows it: in a namespace of its
// own, an egress TAP leads to a second TAP in the uplink's place. What arrives
// there must be what a raw socket would have sent, segment by segment and byte by
// byte, where that uplink takes no super-frames; and the super-frame where it does.

// selfTestWait is how long a frame may take from TAP to TAP.
const selfTestWait = time.Second

// selfTestEgress returns why egress TAPs cannot be used with this kernel.
func selfTestEgress() error {
	result := make(chan error, 1)
	go func() { // ends with the test
		runtime.LockOSThread() // and never unlocked: the thread ends, and the namespace with it
		result <- selfTestInNamespace()
	}()
	return <-result
}

func selfTestInNamespace() (err error) {
	ns, err := netns.New()
	if err != nil {
		return fmt.Errorf("self-test: make network namespace: %w", err)
	}
	defer ns.Close()
	t := &selfTest{egress: &egress{}, sink: -1, frame: make([]byte, offload.TunnelHeaderLen+offload.MaxFrame)}
	if t.links, err = openLinks(); err != nil {
		return fmt.Errorf("self-test: %w", err)
	}
	defer t.links.Close()
	defer t.close()
	if err := t.open(); err != nil {
		return fmt.Errorf("self-test: %w", err)
	}
	for _, uncut := range []bool{true, false} {
		if err := rawdev.SetTunnelOffload(t.sink, uncut); err != nil {
			return fmt.Errorf("self-test: %w", err)
		}
		for _, s := range selfTestSamples() {
			if err := t.try(s, uncut); err != nil {
				return fmt.Errorf("self-test: %s: %w", s, err)
			}
		}
	}
	return nil
}

// selfTest is the two TAPs.
type selfTest struct {
	*egress
	tap   *egressTAP
	sink  int // the TAP in the uplink's place
	frame []byte
}

func (t *selfTest) open() error {
	var err error
	if t.sink, err = rawdev.OpenTUN(); err != nil {
		return err
	}
	name, err := rawdev.AttachEgress(t.sink, "uplink%d")
	if err != nil {
		return err
	}
	if err := rawdev.AcceptAll(t.sink); err != nil {
		return err
	}
	link, err := t.links.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find TAP: %w", err)
	}
	if err := t.links.LinkSetIP6AddrGenMode(link, nl6AddrGenNone); err != nil && !errors.Is(err, unix.EAFNOSUPPORT) {
		return fmt.Errorf("set up TAP: %w", err)
	}
	if err := t.links.LinkSetUp(link); err != nil {
		return fmt.Errorf("set TAP up: %w", err)
	}
	t.tap, err = t.tapTo(link.Attrs().Index)
	return err
}

func (t *selfTest) close() {
	for _, tap := range t.taps {
		_ = unix.Close(tap.fd)
	}
	if t.sink >= 0 {
		_ = unix.Close(t.sink)
	}
}

// sample is a packet to be carried, and to whom.
type sample struct {
	to     *peer
	packet Packet
	v6     bool // inner IP
	udp    bool
}

func (s sample) String() string {
	name := map[bool]string{false: "TCP", true: "UDP"}[s.udp] + " over " + map[bool]string{false: "IPv4", true: "IPv6"}[s.v6]
	if s.packet.Proto != ProtoTEB {
		name += ", bare,"
	}
	return name + " in GRE over " + map[bool]string{false: "IPv4", true: "IPv6"}[s.to.Addr.Is6()]
}

// selfTestSamples returns super-frames of every kind.
func selfTestSamples() (all []sample) {
	ends := map[bool][2]netip.Addr{
		false: {netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")},
		true:  {netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")},
	}
	for i := range 16 {
		outer6, v6, udp, bare := i&1 != 0, i&2 != 0, i&4 != 0, i&8 != 0
		a := ends[outer6]
		s := sample{v6: v6, udp: udp, to: &peer{
			Peer: Peer{ID: 1, Addr: a[1]}, path: path{src: a[0], mtu: defaultMTU}, outer: outerLen(a[1]),
			egress: &egressPath{src: a[0], mtu: defaultMTU, ethernet: [header.EthernetLen]byte{5: 2, 11: 1, 12: 0x08}},
		}}
		if outer6 {
			binary.BigEndian.PutUint16(s.to.egress.ethernet[12:], header.TypeIPv6)
		}
		s.packet = superFrame(v6, udp, ends[v6])
		if bare {
			s.packet.Proto = header.Ethernet(s.packet.Frame).Type()
		}
		all = append(all, s)
	}
	return all
}

// superFrame makes a super-frame of five segments and a short one. Its checksum
// is the pseudo-header's, as a container's kernel leaves it.
func superFrame(v6, udp bool, ends [2]netip.Addr) Packet {
	const size, payload = 1000, 5*1000 + 333
	l4, proto, checksum, gso := 20, header.ProtoTCP, header.TCPChecksumOffset, offload.GSOTCPv4
	if v6 {
		gso = offload.GSOTCPv6
	}
	if udp {
		l4, proto, checksum, gso = header.UDPLen, header.ProtoUDP, header.UDPChecksumOffset, offload.GSOUDPL4
	}
	l3 := outerLen(ends[0])
	frame := make([]byte, header.EthernetLen+l3+l4+payload)
	for i := range frame {
		frame[i] = byte(i * 7)
	}
	ip, upper := frame[header.EthernetLen:], frame[header.EthernetLen+l3:]
	clear(upper[:l4])
	var sum uint32
	if v6 {
		header.PutEthernet(frame, 2, 1, header.TypeIPv6)
		header.IPv6Fields{PayloadLength: len(upper), NextHeader: uint8(proto), HopLimit: 9, Src: ends[0], Dst: ends[1]}.Put(ip)
		sum = header.IPv6(ip).PseudoSum(uint8(proto), len(upper))
	} else {
		header.PutEthernet(frame, 2, 1, header.TypeIPv4)
		header.IPv4Fields{Length: len(ip), DF: true, TTL: 9, Protocol: uint8(proto), Src: ends[0], Dst: ends[1]}.Put(ip)
		sum = header.IPv4(ip).PseudoSum(uint8(proto), len(upper))
	}
	binary.BigEndian.PutUint32(upper, 4711<<16|4712) // ports
	if udp {
		binary.BigEndian.PutUint16(upper[4:], uint16(len(upper)))
	} else {
		binary.BigEndian.PutUint32(upper[4:], 0xffff_fc00) // the sequence number wraps
		upper[12], upper[13] = 5<<4, header.TCPPsh|header.TCPAck
	}
	binary.BigEndian.PutUint16(upper[checksum:], header.Fold(sum))
	return Packet{Peer: 1, Proto: ProtoTEB, Key: 7, Frame: frame, Header: offload.Header{
		Flags: offload.FlagNeedsCsum, GSOType: uint8(gso), GSOSize: size,
		HdrLen: uint16(header.EthernetLen + l3 + l4), CsumStart: uint16(header.EthernetLen + l3), CsumOffset: uint16(checksum),
	}}
}

// try carries a sample, and compares what comes out at the uplink.
func (t *selfTest) try(s sample, uncut bool) error {
	s.to.egress.fd = t.tap.fd
	c := &egressCarrier{u: &Underlay{}}
	c.env.address(0, s.to, &s.packet)
	if !c.fits(&s.packet) {
		return errors.New("the kernel would not take it")
	}
	if !c.write(s.to.egress, &s.packet) || s.packet.Reason != drop.None {
		return errors.New("the kernel does not take it")
	}
	if uncut {
		got, err := t.read()
		if err != nil {
			return err
		}
		if !bytes.Equal(got, wantUncut(s)) {
			return fmt.Errorf("a super-frame of %d bytes arrives changed, of %d bytes", len(s.packet.Frame), len(got))
		}
		return nil
	}
	for i, want := range wantCut(s) {
		got, err := t.read()
		if err != nil {
			return fmt.Errorf("segment %d: %w", i, err)
		}
		if err := sameDatagram(got, want); err != nil {
			return fmt.Errorf("segment %d: %w", i, err)
		}
	}
	return nil
}

// read returns the next frame that leaves by the uplink.
func (t *selfTest) read() ([]byte, error) {
	deadline := time.Now().Add(selfTestWait)
	for {
		n, err := unix.Read(t.sink, t.frame)
		switch {
		case err == nil && n >= offload.TunnelHeaderLen+header.EthernetLen:
			return t.frame[offload.TunnelHeaderLen:n], nil
		case errors.Is(err, unix.EAGAIN):
			left := time.Until(deadline)
			if left <= 0 {
				return nil, errors.New("does not arrive")
			}
			_, _ = unix.Poll([]unix.PollFd{{Fd: int32(t.sink), Events: unix.POLLIN}}, int(left.Milliseconds())+1)
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return nil, fmt.Errorf("read TAP: %w", err)
		}
	}
}

// wantUncut returns the frame that leaves by an uplink that takes super-frames.
func wantUncut(s sample) []byte {
	frame := s.packet.Frame[s.packet.skip():]
	return encapsulated(s, nil, frame)
}

// wantCut returns the frames that a raw socket's datagrams would be.
func wantCut(s sample) (all [][]byte) {
	var split offload.Splitter
	split.Init(s.packet.Header, s.packet.Frame)
	var headers [offload.MaxHeaders]byte
	for {
		n, payload, ok := split.Next(headers[:])
		if !ok {
			return all
		}
		all = append(all, encapsulated(s, headers[s.packet.skip():n], payload))
	}
}

// encapsulated returns an inner frame, in two parts, in its envelope.
func encapsulated(s sample, headers, payload []byte) []byte {
	var env envelope
	env.address(0, s.to, &s.packet)
	b := append([]byte(nil), s.to.egress.ethernet[:]...)
	b = append(b, make([]byte, env.len)...)
	b = append(append(b, headers...), payload...)
	env.put(b[header.EthernetLen:], nil)
	return b
}

// sameDatagram compares a frame with the one that is wanted. The kernel numbers the
// outer IPv4 headers, which have DF set, so that nobody minds.
func sameDatagram(got, want []byte) error {
	if len(got) != len(want) {
		return fmt.Errorf("has %d bytes, want %d", len(got), len(want))
	}
	if ip, ok := header.ParseIPv4(got[header.EthernetLen:]); ok && header.Ethernet(got).Type() == header.TypeIPv4 {
		if !ip.ChecksumOK() {
			return errors.New("has a wrong checksum in its outer header")
		}
		clear(ip[4:6])
		clear(ip[10:12])
		clear(want[header.EthernetLen+4 : header.EthernetLen+6])
		clear(want[header.EthernetLen+10 : header.EthernetLen+12])
	}
	for i := range got {
		if got[i] != want[i] {
			return fmt.Errorf("differs from byte %d on", i)
		}
	}
	return nil
}
