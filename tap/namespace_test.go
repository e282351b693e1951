package tap

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// ownNamespace returns a path that leads to the test's own namespace and can
// be taken away, which needs no root.
func ownNamespace(t *testing.T) (Namespace, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ns")
	if err := os.Symlink("/proc/self/ns/net", path); err != nil {
		t.Fatal(err)
	}
	ns, err := OpenNamespace(path)
	if err != nil {
		t.Fatal(err)
	}
	return ns, path
}

func TestOpenNamespace(t *testing.T) {
	ns, path := ownNamespace(t)
	var st unix.Stat_t
	if err := unix.Stat("/proc/self/ns/net", &st); err != nil {
		t.Fatal(err)
	}
	if want := (Namespace{path, st.Dev, st.Ino}); ns != want {
		t.Errorf("OpenNamespace = %+v, want %+v", ns, want)
	}
}

func TestOpenNamespaceRefuses(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	pipe := filepath.Join(dir, "pipe") // opening it would wait for a writer for ever
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, path, says string }{
		{"nothing", filepath.Join(dir, "none"), "is the container running?"},
		{"below a file", file + "/net", "is the container running?"},
		{"process that is gone", "/proc/4194305/ns/net", "is the container running?"},
		{"file", file, "not a namespace"},
		{"directory", dir, "not a namespace"},
		{"pipe", pipe, "not a namespace"},
		{"other namespace", "/proc/self/ns/mnt", "another kind"},
		{"empty", "", "is the container running?"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := OpenNamespace(tt.path)
			if !errors.Is(err, ErrNoNamespace) || !strings.Contains(err.Error(), tt.path) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error = %v, want ErrNoNamespace that names %q and says %q", err, tt.path, tt.says)
			}
		})
	}
}

func TestAlive(t *testing.T) {
	ns, path := ownNamespace(t)
	if !ns.Alive() {
		t.Error("Alive() = false, want true")
	}
	if !(Namespace{Path: path}).Alive() {
		t.Error("Alive() of one not looked up = false, want true")
	}
	other := ns
	other.Ino++
	if other.Alive() {
		t.Error("Alive() = true though the path leads to another namespace")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if ns.Alive() {
		t.Error("Alive() = true though the path is gone")
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if (Namespace{Path: path}).Alive() {
		t.Error("Alive() = true for a plain file")
	}
}

func TestOccupied(t *testing.T) {
	c := newContainer(t)
	ns := c.open()
	if got, err := ns.Occupied(); got || err != nil {
		t.Errorf("Occupied() = %t, %v for an empty namespace, want false", got, err)
	}
	p, err := c.Start(c.Command(context.Background(), "sleep", "60"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ns.Occupied(); !got || err != nil {
		t.Errorf("Occupied() = %t, %v with a process inside, want true", got, err)
	}
	p.Kill()
	if got, err := ns.Occupied(); got || err != nil {
		t.Errorf("Occupied() = %t, %v after the process ended, want false", got, err)
	}
}
