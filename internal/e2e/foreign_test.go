package e2e

import (
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"weft/internal/lab"
	"weft/internal/lab/ovs"
)

// What weft show and weft fdb show print in the forms of other tools is what those
// tools print of the same layout: two containers, and a tunnel to 192.0.2.2 with key
// 77, in network blue; nothing in network red. Identifiers and ages aside.

// shape takes out of a text what no two systems have in common.
func shape(text string, names ...string) string {
	text = strings.NewReplacer(names...).Replace(text)
	for _, r := range []struct{ re, with string }{
		{`8000\.[0-9a-f]{12}`, "8000.ID"},
		{`(?m)^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`, "UUID"},
		{`ovs_version: ".*"`, `ovs_version: "V"`},
		{`([0-9a-f]{2}:){5}[0-9a-f]{2}`, "MAC"},
		{`( +\d+)\.\d\d\n`, "  AGE\n"},
		{`(?m)(MAC)  +\d+$`, "$1  AGE"},
	} {
		text = regexp.MustCompile(r.re).ReplaceAllString(text, r.with)
	}
	return strings.TrimSpace(text)
}

// foreignLayout is the layout in weft, and the names that other tools give its parts.
func foreignLayout(t *testing.T, l *lab.Lab) (h *Host, names []string) {
	t.Helper()
	h = newHost(t, l, "host")
	a, b := newContainer(t, l, "a", "10.1.0.1"), newContainer(t, l, "b", "10.1.0.2")
	h.Start("--name host1 --network blue=10.1.0.0/24,id=77 --network red=10.2.0.0/24 --peer zgre=192.0.2.2,networks=blue")
	h.attach("blue", a)
	h.attach("blue", b)
	return h, []string{a.Name(), "veth1", b.Name(), "veth2", "zgre", "zgre"}
}

func TestShowLikeBrctl(t *testing.T) {
	t.Parallel()
	l := lab.ForTest(t)
	lab.Need(t, "bridge-utils", "brctl")
	lab.Need(t, "iproute2", "ip", "bridge")
	real, err := l.Host("real")
	if err != nil {
		t.Fatal(err)
	}
	do := func(line string) string {
		t.Helper()
		words := strings.Fields(line)
		out, err := real.Output(t.Context(), words[0], words[1:]...)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		return out
	}
	for _, line := range []string{
		"brctl addbr blue", "brctl addbr red",
		"ip link add veth1 type veth peer name p1", "ip link add veth2 type veth peer name p2", "ip link add zgre type veth peer name p3",
		"brctl addif blue veth1", "brctl addif blue veth2", "brctl addif blue zgre",
		"bridge fdb add 02:00:00:00:00:01 dev veth1 master static", "bridge fdb add 02:00:00:00:00:02 dev veth2 master static",
		"bridge fdb add 02:00:00:00:00:77 dev zgre master static",
	} {
		do(line)
	}
	h, names := foreignLayout(t, l)
	if got, want := shape(h.Weft("show --format brctl"), names...), shape(do("brctl show")); got != want {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
	h.Weft("fdb add blue 02:00:00:00:00:77 peer:zgre")
	rows := func(text string) (header string, macs []string) {
		lines := strings.Split(shape(text), "\n")
		for _, line := range lines[1:] {
			if !strings.Contains(line, "yes") { // the ends of veth pairs that are the host's: weft has none
				macs = append(macs, line)
			}
		}
		slices.Sort(macs)
		return lines[0], macs
	}
	header, macs := rows(h.Weft("fdb show blue --format brctl"))
	wantHeader, wantMACs := rows(do("brctl showmacs blue"))
	if header != wantHeader || !slices.Equal(macs, wantMACs) {
		t.Errorf("got\n%q\n%q\nwant\n%q\n%q", header, macs, wantHeader, wantMACs)
	}
}

func TestShowLikeOpenVSwitch(t *testing.T) {
	t.Parallel()
	l := lab.ForTest(t)
	ovs.Need(t)
	real, err := l.Host("real")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp(scratch, "o")
	if err != nil {
		t.Fatal(err)
	}
	s, err := ovs.Start(t.Context(), real, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	for _, line := range []string{"link add veth1 type veth peer name p1", "link add veth2 type veth peer name p2"} {
		if _, err := real.Output(t.Context(), "ip", strings.Fields(line)...); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Bridge("blue", "veth1", "veth2"); err != nil {
		t.Fatal(err)
	}
	if err := s.GRE("blue", "zgre", netip.MustParseAddr("192.0.2.2"), "key=77"); err != nil {
		t.Fatal(err)
	}
	if err := s.Bridge("red"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.VSCtl("set", "Open_vSwitch", ".", "ovs_version=3.1.0"); err != nil { // as its start script does
		t.Fatal(err)
	}
	want, err := s.VSCtl("show")
	if err != nil {
		t.Fatal(err)
	}
	h, names := foreignLayout(t, l)
	if got := h.Weft("show --format ovs"); blocks(shape(got, names...)) != blocks(shape(want)) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}

	h.Weft("fdb add blue 02:00:00:00:00:77 peer:zgre")
	for _, args := range [][]string{{"fdb/add", "blue", "veth1", "0", "02:00:00:00:00:01"}, {"fdb/add", "blue", "veth2", "0", "02:00:00:00:00:02"}, {"fdb/add", "blue", "zgre", "0", "02:00:00:00:00:77"}} {
		if _, err := s.AppCtl(args...); err != nil {
			t.Fatal(err)
		}
	}
	if want, err = s.AppCtl("fdb/show", "blue"); err != nil {
		t.Fatal(err)
	}
	got := h.Weft("fdb show blue --format ovs")
	headerGot, rowsGot, _ := strings.Cut(got, "\n")
	headerWant, rowsWant, _ := strings.Cut(want, "\n")
	if headerGot != headerWant {
		t.Errorf("got header %q, want %q", headerGot, headerWant)
	}
	// Open vSwitch's entries are all static here; the attached ones of weft have an age.
	static := func(rows string) string {
		list := strings.Split(strings.ReplaceAll(shape("\n"+rows), "MAC  AGE", "MAC  static"), "\n")
		for i := range list {
			list[i] = strings.TrimSpace(list[i])
		}
		slices.Sort(list)
		return strings.Join(list, "\n")
	}
	if static(rowsGot) != static(rowsWant) || !strings.Contains(got, "    3     0  02:00:00:00:00:77  static\n") {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// blocks sorts the bridges of ovs-vsctl show and the ports of each, which come in
// no order (rows of the database, by their UUIDs).
func blocks(text string) string {
	text, tail, _ := strings.Cut(text, "\n    ovs_version")
	bridges := strings.Split(text, "\n    Bridge ")
	for i, b := range bridges[1:] {
		ports := strings.Split(b, "\n        Port ")
		slices.Sort(ports[1:])
		bridges[i+1] = strings.Join(ports, "\n        Port ")
	}
	slices.Sort(bridges[1:])
	return strings.Join(bridges, "\n    Bridge ") + "\n    ovs_version" + tail
}
