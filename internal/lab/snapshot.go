package lab

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// volatile is what changes from one moment to the next, and the numbers that the
// kernel gives to the actions of filters.
var volatile = regexp.MustCompile(`(?m)( (expires|valid_lft|preferred_lft|used) \S+| state \S+|^# (Generated|Completed) .*$|\[\d+:\d+\]| packets \d+ bytes \d+|\tindex \d+)`)

// unsettled are settings below /proc/sys/net that are counts of what is going on.
var unsettled = []string{"netfilter/nf_conntrack_count", "ipv4/tcp_fastopen_key"}

// Snapshot returns, as text, what a host has that a program may change and has to
// put back: every setting below /proc/sys/net, firewall rules of nftables and of
// the old iptables, links with their promiscuity, queueing disciplines and
// filters, addresses, groups, routes, rules, permanent neighbours and proxies.
// It needs the programs nft, ip and tc.
func (n *NS) Snapshot(ctx context.Context) (string, error) {
	var b strings.Builder
	if err := n.Do(func() error { return settings(&b) }); err != nil {
		return "", fmt.Errorf("read settings of %s: %w", n.name, err)
	}
	for _, line := range []string{
		"nft list ruleset", "ip -d -o link", "ip -d -o addr", "ip -d route show table all", "ip -d -6 route show table all", "ip rule", "ip -6 rule",
		"ip neigh show nud permanent", "ip neigh show proxy", "ip -6 neigh show proxy", "tc qdisc show",
	} {
		if err := n.add(ctx, &b, line); err != nil {
			return "", err
		}
	}
	groups, err := n.Output(ctx, "ip", "maddress")
	if err != nil {
		return "", err
	}
	b.WriteString(byDevice(groups))
	for line := range strings.Lines(b.String()) {
		if f := strings.Fields(line); len(f) > 4 && f[0] == "qdisc" && slices.Contains([]string{"clsact", "ingress"}, f[1]) {
			for _, end := range []string{"ingress", "egress"} {
				if err := n.add(ctx, &b, "tc filter show dev "+f[4]+" "+end); err != nil && f[1] == "clsact" {
					return "", err
				}
			}
		}
	}
	for _, name := range []string{"iptables-legacy-save", "ip6tables-legacy-save"} {
		if _, err := exec.LookPath(name); err != nil {
			continue
		}
		if err := n.add(ctx, &b, name); err != nil {
			return "", err
		}
	}
	return volatile.ReplaceAllString(b.String(), ""), nil
}

// byDevice puts the name of its device, and not its number, before each line of
// ip-maddress(8), and sorts them: the kernel has them in the order of their coming.
func byDevice(groups string) string {
	var list []string
	device := ""
	for line := range strings.Lines(groups) {
		if _, name, ok := strings.Cut(line, ":\t"); ok {
			device = strings.TrimSpace(name)
			continue
		}
		list = append(list, device+" "+strings.TrimSpace(line)+"\n")
	}
	slices.Sort(list)
	return strings.Join(list, "")
}

// add adds what a command prints.
func (n *NS) add(ctx context.Context, b *strings.Builder, line string) error {
	words := strings.Fields(line)
	out, err := n.Output(ctx, words[0], words[1:]...)
	b.WriteString(out)
	return err
}

// settings adds what stands below /proc/sys/net of the thread's namespace.
func settings(b *strings.Builder) error {
	const top = "/proc/sys/net/"
	return filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || slices.Contains(unsettled, strings.TrimPrefix(path, top)) {
			return nil // an interface may go meanwhile
		}
		if v, err := os.ReadFile(path); err == nil { // some cannot be read
			fmt.Fprintf(b, "%s %s", path, v)
		}
		return nil
	})
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
