package dataplane

import (
	"testing"

	"weft/internal/drop"
	"weft/internal/offload"
)

// A port that is given other addresses is held to those, and found by them.
func TestSetPort(t *testing.T) {
	r := newRouted(t, Config{})
	c := attach(t, r.Switch, r.d1, 3, func(c *PortConfig) { c.Addrs = addrs("10.1.0.3") })
	packet := func(src string) []byte {
		return between(c.mac, r.a.mac, packet4(src, "10.1.0.3", 64, 17, make([]byte, 40)))
	}
	if err := r.SetPort(r.a.id, addrs("10.1.0.9"), 1400); err != nil {
		t.Fatal(err)
	}
	r.a.Send(offload.Header{}, packet("10.1.0.2"))
	wantDrops(t, r.Switch, r.a.id, drop.L3Source, 1)
	r.a.Send(offload.Header{}, packet("10.1.0.9"))
	c.want(t, packet("10.1.0.9"))
	arp := arpFrame(1, 0xffff_ffff_ffff, c.mac, c.mac, "10.1.0.3", "10.1.0.9")
	c.Send(offload.Header{}, arp) // answered, since the address is attached now
	c.want(t, arpFrame(2, c.mac, r.a.mac, r.a.mac, "10.1.0.9", "10.1.0.3"))
	for _, id := range []PortID{99, 0} {
		if err := r.SetPort(id, nil, 1400); err == nil {
			t.Errorf("port %d may be set", id)
		}
	}
	wantBalance(t, r.Switch)
}
