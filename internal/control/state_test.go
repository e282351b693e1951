package control

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"weft/internal/hostnet"
	"weft/internal/spec"
)

// sampleState has one of everything.
func sampleState() *state {
	return &state{
		Networks: []networkRecord{{Origin: declared, Network: spec.Network{
			Name: "blue", ID: 0x164776, Ageing: 300, MTU: 1400, VRF: "v",
			Prefixes: []netip.Prefix{netip.MustParsePrefix("10.32.0.0/24"), netip.MustParsePrefix("fd00::/64")},
			Gateways: []netip.Addr{netip.MustParseAddr("10.32.0.1")},
			Range:    spec.Range{From: netip.MustParseAddr("10.32.0.10"), To: netip.MustParseAddr("10.32.0.20")},
		}}},
		Peers: []peerRecord{{Origin: byAPI, Peer: spec.Peer{Name: "h2", Address: netip.MustParseAddr("192.0.2.2"), Networks: []string{"blue"}, Keyless: true}}},
		routes: []routeRecord{
			{Origin: byAPI, Route: spec.Route{Prefix: netip.MustParsePrefix("fd40::/64"), Via: "fd00::9", VRF: "v"}},
			{Origin: declared, Route: spec.Route{Prefix: netip.MustParsePrefix("10.40.0.0/16"), Via: "h2", VRF: "v"}},
		},
		Uplinks: []uplinkRecord{
			{Origin: declared, Uplink: spec.Uplink{Network: "blue", Device: "eth0", VLAN: 7}},
			{Origin: byAPI, Uplink: spec.Uplink{Network: "red", Device: "eth1", Transit: true}},
		},
		Endpoints: []endpointRecord{{
			Network: "blue", Target: "pid:4711", IfName: "eth1", MAC: 0x0261fb88fee5, MTU: 1400,
			Addresses: []netip.Prefix{netip.MustParsePrefix("10.32.0.5/24"), netip.MustParsePrefix("fd00::5/64")},
			Gateways:  []netip.Addr{netip.MustParseAddr("10.32.0.1")}, OwnMTU: true, AllowSpoof: true, MACLimit: new(int), Storm: new(int),
			Life:   life{BootID: "a3c1", Device: 4, Inode: 4026532000, StartTime: 99},
			Former: &former{Addresses: []netip.Prefix{netip.MustParsePrefix("10.31.0.5/24")}, Gateways: []netip.Addr{netip.MustParseAddr("10.31.0.1")}},
		}, {
			Network: "blue", Target: "host", IfName: "weft-blue", MAC: 0x0261fb88fee7, MTU: 1400, Addresses: []netip.Prefix{netip.MustParsePrefix("10.32.0.7/24")},
			Life: life{BootID: "a3c1", Device: 4, Inode: 4026531840}, Host: &hostPart{NoSNAT: true, ForPublish: true, Origin: declared},
		}},
		Leaving: []endpointRecord{{
			Network: "blue", Target: "netns:web", IfName: "eth2", MAC: 0x0261fb88fee6, MTU: 1400,
			Addresses: []netip.Prefix{netip.MustParsePrefix("10.32.0.6/24")}, VLAN: 10, Trunk: "20-30", Life: life{BootID: "a3c1", Device: 4, Inode: 4026532001},
		}},
		Static: []staticRecord{{Network: "blue", MAC: 0x020000000001, Target: "pid:4711"}, {Network: "blue", MAC: 0x020000000002, Peer: "h2"}, {Network: "blue", VLAN: 10, MAC: 0x020000000002, Peer: "h2"}},
		Published: []publishRecord{{Origin: byAPI, Publish: spec.Publish{
			Network: "blue", Target: "pid:4711", Host: netip.MustParseAddr("192.0.2.1"), Port: 2222, Count: 1, To: 22, Proto: "tcp",
		}}},
		Host:        hostRecord{BootID: "a3c1", Sysctls: []hostnet.Sysctl{{Key: "ipv4/conf/eth0/forwarding", Was: "0", Want: "1"}}},
		BeforeApply: "networks: []\n",
	}
}

// The format is read by later versions: a change of it needs a new stateVersion.
func TestStateGolden(t *testing.T) {
	got, err := encodeState(sampleState())
	if err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "state.golden.json")
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	s, err := decodeState(want)
	if err != nil || !reflect.DeepEqual(s, sampleState()) {
		t.Errorf("read back %+v, %v", s, err)
	}
}

// What earlier versions wrote is read, and written as the present one. Their
// golden files must never change.
func TestStateOlderVersions(t *testing.T) {
	present, err := encodeState(sampleState())
	if err != nil {
		t.Fatal(err)
	}
	for file, routes := range map[string]bool{"state-v1.golden.json": false, "state-v2.golden.json": true, "state-v4.golden.json": true, "state-v5.golden.json": true, "state-v6.golden.json": true} {
		t.Run(file, func(t *testing.T) {
			old, err := os.ReadFile(filepath.Join("testdata", file))
			if err != nil {
				t.Fatal(err)
			}
			s := &store{dir: t.TempDir()}
			if err := os.WriteFile(s.path(), old, 0o600); err != nil {
				t.Fatal(err)
			}
			got, problem, err := s.load()
			if err != nil || problem != nil {
				t.Fatalf("got %+v, %v, %v", got, problem, err)
			}
			if !routes {
				if got.routes != nil {
					t.Errorf("got routes %v", got.routes)
				}
				got.routes = sampleState().routes
			}
			got.Uplinks, got.BeforeApply, got.Static = sampleState().Uplinks, sampleState().BeforeApply, sampleState().Static
			got.Endpoints[0].MACLimit, got.Endpoints[0].Storm = new(int), new(int)
			got.Leaving, got.Endpoints[0].Former = sampleState().Leaving, sampleState().Endpoints[0].Former
			got.Published, got.Host, got.Endpoints = sampleState().Published, sampleState().Host, append(got.Endpoints[:1], sampleState().Endpoints[1:]...)
			if err := s.save(got); err != nil {
				t.Fatal(err)
			}
			if now, err := os.ReadFile(s.path()); err != nil || !bytes.Equal(now, present) {
				t.Errorf("written again: %s, %v", now, err)
			}
		})
	}
}

// A crash or a bad disk may cut the file anywhere or change any byte: that is
// never taken for a state.
func TestStateDamage(t *testing.T) {
	whole, err := encodeState(sampleState())
	if err != nil {
		t.Fatal(err)
	}
	for n := range whole {
		if _, err := decodeState(whole[:n]); err == nil {
			t.Fatalf("cut after %d of %d bytes: read", n, len(whole))
		}
		for _, mask := range []byte{0x01, 0x20, 0x80, 0xff} {
			b := bytes.Clone(whole)
			b[n] ^= mask
			if _, err := decodeState(b); err == nil {
				t.Fatalf("byte %d changed from %q to %q: read", n, whole[n], b[n])
			}
		}
		for _, extra := range []byte{' ', '\n', '0', '}'} {
			b := append(append(bytes.Clone(whole[:n]), extra), whole[n:]...)
			if _, err := decodeState(b); err == nil {
				t.Fatalf("%q put before byte %d: read", extra, n)
			}
		}
	}
	if _, err := decodeState(append(whole, '\n')); err == nil {
		t.Error("a byte more: read")
	}
}

func TestStateOfAnotherVersion(t *testing.T) {
	for _, version := range []int{oldestState - 1, stateVersion + 1} {
		_, err := decodeState(sealState(version, []byte(`{"networks":"in another way"}`)))
		if err == nil || !strings.Contains(err.Error(), "version") {
			t.Errorf("version %d: got %v", version, err)
		}
	}
}

func TestStoreWritesOnChangeOnly(t *testing.T) {
	s := &store{dir: t.TempDir()}
	if st, problem, err := s.load(); err != nil || problem != nil || len(st.Networks) != 0 {
		t.Fatalf("no file: got %+v, %v, %v", st, problem, err)
	}
	if err := s.save(sampleState()); err != nil {
		t.Fatal(err)
	}
	long := time.Unix(1, 0)
	if err := os.Chtimes(s.path(), long, long); err != nil {
		t.Fatal(err)
	}
	again := &store{dir: s.dir}
	if _, problem, err := again.load(); err != nil || problem != nil {
		t.Fatal(problem, err)
	}
	if err := again.save(sampleState()); err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(s.path()); err != nil || !fi.ModTime().Equal(long) || fi.Mode().Perm() != 0o600 {
		t.Errorf("unchanged state was written, or may be read by all: %v, %v", fi, err)
	}
	changed := sampleState()
	changed.Static = changed.Static[:1]
	if err := again.save(changed); err != nil {
		t.Fatal(err)
	}
	st, problem, err := s.load()
	if err != nil || problem != nil || !reflect.DeepEqual(st, changed) {
		t.Errorf("got %+v, %v, %v", st, problem, err)
	}
	if left, _ := os.ReadDir(s.dir); len(left) != 1 {
		t.Errorf("temporary files stay: %v", left)
	}
}

func TestStoreSweep(t *testing.T) {
	s := &store{dir: t.TempDir()}
	for _, name := range []string{".state.json123", "state.json", "state.json.bad", "other"} {
		if err := os.WriteFile(filepath.Join(s.dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.sweep()
	var names []string
	left, _ := os.ReadDir(s.dir)
	for _, e := range left {
		names = append(names, e.Name())
	}
	if got, want := strings.Join(names, " "), "other state.json state.json.bad"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// What stands in the place of the state file is said with what to do about it.
func TestStateFileIsDirectory(t *testing.T) {
	r := newRig(t)
	if err := os.MkdirAll(filepath.Join(r.dir, "state.json"), 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := r.tryOpen()
	wantError(t, err, "state.json: is a directory", "move it away", "--state-dir")
}

// Too many open files are the limit's fault, and it can be raised.
func TestTooManyFiles(t *testing.T) {
	r := newRig(t)
	c := r.open("network blue=10.32.0.0/24")
	r.container("/run/netns/a")
	for _, cause := range []error{syscall.EMFILE, syscall.ENFILE} {
		r.failCreate = fmt.Errorf("open /dev/net/tun: %w", cause)
		_, err := c.Attach(ask(t, "blue", "netns:a"))
		wantError(t, err, cause.Error()+": raise the limit of open files", "ulimit -n")
		if got := Cured(fmt.Errorf("open raw socket: %w", cause)).Error(); !strings.HasPrefix(got, "open raw socket: "+cause.Error()+": raise the limit") {
			t.Errorf("got %s", got)
		}
	}
	if err := Cured(nil); err != nil {
		t.Error(err)
	}
	if other := errors.New("other"); Cured(other) != other {
		t.Error("another error got the cure")
	}
}

// onDisk returns the file as it is; empty where there is none.
func (s *store) onDisk() string {
	b, _ := os.ReadFile(s.path())
	return string(b)
}
