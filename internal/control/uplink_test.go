package control

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"weft/internal/drop"
	"weft/internal/header"
	"weft/internal/offload"
	"weft/internal/spec"
	"weft/tap"
)

// aLink is a link of the rig's host that is up.
func aLink(index, mtu int) tap.LinkState {
	return tap.LinkState{Index: index, MAC: header.MAC(0x02_aa_00_00_00_00 + index), MTU: mtu, Up: true, Carrier: true}
}

func (r *rig) uplink(c *Controller, list string) spec.UplinkStatus {
	r.t.Helper()
	u, err := spec.ParseUplink(list)
	if err == nil {
		var got spec.UplinkStatus
		if got, err = c.AddUplink(u); err == nil {
			return got
		}
	}
	r.t.Fatal(err)
	return spec.UplinkStatus{}
}

func TestUplinkOfController(t *testing.T) {
	r := newRig(t)
	r.setLink("eth0", aLink(3, 1500))
	r.container("/run/netns/a")
	c := r.open("network n=10.1.0.0/24", "peer h2=192.0.2.2")
	if got := c.Networks()[0].MTU; got != 1450 {
		t.Errorf("MTU %d before, want that of the underlay less 50", got)
	}
	got := r.uplink(c, "n=eth0")
	want := spec.UplinkStatus{Network: "n", Device: "eth0", Port: "eth0", MAC: 0x02_aa_00_00_00_03, MTU: 1500, Up: true, Origin: "api"}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if again := r.uplink(c, "n=eth0"); again != want {
		t.Errorf("again: %+v", again)
	}
	if got := c.Networks()[0].MTU; got != 1500 {
		t.Errorf("MTU %d, want the link's", got)
	}
	if cfg := c.domains["n"].cfg; len(cfg.Peers) != 0 {
		t.Errorf("the network uses its peers %v beside an uplink", cfg.Peers)
	}
	a := r.attach(c, ask(t, "n", "netns:a"))
	ports := c.Ports()
	if len(ports) != 2 || ports[0].Name != "a" || ports[1].Name != "eth0" || ports[1].Kind != "uplink" || !ports[1].Up {
		t.Errorf("ports %+v", ports)
	}
	r.tap("/run/netns/a", "eth1").inside.Drain()
	lan := r.links["eth0"].lan
	lan.Drain()

	// A static entry leads to the LAN, also after a restart.
	if err := c.AddFDB("n", "02:00:00:00:00:77", "eth0", 0); err != nil {
		t.Fatal(err)
	}
	if err := c.AddFDB("n", "02:00:00:00:00:77", "uplink:eth0", 0); err != nil { // as apply has it
		t.Error(err)
	}
	wantError(t, c.AddFDB("n", "02:aa:00:00:00:03", "eth0", 0), "this host itself")
	r.close(c)
	c = r.open("network n=10.1.0.0/24", "peer h2=192.0.2.2")
	if us := c.Uplinks(); len(us) != 1 || us[0] != want {
		t.Errorf("after a restart: %+v", us)
	}
	rows, _ := c.FDB("n")
	places := map[string]string{}
	for _, e := range rows {
		places[e.MAC.String()] = e.Port + " " + e.Kind
	}
	for mac, place := range map[string]string{"02:aa:00:00:00:03": "eth0 attached", "02:00:00:00:00:77": "eth0 static", a.MAC.String(): "a attached"} {
		if places[mac] != place {
			t.Errorf("FDB has %s at %q, want %q", mac, places[mac], place)
		}
	}
	for range 2 { // the second time it is gone already
		if err := c.RemoveUplink("n", "eth0"); err != nil {
			t.Fatal(err)
		}
	}
	if us, rows := c.Uplinks(), c.statics; len(us) != 0 || len(rows) != 0 {
		t.Errorf("left are %+v, %+v", us, rows)
	}
	if cfg := c.domains["n"].cfg; len(cfg.Peers) != 1 {
		t.Error("the network has no peer again")
	}
}

func TestUplinkTransitUsesPeers(t *testing.T) {
	r := newRig(t)
	r.setLink("eth0", aLink(3, 9000))
	c := r.open("network n=10.1.0.0/24", "peer h2=192.0.2.2")
	r.uplink(c, "n=eth0,transit")
	if cfg := c.domains["n"].cfg; len(cfg.Peers) != 1 {
		t.Error("a transit network does not use its peers")
	}
	if got := c.Networks()[0].MTU; got != 1450 {
		t.Errorf("MTU %d, want what fits the peers", got)
	}
}

// A link that goes and comes takes its uplink along; another under its name is
// taken up anew.
func TestUplinkFollows(t *testing.T) {
	r := newRig(t)
	r.setLink("eth0", aLink(3, 1500))
	c := r.open("network n=10.1.0.0/24")
	r.uplink(c, "n=eth0")
	look := func(up bool, reason string, degraded int) {
		t.Helper()
		c.lookAtUplinks()
		u := c.Uplinks()[0]
		if u.Up != up || !strings.Contains(u.Reason, reason) {
			t.Errorf("up %t, reason %q; want %t, %q", u.Up, u.Reason, up, reason)
		}
		if d := c.Status().Degraded; len(d) != degraded || degraded > 0 && (d[0].What != "port eth0" || !strings.Contains(d[0].Why, reason)) {
			t.Errorf("degraded: %+v", d)
		}
	}
	s := aLink(3, 1500)
	s.Carrier = false
	r.setLink("eth0", s)
	look(false, "no carrier", 1)
	s.Up = false
	r.setLink("eth0", s)
	look(false, "ip link set eth0 up", 1)
	r.removeLink("eth0")
	look(false, "no such link", 1)
	r.setLink("eth0", aLink(9, 1400))
	look(true, "", 0)
	if u := c.Uplinks()[0]; u.MTU != 1400 || u.MAC != 0x02_aa_00_00_00_09 || c.Networks()[0].MTU != 1400 {
		t.Errorf("the new link: %+v, network %+v", u, c.Networks()[0])
	}
	r.setLink("eth0", aLink(9, 1300))
	look(true, "", 0)
	if n := c.Networks()[0]; n.MTU != 1300 {
		t.Errorf("MTU %d does not follow", n.MTU)
	}
	r.close(c)
	r.removeLink("eth0")
	c = r.open("network n=10.1.0.0/24") // starts all the same
	look(false, "no such link", 1)
}

// Declared uplinks hold against those of commands, and nothing but the
// declaration removes them.
func TestUplinkDeclared(t *testing.T) {
	r := newRig(t)
	r.setLink("eth0", aLink(3, 1500))
	r.setLink("eth1", aLink(4, 1500))
	c := r.open("network n=10.1.0.0/24", "network m=10.2.0.0/24", "uplink n=eth0,vlan=5")
	wantError(t, c.RemoveUplink("n", "eth0"), "declared in weft.yaml")
	r.uplink(c, "m=eth0,vlan=6")
	r.uplink(c, "n=eth1")
	r.close(c)
	c = r.open("network n=10.1.0.0/24", "network m=10.2.0.0/24", "uplink m=eth0")
	var have []string
	for _, u := range c.Uplinks() {
		have = append(have, u.Network+"="+u.Device+" "+u.Origin)
	}
	if want := []string{"m=eth0 declared", "n=eth1 api"}; !slices.Equal(have, want) {
		t.Errorf("got %v, want %v", have, want)
	}
	r.close(c)
	if c, err := r.tryOpen("network n=10.1.0.0/24", "uplink x=eth0"); err == nil {
		t.Errorf("an uplink of no network was taken: %+v", c.Uplinks())
	}
}

// Whatever is refused leaves nothing.
func TestUplinkRefusedByController(t *testing.T) {
	r := newRig(t)
	r.setLink("eth0", aLink(3, 1500))
	r.container("/run/netns/a")
	c := r.open("network n=10.1.0.0/24")
	at := ask(t, "n", "netns:a")
	at.MAC = "02:aa:00:00:00:03"
	r.attach(c, at)
	_, err := c.AddUplink(spec.Uplink{Network: "n", Device: "eth0"})
	wantError(t, err, "has the MAC 02:aa:00:00:00:03 of port a")
	if err := c.Detach("n", "netns:a"); err != nil {
		t.Fatal(err)
	}
	r.failOpen = errors.New("no packet sockets")
	_, err = c.AddUplink(spec.Uplink{Network: "n", Device: "eth0"})
	wantError(t, err, "no packet sockets")
	if us := c.Uplinks(); len(us) != 0 {
		t.Errorf("left is %+v", us)
	}
	r.failOpen = nil
	r.uplink(c, "n=eth0")
	_, err = c.Attach(at)
	wantError(t, err, "MAC 02:aa:00:00:00:03 is that of link eth0")
	r.close(c)
	if us := r.open("network n=10.1.0.0/24").Uplinks(); len(us) != 1 {
		t.Errorf("after a restart: %+v", us)
	}
}

// Addresses that the LAN or the host has are not given out.
func TestAttachAsksLAN(t *testing.T) {
	r := newRig(t)
	r.setLink("eth0", aLink(3, 1500))
	r.addrs = append(r.addrs, netip.MustParseAddr("10.1.0.2"))
	r.onLAN = map[netip.Addr]header.MAC{}
	for a := netip.MustParseAddr("10.1.0.3"); a.Less(netip.MustParseAddr("10.1.0.20")); a = a.Next() {
		r.onLAN[a] = 7
	}
	r.container("/run/netns/a")
	r.container("/run/netns/b")
	r.container("/run/netns/c")
	c := r.open("network n=10.1.0.0/24,range=10.1.0.2-10.1.0.90")
	r.uplink(c, "n=eth0")
	_, err := c.Attach(ask(t, "n", "netns:a", "10.1.0.5/24"))
	wantError(t, err, "10.1.0.5 is in use by 00:00:00:00:00:07, behind uplink eth0")
	_, err = c.Attach(ask(t, "n", "netns:a", "10.1.0.2/24"))
	wantError(t, err, "this host itself")
	if p := r.attach(c, ask(t, "n", "netns:a")); p.Addresses[0].Addr() != netip.MustParseAddr("10.1.0.20") {
		t.Errorf("next free: %v", p.Addresses)
	}
	for a := netip.MustParseAddr("10.1.0.20"); a.Less(netip.MustParseAddr("10.1.0.99")); a = a.Next() {
		r.onLAN[a] = 7
	}
	_, err = c.Attach(ask(t, "n", "netns:b"))
	wantError(t, err, "all in use on the LAN")
	none := spec.Attach{Network: "n", Target: "netns:c", NoAddress: true}
	if p := r.attach(c, none); len(p.Addresses) != 0 {
		t.Errorf("attached without an address: %v", p.Addresses)
	}
	r.attach(c, none)
	none.Target = "netns:a"
	_, err = c.Attach(none)
	wantError(t, err, "not without")
}

// What is exported makes the same host again, uplinks, a port without an address
// and an entry that leads to the LAN included; and a file that leaves them out
// takes them away.
func TestApplyUplinks(t *testing.T) {
	r := newRig(t)
	r.setLink("eth0", aLink(3, 1500))
	r.container("/run/netns/a")
	c := r.open()
	empty := c.Export()
	file := `networks:
- {name: n, prefixes: 10.1.0.0/24}
- {name: m, prefixes: 10.2.0.0/24}
uplinks:
- {network: n, device: eth0, vlan: 5}
- {network: m, device: eth0, vlan: 6}
attachments:
- {network: n, target: "netns:a", addresses: 0/0}
fdb:
- {network: n, mac: "02:00:00:00:00:77", to: "uplink:eth0"}
`
	apply := func(text string) (spec.Applied, error) {
		t.Helper()
		cfg, err := spec.ParseHost("f", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return c.Apply(cfg, false)
	}
	if got, err := apply(file); err != nil || len(got.Differences) != 6 {
		t.Fatalf("%+v, %v", got, err)
	}
	if us := c.Uplinks(); len(us) != 2 || !us[0].Up || !us[1].Up {
		t.Errorf("uplinks %+v", us)
	}
	text, err := c.Export().MarshalHost()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := apply(string(text)); err != nil || len(got.Differences) != 0 {
		t.Errorf("what was exported differs: %+v, %v\n%s", got, err, text)
	}
	for _, bad := range []string{
		strings.Replace(file, "vlan: 6", "vlan: 5", 1), strings.Replace(file, "device: eth0, vlan: 5", "device: nosuch", 1),
		strings.Replace(file, "uplink:eth0", "uplink:eth9", 1),
	} {
		if cfg, err := spec.ParseHost("f", []byte(bad)); err == nil {
			if _, err = c.Apply(cfg, false); err == nil {
				t.Errorf("taken:\n%s", bad)
			}
		}
	}
	if again, _ := c.Export().MarshalHost(); string(again) != string(text) {
		t.Errorf("a refused file changed the host: %s", again)
	}
	text, err = empty.MarshalHost()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := apply(string(text)); err != nil || len(got.Differences) != 6 || len(c.Uplinks()) != 0 {
		t.Errorf("taken away: %+v, %v, %+v", got, err, c.Uplinks())
	}
}

// Isolated ports reach all but each other, also after a restart.
func TestIsolated(t *testing.T) {
	r := newRig(t)
	c := r.open("network n=10.1.0.0/24")
	for _, name := range []string{"a", "b", "c"} {
		r.container("/run/netns/" + name)
		at := ask(t, "n", "netns:"+name)
		at.Isolated = name != "c"
		if p := r.attach(c, at); p.Isolated != at.Isolated {
			t.Errorf("%s: isolated %t", name, p.Isolated)
		}
	}
	_, err := c.Attach(ask(t, "n", "netns:a"))
	wantError(t, err, "with --isolated")
	for range 2 {
		a, b, other := r.tap("/run/netns/a", "eth1"), r.tap("/run/netns/b", "eth1"), r.tap("/run/netns/c", "eth1")
		if !hears(t, a, other) || !hears(t, other, b) {
			t.Error("an isolated port does not reach one that is not")
		}
		if hears(t, a, b) {
			t.Error("isolated ports reach each other")
		}
		r.close(c)
		c = r.open("network n=10.1.0.0/24")
	}
}

// A container without addresses may not take those of the host, nor of the routers that
// the host uses on the link; they are followed when they change.
func TestUplinkReserves(t *testing.T) {
	r := newRig(t)
	r.setLink("eth0", aLink(3, 1500))
	r.container("/run/netns/a")
	host, router, next := netip.MustParseAddr("10.1.0.2"), netip.MustParseAddr("10.1.0.1"), netip.MustParseAddr("10.1.0.3")
	r.addrs, r.routers = append(r.addrs, host), []netip.Addr{router}
	c := r.open("network n=10.1.0.0/24")
	r.attach(c, spec.Attach{Network: "n", Target: "netns:a", NoAddress: true})
	claims := func(a netip.Addr) bool { // it may be its own
		f := r.tap("/run/netns/a", "eth1")
		id := c.endpointsOf("n")[0].port
		before := c.sw.PortStats(id)
		b := make([]byte, header.EthernetLen+header.ARPLen)
		header.PutEthernet(b, header.Broadcast, f.cfg.MAC, header.TypeARP)
		header.ARPFields{Op: header.ARPRequest, SenderMAC: f.cfg.MAC, SenderAddr: a, TargetAddr: a}.Put(b[header.EthernetLen:])
		f.inside.Send(offload.Header{}, b)
		eventually(t, "the frame is counted", func() bool { return c.sw.PortStats(id).RxFrames > before.RxFrames })
		return c.sw.PortStats(id).Drops[drop.L2Spoof] == before.Drops[drop.L2Spoof]
	}
	if !claims(host) || !claims(router) {
		t.Error("without an uplink an address of the host is not free")
	}
	r.uplink(c, "n=eth0")
	if claims(host) || claims(router) || !claims(next) {
		t.Errorf("with an uplink, may be the host %t, the router %t, another %t", claims(host), claims(router), claims(next))
	}
	r.routers = []netip.Addr{next}
	c.look()
	if !claims(router) || claims(next) {
		t.Errorf("with another router, may be the former %t, the new one %t", claims(router), claims(next))
	}
	if err := c.RemoveUplink("n", "eth0"); err != nil {
		t.Fatal(err)
	}
	if !claims(host) || !claims(next) {
		t.Error("the uplink is gone, and addresses are still reserved")
	}
}
