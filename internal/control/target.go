package control

import (
	"fmt"
	"path"
	"strconv"
	"strings"

	"weft/internal/spec"
)

// netnsDir is where `ip netns` keeps its namespaces (ip-netns(8)).
const netnsDir = "/run/netns"

// target is where a container's network namespace is found.
type target struct {
	text string // as TARGET is written
	path string // of the nsfs file; two targets are the same when their paths are
	base string // the port's name where nothing else has it
	pid  int    // where the path is that of a process; else 0
}

// parseTarget reads netns:NAME, netns:/path or pid:N.
func parseTarget(s string) (target, error) {
	parsed, err := spec.ParseTarget(s)
	if err != nil {
		return target{}, err
	}
	t := target{text: parsed.String(), base: portBase(parsed.PortName())}
	switch {
	case parsed.Scheme == spec.SchemePID:
		t.path = "/proc/" + parsed.Value + "/ns/net"
	case parsed.Scheme != spec.SchemeNetns:
		return target{}, fmt.Errorf("target %q: Docker containers cannot be named yet: use pid:N with the number that docker inspect -f '{{.State.Pid}}' %s prints, or netns:NAME", s, parsed.Value)
	case path.IsAbs(parsed.Value):
		t.path = parsed.Value
	default:
		t.path = netnsDir + "/" + parsed.Value
	}
	if rest, ok := strings.CutPrefix(t.path, "/var/run/"); ok { // the old name of /run
		t.path = "/run/" + rest
	}
	t.pid = pidOf(t.path)
	return t, nil
}

// pidOf returns the N of /proc/N/ns/net, and 0 for other paths.
func pidOf(p string) int {
	rest, ok1 := strings.CutPrefix(p, "/proc/")
	rest, ok2 := strings.CutSuffix(rest, "/ns/net")
	n, err := strconv.Atoi(rest)
	if !ok1 || !ok2 || err != nil || n < 1 || strconv.Itoa(n) != rest {
		return 0
	}
	return n
}
