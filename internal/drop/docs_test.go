package drop_test

import (
	"os"
	"regexp"
	"slices"
	"testing"

	"weft/internal/drop"
)

// docs/drops.md explains every reason once, and none that does not exist.
func TestDocs(t *testing.T) {
	const path = "../../docs/drops.md"
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z0-9_]+)` \\| .+ \\| .+ \\|$").FindAllSubmatch(page, -1) {
		got = append(got, string(m[1]))
	}
	for _, r := range drop.All() {
		want = append(want, r.String())
	}
	slices.Sort(got)
	slices.Sort(want)
	for _, name := range want {
		if n := count(got, name); n != 1 {
			t.Errorf("%s: reason %s has %d rows, want 1", path, name, n)
		}
	}
	for _, name := range got {
		if !slices.Contains(want, name) {
			t.Errorf("%s: row %s is about no reason that exists", path, name)
		}
	}
}

func count(names []string, name string) (n int) {
	for _, have := range names {
		if have == name {
			n++
		}
	}
	return n
}
