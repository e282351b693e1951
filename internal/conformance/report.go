package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// difference is a reference system that answers otherwise than weft.
type difference struct {
	answer       answer
	system, said string
	why          string // "" is a fault of the table
}

// differences of one section.
func (r result) differences() (all []difference) {
	for _, a := range r.answers {
		for _, ref := range []struct{ name, said, why string }{{linuxName, a.linux, a.row.linux}, {ovsName, a.ovs, a.row.ovs}} {
			if ref.said != "" && ref.said != same {
				all = append(all, difference{a, ref.name, ref.said, ref.why})
			}
		}
	}
	return all
}

// wrong are the rows to which weft does not answer as wanted.
func (r result) wrong() (all []answer) {
	for _, a := range r.answers {
		if a.weft != a.row.want {
			all = append(all, a)
		}
	}
	return all
}

// same stands for an answer that agrees with weft's.
const same = "same"

// printTable prints for a terminal.
func printTable(w io.Writer, results []result) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, r := range results {
		fmt.Fprintf(tw, "%s %s\t\t\t\t\t\n", r.number, r.title)
		fmt.Fprintf(tw, "ID\tWHAT\tEXPECTED\tWEFT\tLINUX\tOPEN VSWITCH\n")
		for _, a := range r.answers {
			fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\n", a.row.id, a.row.what, a.row.want, verdict(a), dash(a.linux), dash(a.ovs))
		}
		for _, n := range r.absent {
			fmt.Fprintf(tw, "%s\t%s\tnot asked: %s\t\t\t\n", n.id, n.what, n.why)
		}
		fmt.Fprintln(tw)
	}
	tw.Flush()
	for _, r := range results {
		for _, d := range r.differences() {
			fmt.Fprintf(w, "%s %s, %s: %s: %s\n", d.answer.row.id, d.answer.row.what, d.system, d.said, d.why)
		}
	}
	fmt.Fprintln(w, summary(results))
}

// printMarkdown prints docs/conformance.md.
func printMarkdown(w io.Writer, results []result) {
	fmt.Fprintf(w, `# Conformance

What the standards ask of a switch and a router, row by row, and what a running weft answers. %s and %s were asked the same in the same
run: this kernel's bridge and router, and version 3.1 with the userspace datapath. This page is the output of

    go run ./internal/conformance -o markdown

and `+"`make conformance`"+` prints the same as a table, and fails where weft differs from what is expected. Both need root.

How to read an answer: what came out, and where (a place is a container, pN is peer N), `+"`ICMP type/code`"+`, the [drop reasons](drops.md) in brackets.
`+"`drop NAME`"+` is silence, counted under that name; the references name no reasons. An empty cell was not asked: that system has no such thing.

%s.
`, linuxName, ovsName, summary(results))
	for _, r := range results {
		fmt.Fprintf(w, "\n## %s %s\n\n| id | what | expected | weft | Linux | Open vSwitch |\n|---|---|---|---|---|---|\n", r.number, r.title)
		for _, a := range r.answers {
			fmt.Fprintf(w, "| %s | %s | %s | %s | %s | %s |\n", a.row.id, cell(a.row.what), cell(a.row.want), verdict(a), cell(a.linux), cell(a.ovs))
		}
		if len(r.absent) > 0 {
			fmt.Fprintf(w, "\nNot asked here:\n\n| id | what | why |\n|---|---|---|\n")
			for _, n := range r.absent {
				fmt.Fprintf(w, "| %s | %s | %s |\n", n.id, cell(n.what), cell(n.why))
			}
		}
	}
	fmt.Fprintf(w, "\n## Where the references differ\n\n| id | what | who | answers | why |\n|---|---|---|---|---|\n")
	for _, r := range results {
		for _, d := range r.differences() {
			fmt.Fprintf(w, "| %s | %s | %s | %s | %s |\n", d.answer.row.id, cell(d.answer.row.what), d.system, cell(d.said), cell(d.why))
		}
	}
}

func summary(results []result) string {
	var rows, wrong, linux, ovs, differ, absent int
	for _, r := range results {
		rows += len(r.answers)
		wrong += len(r.wrong())
		differ += len(r.differences())
		absent += len(r.absent)
		for _, a := range r.answers {
			if a.linux != "" {
				linux++
			}
			if a.ovs != "" {
				ovs++
			}
		}
	}
	return fmt.Sprintf("%d rows, %d as expected; Linux was asked %d of them, Open vSwitch %d, with %d differences; %d rows are not asked here",
		rows, rows-wrong, linux, ovs, differ, absent)
}

// verdict gives weft's answer, short where it is as expected.
func verdict(a answer) string {
	if a.weft == a.row.want {
		return "yes"
	}
	return "**no**: " + cell(a.weft)
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func cell(s string) string { return strings.ReplaceAll(s, "|", "\\|") }
