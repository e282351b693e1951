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

// legacies are the programs, and where the kernel lists the tables of each.
var legacies = []struct{ program, tables string }{
	{"iptables-legacy", "/proc/self/net/ip_tables_names"},
	{"ip6tables-legacy", "/proc/self/net/ip6_tables_names"},
}

// legacyTimeout is how long the program may wait for its lock.
const legacyTimeout = 5 * time.Second

// setDockerLegacy is setDocker for the older iptables.
func setDockerLegacy(links []string) (edited bool, err error) {
	for _, l := range legacies {
		tables, err := os.ReadFile(threadPath(l.tables))
		if err != nil || !slices.Contains(strings.Fields(string(tables)), "filter") {
			continue
		}
		changed, err := setChainLegacy(l.program, links)
		edited = edited || changed
		if err != nil {
			return edited, err
		}
	}
	return edited, nil
}

// threadPath names what the network namespace of the calling thread has.
func threadPath(path string) string { return strings.Replace(path, "/self/", "/thread-self/", 1) }

func setChainLegacy(program string, links []string) (edited bool, err error) {
	rules, err := runLegacy(program, "-S", dockerChain)
	if errors.As(err, new(*exec.ExitError)) || errors.Is(err, exec.ErrNotFound) {
		return false, nil // no such chain, or nobody here manages that table
	}
	if err != nil {
		return false, err
	}
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
			return edited, err
		}
		edited = true
	}
	for rule := range missing {
		if _, err := runLegacy(program, append([]string{"-I", dockerChain}, strings.Fields(rule)...)...); err != nil {
			return edited, err
		}
		edited = true
	}
	return edited, nil
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
