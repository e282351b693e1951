package demo

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"weft/internal/lab"
)

// program builds weft, or takes the one that WEFT_BIN names.
func program(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("WEFT_BIN"); path != "" {
		return path
	}
	path := filepath.Join(t.TempDir(), "weft")
	if out, err := exec.Command("go", "build", "-o", path, "weft/cmd/weft").CombinedOutput(); err != nil {
		t.Fatalf("build weft: %v\n%s", err, out)
	}
	return path
}

// remains lists what a demo of this process left behind.
func remains(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, pattern := range []string{"/run/netns/weft-*", filepath.Join(os.TempDir(), "weft-*")} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range found {
			if strings.Contains(path, "-"+strconv.Itoa(os.Getpid())+"-") {
				all = append(all, path)
			}
		}
	}
	return all
}

func TestDemoNetns(t *testing.T) {
	lab.ForTest(t)
	t.Setenv("TMPDIR", t.TempDir()) // so that nobody else's demo is found among the remains
	var out bytes.Buffer
	err := Run(context.Background(), Options{Program: program(t), Out: &out, Stream: 200 * time.Millisecond})
	if err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	for _, want := range []string{
		"host1$ weft run --name host1",
		"host2$ weft attach blue netns:app 10.10.0.3/24",
		"5 sent, 5 answered",
		"SHA-256",
		"Gbit/s   between hosts",
		"host1$ weft fdb show",
		"everything is gone again",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in what the demo printed:\n%s", want, out.String())
		}
	}
	if left := remains(t); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// stopper ends the context when text appears.
type stopper struct {
	bytes.Buffer
	text string
	stop context.CancelFunc
}

func (s *stopper) Write(b []byte) (int, error) {
	n, err := s.Buffer.Write(b)
	if strings.Contains(s.String(), s.text) {
		s.stop()
	}
	return n, err
}

func TestDemoInterruptedNetns(t *testing.T) {
	lab.ForTest(t)
	path := program(t)
	for _, at := range []string{"$", "ping", "5. ", "kill -9"} {
		t.Run(at, func(t *testing.T) {
			t.Setenv("TMPDIR", t.TempDir())
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			out := &stopper{text: at, stop: cancel}
			err := Run(ctx, Options{Program: path, Out: out, Stream: 200 * time.Millisecond})
			if err == nil || !strings.Contains(err.Error(), "interrupted") {
				t.Errorf("got %v, want an error that says it was interrupted", err)
			}
			if left := remains(t); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// closed is an output that nobody reads any more.
type closed struct{}

func (closed) Write([]byte) (int, error) { return 0, syscall.EPIPE }

func TestDemoUnreadNetns(t *testing.T) {
	lab.ForTest(t)
	t.Setenv("TMPDIR", t.TempDir())
	err := Run(context.Background(), Options{Program: "/bin/false", Out: closed{}})
	if err == nil {
		t.Error("got nil, want an error")
	}
	if left := remains(t); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestDemoWithoutProgramNetns(t *testing.T) {
	lab.ForTest(t)
	t.Setenv("TMPDIR", t.TempDir())
	err := Run(context.Background(), Options{Program: "./no-such-program", Out: &bytes.Buffer{}})
	if err == nil || !strings.Contains(err.Error(), "no-such-program") {
		t.Errorf("got %v, want an error that names the program", err)
	}
	if left := remains(t); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestAnswerIsShortened(t *testing.T) {
	var out bytes.Buffer
	s := script{w: &out, short: strings.NewReplacer("/some/where/", "")}
	s.answer("one netns:/some/where/web\ntwo\n\nfour\nfive\n", 3)
	want := "      one netns:web\n      two\n\n      ... (2 more lines)\n"
	if got := out.String(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
