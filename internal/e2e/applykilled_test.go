package e2e

import (
	"strings"
	"testing"
	"time"

	"weft/internal/lab"
)

// The daemon is killed some time after an apply began: the next start makes of the
// host what the file says, or what there was before, also of what is exposed and
// published, and of the uplink.
func TestApplyKilled(t *testing.T) {
	l := lab.ForTest(t)
	lab.Need(t, "iproute2", "ip")
	lab.Need(t, "nftables", "nft")
	a := newApplied(t, l, "a")
	full, empty := a.write(a.named(hostFile)), a.write("networks: []\n")
	wants := map[string]string{} // what is exported, and what the host has, with either file
	for _, file := range []string{full, empty} {
		a.h.Weft("apply -f " + file)
		wants[a.h.Weft("export")] = file
	}
	settled(t, a.h)
	host := untroubled(a)
	seen := map[string]int{}
	for _, after := range []time.Duration{20, 50, 80, 120, 200, 300, 500} {
		for _, files := range [][2]string{{empty, full}, {full, empty}} {
			a.h.Weft("apply -f " + files[0])
			begun := make(chan struct{})
			go func() { // ends with the daemon, or before
				close(begun)
				a.h.CLI("apply -f " + files[1])
			}()
			<-begun
			time.Sleep(after * time.Millisecond)
			a.h.Kill()
			a.h.Restart()
			now := a.h.Weft("export")
			is := wants[now]
			if is == "" {
				t.Errorf("killed %d ms after an apply began, there is\n%s", after, now)
				continue
			}
			seen[is]++
			if out := a.h.Weft("apply -f " + is); out != "no difference\n" {
				t.Errorf("killed %d ms after an apply began, the same again: %s", after, out)
			}
			rules, _ := a.h.Output(t.Context(), "nft", "list", "tables")
			if up := strings.Contains(a.h.Weft("uplink ls"), "eth0"); up != (is == full) || strings.Contains(rules, "weft") != (is == full) {
				t.Errorf("killed %d ms after an apply began: uplink %t, tables %q, want those of %s", after, up, rules, now)
			}
			if is == full {
				eventually(t, 20*time.Second, func() string {
					if out := a.h.Weft("status"); strings.Contains(out, "in the middle of apply") {
						return out
					}
					return ""
				})
			}
		}
	}
	t.Logf("after %d starts: the full host %d times, the empty one %d times", 14, seen[full], seen[empty])
	a.h.Weft("apply -f " + empty)
	eventually(t, 20*time.Second, func() string { return lab.Changes(host, untroubled(a)) })
}

func untroubled(a *applied) string {
	return strings.ReplaceAll(unnumbered(a.h.snapshot()), " tentative", "")
}
