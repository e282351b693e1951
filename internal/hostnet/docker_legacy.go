package hostnet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// The older iptables keeps its rules where nftables does not see them. Only its
// own program speaks to that (iptables-legacy(8)), and it is run only where the
// kernel says that such a table is in use.

// legacy is a program of the older iptables, and where the kernel lists its tables.
type legacy struct{ program, family, tables string }

var legacies = []legacy{
	{"iptables-legacy", "ip", "/proc/self/net/ip_tables_names"},
	{"ip6tables-legacy", "ip6", "/proc/self/net/ip6_tables_names"},
}

// inUse reports whether its table filter is there.
func (l legacy) inUse() bool {
	tables, err := os.ReadFile(threadPath(l.tables))
	return err == nil && slices.Contains(strings.Fields(string(tables)), "filter")
}

// legacyTimeout is how long the program may wait for its lock.
const legacyTimeout = 5 * time.Second

// setDockerLegacy is setDocker for the older iptables. What it does in a chain is
// told to note.
func setDockerLegacy(links []string, note func(chain string, added, removed bool)) error {
	for _, l := range legacies {
		if !l.inUse() {
			continue
		}
		rules, err := runLegacy(l.program, "-S", dockerChain)
		if errors.As(err, new(*exec.ExitError)) || errors.Is(err, exec.ErrNotFound) {
			continue // no such chain, or nobody here manages that table
		}
		if err != nil {
			return err
		}
		added, removed, err := setChainLegacy(l.program, rules, links)
		note(l.program, added, removed)
		if err != nil {
			return err
		}
	}
	return nil
}

// threadPath names what the network namespace of the calling thread has.
func threadPath(path string) string { return strings.Replace(path, "/self/", "/thread-self/", 1) }

// setChainLegacy brings the rules of the chain, as listed, in line.
func setChainLegacy(program, rules string, links []string) (added, removed bool, err error) {
	missing := map[string]bool{}
	for _, l := range links {
		missing[legacyRule("-i", l)], missing[legacyRule("-o", l)] = true, true
	}
	for line := range strings.Lines(rules) {
		rule, ours := strings.CutPrefix(strings.TrimSpace(line), "-A "+dockerChain+" ")
		if !ours || !strings.Contains(rule, " --comment "+tag+" ") {
			continue
		}
		if missing[rule] {
			delete(missing, rule)
			continue
		}
		if _, err := runLegacy(program, append([]string{"-D", dockerChain}, strings.Fields(rule)...)...); err != nil {
			return added, removed, err
		}
		removed = true
	}
	for rule := range missing {
		if _, err := runLegacy(program, append([]string{"-I", dockerChain}, strings.Fields(rule)...)...); err != nil {
			return added, removed, err
		}
		added = true
	}
	return added, removed, nil
}

// legacyRule is a rule as the program lists it.
func legacyRule(direction, link string) string {
	return direction + " " + link + " -m comment --comment " + tag + " -j ACCEPT"
}

// runLegacy runs the program on the table filter.
func runLegacy(program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), legacyTimeout)
	defer cancel()
	var out, diag bytes.Buffer
	cmd := exec.CommandContext(ctx, program, append([]string{"-w"}, args...)...)
	cmd.Stdout, cmd.Stderr = &out, &diag
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("run %s %s: %w: %s", program, strings.Join(args, " "), err, strings.TrimSpace(diag.String()))
	}
	return out.String(), nil
}
