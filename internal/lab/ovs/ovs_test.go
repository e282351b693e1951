package ovs

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	"weft/internal/lab"
)

func TestSwitchNetns(t *testing.T) {
	Need(t)
	l := lab.ForTest(t)
	h, err := l.Host("h")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Link(lab.End{NS: h, Name: "up0"}, lab.End{NS: h, Name: "up1"}); err != nil {
		t.Fatal(err)
	}
	sw, err := Start(context.Background(), h, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer sw.Close()
	if err := sw.Underlay("up0", netip.MustParsePrefix("192.0.2.1/24")); err != nil {
		t.Fatal(err)
	}
	if err := sw.Bridge("br-int"); err != nil {
		t.Fatal(err)
	}
	if err := sw.GRE("br-int", "gre0", netip.MustParseAddr("192.0.2.2"), "key=7", "csum=true"); err != nil {
		t.Fatal(err)
	}
	got, err := sw.VSCtl("get", "Interface", "gre0", "error", "options")
	if err != nil {
		t.Fatal(err)
	}
	if want := "[]\n{csum=\"true\", key=\"7\", remote_ip=\"192.0.2.2\"}"; got != want {
		t.Errorf("gre0: got %s, want %s", got, want)
	}
	got, err = sw.AppCtl("ovs/route/lookup", "192.0.2.2")
	if err != nil || !strings.Contains(got, "br-phy") {
		t.Errorf("route to the other host: got %q, %v, want one by br-phy", got, err)
	}
}

func TestStartInLongDirectory(t *testing.T) {
	Need(t)
	_, err := Start(context.Background(), nil, "/"+strings.Repeat("x", 100))
	if err == nil || !strings.Contains(err.Error(), "shorter directory") {
		t.Errorf("got %v, want an error that asks for a shorter directory", err)
	}
}
