package tap

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weft/internal/header"
	"weft/internal/lab"
	"weft/internal/offload"
	"weft/internal/rawdev"
)

// lan is a host and a foreign machine on one link.
type lan struct {
	host, other *lab.NS
	hostMAC     header.MAC
	otherMAC    header.MAC
	hostAddr    netip.Addr
	otherAddr   netip.Addr
}

func newLAN(t *testing.T) lan {
	t.Helper()
	l := lab.ForTest(t)
	h, err := l.Host("h")
	if err != nil {
		t.Fatal(err)
	}
	o, err := l.Host("o")
	if err != nil {
		t.Fatal(err)
	}
	n := lan{host: h, other: o, hostMAC: 0x02_aa_00_00_00_01, otherMAC: 0x02_aa_00_00_00_02,
		hostAddr: netip.MustParseAddr("192.0.2.1"), otherAddr: netip.MustParseAddr("192.0.2.2")}
	err = l.Link(
		lab.End{NS: h, Name: "eth0", Addrs: []netip.Prefix{netip.PrefixFrom(n.hostAddr, 24)}, MAC: n.hostMAC.HardwareAddr()},
		lab.End{NS: o, Name: "eth0", Addrs: []netip.Prefix{netip.PrefixFrom(n.otherAddr, 24)}, MAC: n.otherMAC.HardwareAddr()})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// uplink attaches the host's eth0 until the test ends.
func (n lan) uplink(t *testing.T, vlan int) (u *Uplink) {
	t.Helper()
	err := n.host.Do(func() error {
		s, err := LookupLink("eth0")
		if err != nil {
			return err
		}
		u, err = OpenUplink("eth0", s, vlan)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { u.Close() })
	return u
}

// receiveWhere waits for a frame for which ok is true, and passes over others.
func receiveWhere(t *testing.T, u *Uplink, ok func(h offload.Header, eth header.Ethernet, sent bool) bool) bool {
	t.Helper()
	buf := make([]byte, TagRoom+offload.HeaderLen+offload.MaxFrame)
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		b, sent, err := u.Receive(buf)
		if err == syscall.EAGAIN {
			time.Sleep(time.Millisecond)
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if ok(offload.ParseHeader(b), b[offload.HeaderLen:], sent) {
			return true
		}
	}
	return false
}

// arpRequest is a frame behind a virtio header.
func arpRequest(mac header.MAC, addr, target netip.Addr) []byte {
	b := make([]byte, offload.HeaderLen+header.EthernetLen+header.ARPLen)
	eth := b[offload.HeaderLen:]
	header.PutEthernet(eth, header.Broadcast, mac, header.TypeARP)
	header.ARPFields{Op: header.ARPRequest, SenderMAC: mac, SenderAddr: addr, TargetAddr: target}.Put(eth[header.EthernetLen:])
	return b
}

const containerMAC = header.MAC(0x02_00_00_00_00_05)

var containerAddr = netip.MustParseAddr("192.0.2.5")

// The host answers what comes by the TAP as if the link had received it, and its
// answer is seen as it leaves by the link.
func TestUplinkReachesHostNetns(t *testing.T) {
	n := newLAN(t)
	for key, value := range map[string]string{"all/rp_filter": "1", "eth0/arp_ignore": "2"} { // strict
		if err := n.host.SetSysctl("ipv4/conf/"+key, value); err != nil {
			t.Fatal(err)
		}
	}
	u := n.uplink(t, 0)
	if err := u.SetFilter([]header.MAC{containerMAC}, false); err != nil {
		t.Fatal(err)
	}
	if err := u.Host().Write(arpRequest(containerMAC, containerAddr, n.hostAddr)); err != nil {
		t.Fatal(err)
	}
	echoes := 0
	if !receiveWhere(t, u, func(_ offload.Header, eth header.Ethernet, sent bool) bool {
		if eth.Src() == containerMAC {
			echoes++
		}
		a, ok := header.ParseARP(eth[header.EthernetLen:])
		return ok && sent && eth.Src() == n.hostMAC && eth.Dst() == containerMAC && a.SenderAddr() == n.hostAddr
	}) {
		t.Error("the host did not answer")
	}
	if echoes > 0 {
		t.Errorf("%d frames of the container came back from the host's side", echoes)
	}
}

func TestUplinkReachesLANNetns(t *testing.T) {
	n := newLAN(t)
	u := n.uplink(t, 0)
	if err := u.SetFilter([]header.MAC{containerMAC}, false); err != nil {
		t.Fatal(err)
	}
	if err := u.Send(arpRequest(containerMAC, containerAddr, n.otherAddr)); err != nil {
		t.Fatal(err)
	}
	if !receiveWhere(t, u, func(_ offload.Header, eth header.Ethernet, sent bool) bool {
		if eth.Src() == containerMAC {
			t.Error("what was sent came back")
		}
		a, ok := header.ParseARP(eth[header.EthernetLen:])
		return ok && !sent && eth.Src() == n.otherMAC && eth.Dst() == containerMAC && a.SenderAddr() == n.otherAddr
	}) {
		t.Error("the machine on the LAN did not answer")
	}
}

// With a VLAN only its frames come in, without their tag, and leave with it;
// without one tags pass, those that the kernel keeps beside a frame too.
func TestUplinkVLANNetns(t *testing.T) {
	n := newLAN(t)
	whole, of7 := n.uplink(t, 0), n.uplink(t, 7)
	var other *Uplink
	if err := n.other.Do(func() error {
		s, err := LookupLink("eth0")
		if err == nil {
			other, err = OpenUplink("eth0", s, 0)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	tagged := func(vid uint16, tpid uint16) []byte {
		b := make([]byte, offload.HeaderLen+64)
		eth := b[offload.HeaderLen:]
		header.PutEthernet(eth, header.Broadcast, 0x02_00_00_00_00_77, tpid)
		binary.BigEndian.PutUint16(eth[14:], vid|3<<13)
		binary.BigEndian.PutUint16(eth[16:], 0x88b5)
		copy(eth[18:], fmt.Sprintf("vlan %d", vid))
		return b
	}
	for _, f := range [][]byte{tagged(8, header.TypeVLAN), tagged(7, header.TypeVLAN), tagged(9, header.TypeQinQ)} {
		if err := other.Send(f); err != nil {
			t.Fatal(err)
		}
		got := receiveWhere(t, whole, func(_ offload.Header, eth header.Ethernet, _ bool) bool {
			return bytes.Equal(eth, f[offload.HeaderLen:])
		})
		if !got {
			t.Errorf("frame %x did not come in as it was sent", f[offload.HeaderLen:40])
		}
	}
	if !receiveWhere(t, of7, func(_ offload.Header, eth header.Ethernet, _ bool) bool {
		if eth.Src() != 0x02_00_00_00_00_77 {
			return false
		}
		if eth.Type() != 0x88b5 || !bytes.HasPrefix(eth[header.EthernetLen:], []byte("vlan 7")) {
			t.Errorf("VLAN 7 received %x", []byte(eth))
		}
		return true
	}) {
		t.Error("VLAN 7 received nothing")
	}
	plain := make([]byte, offload.HeaderLen+60)
	header.PutEthernet(plain[offload.HeaderLen:], header.Broadcast, containerMAC, 0x88b5)
	if err := of7.Send(plain); err != nil {
		t.Fatal(err)
	}
	if !receiveWhere(t, other, func(_ offload.Header, eth header.Ethernet, _ bool) bool {
		return eth.Src() == containerMAC && eth.Type() == header.TypeVLAN && binary.BigEndian.Uint16(eth[14:]) == 7
	}) {
		t.Error("what left by VLAN 7 had no tag")
	}
}

// Nothing of an uplink stays: not the TAP, not the promiscuous mode.
func TestUplinkLeavesNothingNetns(t *testing.T) {
	n := newLAN(t)
	dump := func() string {
		t.Helper()
		var all []byte
		if err := n.host.Do(func() error {
			for _, args := range [][]string{{"ip", "-d", "address"}, {"tc", "qdisc"}, {"tc", "filter", "show", "dev", "eth0", "ingress"}} {
				out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
				if err != nil {
					return fmt.Errorf("%v: %w: %s", args, err, out)
				}
				all = append(all, out...)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return string(all)
	}
	before := dump()
	u := n.uplink(t, 0)
	if during := dump(); !bytes.Contains([]byte(during), []byte("promiscuity 1")) || !bytes.Contains([]byte(during), []byte("weftup-eth0")) {
		t.Errorf("with an uplink:\n%s", during)
	}
	if err := u.Close(); err != nil {
		t.Fatal(err)
	}
	if after := dump(); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

func TestLookupLinkNetns(t *testing.T) {
	n := newLAN(t)
	err := n.host.Do(func() error {
		s, err := LookupLink("eth0")
		if err != nil || s.MAC != n.hostMAC || s.MTU != 1500 || !s.Up || !s.Carrier {
			t.Errorf("eth0: %+v, %v", s, err)
		}
		own, err := OpenUplink("eth0", s, 0)
		if err != nil {
			return err
		}
		defer own.Close()
		here, err := OpenNamespace("/proc/thread-self/ns/net")
		if err != nil {
			return err
		}
		exposed, err := Create(here, Config{IfName: "weft-apps", MAC: containerMAC, MTU: 1500}, nil)
		if err != nil {
			return err
		}
		defer exposed.Remove()
		for _, name := range []string{"weftup-eth0", "weft-apps"} {
			if _, err := LookupLink(name); err == nil || !strings.Contains(err.Error(), "weft's own") {
				t.Errorf("%s: %v", name, err)
			}
		}
		for _, name := range []string{"lo", "nosuch"} {
			if _, err := LookupLink(name); err == nil {
				t.Errorf("%s: no error", name)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Routers are those of the link's own routes, in every table, of both families.
func TestRoutersNetns(t *testing.T) {
	n := newLAN(t)
	err := n.host.Do(func() error {
		for _, args := range []string{
			"addr add 10.77.0.2/24 dev eth0", "addr add fd77::2/64 dev eth0 nodad", "route add default via 10.77.0.1",
			"route add 10.78.0.0/16 via 10.77.0.9 table 7", "-6 route add default via fd77::1 dev eth0",
			"link add other type veth peer name far", "link set far up", "link set other up", "addr add 10.80.0.2/24 dev other",
			"route add 10.79.0.0/16 via 10.80.0.9",
		} {
			if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
				return fmt.Errorf("ip %s: %w: %s", args, err, out)
			}
		}
		list, err := Routers("eth0")
		for _, want := range []string{"10.77.0.1", "10.77.0.9", "fd77::1"} {
			if !slices.Contains(list, netip.MustParseAddr(want)) {
				t.Errorf("got %v, %v; want %s among them", list, err, want)
			}
		}
		if slices.Contains(list, netip.MustParseAddr("10.80.0.9")) {
			t.Errorf("got %v, with the router of another link", list)
		}
		if list, err := Routers("nosuch"); err != nil || len(list) > 0 {
			t.Errorf("of no link: %v, %v", list, err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestHostSideName(t *testing.T) {
	for _, tt := range []struct {
		link string
		vlan int
		want string
	}{{"eth0", 0, "weftup-eth0"}, {"eth0", 12, "weftup-eth0.12"}} {
		if got := hostSideName(tt.link, tt.vlan); got != tt.want {
			t.Errorf("%s, %d: %s, want %s", tt.link, tt.vlan, got, tt.want)
		}
	}
	if a, b := hostSideName("enp130s0f1", 0), hostSideName("enp130s0f1", 4); len(a) > maxIfName || len(b) > maxIfName || a == b {
		t.Errorf("long names: %s, %s", a, b)
	}
}

// Tags are put in and taken out together with the offsets of the virtio header.
func TestTagsInMemory(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	a, b := FromPacketSocket(fds[0], 5, nil), FromPacketSocket(fds[1], 0, nil)
	defer a.Close()
	defer b.Close()
	h := offload.Header{Flags: offload.FlagNeedsCsum, GSOType: offload.GSOTCPv4, HdrLen: 54, GSOSize: 100, CsumStart: 34, CsumOffset: 16}
	frame := make([]byte, offload.HeaderLen+500)
	h.Put(frame)
	header.PutEthernet(frame[offload.HeaderLen:], 1<<41, containerMAC, header.TypeIPv4)
	for i := offload.HeaderLen + header.EthernetLen; i < len(frame); i++ {
		frame[i] = byte(i)
	}
	buf := make([]byte, TagRoom+offload.HeaderLen+offload.MaxFrame)
	if err := a.Send(frame); err != nil {
		t.Fatal(err)
	}
	got, _, err := b.Receive(buf)
	if err != nil || len(got) != len(frame)+4 || offload.ParseHeader(got) != h.Shift(4) || header.Ethernet(got[offload.HeaderLen:]).Type() != header.TypeVLAN {
		t.Fatalf("sent with a tag: %v, %x", err, got)
	}
	if err := b.Send(got); err != nil {
		t.Fatal(err)
	}
	if got, _, err = a.Receive(buf); err != nil || !bytes.Equal(got, frame) {
		t.Errorf("came back as %v, %x", err, got)
	}
	if got = insertTag(append([]byte{0, 0, 0, 0}, frame...), header.TypeQinQ, 9); !bytes.Equal(removeTag(bytes.Clone(got)), frame) || len(got) != len(frame)+4 {
		t.Errorf("a tag put in: %x", got)
	}
	if n := testing.AllocsPerRun(10, func() {
		_ = a.Send(frame)
		_, _, _ = b.Receive(buf)
	}); n != 0 {
		t.Errorf("%v allocations to send and receive", n)
	}
	if err := a.SetFilter(make([]header.MAC, rawdev.MaxOwn+1), false); err != nil || !a.filter.Open {
		t.Errorf("a filter of too many stations: %v, open %t", err, a.filter.Open)
	}
}
