package control

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"weft/fib"
	"weft/internal/spec"
)

// Whatever is asked for in whatever order: what was refused changed nothing,
// what works goes on working, and the switch has just the routes that work.
func TestRandomChanges(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			r := newRig(t)
			c := r.open()
			rnd := rand.New(rand.NewPCG(seed, 3))
			for i := range 150 {
				before := c.desired
				before.networks, before.peers, before.routes = copyOf(before)
				what, forced, err := randomChange(rnd, c)
				checkRouting(t, c)
				if err != nil {
					if now := fmt.Sprint(copyText(c.desired)); now != fmt.Sprint(copyText(before)) {
						t.Errorf("%s was refused (%v) and changed %s to %s", what, err, copyText(before), now)
					}
				}
				for _, r := range before.routeList() {
					now := c.routes.get(r.key())
					if before.problem(before.vrfs(), r) == nil && now != nil && c.problem(c.vrfs(), now) != nil && !forced {
						t.Errorf("%s broke route %s", what, r)
					}
				}
				if t.Failed() {
					t.Fatalf("step %d: %s: %v", i, what, err)
				}
			}
		})
	}
}

// randomChange does one thing of a small world.
func randomChange(rnd *rand.Rand, c *Controller) (what string, forced bool, err error) {
	pick := func(list ...string) string { return list[rnd.IntN(len(list))] }
	name := pick("a", "b", "c", "d")
	third := int(name[0]-'a') / 2 // a and b have the same prefix
	gateways := []string{"", fmt.Sprintf(",gateway=10.%d.0.1", third), fmt.Sprintf(",gateway=10.%d.0.2,gateway=fd%02d::1", third, third)}
	switch rnd.IntN(12) {
	case 0, 1:
		what = fmt.Sprintf("%s=10.%d.0.0/24,fd%02d::/64%s%s", name, third, third, gateways[rnd.IntN(3)], pick("", ",vrf=v", ",vrf=w", ",vrf=a"))
		n, _ := spec.ParseNetwork(what)
		_, err = c.AddNetwork(n)
	case 2:
		option := pick("gateway=none", fmt.Sprintf("gateway=10.%d.0.1", third), fmt.Sprintf("gateway=10.%d.0.2", third), fmt.Sprintf("10.%d.0.0/24", third), fmt.Sprintf("10.%d.0.0/23,fd%02d::/64", third, third), "vrf=none", "vrf=v", "vrf=w")
		what = "set " + name + " " + option
		ch, _ := spec.ChangeFrom([]string{option})
		_, err = c.SetNetwork(name, ch, false)
	case 3:
		forced = rnd.IntN(3) == 0
		what = fmt.Sprint("rm ", name, forced)
		err = c.RemoveNetwork(name, forced)
	case 4:
		what = pick("p=192.0.2.2", "q=192.0.2.3,networks=a", "s=192.0.2.4,networks=c,key=none")
		p, _ := spec.ParsePeer(what)
		_, err = c.AddPeer(p)
	case 5:
		what = "rm peer " + pick("p", "q", "s")
		err = c.RemovePeer(what[8:])
	case 6:
		if list := c.routeList(); len(list) > 0 {
			r := list[rnd.IntN(len(list))]
			what = "rm route " + r.String()
			err = c.RemoveRoute(r.Prefix, r.VRF)
		}
	default:
		what = pick("0.0.0.0/0", "10.0.0.0/8", "10.0.0.0/24", "10.0.0.0/28", "10.1.0.0/25", "10.1.0.9/32", "192.0.2.0/24", "fd01::/96", "fd09::/64") + "=" +
			pick("p", "q", "s", "10.0.0.9", "10.1.0.9", "fd01::9", "192.0.2.2", "10.0.0.1") + pick("", ",vrf=v", ",vrf=w", ",vrf=a")
		r, _ := spec.ParseRoute(what)
		_, err = c.AddRoute(r, false)
	}
	return what, forced, err
}

// checkRouting compares the tables of the switch with what works, by a way of
// its own.
func checkRouting(t *testing.T, c *Controller) {
	t.Helper()
	want := map[string]bool{}
	rows, err := routeRowsOf(c, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		if row.Problem == "" {
			want[row.VRF+" "+row.Prefix.String()] = true
		}
	}
	got := 0
	for name, v := range c.vrfs() {
		table := c.sw.Routes(v.key)
		if table == nil {
			t.Errorf("the switch has no vrf %s", name)
			continue
		}
		for p, hop := range table.All() {
			got++
			if !want[name+" "+p.String()] {
				t.Errorf("the switch has %s in vrf %s, which is not to be", p, name)
			}
			checkHop(t, c, table, p, hop)
		}
	}
	if got != len(want) {
		t.Errorf("the switch has %d routes, want %v", got, want)
	}
}

// checkHop follows a next hop as the dataplane does: one step, then a connected
// network with a gateway.
func checkHop(t *testing.T, c *Controller, table *fib.Routes, p netip.Prefix, hop fib.NextHop) {
	t.Helper()
	switch hop.Kind {
	case fib.HopAddr:
		if direct, _ := table.Lookup(hop.Via); direct.Kind != fib.HopConnected {
			t.Errorf("route %s via %s: that is reached by %+v", p, hop.Via, direct)
		}
	case fib.HopPeer:
		_, peers := c.namesByID()
		for id, name := range peers {
			if uint16(id) == hop.Dest.ID() && (p.Bits() == 0 || !p.Contains(c.peers[name].Address)) {
				return
			}
		}
		t.Errorf("route %s leads to %s, which is none or lies in it", p, hop.Dest)
	case fib.HopConnected:
		for name, d := range c.domains {
			if uint16(d.id) == hop.Domain {
				if n := c.networks[name]; n == nil || len(n.Gateways) == 0 {
					t.Errorf("%s is connected to %q, which has no gateway", p, name)
				}
				return
			}
		}
		t.Errorf("%s is connected to domain %d, which does not exist", p, hop.Domain)
	}
}

// copyOf returns copies of the maps of d, networks included.
func copyOf(d desired) (map[string]*network, map[string]*peer, routeTable) {
	networks, peers := map[string]*network{}, map[string]*peer{}
	for k, n := range d.networks {
		c := *n
		networks[k] = &c
	}
	for k, p := range d.peers {
		peers[k] = p
	}
	return networks, peers, d.routes.clone()
}

// copyText describes d.
func copyText(d desired) string {
	s := ""
	for _, name := range sortedKeys(d.networks) {
		s += d.networks[name].String() + " "
	}
	for _, name := range sortedKeys(d.peers) {
		s += d.peers[name].String() + " "
	}
	for _, r := range d.routeList() {
		s += r.String() + " "
	}
	return s
}
