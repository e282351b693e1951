package progress

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestPlain(t *testing.T) {
	var out strings.Builder
	b := New(&out, time.Minute)
	b.Step(time.Second, "first")
	b.Say("%d of %d", 1, 2)
	b.Close()
	b.Close()
	if got := out.String(); got != "1 of 2\n" {
		t.Errorf("got %q, want the line alone", got)
	}
}

func TestTerminal(t *testing.T) {
	master, slave := terminalPair(t)
	b := New(slave, time.Minute)
	b.Step(30*time.Second, "first")
	b.Step(30*time.Second, "second")
	b.Say("a result")
	b.Close()
	slave.Close()
	all, err := io.ReadAll(master) // one read may get a part; the end of a terminal is EIO (pty(7))
	if err != nil && !errors.Is(err, unix.EIO) {
		t.Fatal(err)
	}
	got := string(all)
	for _, want := range []string{"[####", " 50 %", "second", "a result"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in %q", want, got)
		}
	}
	if !strings.HasSuffix(got, clearLine) {
		t.Errorf("the bar was left behind: %q", got)
	}
}

// terminalPair returns both ends of a pseudo terminal.
func terminalPair(t *testing.T) (master, slave *os.File) {
	t.Helper()
	t.Setenv("TERM", "xterm")
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("needs a pseudo terminal: %v", err)
	}
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("needs a pseudo terminal: %v", err)
	}
	t.Cleanup(func() { slave.Close() })
	return master, slave
}
