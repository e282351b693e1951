package hostnet

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weft/internal/lab"
)

// place is a host with an uplink and a TAP of weft, in a namespace.
type place struct {
	*lab.NS
	t *testing.T
	h *Host
}

func newPlace(t *testing.T) *place {
	t.Helper()
	lab.Need(t, "nftables", "nft")
	l := lab.ForTest(t)
	host, lan := mustHost(t, l, "host"), mustHost(t, l, "lan")
	if err := host.SetSysctl("ipv6/conf/default/accept_dad", "0"); err != nil { // nothing shall change by itself
		t.Fatal(err)
	}
	err := l.Link(
		lab.End{NS: host, Name: "eth0", Addrs: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24"), netip.MustParsePrefix("2001:db8::1/64")}},
		lab.End{NS: lan, Name: "eth0", Addrs: []netip.Prefix{netip.MustParsePrefix("192.0.2.2/24")}},
	)
	if err != nil {
		t.Fatal(err)
	}
	p := &place{host, t, new(Host)}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) { // its own addresses become final in their time
		out := p.run("ip -6 addr show dev eth0")
		if strings.Contains(out, "fe80::") && !strings.Contains(out, "tentative") {
			return p
		}
		if time.Now().After(deadline) {
			t.Fatalf("addresses of eth0:\n%s", out)
		}
	}
}

func mustHost(t *testing.T, l *lab.Lab, name string) *lab.NS {
	t.Helper()
	ns, err := l.Host(name)
	if err != nil {
		t.Fatal(err)
	}
	return ns
}

// link makes the TAP of a plan's link, as control does by package tap.
func (p *place) link(l Link) {
	p.t.Helper()
	p.do(func() error {
		tap := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: l.Name}, Mode: netlink.TUNTAP_MODE_TAP, Flags: netlink.TUNTAP_DEFAULTS}
		if err := netlink.LinkAdd(tap); err != nil {
			return err
		}
		for _, a := range l.Addrs {
			addr := &netlink.Addr{IPNet: ipNet(a)}
			if a.Addr().Is6() {
				addr.Flags = unix.IFA_F_NODAD
			}
			if err := netlink.AddrAdd(tap, addr); err != nil {
				return err
			}
		}
		return netlink.LinkSetUp(tap)
	})
}

func (p *place) unlink(name string) {
	p.t.Helper()
	if err := p.RemoveLink(name); err != nil {
		p.t.Fatal(err)
	}
}

func (p *place) do(f func() error) {
	p.t.Helper()
	if err := p.Do(f); err != nil {
		p.t.Fatal(err)
	}
}

// run runs a program in the place and returns what it prints.
func (p *place) run(line string) string {
	p.t.Helper()
	out, err := p.try(line)
	if err != nil {
		p.t.Fatalf("%s: %v: %s", line, err, out)
	}
	return out
}

func (p *place) try(line string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return p.Output(ctx, "sh", "-c", line)
}

func (p *place) dump() string {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	text, err := p.Snapshot(ctx)
	if err != nil {
		p.t.Fatal(err)
	}
	return text
}

func (p *place) same(what, was string) {
	p.t.Helper()
	if diff := lab.Changes(was, p.dump()); diff != "" {
		p.t.Errorf("%s: the host is not as before:\n%s", what, diff)
	}
}

// blue is a plan with everything.
func blue() Plan {
	return Plan{
		Links: []Link{
			{
				Name: "weft-blue", SNAT: true,
				Addrs:  []netip.Prefix{netip.MustParsePrefix("10.10.0.254/24"), netip.MustParsePrefix("fd00:10::fe/64")},
				Routes: []Via{{netip.MustParsePrefix("172.17.2.0/24"), netip.MustParseAddr("10.10.0.1")}, {netip.MustParsePrefix("fd00:17::/64"), netip.MustParseAddr("fd00:10::1")}},
			},
			{Name: "weft-red", Addrs: []netip.Prefix{netip.MustParsePrefix("10.20.0.254/24")}},
		},
		Published: []Published{
			{Proto: "tcp", First: 2222, Count: 1, Target: netip.MustParseAddr("10.10.0.2"), To: 22, Comment: "blue netns:web"},
			{Proto: "udp", Host: netip.MustParseAddr("192.0.2.1"), First: 5000, Count: 10, Target: netip.MustParseAddr("10.10.0.2"), To: 5000},
			{Proto: "tcp", Host: netip.MustParseAddr("2001:db8::1"), First: 8000, Count: 3, Target: netip.MustParseAddr("fd00:10::2"), To: 9000},
		},
		Held: []Held{
			{Proto: "tcp", First: 2222, Count: 1, Comment: "blue netns:web"},
			{Proto: "udp", Host: netip.MustParseAddr("192.0.2.1"), First: 5000, Count: 10},
		},
	}
}

// apply does what control does: note what is changed, then change it.
func (p *place) apply(plan Plan) (done Plan) {
	p.t.Helper()
	p.do(func() (err error) {
		plan.Sysctls, err = p.h.Sysctls(plan, nil)
		if err != nil {
			return err
		}
		return p.h.Apply(plan)
	})
	return plan
}

// release takes all of a plan away.
func (p *place) release(plan Plan) {
	p.t.Helper()
	p.do(func() error {
		if err := p.h.Apply(Plan{}); err != nil {
			return err
		}
		return p.h.Release(plan.Sysctls)
	})
	for _, l := range plan.Links {
		p.unlink(l.Name)
	}
}

// ours makes the chain that Docker would have made, with a rule of the user's.
const ours = `iptables -w -N DOCKER-USER; iptables -w -A DOCKER-USER -s 203.0.113.9 -m comment --comment mine -j DROP; iptables -w -I FORWARD -j DOCKER-USER; iptables -w -P FORWARD DROP`

func TestHostNetns(t *testing.T) {
	for _, tt := range []struct {
		name, before string
		oldKernel    bool
	}{
		{name: "plain"},
		{name: "without force_forwarding", oldKernel: true},
		{name: "docker", before: ours},
		{name: "router", before: "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1"},
		{name: "odd settings", oldKernel: true, before: "sysctl -qw net.ipv6.conf.eth0.forwarding=1 net.ipv6.conf.lo.forwarding=1 net.ipv6.conf.eth0.accept_ra=1 net.ipv4.conf.eth0.forwarding=1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPlace(t)
			lab.Need(t, "iptables", "iptables")
			p.h.oldKernel = tt.oldKernel
			if tt.before != "" {
				p.run(tt.before)
			}
			was := p.dump()
			plan := blue()
			for _, l := range plan.Links {
				p.link(l)
			}
			plan = p.apply(plan)
			rules := p.run("nft list ruleset")
			for _, want := range []string{"tcp dport 2222 dnat ip to 10.10.0.2:22", "udp dport 5000-5009 dnat ip to 10.10.0.2", "tcp dport 8002 dnat ip6 to [fd00:10::2]:9002",
				`iifname != "lo" tcp dport 2222 reject with tcp reset`, `iifname != "lo" ip daddr 192.0.2.1 udp dport 5000-5009 reject`, `oifname != @exposed masquerade`} {
				if !strings.Contains(rules, want) {
					t.Errorf("rules lack %q:\n%s", want, rules)
				}
			}
			if tt.name == "docker" {
				if got := p.run("iptables -w -S DOCKER-USER"); strings.Count(got, "ACCEPT") != 4 || !strings.Contains(got, "-i weft-blue") {
					t.Errorf("chain DOCKER-USER is\n%s", got)
				}
			}
			if tt.name == "router" && len(plan.Sysctls) > 0 {
				t.Errorf("a router's settings are changed: %v", plan.Sysctls)
			}
			p.do(func() error {
				again, err := p.h.Sysctls(plan, plan.Sysctls)
				if len(again) != len(plan.Sysctls) {
					t.Errorf("second look finds %v, first %v", again, plan.Sysctls)
				}
				repaired, cerr := p.h.Check(plan)
				if cerr != nil || len(repaired) > 0 {
					t.Errorf("check of an untouched host: %q, %v", repaired, cerr)
				}
				return err
			})
			p.release(plan)
			p.same("release", was)
		})
	}
}

// What is changed by hand is found and put back.
func TestRepairNetns(t *testing.T) {
	p := newPlace(t)
	p.run(ours)
	plan := blue()
	for _, l := range plan.Links {
		p.link(l)
	}
	plan = p.apply(plan)
	good := p.dump()
	for _, tt := range []struct{ edit, want string }{
		{"nft flush chain inet weft postrouting", "nftables table inet weft"},
		{"nft delete table inet weft", "nftables table inet weft"},
		{"nft add rule inet weft forward drop", "nftables table inet weft"},
		{"nft insert rule inet weft prerouting tcp dport 22 accept", "nftables table inet weft"},
		{"nft 'add chain inet weft forward { policy drop; }'", "nftables table inet weft"},
		{"nft flush chain inet weft input", "nftables table inet weft"},
		{"nft 'delete element inet weft opened4 { eth0 }'", "nftables table inet weft"},
		{"nft 'add element inet weft exposed { eth0 }'", "nftables table inet weft"},
		{"iptables -w -D DOCKER-USER 1", "rules in chain DOCKER-USER"},
		{"ip route del 172.17.2.0/24", "routes of weft-blue"},
		{"ip route add 198.51.100.0/24 via 10.10.0.1 dev weft-blue proto 119", "routes of weft-blue"},
		{"sysctl -qw net.ipv4.conf.eth0.forwarding=0", "sysctl net/ipv4/conf/eth0/forwarding"},
	} {
		p.run(tt.edit)
		p.do(func() error {
			got, err := p.h.Check(plan)
			if !slices.Equal(got, []string{tt.want}) {
				t.Errorf("after %s: repaired %q, want %q", tt.edit, got, tt.want)
			}
			return err
		})
		p.same(tt.edit, good)
	}
}

// What nft prints of the table it takes again, as services that keep a ruleset over a
// restart of the host have it.
func TestSavedNetns(t *testing.T) {
	p := newPlace(t)
	plan := blue()
	for _, l := range plan.Links {
		p.link(l)
	}
	p.apply(plan)
	file := filepath.Join(t.TempDir(), "rules")
	p.run("nft list ruleset > " + file + " && nft flush ruleset && nft -f " + file)
	const same = " | sed 's/ with icmp port-unreachable//'" // which older versions leave out, as the default
	if now := p.run("nft list ruleset" + same + " > " + file + ".now; cat " + file + same + " | diff - " + file + ".now || true"); now != "" {
		t.Errorf("what was loaded differs from what was saved:\n%s", now)
	}
	if text := p.run("cat " + file); strings.Contains(text, `""`) || !strings.Contains(text, `"eth0"`) {
		t.Errorf("names are missing:\n%s", text)
	}
}

// Somebody makes the whole host forward while a network is exposed, as Docker does at
// its start: what kept the host's links apart goes, and forwarding stays on.
func TestRouterMeanwhileNetns(t *testing.T) {
	p := newPlace(t)
	plan := blue()
	for _, l := range plan.Links {
		p.link(l)
	}
	plan = p.apply(plan)
	const apart = "as before weft"
	if rules := p.run("nft list table inet weft"); !strings.Contains(rules, apart) {
		t.Fatalf("nothing keeps the links apart:\n%s", rules)
	}
	p.run("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
	p.do(func() error {
		repaired, err := p.h.Check(plan)
		if len(repaired) > 0 {
			t.Errorf("repaired %q", repaired)
		}
		return err
	})
	if rules := p.run("nft list table inet weft"); strings.Contains(rules, apart) {
		t.Errorf("the links of a router are kept apart:\n%s", rules)
	}
	p.release(plan)
	if got := p.run("sysctl -n net.ipv4.conf.eth0.forwarding net.ipv6.conf.eth0.forwarding"); got != "1\n1\n" {
		t.Errorf("after release eth0 forwards %q, want as the host does", got)
	}
}

// A crash before any step leaves a host that the same plan, or none, brings to
// the same end.
func TestCrashNetns(t *testing.T) {
	p := newPlace(t)
	p.run(ours)
	was := p.dump()
	plan := blue()
	crash := func(at int, f func() error) (crashed bool) {
		n := 0
		p.h = &Host{onStep: func(string) {
			if n++; n > at {
				panic("crash")
			}
		}}
		p.do(func() (err error) {
			defer func() { crashed = recover() != nil }()
			return f()
		})
		p.h = new(Host)
		return crashed
	}
	good := ""
	for at := 0; ; at++ {
		for _, l := range plan.Links {
			p.link(l)
		}
		var noted []Sysctl
		p.do(func() (err error) { noted, err = p.h.Sysctls(plan, nil); return err })
		full := plan
		full.Sysctls = noted
		crashed := crash(at, func() error { return p.h.Apply(full) })
		if at%2 == 0 { // start again, and finish
			p.do(func() error { return p.h.Apply(full) })
			now := indexless(p.dump())
			if good == "" {
				good = now
			}
			if now != good {
				t.Errorf("crash at step %d: applied again, the host differs:\n%s", at, lab.Changes(good, now))
			}
		}
		released := crash(at, func() error {
			if err := p.h.Apply(Plan{}); err != nil {
				return err
			}
			return p.h.Release(full.Sysctls)
		})
		p.release(full)
		p.same(fmt.Sprintf("crash at step %d", at), was)
		if !crashed && !released {
			if at < 5 {
				t.Errorf("there were %d steps only", at)
			}
			return
		}
	}
}

// indexless takes out what differs for every link.
func indexless(s string) string {
	s = regexp.MustCompile(`(?m)^\d+: `).ReplaceAllString(s, "")
	return regexp.MustCompile(`link/ether \S+|fe80::\S+`).ReplaceAllString(s, "X")
}

// The older iptables is spoken to by its own program.
func TestLegacyNetns(t *testing.T) {
	p := newPlace(t)
	lab.Need(t, "iptables", "iptables-legacy")
	if out, err := p.try("iptables-legacy -w -N DOCKER-USER && iptables-legacy -w -A DOCKER-USER -s 203.0.113.9 -m comment --comment mine -j DROP"); err != nil {
		t.Skipf("this kernel has no iptables of the older kind: %v %s", err, out)
	}
	was := p.run("iptables-legacy -w -S")
	plan := blue()
	for _, l := range plan.Links {
		p.link(l)
	}
	plan = p.apply(plan)
	if got := p.run("iptables-legacy -w -S DOCKER-USER"); strings.Count(got, "--comment weft -j ACCEPT") != 4 {
		t.Errorf("chain DOCKER-USER is\n%s", got)
	}
	p.run("iptables-legacy -w -D DOCKER-USER 1")
	p.do(func() error {
		repaired, err := p.h.Check(plan)
		if len(repaired) != 1 {
			t.Errorf("repaired %q", repaired)
		}
		if again, _ := p.h.Check(plan); len(again) > 0 {
			t.Errorf("repaired again: %q", again)
		}
		return err
	})
	p.release(plan)
	if now := p.run("iptables-legacy -w -S"); now != was {
		t.Errorf("release: the rules are\n%s\nand were\n%s", now, was)
	}
}

// A thousand published ports go to the kernel in one step.
func TestManyNetns(t *testing.T) {
	p := newPlace(t)
	plan := blue()
	for _, l := range plan.Links {
		p.link(l)
	}
	for i := range 1000 {
		plan.Published = append(plan.Published, Published{Proto: "udp", First: uint16(10000 + i), Count: 1, Target: netip.MustParseAddr("10.10.0.3"), To: uint16(i + 1)})
	}
	p.apply(plan)
	if n := strings.Count(p.run("nft list table inet weft"), "dnat"); n < 1000 {
		t.Errorf("%d rules, want 1000 and more", n)
	}
}

func TestRoutesNetns(t *testing.T) {
	p := newPlace(t)
	p.run("ip route add 198.51.100.0/24 via 192.0.2.2; ip route add default via 192.0.2.2; ip route add blackhole 203.0.113.0/24")
	var got []HostRoute
	p.do(func() (err error) { got, err = p.h.Routes(); return err })
	for _, want := range []HostRoute{
		{netip.MustParsePrefix("192.0.2.0/24"), "eth0"}, {netip.MustParsePrefix("198.51.100.0/24"), "eth0"}, {netip.MustParsePrefix("2001:db8::/64"), "eth0"},
		{netip.MustParsePrefix("192.0.2.1/32"), "eth0"}, {netip.MustParsePrefix("203.0.113.0/24"), ""}, {netip.MustParsePrefix("127.0.0.1/32"), "lo"},
	} {
		if !slices.Contains(got, want) {
			t.Errorf("routes lack %v: %v", want, got)
		}
	}
	for _, r := range got {
		if r.Prefix.Bits() == 0 {
			t.Errorf("the default route is among them: %v", r)
		}
	}
}
