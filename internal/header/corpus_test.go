package header

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
)

// corpusFrames calls f with every Ethernet frame of the shared captures.
func corpusFrames(t *testing.T, f func(file string, frame []byte)) {
	dir := os.Getenv("WEFT_CORPUS")
	if dir == "" {
		dir = "../../../shared/data/pcaps"
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*", "*.*cap"))
	if len(files) == 0 {
		t.Skipf("no captures under %s: set WEFT_CORPUS to the folder that holds them", dir)
	}
	for _, file := range files {
		r, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		capture, err := pcapgo.NewReader(r)
		if err != nil || capture.LinkType() != layers.LinkTypeEthernet {
			r.Close()
			continue // pcapng, or no Ethernet
		}
		for {
			frame, _, err := capture.ReadPacketData()
			if err != nil {
				break
			}
			f(filepath.Base(file), frame)
		}
		r.Close()
	}
}

// What gopacket decodes without complaint from the captures, malformed ones
// included, must read the same here; the rest must not panic.
func TestCorpus(t *testing.T) {
	frames, agreed := 0, 0
	corpusFrames(t, func(file string, frame []byte) {
		frames++
		touch(t, frame)
		if len(frame) < EthernetLen {
			return
		}
		p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.Default)
		if p.ErrorLayer() != nil || p.Metadata().Truncated {
			return
		}
		typ, off := Ethernet(frame).L3()
		ls := p.Layers()
		tags := 0
		for ls = ls[1:]; len(ls) > 0 && ls[0].LayerType() == layers.LayerTypeDot1Q; ls = ls[1:] {
			tags++
		}
		if len(ls) == 0 || tags > 2 {
			return
		}
		switch want := ls[0].(type) {
		case *layers.IPv4:
			got, ok := ParseIPv4(frame[off:])
			if frame[off+2]|frame[off+3] == 0 || want.Version != 4 {
				return // gopacket forgives a total length of 0, and any version
			}
			if typ != TypeIPv4 || !ok || int(want.Length) != len(got) {
				t.Errorf("%s frame %d: type %#x, ok %v, %d bytes, want IPv4 of %d", file, frames, typ, ok, len(got), want.Length)
				return
			}
			src, _ := netip.AddrFromSlice(want.SrcIP)
			equal(t, file+" source", got.SrcAddr(), src)
			equal(t, file+" protocol", got.Protocol(), uint8(want.Protocol))
			equal(t, file+" offset", got.FragmentOffset(), int(want.FragOffset)*8)
			equal(t, file+" payload", string(got.Payload()), string(want.Payload))
			agreed++
		case *layers.IPv6:
			got, ok := ParseIPv6(frame[off:])
			if typ != TypeIPv6 || !ok {
				t.Errorf("%s frame %d: type %#x, ok %v, want IPv6", file, frames, typ, ok)
				return
			}
			src, _ := netip.AddrFromSlice(want.SrcIP)
			equal(t, file+" source", got.SrcAddr(), src)
			upper, ok := got.Upper()
			if udp := p.Layer(layers.LayerTypeUDP); udp != nil && ok && upper.Proto == ProtoUDP {
				d, _ := ParseUDP(got[upper.Off:])
				equal(t, file+" port", d.DstPort(), uint16(udp.(*layers.UDP).DstPort))
			}
			agreed++
		case *layers.ARP:
			if got, ok := ParseARP(frame[off:]); ok {
				equal(t, file+" sender", string(got.SenderMAC().HardwareAddr()), string(want.SourceHwAddress))
				agreed++
			}
		}
	})
	t.Logf("%d frames, %d compared", frames, agreed)
	if agreed == 0 {
		t.Error("nothing compared")
	}
}
