package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// table writes rows in aligned columns under a header, whose words are
// separated by spaces.
func table(w io.Writer, header string, rows [][]string) {
	c := newColumns(w, header)
	for _, row := range rows {
		c.add(row...)
	}
	c.flush()
}

// columns is a table that may have any number of rows: they are aligned and
// written some at a time. A column becomes wider where it has to.
type columns struct {
	w      io.Writer
	widths []int
	rows   [][]string
}

const columnsRows = 1000 // at a time

func newColumns(w io.Writer, header string) *columns {
	c := &columns{w: w}
	c.add(strings.Fields(header)...)
	return c
}

func (c *columns) add(cells ...string) {
	if c.widths == nil {
		c.widths = make([]int, len(cells))
	}
	row := make([]string, len(cells))
	for i, cell := range cells {
		if row[i] = oneLine(cell); row[i] == "" {
			row[i] = "-"
		}
		c.widths[i] = max(c.widths[i], utf8.RuneCountInString(row[i]))
	}
	if c.rows = append(c.rows, row); len(c.rows) == columnsRows {
		c.flush()
	}
}

// flush writes the rows that are left. Nothing stands behind the last cell.
func (c *columns) flush() {
	var lines []byte
	for _, row := range c.rows {
		for i, cell := range row {
			lines = append(lines, cell...)
			if i < len(row)-1 {
				lines = append(lines, strings.Repeat(" ", c.widths[i]-utf8.RuneCountInString(cell)+2)...)
			}
		}
		lines = append(lines, '\n')
	}
	c.rows = c.rows[:0]
	_, _ = c.w.Write(lines) // into memory
}

// oneLine replaces what would break the line, or upset the terminal.
func oneLine(s string) string {
	s = strings.ReplaceAll(strings.TrimSpace(s), "\n", "; ")
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
}

// join prints each of vs, separated by commas.
func join[T fmt.Stringer](vs []T) string {
	ss := make([]string, len(vs))
	for i, v := range vs {
		ss[i] = v.String()
	}
	return strings.Join(ss, ",")
}

// short prints a count in five characters or less: 12345 is 12.3k.
func short(n uint64) string {
	if n < 10_000 {
		return strconv.FormatUint(n, 10)
	}
	f, unit := float64(n)/1000, 0
	for f >= 999.5 && unit < 5 {
		f, unit = f/1000, unit+1
	}
	return strconv.FormatFloat(f, 'g', 3, 64) + "kMGTPE"[unit:unit+1]
}

// span prints a duration to two units: 3h12m, 2d4h, 41s.
func span(d time.Duration) string {
	s := int64(d / time.Second)
	switch {
	case s < 0:
		return "0s"
	case s < 60:
		return fmt.Sprintf("%ds", s)
	case s < 3600:
		return fmt.Sprintf("%dm%02ds", s/60, s%60)
	case s < 86400:
		return fmt.Sprintf("%dh%02dm", s/3600, s%3600/60)
	}
	return fmt.Sprintf("%dd%dh", s/86400, s%86400/3600)
}

// count prints n with its noun: 1 port, 2 ports.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// wrap writes words in lines of at most width columns, the first behind lead,
// the others indented.
func wrap(w io.Writer, lead string, words []string, width int) {
	line := lead
	for _, word := range words {
		if len(line)+1+len(word) > width {
			fmt.Fprintln(w, line)
			line = " "
		}
		line += " " + word
	}
	fmt.Fprintln(w, line)
}
