package control

import (
	"path"
	"strconv"
	"strings"

	"weft/internal/spec"
)

// netnsDir is where `ip netns` keeps its namespaces (ip-netns(8)).
const netnsDir = "/run/netns"

// target is where a container's network namespace is found.
type target struct {
	text      string // as TARGET is written
	key       string // two targets are the same when their keys are
	path      string // of the nsfs file; empty: of a Docker container that was not looked up
	base      string // the port's name where nothing else has it
	pid       int    // where the path is that of a process, or of a thread; else 0
	thread    bool   // the path is that of a thread, whose namespace is there for a while, as of a bench
	container string // id of the Docker container that path leads to; empty: none, or not looked up
}

// parseTarget reads netns:NAME, netns:/path, pid:N, docker:NAME or NAME. Docker
// is not asked.
func parseTarget(s string) (target, error) {
	parsed, err := spec.ParseTarget(s)
	if err != nil {
		return target{}, err
	}
	t := target{text: parsed.String(), base: portBase(parsed.PortName())}
	switch {
	case parsed.Scheme == spec.SchemeDocker:
		t.key = t.text
		return t, nil
	case parsed.Scheme == spec.SchemePID:
		t.path = pidPath(parsed.Value)
	case path.IsAbs(parsed.Value):
		t.path = parsed.Value
	default:
		t.path = netnsDir + "/" + parsed.Value
	}
	if rest, ok := strings.CutPrefix(t.path, "/var/run/"); ok { // the old name of /run
		t.path = "/run/" + rest
	}
	t.key = t.path
	t.pid, t.thread = pidOf(t.path)
	return t, nil
}

// isDocker reports whether t is a Docker container. All others are found by a path alone.
func (t target) isDocker() bool { return strings.HasPrefix(t.key, spec.SchemeDocker+":") }

// dockerName returns what follows docker: in t.
func (t target) dockerName() string { return strings.TrimPrefix(t.key, spec.SchemeDocker+":") }

// dockerTarget returns the target of a container whose process is pid; 0 where
// it has none.
func dockerTarget(name, id string, pid int) target {
	text := spec.SchemeDocker + ":" + name
	t := target{text: text, key: text, base: portBase(name), pid: pid, container: id}
	if pid != 0 {
		t.path = pidPath(strconv.Itoa(pid))
	}
	return t
}

// pidPath returns where the network namespace of a process is (proc(5)).
func pidPath(pid string) string { return "/proc/" + pid + "/ns/net" }

// pidOf returns the N of /proc/N/ns/net, and the T of /proc/N/task/T/ns/net, which
// is a thread's; 0 for other paths.
func pidOf(p string) (pid int, thread bool) {
	rest, ok1 := strings.CutPrefix(p, "/proc/")
	rest, ok2 := strings.CutSuffix(rest, "/ns/net")
	process, rest, thread := strings.Cut(rest, "/task/")
	if !ok1 || !ok2 || !isPID(process) || thread && !isPID(rest) {
		return 0, false
	}
	if !thread {
		rest = process
	}
	pid, _ = strconv.Atoi(rest)
	return pid, thread
}

// isPID reports whether s is a process id as the kernel writes it.
func isPID(s string) bool {
	n, err := strconv.Atoi(s)
	return err == nil && n > 0 && strconv.Itoa(n) == s
}
