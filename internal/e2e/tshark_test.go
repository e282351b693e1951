package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
)

// checkOutside looks at what weft sent over the underlay: every byte of the
// marker's outer header, and what tshark has to say of every packet.
func checkOutside(t *testing.T, all []captured, flags uint16, marker []byte) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "underlay.pcap")
	writePcap(t, path, all)
	found := false
	for _, f := range all {
		if f.outgoing && bytes.HasSuffix(f.data, marker) {
			found = true
			checkMarker(t, f.data[14:], flags, marker)
		}
	}
	if !found {
		t.Error("the marker did not leave")
	}
	checkWithTshark(t, path, flags, marker)
}

// checkMarker compares an outer header with what RFC 791, 2784 and 2890 want,
// byte by byte but for the IPv4 identification and what is computed over it.
func checkMarker(t *testing.T, p []byte, flags uint16, marker []byte) {
	t.Helper()
	gre := binary.BigEndian.AppendUint16(nil, flags)
	gre = append(gre, 0x65, 0x58)
	if flags&0x8000 != 0 {
		gre = append(gre, 0, 0, 0, 0)
	}
	if flags&0x2000 != 0 {
		gre = binary.BigEndian.AppendUint32(gre, netID)
	}
	at := 20 + len(gre)
	if flags&0x1000 != 0 && len(p) >= at+4 {
		gre = append(gre, p[at:at+4]...) // checkWithTshark looks at the row of them
	}
	gre = append(gre, marker...)
	if flags&0x8000 != 0 {
		binary.BigEndian.PutUint16(gre[4:], ^onesComplement(gre))
	}
	want := outer(addr1, addr2, gre)
	if len(p) >= 20 {
		copy(want[4:6], p[4:6])
		binary.BigEndian.PutUint16(want[10:], ^onesComplement(want[:20]))
	}
	if !bytes.Equal(p, want) {
		t.Errorf("marker left as\n%x, want\n%x", p, want)
	}
}

// checkWithTshark lets tshark read the capture: its opinion of headers,
// checksums and sequence numbers is independent of ours.
func checkWithTshark(t *testing.T, path string, flags uint16, marker []byte) {
	t.Helper()
	// The path hello has a header of its own, whatever the peer's options.
	args := []string{"-r", path, "-Y", "gre && gre.proto != 0x88b5 && ip.src == " + addr1.String(),
		"-o", "ip.check_checksum:TRUE", "-o", "tcp.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE", "-T", "fields", "-E", "separator=|", "-E", "occurrence=a"}
	for _, f := range []string{"ip.hdr_len", "ip.ttl", "ip.flags.df", "ip.dsfield", "ip.checksum.status", "gre.flags_and_version", "gre.proto",
		"gre.key", "gre.sequence_number", "gre.checksum.status", "tcp.checksum.status", "udp.checksum.status", "_ws.malformed"} {
		args = append(args, "-e", f)
	}
	var diag bytes.Buffer
	cmd := exec.CommandContext(t.Context(), "tshark", args...)
	cmd.Stderr = &diag
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("tshark: %v: %s", err, diag.Bytes())
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(lines) < 50 {
		t.Errorf("tshark found %d packets", len(lines))
	}
	next := int64(-1)
	for i, line := range lines {
		if why := checkPacket(line, flags, &next); why != "" {
			t.Errorf("packet %d of %d: %s in %q", i, len(lines), why, line)
			return
		}
	}
}

// checkPacket looks at the fields of one packet. Of a field that outer and
// inner header have, the outer comes first.
func checkPacket(line string, flags uint16, next *int64) string {
	f := strings.Split(line, "|")
	first := func(i int) string { s, _, _ := strings.Cut(f[i], ","); return s }
	for i, want := range []string{"20", "64", "1", "0x00", "1", fmt.Sprintf("0x%04x", flags), "0x6558"} {
		if first(i) != want {
			return fmt.Sprintf("field %d is %q, want %q", i, first(i), want)
		}
	}
	if want := fmt.Sprintf("0x%08x", netID); (first(7) == want) != (flags&0x2000 != 0) {
		return "wrong key " + first(7)
	}
	if flags&0x1000 != 0 {
		var n int64
		if _, err := fmt.Sscan(first(8), &n); err != nil || *next >= 0 && n != *next {
			return fmt.Sprintf("sequence number %s, want %d", first(8), *next)
		}
		*next = n + 1
	}
	if flags&0x8000 != 0 && first(9) != "1" {
		return "GRE checksum is not good"
	}
	for _, i := range []int{4, 10, 11} { // inner ones too: 1 is good, 2 not looked at (fragments)
		for _, status := range strings.Split(f[i], ",") {
			if status != "" && status != "1" && status != "2" {
				return fmt.Sprintf("checksum status %s", f[i])
			}
		}
	}
	if f[12] != "" {
		return "malformed"
	}
	return ""
}

// writePcap stores a capture.
func writePcap(t *testing.T, path string, frames []captured) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	w := pcapgo.NewWriter(file)
	if err := w.WriteFileHeader(1<<17, layers.LinkTypeEthernet); err != nil {
		t.Fatal(err)
	}
	for i, f := range frames {
		ci := gopacket.CaptureInfo{Timestamp: time.Unix(0, int64(i)*1000), CaptureLength: len(f.data), Length: len(f.data)}
		if err := w.WritePacket(ci, f.data); err != nil {
			t.Fatal(err)
		}
	}
}
