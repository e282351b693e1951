package control

import (
	"errors"
	"fmt"
	"reflect"
	"slices"

	"weft/internal/hostnet"
)

// fakeHost is a host without a kernel: what was set up last, and settings.
type fakeHost struct {
	plan     hostnet.Plan
	settings map[string]string // of sysctls that are in the way
	routes   []hostnet.HostRoute
	barred   []hostnet.Barred
	busy     map[string]bool // ports that are taken, as in 80/tcp
	fail     error           // of Apply
	edited   []string        // that Check finds

	steps   int // that were taken
	crashAt int // 0: never; else nothing is changed from this step on
	crashed bool
}

var errCrashed = errors.New("crashed")

// crash counts a step that changes something, and reports whether the process is
// dead by then.
func (h *fakeHost) crash(string) bool {
	h.steps++
	h.crashed = h.crashed || h.crashAt > 0 && h.steps >= h.crashAt
	return h.crashed
}

func (h *fakeHost) taken(proto string, port uint16) error {
	if h.busy[fmt.Sprintf("%d/%s", port, proto)] {
		return fmt.Errorf("port %d/%s of the host is taken", port, proto)
	}
	return nil
}

func (h *fakeHost) Routes() ([]hostnet.HostRoute, error)          { return h.routes, nil }
func (h *fakeHost) Barred(hostnet.Plan) ([]hostnet.Barred, error) { return h.barred, nil }

func (h *fakeHost) Sysctls(p hostnet.Plan, known []hostnet.Sysctl) ([]hostnet.Sysctl, error) {
	list := slices.Clone(known)
	for key, was := range h.settings {
		if was == "0" && !slices.ContainsFunc(list, func(s hostnet.Sysctl) bool { return s.Key == key }) {
			list = append(list, hostnet.Sysctl{Key: key, Was: was, Want: "1"})
		}
	}
	return list, nil
}

func (h *fakeHost) Apply(p hostnet.Plan) error {
	if h.crash("apply") {
		return errCrashed
	}
	if h.fail != nil {
		return h.fail
	}
	for _, s := range p.Sysctls {
		h.settings[s.Key] = s.Want
	}
	h.plan = p
	return nil
}

func (h *fakeHost) Check(p hostnet.Plan) ([]string, error) {
	if h.crashed {
		return nil, errCrashed
	}
	if h.fail != nil {
		return nil, h.fail
	}
	edited := h.edited
	if h.edited = nil; len(edited) == 0 && !reflect.DeepEqual(p, h.plan) {
		edited = []string{"the plan"}
	}
	h.plan = p
	return edited, nil
}

func (h *fakeHost) Release(list []hostnet.Sysctl) error {
	if h.crash("release") {
		return errCrashed
	}
	for _, s := range list {
		h.settings[s.Key] = s.Was
	}
	return nil
}

func (h *fakeHost) Clear(list []hostnet.Sysctl) (removed []string, err error) {
	if h.crash("clear") {
		return nil, errCrashed
	}
	if len(h.plan.Links) > 0 {
		removed = append(removed, "the plan")
	}
	h.plan = hostnet.Plan{}
	return removed, h.Release(list)
}
