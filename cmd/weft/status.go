package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"weft/internal/spec"
)

func statusCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the switch on one page: what is wrong first",
		Example: `  weft status
  weft status --check && echo well
  weft status -o json`,
		Args: wantArgs(0, 0),
	}
	check := cmd.Flags().Bool("check", false, "exit with 1 when something is degraded")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s, err := a.client().Status(cmd.Context())
		if err != nil {
			return err
		}
		if err := a.print(s, func(w io.Writer) { statusPage(w, s, time.Now()) }); err != nil {
			return err
		}
		if *check && len(s.Degraded) > 0 {
			return degraded(s.Degraded)
		}
		return nil
	}
	return cmd
}

// degradedNamed is how many faults are named on one line.
const degradedNamed = 3

// degraded says in one line what is wrong: the first faults, and how many more.
func degraded(ds []spec.Degraded) error {
	var what []string
	for _, d := range ds[:min(len(ds), degradedNamed)] {
		what = append(what, fmt.Sprintf("%s (%s)", d.What, d.Why))
	}
	if more := len(ds) - degradedNamed; more > 0 {
		what = append(what, fmt.Sprintf("and %d more, which weft status shows", more))
	}
	return errors.New("degraded: " + strings.Join(what, "; "))
}

func statusPage(w io.Writer, s spec.Status, now time.Time) {
	verdict := "all well"
	if n := len(s.Degraded); n > 0 {
		verdict = count(n, "thing") + " wrong"
	}
	fmt.Fprintln(w, oneLine(fmt.Sprintf("%s: weft %s, up %s, %s", s.Name, s.Version, span(time.Duration(s.UptimeSeconds)*time.Second), verdict)))
	if len(s.Degraded) > 0 {
		fmt.Fprintln(w)
		var rows [][]string
		for _, d := range s.Degraded {
			rows = append(rows, []string{d.What, span(now.Sub(d.Since)), d.Why})
		}
		table(w, "WRONG FOR WHY", rows)
	}

	fmt.Fprintln(w)
	if len(s.Networks) == 0 {
		fmt.Fprintln(w, "no networks: `weft network add NAME PREFIX` makes one")
	} else {
		networkTable(w, "NETWORK", s.Networks)
	}
	fmt.Fprintln(w)
	if len(s.Ports) == 0 {
		fmt.Fprintln(w, "no ports: `weft attach NETWORK TARGET` makes one")
	} else {
		statusPorts(w, s.Ports)
	}
	fmt.Fprintln(w)
	if len(s.Peers) == 0 {
		fmt.Fprintln(w, "no peers: `weft peer add NAME ADDR` adds one")
	} else {
		statusPeers(w, s.Peers)
	}
	fmt.Fprintln(w)
	statusFrames(w, s)
}

// statusPorts is portTable without what takes much room; it keeps 100 columns
// for names of common length.
func statusPorts(w io.Writer, ps []spec.PortStatus) {
	var rows [][]string
	for _, p := range ps {
		rows = append(rows, []string{p.Name, p.Network, join(p.Addresses), p.MAC.String(), p.IfName, fmt.Sprint(p.MTU), linkWord(p), short(p.RxFrames), short(p.TxFrames)})
	}
	portColumns(w, "PORT NETWORK ADDRESSES MAC IFNAME MTU LINK RX TX", rows, ps)
}

func statusPeers(w io.Writer, ps []spec.PeerStatus) {
	var rows [][]string
	for _, p := range ps {
		rows = append(rows, []string{p.Name, p.Address.String(), p.Encap, p.Accel, p.State, roundTrip(p), fmt.Sprint(p.MTU), short(p.RxFrames), short(p.TxFrames), peerReason(p)})
	}
	table(w, "PEER ADDRESS ENCAP ACCEL STATE RTT MTU RX TX REASON", rows)
}

// peerReason says why a peer is up or down, and why nothing, or nothing better,
// accelerates it.
func peerReason(p spec.PeerStatus) string {
	if p.NoAccel == "" {
		return p.Reason
	}
	missing := "accelerator"
	if p.Accel != "none" {
		missing = "egress TAP"
	}
	return p.Reason + "; no " + missing + ": " + p.NoAccel
}

// statusFrames shows the two balance sheets and the reasons for drops.
func statusFrames(w io.Writer, s spec.Status) {
	f := s.Frames
	fmt.Fprintf(w, "frames in   %d = forwarded %d + local %d + dropped %d\n", f.In, f.Forwarded, f.Local, f.DroppedIn)
	fmt.Fprintf(w, "frames out  copies %d + generated %d = transmitted %d + dropped %d\n", f.Copies, f.Generated, f.Transmitted, f.DroppedOut)
	var why []string
	most := func(a, b string) int { return cmp.Or(cmp.Compare(s.Drops[b], s.Drops[a]), cmp.Compare(a, b)) }
	for _, reason := range slices.SortedFunc(maps.Keys(s.Drops), most) {
		if n := s.Drops[reason]; n > 0 {
			why = append(why, fmt.Sprintf("%s=%s", oneLine(reason), short(n)))
		}
	}
	if len(why) > 0 {
		wrap(w, "dropped    ", append(why, "(`weft drops` says where)"), 96)
	}
}
