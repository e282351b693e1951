package main

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"weft/internal/api"
	"weft/internal/spec"
)

// A client that asks before the switch is ready gets its answer when it is;
// when the daemon ends, switch and socket are gone.
func TestServe(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "run", "weft.sock")
	f := &fake{}
	opening, open := make(chan struct{}), make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { // ends when ctx does
		done <- serve(ctx, socket, slog.New(slog.DiscardHandler), func() (controller, error) {
			close(opening)
			<-open
			return f, nil
		})
	}()
	<-opening
	c := api.NewClient(socket)
	early, stop := context.WithTimeout(ctx, 20*time.Millisecond)
	if _, err := c.Status(early); err == nil {
		t.Error("status answers before the switch is ready")
	}
	stop()
	answered := make(chan error, 1)
	go func() { // ends with its answer
		_, err := c.Status(ctx)
		answered <- err
	}()
	close(open)
	if err := <-answered; err != nil {
		t.Error(err)
	}
	// A second daemon on the same socket must not open anything.
	err := serve(ctx, socket, slog.New(slog.DiscardHandler), func() (controller, error) {
		t.Error("a second daemon opens the switch")
		return f, nil
	})
	if err == nil || !strings.Contains(err.Error(), "a daemon listens on "+socket+" already") {
		t.Errorf("second daemon: got %v", err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if !f.closed {
		t.Error("the switch was not closed")
	}
	if _, err := os.Lstat(socket); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket stays: %v", err)
	}
}

// A switch whose socket was deleted is reached again, at the same path, and
// takes nothing from others who are there.
func TestServeListensAgain(t *testing.T) {
	shortly(t)
	socket := filepath.Join(t.TempDir(), "run", "weft.sock")
	var diag syncBuffer
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { // ends when ctx does
		done <- serve(ctx, socket, slog.New(slog.NewTextHandler(&diag, nil)), func() (controller, error) { return &fake{}, nil })
	}()
	c := api.NewClient(socket)
	answers := func() bool { _, err := c.Status(ctx); return err == nil }
	eventually(t, "the switch answers", answers)

	for range 2 {
		if err := os.RemoveAll(filepath.Dir(socket)); err != nil {
			t.Fatal(err)
		}
		c = api.NewClient(socket) // has no connection yet
		eventually(t, "the switch answers again", answers)
	}
	if fi, err := os.Lstat(socket); err != nil || fi.Mode().Perm() != 0o660 {
		t.Errorf("got %v, %v", fi, err)
	}
	if !strings.Contains(diag.String(), "level=WARN") {
		t.Errorf("nothing was said:\n%s", &diag)
	}

	before := strings.Count(diag.String(), "level=")
	stranger := filepath.Join(t.TempDir(), "stranger")
	if err := os.WriteFile(stranger, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(stranger, socket); err != nil { // at once: a socket that is gone would be made again
		t.Fatal(err)
	}
	eventually(t, "the stranger is noticed", func() bool { return strings.Count(diag.String(), "level=") > before })
	time.Sleep(20 * watchSocketEvery)
	if n := strings.Count(diag.String(), "level="); n > before+2 {
		t.Errorf("said %d times:\n%s", n-before, &diag)
	}
	if b, err := os.ReadFile(socket); err != nil || string(b) != "precious" {
		t.Errorf("got %q, %v", b, err)
	}
	if err := os.Remove(socket); err != nil {
		t.Fatal(err)
	}
	c = api.NewClient(socket)
	eventually(t, "the switch answers when the stranger is gone", answers)

	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(socket); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket stays: %v", err)
	}
}

// shortly has the socket looked at often for the time of a test.
func shortly(t *testing.T) {
	was := watchSocketEvery
	watchSocketEvery = 2 * time.Millisecond
	t.Cleanup(func() { watchSocketEvery = was })
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}

// syncBuffer collects what several goroutines write.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

func (s *syncBuffer) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// When the switch cannot be opened, nothing stays.
func TestServeOpenFails(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	want := errors.New("lock host: taken")
	err := serve(t.Context(), socket, slog.New(slog.DiscardHandler), func() (controller, error) { return nil, want })
	if !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
	}
	if _, err := os.Lstat(socket); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket stays: %v", err)
	}
}

func TestLayOver(t *testing.T) {
	file := filepath.Join(t.TempDir(), "weft.yaml")
	if err := os.WriteFile(file, []byte("name: file\nlog-level: warn\nnetworks:\n- {name: a, prefixes: 10.1.0.0/16}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	n, err := spec.ParseNetwork("a=10.2.0.0/16")
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, file   string
		flags        spec.Config
		source, want string
	}{
		{"nothing", "", spec.Config{}, "the flags of weft run", "{}\n"},
		{"file", file, spec.Config{}, file, "name: file\nlog-level: warn\nnetworks:\n  - name: a\n    prefixes: [10.1.0.0/16]\n"},
		{"both", file, spec.Config{Name: "flag", Accel: "off", Networks: []spec.Network{n}}, file + " or the flags of weft run", "name: flag\nlog-level: warn\naccel: \"off\"\nnetworks:\n  - name: a\n    prefixes: [10.2.0.0/16]\n"},
	}
	for _, tt := range tests {
		cfg, source, err := layOver(tt.file, tt.flags)
		out, _ := cfg.Marshal()
		if err != nil || source != tt.source || string(out) != tt.want {
			t.Errorf("%s: got %v, from %q\n%s", tt.name, err, source, out)
		}
	}
}

func TestLevel(t *testing.T) {
	for name, want := range map[string]slog.Level{"": slog.LevelInfo, "debug": slog.LevelDebug, "warn": slog.LevelWarn, "error": slog.LevelError} {
		if got := level(name); got != want {
			t.Errorf("level(%q) = %v, want %v", name, got, want)
		}
	}
}

// Without the capabilities of a switch, `weft run` says which and what to do.
func TestRunUnprivileged(t *testing.T) {
	if checkCapabilities() == nil {
		t.Skip("this process has the capabilities; run the test as an ordinary user to see what happens without")
	}
	socket := filepath.Join(t.TempDir(), "s")
	var out, diag bytes.Buffer
	code := run(t.Context(), []string{"run", "--socket", socket}, &out, &diag)
	want := " missing; run it as root (sudo weft run), or give it these capabilities\n"
	if code != 1 || !strings.HasPrefix(diag.String(), "weft: CAP_") || !strings.HasSuffix(diag.String(), want) {
		t.Errorf("got %d %s", code, &diag)
	}
	if _, err := os.Lstat(socket); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a socket was made: %v", err)
	}
}
