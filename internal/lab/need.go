package lab

import (
	"os"
	"os/exec"
)

// TB is what ForTest and Need use of testing.TB. The package is linked into
// the weft binary for its demo and must not pull in package testing.
type TB interface {
	Helper()
	Cleanup(func())
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Skipf(format string, args ...any)
}

// ForTest returns a Lab that is closed when the test ends. Where a Lab cannot
// work the test is skipped, naming what is missing; where the environment
// variable CI is set it fails instead.
func ForTest(t TB) *Lab {
	t.Helper()
	if err := Check(); err != nil {
		missing(t, err.Error())
	}
	l, err := New()
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("close lab: %v", err)
		}
	})
	return l
}

// Need skips the test, or fails it where CI is set, unless every program is
// there. pkg is the Debian package that has them.
func Need(t TB, pkg string, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			missing(t, p+" is missing: apt-get install "+pkg)
		}
	}
}

func missing(t TB, what string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("%s", what)
	}
	t.Skipf("%s", what)
}
