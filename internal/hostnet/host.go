package hostnet

import (
	"errors"
	"fmt"
	"syscall"
)

// errReadOnly is what a read-only /proc/sys answers, as in a container.
var errReadOnly = syscall.EROFS

// Host is the network namespace that the process is in. Its zero value is ready.
// One goroutine at a time uses it; it holds no descriptor between calls.
type Host struct {
	seen      string            // the rules as the kernel listed them after they were set; empty: not yet
	apart     string            // the interfaces between which those rules let nothing pass
	docker    map[string]bool   // Docker's chains that were there the last time
	onStep    func(what string) // told before each change; nil: nobody
	oldKernel bool              // as if the kernel had no force_forwarding; for tests
}

func (h *Host) step(what string) {
	if h.onStep != nil {
		h.onStep(what)
	}
}

// ErrUntouched says that the kernel took no rules, and nothing else was changed.
var ErrUntouched = errors.New("nothing was changed")

// untouched is an error of a kernel that took no rules.
type untouched struct{ error }

func (u untouched) Unwrap() error        { return u.error }
func (u untouched) Is(target error) bool { return target == ErrUntouched }

// Apply makes the host what p says. On error some of it may be done: Apply with
// the former plan takes that back. Where the error is ErrUntouched, nothing was.
func (h *Host) Apply(p Plan) error {
	_, err := h.bring(p, true)
	return err
}

// Check brings the host back to p, where somebody has changed it, and says what
// was changed, in words for people; empty: nothing. For a plan that was not
// applied by this Host the rules are set anew without a word.
func (h *Host) Check(p Plan) (repaired []string, err error) {
	return h.bring(p, false)
}

// bring is Apply, which sets the rules in any case, and Check.
func (h *Host) bring(p Plan, set bool) (changed []string, err error) {
	for _, l := range p.Links {
		h.step("settings of " + l.Name)
		if err := h.setLink(l.Name); err != nil {
			return nil, err
		}
	}
	// The rules come before forwarding, so that nothing passes that they would drop,
	// and where they are refused nothing else was changed.
	h.step("rules")
	edited := false
	if set {
		err = h.setTable(p)
	} else {
		edited, err = h.checkTable(p)
	}
	if edited {
		changed = append(changed, "nftables table inet "+tableName)
	}
	if err != nil {
		return changed, err
	}
	h.step("sysctls")
	keys, err := setSysctls(p.Sysctls)
	for _, key := range keys {
		changed = append(changed, "sysctl net/"+key)
	}
	if err != nil {
		return changed, err
	}
	h.step("docker")
	edited, err = h.setDocker(p.linkNames())
	if edited {
		changed = append(changed, "rules in chain "+dockerChain)
	}
	if err != nil {
		return changed, err
	}
	for _, l := range p.Links {
		h.step("routes of " + l.Name)
		edited, err := setRoutes(l)
		if edited {
			changed = append(changed, "routes of "+l.Name)
		}
		if err != nil {
			return changed, err
		}
	}
	return changed, nil
}

// errno returns the cause without the call and the path in front of it.
func errno(err error) error {
	if e, ok := errors.AsType[syscall.Errno](err); ok {
		return e
	}
	return err
}

// refused words an error of nftables for people.
func refused(what string, err error) error {
	cause := errno(err)
	switch {
	case errors.Is(err, syscall.EPERM):
		return fmt.Errorf("%s: %w: run as root, or with CAP_NET_ADMIN; where that is so, another program owns table inet %s: see nft list table inet %s", what, cause, tableName, tableName)
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.EOPNOTSUPP), errors.Is(err, syscall.EPROTONOSUPPORT), errors.Is(err, syscall.EAFNOSUPPORT):
		return fmt.Errorf("%s: %w: this kernel lacks a part of nftables: load nf_tables, nft_chain_nat, nft_masq, nft_fib_inet, nft_reject_inet and nft_ct (modprobe), or expose without weft's help", what, cause)
	}
	return fmt.Errorf("%s: %w: see what `nft list ruleset` says", what, cause)
}
