package encap_test

import (
	"bytes"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weft/encap"
	"weft/internal/drop"
	"weft/internal/offload"
)

// byPacketSocket returns a and b, where raw GRE from a to b goes by packet socket
// alone: a counts what goes through its rules for what it sends.
func byPacketSocket(t *testing.T, addrA, addrB netip.Addr, toB encap.Peer) (a, b *host) {
	t.Helper()
	a, b = twoHosts(t)
	toA := toB
	toB.ID, toB.Addr, toA.ID, toA.Addr = 1, addrB, 1, addrA
	a.shell("nft add table inet n; nft add chain inet n o '{ type filter hook output priority 0; }'; nft add counter inet n gre; nft add rule inet n o meta l4proto gre counter name gre")
	a.open(encap.Config{Accel: true}, toB)
	b.open(encap.Config{Local: []netip.Addr{addrB}}, toA)
	a.reaches("packet-socket", "")
	b.recv()
	return a, b
}

// ruled returns how many datagrams went through a's rules.
func (h *host) ruled() int {
	h.t.Helper()
	out, err := h.Output(h.t.Context(), "nft", "list", "counter", "inet", "n", "gre")
	if err != nil {
		h.t.Fatal(err)
	}
	_, after, _ := strings.Cut(out, "packets ")
	n, err := strconv.Atoi(strings.Fields(after)[0])
	if err != nil {
		h.t.Fatalf("%q: %v", out, err)
	}
	return n
}

// What a packet socket sends arrives as what a raw socket sends does, and does not go
// through the rules, but for a batch now and then.
func TestNetnsPacket(t *testing.T) { overBoth(t, testNetnsPacket) }

func testNetnsPacket(t *testing.T, addrA, addrB netip.Addr) {
	for _, tt := range []struct {
		name  string
		peer  encap.Peer
		proto uint16
		why   string // there is no egress TAP
	}{
		{"checksums", encap.Peer{Checksum: true}, encap.ProtoTEB, "csum"},
		{"sequence numbers", encap.Peer{Sequence: true}, encap.ProtoTEB, "seq"},
		{"keyless, bare IP", encap.Peer{Checksum: true, Keyless: true}, encap.ProtoIPv4, "csum"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a, b := byPacketSocket(t, addrA, addrB, tt.peer)
			a.reaches("packet-socket", tt.why)
			b.recv()
			before, batches := a.ruled(), 20
			for range batches {
				h, super, payload := tcpSuper(t, 60000, 1380)
				pkts := []encap.Packet{superPacket(h, super, tt.proto), superPacket(offload.Header{}, super[:1500-14], encap.ProtoTEB)}
				a.send(pkts...)
				if pkts[0].Reason != drop.None || pkts[1].Reason != drop.TxTooBig || pkts[1].Err != syscall.EMSGSIZE {
					t.Fatalf("sent: %v, %v", pkts[0].Reason, pkts[1].Reason)
				}
				if ds := b.recv(); !bytes.Equal(stream(t, ds, tt.proto, len(payload)), payload) || len(ds) != 44 {
					t.Fatalf("%d datagrams", len(ds))
				}
			}
			if n := a.ruled() - before; n > batches*44/2 {
				t.Errorf("%d of %d datagrams went through the rules", n, batches*44)
			}
		})
	}
}

// A batch goes through the rules every few seconds, for connection tracking.
func TestNetnsPacketDue(t *testing.T) {
	a, _ := byPacketSocket(t, addrA, addrB, encap.Peer{Checksum: true})
	for range 3 {
		before := a.ruled()
		for end := time.Now().Add(accelWait); a.ruled() == before; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("nothing goes through the rules")
			}
			a.send(teb(1, frame(100)))
		}
	}
	if name, reason := a.u.Accel(1); name != "packet-socket" {
		t.Errorf("peer is reached by %s: %s", name, reason)
	}
}

// TestNetnsPacketChecks takes away, one by one, what a packet socket needs, and gives
// it back.
func TestNetnsPacketChecks(t *testing.T) {
	for _, tt := range []struct{ name, do, undo string }{
		{"IPsec", "ip xfrm policy add dst 10.0.0.2 dir out tmpl proto esp mode transport", "ip xfrm policy flush"},
		{"route to nowhere", "ip route add blackhole 10.0.0.2", "ip route del 10.0.0.2"},
		{"next hop does not answer", "ip route add 10.0.0.2 via 10.0.0.77", "ip route del 10.0.0.2"},
		{"uplink down", "ip link set under0 down", "ip link set under0 up"},
		{"firewall", "nft add chain inet n p '{ type filter hook postrouting priority 0; policy drop; }'", "nft delete chain inet n p"},
		{"firewall of the old kind", "iptables-legacy -A OUTPUT -p gre -j DROP", "iptables-legacy -F OUTPUT"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a, b := byPacketSocket(t, addrA, addrB, encap.Peer{Checksum: true})
			a.shell(tt.do)
			a.reaches("none", "")
			a.shell(tt.undo)
			a.reaches("packet-socket", "")
			b.recv()
			a.send(teb(1, frame(100)))
			if ds := b.recv(); len(ds) != 1 || ds[0].Reason != drop.None {
				t.Errorf("%d datagrams", len(ds))
			}
		})
	}
}

// A chain of the firewall where the uplink sends has its say.
func TestNetnsPacketUplinkRules(t *testing.T) {
	a, b := byPacketSocket(t, addrA, addrB, encap.Peer{Checksum: true})
	a.shell("nft add table netdev t; nft add chain netdev t e '{ type filter hook egress device under0 priority 0; }'; nft add rule netdev t e ip protocol gre drop")
	for range 10 {
		a.send(teb(1, frame(100)))
	}
	if ready(b.receiver().FD(), unix.POLLIN, time.Second/4) {
		t.Error("something arrives")
	}
}

// The link that packets leave by has gone: nothing is lost.
func TestNetnsPacketFallsBack(t *testing.T) { overBoth(t, testNetnsPacketFallsBack) }

func testNetnsPacketFallsBack(t *testing.T, addrA, addrB netip.Addr) {
	a, b := byPacketSocket(t, addrA, addrB, encap.Peer{Checksum: true})
	for range 3 {
		a.u.LosePacketLink()
		h, super, payload := tcpSuper(t, 200*300, 300) // more than one batch
		if r := a.send(superPacket(h, super, encap.ProtoTEB)); r[0] != drop.None {
			t.Fatalf("sent: %v", r)
		}
		if ds := b.recv(); !bytes.Equal(stream(t, ds, encap.ProtoTEB, len(payload)), payload) {
			t.Fatal("the payload is another one")
		}
	}
}

func TestNetnsPacketNoAllocs(t *testing.T) {
	a, _ := byPacketSocket(t, addrA, addrB, encap.Peer{Checksum: true})
	a.noAllocs("packet-socket")
}
