package header

import (
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

func TestTCP(t *testing.T) {
	l := &layers.TCP{SrcPort: 40000, DstPort: 80, Seq: 0xfffffff0, Ack: 0x12345678, ACK: true, PSH: true, CWR: true, Window: 501,
		Options: []layers.TCPOption{{OptionType: layers.TCPOptionKindTimestamps, OptionLength: 10, OptionData: make([]byte, 8)}}}
	ip := ip4(layers.IPProtocolTCP)
	if err := l.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	p, _ := ParseIPv4(serialize(t, ip, l, gopacket.Payload("hello")))
	seg, ok := ParseTCP(p.Payload())
	equal(t, "ok", ok, true)
	equal(t, "SrcPort", seg.SrcPort(), 40000)
	equal(t, "DstPort", seg.DstPort(), 80)
	equal(t, "Seq", seg.Seq(), l.Seq)
	equal(t, "Ack", seg.Ack(), l.Ack)
	equal(t, "HeaderLen", seg.HeaderLen(), 32)
	equal(t, "Flags", seg.Flags(), uint8(TCPAck|TCPPsh|TCPCwr))
	equal(t, "Payload", string(seg.Payload()), "hello")
	equal(t, "checksum as gopacket computed it", Fold(p.PseudoSum(ProtoTCP, len(seg))+Sum(seg)), 0xffff)

	for _, b := range [][]byte{nil, seg[:19], seg[:31], append(append([]byte{}, seg[:12]...), 0x40, 0, 0, 0, 0, 0, 0, 0)} {
		if _, ok := ParseTCP(b); ok {
			t.Errorf("parsed %x, want refused", b)
		}
	}
}
