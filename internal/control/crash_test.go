package control

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"weft/internal/header"
	"weft/internal/spec"
	"weft/tap"
)

// crashHost and otherHost are what apply leads to and fro between: everything that
// takes writes of its own differs.
const (
	crashHost = `networks:
- {name: blue, prefixes: 10.1.0.0/24, gateway: 10.1.0.1, expose: [10.1.0.254/24], publish: ["netns:web 80:80"]}
- {name: lan, prefixes: 10.3.0.0/24}
uplinks:
- {network: lan, device: eth0}
attachments:
- {network: blue, target: "netns:web", addresses: [10.1.0.5/24]}
fdb:
- {network: lan, mac: "02:00:00:00:00:78", to: "uplink:eth0"}
`
	otherHost = `networks:
- {name: blue, prefixes: 10.2.0.0/24, gateway: 10.2.0.1, publish: ["netns:app 81:80", "netns:app 80:80"]}
- {name: red, prefixes: 10.4.0.0/24, expose: no-snat}
- {name: wan, prefixes: 10.3.0.0/24}
peers:
- {name: h2, address: 192.0.2.2}
uplinks:
- {network: wan, device: eth0, vlan: 7}
attachments:
- {network: blue, target: "netns:app", addresses: [10.2.0.6/24]}
- {network: red, target: "netns:web", ifname: eth2, addresses: [10.4.0.5/24]}
`
)

// crashCommands are commands with more than one step, and what there was before.
var crashCommands = []struct {
	name, before string // before: a file for apply
	do           func(c *Controller) error
}{
	{"expose", strings.Replace(crashHost, `expose: [10.1.0.254/24], publish: ["netns:web 80:80"]`, "vrf: v", 1), func(c *Controller) error {
		_, err := c.Expose(spec.Expose{Network: "blue"})
		return err
	}},
	{"hide", strings.Replace(crashHost, `, publish: ["netns:web 80:80"]`, "", 1), func(c *Controller) error { return c.Hide("blue") }},
	{"publish", strings.Replace(crashHost, `, expose: [10.1.0.254/24], publish: ["netns:web 80:80"]`, "", 1), func(c *Controller) error {
		_, err := c.Publish(spec.Publish{Network: "blue", Target: "netns:web", Port: 80, To: 80})
		return err
	}},
	{"unpublish", strings.Replace(crashHost, `expose: [10.1.0.254/24], `, "", 1), func(c *Controller) error { return c.Unpublish("blue", "netns:web", "") }},
	{"uplink add", strings.NewReplacer("- {network: lan, device: eth0}\n", "", "uplinks:\n", "", "fdb:\n", "", "- {network: lan, mac: \"02:00:00:00:00:78\", to: \"uplink:eth0\"}\n", "").Replace(crashHost), func(c *Controller) error {
		_, err := c.AddUplink(spec.Uplink{Network: "lan", Device: "eth0"})
		return err
	}},
	{"uplink rm", crashHost, func(c *Controller) error { return c.RemoveUplink("lan", "eth0") }},
	{"network set", crashHost, func(c *Controller) error {
		_, err := c.SetNetwork("blue", spec.NetworkChange{Prefixes: &[]netip.Prefix{prefix("10.9.0.0/24")}, MTU: new(1300)}, false)
		return err
	}},
	{"detach", crashHost, func(c *Controller) error { return c.Detach("blue", "netns:web") }},
	{"apply", crashHost, func(c *Controller) error { return applyOnly(c, otherHost) }},
	{"apply back", otherHost, func(c *Controller) error { return applyOnly(c, crashHost) }},
	{"apply nothing", crashHost, func(c *Controller) error { return applyOnly(c, "networks: []\n") }},
	{"apply that fails last", crashHost, func(c *Controller) error {
		return applyOnly(c, strings.Replace(otherHost, "81:80", "999:80", 1))
	}},
}

func applyOnly(c *Controller, text string) error {
	_, err := apply(c, text, false)
	return err
}

// crashRig is a host with a link, containers, and what before says.
func crashRig(t *testing.T, before string) (*rig, *Controller) {
	t.Helper()
	r := newExposed(t)
	r.host.busy = map[string]bool{"999/tcp": true}
	r.setLink("eth0", tap.LinkState{Index: 2, MAC: header.MAC(0x020000000099), MTU: 1500, Up: true, Carrier: true})
	for _, name := range []string{"web", "app"} {
		r.container("/run/netns/" + name)
	}
	c := r.open()
	r.applied(c, before)
	return r, c
}

// reopened is all that there is after a restart: what is wanted, and what the host,
// the containers and the switch really have.
func (r *rig) reopened(c *Controller) string {
	r.t.Helper()
	r.close(c)
	r.host.steps, r.host.crashAt, r.host.crashed = 0, 0, false
	c = r.open()
	wrong := c.Status().Degraded
	for i := range wrong {
		wrong[i].Since = time.Time{}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s\nplan %+v\nsettings %v\nports %+v\nuplinks %+v\npublished %+v\ndegraded %v\nleft to do %q %v\n", r.exported(c), r.host.plan, r.host.settings, stills(c.Ports()), c.Uplinks(), c.Published(), wrong, c.beforeApply, c.leaving)
	for _, path := range sortedKeys(r.containers) {
		for _, name := range sortedKeys(r.containers[path].taps) {
			fmt.Fprintln(&b, path, name, r.containers[path].taps[name].cfg)
		}
	}
	r.close(c)
	return b.String()
}

// The process dies before each step of a command, be it a write of the state or a
// change of the host or a container: after a restart all of it is done, or nothing.
func TestCrashAtEveryStep(t *testing.T) {
	for _, cmd := range crashCommands {
		t.Run(cmd.name, func(t *testing.T) {
			r, c := crashRig(t, cmd.before)
			nothing := r.reopened(c)
			r, c = crashRig(t, cmd.before)
			if err := cmd.do(c); (err != nil) != strings.Contains(cmd.name, "fails") {
				t.Fatal(err)
			}
			all := r.reopened(c)
			for at := 1; ; at++ {
				if at > 200 {
					t.Fatal("the command never ends")
				}
				r, c := crashRig(t, cmd.before)
				r.host.steps, r.host.crashAt = 0, at
				_ = cmd.do(c)
				crashed := r.host.crashed
				if got := r.reopened(c); got != nothing && got != all {
					t.Errorf("crash at step %d: there is\n%s\nwhich is neither\n%s\nnor\n%s", at, got, nothing, all)
				}
				if !crashed {
					t.Logf("%d steps", at-1)
					break
				}
				if t.Failed() {
					break
				}
			}
		})
	}
}

// Whichever write of the state fails, the first or the last: either apply says so, and
// the host is as it was, or all is done, also after a restart.
func TestApplyWriteFails(t *testing.T) {
	r, c := crashRig(t, crashHost)
	nothing := outcome{text: r.exported(c)}
	nothing.reopened = r.reopened(c)
	r, c = crashRig(t, crashHost)
	r.applied(c, otherHost)
	all := outcome{text: r.exported(c)}
	all.reopened = r.reopened(c)
	for _, howLong := range []string{"once", "for good"} {
		for at := 1; ; at++ {
			r, c := crashRig(t, crashHost)
			writes := 0
			c.store.onWrite = func() error {
				if writes++; writes == at || howLong == "for good" && writes > at {
					return errors.New("no space left on device")
				}
				return nil
			}
			err := applyOnly(c, otherHost)
			if writes < at {
				if err != nil || at < 10 {
					t.Errorf("%s: %d writes, and %v", howLong, writes, err)
				}
				break
			}
			want := nothing
			switch {
			case err == nil: // that TAPs are gone was not written: the next write does it
				want = all
			case !strings.Contains(err.Error(), "no space left"):
				t.Errorf("write %d fails %s: %v", at, howLong, err)
			case howLong == "for good" && strings.Contains(err.Error(), "take back"): // and what could not be
				continue
			}
			if now := r.exported(c); now != want.text {
				t.Errorf("write %d fails %s, %v: there is\n%s\nwant\n%s", at, howLong, err, now, want.text)
			}
			c.store.onWrite = nil
			if now := r.reopened(c); now != want.reopened {
				t.Errorf("write %d fails %s, %v: after a restart there is\n%s\nwant\n%s", at, howLong, err, now, want.reopened)
			}
		}
	}
}

// outcome is how a command ended: exported, and all that there is after a restart.
type outcome struct{ text, reopened string }
