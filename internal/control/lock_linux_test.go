package control

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestLockHost(t *testing.T) {
	name := fmt.Sprintf("@weft-test-%d", os.Getpid())
	fd, err := lockHost(name)
	if err != nil {
		t.Fatal(err)
	}
	_, err = lockHost(name)
	wantError(t, err, fmt.Sprintf("process %d", os.Getpid()), name, "stop")
	if err := unix.Close(fd); err != nil {
		t.Fatal(err)
	}
	if fd, err = lockHost(name); err != nil {
		t.Fatalf("not free with its holder: %v", err)
	}
	if err := unix.Close(fd); err != nil {
		t.Fatal(err)
	}
}

func TestLockDir(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "here")
	fd, err := lockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(dir); err != nil || fi.Mode().Perm() != 0o700 {
		t.Errorf("got %v, %v", fi, err)
	}
	_, err = lockDir(dir)
	wantError(t, err, fmt.Sprintf("process %d", os.Getpid()), dir, "--state-dir")
	if err := unix.Close(fd); err != nil {
		t.Fatal(err)
	}
	if fd, err = lockDir(dir); err != nil {
		t.Fatalf("not free with its holder: %v", err)
	}
	if err := unix.Close(fd); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = lockDir(file)
	wantError(t, err, file, "--state-dir")
}

func TestStartTime(t *testing.T) {
	at, err := startTime(os.Getpid())
	if err != nil || at == 0 {
		t.Errorf("got %d, %v", at, err)
	}
	parent, err := startTime(os.Getppid())
	if err != nil || parent > at {
		t.Errorf("parent started at %d, child at %d, %v", parent, at, err)
	}
	_, err = startTime(1 << 30)
	wantError(t, err, "process")
	if id, err := bootID(); err != nil || len(id) != 36 {
		t.Errorf("got boot id %q, %v", id, err)
	}
}

// Without a state directory the host alone is cleaned, and none is made.
func TestCleanMakesNothing(t *testing.T) {
	r := newRig(t)
	sys, locked := r.system(), "?"
	sys.lock = func(dir string) (io.Closer, error) {
		locked = dir
		return io.NopCloser(nil), nil
	}
	dir := filepath.Join(t.TempDir(), "none", "here")
	if removed, err := clean(dir, sys); err != nil || len(removed) > 0 || locked != "" {
		t.Errorf("removed %q, %v, locked %q", removed, err, locked)
	}
	if _, err := os.Stat(filepath.Dir(dir)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something was made: %v", err)
	}
	if _, err := clean(t.TempDir(), sys); err != nil || locked == "" {
		t.Errorf("with one: %v, locked %q", err, locked)
	}
}
