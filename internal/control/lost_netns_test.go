package control

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"weft/internal/lab"
	"weft/internal/spec"
)

// When the state is lost, the containers keep their interfaces, and attach takes
// them up again.
func TestAttachAfterStateLossNetns(t *testing.T) {
	const network = "blue=10.32.0.0/24,fd32::/64,gateway=10.32.0.1"
	l := lab.ForTest(t)
	a, b := containerNetns(t, l, "a"), containerNetns(t, l, "b")
	dir := t.TempDir()
	c := hostNetns(t, dir, network)
	asked := ask(t, "blue", "netns:"+a.Name(), "10.32.0.7/24", "fd32::7/64")
	pa := attachNetns(t, c, asked)
	pb := attachNetns(t, c, ask(t, "blue", "netns:"+b.Name(), "10.32.0.8/24"))
	before, err := a.Interface("eth1")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	corrupt(t, filepath.Join(dir, "state.json"))
	// Meanwhile the container's addresses went astray.
	err = a.Do(func() error {
		link, err := netlink.LinkByName("eth1")
		if err != nil {
			return err
		}
		for _, s := range []string{"10.32.0.77/24", "192.0.2.7/24"} {
			addr, err := netlink.ParseAddr(s)
			if err == nil {
				err = netlink.AddrAdd(link, addr)
			}
			if err != nil {
				return err
			}
		}
		gone, err := netlink.ParseAddr("10.32.0.7/24")
		if err != nil {
			return err
		}
		return netlink.AddrDel(link, gone)
	})
	if err != nil {
		t.Fatal(err)
	}

	c = hostNetns(t, dir, network)
	if len(c.Ports()) != 0 {
		t.Fatalf("got %+v, want the ports to be forgotten", c.Ports())
	}
	if got := attachNetns(t, c, asked); got.MAC != pa.MAC || !got.Up {
		t.Errorf("got %+v, want %+v", got, pa)
	}
	attachNetns(t, c, ask(t, "blue", "netns:"+b.Name(), "10.32.0.8/24"))
	after, err := a.Interface("eth1")
	if err != nil || after.Index != before.Index {
		t.Errorf("got interface %+v, %v; want %+v", after, err, before)
	}
	if got := links(t, a); !strings.Contains(got, "10.32.0.7/24") || !strings.Contains(got, "192.0.2.7/24") || strings.Contains(got, "10.32.0.77") {
		t.Errorf("got\n%s\nwant 10.32.0.7/24 and 192.0.2.7/24", got)
	}
	err = a.Do(func() error {
		routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
		for _, r := range routes {
			if r.Gw.String() == "10.32.0.1" {
				return nil
			}
		}
		return fmt.Errorf("no default route: %v, %v", routes, err)
	})
	if err != nil {
		t.Error(err)
	}
	reach(t, a, pb.Addresses[0].Addr())
	reach(t, b, pa.Addresses[0].Addr())
	if err := c.Detach("blue", "netns:"+a.Name()); err != nil || strings.Contains(links(t, a), "eth1") {
		t.Errorf("detach of a TAP that was taken up: %v\n%s", err, links(t, a))
	}
}

// An interface that is not the attachment's own is not taken, also after a loss.
func TestAttachTakesNoOtherTAPNetns(t *testing.T) {
	l := lab.ForTest(t)
	a := containerNetns(t, l, "a")
	dir := t.TempDir()
	c := hostNetns(t, dir, "blue=10.32.0.0/24", "red=10.33.0.0/24")
	attachNetns(t, c, ask(t, "blue", "netns:"+a.Name(), "10.32.0.7/24"))
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	corrupt(t, filepath.Join(dir, "state.json"))
	c = hostNetns(t, dir, "blue=10.32.0.0/24", "red=10.33.0.0/24")
	before := links(t, a)
	for _, other := range []spec.Attach{
		ask(t, "blue", "netns:"+a.Name(), "10.32.0.9/24"), // another MAC
		ask(t, "red", "netns:"+a.Name(), "10.33.0.7/24"),
	} {
		_, err := c.Attach(other)
		wantError(t, err, "eth1", "-i NAME")
	}
	if got := links(t, a); got != before || len(c.Ports()) != 0 {
		t.Errorf("got\n%s\nwant\n%s", got, before)
	}
}

// A TAP that another endpoint waits for is not given away, whatever its MAC.
func TestAttachTakesNoKnownTAPNetns(t *testing.T) {
	l := lab.ForTest(t)
	a := containerNetns(t, l, "a")
	dir := t.TempDir()
	c := hostNetns(t, dir, "blue=10.32.0.0/24", "red=10.33.0.0/24")
	blue, red := ask(t, "blue", "netns:"+a.Name()), ask(t, "red", "netns:"+a.Name())
	blue.MAC, red.MAC = "02:00:00:00:00:07", "02:00:00:00:00:07"
	attachNetns(t, c, blue)
	ep := c.endpointsOf("blue")[0]
	c.change.Lock()
	c.unplug(ep, "test")
	c.change.Unlock()
	_, err := c.Attach(red)
	wantError(t, err, "eth1", "-i")
	if p := attachNetns(t, c, blue); !p.Up {
		t.Errorf("got %+v", p)
	}
}

func corrupt(t *testing.T, file string) {
	t.Helper()
	if err := os.WriteFile(file, []byte("{\"version\": 2,\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}
