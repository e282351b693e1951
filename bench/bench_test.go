package main

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weft/internal/lab"
	"weft/internal/progress"
)

// One round of everything that is installed here. It takes a quarter of a
// minute and the whole machine, so it is one of the long tests.
func TestBenchNetns(t *testing.T) {
	if os.Getenv("WEFT_LONG") == "" {
		t.Skip("long test: make test-long")
	}
	lab.ForTest(t)
	weft := filepath.Join(t.TempDir(), "weft")
	if out, err := exec.Command("go", "build", "-o", weft, "weft/cmd/weft").CombinedOutput(); err != nil {
		t.Fatalf("build weft: %v\n%s", err, out)
	}
	var out, progress strings.Builder
	if code := run(context.Background(), strings.Fields("--rounds 1 --seconds 0.3 -o json --weft "+weft), &out, &progress); code != 0 {
		t.Fatalf("exit code %d\n%s", code, progress.String())
	}
	var r report
	if err := json.Unmarshal([]byte(out.String()), &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Systems) < 8 {
		t.Errorf("got %d systems, want all that need nothing", len(r.Systems))
	}
	for _, s := range r.Systems {
		for _, m := range []string{"tcp1", "tcp4", "both", "udp", "p50", "p99", "cpu"} {
			if f := s.figureOf(m); f == nil || f.Median <= 0 {
				t.Errorf("%s: no figure of %s", s.Name, m)
			}
		}
	}
}

func TestBenchInterruptedNetns(t *testing.T) {
	lab.ForTest(t)
	t.Setenv("TMPDIR", t.TempDir())
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	_, err := measure(ctx, options{rounds: 1, seconds: 60}, []system{kernelBridge(), bareLoop()}, generators[:1], progress.New(&strings.Builder{}, time.Minute))
	if err == nil {
		t.Error("got nil, want an error")
	}
	if left, _ := filepath.Glob(filepath.Join(os.TempDir(), "weft-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
