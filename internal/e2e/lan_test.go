package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"weft/internal/lab"
	"weft/internal/lab/probe"
)

// start starts a program in n until the test ends; its output is shown where the
// test fails.
func start(t *testing.T, n *lab.NS, name string, args ...string) {
	t.Helper()
	cmd := n.Command(context.Background(), name, args...)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	p, err := n.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("%s:\n%s", name, &out)
		}
	})
}

// dhcpScript is what udhcpc calls.
const dhcpScript = `#!/bin/sh
case $1 in
bound|renew) ip address replace $ip/$mask dev $interface;;
deconfig) ip link set $interface up;;
esac
`

// lease has a container ask for an address by DHCP, on eth1, and returns what it
// got, which is its Addr from then on.
func lease(t *testing.T, c *Container) (got netip.Addr) {
	t.Helper()
	script := filepath.Join(t.TempDir(), "udhcpc.sh")
	if err := os.WriteFile(script, []byte(dhcpScript), 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if out, err := c.Output(ctx, "busybox", "udhcpc", "-f", "-q", "-n", "-t", "10", "-i", "eth1", "-s", script); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	ifi, err := c.Interface("eth1")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Do(func() error {
		addrs, err := ifi.Addrs()
		for _, a := range addrs {
			if p, perr := netip.ParsePrefix(a.String()); perr == nil && p.Addr().Is4() {
				got = p.Addr()
			}
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	c.Addr = got
	return got
}

// A container behind an uplink gets its address from the LAN's DHCP server.
func TestUplinkDHCP(t *testing.T) {
	t.Parallel()
	lab.Need(t, "dnsmasq-base", "dnsmasq")
	lab.Need(t, "busybox-static", "busybox")
	s := newSite(t)
	dir := t.TempDir()
	start(t, s.machines[0].NS, "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--interface=eth0", "--bind-interfaces",
		"--dhcp-range=10.1.0.200,10.1.0.210,1h", "--dhcp-leasefile="+filepath.Join(dir, "leases"), "--pid-file", "--no-ping", "--log-dhcp", "--user=root")
	s.h1.Weft("uplink add lan eth0")
	s.h1.Weft("attach lan " + s.c1.target() + " 0/0")
	got := lease(t, s.c1)
	if got.Less(netip.MustParseAddr("10.1.0.200")) || netip.MustParseAddr("10.1.0.210").Less(got) {
		t.Fatalf("the container has the address %s, want one of the server's", got)
	}
	meet(t, s.c1, s.machines[1])
	meet(t, s.machines[2], s.c1)
	meet(t, s.c1, &Container{NS: s.h1.NS, Addr: netip.MustParseAddr("10.1.0.1")})
}

// Before a container gets an address the LAN is asked.
func TestUplinkAddressInUse(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.join(t)
	c := newContainer(t, s.l, "c3", "10.1.0.32")
	mac := func(n *lab.NS, ifName string) string {
		ifi, err := n.Interface(ifName)
		if err != nil {
			t.Fatal(err)
		}
		return ifi.HardwareAddr.String()
	}
	for addr, holder := range map[string]string{
		"10.1.0.32": mac(s.machines[1].NS, "eth0"), // a machine
		"10.1.0.12": mac(s.c2.NS, "eth1"),          // a container of the other host
		"10.1.0.2":  mac(s.h2.NS, "eth0"),          // the other host
		"10.1.0.1":  "this host itself",
	} {
		a := s.h1.CLI("attach lan " + c.target() + " " + addr + "/24")
		if a.code != 1 || !strings.Contains(a.err, addr+" is in use by "+holder) {
			t.Errorf("%s: exit %d: %s; want one that names %s", addr, a.code, a.err, holder)
		}
	}
	// The range begins at .100, which a machine has now.
	if err := s.machines[2].Do(func() error { return exec.Command("ip", "address", "add", "10.1.0.100/24", "dev", "eth0").Run() }); err != nil {
		t.Fatal(err)
	}
	if out := s.h1.Weft("attach lan " + c.target()); !strings.Contains(out, "10.1.0.101/24") {
		t.Errorf("the next free address: %s, want 10.1.0.101/24", out)
	}
	// What is attached already is not asked for.
	s.h1.Weft("attach lan " + s.c1.target() + " 10.1.0.11/24")
	// Other commands that give addresses ask too.
	file := filepath.Join(t.TempDir(), "host.yaml")
	exported := s.h1.Weft("export")
	for addr, holder := range map[string]string{"10.1.0.31": mac(s.machines[0].NS, "eth0"), "10.1.0.1": "this host itself"} {
		if err := os.WriteFile(file, []byte(strings.Replace(exported, "10.1.0.11/24", addr+"/24", 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		if a := s.h1.CLI("apply -f " + file); a.code != 1 || !strings.Contains(a.err, addr+" is in use by "+holder) {
			t.Errorf("apply with %s: exit %d: %s", addr, a.code, a.err)
		}
	}
	if err := s.machines[2].Do(func() error { return exec.Command("ip", "address", "add", "10.9.0.11/24", "dev", "eth0").Run() }); err != nil {
		t.Fatal(err)
	}
	other := newContainer(t, s.l, "c4", "10.9.0.11")
	s.h1.Weft("network add other 10.9.0.0/24")
	s.h1.attach("other", other)
	s.h1.Weft("uplink rm lan eth0")
	if a := s.h1.CLI("uplink add other eth0"); a.code != 1 || !strings.Contains(a.err, "10.9.0.11, which is in use by "+mac(s.machines[2].NS, "eth0")) {
		t.Errorf("uplink add with an address of the LAN: exit %d: %s", a.code, a.err)
	}
	s.h1.Weft("uplink add lan eth0")
	if out := s.h1.Weft("export"); !strings.Contains(out, "10.1.0.11/24") || strings.Contains(out, "10.1.0.31") {
		t.Errorf("what was refused is done:\n%s", out)
	}
}

// An SSH session and a stream to the host live on while its network card becomes
// an uplink and ceases to be one.
func TestUplinkKeepsSession(t *testing.T) {
	lab.Need(t, "dropbear-bin", "dropbear", "dbclient", "dropbearkey")
	s := newSite(t)
	m := s.machines[0]
	dir := t.TempDir()
	key := filepath.Join(dir, "key")
	out, err := exec.Command("dropbearkey", "-t", "ed25519", "-f", key).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		if strings.HasPrefix(line, "ssh-ed25519") {
			if err := os.WriteFile(key+".pub", []byte(line), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	// The server looks for keys in root's home, which is the test's own here.
	start(t, s.h1.NS, "unshare", "--mount", "sh", "-c", fmt.Sprintf(
		"mount -t tmpfs -o mode=700 none /root && mkdir -m 700 /root/.ssh && cp %[1]s.pub /root/.ssh/authorized_keys && exec dropbear -F -E -s -r %[1]s -P %[2]s/pid -p 10.1.0.1:22", key, dir))
	var session *exec.Cmd
	var stdin io.WriteCloser
	var answers *bufio.Reader
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		session = m.Command(t.Context(), "dbclient", "-y", "-y", "-i", key, "root@10.1.0.1", "cat")
		session.Stderr = nil
		if stdin, err = session.StdinPipe(); err != nil {
			t.Fatal(err)
		}
		pipe, err := session.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		answers = bufio.NewReader(pipe)
		p, err := m.Start(session)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(stdin, "first\n")
		if got, _ := answers.ReadString('\n'); got == "first\n" {
			t.Cleanup(p.Kill)
			break
		}
		p.Kill()
		if time.Now().After(end) {
			t.Fatal("no session")
		}
	}
	say := func(text string) {
		t.Helper()
		if _, err := io.WriteString(stdin, text+"\n"); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		got, err := answers.ReadString('\n')
		if got != text+"\n" {
			t.Fatalf("%s: the session answers %q, %v", text, got, err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	settled(t, s.h1)
	hosts := in(t, s.h1.NS, "ip -o addr show dev eth0; ip route; ip neigh show "+m.Addr.String())
	echoed := make(chan error, 1)
	go func() { echoed <- echo(ctx, m.NS, 16<<20, "dbclient", "-y", "-y", "-i", key, "root@10.1.0.1", "cat") }() // ends with the data
	moved := make(chan error, 1)
	go func() { // ends with the stream
		_, err := probe.TCP(ctx, s.h1.NS, m.NS, netip.AddrPortFrom(m.Addr, 0), 64<<20)
		moved <- err
	}()
	s.h1.attach("lan", s.c1)
	for i := range 5 {
		say(fmt.Sprintf("%d before", i))
		s.h1.Weft("uplink add lan eth0")
		say(fmt.Sprintf("%d with", i))
		meet(t, m, s.c1)
		if now := in(t, s.h1.NS, "ip -o addr show dev eth0; ip route; ip neigh show "+m.Addr.String()); steady(now) != steady(hosts) {
			t.Errorf("with the uplink the host has\n%s\nand had\n%s", now, hosts)
		}
		s.h1.Weft("uplink rm lan eth0")
		say(fmt.Sprintf("%d after", i))
	}
	if err := <-moved; err != nil {
		t.Error(err)
	}
	if err := <-echoed; err != nil {
		t.Errorf("data through SSH: %v", err)
	}
}

// steady takes out of a list of neighbours what changes by itself.
func steady(list string) string {
	return regexp.MustCompile(`(?m) (REACHABLE|STALE|DELAY|PROBE)\s*$|(valid|preferred)_lft \S+`).ReplaceAllString(list, "")
}

// echo sends random data to a program in n and compares what comes back.
func echo(ctx context.Context, n *lab.NS, length int64, name string, args ...string) error {
	cmd := n.Command(ctx, name, args...)
	sent, back := sha256.New(), sha256.New()
	cmd.Stdin = io.TeeReader(io.LimitReader(rand.NewChaCha8([32]byte{7}), length), sent)
	cmd.Stdout = back
	if err := n.Run(cmd); err != nil {
		return err
	}
	if got, want := back.Sum(nil), sent.Sum(nil); !bytes.Equal(got, want) {
		return fmt.Errorf("%d bytes came back as others: %x, want %x", length, got, want)
	}
	return nil
}

// Two uplinks of one network to one LAN are a loop: one of them is blocked, and
// named, and the LAN lives on.
func TestUplinkLoop(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.plug(t, s.h1.NS, "eth1", netip.Addr{})
	s.join(t)
	s.h1.Weft("uplink add lan eth1")
	wait := func(what string, ok func(string) bool) {
		t.Helper()
		for end := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
			a := s.h1.CLI("status --check")
			if ok(a.err) {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%s: %s", what, a.err)
			}
		}
	}
	wait("a loop", func(e string) bool {
		return strings.Contains(e, "port eth1") && strings.Contains(e, "joined twice to one LAN") && strings.Contains(e, "weft uplink rm lan eth1")
	})
	for line := range strings.Lines(s.h1.Weft("uplink ls")) {
		if strings.Contains(line, "eth1") && !strings.Contains(line, "blocked, since it is part of a loop") {
			t.Errorf("uplink ls has the blocked one as %s", line)
		}
	}
	meet(t, s.c1, s.machines[0])
	meet(t, s.machines[0], s.c1)
	s.h1.Weft("uplink rm lan eth1")
	meet(t, s.machines[1], s.c1)
}

// With --transit on two hosts of one LAN there are two ways between them; one is
// blocked, and named. With one host there is one, and a host beyond has the LAN.
func TestUplinkTransit(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.h1.attach("lan", s.c1)
	s.h2.attach("lan", s.c2)
	meet(t, s.c1, s.c2) // by the tunnel
	s.h1.Weft("uplink add lan eth0 --transit")
	meet(t, s.c2, s.machines[0]) // by the tunnel and host 1
	meet(t, s.machines[1], s.c2)
	move(t, s.c2, s.machines[0], s.machines[0].Addr, 4<<20)
	move(t, s.machines[0], s.c2, s.c2.Addr, 4<<20)
	s.h2.Weft("uplink add lan eth0 --transit")
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		one, two := s.h1.CLI("status --check").err, s.h2.CLI("status --check").err
		if strings.Contains(one+two, "only one of them may have --transit") {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("no loop was found: %s; %s", one, two)
		}
	}
	s.h2.Weft("uplink rm lan eth0")
	if err := reach(t, s.c1, s.machines[2], 90*time.Second); err != nil { // host 1 may be the one that left the LAN, for 30 s
		t.Errorf("the loop is open, but the container does not reach the LAN: %v", err)
	}
}

// What cannot be an uplink is refused and changes nothing.
func TestUplinkRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.plug(t, s.h1.NS, "eth1", netip.Addr{})
	s.h1.Weft("network add other 10.9.0.0/24")
	s.h1.Weft("network add third 10.8.0.0/24")
	s.h1.Weft("uplink add third eth1 --vlan 9")
	s.h1.Weft("uplink add lan eth0 --vlan 5")
	before := s.h1.Weft("uplink ls -o json")
	for _, tt := range []struct {
		line, want string
		code       int
	}{
		{"uplink add lan nosuch", "no such link", 1},
		{"uplink add lan lo", "loopback", 1},
		{"uplink add nosuch eth1", "does not exist", 1},
		{"uplink add lan eth0 --vlan 6", "has an uplink with eth0 already", 1},
		{"uplink add other eth0 --vlan 5", "VLAN 5 of eth0 is an uplink of network", 1},
		{"uplink add other eth0", "takes all of it", 1},
		{"uplink add other eth1 --vlan 0", "vlan", 2},
		{"uplink add other eth1 --vlan 4095", "vlan", 2},
		{"uplink add other eth1 --vlan x", "vlan", 2},
		{"uplink add other /", "name", 2},
		{"uplink add other", "want NETWORK DEVICE", 2},
		{"network rm third", "has uplink eth1", 1},
	} {
		a := s.h1.CLI(tt.line)
		if a.code != tt.code || !strings.Contains(a.err, tt.want) {
			t.Errorf("weft %s: exit %d: %s; want %d and %q", tt.line, a.code, a.err, tt.code, tt.want)
		}
	}
	if after := s.h1.Weft("uplink ls -o json"); after != before {
		t.Errorf("before %s, after %s", before, after)
	}
	s.h1.Weft("uplink add lan eth0 --vlan 5") // as it is
	s.h1.Weft("uplink add other eth0 --vlan 6")
	s.h1.Weft("uplink rm other eth1") // is none
	if out := s.h1.Weft("port ls"); !strings.Contains(out, "eth0.5") || !strings.Contains(out, "eth0.6") {
		t.Errorf("port ls:\n%s", out)
	}
}
