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

// To the kernel an egress TAP's super-frame is in a UDP tunnel, and that it cuts raw GRE
// all the same is nowhere promised; nor was GRE-in-UDP thought of there. So each start shows
// for both whether it does: in a namespace of its
// own, an egress TAP leads to a second TAP in the uplink's place. What arrives
// there must be what a socket would have sent, segment by segment and byte by
// byte, where that uplink takes no super-frames; and the super-frame where it does.

// selfTestWait is how long a frame may take from TAP to TAP.
const selfTestWait = time.Second

// selfTestEgress returns why egress TAPs cannot be used with this kernel, by carrier.
func selfTestEgress() [carriers]error {
	result := make(chan [carriers]error, 1)
	go func() { // ends with the test
		runtime.LockOSThread() // and never unlocked: the thread ends, and the namespace with it
		var errs [carriers]error
		if err := selfTestInNamespace(&errs); err != nil {
			for c := range errs {
				errs[c] = err
			}
		}
		result <- errs
	}()
	return <-result
}

// selfTestInNamespace writes to errs what failed by carrier, and returns what does for any.
func selfTestInNamespace(errs *[carriers]error) error {
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
			if errs[s.by] != nil {
				continue
			}
			if err := t.try(s, uncut); err != nil {
				errs[s.by] = fmt.Errorf("self-test: %s: %w", s, err)
				t.drain()
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
	by     Carrier
	to     *peer
	packet Packet
	v6     bool // inner IP
}

func (s sample) String() string {
	name := "TCP over " + map[bool]string{false: "IPv4", true: "IPv6"}[s.v6]
	if s.packet.Proto != ProtoTEB {
		name += ", bare,"
	}
	return name + " in " + map[Carrier]string{CarrierGRE: "GRE", CarrierUDP: "GRE-in-UDP"}[s.by] + " over " + map[bool]string{false: "IPv4", true: "IPv6"}[s.to.Addr.Is6()]
}

// selfTestSamples returns super-frames of every kind that an egress TAP is given.
func selfTestSamples() (all []sample) {
	ends := map[bool][2]netip.Addr{
		false: {netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")},
		true:  {netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")},
	}
	for i := range 16 {
		outer6, v6, bare, by := i&1 != 0, i&2 != 0, i&4 != 0, Carrier(i>>3)
		a := ends[outer6]
		way := &egressPath{src: a[0], mtu: defaultMTU, ethernet: [header.EthernetLen]byte{5: 2, 11: 1, 12: 0x08}}
		if outer6 {
			binary.BigEndian.PutUint16(way.ethernet[12:], header.TypeIPv6)
		}
		s := sample{by: by, v6: v6, to: &peer{
			Peer: Peer{ID: 1, Addr: a[1]}, path: path{src: a[0], mtu: defaultMTU}, outer: outerLen(a[1]),
		}}
		s.to.egress[by] = way
		s.packet = superFrame(v6, ends[v6])
		if bare {
			s.packet.Proto = header.Ethernet(s.packet.Frame).Type()
		}
		all = append(all, s)
	}
	return all
}

// superFrame makes a super-frame of five segments and a short one. Its checksum
// is the pseudo-header's, as a container's kernel leaves it.
func superFrame(v6 bool, ends [2]netip.Addr) Packet {
	const size, payload = 1000, 5*1000 + 333
	const l4, proto, checksum = 20, header.ProtoTCP, header.TCPChecksumOffset
	gso := offload.GSOTCPv4
	if v6 {
		gso = offload.GSOTCPv6
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
		header.IPv6Fields{PayloadLength: len(upper), NextHeader: proto, HopLimit: 9, Src: ends[0], Dst: ends[1]}.Put(ip)
		sum = header.IPv6(ip).PseudoSum(proto, len(upper))
	} else {
		header.PutEthernet(frame, 2, 1, header.TypeIPv4)
		header.IPv4Fields{Length: len(ip), DF: true, TTL: 9, Protocol: proto, Src: ends[0], Dst: ends[1]}.Put(ip)
		sum = header.IPv4(ip).PseudoSum(proto, len(upper))
	}
	binary.BigEndian.PutUint32(upper, 4711<<16|4712)   // ports
	binary.BigEndian.PutUint32(upper[4:], 0xffff_fc00) // the sequence number wraps
	upper[12], upper[13] = 5<<4, header.TCPPsh|header.TCPAck
	binary.BigEndian.PutUint16(upper[checksum:], header.Fold(sum))
	return Packet{Peer: 1, Proto: ProtoTEB, Key: 7, Frame: frame, Header: offload.Header{
		Flags: offload.FlagNeedsCsum, GSOType: uint8(gso), GSOSize: size,
		HdrLen: uint16(header.EthernetLen + l3 + l4), CsumStart: uint16(header.EthernetLen + l3), CsumOffset: uint16(checksum),
	}}
}

// try carries a sample, and compares what comes out at the uplink.
func (t *selfTest) try(s sample, uncut bool) error {
	path := s.to.egress[s.by]
	path.fd = t.tap.fd
	c := s.carrier()
	c.address(s.to, &s.packet)
	if !c.fits(&s.packet) {
		return errors.New("the kernel would not take it")
	}
	if !c.write(path, &s.packet) || s.packet.Reason != drop.None {
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

// carrier returns the carrier of a sample.
func (s sample) carrier() *egressCarrier {
	u := &Underlay{families: []*family{{v6: s.to.Addr.Is6(), udp: &udpSockets{}}}}
	for i := range u.families[0].udp.ports {
		u.families[0].udp.ports[i] = firstDynamicPort
	}
	return &egressCarrier{u: u, of: s.by}
}

// drain throws away what comes late of a sample that failed.
func (t *selfTest) drain() {
	for {
		if _, err := unix.Read(t.sink, t.frame); err != nil && !errors.Is(err, unix.EINTR) {
			return
		}
	}
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

// wantCut returns the frames that a socket's datagrams would be.
func wantCut(s sample) (all [][]byte) {
	var split offload.Splitter
	split.Init(s.packet.Header, s.packet.Frame)
	var headers [offload.MaxHeaders]byte
	for {
		n, payload, ok := split.Next(headers[:])
		if !ok {
			return all
		}
		b := encapsulated(s, headers[s.packet.skip():n], payload)
		if s.by == CarrierUDP {
			offload.Complete(offload.Header{
				Flags: offload.FlagNeedsCsum, CsumStart: uint16(header.EthernetLen + s.to.outer), CsumOffset: header.UDPChecksumOffset,
			}, b)
		}
		all = append(all, b)
	}
}

// encapsulated returns an inner frame, in two parts, in its envelope.
func encapsulated(s sample, headers, payload []byte) []byte {
	c := s.carrier()
	c.address(s.to, &s.packet)
	b := append([]byte(nil), s.to.egress[s.by].ethernet[:]...)
	b = append(b, make([]byte, c.env.len)...)
	b = append(append(b, headers...), payload...)
	c.env.put(b[header.EthernetLen:], nil)
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
