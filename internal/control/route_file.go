package control

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/google/renameio/v2"

	"weft/internal/spec"
)

// Many routes are not in the state file, which is written whole at each change,
// but in a file of their own beside it, which never changes: its name is its
// checksum. The state file names it, and has the routes that became others
// since. When those are many, a new file of routes takes the place of both.

// fewRoutes is how many routes the state file takes: as many as change nothing
// about the time that it takes to write it.
const fewRoutes = 4096

// savedRoutes says what of a table a file of routes has. The zero value is
// none.
type savedRoutes struct {
	file    string            // checksum, the file's name; empty: none
	changed map[routeKey]bool // since; at most fewRoutes
}

func (s *savedRoutes) clone() *savedRoutes {
	return &savedRoutes{s.file, maps.Clone(s.changed)}
}

// note says that a route is, or may be, another now.
func (s *savedRoutes) note(k routeKey) {
	switch {
	case s.file == "":
	case len(s.changed) < fewRoutes:
		s.changed[k] = true
	default:
		*s = savedRoutes{}
	}
}

// inState returns what the state file has of t.
func (t routeTable) inState() (routes, gone json.RawMessage) {
	if t.saved.file == "" {
		return groupRoutes(t.all()), nil
	}
	var removed []*route
	routes = groupRoutes(func(yield func(*route) bool) {
		for k := range t.saved.changed {
			if r := t.get(k); r == nil {
				removed = append(removed, &route{Route: spec.Route{VRF: k.vrf, Prefix: k.prefix}})
			} else if !yield(r) {
				return
			}
		}
	})
	if len(removed) > 0 {
		gone = groupRoutes(slices.Values(removed))
	}
	return routes, gone
}

// Each file of routes begins with this line. Then come the hops, one a line, as
// "hop VIA VRF ORIGIN", and the routes, as "PREFIX NUMBER-OF-HOP".
const routeFileHeader = "weft routes 1"

// writeTo writes t as a file of routes: equal tables give equal bytes.
func (t routeTable) writeTo(w io.Writer) error {
	type name struct{ vrf, via, origin string }
	names := map[name]bool{}
	for r := range t.all() {
		names[name{r.VRF, r.Via, r.origin}] = true
	}
	list := slices.SortedFunc(maps.Keys(names), func(a, b name) int {
		return (&routeGroup{VRF: a.vrf, Via: a.via, Origin: a.origin}).compare(&routeGroup{VRF: b.vrf, Via: b.via, Origin: b.origin})
	})
	out := bufio.NewWriterSize(w, 1<<16)
	fmt.Fprintln(out, routeFileHeader)
	number := map[name]uint64{}
	for i, n := range list {
		fmt.Fprintln(out, "hop", n.via, n.vrf, n.origin)
		number[n] = uint64(i)
	}
	var line []byte
	for r := range t.all() {
		line = append(r.Prefix.AppendTo(line[:0]), ' ')
		line = append(strconv.AppendUint(line, number[name{r.VRF, r.Via, r.origin}], 10), '\n')
		_, _ = out.Write(line) // Flush says what went wrong
	}
	return out.Flush()
}

// readRouteFile reads what writeTo wrote.
func readRouteFile(from io.Reader) (routeTable, error) {
	lines := bufio.NewScanner(from)
	if !lines.Scan() || lines.Text() != routeFileHeader {
		return routeTable{}, errors.New("it is no file of routes that this weft reads")
	}
	t := newRouteTable()
	var hops []*route
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		switch {
		case len(words) == 4 && words[0] == "hop":
			hops = append(hops, newRoute(spec.Route{Via: words[1], VRF: words[2]}, words[3]))
		case len(words) == 2:
			p, err := netip.ParsePrefix(words[0])
			i, ierr := strconv.Atoi(words[1])
			if err != nil || ierr != nil || i < 0 || i >= len(hops) {
				return t, fmt.Errorf("%q is no route", lines.Text())
			}
			r := *hops[i]
			r.Prefix = p
			t.set(&r)
		default:
			return t, fmt.Errorf("%q is neither hop nor route", lines.Text())
		}
	}
	return t, lines.Err()
}

func (s *store) routesPath(sum string) string { return filepath.Join(s.dir, "routes-"+sum) }

// saveRoutes brings the routes of t that the state file is not to have on disk.
// It changes t.saved alone. Other files of routes stay until dropRoutes.
func (s *store) saveRoutes(t routeTable) error {
	if t.saved.file != "" && t.len() > fewRoutes {
		if _, err := os.Stat(s.routesPath(t.saved.file)); err == nil {
			return nil
		}
	}
	*t.saved = savedRoutes{}
	if t.len() <= fewRoutes {
		return nil
	}
	hash := sha256.New()
	_ = t.writeTo(hash) // a hash takes everything
	sum := hex.EncodeToString(hash.Sum(nil))
	if err := s.writeRoutes(s.routesPath(sum), t); err != nil {
		return fmt.Errorf("write routes: %w: make room in %s or make it writable", err, s.dir)
	}
	*t.saved = savedRoutes{sum, map[routeKey]bool{}}
	return nil
}

// writeRoutes writes a file of routes where it does not exist.
func (s *store) writeRoutes(path string, t routeTable) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	f, err := renameio.NewPendingFile(path, renameio.WithTempDir(s.dir), renameio.WithStaticPermissions(0o600))
	if err != nil {
		return err
	}
	defer f.Cleanup() //nolint:errcheck // does nothing once the file has its place
	if err := t.writeTo(f); err != nil {
		return err
	}
	return f.CloseAtomicallyReplace()
}

// loadRoutes reads a file of routes, whole and as it was written or not at all.
func (s *store) loadRoutes(sum string) (routeTable, error) {
	f, err := os.Open(s.routesPath(sum))
	if err != nil {
		return routeTable{}, err
	}
	defer f.Close()
	hash := sha256.New()
	t, err := readRouteFile(io.TeeReader(f, hash))
	if err == nil && hex.EncodeToString(hash.Sum(nil)) != sum {
		err = errors.New("the checksum is wrong")
	}
	if err != nil {
		kept := ""
		if os.Rename(f.Name(), s.badRoutesPath()) == nil {
			kept = "; it was kept as " + s.badRoutesPath()
		}
		return routeTable{}, fmt.Errorf("%s: %w%s", f.Name(), err, kept)
	}
	return t, nil
}

// badRoutesPath is where a file of routes that cannot be used is kept.
func (s *store) badRoutesPath() string { return filepath.Join(s.dir, "routes.bad") }

// dropRoutes removes the files of routes that the state file does not name.
func (s *store) dropRoutes(keep string) {
	found, _ := filepath.Glob(s.routesPath("*"))
	for _, f := range found {
		if keep == "" || f != s.routesPath(keep) {
			_ = os.Remove(f) // harmless where it stays
		}
	}
}

// allRoutes ranges over the routes of a state that was read. Each is valid
// until the next.
func (s *state) allRoutes() iter.Seq[*route] {
	if s.file.vrfs != nil {
		return s.file.all()
	}
	return func(yield func(*route) bool) {
		for _, r := range s.routes {
			if !yield(newRoute(r.Route, r.Origin)) {
				return
			}
		}
	}
}
