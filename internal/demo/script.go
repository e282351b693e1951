package demo

import (
	"fmt"
	"io"
	"strings"
)

// picture shows what the demo builds. Addresses are those of stage.go.
const picture = `
     host1  198.51.100.1                      host2  198.51.100.2
   +----------------------------+           +----------------------------+
   |   web            db        |           |            app             |
   |   10.10.0.1      10.10.0.2 |           |            10.10.0.3       |
   |      |              |      |           |              |             |
   |     TAP            TAP     |           |             TAP            |
   |      |              |      |           |              |             |
   |      +--- weft run -+      |           |          weft run          |
   |              |             |           |              |             |
   +-------------eth0-----------+           +-------------eth0-----------+
                  |        GRE over raw IP sockets         |
                  +----------------------------------------+
`

// script prints the demo: headings, commands as a user would type them, and
// what they answered.
type script struct {
	w     io.Writer
	color bool
	short *strings.Replacer // long names of this run to those in the picture
}

// screen is where the script goes. When nobody reads it any more, it says so
// once by gone, and takes the rest.
type screen struct {
	w    io.Writer
	gone func()
}

func (s *screen) Write(b []byte) (int, error) {
	if _, err := s.w.Write(b); err != nil {
		s.gone()
	}
	return len(b), nil
}

// Escape sequences of ECMA-48 section 8.3.117.
const (
	bold  = "\x1b[1m"
	green = "\x1b[32m"
	plain = "\x1b[0m"
)

func (s *script) paint(style, text string) string {
	if !s.color {
		return text
	}
	return style + text + plain
}

// heading starts a step.
func (s *script) heading(text string) {
	fmt.Fprintf(s.w, "\n%s\n\n", s.paint(bold, text))
}

// command prints what is typed in host or container where.
func (s *script) command(where string, words ...string) {
	line := s.short.Replace(strings.Join(words, " "))
	fmt.Fprintf(s.w, "  %s %s\n", s.paint(green, where+"$"), s.paint(bold, line))
}

// answer prints the first lines of what came back, at most most of them.
func (s *script) answer(text string, most int) {
	lines := strings.Split(strings.TrimRight(s.short.Replace(text), "\n"), "\n")
	for i, line := range lines {
		if i == most {
			fmt.Fprintf(s.w, "      ... (%d more lines)\n", len(lines)-most)
			break
		}
		if line == "" {
			fmt.Fprintln(s.w)
			continue
		}
		fmt.Fprintf(s.w, "      %s\n", line)
	}
}

// say prints a sentence.
func (s *script) say(format string, args ...any) {
	fmt.Fprintf(s.w, "  "+format+"\n", args...)
}
