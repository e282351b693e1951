package main

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"weft/internal/spec"
)

// Every weft command that the pages show parses.
func TestDocsCommands(t *testing.T) {
	for _, path := range []string{"../../README.md", "../../docs/cli.md", "../../docs/modes.md", "../../docs/migrate.md"} {
		commands := shown(t, path)
		if len(commands) < 5 {
			t.Errorf("%s: found %d commands, want at least 5", path, len(commands))
		}
		for _, line := range commands {
			if err := parses(strings.Fields(line)); err != nil {
				t.Errorf("%s: weft %s: %v", path, line, err)
			}
		}
	}
}

// The configuration file that docs/cli.md shows is one.
func TestDocsFile(t *testing.T) {
	page, err := os.ReadFile("../../docs/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile(`(?m)(^    name: host1\n(    .*\n)+)`).FindString(string(page))
	path := filepath.Join(t.TempDir(), "weft.yaml")
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(block, "\n    ", "\n")[4:]), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := spec.LoadConfig(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Networks) != 1 || len(c.Peers) != 1 {
		t.Errorf("got %d networks and %d peers, want 1 and 1", len(c.Networks), len(c.Peers))
	}
}

// What the configuration file that is installed shows behind # is one, too.
func TestInstalledFile(t *testing.T) {
	text, err := os.ReadFile("../../internal/install/weft.yaml")
	if err != nil {
		t.Fatal(err)
	}
	shown := regexp.MustCompile(`(?m)^#( *- |[a-z]| +[a-z])`).ReplaceAllString(string(text), "$1")
	shown = regexp.MustCompile(`(?m)^ [a-z].*\n`).ReplaceAllString(shown, "") // prose
	c, err := spec.ParseConfig("weft.yaml", []byte(shown))
	if err != nil {
		t.Fatalf("%v\n%s", err, shown)
	}
	if len(c.Networks) != 2 || len(c.Peers) != 1 || len(c.Routes) != 1 || len(c.Uplinks) != 1 || len(c.Exposed) != 1 || len(c.Published) != 1 || c.Accel != "auto" {
		t.Errorf("got %+v", c)
	}
}

// redirected is what the shell takes from a command line.
var redirected = regexp.MustCompile(` [<>] \S+`)

// shown returns what stands behind "weft" in the indented lines of a page, the
// prompt of a host, comments and line breaks taken out.
func shown(t *testing.T, path string) (commands []string) {
	t.Helper()
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(string(page), "\\\n", " ")
	text = regexp.MustCompile(`\$\(.*\)`).ReplaceAllString(text, "4711")
	for _, m := range regexp.MustCompile(`(?m)^    (?:\w+# )?weft (.*)$`).FindAllStringSubmatch(text, -1) {
		command, _, _ := strings.Cut(m[1]+" ", " # ")
		commands = append(commands, redirected.ReplaceAllString(command, ""))
	}
	return commands
}

// parses finds the command and reads its flags and arguments, without running it.
func parses(args []string) error {
	cmd, rest, err := newRoot(io.Discard, io.Discard).Find(args)
	if err != nil {
		return err
	}
	if !cmd.Runnable() || cmd.Name() == "weft" && len(rest) > 0 && !strings.HasPrefix(rest[0], "-") {
		return usageError{io.ErrUnexpectedEOF}
	}
	if err := cmd.ParseFlags(rest); err != nil && !strings.Contains(err.Error(), "help requested") {
		return err
	}
	return cmd.ValidateArgs(cmd.Flags().Args())
}
