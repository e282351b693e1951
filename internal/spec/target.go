package spec

import (
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
	"unicode"
)

// Schemes of a Target.
const (
	SchemeNetns  = "netns"
	SchemePID    = "pid"
	SchemeDocker = "docker"
)

// Target names whose network namespace a port belongs to.
type Target struct {
	Scheme string // SchemeNetns, SchemePID or SchemeDocker
	Value  string // netns: a name below /run/netns, or an absolute path; pid: a decimal number; docker: a container
}

// ParseTarget reads netns:NAME, netns:/path, pid:N or docker:NAME; a bare name
// is a Docker container. Whether the thing exists is not asked.
func ParseTarget(s string) (Target, error) {
	scheme, value, ok := strings.Cut(s, ":")
	if !ok {
		scheme, value = SchemeDocker, s
	}
	var err error
	switch scheme {
	case SchemeNetns:
		value, err = checkNetns(value)
	case SchemePID:
		value, err = checkPID(value)
	case SchemeDocker:
		err = checkContainer(value)
	default:
		err = fmt.Errorf("scheme %q is not known; want netns:NAME, netns:/path, pid:N or docker:NAME", scheme)
	}
	if err != nil {
		return Target{}, fmt.Errorf("target %q: %w", s, err)
	}
	return Target{scheme, value}, nil
}

func checkNetns(s string) (string, error) {
	switch {
	case s == "", s == ".", s == "..", strings.HasSuffix(s, "/"):
		return "", errors.New("want the name of a namespace or an absolute path, as in netns:web or netns:/run/netns/web")
	case hasControl(s):
		return "", errors.New("a namespace has no control characters in its name")
	case s[0] == '/':
		return path.Clean(s), nil
	case strings.Contains(s, "/"):
		return "", fmt.Errorf("a path starts with '/'; maybe you meant netns:/%s", s)
	case len(s) > 255:
		return "", errors.New("the name of a namespace has at most 255 bytes")
	}
	return s, nil
}

func checkPID(s string) (string, error) {
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil || n == 0 {
		return "", errors.New("want the number of a process, as in pid:4711")
	}
	return strconv.FormatUint(n, 10), nil
}

// checkContainer holds s to the alphabet of Docker's names and ids.
func checkContainer(s string) error {
	if s == "" {
		return errors.New("want netns:NAME, netns:/path, pid:N or the name of a Docker container")
	}
	for i, r := range s {
		alnum := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		if !alnum && (i == 0 || !strings.ContainsRune("_.-", r)) {
			return fmt.Errorf("%q cannot stand in the name of a container; a namespace is netns:NAME or netns:/path", r)
		}
	}
	return nil
}

// String returns the target with its scheme.
func (t Target) String() string { return t.Scheme + ":" + t.Value }

// PortName returns the name that a port of t has: pid-N, the last element of a
// path, else the name as it is.
func (t Target) PortName() string {
	switch t.Scheme {
	case SchemePID:
		return "pid-" + t.Value
	case SchemeNetns:
		return path.Base(t.Value)
	}
	return t.Value
}

func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || r == '\ufffd' })
}
