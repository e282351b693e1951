package e2e

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
)

// corpusDir is where the shared captures are; the test is skipped without them.
func corpusDir(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("WEFT_CORPUS")
	if dir == "" {
		dir = "../../../shared/data/pcaps" // beside the repository
	}
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("no captures: %v; WEFT_CORPUS names their directory", err)
	}
	return dir
}

// readCapture returns the frames of a capture file; none where its link layer
// is not Ethernet.
func readCapture(t *testing.T, path string) (frames [][]byte) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := pcapgo.NewReader(f)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	if r.LinkType() != layers.LinkTypeEthernet {
		return nil
	}
	r.SetSnaplen(1 << 18) // some hold longer frames than their header says
	for {
		b, _, err := r.ReadPacketData()
		if err == io.EOF {
			return frames
		}
		if err != nil {
			t.Logf("%s: %v after %d frames", path, err, len(frames))
			return frames
		}
		frames = append(frames, b)
	}
}

// captureFiles lists the corpus.
func captureFiles(t *testing.T) []string {
	t.Helper()
	var files []string
	for _, pattern := range []string{"*/*.pcap", "*/*.cap"} {
		m, err := filepath.Glob(filepath.Join(corpusDir(t), pattern))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, m...)
	}
	if len(files) == 0 {
		t.Skipf("no captures in %s", corpusDir(t))
	}
	return files
}
