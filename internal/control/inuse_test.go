package control

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"weft/internal/header"
	"weft/internal/spec"
)

// lanRig is a host with the address 10.1.0.2 and the networks lan, which has the
// uplink eth0, and blue, which has none; c1 is attached to either. On the LAN
// somebody has 10.1.0.3 to .19 and some others, with the MAC 7.
func lanRig(t *testing.T) (*rig, *Controller) {
	t.Helper()
	r := newRig(t)
	r.setLink("eth0", aLink(3, 1500))
	r.setLink("eth1", aLink(4, 1500))
	r.addrs = append(r.addrs, netip.MustParseAddr("10.1.0.2"))
	r.onLAN = map[netip.Addr]header.MAC{}
	for i := range 17 {
		r.onLAN[netip.AddrFrom4([4]byte{10, 1, 0, byte(3 + i)})] = 7
	}
	for _, a := range []string{"10.3.0.30", "10.9.0.30", "fd00:1::1", "fd00:1::2"} {
		r.onLAN[netip.MustParseAddr(a)] = 7
	}
	for _, name := range []string{"c1", "c2"} {
		r.container("/run/netns/" + name)
	}
	c := r.open()
	add(t, c, "lan=10.1.0.0/24,range=10.1.0.2-10.1.0.90", "blue=10.9.0.0/24")
	r.uplink(c, "lan=eth0")
	r.attach(c, ask(t, "lan", "netns:c1", "10.1.0.30/24"))
	at := ask(t, "blue", "netns:c1", "10.9.0.30/24")
	at.IfName = "eth2"
	r.attach(c, at)
	return r, c
}

// What apply, network set and uplink add would give a container is asked for, too.
// What the LAN or the host has is refused, or passed over where any will do.
func TestEveryCommandAsksLAN(t *testing.T) {
	const byLAN, byHost = " is in use by 00:00:00:00:00:07, behind uplink eth0", " is in use by this host itself"
	applied := func(changes ...string) func(*rig, *Controller) error {
		return func(r *rig, c *Controller) error {
			return applyOnly(c, strings.NewReplacer(changes...).Replace(r.exported(c)))
		}
	}
	newPort := func(network, addr string) func(*rig, *Controller) error {
		return applied("attachments:\n", fmt.Sprintf("attachments:\n  - {network: %s, target: 'netns:c2', %s}\n", network, addr))
	}
	set := func(dryRun bool, prefixes ...string) func(*rig, *Controller) error {
		return func(_ *rig, c *Controller) error {
			list := make([]netip.Prefix, len(prefixes))
			for i, p := range prefixes {
				list[i] = prefix(p)
			}
			_, err := c.SetNetwork("lan", spec.NetworkChange{Prefixes: &list}, dryRun)
			return err
		}
	}
	tests := []struct {
		name string
		do   func(*rig, *Controller) error
		want string // in the error, or in what is exported then
		ok   bool
	}{
		{"apply another address", applied("10.1.0.30/24", "10.1.0.5/24"), "port netns:c1: address 10.1.0.5" + byLAN, false},
		{"apply the host's", applied("10.1.0.30/24", "10.1.0.2/24"), "10.1.0.2" + byHost, false},
		{"apply a new port", newPort("lan", "addresses: 10.1.0.6/24"), "10.1.0.6" + byLAN, false},
		{"apply a new port in a VLAN", newPort("lan", "vlan: 9, addresses: 10.1.0.6/24"), "10.1.0.6" + byLAN, false},
		{"apply a free address", newPort("lan", "addresses: 10.1.0.40/24"), "10.1.0.40/24", true},
		{"apply any address", newPort("lan", ""), "10.1.0.20/24", true},
		{"apply without an uplink", newPort("blue", "addresses: 10.9.0.3/24"), "10.9.0.3/24", true},
		{"apply nothing", applied(), "10.1.0.30/24", true},
		{"apply a new uplink", applied("device: eth0\n", "device: eth0\n  - {network: blue, device: eth1}\n"), "port netns:c1: address 10.9.0.30 is in use by 00:00:00:00:00:07, behind uplink eth1", false},
		{"apply without what is in use", applied("device: eth0\n", "device: eth0\n  - {network: blue, device: eth1}\n", "10.9.0.30/24", "10.9.0.31/24"), "10.9.0.31/24", true},
		{"network set", set(false, "10.2.0.0/24"), "10.2.0.30/24", true},
		{"network set to what is in use", set(false, "10.3.0.0/24"), "port c1@lan: address 10.3.0.30" + byLAN, false},
		{"network set, tried", set(true, "10.3.0.0/24"), "port c1@lan: address 10.3.0.30" + byLAN, false},
		{"network set, next free", set(false, "10.1.0.0/24", "fd00:1::/64"), "fd00:1::3/64", true},
		{"uplink add", func(_ *rig, c *Controller) error {
			_, err := c.AddUplink(spec.Uplink{Network: "blue", Device: "eth1"})
			return err
		}, "port c1@blue has address 10.9.0.30, which is in use by 00:00:00:00:00:07, behind uplink eth1", false},
		{"uplink add that leads back", func(r *rig, c *Controller) error {
			r.onLAN[netip.MustParseAddr("10.1.0.30")] = r.tap("/run/netns/c1", "eth1").cfg.MAC
			_, err := c.AddUplink(spec.Uplink{Network: "lan", Device: "eth1"})
			return err
		}, "device: eth1", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, c := lanRig(t)
			before := r.exported(c)
			err := tt.do(r, c)
			now := r.exported(c)
			switch {
			case !tt.ok:
				wantError(t, err, tt.want)
				if now != before {
					t.Errorf("refused, and there is\n%s\nwant\n%s", now, before)
				}
			case err != nil:
				t.Error(err)
			case !strings.Contains(now, tt.want):
				t.Errorf("want %s in\n%s", tt.want, now)
			}
		})
	}
}

// Two links of one MAC cannot both lead to the host.
func TestUplinksOfOneMAC(t *testing.T) {
	r := newRig(t)
	r.setLink("eth0", aLink(3, 1500))
	r.setLink("eth0.5", aLink(3, 1500))
	c := r.open("network n=10.1.0.0/24")
	r.uplink(c, "n=eth0")
	_, err := c.AddUplink(spec.Uplink{Network: "n", Device: "eth0.5"})
	wantError(t, err, "link eth0.5 has the MAC 02:aa:00:00:00:03 of link eth0", "give one of them another")
}
