package arrows

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "weft"

// leaves may be imported by every room.
var leaves = []string{"internal/drop", "internal/header", "internal/spec"}

// arrows says which rooms each package may import besides the leaves. A
// package that is not listed here fails the test: give it a place first.
var arrows = map[string][]string{
	"cmd/weft": {"internal/api", "internal/docker", "internal/control", "internal/demo", "internal/load", "internal/progress", "dataplane", "tap", "encap", "fib"},

	// Adapters translate requests and hold no state.
	"internal/api":    {"internal/control"},
	"internal/docker": {"internal/control"},

	// The only writer of dataplane state.
	"internal/control": {"internal/ipam", "internal/cluster", "internal/hostnet", "dataplane", "tap", "encap", "fib"},
	"internal/ipam":    {},
	"internal/hostnet": {},

	// The only room that knows them all; these never import each other.
	"dataplane":       {"tap", "encap", "fib", "internal/offload", "internal/policy"},
	"tap":             {"internal/offload", "internal/rawdev"},
	"tap/taptest":     {"tap", "internal/offload"},
	"encap":           {"internal/offload", "internal/rawdev"},
	"encap/encaptest": {"encap"},
	"fib":             {},

	// Leaves. offload, header, drop and spec import only what is named here.
	"internal/offload": {},
	"internal/policy":  {},
	"internal/rawdev":  {},
	"internal/header":  {},
	"internal/drop":    {},
	"internal/spec":    {},

	// Around the switch: none of it is on the way of a frame.
	"internal/demo":        {"internal/api", "internal/lab", "internal/lab/probe"},
	"internal/lab":         {},
	"internal/lab/probe":   {"internal/lab"},
	"internal/lab/ovs":     {"internal/lab"},
	"internal/lab/dockerd": {"internal/lab"},
	"internal/e2e":         {"*"},
	"internal/conformance": {"internal/lab", "internal/lab/ovs"},
	"internal/load":        {},
	"internal/progress":    {},
	"internal/install":     {},
	"internal/testreport":  {},
	"internal/arrows":      {},
	"bench":                {"*"},
}

// sources of foreign packages: who may import them, tests aside.
var foreign = map[string][]string{
	"github.com/songgao/water":       {"tap"},
	"golang.org/x/net/bpf":           {"encap", "internal/rawdev", "internal/lab", "internal/lab/probe"},
	"github.com/gaissmai/bart":       {"fib", "internal/control"},
	"github.com/google/renameio/v2":  {"internal/control", "internal/ipam"},
	"github.com/spf13/cobra":         {"cmd/weft"},
	"github.com/spf13/pflag":         {"cmd/weft", "bench", "internal/conformance"},
	"github.com/google/nftables":     {"internal/hostnet"},
	"github.com/mdlayher/netlink":    {"internal/hostnet"},
	"github.com/vishvananda/netlink": {"tap", "encap", "internal/control", "internal/hostnet", "internal/lab", "internal/lab/probe", "internal/demo", "bench"},
	"github.com/vishvananda/netns":   {"tap", "encap", "internal/control", "internal/load", "internal/lab", "internal/lab/probe", "bench"},
	"github.com/safchain/ethtool":    {"encap"},
	"go.yaml.in/yaml/v3":             {"internal/spec"},
	"golang.zx2c4.com/wireguard":     {"bench"},
	"gonum.org/v1/plot":              {"bench"},
	"github.com/moby/moby":           {"internal/docker"},
	"github.com/containerd/errdefs":  {"internal/docker"},
}

// unlinked must be in no program that a user runs as a daemon, however indirectly.
var unlinked = []string{"testing", "github.com/google/gopacket", "weft/internal/lab/ovs", "weft/internal/lab/dockerd", "weft/internal/e2e", "weft/internal/conformance", "weft/bench", "golang.zx2c4.com/wireguard/device", "gonum.org/v1/plot"}

// onlyTests are packages that nothing but tests imports.
var onlyTests = []string{"internal/e2e", "internal/conformance", "bench", "cmd/weft", "internal/arrows", "internal/testreport"}

type pkg struct {
	ImportPath                         string
	Imports, TestImports, XTestImports []string
	Deps                               []string
}

func list(t *testing.T, args ...string) []pkg {
	t.Helper()
	watchSources(t)
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Imports,TestImports,XTestImports,Deps"}, args...)...)
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list: %v: %s", err, exit.Stderr)
		}
		t.Fatal(err)
	}
	var pkgs []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return pkgs
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
}

// watchSources opens every folder of the module. The go tool notes it and keeps
// no result of this test beyond a change in one; what go list reads in a
// process of its own it would not notice.
func watchSources(t *testing.T) {
	t.Helper()
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && (d.Name() == ".git" || d.Name() == "bin") {
			return fs.SkipDir
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// room returns the path inside the module; ok is false for foreign packages.
func room(path string) (name string, ok bool) {
	return strings.CutPrefix(path, module+"/")
}

func TestRooms(t *testing.T) {
	for _, p := range list(t, "weft/...") {
		from, ok := room(p.ImportPath)
		if !ok {
			t.Errorf("%s: the top folder holds no package", p.ImportPath)
			continue
		}
		allowed, listed := arrows[from]
		if !listed {
			t.Errorf("%s has no place in the table of arrows; ARCHITECTURE.md says what the rooms are", from)
			continue
		}
		for _, path := range p.Imports {
			to, ok := room(path)
			if !ok {
				checkForeign(t, from, path)
				continue
			}
			if slices.Contains(onlyTests, to) {
				t.Errorf("%s imports %s, which nothing may import", from, to)
			}
			if !mayImport(from, to, allowed) {
				t.Errorf("%s imports %s: no arrow leads there", from, to)
			}
		}
	}
}

func mayImport(from, to string, allowed []string) bool {
	if slices.Contains(allowed, "*") || slices.Contains(allowed, to) {
		return true
	}
	return slices.Contains(leaves, to) && (!slices.Contains(leaves, from) || leafMayImport(from, to))
}

// leafMayImport: header and drop know nobody; spec speaks of addresses.
func leafMayImport(from, to string) bool { return from == "internal/spec" && to == "internal/header" }

func checkForeign(t *testing.T, from, path string) {
	t.Helper()
	for prefix, rooms := range foreign {
		if (path == prefix || strings.HasPrefix(path, prefix+"/")) && !slices.Contains(rooms, from) {
			t.Errorf("%s imports %s, which only %s may", from, path, strings.Join(rooms, ", "))
		}
	}
}

// Tests may look further than the code beside them, but rooms stay rooms: a
// test that needs two of them belongs in dataplane or e2e.
func TestRoomsInTests(t *testing.T) {
	apart := []string{"tap", "encap", "fib"}
	for _, p := range list(t, "weft/...") {
		from, _ := room(p.ImportPath)
		for _, path := range slices.Concat(p.TestImports, p.XTestImports) {
			to, ok := room(path)
			if !ok || to == from {
				continue
			}
			if slices.Contains(apart, from) && (slices.Contains(apart, to) || to == "dataplane" || to == "internal/control") {
				t.Errorf("tests of %s import %s: no arrow leads there", from, to)
			}
			if slices.Contains(onlyTests, to) {
				t.Errorf("tests of %s import %s, which nothing may import", from, to)
			}
		}
	}
}

func TestNothingNeedlessIsLinked(t *testing.T) {
	for _, p := range list(t, "weft/cmd/...") {
		for _, path := range unlinked {
			if slices.Contains(p.Deps, path) {
				t.Errorf("%s links %s", p.ImportPath, path)
			}
		}
	}
}
