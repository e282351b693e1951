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
		{"netns:/proc/12/task/13/ns/net", "/proc/12/task/13/ns/net", "net", 13},
		{"netns:/proc/12/task/x/ns/net", "/proc/12/task/x/ns/net", "net", 0},
		{"netns:/proc/x/task/13/ns/net", "/proc/x/task/13/ns/net", "net", 0},
	}
	for _, tt := range tests {
		got, err := parseTarget(tt.in)
		if want := (target{text: tt.in, key: tt.path, path: tt.path, base: tt.base, pid: tt.pid, thread: tt.pid == 13}); err != nil || got != want {
			if got.text = tt.in; got != want { // text is the canonical form
				t.Errorf("%s: got %+v, %v; want %+v", tt.in, got, err, want)
			}
		}
	}
}

// A name is Docker's, and where it leads to is not known before Docker was asked.
func TestParseTargetDocker(t *testing.T) {
	for in, name := range map[string]string{"web": "web", "docker:web": "web", "docker:3fa9": "3fa9"} {
		got, err := parseTarget(in)
		if want := (target{text: "docker:" + name, key: "docker:" + name, base: name}); err != nil || got != want || !got.isDocker() || got.dockerName() != name {
			t.Errorf("%s: got %+v, %v; want %+v", in, got, err, want)
		}
	}
}

func TestParseTargetRefuses(t *testing.T) {
	for in, want := range map[string]string{
		"-web":       "container",
		"docker:a b": "container",
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
