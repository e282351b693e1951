package e2e

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"weft/internal/lab"
	"weft/internal/lab/probe"
	"weft/internal/offload"
)

// Addresses of the network of TestRawContainer.
var (
	gateway4 = netip.MustParseAddr("10.1.0.1")
	gateway6 = netip.MustParseAddr("fd01::1")
)

// netGatewayMAC is that of the gateway of the network with the id netID.
const netGatewayMAC = "02:57:00:00:10:92"

// station is a container with both families.
type station struct {
	*Container
	six netip.Addr
	mac string
}

// spoofed is a frame that a container must not get through, and why.
type spoofed struct {
	name   string
	frame  []byte
	reason string
	free   bool // a port that may spoof gets it through
}

// TestRawContainer gives a container what Docker gives every one, CAP_NET_RAW:
// its process may send any frame, with any virtio header. It cannot be anybody
// else, nor serve DHCP, nor route, nor have its frames multiplied. Both the
// victims, on the same host and on another, and the counters say so. That the
// same frames arrive from a port with --allow-spoof shows that the test could fail.
func TestRawContainer(t *testing.T) {
	t.Parallel()
	lab.Need(t, "iproute2", "ip")
	l := lab.ForTest(t)
	h1, h2 := newHost(t, l, "host1"), newHost(t, l, "host2")
	underlay(t, l, h1.NS, h2.NS, 1500)
	args := fmt.Sprintf(" --network net1=10.1.0.0/24,fd01::/64,id=%d,gateway=%s,gateway=%s", netID, gateway4, gateway6)
	h1.Start("--name host1 --local 192.0.2.1 --peer host2=192.0.2.2" + args)
	h2.Start("--name host2 --local 192.0.2.2 --peer host1=192.0.2.1" + args)
	add := func(h *Host, name string, n int, options string) *station {
		s := &station{Container: newContainer(t, l, name, fmt.Sprintf("10.1.0.%d", n)), six: netip.MustParseAddr(fmt.Sprintf("fd01::%d", n))}
		h.attach("net1", s.Container, s.six.String()+"/64", options)
		ifi, err := s.Interface("eth1")
		if err != nil {
			t.Fatal(err)
		}
		s.mac = ifi.HardwareAddr.String()
		return s
	}
	evil, near, far := add(h1, "evil", 11, ""), add(h1, "near", 12, ""), add(h2, "far", 13, "")
	victims := []*station{near, far}
	for _, v := range victims { // so that advertised routes would have an effect
		for key, value := range map[string]string{"accept_ra": "1", "accept_redirects": "1", "router_solicitations": "0"} {
			if err := v.SetSysctl("ipv6/conf/eth1/"+key, value); err != nil {
				t.Fatal(err)
			}
		}
	}
	before := make([]string, len(victims))
	for i, v := range victims {
		for _, to := range []netip.Addr{gateway4, gateway6, victims[1-i].Addr, victims[1-i].six} {
			if got, err := probe.Ping(t.Context(), v.NS, to, probe.Echo{Count: 3}); err != nil || got.Received == 0 {
				t.Fatalf("%s to %s: %+v, %v", v.Name(), to, got, err)
			}
		}
		before[i] = v.setUp(t)
	}

	truth := map[string]string{gateway4.String(): netGatewayMAC, gateway6.String(): netGatewayMAC}
	for _, s := range []*station{evil, near, far} {
		truth[s.Addr.String()], truth[s.six.String()], truth[autoLocal(s.mac).String()] = s.mac, s.mac, s.mac
	}
	rows := spoofedFrames(evil, near, far)
	honest := frame(far.mac, evil.mac, 0x88b5, []byte("this is me"))
	out := newRawSender(t, evil.NS, "eth1")
	heard := []*capture{newCapture(t, near.NS, "eth1"), newCapture(t, far.NS, "eth1")}
	for _, r := range rows {
		was := h1.dropsAt(evil.Name())
		if refused := out.send([10]byte{}, r.frame); refused != "" {
			t.Fatalf("%s: the container's own kernel says %s", r.name, refused)
		}
		got := h1.dropsAt(evil.Name())
		for range 100 {
			if got[r.reason] != was[r.reason] {
				break
			}
			time.Sleep(10 * time.Millisecond)
			got = h1.dropsAt(evil.Name())
		}
		was[r.reason]++
		if !equalCounts(got, was) {
			t.Errorf("%s: drops at its port are %v, want %v", r.name, got, was)
		}
	}
	out.send([10]byte{}, honest)
	amplify(t, h1, out, evil, far)
	h1.settled()
	h2.settled()
	for i, c := range heard {
		got := c.stop()
		for _, r := range rows {
			if hears(got, r.frame) {
				t.Errorf("%s: %s received it", r.name, victims[i].Name())
			}
		}
		if i == 1 && !hears(got, honest) {
			t.Error("an honest frame did not arrive")
		}
		if after := victims[i].setUp(t); after != before[i] {
			t.Errorf("%s has\n%s\nand had before\n%s", victims[i].Name(), after, before[i])
		}
		for addr, mac := range victims[i].neighbours(t) {
			if truth[addr] != mac {
				t.Errorf("%s takes %s for %s, which is %s", victims[i].Name(), mac, addr, truth[addr])
			}
		}
	}

	// The same from a port that may spoof.
	free := add(h1, "free", 14, "--allow-spoof")
	out = newRawSender(t, free.NS, "eth1")
	there := newCapture(t, far.NS, "eth1")
	for _, r := range rows {
		out.send([10]byte{}, r.frame)
	}
	h1.settled()
	h2.settled()
	got := there.stop()
	for _, r := range rows {
		if hears(got, r.frame) != r.free {
			t.Errorf("%s, from a port with --allow-spoof: arrived %v, want %v", r.name, !r.free, r.free)
		}
	}
	// A kernel keeps an entry for a second at least (locktime, arp(7)): said once may be too soon.
	eventually(t, 20*time.Second, func() string {
		got := far.neighbours(t)[near.Addr.String()]
		if got == free.mac || got == evil.mac {
			return ""
		}
		for _, r := range rows {
			out.send([10]byte{}, r.frame)
		}
		return fmt.Sprintf("the victim takes %s for its neighbour, and was to be deceived", got)
	})
}

// amplify has the container ask for segments of one byte: it gets none, and
// what leaves for the other host is not more than it sent.
func amplify(t *testing.T, h *Host, out *rawSender, from, to *station) {
	wire := newCapture(t, h.NS, "eth0")
	was := h.dropsAt(from.Name())["tap_vnet"]
	f := frame(to.mac, from.mac, 0x0800, tcpPacket(from.Addr, to.Addr, 60000, nil))
	sent := uint64(0)
	for _, size := range []uint16{1, 8, 47} {
		var virtio [10]byte
		offload.Header{
			Flags: offload.FlagNeedsCsum, GSOType: offload.GSOTCPv4, HdrLen: 54, GSOSize: size, CsumStart: 34, CsumOffset: 16,
		}.Put(virtio[:])
		if refused := out.send(virtio, f); refused != "" {
			t.Logf("segments of %d bytes: the container's own kernel says %s", size, refused)
			continue
		}
		sent++
	}
	h.settled()
	if got := h.dropsAt(from.Name())["tap_vnet"] - was; got != sent {
		t.Errorf("%d super-frames dropped as tap_vnet, want %d", got, sent)
	}
	n := 0
	for _, c := range wire.stop() {
		if c.outgoing && len(c.data) > 34 && hasInside(c.data, f) {
			n++
		}
	}
	if n > 0 {
		t.Errorf("%d datagrams left for the other host, want none", n)
	}
}

// hasInside reports whether a GRE datagram carries a TCP segment with the
// addresses and ports of a super-frame.
func hasInside(datagram, f []byte) bool {
	const at = 14 + 20 + 8
	if len(datagram) < at+38 || datagram[23] != 47 {
		return false
	}
	got := datagram[at:]
	return string(got[:14]) == string(f[:14]) && got[23] == 6 && string(got[26:38]) == string(f[26:38])
}

// hears reports whether a frame came in.
func hears(list []captured, f []byte) bool {
	return slices.ContainsFunc(list, func(c captured) bool { return !c.outgoing && string(c.data) == string(f) })
}

// dropsAt returns what was dropped at a port.
func (h *Host) dropsAt(port string) map[string]uint64 {
	h.t.Helper()
	counts := map[string]uint64{}
	for _, r := range h.drops() {
		if r.At == port {
			counts[r.Reason] = r.Count
		}
	}
	return counts
}

// equalCounts compares counts; one that is missing is 0.
func equalCounts(a, b map[string]uint64) bool {
	for _, m := range []map[string]uint64{a, b} {
		for k := range m {
			if a[k] != b[k] {
				return false
			}
		}
	}
	return true
}

// neighbours returns who a container takes for whom.
func (s *station) neighbours(t *testing.T) map[string]string {
	t.Helper()
	who := map[string]string{}
	for _, family := range []string{"-4", "-6"} {
		out, err := s.Output(t.Context(), "ip", "-j", family, "neigh", "show", "dev", "eth1")
		if err != nil {
			t.Fatal(err)
		}
		var rows []struct{ Dst, LLAddr string }
		parse(t, "ip neigh", out, &rows)
		for _, r := range rows {
			if r.LLAddr != "" {
				who[r.Dst] = r.LLAddr
			}
		}
	}
	return who
}

// setUp returns the addresses and routes of a container.
func (s *station) setUp(t *testing.T) string {
	t.Helper()
	list, err := s.addresses("eth1")
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(list)
	text := strings.Join(list, " ") + "\n"
	for _, family := range []string{"-4", "-6"} {
		out, err := s.Output(t.Context(), "ip", family, "route")
		if err != nil {
			t.Fatal(err)
		}
		text += out
	}
	return text
}

// spoofedFrames are what evil sends to harm near and far.
func spoofedFrames(evil, near, far *station) []spoofed {
	const broadcast, nobody = "ff:ff:ff:ff:ff:ff", "02:00:00:00:66:66"
	me := func(to string, etherType uint16, payload []byte) []byte {
		return frame(to, evil.mac, etherType, payload)
	}
	four := func(src netip.Addr, proto uint8, payload []byte) []byte {
		return ip4Packet(src, far.Addr, proto, payload)
	}
	six := func(src netip.Addr, payload []byte) []byte { return ip6Packet(src, far.six, 17, 64, payload) }
	datagram := func(from, to uint16) []byte {
		b := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, from), to)
		return append(b, 0, 16, 0, 0, 'n', 'o', 't', ' ', 'm', 'e', '.', '.')
	}
	udp := datagram(4000, 4001)
	arp := func(to string, op uint16, sha string, spa, tpa netip.Addr) []byte {
		b := binary.BigEndian.AppendUint16([]byte{0, 1, 8, 0, 6, 4}, op)
		b = append(append(b, macOf(sha)...), spa.AsSlice()...)
		return me(to, 0x0806, append(append(b, macOf(far.mac)...), tpa.AsSlice()...))
	}
	local := autoLocal(evil.mac)
	allNodes := netip.MustParseAddr("ff02::1")
	advert := func(target netip.Addr, mac string) []byte { // override
		m := append([]byte{136, 0, 0, 0, 0x20, 0, 0, 0}, target.AsSlice()...)
		return me("33:33:00:00:00:01", 0x86dd, icmp6Packet(evil.six, allNodes, append(append(m, 2, 1), macOf(mac)...)))
	}
	// A router, with a prefix to make addresses of.
	router := []byte{134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0, 3, 4, 64, 0xc0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0}
	router = append(router, netip.MustParseAddr("fd66::").AsSlice()...)
	redirect6 := append(append([]byte{137, 0, 0, 0, 0, 0, 0, 0}, local.AsSlice()...), netip.MustParseAddr("fd02::1").AsSlice()...)
	redirect4 := append([]byte{5, 1, 0, 0, 10, 1, 0, 11}, ip4Packet(far.Addr, netip.MustParseAddr("10.9.0.1"), 17, udp)[:28]...)
	binary.BigEndian.PutUint16(redirect4[2:], ^onesComplement(redirect4))
	hidden := func(next uint8, header []byte) []byte { // a router behind an extension header
		p := icmp6Packet(local, allNodes, router)
		p[6] = next
		binary.BigEndian.PutUint16(p[4:], binary.BigEndian.Uint16(p[4:])+uint16(len(header)))
		return me("33:33:00:00:00:01", 0x86dd, slices.Concat(p[:40], header, p[40:]))
	}
	solicit := append([]byte{135, 0, 0, 0, 0, 0, 0, 0}, far.six.AsSlice()...)
	return []spoofed{
		{"MAC of a neighbour", frame(far.mac, near.mac, 0x88b5, []byte("not me")), "l2_spoof", true},
		{"MAC that nobody has", frame(far.mac, nobody, 0x88b5, []byte("not me")), "l2_spoof", true},
		{"MAC of the gateway", frame(far.mac, netGatewayMAC, 0x88b5, []byte("not me")), "l2_spoof", false},
		{"MAC that is a group", frame(far.mac, "03:00:00:00:00:01", 0x88b5, []byte("not me")), "l2_smac", false},
		{"IPv4 of a neighbour", me(far.mac, 0x0800, four(near.Addr, 17, udp)), "l3_src", true},
		{"IPv4 that nobody has", me(far.mac, 0x0800, four(netip.MustParseAddr("10.1.0.99"), 17, udp)), "l3_src", true},
		{"IPv4 of the gateway", me(far.mac, 0x0800, four(gateway4, 17, udp)), "l3_src", false},
		{"IPv4 of a neighbour, in a VLAN", tagFrame(me(far.mac, 0x0800, four(near.Addr, 17, udp)), 5), "l3_src", true},
		{"IPv6 of a neighbour", me(far.mac, 0x86dd, six(near.six, udp)), "l3_src", true},
		{"IPv6 of the gateway", me(far.mac, 0x86dd, six(gateway6, udp)), "l3_src", false},
		{"link-local IPv6 of a neighbour", me(far.mac, 0x86dd, six(autoLocal(near.mac), udp)), "l3_src", true},
		{"ARP reply for a neighbour", arp(far.mac, 2, evil.mac, near.Addr, far.Addr), "l2_spoof", true},
		{"gratuitous ARP for a neighbour", arp(broadcast, 1, evil.mac, near.Addr, near.Addr), "l2_spoof", true},
		{"ARP reply for the gateway", arp(far.mac, 2, evil.mac, gateway4, far.Addr), "l2_spoof", false},
		{"ARP reply with the MAC of a neighbour", arp(far.mac, 2, near.mac, evil.Addr, far.Addr), "l2_spoof", true},
		{"ARP in a VLAN for a neighbour", tagFrame(arp(far.mac, 2, evil.mac, near.Addr, far.Addr), 5), "l2_spoof", true},
		{"ARP behind SNAP", me(far.mac, 36, append([]byte("\xaa\xaa\x03\x00\x00\x00\x08\x06"), arp(far.mac, 2, evil.mac, near.Addr, far.Addr)[14:]...)), "l2_spoof", true},
		{"advertisement of a neighbour", advert(near.six, evil.mac), "l2_spoof", true},
		{"advertisement of the gateway", advert(gateway6, evil.mac), "l2_spoof", false},
		{"advertisement with the MAC of a neighbour", advert(evil.six, near.mac), "l2_spoof", true},
		{"solicitation with the MAC of a neighbour", me(far.mac, 0x86dd, icmp6Packet(evil.six, far.six, append(append(solicit, 1, 1), macOf(near.mac)...))), "l2_spoof", true},
		{"DHCP offer", me(broadcast, 0x0800, ip4Packet(evil.Addr, netip.MustParseAddr("255.255.255.255"), 17, datagram(67, 68))), "l2_spoof", true},
		{"DHCPv6 advertisement", me(far.mac, 0x86dd, ip6Packet(local, autoLocal(far.mac), 17, 64, datagram(547, 546))), "l2_spoof", true},
		{"router advertisement", me("33:33:00:00:00:01", 0x86dd, icmp6Packet(local, allNodes, router)), "l2_spoof", true},
		{"router advertisement behind hop-by-hop options", hidden(0, []byte{58, 0, 1, 4, 0, 0, 0, 0}), "l2_spoof", true},
		{"router advertisement behind a fragment header", hidden(44, []byte{58, 0, 0, 0, 0, 0, 0, 1}), "l2_spoof", true},
		{"router advertisement of IPv4", me(broadcast, 0x0800, ip4Packet(evil.Addr, netip.MustParseAddr("224.0.0.1"), 1, []byte{9, 0, 0xf6, 0xff, 0, 0, 0, 0})), "l2_spoof", true},
		{"redirect", me(far.mac, 0x86dd, icmp6Packet(local, far.six, redirect6)), "l2_spoof", true},
		{"redirect of IPv4", me(far.mac, 0x0800, four(evil.Addr, 1, redirect4)), "l2_spoof", true},
		{"IPv4 of a neighbour, to be routed", me(netGatewayMAC, 0x0800, ip4Packet(near.Addr, netip.MustParseAddr("10.2.0.1"), 17, udp)), "l3_src", false},
		{"echo request from a neighbour to the gateway", me(netGatewayMAC, 0x0800, ip4Packet(near.Addr, gateway4, 1, []byte{8, 0, 0xf7, 0xff, 0, 0, 0, 0})), "l3_src", false},
	}
}

func macOf(s string) []byte {
	m, err := net.ParseMAC(s)
	if err != nil {
		panic(err)
	}
	return m
}

// autoLocal is the address that a MAC makes (RFC 4291 appendix A).
func autoLocal(mac string) netip.Addr {
	m := macOf(mac)
	return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 8: m[0] ^ 2, 9: m[1], 10: m[2], 11: 0xff, 12: 0xfe, 13: m[3], 14: m[4], 15: m[5]})
}

// tagFrame puts a VLAN tag into a frame.
func tagFrame(f []byte, vid uint16) []byte {
	return slices.Concat(f[:12], []byte{0x81, 0, byte(vid >> 8), byte(vid)}, f[12:])
}

// ip4Packet is an IPv4 packet.
func ip4Packet(src, dst netip.Addr, proto uint8, payload []byte) []byte {
	p := outer(src, dst, payload)
	p[9], p[10], p[11] = proto, 0, 0
	binary.BigEndian.PutUint16(p[10:], ^onesComplement(p[:20]))
	return p
}

// ip6Packet is an IPv6 packet; of UDP with its checksum.
func ip6Packet(src, dst netip.Addr, next, hops uint8, payload []byte) []byte {
	p := make([]byte, 40, 40+len(payload))
	p[0], p[6], p[7] = 0x60, next, hops
	binary.BigEndian.PutUint16(p[4:], uint16(len(payload)))
	copy(p[8:], src.AsSlice())
	copy(p[24:], dst.AsSlice())
	p = append(p, payload...)
	if next == 17 {
		binary.BigEndian.PutUint16(p[46:], ^onesComplement(slices.Concat(p[8:40], []byte{0, 0, 0, byte(len(payload)), 0, 0, 0, 17}, p[40:])))
	}
	return p
}

// icmp6Packet is an ICMPv6 message with hop limit 255 and its checksum.
func icmp6Packet(src, dst netip.Addr, m []byte) []byte {
	p := ip6Packet(src, dst, 58, 255, m)
	binary.BigEndian.PutUint16(p[42:], ^onesComplement(slices.Concat(p[8:40], []byte{0, 0, byte((len(p) - 40) >> 8), byte(len(p) - 40), 0, 0, 0, 58}, p[40:])))
	return p
}
