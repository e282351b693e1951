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
