package spec

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
)

// maxRouteLine is the longest line of a file of routes, in bytes: prefix, next
// hop and vrf have room for some 200.
const maxRouteLine = 1024

// ReadRoutes reads a file of routes, one a line:
//
//	PREFIX [via PEER|ADDR] [vrf NAME]
//
// with words as `weft route add` takes them. What a line leaves out is that of
// common. Empty lines, and what follows a #, are passed over. The first mistake
// is an error that names its line; Line of each route is set.
func ReadRoutes(r io.Reader, common Route) (list []Route, err error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, maxRouteLine), maxRouteLine)
	same := map[string]string{} // equal names are kept once: there may be a million lines
	n := 0
	for lines.Scan() {
		n++
		text, _, _ := strings.Cut(lines.Text(), "#")
		words := strings.Fields(text)
		if len(words) == 0 {
			continue
		}
		route, err := routeOfLine(words, common)
		if err == nil {
			err = route.validate()
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: route %q: %w", n, words[0], err)
		}
		for _, s := range []*string{&route.Via, &route.VRF} {
			if _, ok := same[*s]; !ok {
				same[*s] = strings.Clone(*s)
			}
			*s = same[*s]
		}
		route.Line = n
		list = append(list, route)
	}
	if err := lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		return nil, fmt.Errorf("line %d: it is longer than %d bytes", n+1, maxRouteLine)
	} else if err != nil {
		return nil, fmt.Errorf("read routes: %w", err)
	}
	return list, nil
}

// routeOfLine makes a route of the words of a line, the prefix first.
func routeOfLine(words []string, common Route) (Route, error) {
	r := common
	if err := r.set("prefix", words[0]); err != nil {
		return r, err
	}
	seen := once{}
	for rest := words[1:]; len(rest) > 0; rest = rest[2:] {
		key := rest[0]
		if key != "via" && key != "vrf" {
			return r, fmt.Errorf("%q is neither via nor vrf; want PREFIX via PEER|ADDR [vrf NAME]", key)
		}
		if len(rest) < 2 {
			return r, fmt.Errorf("%s wants a value", key)
		}
		if err := seen.take(key); err != nil {
			return r, err
		}
		if err := r.set(key, rest[1]); err != nil {
			return r, err
		}
	}
	return r, nil
}
