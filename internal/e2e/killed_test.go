package e2e

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"weft/internal/lab"
)

// otherFile is a host that differs from hostFile in all that a command can change.
var otherFile = strings.NewReplacer(
	"expose: [10.1.0.254/24, no-snat]", "expose: [10.1.0.253/24]",
	"'netns:CONTAINER1 2222:22', ", "'netns:CONTAINER2 2222:23', ",
	"    vlan: 12\n", "    vlan: 13\n",
	"    mtu: 1400\n", "    mtu: 1300\n",
	"10.1.0.6/24", "10.1.0.16/24",
	"isolated: true", "allow-spoof: true",
	"  - network: red\n    target: netns:CONTAINER1\n    addresses: [10.2.0.5/24]\n    ifname: eth2\n", "  - network: red\n    target: netns:CONTAINER2\n    addresses: [10.2.0.5/24]\n    ifname: eth2\n",
	"address: 192.0.2.2", "address: 192.0.2.3",
).Replace(hostFile)

// The daemon is killed at any moment of any command, over and over: after a restart
// all of the command is done, or nothing of it, in its state, on the host and in the
// containers.
func TestKilledAnywhere(t *testing.T) {
	t.Parallel()
	l := lab.ForTest(t)
	lab.Need(t, "iproute2", "ip")
	lab.Need(t, "nftables", "nft")
	a := newApplied(t, l, "a")
	one, other := a.write(a.named(hostFile)), a.write(a.named(otherFile))
	c1, c2 := "netns:"+a.c[0].Name(), "netns:"+a.c[1].Name()
	lines := []string{
		"apply -f " + one, "uplink rm lan eth0", "uplink add lan eth0 --vlan 14", "network set red --mtu 1350", "network set blue 10.1.4.0/24,fd00:1::/64",
		"unpublish blue " + c1, "unpublish blue " + c2, "hide blue", "publish blue " + c2 + " 2222:22", "expose blue", "apply -f " + other,
	}
	// What there is after each line, where nobody is killed.
	look := func() string {
		return strings.Join([]string{unnumbered(a.h.snapshot()), unnumbered(a.kernel()), a.h.Weft("uplink ls"), a.h.Weft("publish ls")}, "\n")
	}
	calm := func() string { // duplicate address detection ends by itself
		eventually(t, 20*time.Second, func() string {
			if strings.Contains(a.h.snapshot(), "tentative") {
				return "duplicate address detection does not end"
			}
			return ""
		})
		return look()
	}
	state := make([]string, len(lines)) // exported after each line
	want := map[string]string{}
	run := func(i int) {
		if got := a.h.CLI(lines[i]); got.code != 0 {
			t.Fatalf("weft %s: %s", lines[i], got.err)
		}
	}
	for range 2 { // from the second time on the host is what the last line left
		for i := range lines {
			run(i)
			state[i] = a.h.Weft("export")
			want[state[i]] = calm()
		}
	}
	rounds := 60
	if testing.Short() {
		rounds = len(lines)
	}
	half, whole := 0, 0
	for n := range rounds {
		i := n % len(lines)
		before := a.h.Weft("export")
		done := make(chan answer, 1)
		go func() { done <- a.h.CLI(lines[i]) }() // ends with the command
		time.Sleep(time.Duration(rand.IntN(120)) * time.Millisecond)
		a.h.Kill()
		<-done
		a.h.Restart()
		got := a.h.Weft("export")
		switch got {
		case before:
			half++
		case state[i]:
			whole++
		default:
			t.Fatalf("killed in %s: there is\n%s\nand was\n%s\nand should be\n%s", lines[i], got, before, state[i])
		}
		eventually(t, 20*time.Second, func() string {
			if diff := lab.Changes(want[got], look()); diff != "" {
				return fmt.Sprintf("killed in %s: state and host differ:\n%s", lines[i], diff)
			}
			return ""
		})
		for _, d := range a.h.status().Degraded {
			if !strings.HasPrefix(d.What, "peer ") && !strings.Contains(d.Why, "no address of the family") { // as the files have it
				t.Errorf("killed in %s: degraded: %s: %s", lines[i], d.What, d.Why)
			}
		}
		if t.Failed() {
			return
		}
		run(i) // the second time it goes through
		if now := a.h.Weft("export"); now != state[i] {
			t.Fatalf("%s after a kill: there is\n%s\nwant\n%s", lines[i], now, state[i])
		}
	}
	t.Logf("killed %d times: %d commands were done, %d were not", rounds, whole, half)
}

// Rules of weft that are edited by hand are put back while it runs, within its next
// look, and by a start.
func TestRulesEditedByHand(t *testing.T) {
	t.Parallel()
	x := newExposed(t)
	serve(t, x.web.NS, "tcp", 7777)
	x.h1.Weft("expose blue 10.10.0.254/24 fd00:10::fe/64")
	x.h1.Weft("publish blue " + x.web.target() + " 2222:7777")
	good := x.h1.snapshot()
	for _, edit := range []string{
		"nft flush table inet weft",
		"nft delete table inet weft",
		"nft delete rule inet weft postrouting handle $(nft -a list chain inet weft postrouting | sed -n 's/.*masquerade.*handle //p' | head -1)",
		"nft 'add chain inet weft mine { type filter hook forward priority -5; policy drop; }'",
		"nft insert rule inet weft forward drop",
		"nft flush ruleset",
	} {
		for _, when := range []string{"while it runs", "while it is down"} {
			if when == "while it is down" {
				x.h1.Kill()
			}
			in(t, x.h1.NS, edit)
			if when == "while it is down" {
				x.h1.Restart()
			}
			what := edit + " " + when
			eventually(t, 15*time.Second, func() string {
				if diff := lab.Changes(good, x.h1.snapshot()); diff != "" {
					return what + ": the host is not as before:\n" + diff
				}
				return ""
			})
			wantSeen(t, what, x.client, "tcp", lanHost, 2222, lanClient)
		}
	}
}
