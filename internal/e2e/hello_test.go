package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"weft/internal/lab"
)

// peerStatus is what `weft status` says of a host's only peer.
type peerStatus struct {
	State, Reason, Encap string
	EncapReason          string `json:"encap_reason"`
	Since                time.Time
	Weft                 bool
	MTU                  int
	RTT                  int64 `json:"rtt_us"`
}

func (h *Host) peer() (p peerStatus) {
	h.t.Helper()
	var all []peerStatus
	parse(h.t, "peers", h.Weft("peer ls -o json"), &all)
	if len(all) != 1 {
		h.t.Fatalf("%d peers", len(all))
	}
	return all[0]
}

// untilPeer waits until the host's peer is what cond wants.
func (h *Host) untilPeer(what string, cond func(peerStatus) bool) {
	h.t.Helper()
	eventually(h.t, 30*time.Second, func() string {
		if p := h.peer(); !cond(p) {
			return fmt.Sprintf("%s: not %s: %+v", h.Name(), what, p)
		}
		return ""
	})
}

func isUp(p peerStatus) bool   { return p.State == "up" && p.Weft && p.RTT > 0 && !p.Since.IsZero() }
func isDown(p peerStatus) bool { return p.State == "down" && p.Weft }

// nft runs nft in a namespace.
func nft(t *testing.T, n *lab.NS, rules string) {
	t.Helper()
	for rule := range strings.SplitSeq(rules, "\n") {
		if rule = strings.TrimSpace(rule); rule == "" {
			continue
		}
		if _, err := n.Output(t.Context(), "nft", rule); err != nil {
			t.Fatalf("%s: %v", rule, err)
		}
	}
}

// block drops datagrams that match, where they enter the host.
func (h *Host) block(t *testing.T, match string) (unblock func()) {
	t.Helper()
	nft(t, h.NS, `add table inet wall
		add chain inet wall in { type filter hook prerouting priority -300; }
		add rule inet wall in `+match+` drop`)
	return func() { nft(t, h.NS, "delete table inet wall") }
}

// TestPeerHello has two switches recognise each other, lose each other and come
// back, by a cut link, by kill and restart; and the frames of an idle pair stay 0.
func TestPeerHello(t *testing.T) {
	t.Parallel()
	p := newPair(t, 1500)
	p.h1.untilPeer("up", isUp)
	p.h2.untilPeer("up", isUp)
	before := p.h1.status().Frames

	unblock := p.h1.block(t, "meta l4proto { gre, udp }")
	p.h1.untilPeer("down", isDown)
	p.h2.untilPeer("down", isDown) // it is heard no more, and told so
	if !strings.Contains(p.h1.Weft("status"), "peer host2") {
		t.Error("status does not name the lost peer first")
	}
	unblock()
	p.h1.untilPeer("up", isUp)
	p.h2.untilPeer("up", isUp)
	move(t, p.c1, p.c2, p.c2.Addr, 1<<20)

	p.h2.Kill()
	p.h1.untilPeer("down", isDown)
	p.h2.Restart()
	p.h1.untilPeer("up", isUp)
	p.h2.untilPeer("up", isUp)
	if after := p.h1.status().Frames; after.In < before.In {
		t.Errorf("frames went from %+v to %+v", before, after)
	}
}

// by says that a peer is up and spoken to by a carrier.
func by(encap string) func(peerStatus) bool {
	return func(p peerStatus) bool { return isUp(p) && p.Encap == encap }
}

// TestPeerCarrier blocks one carrier, in one direction or both: traffic goes on by
// the other one, and by the first again when that passes.
func TestPeerCarrier(t *testing.T) {
	t.Parallel()
	p := newPair(t, 1500)
	p.h1.Stop()
	p.h2.Stop()
	p.h1.Start("--accel=off " + runArgs(1, ",encap=auto"))
	p.h2.Start("--accel=off " + runArgs(2, ",encap=auto"))
	p.h1.untilPeer("carried in UDP", by("gre-udp"))
	p.h2.untilPeer("carried in UDP", by("gre-udp"))
	move(t, p.c1, p.c2, p.c2.Addr, 4<<20)
	move(t, p.c2, p.c1, p.c1.Addr, 4<<20)

	unblock := p.h2.block(t, "udp dport 4754") // only from host 1 to host 2
	p.h1.untilPeer("carried raw", by("gre"))
	p.h2.untilPeer("carried in UDP still", by("gre-udp"))
	move(t, p.c1, p.c2, p.c2.Addr, 4<<20)
	move(t, p.c2, p.c1, p.c1.Addr, 4<<20)
	unblock()
	p.h1.untilPeer("carried in UDP again", by("gre-udp"))

	unblock = p.h1.block(t, "meta l4proto gre")
	defer unblock()
	move(t, p.c1, p.c2, p.c2.Addr, 4<<20)
	p.h1.untilPeer("carried in UDP all the time", by("gre-udp"))
}

// TestPeerEncapForced keeps to the carrier that is set, and delivers exactly by
// either, also where one in ninety datagrams is lost on the way.
func TestPeerEncapForced(t *testing.T) {
	for _, encap := range []string{"gre", "gre-udp"} {
		t.Run(encap, func(t *testing.T) {
			l := lab.ForTest(t)
			h1, h2 := newHost(t, l, "host1"), newHost(t, l, "host2")
			underlay(t, l, h1.NS, h2.NS, 1500)
			h1.Start(runArgs(1, ",encap="+encap))
			h2.Start(runArgs(2, ",encap="+encap))
			c1, c2 := newContainer(t, l, "c1", "10.1.0.11"), newContainer(t, l, "c2", "10.1.0.12")
			h1.attach("net1", c1)
			h2.attach("net1", c2)
			h1.untilPeer("up", by(encap))
			move(t, c1, c2, c2.Addr, 64<<20)
			unblock := h2.block(t, "meta l4proto { gre, udp } numgen inc mod 90 0")
			move(t, c1, c2, c2.Addr, 16<<20)
			unblock()
			for _, h := range []*Host{h1, h2} {
				if why := h.status().unbalanced(); why != "" {
					t.Error(why)
				}
			}
		})
	}
}
