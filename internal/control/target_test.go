package control

import (
	"strings"
	"testing"
)

func TestParseTarget(t *testing.T) {
	tests := []struct {
		in, path, base string
		pid            int
	}{
		{"netns:web", "/run/netns/web", "web", 0},
		{"netns:/run/netns/web", "/run/netns/web", "web", 0},
		{"netns:/var/run/netns/web", "/run/netns/web", "web", 0}, // the same container, however it is named
		{"netns:/var/run/docker/netns/1234abcd", "/run/docker/netns/1234abcd", "1234abcd", 0},
		{"netns:/a/../b", "/b", "b", 0},
		{"netns:/proc/12/ns/net", "/proc/12/ns/net", "net", 12},
		{"pid:12", "/proc/12/ns/net", "pid-12", 12},
		{"netns:/proc/self/ns/net", "/proc/self/ns/net", "net", 0},
		{"netns:/proc/12/task/13/ns/net", "/proc/12/task/13/ns/net", "net", 0},
	}
	for _, tt := range tests {
		got, err := parseTarget(tt.in)
		if want := (target{text: tt.in, path: tt.path, base: tt.base, pid: tt.pid}); err != nil || got != want {
			if got.text = tt.in; got != want { // text is the canonical form
				t.Errorf("%s: got %+v, %v; want %+v", tt.in, got, err, want)
			}
		}
	}
}

func TestParseTargetRefuses(t *testing.T) {
	for in, want := range map[string]string{
		"web":        "pid:N",
		"docker:web": "netns:NAME",
		"vm:web":     "vm",
		"pid:0":      "pid:4711",
		"netns:":     "netns:web",
		"netns:a/b":  "'/'",
		"":           "netns:NAME",
	} {
		_, err := parseTarget(in)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: got %v, want something with %q", in, err, want)
		}
	}
}
