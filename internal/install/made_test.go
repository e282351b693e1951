package install

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"weft/internal/lab"
)

// Every page of the manual is sound roff.
func TestManual(t *testing.T) {
	lab.Need(t, "groff-base", "groff")
	build(t)
	pages, err := filepath.Glob("../../bin/man/*.8")
	if err != nil || len(pages) < 40 {
		t.Fatalf("%d pages, %v", len(pages), err)
	}
	for _, p := range pages {
		if out := run(t, "groff", "-man", "-ww", "-Tutf8", "-z", p); out != "" {
			t.Errorf("%s: %s", p, out)
		}
		for _, section := range []string{"NAME", "SYNOPSIS"} {
			if !strings.Contains(read(t, p), ".SH "+section) {
				t.Errorf("%s has no %s", p, section)
			}
		}
	}
}

// The shell completes commands, flags and words as the script that is installed says.
func TestBashCompletion(t *testing.T) {
	const package1 = "/usr/share/bash-completion/bash_completion"
	if _, err := os.Stat(package1); err != nil {
		lab.Need(t, "bash-completion", package1)
	}
	build(t)
	dir := t.TempDir()
	script := filepath.Join(dir, "weft")
	if err := os.WriteFile(script, []byte(run(t, "../../bin/weft", "completion", "bash")), 0o644); err != nil {
		t.Fatal(err)
	}
	bin, err := filepath.Abs("../../bin")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ line, want string }{
		{"weft expo", "expose export"},
		{"weft network ", "add ls rm set"},
		{"weft publish blue web 80:80 --so", "--socket"},
		{"weft status --o", "--output"},
		{"weft expose blue --no", "--no-snat"},
		{"weft -o ", "json table"},
		{"weft nonsense ", ""},
	} {
		words := strings.Split(tt.line, " ")
		ask := fmt.Sprintf(`source %s; source %s; COMP_LINE=%q; COMP_POINT=${#COMP_LINE}; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_TYPE=9; compopt() { :; }; __start_weft; echo "${COMPREPLY[@]%%%% *}"`, package1, script, tt.line)
		cmd := exec.Command("bash", append([]string{"--norc", "-c", ask, "bash"}, words...)...)
		cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "WEFT_SOCKET="+dir+"/none")
		out, err := cmd.CombinedOutput()
		got := strings.Fields(string(out))
		want := strings.Fields(tt.want)
		slices.Sort(got)
		slices.Sort(want)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: got %q, %v, want %q", tt.line, got, err, want)
		}
	}
}

// What is made a second time is the same, byte by byte.
func TestReproducible(t *testing.T) {
	lab.Need(t, "dpkg", "dpkg-deb")
	build(t)
	var sums [2]map[string][32]byte
	for i := range sums {
		dir := t.TempDir()
		run(t, "make", "-C", "../..", "install", "DESTDIR="+dir, "PREFIX=/opt/weft")
		run(t, "make", "-C", "../..", "deb", "DEB="+filepath.Join(dir, "weft.deb"))
		sums[i] = map[string][32]byte{}
		for _, f := range files(t, dir) {
			sums[i][f] = sha256.Sum256([]byte(read(t, filepath.Join(dir, f))))
		}
	}
	if len(sums[0]) < 60 || len(sums[0]) != len(sums[1]) {
		t.Errorf("%d files, and then %d", len(sums[0]), len(sums[1]))
	}
	for f, sum := range sums[0] {
		if sums[1][f] != sum {
			t.Errorf("%s is another the second time", f)
		}
	}
}
