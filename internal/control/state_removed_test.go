package control

import (
	"os"
	"path/filepath"
	"testing"
)

// TestStateDirRemoved makes a state directory that was removed under the daemon
// again with the next change.
func TestStateDirRemoved(t *testing.T) {
	s := &store{dir: filepath.Join(t.TempDir(), "weft")}
	if err := s.save(&state{}); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(s.dir); err != nil {
		t.Fatal(err)
	}
	if err := s.save(&state{Networks: []networkRecord{{Origin: "api"}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(s.path()); err != nil {
		t.Error(err)
	}
}
