package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// lifetimes change from one moment to the next.
var lifetimes = regexp.MustCompile(`(?m) (expires|valid_lft|preferred_lft) \S+| state \S+`)

// Snapshot returns, as text, what a host has that a program may change and has to
// put back: settings of interfaces, firewall rules, links, addresses and routes.
// It needs the programs nft and ip.
func (n *NS) Snapshot(ctx context.Context) (string, error) {
	var b strings.Builder
	err := n.Do(func() error {
		for _, pattern := range []string{"ipv4/conf/*/*", "ipv6/conf/*/*", "ipv4/ip_forward"} {
			files, err := filepath.Glob("/proc/sys/net/" + pattern)
			if err != nil {
				return err
			}
			for _, f := range files {
				if v, err := os.ReadFile(f); err == nil { // some cannot be read
					fmt.Fprintf(&b, "%s %s", f, v)
				}
			}
		}
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("read settings of %s: %w", n.name, err)
	}
	for _, line := range []string{
		"nft list ruleset", "ip -o link", "ip -o addr", "ip route show table all", "ip -6 route show table all", "ip rule",
	} {
		words := strings.Fields(line)
		out, err := n.Output(ctx, words[0], words[1:]...)
		if err != nil {
			return "", err
		}
		b.WriteString(out)
	}
	return lifetimes.ReplaceAllString(b.String(), ""), nil
}

// Changes returns the lines that only one of two snapshots has; empty where both
// are the same.
func Changes(was, now string) string {
	a, b := strings.Split(was, "\n"), strings.Split(now, "\n")
	var out []string
	for _, s := range a {
		if !slices.Contains(b, s) {
			out = append(out, "- "+s)
		}
	}
	for _, s := range b {
		if !slices.Contains(a, s) {
			out = append(out, "+ "+s)
		}
	}
	if len(out) == 0 && was != now {
		return "the same lines in another order, or more than once"
	}
	return strings.Join(out, "\n")
}
