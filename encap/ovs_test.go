package encap_test

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"golang.org/x/sys/unix"

	"weft/encap"
	"weft/internal/drop"
	"weft/internal/lab"
	"weft/internal/lab/ovs"
)

// vswitch is Open vSwitch on host b, with a container c0 at 10.9.0.2 behind it.
type vswitch struct {
	*ovs.Switch
	b   *host
	dir string
}

var containerMAC = net.HardwareAddr{2, 0, 0, 0, 0, 2}

// startOVS makes a GRE port of it that leads to addrA.
func startOVS(t *testing.T, a, b *host, addrA, addrB netip.Addr, options ...string) *vswitch {
	t.Helper()
	ovs.Need(t)
	dir := t.TempDir()
	sw, err := ovs.Start(context.Background(), b.NS, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sw.Close)
	bits := 24
	if addrB.Is6() {
		bits = 64
	}
	c0 := lab.End{NS: b.NS, Name: "c0", MAC: containerMAC, Addrs: []netip.Prefix{netip.MustParsePrefix("10.9.0.2/24")}}
	c1 := lab.End{NS: b.NS, Name: "c1"}
	for _, step := range []func() error{
		func() error { return a.SetFeature("under0", lab.TxCsum, false) },
		func() error { return lab.ForTest(t).Link(c0, c1) },
		func() error { return b.SetFeature("c0", lab.TxCsum, false) },
		func() error { return sw.Underlay("under0", netip.PrefixFrom(addrB, bits)) },
		func() error { return sw.Bridge("br-int", "c1") },
		func() error { return sw.GRE("br-int", "gre0", addrA, options...) },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	return &vswitch{sw, b, dir}
}

// ask sends a packet from a until an answer comes that is one; the switch has to
// find its neighbour first.
func (sw *vswitch) ask(t *testing.T, a *host, question encap.Packet, isAnswer func(encap.Datagram) bool) {
	t.Helper()
	r := a.receiver()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
		if got := a.send(question); got[0] != drop.None {
			t.Logf("sent %v", got[0])
		}
		if !ready(r.FD(), unix.POLLIN, 300*time.Millisecond) {
			continue
		}
		ds, err := r.Recv()
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range ds {
			if d.Reason != drop.None {
				t.Errorf("got %v", d.Reason)
			} else if isAnswer(d) {
				return
			}
		}
	}
	flows, _ := sw.AppCtl("dpctl/dump-flows")
	routes, _ := sw.AppCtl("ovs/route/show")
	t.Errorf("no answer from behind Open vSwitch; its flows:\n%s\nits routes:\n%s", flows, routes)
}

// TestNetnsOpenVSwitch has Open vSwitch open what leaves here, and opens what it
// sends: over both versions of IP, with key, and checksum or sequence numbers.
// With both, version 3.1 sends wrong checksums: it puts in the number last.
func TestNetnsOpenVSwitch(t *testing.T) { overBoth(t, testNetnsOpenVSwitch) }

func testNetnsOpenVSwitch(t *testing.T, addrA, addrB netip.Addr) {
	for option, peer := range map[string]encap.Peer{"csum=true": {Checksum: true}, "seq=true": {Sequence: true}} {
		a, b := twoHosts(t)
		sw := startOVS(t, a, b, addrA, addrB, "key=7", option)
		peer.ID, peer.Addr = 1, addrB
		a.open(encap.Config{Local: []netip.Addr{addrA}}, peer)
		sw.ask(t, a, teb(1, arpRequest(t)), func(d encap.Datagram) bool {
			got, _ := gopacket.NewPacket(d.Frame, layers.LayerTypeEthernet, gopacket.Default).Layer(layers.LayerTypeARP).(*layers.ARP)
			return d.Key == 7 && got != nil && got.Operation == layers.ARPReply && bytes.Equal(got.SourceHwAddress, containerMAC)
		})
	}
}

// arpRequest asks the container for its MAC.
func arpRequest(t *testing.T) []byte {
	t.Helper()
	me := []byte{2, 0, 0, 0, 0, 9}
	eth := &layers.Ethernet{SrcMAC: me, DstMAC: []byte{255, 255, 255, 255, 255, 255}, EthernetType: layers.EthernetTypeARP}
	arp := &layers.ARP{
		AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: layers.ARPRequest,
		SourceHwAddress: me, SourceProtAddress: []byte{10, 9, 0, 1}, DstHwAddress: make([]byte, 6), DstProtAddress: []byte{10, 9, 0, 2},
	}
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{}, eth, arp); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// TestNetnsOpenVSwitchBare does the same with IP that has no Ethernet header.
func TestNetnsOpenVSwitchBare(t *testing.T) { overBoth(t, testNetnsOpenVSwitchBare) }

func testNetnsOpenVSwitchBare(t *testing.T, addrA, addrB netip.Addr) {
	for _, keyless := range []bool{false, true} {
		a, b := twoHosts(t)
		options := []string{"packet_type=legacy_l3", "csum=true"}
		if !keyless {
			options = append(options, "key=7")
		}
		sw := startOVS(t, a, b, addrA, addrB, options...)
		for _, args := range [][]string{
			{"ip", "neigh", "add", "10.9.0.1", "lladdr", "02:00:00:00:00:09", "dev", "c0"},
			{"ovs-ofctl", "add-flow", "unix:" + sw.dir + "/br-int.mgmt", "ip,in_port=gre0,actions=mod_dl_dst:" + containerMAC.String() + ",output:c1"},
			{"ovs-ofctl", "add-flow", "unix:" + sw.dir + "/br-int.mgmt", "ip,in_port=c1,actions=output:gre0"},
		} {
			if _, err := b.Output(context.Background(), args[0], args[1:]...); err != nil {
				t.Fatal(err)
			}
		}
		a.open(encap.Config{Local: []netip.Addr{addrA}}, encap.Peer{ID: 1, Addr: addrB, Keyless: keyless, Checksum: true})

		src, dst := []byte{10, 9, 0, 1}, []byte{10, 9, 0, 2}
		echo := &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(layers.ICMPv4TypeEchoRequest, 0), Id: 1, Seq: 2}
		ping := serialize(t, innerEthernet(), &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolICMPv4, SrcIP: src, DstIP: dst}, echo, make([]byte, 33))
		sw.ask(t, a, encap.Packet{Peer: 1, Proto: encap.ProtoIPv4, Key: 7, Frame: ping}, func(d encap.Datagram) bool {
			got := gopacket.NewPacket(d.Frame, layers.LayerTypeIPv4, gopacket.Default)
			reply, _ := got.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
			return d.Proto == encap.ProtoIPv4 && d.HasKey != keyless && reply != nil && reply.TypeCode.Type() == layers.ICMPv4TypeEchoReply && len(d.Frame) == len(ping)-14
		})
	}
}
