package control

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"

	"weft/internal/header"
	"weft/internal/spec"
	"weft/tap"
)

// stateVersion changes whenever an older weft could not read what a newer one
// wrote, or would lose some of it:
//
//	1  networks, peers, endpoints, static_fdb
//	2  routes
//	3  leaving, and former of endpoints; routes by next hop; Docker containers
//	4  uplinks; isolated ports; host, published, and the host's own endpoints
//	5  routes_file, routes_gone; mac_limit and storm of endpoints
//	6  before_apply
//	7  vlan and trunk of endpoints; vlan of static_fdb; icc of networks
//
// What is missing in an older one reads as empty, which is what it means.
const stateVersion = 7

// oldestState is the first version that is still read.
const oldestState = 1

// Origins of networks, peers and routes.
const (
	declared = "declared" // by the file or the flags
	byAPI    = "api"
)

// state is what outlives the daemon.
type state struct {
	Networks  []networkRecord  `json:"networks"`
	Peers     []peerRecord     `json:"peers"`
	Routes    json.RawMessage  `json:"routes"`                // to be written: what groupRoutes returns
	File      string           `json:"routes_file,omitempty"` // that has the other routes; its checksum
	Gone      json.RawMessage  `json:"routes_gone,omitempty"` // which the file has, and are no more
	Uplinks   []uplinkRecord   `json:"uplinks"`
	Endpoints []endpointRecord `json:"endpoints"`
	Static    []staticRecord   `json:"static_fdb"`
	Leaving   []endpointRecord `json:"leaving,omitempty"` // whose TAPs are being removed
	Published []publishRecord  `json:"published"`
	Host      hostRecord       `json:"host"`

	BeforeApply string `json:"before_apply,omitempty"` // the host that a start makes again; empty: the rest is whole

	routes []routeRecord // as read
	file   routeTable    // as read, where there is a file of routes: all
}

type networkRecord struct {
	Network spec.Network `json:"network"`
	Origin  string       `json:"origin"`
}

type peerRecord struct {
	Peer   spec.Peer `json:"peer"`
	Origin string    `json:"origin"`
}

type routeRecord struct {
	Route  spec.Route `json:"route"` // with its vrf, and a peer by its name
	Origin string     `json:"origin"`
}

type uplinkRecord struct {
	Uplink spec.Uplink `json:"uplink"`
	Origin string      `json:"origin"`
}

// endpointRecord is a container's place in a network.
type endpointRecord struct {
	Network    string         `json:"network"`
	Target     string         `json:"target"` // as the user wrote it
	IfName     string         `json:"ifname"`
	MAC        header.MAC     `json:"mac"`
	Addresses  []netip.Prefix `json:"addresses"`
	Gateways   []netip.Addr   `json:"gateways,omitempty"` // default routes
	MTU        int            `json:"mtu"`
	OwnMTU     bool           `json:"own_mtu,omitempty"` // given with attach, so the network's does not apply
	AllowSpoof bool           `json:"allow_spoof,omitempty"`
	Isolated   bool           `json:"isolated,omitempty"`
	VLAN       int            `json:"vlan,omitempty"`
	Trunk      spec.Trunk     `json:"trunk,omitempty"`
	MACLimit   *int           `json:"mac_limit,omitempty"`
	Storm      *int           `json:"storm,omitempty"`
	Life       life           `json:"life"`
	Former     *former        `json:"former,omitempty"` // what its interface may still have of earlier changes
	Host       *hostPart      `json:"host,omitempty"`   // of the host itself; nil: a container's
}

// life tells one container from a later one under the same name.
type life struct {
	BootID    string `json:"boot_id"`
	Device    uint64 `json:"device"` // of the namespace's nsfs file
	Inode     uint64 `json:"inode"`
	StartTime uint64 `json:"start_time,omitempty"` // of the process of pid:N or of the Docker container, in clock ticks since boot
	Container string `json:"container,omitempty"`  // id of the Docker container
	PID       int    `json:"pid,omitempty"`        // of the Docker container's process
}

// namespace returns the namespace as tap wants it.
func (l life) namespace(path string) tap.Namespace {
	return tap.Namespace{Path: path, Dev: l.Device, Ino: l.Inode}
}

// staticRecord is a static FDB entry; Target or Peer is set.
type staticRecord struct {
	Network string     `json:"network"`
	VLAN    int        `json:"vlan,omitempty"` // 0: the untagged one
	MAC     header.MAC `json:"mac"`
	Target  string     `json:"target,omitempty"`
	Peer    string     `json:"peer,omitempty"`
}

// encodeState returns the content of the state file. Equal states give equal bytes.
func encodeState(s *state) ([]byte, error) {
	out := *s
	if out.Routes == nil { // as it was read
		out.Routes = groupRoutes(s.allRoutes())
	}
	body, err := json.Marshal(out) // every attach writes it: with 1,000 ports indenting would take 3 ms
	if err != nil {
		return nil, fmt.Errorf("encode state: %w", err)
	}
	return sealState(stateVersion, body), nil
}

// sealState puts version and checksum before body.
func sealState(version int, body []byte) []byte {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d\n%s", version, body))
	return fmt.Appendf(nil, "{\"version\": %d,\n\"sha256\": \"%s\",\n\"state\": %s}\n", version, hex.EncodeToString(sum[:]), body)
}

// decodeState reads what encodeState wrote, and nothing else: one changed, lost
// or added byte anywhere is an error.
func decodeState(b []byte) (*state, error) {
	var sealed struct {
		Version int             `json:"version"`
		SHA256  string          `json:"sha256"`
		State   json.RawMessage `json:"state"`
	}
	if err := json.Unmarshal(b, &sealed); err != nil {
		return nil, fmt.Errorf("it is cut off or no state file: %w", err)
	}
	if !bytes.Equal(b, sealState(sealed.Version, sealed.State)) {
		return nil, errors.New("the checksum is wrong")
	}
	if sealed.Version < oldestState || sealed.Version > stateVersion {
		return nil, fmt.Errorf("it has version %d, this weft reads versions %d to %d", sealed.Version, oldestState, stateVersion)
	}
	var s state
	err := json.Unmarshal(sealed.State, &s)
	if err != nil {
		return nil, fmt.Errorf("read it: %w", err)
	}
	if s.routes, err = ungroupRoutes(s.Routes); err != nil {
		return nil, fmt.Errorf("read it: %w", err)
	}
	s.Routes = nil
	return &s, nil
}

// store keeps the state file. One goroutine at a time uses it.
type store struct {
	dir  string
	last [sha256.Size]byte // of what is on disk

	onWrite func() error // asked before each write, whose error ends it; nil: nobody. For tests

	badRoutes error // why load could not use the file of routes, and went without
}

func (s *store) path() string { return filepath.Join(s.dir, "state.json") }

// badPath is where a file that cannot be read is kept for the user to see.
func (s *store) badPath() string { return s.path() + ".bad" }

// load returns the state, an empty one where there is no file. problem says why
// the file cannot be used; err, why it cannot be opened.
func (s *store) load() (st *state, problem, err error) {
	b, err := os.ReadFile(s.path())
	if errors.Is(err, fs.ErrNotExist) {
		return &state{}, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read state: %w: move it away or make it readable, or choose another directory with --state-dir", err)
	}
	if st, problem = decodeState(b); problem != nil {
		return &state{}, problem, nil
	}
	s.badRoutes = s.mergeRoutes(st)
	s.last = sha256.Sum256(b)
	return st, nil, nil
}

// mergeRoutes reads the file of routes that st names, and puts the routes of st
// over it. On error st has its own alone.
func (s *store) mergeRoutes(st *state) error {
	if st.File == "" {
		return nil
	}
	file := st.File
	st.File = ""
	gone, err := ungroupRoutes(st.Gone)
	if err != nil {
		return err
	}
	st.Gone = nil
	if st.file, err = s.loadRoutes(file); err != nil {
		return err
	}
	for _, r := range gone {
		st.file.remove(newRoute(r.Route, r.Origin).key())
	}
	for _, r := range st.routes {
		st.file.set(newRoute(r.Route, r.Origin))
	}
	st.routes = nil
	return nil
}

// setAside renames a file that cannot be used, over an earlier one.
func (s *store) setAside() error {
	if err := os.Rename(s.path(), s.badPath()); err != nil {
		return fmt.Errorf("keep unusable state file aside: %w", err)
	}
	return nil
}

// save writes st if it differs from what is on disk: to a temporary file, which
// is synced and takes the old one's place in one step. On return it is on disk.
func (s *store) save(st *state) error {
	b, err := encodeState(st)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(b)
	if sum == s.last {
		return nil
	}
	if s.onWrite != nil {
		if err := s.onWrite(); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil { // somebody removed it
		return fmt.Errorf("write state: %w: make %s a writable directory", err, s.dir)
	}
	if err := renameio.WriteFile(s.path(), b, 0o600, renameio.WithTempDir(s.dir), renameio.WithStaticPermissions(0o600)); err != nil {
		return fmt.Errorf("write state: %w: make room in %s or make it writable", err, s.dir)
	}
	s.last = sum
	if err := syncDir(s.dir); err != nil {
		return err
	}
	s.dropRoutes(st.File)
	return nil
}

// syncDir makes a rename in dir last.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync state: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync state: %w", err)
	}
	return nil
}

// sweep removes temporary files that a crash left.
func (s *store) sweep() {
	for _, pattern := range []string{".state.json*", ".routes-*"} {
		left, _ := filepath.Glob(filepath.Join(s.dir, pattern))
		for _, f := range left {
			_ = os.Remove(f) // harmless where it stays
		}
	}
}
