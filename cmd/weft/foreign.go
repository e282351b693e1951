package main

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"io"
	"slices"
	"strings"

	"weft/internal/spec"
)

// The forms of other tools, as their sources have them: a network is a bridge, a
// port of ours one of theirs, a peer a tunnel. What they call by numbers and ids
// of their own is numbered in the order of names, or derived from them.

// brctlShow prints what brctl show does (bridge-utils, brctl_cmd.c).
func brctlShow(w io.Writer, l layout) {
	fmt.Fprint(w, "bridge name\tbridge id\t\tSTP enabled\tinterfaces\n")
	for _, n := range l.Networks {
		fmt.Fprintf(w, "%s\t\t8000.0257%08x\tno\t\t%s\n", n.Name, n.ID, strings.Join(slices.Sorted(slices.Values(l.members(n.Name))), "\n\t\t\t\t\t\t\t"))
	}
}

// brctlMACs prints what brctl showmacs does: by address. An address that is
// attached is one that a bridge would have learned.
func brctlMACs(w io.Writer, es []spec.FDBEntry, members []string) {
	fmt.Fprint(w, "port no\tmac addr\t\tis local?\tageing timer\n")
	for _, e := range slices.SortedStableFunc(slices.Values(es), func(a, b spec.FDBEntry) int { return cmp.Compare(a.MAC, b.MAC) }) {
		fmt.Fprintf(w, "%3d\t%s\tno\t\t%4d.00\n", number(e, members), e.MAC, e.AgeSeconds)
	}
}

// ovsShow prints what ovs-vsctl show does (utilities/ovs-vsctl.c, lib/db-ctl-base.c).
func ovsShow(w io.Writer, l layout) {
	sum := sha256.Sum256([]byte(l.Name))
	fmt.Fprintf(w, "%x-%x-%x-%x-%x\n", sum[:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
	for _, n := range l.Networks {
		fmt.Fprintf(w, "    Bridge %s\n        datapath_type: netdev\n", ovsName(n.Name))
		port := func(name, vlans string, about ...string) {
			fmt.Fprintf(w, "        Port %s\n%s            Interface %s\n", ovsName(name), vlans, ovsName(name))
			for _, line := range about {
				fmt.Fprintf(w, "                %s\n", line)
			}
		}
		port(n.Name, "", "type: internal")
		for _, p := range l.portsOf(n.Name) {
			port(p.Name, ovsVLANs(p))
		}
		for _, p := range l.peersOf(n.Name) {
			port(p.Name, "", "type: gre", "options: {"+strings.Join(ovsOptions(n, p), ", ")+"}")
		}
	}
	fmt.Fprintf(w, "    ovs_version: %q\n", oneLine("weft "+l.Version))
}

// ovsVLANs returns the lines that a port has because of its VLANs.
func ovsVLANs(p spec.PortStatus) (s string) {
	if p.VLAN != 0 {
		s = fmt.Sprintf("            tag: %d\n", p.VLAN)
	}
	switch vids := p.Trunk.VLANs(); len(vids) {
	case 0:
		return s
	case 1:
		return s + fmt.Sprintf("            trunks: %d\n", vids[0])
	default:
		return s + "            trunks: " + strings.ReplaceAll(fmt.Sprint(vids), " ", ", ") + "\n"
	}
}

// ovsOptions returns the options of a tunnel, sorted.
func ovsOptions(n spec.NetworkStatus, p spec.PeerStatus) (list []string) {
	if p.Checksum {
		list = append(list, `csum="true"`)
	}
	if !p.Keyless {
		list = append(list, fmt.Sprintf(`key="%d"`, n.ID))
	}
	list = append(list, fmt.Sprintf(`remote_ip="%s"`, p.Address))
	if p.Sequence {
		list = append(list, `seq="true"`)
	}
	return list
}

// ovsName quotes a name where Open vSwitch does: what is no identifier
// (lib/ovsdb-data.c, string_needs_quotes).
func ovsName(s string) string {
	plain := func(r rune) bool { return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == '_' }
	for i, r := range s {
		if !plain(r) && (i == 0 || (r < '0' || r > '9') && r != '-' && r != '.') {
			return fmt.Sprintf("%q", s)
		}
	}
	return s
}

// ovsFDB prints what ovs-appctl fdb/show does (ofproto/ofproto-dpif.c): the
// oldest first, static entries last.
func ovsFDB(w io.Writer, es []spec.FDBEntry, members []string) {
	fmt.Fprint(w, " port  VLAN  MAC                Age\n")
	rank := func(e spec.FDBEntry) int {
		if e.Kind == "static" {
			return 1
		}
		return 0
	}
	for _, e := range slices.SortedStableFunc(slices.Values(es), func(a, b spec.FDBEntry) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(b.AgeSeconds, a.AgeSeconds), cmp.Compare(a.MAC, b.MAC))
	}) {
		age := fmt.Sprintf("%3d", e.AgeSeconds)
		if e.Kind == "static" {
			age = "static"
		}
		fmt.Fprintf(w, "%5d  %4d  %s  %s\n", number(e, members), e.VLAN, e.MAC, age)
	}
}

// number returns the number of the port or peer that an entry leads to; 0 where
// that is not there any more.
func number(e spec.FDBEntry, members []string) int {
	return slices.Index(members, cmp.Or(e.Port, e.Peer)) + 1
}
