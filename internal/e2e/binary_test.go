package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"weft/internal/lab"
)

var scratch string // removed when the tests are over

func TestMain(m *testing.M) {
	if ifname := os.Getenv(rawSenderEnv); ifname != "" {
		if err := beRawSender(ifname); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if errno := os.Getenv(withoutNftablesEnv); errno != "" {
		fmt.Fprintln(os.Stderr, execWithoutNftables(errno, os.Args[1:]))
		os.Exit(1)
	}
	var err error
	if scratch, err = os.MkdirTemp("", "weft"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if lab.Check() == nil {
		if err := lab.Sweep(); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	// For daemons and clients built with the race detector: stop at the first
	// race, and do not sleep a second before every exit.
	os.Setenv("GORACE", "halt_on_error=1 atexit_sleep_ms=0")
	if err := sideBySide(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(scratch)
	os.Exit(code)
}

// atOnce is how many of the tests that mostly wait run at once, unless -parallel
// says otherwise. Those that move all that the machine can, or count what comes of a
// load, call no t.Parallel and have the machine for themselves: they run first.
const atOnce = 4

func sideBySide() error {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if given {
		return nil
	}
	return flag.Set("test.parallel", strconv.Itoa(atOnce))
}

// weftBinary builds weft once, with the race detector where the tests have it.
var weftBinary = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("WEFT_BIN"); path != "" {
		return path, nil
	}
	path := filepath.Join(scratch, "weft")
	args := []string{"build", "-o", path}
	if raceEnabled {
		args = append(args, "-race")
	}
	out, err := exec.Command("go", append(args, "weft/cmd/weft")...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build weft: %w\n%s", err, out)
	}
	return path, nil
})

// answer is what one run of the command line said.
type answer struct {
	out, err string
	code     int
}

// weft runs the binary to its end. Arguments stand as a user types them, split
// at spaces.
func weft(t testing.TB, line string, args ...string) answer {
	t.Helper()
	path, err := weftBinary()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, append(strings.Fields(line), args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("run weft %s: %v", line, err)
	}
	return answer{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// parse reads JSON into v.
func parse(t testing.TB, what, text string, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), v); err != nil {
		t.Fatalf("%s: %v in %q", what, err, text)
	}
}
