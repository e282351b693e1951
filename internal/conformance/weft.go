package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"weft/internal/lab"
)

// Addresses and MACs that the tables of rows use.
const (
	peerMAC = "02:00:00:00:00:f2" // of the link to the peers
	gw1     = "02:57:00:00:00:15" // gateways of r1, r2, r3: 02:57 and the id
	gw2     = "02:57:00:00:00:16"
	gw3     = "02:57:00:00:00:17"
)

// container is a place of weft that is a container.
type container struct {
	name, network, mac string
	addrs              string // as `weft attach` takes them
	options            string
}

// containers of every system; those of r1, r2 and r3 are around routers.
var containers = []container{
	{"a", "n7", "02:00:00:00:00:0a", "10.7.0.10/24", "--allow-spoof"},
	{"k", "plain", "02:00:00:00:00:0b", "10.6.0.10/24", "--allow-spoof"},
	{"s", "seq", "02:00:00:00:00:0c", "10.9.0.10/24", "--allow-spoof"},
	{"t", "seq2", "02:00:00:00:00:0d", "10.5.0.10/24", "--allow-spoof"},
	{"u", "sum", "02:00:00:00:00:0e", "10.4.0.10/24", "--allow-spoof"},
	{"b1", "br", "02:00:00:00:00:b1", "10.8.0.1/24", "--allow-spoof"},
	{"b2", "br", "02:00:00:00:00:b2", "10.8.0.2/24", "--allow-spoof"},
	{"b3", "br", "02:00:00:00:00:b3", "10.8.0.3/24", "--allow-spoof"},
	{"r1", "r1", "02:00:00:00:00:11", "10.1.0.9/24 fd01::9/64", "--allow-spoof"},
	{"r2", "r2", "02:00:00:00:00:12", "10.2.0.9/24 fd02::9/64", "--allow-spoof"},
	{"r3", "r3", "02:00:00:00:00:13", "10.3.0.9/24 fd03::9/64", "--allow-spoof"},
	{"g", "guard", "02:00:00:00:00:14", "10.13.0.9/24 fd13::9/64", ""}, // held to what it is
	{"h", "guard", "02:00:00:00:00:18", "10.13.0.8/24 fd13::8/64", "--allow-spoof"},
}

// runLine is what follows `weft run`.
const runLine = `--name host1 --local 192.0.2.1
	--network n7=10.7.0.0/24,id=7 --network plain=10.6.0.0/24,id=6000 --network seq=10.9.0.0/24,id=9000 --network seq2=10.5.0.0/24,id=9001
	--network sum=10.4.0.0/24,id=11000 --network br=10.8.0.0/24,id=8000
	--network r1=10.1.0.0/24,fd01::/64,id=21,gateway=10.1.0.1,gateway=fd01::1,vrf=net
	--network r2=10.2.0.0/24,fd02::/64,id=22,gateway=10.2.0.1,gateway=fd02::1,vrf=net
	--network r3=10.3.0.0/24,fd03::/64,id=23,gateway=10.3.0.1,gateway=fd03::1,vrf=net,mtu=1400
	--network guard=10.13.0.0/24,fd13::/64,id=24,gateway=10.13.0.1,gateway=fd13::1
	--peer p2=192.0.2.2,networks=n7+br+guard --peer p3=192.0.2.3,networks=br --peer p4=192.0.2.4,networks=plain,key=none
	--peer p5=192.0.2.5,networks=seq+seq2,seq --peer p6=192.0.2.6,networks=sum,csum
	--route 10.20.0.0/16=p2,vrf=guard --route fd20::/16=p2,vrf=guard --route 10.31.0.0/16=10.1.0.9,vrf=net --route 10.30.0.0/16=10.2.0.9,vrf=net --route 169.254.0.0/16=10.2.0.9,vrf=net`

// fences of weft; those of the other systems are among them.
var fences = map[string]fence{
	"a":    {flood("02:00:00:00:00:0a"), "peer"},
	"k":    {flood("02:00:00:00:00:0b"), "peer"},
	"s":    {flood("02:00:00:00:00:0c"), "peer"},
	"t":    {flood("02:00:00:00:00:0d"), "peer"},
	"u":    {flood("02:00:00:00:00:0e"), "peer"},
	"b1":   {flood("02:00:00:00:00:b1"), "b2"},
	"b2":   {flood("02:00:00:00:00:b2"), "b1"},
	"b3":   {flood("02:00:00:00:00:b3"), "b1"},
	"r1":   {routed(gw1, "02:00:00:00:00:11", "10.1.0.9", "10.2.0.9"), "r2"},
	"r2":   {routed(gw2, "02:00:00:00:00:12", "10.2.0.9", "10.1.0.9"), "r1"},
	"r3":   {routed(gw3, "02:00:00:00:00:13", "10.3.0.9", "10.2.0.9"), "r2"},
	"g":    {flood("02:00:00:00:00:14"), "h"},
	"h":    {flood("02:00:00:00:00:18"), "g"},
	"peer": {peerFence(), "a"},
	// Which peers there are; never sent.
	"from 2": {}, "from 3": {}, "from 4": {}, "from 5": {}, "from 6": {},
}

func flood(src string) []byte { return eth("ff:ff:ff:ff:ff:ff", src, 0x88b5, nil) }

func routed(gw, src, from, to string) []byte {
	return eth(gw, src, 0x0800, ip4{src: from, dst: to}.with(udp(nil)))
}

// peerFence is a GRE packet with an outer length for what pass appends.
func peerFence() []byte {
	return from("2", gre("20006558 00000007", join(flood("02:00:00:00:00:f7"), make([]byte, len(fenceMark)+24))))[:20+8+14]
}

// announcing is for how long a port's addresses are announced to peers, three
// times in 3 s, which no row asked for; and a second more.
const announcing = 4 * time.Second

// newWeft starts the switch under test. program is the weft binary, dir a short
// path for its socket, state and log.
func newWeft(l *lab.Lab, program, dir string) (s *system, err error) {
	host, err := l.Host("weft")
	if err != nil {
		return nil, err
	}
	w := &daemon{program: program, dir: dir, ns: host}
	s = &system{name: "weft", places: map[string]*place{}, fences: fences, drops: w.drops, do: w.do, close: func() {}}
	if err := s.addPeers(l, host, "eth0", []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24")}); err != nil {
		return nil, err
	}
	if err := w.start(); err != nil {
		return nil, err
	}
	for _, c := range containers {
		if err := w.attach(l, s, c); err != nil {
			return nil, err
		}
	}
	time.Sleep(announcing)
	return s, nil
}

// addPeers makes the other end of the underlay: a namespace with the addresses
// of all peers, from which rows send packets byte by byte.
func (s *system) addPeers(l *lab.Lab, host *lab.NS, ifname string, addrs []netip.Prefix) error {
	peers, err := l.Host(s.name[:1] + "-peers")
	if err != nil {
		return err
	}
	var own []netip.Prefix
	for _, last := range []byte{2, 3, 4, 5, 6, 9} {
		own = append(own, netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, last}), 24))
	}
	if err := l.Link(lab.End{NS: host, Name: ifname, Addrs: addrs}, lab.End{NS: peers, Name: "eth0", Addrs: own, MAC: mac(peerMAC)}); err != nil {
		return err
	}
	if s.listener, err = deafen(peers); err != nil {
		return err
	}
	p, err := open("peer", peers, "eth0")
	if err != nil {
		return err
	}
	ifi, err := host.Interface(ifname)
	if err != nil {
		return err
	}
	p.dst = ifi.HardwareAddr
	s.places["peer"] = p
	return nil
}

// daemon is a running weft.
type daemon struct {
	program, dir string
	ns           *lab.NS
	proc         *lab.Proc
}

func (w *daemon) start() error {
	logFile, err := os.Create(filepath.Join(w.dir, "log"))
	if err != nil {
		return err
	}
	defer logFile.Close()
	args := append([]string{"run", "--socket", w.socket(), "--state-dir", filepath.Join(w.dir, "state")}, strings.Fields(runLine)...)
	cmd := w.ns.Command(context.Background(), w.program, args...)
	cmd.Stdout, cmd.Stderr = logFile, logFile
	if w.proc, err = w.ns.Start(cmd); err != nil {
		return err
	}
	for deadline := time.Now().Add(10 * time.Second); ; {
		if _, err = w.cli("status"); err == nil {
			return nil
		}
		select {
		case <-w.proc.Done():
		case <-time.After(10 * time.Millisecond):
			if time.Now().Before(deadline) {
				continue
			}
		}
		text, _ := os.ReadFile(logFile.Name()) // only to tell more
		return fmt.Errorf("start weft: %w\n%s", err, text)
	}
}

func (w *daemon) socket() string { return filepath.Join(w.dir, "s") }

// cli runs one command.
func (w *daemon) cli(line string) (string, error) {
	cmd := exec.Command(w.program, append([]string{"--socket", w.socket()}, strings.Fields(line)...)...)
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("weft %s: %s", line, strings.TrimSpace(string(exit.Stderr)))
	}
	return string(out), err
}

func (w *daemon) do(command string) error {
	_, err := w.cli(command)
	return err
}

// drops reads the counts of all reasons.
func (w *daemon) drops() (map[string]uint64, error) {
	text, err := w.cli("status -o json")
	if err != nil {
		return nil, err
	}
	var s struct {
		Drops map[string]uint64 `json:"drops"`
	}
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return nil, fmt.Errorf("read status: %w", err)
	}
	return s.Drops, nil
}

// attach makes a container and attaches it. Its kernel is silent afterwards:
// without addresses, and with an MTU above that of the switch.
func (w *daemon) attach(l *lab.Lab, s *system, c container) error {
	ns, err := l.Host(c.name)
	if err != nil {
		return err
	}
	if err := w.do(fmt.Sprintf("attach %s netns:%s %s --mac %s %s", c.network, ns.Name(), c.addrs, c.mac, c.options)); err != nil {
		return err
	}
	if err := silence(ns, "eth1"); err != nil {
		return err
	}
	s.places[c.name], err = open(c.name, ns, "eth1")
	return err
}
