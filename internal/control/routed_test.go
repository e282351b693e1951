package control

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"weft/internal/header"
	"weft/internal/offload"
	"weft/internal/spec"
)

// packet returns a frame with a UDP packet without ports, from a container to the
// gateway of a network.
func packet(from *fakeTAP, gw header.MAC, src, dst netip.Addr) []byte {
	b := make([]byte, 60)
	header.PutEthernet(b, gw, from.cfg.MAC, header.TypeIPv4)
	header.IPv4Fields{Length: len(b) - header.EthernetLen, TTL: 64, Protocol: header.ProtoUDP, Src: src, Dst: dst}.Put(b[header.EthernetLen:])
	return b
}

// crosses reports whether a packet that from sends to its gateway comes out of to, and
// with which source MAC and TTL.
func crosses(t *testing.T, from, to *fakeTAP, gw header.MAC, src, dst netip.Addr) (mac header.MAC, ttl uint8, ok bool) {
	t.Helper()
	from.inside.Send(offload.Header{}, packet(from, gw, src, dst))
	for deadline := time.Now().Add(2 * time.Second); time.Now().Before(deadline); {
		_, got := to.inside.Recv(100 * time.Millisecond)
		eth, ok := header.ParseEthernet(got)
		if !ok || eth.Type() != header.TypeIPv4 {
			continue
		}
		if p, ok := header.ParseIPv4(got[header.EthernetLen:]); ok && p.DstAddr() == dst && eth.Dst() == to.cfg.MAC {
			return eth.Src(), p.TTL(), p.ChecksumOK()
		}
	}
	return 0, 0, false
}

// Two networks of one vrf route to each other; what is set takes effect at once.
func TestRoutedBetweenNetworks(t *testing.T) {
	r := newRig(t)
	c := r.open()
	add(t, c, "blue=10.1.0.0/24,gateway=10.1.0.1,vrf=v", "red=10.2.0.0/24,gateway=10.2.0.1,vrf=v", "far=10.3.0.0/24,gateway=10.3.0.1")
	for path, network := range map[string]string{"a": "blue", "b": "red"} {
		r.container("/run/netns/" + path)
		r.attach(c, ask(t, network, "netns:"+path))
	}
	a, b := r.tap("/run/netns/a", "eth1"), r.tap("/run/netns/b", "eth1")
	gwBlue, gwRed := gatewayMAC(nameID("blue")), gatewayMAC(nameID("red"))
	addr := netip.MustParseAddr
	mac, ttl, ok := crosses(t, a, b, gwBlue, addr("10.1.0.2"), addr("10.2.0.2"))
	if !ok || mac != gwRed || ttl != 63 {
		t.Errorf("blue to red: got %v from %s, TTL %d; want it from %s, TTL 63", ok, mac, ttl, gwRed)
	}
	a.inside.Send(offload.Header{}, packet(a, gwBlue, addr("10.1.0.2"), addr("10.2.0.77")))
	eventually(t, "the switch asks for 10.2.0.77 from its own address", func() bool {
		_, got := b.inside.Recv(100 * time.Millisecond)
		eth, ok := header.ParseEthernet(got)
		return ok && eth.Type() == header.TypeARP && eth.Src() == hostMAC("h1")
	})
	set := func(option string) {
		t.Helper()
		ch, err := spec.ChangeFrom([]string{option})
		if err == nil {
			_, err = c.SetNetwork("red", ch, false)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	set("vrf=w")
	for n, dst := range []string{"10.2.0.2", "10.3.0.2"} { // in another vrf, and in that of one network
		a.inside.Send(offload.Header{}, packet(a, gwBlue, addr("10.1.0.2"), addr(dst)))
		eventually(t, "a packet into another vrf finds no route", func() bool { return c.Status().Drops["l3_noroute"] == uint64(n+1) })
	}
	set("vrf=v")
	if _, _, ok := crosses(t, a, b, gwBlue, addr("10.1.0.2"), addr("10.2.0.2")); !ok {
		t.Error("back in one vrf, nothing crosses")
	}
}

// A route via a peer leads to a network of another host, as IP in GRE with the
// vrf's key, and back; without key too.
func TestRoutedBetweenHosts(t *testing.T) {
	for _, options := range []string{"", ",key=none"} {
		t.Run("options "+options, func(t *testing.T) {
			r1, r2 := newRig(t), newRig(t)
			join(t, r1, r2)
			c1 := r1.open("network blue=10.1.0.0/24,gateway=10.1.0.1,vrf=v", "peer h2=192.0.2.2"+options, "route 10.2.0.0/24=192.0.2.2")
			c2 := r2.open("network red=10.2.0.0/24,gateway=10.2.0.1,vrf=v", "peer h1=192.0.2.1"+options, "route 10.1.0.0/24=h1")
			r1.container("/run/netns/a")
			r2.container("/run/netns/b")
			r1.attach(c1, ask(t, "blue", "netns:a"))
			r2.attach(c2, ask(t, "red", "netns:b"))
			a, b := r1.tap("/run/netns/a", "eth1"), r2.tap("/run/netns/b", "eth1")
			src, dst := netip.MustParseAddr("10.1.0.2"), netip.MustParseAddr("10.2.0.2")
			_, ttl, ok := crosses(t, a, b, gatewayMAC(nameID("blue")), src, dst)
			if !ok || ttl != 62 {
				t.Errorf("there: got %v, TTL %d; want 62; drops %v and %v", ok, ttl, nonZero(c1), nonZero(c2))
			}
			if _, ttl, ok := crosses(t, b, a, gatewayMAC(nameID("red")), dst, src); !ok || ttl != 62 {
				t.Errorf("back: got %v, TTL %d; want 62; drops %v and %v", ok, ttl, nonZero(c1), nonZero(c2))
			}
			for _, c := range []*Controller{c1, c2} {
				if s := c.Status(); s.Frames.In != s.Frames.Forwarded+s.Frames.Local+s.Frames.DroppedIn {
					t.Errorf("the balance is wrong: %+v", s.Frames)
				}
			}
		})
	}
}

// nonZero returns the reasons for which something was dropped.
func nonZero(c *Controller) string {
	var list []string
	for _, d := range c.Drops() {
		if d.Count > 0 {
			list = append(list, d.At+":"+d.Reason)
		}
	}
	return strings.Join(list, " ")
}

// Routes change in every way while packets take them, and none is lost.
func TestRouteChangesUnderTraffic(t *testing.T) {
	r := newRig(t)
	c := r.open()
	add(t, c, "blue=10.1.0.0/24,gateway=10.1.0.1,vrf=v", "red=10.2.0.0/24,gateway=10.2.0.1,vrf=v")
	for path, where := range map[string][2]string{"a": {"blue", "10.1.0.5/24"}, "b": {"red", "10.2.0.5/24"}, "c": {"red", "10.2.0.6/24"}} {
		r.container("/run/netns/" + path)
		r.attach(c, ask(t, where[0], "netns:"+path, where[1]))
	}
	from, ends := r.tap("/run/netns/a", "eth1"), []*fakeTAP{r.tap("/run/netns/b", "eth1"), r.tap("/run/netns/c", "eth1")}
	set := func(list string) error {
		_, err := c.AddRoute(mustRoute(t, list), true)
		return err
	}
	if err := set("10.9.0.0/16=10.2.0.5,vrf=v"); err != nil {
		t.Fatal(err)
	}
	const changes = 70
	done := make(chan struct{})
	go func() { // ends after its changes
		defer close(done)
		for n := range changes {
			longer := netip.MustParsePrefix("10.9.1.0/24")
			steps := []func() error{
				func() error { return set("10.9.0.0/16=10.2.0.6,vrf=v") },
				func() error { return set("10.9.1.0/24=10.2.0.5,vrf=v") },
				func() error { return set("10.9.0.0/16=10.2.0.5,vrf=v") },
				func() error { return c.RemoveRoute(longer, "v") },
				func() error { // all tables anew
					_, err := c.AddRoutes(table(t, "10.9.0.0/16 via 10.2.0.6\n10.9.1.0/24 via 10.2.0.6\n0.0.0.0/0 via 10.2.0.5"), true)
					return err
				},
				func() error { return c.RemoveRoute(longer, "v") },
				func() error { return c.RemoveRoute(netip.MustParsePrefix("0.0.0.0/0"), "v") },
			}
			if err := steps[n%len(steps)](); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	gw, src, dst := gatewayMAC(nameID("blue")), netip.MustParseAddr("10.1.0.5"), netip.MustParseAddr("10.9.1.1")
	arrived := func() bool {
		for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
			for _, to := range ends {
				_, got := to.inside.Recv(time.Millisecond)
				if p, ok := header.ParseIPv4(got[min(len(got), header.EthernetLen):]); ok && p.DstAddr() == dst {
					return true
				}
			}
		}
		return false
	}
	for i := 0; ; i++ {
		from.inside.Send(offload.Header{}, packet(from, gw, src, dst))
		if !arrived() {
			t.Errorf("packet %d was lost", i)
			break
		}
		select {
		case <-done:
			t.Logf("%d packets, %d changes", i, changes)
			return
		default:
		}
	}
	<-done
}
