package encap

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"weft/internal/drop"
)

// corpus returns the folder of third-party captures, which the repository does
// not hold.
func corpus(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("WEFT_CORPUS")
	if dir == "" {
		dir = filepath.Join("..", "..", "shared", "data", "pcaps")
	}
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("captures are missing: set WEFT_CORPUS to their folder: %v", err)
	}
	return dir
}

// captureVerdicts is what must become of the GRE packets in each capture once
// their outer source is a peer, keyless where they have no key. Captures without
// GRE over IPv4 are not listed. L3 packets pass here: the dataplane drops them.
var captureVerdicts = map[string]string{
	"PcapPlusPlus/GrePackets.cap":                        "gre_version 17",
	"ovs/ovs-tunnel-push-pop.pcap":                       "0800 7, 6558 1, gre_proto 3",
	"packetnet/gre_all_options.pcap":                     "0800 10",
	"suricata-verify/bug-2576-02_temp1.pcap":             "6558 17",
	"suricata-verify/bug-5437-02_input.pcap":             "gre_proto 60",
	"suricata-verify/decode-arp-3_arp-encap.pcap":        "gre_proto 1",
	"suricata-verify/decode-erspan-typeII-01_input.pcap": "gre_proto 6",
	"suricata-verify/gre-udp.pcap":                       "0800 3",
	"suricata-verify/security-8550_input.pcap":           "gre_frag 2",
	"tcpdump/NHRP-responder-address.pcap":                "gre_proto 2",
	"tcpdump/erspan-type-i-1.pcap":                       "gre_proto 2",
	"tcpdump/erspan-type-i-2.pcap":                       "gre_proto 2",
	"tcpdump/erspan-type-i-4.pcap":                       "0800 8, gre_proto 88",
	"tcpdump/erspan-type-ii-2.pcap":                      "gre_proto 16",
	"tcpdump/erspan-type-iii-ft-0.pcap":                  "gre_proto 9",
	"tcpdump/gre-heapoverflow-1.pcap":                    "l3_hdr 1",
	"tcpdump/ios_nhrp.pcap":                              "gre_proto 1",
	"tcpdump/nhrp-trace.pcap":                            "gre_proto 4",
	"tcpdump/pptp.pcap":                                  "gre_version 1",
	"tcpdump/various_gre-1.pcap":                         "gre_keepalive 4, gre_proto 15",
	"tcpdump/wccp_redirect_gre.pcap":                     "gre_proto 1",
	"zeek/erspanI.pcap":                                  "gre_proto 10",
	"zeek/erspanII.pcap":                                 "gre_proto 4",
	"zeek/erspanIII.pcap":                                "gre_proto 2",
	"zeek/gre-aruba-amsdu.pcap":                          "gre_proto 1",
	"zeek/gre-sample.pcap":                               "0800 40",
	"zeek/gre-within-gre-1.pcap":                         "0800 314",
	"zeek/teb-key-erspan-1.pcap":                         "6558 143",
}

// TestCaptures holds G47.
func TestCaptures(t *testing.T) {
	dir := corpus(t)
	seen := map[string]bool{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.HasSuffix(path, "cap") {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		seen[name] = true
		t.Run(name, func(t *testing.T) {
			if got := verdictsOf(t, path); got != captureVerdicts[name] {
				t.Errorf("got  %s\nwant %s", got, captureVerdicts[name])
			}
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range captureVerdicts {
		if !seen[name] {
			t.Errorf("%s is missing", name)
		}
	}
}

// verdictsOf opens every GRE datagram of a capture and counts what became of them.
func verdictsOf(t *testing.T, path string) string {
	peers := fuzzPeers(t)
	counts := map[string]int{}
	for _, b := range greDatagrams(t, path) {
		if d := openBytes(peers, b); d.Reason != drop.GREPeer || d.Peer != 0 {
			t.Errorf("as captured: got %v from peer %d, want %v", d.Reason, d.Peer, drop.GREPeer)
		}
		from := peers.peer(1)
		if ihl := int(b[0]&0xf) * 4; ihl < len(b) && b[ihl]&0x20 == 0 {
			from = peers.peer(2)
		}
		src := from.Addr.As4()
		copy(b[12:], src[:])
		d := openBytes(peers, b)
		if d.Peer != from.ID {
			t.Errorf("got peer %d, want %d", d.Peer, from.ID)
		}
		counts[verdict(d)]++
	}
	var words []string
	for _, k := range slices.Sorted(maps.Keys(counts)) {
		words = append(words, fmt.Sprintf("%s %d", k, counts[k]))
	}
	return strings.Join(words, ", ")
}

func verdict(d Datagram) string {
	if d.Reason != drop.None {
		return d.Reason.String()
	}
	return fmt.Sprintf("%04x", d.Proto)
}

// greDatagrams returns what a capture holds of IPv4 datagrams with protocol 47,
// from the outer header on.
func greDatagrams(t *testing.T, path string) (found [][]byte) {
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := pcapgo.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for {
		b, _, err := r.ReadPacketData()
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return found
		}
		if err != nil {
			t.Logf("capture ends: %v", err)
			return found
		}
		if off := ipv4Offset(r.LinkType(), b); len(b) >= off+20 && b[off+9] == 47 { // whatever its version
			found = append(found, b[off:])
		}
	}
}

// ipv4Offset returns where an IPv4 header would be in a captured packet.
func ipv4Offset(link layers.LinkType, b []byte) int {
	switch link {
	case layers.LinkTypeRaw, layers.LinkTypeIPv4:
		return 0
	case layers.LinkTypeNull:
		return 4
	case layers.LinkTypeLinuxSLL:
		return 16
	}
	off := 12
	for len(b) >= off+2 {
		switch binary.BigEndian.Uint16(b[off:]) {
		case 0x8100, 0x88a8:
			off += 4
			continue
		case 0x0800:
			return off + 2
		}
		break
	}
	return len(b)
}
