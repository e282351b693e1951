package e2e

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"weft/internal/lab"
	"weft/internal/lab/dockerd"
)

var modesLine = regexp.MustCompile(`(?m)^    host1# (\S+) (\S.*?)(?:\s+# (.*))?$`)

// The commands of docs/modes.md work as they stand there, in their order, and
// nothing is left after the last.
func TestModesDocument(t *testing.T) {
	t.Parallel()
	dockerd.Need(t)
	page, err := os.ReadFile("../../docs/modes.md")
	if err != nil {
		t.Fatal(err)
	}
	h := newDockerHost(t, lab.ForTest(t), "host1")
	h.Start("--name host1")
	lines := modesLine.FindAllStringSubmatch(string(page), -1)
	if len(lines) < 25 {
		t.Fatalf("found %d commands", len(lines))
	}
	for _, m := range lines {
		switch program, args, note := m[1], m[2], m[3]; {
		case program == "docker":
			out := h.docker(args)
			if strings.Contains(args, " ping ") && !strings.Contains(out, " 0% packet loss") {
				t.Errorf("docker %s: %s", args, out)
			}
		case program == "weft" && strings.HasPrefix(note, "refused"):
			oneLine(t, h.CLI(args), 1, "--network none")
		case program == "weft" && strings.HasPrefix(args, "network rm"):
			h.until(func() string { return h.CLI(args).err }) // until Docker has said that its ports are gone
		case program == "weft":
			h.Weft(args)
		default:
			t.Errorf("do not know how to run %q", m[0])
		}
		if strings.Contains(m[2], "attach br0net docker:ubuntu_test") {
			if out := h.docker("exec ubuntu_test ip route"); !strings.Contains(out, "default via 192.168.18.1") {
				t.Errorf("routes of ubuntu_test: %s", out)
			}
		}
		if strings.HasPrefix(m[2], "restart") {
			h.up("ubuntu_test")
		}
	}
	if s := h.settled(); len(s.Networks)+len(s.Ports)+len(s.Degraded) > 0 {
		t.Errorf("left: %+v", s)
	}
}
