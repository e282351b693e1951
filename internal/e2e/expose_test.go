package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weft/internal/lab"
)

// Addresses around the exposed host.
const (
	lanHost, lanHost6 = "192.0.2.1", "2001:db8:1::1"
	lanPeer           = "192.0.2.2"
	lanClient         = "192.0.2.50"
	inetServer        = "203.0.113.2"
	inetServer6       = "2001:db8:203::2"
)

// exposed is a host on a LAN, another weft host beside it, and a server on "the
// Internet", behind the LAN's router:
//
//	web app        far                      client
//	   blue        green                       |
//	  host1 ------ host2 ------ LAN ------- router ------ inet
type exposed struct {
	l                    *lab.Lab
	h1, h2               *Host
	client, router, inet *lab.NS
	web, app, far        *Container
}

// netOf returns the LAN's prefix with an address, for lab.End.
func netOf(addrs ...string) (list []netip.Prefix) {
	for _, s := range addrs {
		a := netip.MustParseAddr(s)
		bits := 24
		if a.Is6() {
			bits = 64
		}
		list = append(list, netip.PrefixFrom(a, bits))
	}
	return list
}

func newExposed(t *testing.T) *exposed {
	t.Helper()
	lab.Need(t, "nftables", "nft")
	x := &exposed{l: lab.ForTest(t)}
	ns := func(name string) *lab.NS {
		n, err := x.l.Host(name)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	x.h1, x.h2 = newHost(t, x.l, "host1"), newHost(t, x.l, "host2")
	x.client, x.router, x.inet = ns("client"), ns("router"), ns("inet")
	for _, n := range []*lab.NS{x.h1.NS, x.h2.NS, x.client, x.router, x.inet} {
		if err := n.SetSysctl("ipv6/conf/default/accept_dad", "0"); err != nil {
			t.Fatal(err)
		}
	}
	lan, err := x.l.Switch("lan")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range []lab.End{
		{NS: x.h1.NS, Name: "eth0", Addrs: netOf(lanHost, lanHost6)},
		{NS: x.h2.NS, Name: "eth0", Addrs: netOf(lanPeer, "2001:db8:1::2")},
		{NS: x.client, Name: "eth0", Addrs: netOf(lanClient, "2001:db8:1::50")},
		{NS: x.router, Name: "lan", Addrs: netOf("192.0.2.254", "2001:db8:1::254")},
	} {
		if err := x.l.Plug(lan, e); err != nil {
			t.Fatal(err)
		}
	}
	if err := x.l.Link(lab.End{NS: x.router, Name: "inet", Addrs: netOf("203.0.113.1", "2001:db8:203::1")},
		lab.End{NS: x.inet, Name: "eth0", Addrs: netOf(inetServer, inetServer6)}); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"ipv4/conf/all/forwarding", "ipv6/conf/all/forwarding"} {
		if err := x.router.SetSysctl(key, "1"); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range []*lab.NS{x.h1.NS, x.h2.NS, x.client} {
		in(t, n, "ip route add default via 192.0.2.254")
		in(t, n, "ip -6 route add default via 2001:db8:1::254")
	}
	in(t, x.inet, "ip route add 192.0.2.0/24 via 203.0.113.1") // and no way to a container
	in(t, x.inet, "ip -6 route add 2001:db8:1::/64 via 2001:db8:203::1")
	x.h1.Start("--accel off --name host1 --local " + lanHost + " --peer host2=" + lanPeer +
		" --network blue=10.10.0.0/24,fd00:10::/64,gateway=10.10.0.1,gateway=fd00:10::1,vrf=site --route 10.20.0.0/24=host2,vrf=site")
	x.h2.Start("--accel off --name host2 --local " + lanPeer + " --peer host1=" + lanHost +
		" --network green=10.20.0.0/24,gateway=10.20.0.1,vrf=site --route 10.10.0.0/24=host1,vrf=site --route 0.0.0.0/0=host1,vrf=site")
	x.web, x.app, x.far = newContainer(t, x.l, "web", "10.10.0.11"), newContainer(t, x.l, "app", "10.10.0.12"), newContainer(t, x.l, "far", "10.20.0.11")
	x.h1.Weft("attach blue " + x.web.target() + " 10.10.0.11/24 fd00:10::11/64")
	x.h1.Weft("attach blue " + x.app.target() + " 10.10.0.12/24 fd00:10::12/64")
	x.h2.attach("green", x.far)
	return x
}

// in runs a command in a namespace; it must succeed.
func in(t testing.TB, n *lab.NS, line string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	out, err := n.Output(ctx, "sh", "-c", line)
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	return out
}

// snapshot is the host as a program has to put it back.
func (h *Host) snapshot() string {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), 20*time.Second)
	defer cancel()
	s, err := h.Snapshot(ctx)
	if err != nil {
		h.t.Fatal(err)
	}
	return s
}

// same compares the host with what it was.
func (h *Host) same(what, was string) {
	h.t.Helper()
	diff := ""
	eventually(h.t, 30*time.Second, func() string {
		if diff = lab.Changes(was, h.snapshot()); diff != "" {
			return what + ": the host is not as before:\n" + diff
		}
		return ""
	})
}

// serve answers each client on a port of n with the address that it came from.
func serve(t *testing.T, n *lab.NS, network string, port int) {
	t.Helper()
	at := fmt.Sprintf(":%d", port)
	err := n.Do(func() error {
		if network == "udp" {
			c, err := net.ListenPacket("udp", at)
			if err != nil {
				return err
			}
			t.Cleanup(func() { c.Close() })
			go func() { // ends with the test
				buf := make([]byte, 100)
				for {
					_, from, err := c.ReadFrom(buf)
					if err != nil {
						return
					}
					_, _ = c.WriteTo([]byte(hostOf(from)), from)
				}
			}()
			return nil
		}
		l, err := net.Listen("tcp", at)
		if err != nil {
			return err
		}
		t.Cleanup(func() { l.Close() })
		go func() { // ends with the test
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = c.Write([]byte(hostOf(c.RemoteAddr())))
				_ = c.Close()
			}
		}()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func hostOf(a net.Addr) string {
	p, _ := netip.ParseAddrPort(a.String())
	return p.Addr().Unmap().String()
}

// ask asks a server as whom it sees n; within is how long to wait.
func ask(n *lab.NS, network, host string, port int, within time.Duration) (seen string, err error) {
	at := net.JoinHostPort(host, fmt.Sprint(port))
	err = n.Do(func() error {
		c, err := net.DialTimeout(network, at, within)
		if err != nil {
			return err
		}
		defer c.Close()
		deadline := time.Now().Add(within)
		buf := make([]byte, 100)
		for {
			step := time.Now().Add(time.Second)
			if network == "tcp" || step.After(deadline) {
				step = deadline
			}
			if err := c.SetDeadline(step); err != nil {
				return err
			}
			if network == "udp" {
				if _, err := c.Write([]byte("who am I?")); err != nil {
					return err
				}
			}
			k, err := c.Read(buf)
			if err == nil || time.Now().After(deadline) || network == "tcp" {
				seen = string(buf[:k])
				return err
			}
		}
	})
	return seen, err
}

// wantSeen has a client ask, and compares as whom it is seen.
func wantSeen(t *testing.T, what string, n *lab.NS, network, host string, port int, want string) {
	t.Helper()
	seen, err := ask(n, network, host, port, 10*time.Second)
	if err != nil || seen != want {
		t.Errorf("%s by %s: seen as %q, %v, want %s", what, network, seen, err, want)
	}
}

// unseen has a client ask where there must be no answer.
func unseen(t *testing.T, what string, n *lab.NS, network, host string, port int) {
	t.Helper()
	if seen, err := ask(n, network, host, port, 700*time.Millisecond); err == nil {
		t.Errorf("%s by %s: seen as %q, want no answer", what, network, seen)
	}
}

func TestExpose(t *testing.T) {
	x := newExposed(t)
	for _, network := range []string{"tcp", "udp"} {
		for _, n := range []*lab.NS{x.inet, x.web.NS, x.far.NS, x.client} {
			serve(t, n, network, 7777)
		}
	}
	was := x.h1.snapshot()
	unseen(t, "the Internet before", x.web.NS, "tcp", inetServer, 7777)
	x.h1.Weft("expose blue 10.10.0.254/24 fd00:10::fe/64")
	for _, network := range []string{"tcp", "udp"} {
		wantSeen(t, "container to the Internet", x.web.NS, network, inetServer, 7777, lanHost)
		wantSeen(t, "container to the Internet, IPv6", x.web.NS, network, inetServer6, 7777, lanHost6)
		wantSeen(t, "container to the LAN", x.app.NS, network, lanClient, 7777, lanHost)
		wantSeen(t, "remote container to the Internet", x.far.NS, network, inetServer, 7777, lanHost)
		wantSeen(t, "host to a container", x.h1.NS, network, "10.10.0.11", 7777, "10.10.0.254")
		wantSeen(t, "host to a container, IPv6", x.h1.NS, network, "fd00:10::11", 7777, "fd00:10::fe")
		wantSeen(t, "host to a remote container", x.h1.NS, network, "10.20.0.11", 7777, "10.10.0.254")
	}
	in(t, x.client, "ip route add 10.10.0.0/24 via "+lanHost)
	unseen(t, "LAN to a container behind SNAT", x.client, "tcp", "10.10.0.11", 7777)
	in(t, x.inet, "ip route add 198.51.100.0/24 via 203.0.113.1")
	in(t, x.client, "ip route add 203.0.113.0/24 via "+lanHost) // the host is no router for others
	unseen(t, "LAN through the host", x.client, "tcp", inetServer, 7777)

	var ports []struct{ Name, Network, Kind, IfName string }
	if err := json.Unmarshal([]byte(x.h1.Weft("port ls -o json")), &ports); err != nil || len(ports) != 3 || ports[1].Kind != "host" && ports[0].Kind != "host" && ports[2].Kind != "host" {
		t.Errorf("ports are %+v, %v", ports, err)
	}

	t.Run("a network apart", func(t *testing.T) {
		x.h1.Weft("network add red 10.30.0.0/24 --gateway 10.30.0.1")
		alone := newContainer(t, x.l, "alone", "10.30.0.11")
		x.h1.attach("red", alone)
		serve(t, alone.NS, "tcp", 7777)
		x.h1.Weft("expose red --no-snat")
		unseen(t, "blue to red", x.web.NS, "tcp", "10.30.0.11", 7777)
		unseen(t, "red to blue", alone.NS, "tcp", "10.10.0.11", 7777)
		in(t, x.client, "ip route add 10.30.0.0/24 via "+lanHost)
		wantSeen(t, "LAN to a container without SNAT", x.client, "tcp", "10.30.0.11", 7777, lanClient)
		wantSeen(t, "container without SNAT to the LAN", alone.NS, "tcp", lanClient, 7777, "10.30.0.11")
		x.h1.Weft("hide red")
		x.h1.Weft("network rm red --force")
	})
	t.Run("restart", func(t *testing.T) {
		good := x.h1.snapshot()
		x.h1.Kill()
		x.h1.Restart()
		x.h1.same("restart after a crash", good)
		wantSeen(t, "container to the Internet", x.web.NS, "tcp", inetServer, 7777, lanHost)
		x.h1.Stop()
		x.h1.Restart()
		wantSeen(t, "host to a container", x.h1.NS, "tcp", "10.10.0.11", 7777, "10.10.0.254")
	})
	t.Run("edited by hand", func(t *testing.T) {
		good := x.h1.snapshot()
		in(t, x.h1.NS, "nft flush chain inet weft postrouting; ip route del 10.20.0.0/24; sysctl -qw net.ipv4.conf.eth0.forwarding=0")
		x.h1.same("edited by hand", good)
		if out := x.h1.Weft("status"); !strings.Contains(out, "somebody changed") {
			t.Errorf("status does not say so:\n%s", out)
		}
		in(t, x.h1.NS, "ip link del weft-blue")
		eventually(t, 15*time.Second, func() string {
			if seen, err := ask(x.web.NS, "tcp", inetServer, 7777, time.Second); err != nil || seen != lanHost {
				return fmt.Sprintf("the host's interface was deleted, and is not made again: %q, %v", seen, err)
			}
			return ""
		})
	})
	x.h1.Weft("hide blue")
	x.h1.same("hide", was)
	unseen(t, "the Internet after", x.web.NS, "tcp", inetServer, 7777)
	x.h1.onlyDrops(x.h1.settled(), append([]string{"l3_neigh", "l3_noroute", "l3_source", "l2_spoof", "l2_storm"}, loadDrops...)...)
}

// sshd runs dropbear in a container, on port 22. It knows one key.
func sshd(t *testing.T, c *Container) (key string) {
	t.Helper()
	lab.Need(t, "dropbear-bin", "dropbear", "dropbearkey")
	lab.Need(t, "openssh-client", "ssh", "ssh-keygen")
	dir, err := os.MkdirTemp(scratch, "ssh")
	if err != nil {
		t.Fatal(err)
	}
	key = filepath.Join(dir, "key")
	in(t, c.NS, fmt.Sprintf("ssh-keygen -q -t ed25519 -N '' -f %s && dropbearkey -t ed25519 -f %s/host >/dev/null 2>&1", key, dir))
	// In a mount namespace of its own root has another home, with the key in it.
	script := fmt.Sprintf("mount -t tmpfs -o mode=700 tmpfs /root && mkdir -m 700 /root/.ssh && cp %s.pub /root/.ssh/authorized_keys && exec dropbear -F -E -s -r %s/host -P %s/pid -p 22", key, dir, dir)
	cmd := c.Command(context.Background(), "unshare", "-m", "--propagation", "private", "sh", "-c", script)
	p, err := c.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	eventually(t, 10*time.Second, func() string {
		if _, err := os.Stat(filepath.Join(dir, "pid")); err != nil {
			return "dropbear does not start"
		}
		return ""
	})
	return key
}

// sshArgs are the client's, for a server that sshd started.
func sshArgs(key, host string, port int, command string) []string {
	return []string{"-F", "/dev/null", "-i", key, "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes",
		"-o", "ConnectTimeout=10", "-o", "LogLevel=ERROR", "-p", fmt.Sprint(port), "root@" + host, command}
}

// ssh logs in and returns the client's address as the server has it.
func ssh(t *testing.T, n *lab.NS, key, host string, port int) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	out, err := n.Output(ctx, "ssh", sshArgs(key, host, port, "echo $SSH_CLIENT")...)
	if err != nil {
		return err.Error()
	}
	seen, _, _ := strings.Cut(out, " ")
	return seen
}

func TestPublish(t *testing.T) {
	t.Parallel()
	x := newExposed(t)
	was := x.h1.snapshot()
	key := sshd(t, x.web)
	serve(t, x.web.NS, "udp", 53)
	serve(t, x.web.NS, "tcp", 9001)
	x.h1.Weft("publish blue " + x.web.target() + " 2222:22")
	x.h1.Weft("publish blue " + x.web.target() + " 5353:53/udp")
	x.h1.Weft("publish blue " + x.web.target() + " " + lanHost + ":8000-8002:9000-9002")
	var list []map[string]any
	if err := json.Unmarshal([]byte(x.h1.Weft("publish ls -o json")), &list); err != nil || len(list) != 3 {
		t.Errorf("publish ls: %v, %v", list, err)
	}
	host := hostAddr(t, x.h1, "4")
	host6 := hostAddr(t, x.h1, "6")
	for _, tt := range []struct {
		what, at, want string
		from           *lab.NS
	}{
		{"LAN", lanHost, lanClient, x.client},
		{"LAN, IPv6", lanHost6, "2001:db8:1::50", x.client},
		{"the Internet", lanHost, inetServer, x.inet},
		{"another container", lanHost, host, x.app.NS},
		{"another container, at the host's address in the network", host, host, x.app.NS},
		{"another container, IPv6", lanHost6, host6, x.app.NS},
		{"the container itself", lanHost, host, x.web.NS},
		{"a remote container", lanHost, lanHost, x.far.NS},
		{"loopback", "127.0.0.1", host, x.h1.NS},
		{"loopback, IPv6", "::1", host6, x.h1.NS},
		{"the host, at its own address", lanHost, host, x.h1.NS},
	} {
		want := tt.want
		if tt.what == "a remote container" { // its way out is the host, and there its published port
			want = host
		}
		if seen := ssh(t, tt.from, key, tt.at, 2222); seen != want {
			t.Errorf("SSH from %s: seen as %s, want %s", tt.what, seen, want)
		}
		wantSeen(t, tt.what, tt.from, "udp", tt.at, 5353, want)
	}
	for what, way := range map[string]struct {
		from *lab.NS
		at   string
	}{"LAN": {x.client, lanHost}, "LAN, IPv6": {x.client, lanHost6}, "another container": {x.app.NS, lanHost}, "loopback": {x.h1.NS, "127.0.0.1"}} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		if err := echo(ctx, way.from, 4<<20, "ssh", sshArgs(key, way.at, 2222, "cat")...); err != nil {
			t.Errorf("data through SSH from %s: %v", what, err)
		}
		cancel()
	}
	wantSeen(t, "a range, LAN", x.client, "tcp", lanHost, 8001, lanClient)
	wantSeen(t, "a range, the host", x.h1.NS, "tcp", lanHost, 8001, host)
	unseen(t, "a range at another address", x.client, "tcp", lanHost6, 8001)

	t.Run("held", func(t *testing.T) {
		err := x.h1.Do(func() error {
			l, err := net.Listen("tcp", lanHost+":2222")
			if err == nil {
				l.Close()
			}
			return err
		})
		if err == nil {
			t.Error("a published port can be taken by another")
		}
	})
	t.Run("refused", func(t *testing.T) {
		serve(t, x.h1.NS, "tcp", 4444)
		before := x.h1.snapshot()
		for line, want := range map[string]string{
			"publish blue " + x.web.target() + " 4444:22":             "port 4444/tcp of the host is taken",
			"publish blue " + x.web.target() + " 203.0.113.9:4445:22": "is not an address of this host",
			"publish blue " + x.far.target() + " 4446:22":             "is not attached to network",
			"publish red " + x.web.target() + " 4447:22":              "does not exist",
			"publish blue " + x.web.target() + " 2222:23":             "leads to",
			"hide blue":                     "published ports need it",
			"expose blue 10.10.0.99/24":     "exposed with address",
			"detach blue netns:/proc/1/foo": "",
		} {
			if a := x.h1.CLI(line); want != "" && (a.code != 1 || !strings.Contains(a.err, want)) {
				t.Errorf("weft %s: exit %d, %s, want %s", line, a.code, a.err, want)
			}
		}
		for _, ports := range []string{"0:80", "80:0", "65536:80", "80:65536", "-1:80", "20-10:20-10", "1-2:1-3", "1-5:7", "80", "http:80", "80:80/sctp", "2001:db8::1:80:80", "[192.0.2.1]:80:80", "nowhere:80:80", "1-1025:1-1025", "65535-65536:1-2", ""} {
			oneLine(t, x.h1.CLI("publish blue "+x.web.target(), ports), 2, "publish")
		}
		x.h1.same("what is refused", before)
	})
	t.Run("taken", func(t *testing.T) {
		for _, held := range []struct{ network, at string }{{"tcp", "127.0.0.1:4450"}, {"tcp", lanHost + ":4451"}, {"udp", ":4452"}, {"udp", "127.0.0.1:4453"}, {"tcp", "[::1]:4454"}} {
			if err := x.h1.Do(func() error {
				if held.network == "udp" {
					c, err := net.ListenPacket("udp", held.at)
					if err == nil {
						t.Cleanup(func() { c.Close() })
					}
					return err
				}
				l, err := net.Listen("tcp", held.at)
				if err == nil {
					t.Cleanup(func() { l.Close() })
				}
				return err
			}); err != nil {
				t.Fatal(err)
			}
		}
		before, listed := x.h1.snapshot(), x.h1.Weft("publish ls")
		for _, tt := range []struct{ ports, want string }{
			{"4450:22", "port 4450/tcp of the host is taken"},              // of one address, wanted of every one
			{lanHost + ":4451:22", "port 4451/tcp of the host is taken"},   // of that address
			{"4452:53/udp", "port 4452/udp of the host is taken"},          // of every one
			{lanHost + ":4452:53/udp", "port 4452/udp of the host is tak"}, // of every one, wanted of one
			{"4453:53/udp", "port 4453/udp of the host is taken"},
			{"4454:22", "port 4454/tcp of the host is taken"},
			{"4440-4460:22-42", "port 4450/tcp of the host is taken"}, // in the midst of a range
			{"8002-8010:22-30", "leads to"},                           // of which others have a part
			{"127.0.0.1:2222:22", "leads to"},                         // of every address already
			{"203.0.113.77:80:80", "203.0.113.77 is not an address of this host"},
		} {
			oneLine(t, x.h1.CLI("publish blue "+x.web.target()+" "+tt.ports), 1, tt.want)
		}
		x.h1.same("what is taken", before)
		if now := x.h1.Weft("publish ls"); now != listed {
			t.Errorf("published is\n%s\nand was\n%s", now, listed)
		}
		for _, ports := range []string{lanHost + ":4450:22", "4452:22/tcp", "4451:53/udp", "[" + lanHost6 + "]:4451:22"} { // of another address, of the other protocol
			x.h1.Weft("publish blue " + x.web.target() + " " + ports)
			x.h1.Weft("publish blue " + x.web.target() + " " + ports) // again is no error
			x.h1.Weft("unpublish blue " + x.web.target() + " " + ports)
		}
	})
	t.Run("follows its target", func(t *testing.T) {
		x.h1.Weft("detach blue " + x.web.target())
		unseen(t, "a detached target", x.client, "udp", lanHost, 5353)
		x.h1.Weft("attach blue " + x.web.target() + " 10.10.0.99/24 fd00:10::99/64")
		wantSeen(t, "the target again", x.client, "udp", lanHost, 5353, lanClient)
	})
	t.Run("restart", func(t *testing.T) {
		x.h1.Kill()
		x.h1.Restart()
		if seen := ssh(t, x.client, key, lanHost, 2222); seen != lanClient {
			t.Errorf("SSH after a restart: seen as %s", seen)
		}
		wantSeen(t, "loopback after a restart", x.h1.NS, "udp", "127.0.0.1", 5353, host)
	})
	for _, ports := range []string{"2222:22", "5353:53/udp"} {
		x.h1.Weft("unpublish blue " + x.web.target() + " " + ports)
	}
	unseen(t, "an unpublished port", x.client, "udp", lanHost, 5353)
	x.h1.Weft("unpublish blue " + x.web.target())
	x.h1.same("unpublish", was)
}

// hostAddr returns the host's address in its network.
func hostAddr(t *testing.T, h *Host, family string) string {
	t.Helper()
	var ports []struct {
		Kind      string
		Addresses []netip.Prefix
	}
	if err := json.Unmarshal([]byte(h.Weft("port ls -o json")), &ports); err != nil {
		t.Fatal(err)
	}
	for _, p := range ports {
		for _, a := range p.Addresses {
			if p.Kind == "host" && a.Addr().Is4() == (family == "4") {
				return a.Addr().String()
			}
		}
	}
	t.Fatal("the host has no address")
	return ""
}

// The daemon is killed at any moment of any command; the next start converges,
// and cleanup, with and without a daemon, leaves nothing.
func TestKilledWhileExposing(t *testing.T) {
	t.Parallel()
	x := newExposed(t)
	was := x.h1.snapshot()
	lines := []string{"expose blue", "hide blue", "publish blue " + x.web.target() + " 2222:22", "unpublish blue " + x.web.target()}
	rounds := 24
	if testing.Short() {
		rounds = 6
	}
	for i := range rounds {
		line := lines[i%len(lines)]
		done := make(chan answer, 1)
		go func() { done <- x.h1.CLI(line) }() // ends with the command
		time.Sleep(time.Duration(rand.IntN(60)) * time.Millisecond)
		x.h1.Kill()
		<-done
		x.h1.Restart()
		rules := strings.Contains(in(t, x.h1.NS, "nft list ruleset"), "table inet weft")
		_, err := x.h1.Interface("weft-blue")
		ports := strings.Contains(x.h1.Weft("port ls"), "weft-blue")
		if rules != (err == nil) || rules != ports {
			t.Errorf("killed in %s: rules %t, interface %t, port %t", line, rules, err == nil, ports)
		}
		if out := x.h1.CLI("status --check"); out.code != 0 {
			t.Errorf("killed in %s: %s", line, out.err)
		}
		if !rules {
			x.h1.same("killed in "+line, was)
		}
	}
	x.h1.CLI("unpublish blue " + x.web.target())
	x.h1.Weft("expose blue")
	x.h1.Weft("publish blue " + x.web.target() + " 2222:22")
	x.h1.Weft("cleanup")
	x.h1.same("cleanup by the daemon", was)
	x.h1.Weft("expose blue")
	x.h1.Weft("publish blue " + x.web.target() + " 2222:22")
	x.h1.Kill()
	gone := x.h1.alone("cleanup --state-dir " + filepath.Join(x.h1.dir, "state"))
	if gone.code != 0 || !strings.Contains(gone.out, "interface weft-blue") {
		t.Errorf("cleanup without a daemon: %+v", gone)
	}
	x.h1.same("cleanup without a daemon", was)
	x.h1.Restart()
	x.h1.same("start after cleanup", was)
	if err := reach(t, x.web, x.app, 10*time.Second); err != nil {
		t.Error(err)
	}
}

// alone runs a command in the host's namespace, where no daemon answers.
func (h *Host) alone(line string) answer {
	h.t.Helper()
	path, err := weftBinary()
	if err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(h.t.Context(), 20*time.Second)
	defer cancel()
	cmd := h.Command(ctx, path, append([]string{"--socket", h.socket()}, strings.Fields(line)...)...)
	var out, diag strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &diag
	_ = h.Run(cmd) // its exit code is in the answer
	return answer{out.String(), diag.String(), cmd.ProcessState.ExitCode()}
}
