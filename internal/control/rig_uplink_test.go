package control

import (
	"fmt"
	"net/netip"

	"weft/internal/header"
	"weft/tap"
	"weft/tap/taptest"
)

// fakeLink is a link of the rig's host, and the other ends of it while it is an uplink.
type fakeLink struct {
	state     tap.LinkState
	lan, host *taptest.Container
}

// setLink gives the host a link, or changes one.
func (r *rig) setLink(name string, s tap.LinkState) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.links == nil {
		r.links = map[string]*fakeLink{}
	}
	if r.links[name] == nil {
		r.links[name] = &fakeLink{}
	}
	r.links[name].state = s
}

func (r *rig) removeLink(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.links, name)
}

func (r *rig) link(name string) (tap.LinkState, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if l := r.links[name]; l != nil {
		return l.state, nil
	}
	return tap.LinkState{}, fmt.Errorf("link %s: %w", name, tap.ErrNoLink)
}

func (r *rig) openUplink(name string, s tap.LinkState, vlan int) (*tap.Uplink, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failOpen != nil {
		return nil, r.failOpen
	}
	u, lan, host := taptest.NewUplink(r.t, vlan)
	l := r.links[name]
	l.lan, l.host = lan, host
	return u, nil
}

func (r *rig) inUse(_ string, _ tap.LinkState, _ int, _ header.MAC, addrs []netip.Addr) (map[netip.Addr]header.MAC, error) {
	found := map[netip.Addr]header.MAC{}
	for _, a := range addrs {
		if mac, ok := r.onLAN[a]; ok {
			found[a] = mac
		}
	}
	return found, nil
}
