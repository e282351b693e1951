package control

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"weft/internal/spec"
)

// manyLines returns the lines of n routes.
func manyLines(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "172.%d.%d.%d/28 via h2\n", 16+i>>12, i>>4&255, i<<4&255)
	}
	return b.String()
}

// routeFiles returns the names of the files of routes.
func routeFiles(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*routes-*"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// withMany opens a switch with as many routes as go into a file of their own,
// and three more.
func withMany(t *testing.T) (*rig, *Controller) {
	t.Helper()
	r := newRig(t)
	c := r.open("network blue=10.1.0.0/24,gateway=10.1.0.1,vrf=v", "peer h2=192.0.2.2")
	if _, err := c.AddRoutes(table(t, manyLines(fewRoutes+3)), false); err != nil {
		t.Fatal(err)
	}
	return r, c
}

// everyRoute returns all routes as text, and checks that the switch has them.
func everyRoute(t *testing.T, c *Controller) (list []string) {
	t.Helper()
	v := c.vrfs()["v"]
	want := map[string]bool{}
	for _, conn := range v.connected {
		want[conn.prefix.String()] = true
	}
	for r := range c.routes.all() {
		list = append(list, r.String())
		want[r.Prefix.String()] = true
	}
	n := 0
	for p := range c.sw.Routes(v.key).All() {
		n++
		if !want[p.String()] {
			t.Errorf("the switch has a route of %s", p)
		}
	}
	if n != len(want) {
		t.Errorf("the switch has %d routes, want %d", n, len(want))
	}
	return list
}

// Many routes are in a file of their own, which a change of one does not touch,
// and neither a kill nor the state of before loses any of it.
func TestRouteFile(t *testing.T) {
	r, c := withMany(t)
	first := routeFiles(t, r.dir)
	if len(first) != 1 {
		t.Fatalf("got %v, want one file of routes", first)
	}
	p := netip.MustParsePrefix
	if _, err := c.AddRoute(spec.Route{Prefix: p("10.7.0.0/16"), Via: "h2"}, false); err != nil {
		t.Fatal(err)
	}
	if _, err := c.AddRoute(spec.Route{Prefix: p("172.16.0.16/28"), Via: "10.1.0.9"}, true); err != nil {
		t.Fatal(err)
	}
	for _, gone := range []string{"172.16.0.32/28", "172.16.0.48/28"} {
		if err := c.RemoveRoute(p(gone), "v"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.AddRoute(spec.Route{Prefix: p("172.16.0.48/28"), Via: "h2"}, false); err != nil {
		t.Fatal(err)
	}
	want := everyRoute(t, c)
	if len(want) != fewRoutes+3 {
		t.Errorf("%d routes", len(want))
	}
	if now := routeFiles(t, r.dir); !slices.Equal(now, first) {
		t.Errorf("changes of single routes wrote %v", now)
	}
	if fi, err := os.Stat(filepath.Join(r.dir, "state.json")); err != nil || fi.Size() > 1<<14 {
		t.Errorf("the state file has %d bytes, %v", fi.Size(), err)
	}
	for range 2 {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		c = r.open("network blue=10.1.0.0/24,gateway=10.1.0.1,vrf=v", "peer h2=192.0.2.2")
		if got := everyRoute(t, c); !slices.Equal(got, want) {
			t.Fatalf("after a restart %d routes, want %d", len(got), len(want))
		}
		if now := routeFiles(t, r.dir); len(now) != 1 {
			t.Errorf("after a restart there is %v", now)
		}
	}
	for _, k := range []string{"172.16.0.0/28", "10.7.0.0/16", "172.16.0.16/28"} { // few again
		if err := c.RemoveRoute(p(k), "v"); err != nil {
			t.Fatal(err)
		}
	}
	if now := routeFiles(t, r.dir); len(now) != 0 {
		t.Errorf("%v stays", now)
	}
	want = everyRoute(t, c)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if got := everyRoute(t, r.open("network blue=10.1.0.0/24,gateway=10.1.0.1,vrf=v", "peer h2=192.0.2.2")); !slices.Equal(got, want) {
		t.Errorf("after a restart %d routes, want %d", len(got), len(want))
	}
}

// When the changes are many, a new file takes the place of the old one.
func TestRouteFileRenewed(t *testing.T) {
	r, c := withMany(t)
	first := routeFiles(t, r.dir)
	if _, err := c.AddRoutes(table(t, strings.ReplaceAll(manyLines(fewRoutes), "h2", "10.1.0.9")), true); err != nil {
		t.Fatal(err)
	}
	if now := routeFiles(t, r.dir); !slices.Equal(now, first) {
		t.Errorf("%d changes: got %v, want %v", fewRoutes, now, first)
	}
	want := everyRoute(t, c)
	if err := c.RemoveRoute(netip.MustParsePrefix("172.17.0.0/28"), "v"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.AddRoute(spec.Route{Prefix: netip.MustParsePrefix("172.17.0.0/28"), Via: "h2"}, false); err != nil {
		t.Fatal(err)
	}
	if now := routeFiles(t, r.dir); len(now) != 1 || slices.Equal(now, first) {
		t.Errorf("one more: got %v, was %v", now, first)
	}
	if got := everyRoute(t, c); !slices.Equal(got, want) {
		t.Error("routes became others")
	}
}

// A file of routes that is damaged or missing costs the routes alone, and is
// named; one that goes missing while the switch runs is written again.
func TestRouteFileDamaged(t *testing.T) {
	for _, tt := range []struct {
		name   string
		damage func(b []byte) []byte // nil: removed
		why    string
	}{
		{"a letter", func(b []byte) []byte { return bytes.Replace(b, []byte("hop h2"), []byte("hop h3"), 1) }, "checksum"},
		{"cut", func(b []byte) []byte { return b[:len(b)/2] }, ""},
		{"empty", func([]byte) []byte { return nil }, "no file of routes"},
		{"later version", func(b []byte) []byte { return bytes.Replace(b, []byte("routes 1"), []byte("routes 2"), 1) }, "this weft reads"},
		{"no hop", func(b []byte) []byte { return bytes.Replace(b, []byte("hop h2 v api\n"), nil, 1) }, "no route"},
		{"missing", nil, "no such file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, c := withMany(t)
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			file := routeFiles(t, r.dir)[0]
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
			if tt.damage != nil {
				if err := os.WriteFile(file, tt.damage(b), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			c = r.open("network blue=10.1.0.0/24,gateway=10.1.0.1,vrf=v", "peer h2=192.0.2.2")
			if c.routes.len() != 0 || len(c.networks) != 1 {
				t.Errorf("%d routes, %d networks", c.routes.len(), len(c.networks))
			}
			d := c.Status().Degraded
			if len(d) != 1 || d[0].What != "routes" || !strings.Contains(d[0].Why, file) || !strings.Contains(d[0].Why, tt.why) {
				t.Errorf("degraded: %+v", d)
			}
			if _, err := os.Stat(filepath.Join(r.dir, "routes.bad")); (err == nil) != (tt.damage != nil) {
				t.Errorf("routes.bad: %v", err)
			}
		})
	}
	t.Run("while it runs", func(t *testing.T) {
		r, c := withMany(t)
		if err := os.Remove(routeFiles(t, r.dir)[0]); err != nil {
			t.Fatal(err)
		}
		if err := c.RemoveRoute(netip.MustParsePrefix("10.99.0.0/16"), "v"); err != nil { // nothing
			t.Fatal(err)
		}
		if _, err := c.AddRoute(spec.Route{Prefix: netip.MustParsePrefix("10.7.0.0/16"), Via: "h2"}, false); err != nil {
			t.Fatal(err)
		}
		want := everyRoute(t, c)
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if got := everyRoute(t, r.open("network blue=10.1.0.0/24,gateway=10.1.0.1,vrf=v", "peer h2=192.0.2.2")); !slices.Equal(got, want) {
			t.Errorf("%d routes after a restart, want %d", len(got), len(want))
		}
	})
}

// What cannot be written is taken back, and the file that the state names stays.
func TestRouteFileNotWritten(t *testing.T) {
	r, c := withMany(t)
	want, dir := everyRoute(t, c), c.store.dir
	c.store.dir += "/state.json" // a file: nothing can be written in it
	if _, err := c.AddRoutes(table(t, strings.ReplaceAll(manyLines(fewRoutes+3), "h2", "10.1.0.9")), true); err == nil {
		t.Fatal("it was written")
	}
	c.store.dir = dir
	if got := everyRoute(t, c); !slices.Equal(got, want) {
		t.Error("routes became others")
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if got := everyRoute(t, r.open("network blue=10.1.0.0/24,gateway=10.1.0.1,vrf=v", "peer h2=192.0.2.2")); !slices.Equal(got, want) {
		t.Errorf("%d routes after a restart, want %d", len(got), len(want))
	}
}

// Any bytes are refused or read, and what is read is written and read alike.
func FuzzReadRouteFile(f *testing.F) {
	f.Add([]byte(routeFileHeader + "\nhop h2 v api\nhop 10.1.0.9 v declared\n10.0.0.0/8 1\nfd00::/8 0\n"))
	f.Add([]byte(routeFileHeader + "\nhop h2 v api\n10.0.0.0/8 -1\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := readRouteFile(bytes.NewReader(b))
		if err != nil {
			return
		}
		var once, twice bytes.Buffer
		_ = got.writeTo(&once)
		again, err := readRouteFile(bytes.NewReader(once.Bytes()))
		if err != nil || !got.same(again) {
			t.Fatalf("read back: %v", err)
		}
		if _ = again.writeTo(&twice); !bytes.Equal(once.Bytes(), twice.Bytes()) {
			t.Errorf("written as %q, then as %q", &once, &twice)
		}
	})
}
