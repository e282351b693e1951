package e2e

import (
	"bytes"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"golang.org/x/net/ipv4"

	"weft/internal/lab"
)

// What the kernel of a container reports about its multicast groups, by MLD when it
// is attached and by IGMP when a program joins, reaches containers that may be
// routers, on its host and on another, and no others; what is sent to the group
// reaches who joined.
func TestListenerReports(t *testing.T) {
	l := lab.ForTest(t)
	h1, h2 := newHost(t, l, "host1"), newHost(t, l, "host2")
	underlay(t, l, h1.NS, h2.NS, 1500)
	h1.Start("--name host1 --local 192.0.2.1 --peer host2=192.0.2.2 --network net1=10.1.0.0/24,id=7")
	h2.Start("--name host2 --local 192.0.2.2 --peer host1=192.0.2.1 --network net1=10.1.0.0/24,id=7")
	places := []struct {
		h       *Host
		options string
		c       *Container
		heard   *capture
		router  bool
	}{
		{h: h1}, {h: h1, options: "--allow-spoof", router: true}, {h: h2}, {h: h2, options: "--allow-spoof", router: true},
	}
	for i := range places {
		p := &places[i]
		p.c = newContainer(t, l, fmt.Sprintf("c%d", i), fmt.Sprintf("10.1.0.%d", i+2))
		p.h.attach("net1", p.c, p.options)
		p.heard = newCapture(t, p.c.NS, "eth1")
	}
	c := newContainer(t, l, "c", "10.1.0.1")
	for _, conf := range []string{"all", "default"} {
		if err := c.SetSysctl("ipv6/conf/"+conf+"/disable_ipv6", "0"); err != nil {
			t.Fatal(err)
		}
	}
	h1.attach("net1", c)
	group := &net.UDPAddr{IP: net.IPv4(239, 1, 2, 3), Port: 4000}
	var joined *net.UDPConn
	err := c.Do(func() error {
		ifi, err := net.InterfaceByName("eth1")
		if err == nil {
			joined, err = net.ListenMulticastUDP("udp4", ifi, group)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer joined.Close()

	// Something that all hear, sent when those who shall have heard both reports.
	ifi, err := c.Interface("eth1")
	if err != nil {
		t.Fatal(err)
	}
	fence := append(append(bytes.Repeat([]byte{0xff}, 6), ifi.HardwareAddr...), 0x88, 0xb5)
	fence = append(fence, make([]byte, 46)...)
	heard := func(i int) (mld, igmp int, fenced bool) {
		for _, f := range places[i].heard.seen() {
			p := gopacket.NewPacket(f.data, layers.LayerTypeEthernet, gopacket.Default)
			switch {
			case f.outgoing:
			case bytes.Equal(f.data, fence):
				fenced = true
			case p.Layer(layers.LayerTypeMLDv2MulticastListenerReport) != nil:
				mld++
			case p.Layer(layers.LayerTypeIGMP) != nil:
				igmp++
			}
		}
		return mld, igmp, fenced
	}
	all := func(want func(i int) bool) func() string {
		return func() string {
			for i, p := range places {
				if !want(i) {
					mld, igmp, fenced := heard(i)
					return fmt.Sprintf("%s heard %d MLD reports, %d of IGMP, the fence: %v", p.c.Name(), mld, igmp, fenced)
				}
			}
			return ""
		}
	}
	eventually(t, 10*time.Second, all(func(i int) bool {
		mld, igmp, _ := heard(i)
		return !places[i].router || mld > 0 && igmp > 0
	}))
	newSender(t, c.NS, "eth1").send(fence)
	eventually(t, 10*time.Second, all(func(i int) bool { _, _, fenced := heard(i); return fenced }))
	for i, p := range places {
		if mld, igmp, _ := heard(i); !p.router && mld+igmp > 0 {
			t.Errorf("%s, which can be no router, heard %d MLD reports and %d of IGMP", p.c.Name(), mld, igmp)
		}
	}

	for _, p := range places {
		want := "to the group from " + p.c.Name()
		err := p.c.Do(func() error {
			conn, err := net.ListenUDP("udp4", nil)
			if err != nil {
				return err
			}
			defer conn.Close()
			ifi, err := net.InterfaceByName("eth1")
			if err != nil {
				return err
			}
			if err := ipv4.NewPacketConn(conn).SetMulticastInterface(ifi); err != nil {
				return err
			}
			_, err = conn.WriteTo([]byte(want), group)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 100)
		_ = joined.SetReadDeadline(time.Now().Add(10 * time.Second))
		if n, err := joined.Read(buf); err != nil || string(buf[:n]) != want {
			t.Errorf("who joined heard %q, %v, want %q", buf[:n], err, want)
		}
	}
	for _, h := range []*Host{h1, h2} {
		h.settled()
	}
}
