package control

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weft/internal/spec"
	"weft/tap"
)

// set changes a network by the items of an option list.
func set(t testing.TB, c *Controller, name, items string) (spec.NetworkSet, error) {
	t.Helper()
	ch, err := spec.ChangeFrom(strings.Fields(items))
	if err != nil {
		t.Fatal(err)
	}
	return c.SetNetwork(name, ch, false)
}

// placeText is a port as container and switch have it.
func placeText(addrs, gws any, mtu int) string { return fmt.Sprint(addrs, gws, mtu) }

// inside returns what the interfaces of the containers are, by port; what the
// switch thinks of them has to be the same.
func (r *rig) inside(c *Controller) string {
	r.t.Helper()
	var list []string
	for _, p := range c.namedPorts() {
		cfg := r.tap(p.ep.target.path, p.ep.IfName).cfg
		got := placeText(cfg.Addrs, cfg.Gateways, cfg.MTU)
		if want := placeText(p.ep.Addresses, p.ep.Gateways, p.ep.MTU); got != want {
			r.t.Errorf("port %s: the container has %s, the switch %s", p.name, got, want)
		}
		list = append(list, p.name+" "+got)
	}
	return strings.ReplaceAll(strings.Join(list, "; "), "[]", "-")
}

func TestSetNetworkFollows(t *testing.T) {
	const one, two = "a 10.1.0.5/24", "a 10.1.0.5/24; b 10.1.0.6/24"
	tests := []struct {
		name, network string
		ports         string // NAME ADDR...; ...
		set           string
		want          string // as inside tells it, or the words of an error behind '!'
	}{
		{"same length", "10.1.0.0/24,gateway=10.1.0.1,range=10.1.0.4-10.1.0.9", two, "10.2.7.0/24", "a [10.2.7.5/24] [10.2.7.1] 1450; b [10.2.7.6/24] [10.2.7.1] 1450"},
		{"overlapping, of the same length", "10.1.0.0/23", "a 10.1.0.5/23; b 10.1.1.5/23", "10.1.2.0/23", "a [10.1.2.5/23] - 1450; b [10.1.3.5/23] - 1450"},
		{"longer address", "10.1.0.0/24,gateway=10.1.0.1", "a 10.1.0.5/28; b 10.1.0.99/28", "10.2.0.0/24", "a [10.2.0.5/28] [10.2.0.1] 1450; b [10.2.0.99/28] - 1450"},
		{"wider", "10.1.0.0/24,gateway=10.1.0.1", "a 10.1.0.5/24; b 10.1.0.6/28", "10.1.0.0/16", "a [10.1.0.5/16] [10.1.0.1] 1450; b [10.1.0.6/28] [10.1.0.1] 1450"},
		{"narrower", "10.1.0.0/16,gateway=10.1.0.1", "a 10.1.0.255/16; b 10.1.0.6/16; c 10.1.9.9/16", "10.1.0.0/24", "a [10.1.0.2/24] [10.1.0.1] 1450; b [10.1.0.6/24] [10.1.0.1] 1450; c [10.1.0.3/24] [10.1.0.1] 1450"},
		{"elsewhere, of another length", "10.1.0.0/24", two, "10.2.0.0/16 range=10.2.5.0-10.2.5.9", "a [10.2.5.0/16] - 1450; b [10.2.5.1/16] - 1450"},
		{"another gateway", "10.1.0.0/24,gateway=10.1.0.1", one, "gateway=10.1.0.254", "a [10.1.0.5/24] [10.1.0.254] 1450"},
		{"a first gateway", "10.1.0.0/24", one, "gateway=10.1.0.254", "a [10.1.0.5/24] [10.1.0.254] 1450"},
		{"no gateway any more", "10.1.0.0/24,gateway=10.1.0.1", one, "gateway=none", "a [10.1.0.5/24] - 1450"},
		{"gateway and port change places", "10.1.0.0/24,gateway=10.1.0.1", "a 10.1.0.2/24", "10.2.0.0/24 gateway=10.2.0.3", "a [10.2.0.2/24] [10.2.0.3] 1450"},
		{"another way out", "10.1.0.0/24,gateway=10.1.0.1", "a 10.1.0.5/24@10.1.0.6; b 10.1.0.6/24; c 10.1.0.7/24@10.1.0.99", "10.2.0.0/24", "a [10.2.0.5/24] [10.2.0.6] 1450; b [10.2.0.6/24] [10.2.0.1] 1450; c [10.2.0.7/24] [10.2.0.99] 1450"},
		{"IPv6 besides", "10.1.0.0/24", two, "10.1.0.0/24 fd00:1::/64 gateway=fd00:1::1", "a [10.1.0.5/24 fd00:1::2/64] [fd00:1::1] 1450; b [10.1.0.6/24 fd00:1::3/64] [fd00:1::1] 1450"},
		{"IPv6 instead", "10.1.0.0/24,gateway=10.1.0.1,range=10.1.0.5-10.1.0.9", one, "fd00:1::/64", "a [fd00:1::1/64] - 1450"},
		{"IPv6 no more", "10.1.0.0/24,fd00:1::/64,gateway=fd00:1::1", "a 10.1.0.5/24 fd00:1::5/64", "10.1.0.0/24", "a [10.1.0.5/24] - 1450"},
		{"IPv6 renumbered", "fd00:1::/64,gateway=fd00:1::1", "a fd00:1::5/64", "fd00:2::/64", "a [fd00:2::5/64] [fd00:2::1] 1450"},
		{"MTU", "10.1.0.0/24", one, "mtu=1300", "a [10.1.0.5/24] - 1300"},
		{"MTU and prefix", "10.1.0.0/24,gateway=10.1.0.1", one, "10.2.0.0/24 mtu=1300", "a [10.2.0.5/24] [10.2.0.1] 1300"},
		{"nothing", "10.1.0.0/24", one, "10.1.0.0/24", "a [10.1.0.5/24] - 1450"},

		{"no room", "10.1.0.0/24", two, "10.1.0.12/30 gateway=10.1.0.13", `!no free address "blue" port b`},
		{"a gateway where a port is", "10.1.0.0/24", two, "gateway=10.1.0.6", "!gateway 10.1.0.6 port b"},
		{"a gateway where a port comes", "10.1.0.0/24", two, "10.2.0.0/24 gateway=10.2.0.6", "!gateway 10.2.0.6 port b"},
		{"a gateway left behind", "10.1.0.0/24,gateway=10.1.0.1", one, "10.2.0.0/16", "!10.1.0.1 10.2.0.0/16 --gateway"},
		{"a range left behind", "10.1.0.0/24,range=10.1.0.4-10.1.0.9", one, "10.2.0.0/16", "!10.1.0.4-10.1.0.9 10.2.0.0/16 --range"},
		{"a way out left behind", "10.1.0.0/24", "a 10.1.0.5/24@10.1.0.99", "10.2.0.0/16", "!port a 10.1.0.99"},
		{"its only address", "10.1.0.0/24,fd00:1::/64", "a fd00:1::5/64", "10.1.0.0/24", "!port a fd00:1::5/64"},
		{"MTU too small for IPv6", "10.1.0.0/24", "a 10.1.0.5/24 mtu=1000", "10.1.0.0/24 fd00:1::/64", "!port a 1000 1280"},
		{"another network's prefix", "10.1.0.0/24,gateway=10.1.0.1,vrf=v", one, "10.9.0.0/24", `!"red" 10.9.0.1`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			c := r.open()
			add(t, c, "blue="+tt.network, "red=10.9.0.0/24,gateway=10.9.0.1,vrf=v")
			for p := range strings.SplitSeq(tt.ports, "; ") {
				f := strings.Fields(p)
				r.container("/run/netns/" + f[0])
				own := f[len(f)-1] == "mtu=1000"
				if own {
					f = f[:len(f)-1]
				}
				a := ask(t, "blue", "netns:"+f[0], f[1:]...)
				if own {
					a.MTU = 1000
				}
				r.attach(c, a)
			}
			ports, devs, saved := stills(c.Ports()), r.inside(c), c.store.onDisk()
			dev := c.endpointList()[0].dev
			items := strings.ReplaceAll(tt.set, " fd00", ",fd00")
			ch, err := spec.ChangeFrom(strings.FieldsFunc(items, func(r rune) bool { return r == ' ' || r == ',' }))
			if err == nil {
				_, err = c.SetNetwork("blue", ch, true)
				if fmt.Sprint(stills(c.Ports())) != fmt.Sprint(ports) || r.inside(c) != devs || c.store.onDisk() != saved {
					t.Errorf("a dry run changed something: %s", r.inside(c))
				}
			}
			if words, refused := strings.CutPrefix(tt.want, "!"); refused {
				if err == nil {
					_, err = c.SetNetwork("blue", ch, false)
				}
				wantError(t, err, strings.Fields(words)...)
				if r.inside(c) != devs || c.store.onDisk() != saved {
					t.Errorf("a refused change left %s", r.inside(c))
				}
				return
			}
			if err == nil {
				_, err = c.SetNetwork("blue", ch, false)
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := r.inside(c); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			if c.endpointList()[0].dev != dev {
				t.Error("the TAP is another one")
			}
			if strings.Contains(c.store.onDisk(), "former") {
				t.Errorf("the state still has %s", c.store.last)
			}
			r.close(c)
			if got := r.inside(r.open()); got != tt.want {
				t.Errorf("after a restart: %s", got)
			}
		})
	}
}

// three opens a controller with three ports of blue.
func (r *rig) three() *Controller {
	c := r.open()
	add(r.t, c, "blue=10.1.0.0/24,gateway=10.1.0.1")
	for i, name := range []string{"a", "b", "c"} {
		r.container("/run/netns/" + name)
		r.attach(c, ask(r.t, "blue", "netns:"+name, fmt.Sprintf("10.1.0.%d/24", i+5)))
	}
	return c
}

const (
	threeWere = "a [10.1.0.5/24] [10.1.0.1] 1450; b [10.1.0.6/24] [10.1.0.1] 1450; c [10.1.0.7/24] [10.1.0.1] 1450"
	threeAre  = "a [10.2.0.5/24] [10.2.0.1] 1450; b [10.2.0.6/24] [10.2.0.1] 1450; c [10.2.0.7/24] [10.2.0.1] 1450"
)

// A container in which the change fails is named, and all are as they were.
func TestSetNetworkAllOrNothing(t *testing.T) {
	r := newRig(t)
	c := r.three()
	saved := c.store.onDisk()
	failed := false
	r.failChange = func(ns tap.Namespace, to tap.Config) error {
		if ns.Path == "/run/netns/b" && !failed {
			failed = true
			return errors.New("no buffer space available")
		}
		return nil
	}
	_, err := set(t, c, "blue", "10.2.0.0/24")
	wantError(t, err, "blue", "nothing is changed", "port b", "no buffer space")
	if got := r.inside(c); got != threeWere {
		t.Errorf("got %s", got)
	}
	if c.store.onDisk() != saved {
		t.Errorf("the state is %s", c.store.last)
	}
	if got := fmt.Sprint(c.domains["blue"].cfg.Prefixes, c.domains["blue"].cfg.Gateways); got != "[10.1.0.0/24] [10.1.0.1]" {
		t.Errorf("the switch has %s", got)
	}
	if _, err := set(t, c, "blue", "10.2.0.0/24"); err != nil {
		t.Fatal(err)
	}
	if got := r.inside(c); got != threeAre {
		t.Errorf("got %s", got)
	}
}

// Wherever the daemon ends, the next start makes a whole of it: the new state, or,
// where it was being taken back, the old one.
func TestSetNetworkCutShort(t *testing.T) {
	for end := 1; end <= 6; end++ {
		for _, failing := range []bool{false, true} {
			t.Run(fmt.Sprintf("at change %d, failing %t", end, failing), func(t *testing.T) {
				r := newRig(t)
				c := r.three()
				file := filepath.Join(r.dir, "state.json")
				var left []byte
				r.failChange = func(ns tap.Namespace, to tap.Config) error {
					if r.changes == end {
						left, _ = os.ReadFile(file)
					}
					if left != nil {
						return errors.New("the daemon is gone")
					}
					if failing && r.changes == 3 {
						return errors.New("no buffer space available")
					}
					return nil
				}
				if _, err := set(t, c, "blue", "10.2.0.0/24"); (err != nil) != (left != nil || failing) {
					t.Fatalf("got %v", err)
				}
				r.close(c)
				if left != nil {
					if err := os.WriteFile(file, left, 0o600); err != nil {
						t.Fatal(err)
					}
				}
				r.failChange = nil
				want := threeAre
				if failing && end > 3 {
					want = threeWere
				}
				c = r.open()
				if got := r.inside(c); got != want {
					t.Errorf("got %s", got)
				}
				if strings.Contains(c.store.onDisk(), "former") || len(c.Status().Degraded) > 0 {
					t.Errorf("degraded %v, state %s", c.Status().Degraded, c.store.last)
				}
			})
		}
	}
}

// Containers that are gone, or are going, do not stand in the way, and follow when
// they come back.
func TestSetNetworkOfContainersGone(t *testing.T) {
	r := newRig(t)
	c := r.three()
	r.kill("/run/netns/a")
	eventually(t, "port a is down", func() bool { return !c.Ports()[0].Up })
	r.mu.Lock()
	delete(r.containers, "/run/netns/b") // and nobody has noticed
	r.mu.Unlock()
	if _, err := set(t, c, "blue", "10.2.0.0/24"); err != nil {
		t.Fatal(err)
	}
	for i, p := range c.Ports() {
		if got, want := fmt.Sprint(p.Addresses), fmt.Sprintf("[10.2.0.%d/24]", i+5); got != want {
			t.Errorf("port %s has %s, want %s", p.Name, got, want)
		}
	}
	r.container("/run/netns/a")
	r.container("/run/netns/b")
	for _, name := range []string{"a", "b"} {
		r.attach(c, spec.Attach{Network: "blue", Target: "netns:" + name})
	}
	if got := r.inside(c); got != threeAre {
		t.Errorf("got %s", got)
	}
}

func TestSetDeclaredNetwork(t *testing.T) {
	r := newRig(t)
	c := r.open("network blue=10.1.0.0/24")
	_, err := set(t, c, "blue", "mtu=1300")
	wantError(t, err, `"blue"`, "weft.yaml", "restart weft run")
	if _, err := set(t, c, "blue", "10.1.0.0/24"); err != nil { // it is so already
		t.Error(err)
	}
}
