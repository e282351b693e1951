package control

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"weft/internal/spec"
)

// rows are the entries of the FDB: VLAN, address, place and kind.
func rows(t *testing.T, c *Controller) (list []string) {
	t.Helper()
	for _, e := range entries(t, c) {
		list = append(list, fmt.Sprintf("%d %s %s%s %s", e.VLAN, e.MAC, e.Port, e.Peer, e.Kind))
	}
	return list
}

func TestVLANPorts(t *testing.T) {
	r := newRig(t)
	r.container("/run/netns/a")
	r.container("/run/netns/b")
	c := r.open("network blue=10.1.0.0/24,gateway=10.1.0.1", "peer h2=192.0.2.2")
	access := ask(t, "blue", "netns:a")
	access.VLAN = 10
	a := r.attach(c, access)
	if a.VLAN != 10 || a.Trunk != "" || a.MTU != 1446 { // the tag takes room in the tunnel
		t.Errorf("access port %+v", a)
	}
	if ep := c.endpointsOf("blue")[0]; len(ep.Gateways) != 0 {
		t.Errorf("an access port has the gateway %v, which is in the untagged network", ep.Gateways)
	}
	trunk := ask(t, "blue", "netns:b")
	trunk.Trunk, trunk.VLAN, trunk.MTU = "30,20-22", 11, 1400
	b := r.attach(c, trunk)
	if b.VLAN != 11 || b.Trunk != "20-22,30" || b.MTU != 1400 {
		t.Errorf("trunk port %+v", b)
	}

	// Left out means as it is; another is refused.
	for _, again := range []spec.Attach{access, ask(t, "blue", "netns:a"), ask(t, "blue", "netns:b")} {
		if got := r.attach(c, again); got.VLAN != a.VLAN && got.VLAN != b.VLAN {
			t.Errorf("again: %+v", got)
		}
	}
	access.VLAN = 12
	_, err := c.Attach(access)
	wantError(t, err, "with --vlan 10, not with --vlan 12", "detach")
	trunk.Trunk = "20-23,30"
	_, err = c.Attach(trunk)
	wantError(t, err, "with --vlan 11 and --trunk 20-22,30", "20-23,30", "detach")

	// Static entries are of a VLAN, and there as soon as a port names it.
	for _, bad := range []struct {
		to   string
		vlan int
		want []string
	}{
		{"a", 0, []string{"--vlan 10", "untagged"}},
		{"a", 20, []string{"--vlan 10", "VLAN 20"}},
		{"b", 23, []string{"VLAN 23"}},
		{"b", 4095, []string{"4095", "1 to 4094"}},
		{"peer:h3", 10, []string{"h3"}},
	} {
		wantError(t, c.AddFDB("blue", "02:00:00:00:00:01", bad.to, bad.vlan), bad.want...)
	}
	for vlan, to := range map[int]string{0: "peer:h2", 10: "a", 20: "b", 30: "peer:h2", 99: "peer:h2"} {
		if err := c.AddFDB("blue", "02:00:00:00:00:01", to, vlan); err != nil {
			t.Errorf("%s in VLAN %d: %v", to, vlan, err)
		}
	}
	wantError(t, c.AddFDB("blue", "02:00:00:00:00:01", "peer:h2", 10), "leads to a", "weft fdb rm blue 02:00:00:00:00:01 --vlan 10")
	want := []string{"0 02:00:00:00:00:01 h2 static", "10 02:00:00:00:00:01 a static", "20 02:00:00:00:00:01 b static", "30 02:00:00:00:00:01 h2 static"}
	for _, vlan := range []int{11, 20, 21, 22, 30} {
		want = append(want, fmt.Sprintf("%d %s b attached", vlan, b.MAC))
	}
	want = append(want, fmt.Sprintf("10 %s a attached", a.MAC))
	check := func(when string) {
		t.Helper()
		got := rows(t, c)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s: got\n%s\nwant\n%s", when, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	check("at first")
	exported := c.Export()
	if at := exported.Attachments; at[0].VLAN != 10 || at[1].Trunk != "20-22,30" || at[1].VLAN != 11 || len(exported.FDB) != 5 || exported.FDB[4].VLAN != 99 {
		t.Errorf("exported %+v", exported)
	}
	if got, err := c.Apply(exported, true); err != nil || len(got.Differences) != 0 {
		t.Errorf("what was exported differs: %+v, %v", got, err)
	}
	r.close(c)
	c = r.open("network blue=10.1.0.0/24,gateway=10.1.0.1", "peer h2=192.0.2.2")
	check("after a restart")

	// Apply moves a port to other VLANs, and its entries with it.
	exported.Attachments[0].VLAN = 99
	exported.FDB = slices.DeleteFunc(exported.FDB, func(s spec.Static) bool { return s.VLAN == 10 })
	got, err := c.Apply(exported, false)
	if err != nil || len(got.Differences) != 2 || !strings.Contains(got.Differences[0].String(), "vlan 10 -> ") || !strings.Contains(got.Differences[0].Now, "vlan 99") {
		t.Fatalf("differences %+v, %v", got.Differences, err)
	}
	for i := range want {
		want[i] = strings.Replace(want[i], fmt.Sprintf("10 %s a", a.MAC), fmt.Sprintf("99 %s a", a.MAC), 1)
	}
	want = slices.DeleteFunc(want, func(s string) bool { return strings.HasPrefix(s, "10 ") })
	want = append(want, "99 02:00:00:00:00:01 h2 static")
	check("after apply")
	exported.FDB = append(exported.FDB, spec.Static{Network: "blue", VLAN: 10, MAC: "02:00:00:00:00:02", To: "netns:a"})
	_, err = c.Apply(exported, false)
	wantError(t, err, "netns:a", "--vlan 99", "VLAN 10")

	if err := c.Detach("blue", "netns:b"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.FlushFDB("blue"); err != nil {
		t.Error(err)
	}
	if vids := c.sw.VLANs(c.domains["blue"].id); !slices.Equal(vids, []uint16{99}) {
		t.Errorf("VLANs %v are left", vids)
	}
}

// A network that is one VLAN of a link has none of its own.
func TestVLANsAndUplink(t *testing.T) {
	r := newRig(t)
	r.setLink("eth0", aLink(3, 1500))
	r.setLink("eth1", aLink(4, 1500))
	r.container("/run/netns/a")
	c := r.open("network n=10.1.0.0/24", "network m=10.2.0.0/24")
	r.uplink(c, "n=eth0,vlan=12")
	for _, a := range []spec.Attach{{VLAN: 10}, {Trunk: "1-4094"}} {
		a.Network, a.Target = "n", "netns:a"
		_, err := c.Attach(a)
		wantError(t, err, "VLAN 12 of uplink eth0", "netns:a", "without --vlan")
	}
	if len(c.endpoints) != 0 {
		t.Error("a refused port stays")
	}
	a := ask(t, "m", "netns:a")
	a.Trunk = "10"
	r.attach(c, a)
	_, err := c.AddUplink(spec.Uplink{Network: "m", Device: "eth1", VLAN: 12})
	wantError(t, err, "VLAN 12 of uplink eth1", "port a")
	cfg := c.Export()
	cfg.File = "host.yaml"
	cfg.Uplinks = append(cfg.Uplinks, spec.Uplink{Network: "m", Device: "eth1", VLAN: 12, Line: 7})
	_, err = c.Apply(cfg, false)
	wantError(t, err, "host.yaml:7:", "VLAN 12 of uplink eth1", "netns:a")
	got := r.uplink(c, "m=eth1")
	if !got.Up {
		t.Errorf("the link as a whole: %+v", got)
	}
	list := rows(t, c)
	if !slices.Contains(list, "10 02:aa:00:00:00:04 eth1 attached") {
		t.Errorf("the host is not in the VLAN: %v", list)
	}
}
