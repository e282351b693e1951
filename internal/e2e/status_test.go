package e2e

import (
	"testing"
	"time"

	"weft/internal/drop"
)

// status is what DESIGN promises to programs, and no more: the fields are
// spelled here once again, so that a renamed one is noticed.
type status struct {
	Name     string            `json:"name"`
	Version  string            `json:"version"`
	Uptime   *int64            `json:"uptime_seconds"`
	Degraded []degraded        `json:"degraded"`
	Networks []network         `json:"networks"`
	Ports    []port            `json:"ports"`
	Peers    []peer            `json:"peers"`
	Frames   frames            `json:"frames"`
	Drops    map[string]uint64 `json:"drops"`
}

type degraded struct {
	What  string    `json:"what"`
	Why   string    `json:"why"`
	Since time.Time `json:"since"`
}

type network struct {
	Name     string   `json:"name"`
	ID       uint32   `json:"id"`
	VRF      string   `json:"vrf"`
	Prefixes []string `json:"prefixes"`
	Gateways []string `json:"gateways"`
	MTU      int      `json:"mtu"`
}

type port struct {
	Name      string   `json:"name"`
	Network   string   `json:"network"`
	Kind      string   `json:"kind"`
	Target    string   `json:"target"`
	IfName    string   `json:"ifname"`
	MAC       string   `json:"mac"`
	Addresses []string `json:"addresses"`
	MTU       int      `json:"mtu"`
	Up        bool     `json:"up"`
	RxFrames  uint64   `json:"rx_frames"`
	TxFrames  uint64   `json:"tx_frames"`
	RxBytes   uint64   `json:"rx_bytes"`
	TxBytes   uint64   `json:"tx_bytes"`
}

type peer struct {
	Name     string `json:"name"`
	Address  string `json:"address"`
	Encap    string `json:"encap"`
	State    string `json:"state"`
	Reason   string `json:"reason"`
	MTU      int    `json:"mtu"`
	RxFrames uint64 `json:"rx_frames"`
	TxFrames uint64 `json:"tx_frames"`
	Accel    string `json:"accel"`
	NoAccel  string `json:"accel_reason"`
}

// frames: the fields after Copies are not promised, but the sheet needs them.
type frames struct {
	In         uint64 `json:"in"`
	Generated  uint64 `json:"generated"`
	Forwarded  uint64 `json:"forwarded"`
	Local      uint64 `json:"local"`
	Copies     uint64 `json:"copies"`
	Sent       uint64 `json:"transmitted"`
	DroppedIn  uint64 `json:"dropped_ingress"`
	DroppedOut uint64 `json:"dropped_egress"`
}

type dropRow struct {
	At     string `json:"at"`
	Reason string `json:"reason"`
	Count  uint64 `json:"count"`
}

type fdbRow struct {
	Network string `json:"network"`
	MAC     string `json:"mac"`
	Port    string `json:"port"`
	Peer    string `json:"peer"`
	Kind    string `json:"kind"`
	Age     *int   `json:"age_seconds"`
}

func (h *Host) status() (s status) {
	h.t.Helper()
	parse(h.t, "status", h.Weft("status -o json"), &s)
	return s
}

func (h *Host) drops() (rows []dropRow) {
	h.t.Helper()
	parse(h.t, "drops", h.Weft("drops -o json"), &rows)
	return rows
}

func (h *Host) fdb(network string) (rows []fdbRow) {
	h.t.Helper()
	parse(h.t, "fdb show", h.Weft("fdb show "+network+" -o json"), &rows)
	return rows
}

func (s status) port(t *testing.T, name string) port {
	t.Helper()
	for _, p := range s.Ports {
		if p.Name == name {
			return p
		}
	}
	t.Fatalf("no port %s in %+v", name, s.Ports)
	return port{}
}

func (s status) peer(t *testing.T, name string) peer {
	t.Helper()
	for _, p := range s.Peers {
		if p.Name == name {
			return p
		}
	}
	t.Fatalf("no peer %s in %+v", name, s.Peers)
	return peer{}
}

// unbalanced says which balance sheet of s does not hold; empty when all do.
func (s status) unbalanced() string {
	f := s.Frames
	var drops uint64
	for _, n := range s.Drops {
		drops += n
	}
	switch {
	case f.In != f.Forwarded+f.Local+f.DroppedIn:
		return "in != forwarded + local + dropped at ingress"
	case f.Copies+f.Generated != f.Sent+f.DroppedOut:
		return "copies + generated != transmitted + dropped at egress"
	case drops != f.DroppedIn+f.DroppedOut:
		return "sum of drop reasons != dropped at ingress + at egress"
	}
	return ""
}

// settled waits until nothing moves, fails where a balance sheet does not hold
// then, and returns the status.
func (h *Host) settled() status {
	h.t.Helper()
	last := h.status()
	for range 50 {
		time.Sleep(60 * time.Millisecond)
		s := h.status()
		if s.Frames == last.Frames {
			if why := s.unbalanced(); why != "" {
				h.t.Errorf("%s: %s: %+v, drops %v", h.Name(), why, s.Frames, nonZero(s.Drops))
			}
			h.checkDrops(s)
			return s
		}
		last = s
	}
	h.t.Errorf("%s: traffic does not end: %+v", h.Name(), last.Frames)
	return last
}

// checkDrops compares `weft drops` with the totals of status, and looks for
// reasons that are missing.
func (h *Host) checkDrops(s status) {
	h.t.Helper()
	total, switchRows := map[string]uint64{}, map[string]bool{}
	for _, r := range h.drops() {
		total[r.Reason] += r.Count
		if r.At == "switch" {
			switchRows[r.Reason] = true
		}
	}
	for _, r := range drop.All() {
		n, ok := s.Drops[r.String()]
		if !ok {
			h.t.Errorf("%s: status does not list %s", h.Name(), r)
		}
		if !switchRows[r.String()] {
			h.t.Errorf("%s: drops does not list %s", h.Name(), r)
		}
		if total[r.String()] < n {
			h.t.Errorf("%s: drops has %d %s, status %d", h.Name(), total[r.String()], r, n)
		}
	}
}

func nonZero(m map[string]uint64) map[string]uint64 {
	out := map[string]uint64{}
	for k, v := range m {
		if v != 0 {
			out[k] = v
		}
	}
	return out
}

// onlyDrops fails for every reason that has a count and is not expected.
func (h *Host) onlyDrops(s status, expected ...string) {
	h.t.Helper()
	rest := nonZero(s.Drops)
	for _, r := range expected {
		delete(rest, r)
	}
	if len(rest) > 0 {
		h.t.Errorf("%s: unexpected drops %v", h.Name(), rest)
	}
}
