package control

import (
	"path"
	"strings"
	"testing"
)

// Whatever is written as a target is refused, or leads to a clean absolute path,
// has a name that no command can take for something else, and means the same
// when it is read back.
func FuzzParseTarget(f *testing.F) {
	for _, s := range []string{"netns:web", "netns:/var/run/netns/web", "pid:12", "web", "docker:x", "netns:/proc/7/ns/net", "netns:/", "netns:a@b", "netns://x//", "netns:/proc/07/ns/net"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := parseTarget(s)
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("%q: error on several lines: %v", s, err)
			}
			return
		}
		if got.isDocker() != (got.path == "") {
			t.Errorf("%q: path %q", s, got.path)
		}
		if !got.isDocker() && !path.IsAbs(got.path) || got.path != "" && path.Clean(got.path) != got.path {
			t.Errorf("%q: path %q", s, got.path)
		}
		if got.base == "" || strings.ContainsAny(got.base, "@:/ ") {
			t.Errorf("%q: base %q", s, got.base)
		}
		again, err := parseTarget(got.text)
		if err != nil || again != got {
			t.Errorf("%q: got %+v, read back %+v, %v", s, got, again, err)
		}
	})
}

// Names of ports are unique, whatever the targets are, and do not depend on
// their order.
func FuzzPortNames(f *testing.F) {
	f.Add("netns:a", "netns:/x/a", "netns:/y/a", "pid:1")
	f.Add("netns:pid-1", "pid:1", "netns:a@b", "netns:a:b")
	f.Fuzz(func(t *testing.T, a, b, c, d string) {
		var eps []*endpoint
		paths := map[string]bool{}
		for i, s := range []string{a, b, c, d} {
			tgt, err := parseTarget(s)
			network := []string{"blue", "red"}[i%2]
			if err != nil || paths[network+tgt.key] {
				continue
			}
			paths[network+tgt.key] = true
			eps = append(eps, &endpoint{endpointRecord: endpointRecord{Network: network}, target: tgt})
		}
		names := portNames(eps)
		seen := map[string]bool{atSwitch: true}
		for _, ep := range eps {
			if seen[names[ep]] {
				t.Errorf("%q is the name of two: %q %q %q %q", names[ep], a, b, c, d)
			}
			seen[names[ep]] = true
		}
		for i, j := 0, len(eps)-1; i < j; i, j = i+1, j-1 {
			eps[i], eps[j] = eps[j], eps[i]
		}
		for ep, name := range portNames(eps) {
			if names[ep] != name {
				t.Errorf("order matters: %q became %q", names[ep], name)
			}
		}
	})
}

// No content of the state file makes reading panic, and what is read is what
// would be written.
func FuzzDecodeState(f *testing.F) {
	whole, err := encodeState(sampleState())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add([]byte("{}"))
	f.Add(sealState(stateVersion, []byte("null")))
	f.Add(sealState(oldestState, []byte(`{"networks":[],"peers":[],"endpoints":[],"static_fdb":[]}`)))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := decodeState(b)
		if err != nil {
			return
		}
		if s == nil {
			t.Fatal("neither state nor error")
		}
		if _, err := encodeState(s); err != nil {
			t.Errorf("cannot be written again: %v", err)
		}
	})
}
