package api

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestListen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run", "weft", "weft.sock")
	s, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	fi, err := os.Lstat(path)
	if err != nil || fi.Mode() != fs.ModeSocket|0o660 {
		t.Errorf("got mode %v, %v; want a socket of 0660", fi.Mode(), err)
	}
	if dir, err := os.Stat(filepath.Dir(path)); err != nil || dir.Mode().Perm()&0o022 != 0 {
		t.Errorf("directory: got mode %v, %v", dir.Mode(), err)
	}
	_, err = Listen(path)
	wantError(t, err, "a daemon listens on "+path+" already; stop it or choose another path with --socket")
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket stays: %v", err)
	}
}

func wantError(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
}

// The mode holds whatever the umask is, and no other moment is wider: the
// socket's own inode has it before the name exists.
func TestListenUmask(t *testing.T) {
	for _, mask := range []int{0, 0o022, 0o777} {
		path := filepath.Join(t.TempDir(), "s")
		old := syscall.Umask(mask)
		s, err := Listen(path)
		syscall.Umask(old)
		if err != nil {
			t.Fatal(err)
		}
		if fi, err := os.Lstat(path); err != nil || fi.Mode().Perm() != 0o660 {
			t.Errorf("umask %o: got %v, %v", mask, fi.Mode(), err)
		}
		s.Close()
	}
}

func TestListenReplacesStale(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	dead, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := dead.Listener.(*net.UnixListener).File()
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Shutdown(int(fd.Fd()), syscall.SHUT_RDWR); err != nil { // as a killed daemon leaves it: the file stays, nobody listens
		t.Fatal(err)
	}
	fd.Close()
	s, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := dead.Close(); err != nil { // must not take away what is another's
		t.Error(err)
	}
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

func TestListenRefuses(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	long := "/run/" + strings.Repeat("x", 103)
	tests := []struct{ path, want string }{
		{"", "the path of the socket is empty; name one with --socket"},
		{long, "the path of the socket has 108 bytes and the kernel takes at most 107; choose a shorter one with --socket: " + long},
		{"@weft", `socket "@weft": want the path of a file; name one with --socket`},
		{file, file + " is there and is no socket; move it away or choose another path with --socket"},
		{file + "/s", "make directory of socket: mkdir " + file + ": not a directory; choose another with --socket"},
	}
	for _, tt := range tests {
		s, err := Listen(tt.path)
		if s != nil {
			s.Close()
		}
		wantError(t, err, tt.want)
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "precious" {
		t.Errorf("the file changed: %q, %v", b, err)
	}
	if err := CheckSocketPath(long[:107]); err != nil {
		t.Errorf("107 bytes: %v", err)
	}
}

func TestClientWithoutDaemon(t *testing.T) {
	dir := t.TempDir()
	absent, stale := filepath.Join(dir, "absent"), filepath.Join(dir, "stale")
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	ln.SetUnlinkOnClose(false)
	ln.Close()
	const cure = "; start it with `weft run` or name its socket with --socket"
	_, err = NewClient(absent).Status(t.Context())
	wantError(t, err, "reach the daemon: there is no socket "+absent+cure)
	_, err = NewClient(stale).Status(t.Context())
	wantError(t, err, "reach the daemon: nothing listens on "+stale+" any more"+cure)
	long := strings.Repeat("x", 108)
	_, err = NewClient(long).Status(t.Context())
	wantError(t, err, "the path of the socket has 108 bytes and the kernel takes at most 107; choose a shorter one with --socket: "+long)
}

// A client waits for a daemon that listens but is not ready, and gives up when
// it is told to.
func TestClientWaits(t *testing.T) {
	s, err := Listen(filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err = NewClient(s.path).Status(ctx)
	wantError(t, err, "wait for the daemon at "+s.path+": context deadline exceeded")

	got := make(chan error, 1)
	go func() { // ends when the socket closes
		_, err := NewClient(s.path).Status(context.Background())
		got <- err
	}()
	conn, err := s.Accept() // of the one that gave up, or the other
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if conn, err = s.Accept(); err == nil {
		conn.Close()
	}
	if err := <-got; err == nil || !strings.Contains(err.Error(), "without an answer") {
		t.Errorf("got %v", err)
	}
	s.Close()
}

// Something else than weft answers.
func TestClientOfStranger(t *testing.T) {
	s, err := Listen(filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	code := http.StatusOK
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(code)
		_, _ = w.Write([]byte("<html>"))
	})}
	go func() { _ = srv.Serve(s) }() // ends with Close below
	defer srv.Close()
	c := NewClient(s.path)
	if _, err := c.Status(t.Context()); err == nil || !strings.Contains(err.Error(), "is a weft daemon of the same version behind it?") {
		t.Errorf("got %v", err)
	}
	code = http.StatusTeapot
	_, err = c.Status(t.Context())
	wantError(t, err, "the daemon answered 418 I'm a teapot without saying why; is it a weft of the same version?")
}

// Who does not wait for the end of a change is told that there will be one.
func TestInterrupted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path) // which never answers
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	c := NewClient(path)
	const goesOn = "finishes all the same: see weft status"
	if err := c.Detach(ctx, "blue", "netns:web"); err == nil || !strings.Contains(err.Error(), goesOn) {
		t.Errorf("a change: %v", err)
	}
	if _, err := c.Ports(ctx); err == nil || strings.Contains(err.Error(), goesOn) {
		t.Errorf("a question: %v", err)
	}
}
