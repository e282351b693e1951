package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weft/internal/lab"
)

// around has one host do all that weft does around a host: two networks exposed,
// ports published, a network card that is an uplink, another with two VLANs.
type around struct {
	*exposed
	was string // the host before a daemon ever ran there
}

const aroundRun = "--name host1 --local " + lanHost + " --peer host2=" + lanPeer +
	" --network blue=10.10.0.0/24,fd00:10::/64,gateway=10.10.0.1,gateway=fd00:10::1,vrf=site --network out0=10.40.0.0/24,gateway=10.40.0.1" +
	" --network lan=192.0.2.0/24 --network v7=10.7.0.0/24 --network v8=10.8.0.0/24"

func newAround(t *testing.T) *around {
	t.Helper()
	lab.Need(t, "iptables", "iptables", "iptables-save")
	a := &around{exposed: newExposed(t)}
	// A host that has things of its own: Docker's chain, rules, neighbours, a
	// second card that somebody listens on.
	if err := a.l.Link(lab.End{NS: a.h1.NS, Name: "eth1"}, lab.End{NS: a.client, Name: "eth1"}); err != nil {
		t.Fatal(err)
	}
	a.h1.Weft("detach blue " + a.web.target())
	a.h1.Weft("detach blue " + a.app.target())
	a.h1.Stop()
	in(t, a.h1.NS, `iptables -N DOCKER-USER && iptables -A DOCKER-USER -j RETURN && iptables -P FORWARD DROP && iptables -A FORWARD -j DOCKER-USER
		ip6tables -N DOCKER-USER && ip6tables -A DOCKER-USER -j RETURN && ip6tables -A FORWARD -j DOCKER-USER
		nft add table inet mine && nft add chain inet mine in '{ type filter hook input priority 10; policy accept; }' && nft add rule inet mine in tcp dport 9 drop
		ip neigh add 192.0.2.77 lladdr 02:00:00:00:00:77 dev eth0 nud permanent
		ip rule add from 192.0.2.99 table 99 && ip route add 198.51.100.0/24 via 192.0.2.254 table 99
		ip link set eth1 promisc on
		sysctl -qw net.ipv4.conf.eth1.rp_filter=2 net.ipv6.conf.eth1.accept_ra=2`)
	settled(t, a.h1)
	a.was = a.h1.snapshot()
	a.h1.Start(aroundRun)
	a.h1.Weft("attach blue " + a.web.target() + " 10.10.0.11/24 fd00:10::11/64")
	a.h1.Weft("attach lan " + a.app.target() + " 192.0.2.101/24")
	return a
}

// jobs are the commands, and undo those that take everything back.
func (a *around) jobs() []string {
	return []string{
		"uplink add lan eth0", "expose blue", "expose out0", "publish blue " + a.web.target() + " 2222:22", "uplink add v7 eth1 --vlan 7",
		"publish blue " + a.web.target() + " 5353:53/udp", "uplink add v8 eth1 --vlan 8",
	}
}

func (a *around) undo() []string {
	return []string{
		"unpublish blue " + a.web.target(), "uplink rm v7 eth1", "uplink rm lan eth0", "hide blue", "hide out0", "uplink rm v8 eth1", "cleanup",
	}
}

// down ends the daemon in good order, after which the host must be as it was.
func (a *around) down(what string) {
	a.h1.t.Helper()
	a.h1.Stop()
	a.h1.same(what, a.was)
}

// Everything around the host is set up at once and taken back: the host is what
// it was before, in every line, whatever order it is undone in, and whenever the
// daemon was killed.
func TestHostPutBack(t *testing.T) {
	t.Parallel()
	a := newAround(t)
	works := func() {
		t.Helper()
		wantSeen(t, "container to the Internet", a.web.NS, "tcp", inetServer, 7777, lanHost)
		wantSeen(t, "LAN to a published port", a.client, "udp", lanHost, 5353, lanClient)
		meet(t, a.app, &Container{NS: a.client, Addr: netip.MustParseAddr(lanClient)})
		meet(t, a.app, &Container{NS: a.h1.NS, Addr: netip.MustParseAddr(lanHost)})
	}
	serve(t, a.inet, "tcp", 7777)
	serve(t, a.web.NS, "udp", 53)

	for _, line := range a.jobs() {
		a.h1.Weft(line)
	}
	works()
	if diff := lab.Changes(a.was, a.h1.snapshot()); !strings.Contains(diff, "weftup-eth0") || !strings.Contains(diff, "table inet weft") || !strings.Contains(diff, "promiscuity 1") {
		t.Errorf("nothing to put back is seen: this test proves nothing:\n%s", diff)
	}
	for _, line := range a.undo() {
		a.h1.Weft(line)
	}
	a.down("each undone")

	a.h1.Restart()
	for _, line := range a.jobs() {
		a.h1.Weft(line)
	}
	a.h1.Kill()
	a.h1.Restart() // all of it is made again
	works()
	if out := a.h1.CLI("status --check"); out.code != 0 {
		t.Errorf("after kill -9 with everything up: %s", out.err)
	}
	a.h1.Kill() // and undone where no daemon runs
	if gone := a.h1.alone("cleanup --state-dir " + filepath.Join(a.h1.dir, "state")); gone.code != 0 {
		t.Errorf("cleanup without a daemon: %+v", gone)
	}
	a.h1.same("cleanup without a daemon", a.was)

	rounds := 4
	if testing.Short() {
		rounds = 1
	}
	a.h1.Restart()
	for i := range rounds {
		a.h1.killIn(t, a.jobs(), fmt.Sprintf("round %d, setting up", i))
		for _, line := range a.jobs() {
			a.h1.Weft(line)
		}
		works()
		a.h1.killIn(t, a.undo(), fmt.Sprintf("round %d, undoing", i))
		for _, line := range a.undo() {
			a.h1.Weft(line)
		}
		a.down(fmt.Sprintf("round %d", i))
		a.h1.Restart()
	}
}

// killIn kills the daemon somewhere in a sequence of commands, starts another, and
// waits until that has nothing to complain of.
func (h *Host) killIn(t *testing.T, lines []string, what string) {
	t.Helper()
	ended := make(chan struct{})
	stop := make(chan struct{})
	go func() { // ends with the commands, most of which find no daemon
		defer close(ended)
		for _, line := range lines {
			select {
			case <-stop:
				return
			default:
				h.CLI(line)
			}
		}
	}()
	time.Sleep(time.Duration(rand.IntN(600)) * time.Millisecond)
	h.Kill()
	close(stop)
	<-ended
	h.Restart()
	eventually(t, 15*time.Second, func() string {
		if out := h.CLI("status --check"); out.code != 0 {
			return what + ": after kill -9: " + out.err
		}
		return ""
	})
}
