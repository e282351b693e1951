package control

import (
	"fmt"
	"slices"
	"testing"
)

func TestStaticFDB(t *testing.T) {
	r := newRig(t)
	c := r.open("network blue=10.32.0.0/24", "network red=10.32.0.0/24", "peer h2=192.0.2.2,networks=blue")
	r.container("/run/netns/a")
	r.container("/run/netns/b")
	a := r.attach(c, ask(t, "blue", "netns:a"))
	r.attach(c, ask(t, "red", "netns:b"))
	tests := []struct {
		network, mac, to string
		want             []string
	}{
		{"blue", "02:00:00:00:00:01", "a", nil},
		{"blue", "02:00:00:00:00:01", "a", nil}, // the same again
		{"blue", "02:00:00:00:00:02", "peer:h2", nil},
		{"red", "02:00:00:00:00:01", "b", nil}, // networks are apart
		{"blue", "02:00:00:00:00:01", "peer:h2", []string{"02:00:00:00:00:01", "leads to a", "fdb rm blue"}},
		{"blue", a.MAC.String(), "a", []string{a.MAC.String(), "port a"}},
		{"green", "02:00:00:00:00:03", "a", []string{`"green"`}},
		{"blue", "01:00:5e:00:00:01", "a", []string{"01:00:5e:00:00:01"}},
		{"blue", "02:00", "a", []string{"02:00"}},
		{"blue", "02:00:00:00:00:03", "b", []string{`no port "b"`, "peer:NAME"}},
		{"blue", "02:00:00:00:00:03", "peer:h3", []string{`"h3"`}},
		{"red", "02:00:00:00:00:03", "peer:h2", []string{`"h2"`, `"red"`}},
	}
	for _, tt := range tests {
		err := c.AddFDB(tt.network, tt.mac, tt.to, 0)
		if tt.want != nil {
			wantError(t, err, tt.want...)
		} else if err != nil {
			t.Errorf("%v: %v", tt, err)
		}
	}
	list := func() (rows []string) {
		for _, e := range entries(t, c) {
			if e.Kind == "static" {
				rows = append(rows, fmt.Sprintf("%s %s %s%s", e.Network, e.MAC, e.Port, e.Peer))
			}
		}
		return rows
	}
	want := []string{"blue 02:00:00:00:00:01 a", "blue 02:00:00:00:00:02 h2", "red 02:00:00:00:00:01 b"}
	if got := list(); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	wantError(t, c.RemoveFDB("blue", a.MAC.String(), 0), "port a", "detach")
	wantError(t, c.RemoveFDB("green", "02:00:00:00:00:01", 0), `"green"`)
	for range 2 {
		if err := c.RemoveFDB("blue", "02:00:00:00:00:01", 0); err != nil {
			t.Error(err)
		}
	}
	if got := list(); !slices.Equal(got, want[1:]) {
		t.Errorf("got %q, want %q", got, want[1:])
	}
	if _, err := c.FDB("green"); err == nil {
		t.Error("FDB of an unknown network")
	}
	if e, err := c.FDB("red"); err != nil || len(e) != 2 {
		t.Errorf("got %+v, %v", e, err)
	}
}

func TestFlushFDB(t *testing.T) {
	r := newRig(t)
	c := r.open("network blue=10.32.0.0/24", "network red=10.32.0.0/24")
	for _, network := range []string{"blue", "red"} {
		for _, side := range []string{"1", "2"} {
			r.container("/run/netns/" + network + side)
			a := ask(t, network, "netns:"+network+side)
			a.AllowSpoof = true // such ports learn
			r.attach(c, a)
		}
		from, to := *r.tap("/run/netns/"+network+"1", "eth1"), r.tap("/run/netns/"+network+"2", "eth1")
		from.cfg.MAC = 0x020000000005
		if !hears(t, &from, to) {
			t.Fatal("no frame came through")
		}
	}
	if n := len(entries(t, c)); n != 6 {
		t.Fatalf("got %d entries, want 4 attached and 2 learned: %+v", n, entries(t, c))
	}
	if n, err := c.FlushFDB("blue"); n != 1 || err != nil {
		t.Errorf("got %d, %v", n, err)
	}
	if n, err := c.FlushFDB(""); n != 1 || err != nil {
		t.Errorf("got %d, %v", n, err)
	}
	_, err := c.FlushFDB("green")
	wantError(t, err, `"green"`)
	if n := len(entries(t, c)); n != 4 {
		t.Errorf("got %d entries, want the attached 4", n)
	}
}
