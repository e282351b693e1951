package e2e

import (
	"context"
	"regexp"
	"strings"
	"testing"
	"time"

	"weft/internal/lab"
	"weft/internal/lab/dockerd"
)

// An engine as it is out of the box, on the host of an exposed network: it drops what
// it does not know, and the two share DOCKER-USER. Each sets its rules by the one
// iptables or the other.
func TestBesideDocker(t *testing.T) {
	t.Parallel()
	dockerd.Need(t)
	lab.Need(t, "iptables", "iptables-nft", "iptables-legacy")
	for _, tables := range []string{"iptables-nft", "iptables-legacy"} {
		t.Run(tables, func(t *testing.T) {
			t.Parallel()
			besideDocker(t, tables)
		})
	}
}

func besideDocker(t *testing.T, tables string) {
	x := newExposed(t)
	for _, n := range []*lab.NS{x.inet, x.client, x.web.NS} {
		serve(t, n, "tcp", 7777)
	}
	x.h1.Weft("expose blue 10.10.0.254/24 fd00:10::fe/64")
	wantSeen(t, "before Docker", x.web.NS, "tcp", inetServer, 7777, lanHost)

	d := x.h1.withDocker(t, func(dir string) (*dockerd.Engine, error) {
		return dockerd.StartBridged(t.Context(), x.h1.NS, dir, tables)
	})
	rules := func() string { return in(t, x.h1.NS, tables+" -w -S FORWARD; "+tables+" -w -S DOCKER-USER") }
	if !strings.Contains(rules(), "-P FORWARD DROP") {
		t.Fatalf("Docker drops nothing: this test proves nothing:\n%s", rules())
	}
	// seenWithin waits for weft, which looks every 5 seconds.
	seenWithin := func(what string, n *lab.NS, host string, port int, want string) {
		t.Helper()
		eventually(t, 20*time.Second, func() string {
			if seen, err := ask(n, "tcp", host, port, 2*time.Second); err != nil || seen != want {
				return what + ": seen as " + seen + ", want " + want
			}
			return ""
		})
	}
	edited := false // which status says for a while
	healthy := func(what string) {
		t.Helper()
		eventually(t, 20*time.Second, func() string {
			for _, w := range x.h1.status().Degraded {
				if !edited || !strings.Contains(w.Why, "somebody changed rules in chain DOCKER-USER") {
					return what + ": degraded: " + w.What + ": " + w.Why
				}
			}
			return ""
		})
	}
	seenWithin("Docker came", x.web.NS, inetServer, 7777, lanHost)
	healthy("Docker came")

	x.h1.Weft("hide blue")
	was, wasRules := notDocker0(x.h1.snapshot()), rules()
	unseen(t, "hidden", x.web.NS, "tcp", inetServer, 7777)
	if strings.Contains(wasRules, "weft") {
		t.Errorf("after hide there is\n%s", wasRules)
	}
	if !strings.Contains(was, "/eth0/forwarding 1") {
		t.Error("hide took from Docker's host that it forwards")
	}
	x.h1.Stop()
	x.h1.Restart() // it knows of the engine by now
	x.h1.Weft("expose blue 10.10.0.254/24 fd00:10::fe/64")
	x.h1.Weft("publish blue " + x.web.target() + " 2222:7777")
	if n := strings.Count(rules(), "--comment weft -j ACCEPT"); n != 2 {
		t.Errorf("%d rules of weft in DOCKER-USER, want 2:\n%s", n, rules())
	}
	healthy("exposed beside Docker")

	// Containers of both sorts, side by side.
	d.docker("run -d --stop-timeout 1 --name box -p 8080:80 busybox nc -ll -p 80 -e /bin/echo hello")
	d.docker("run -d --stop-timeout 1 --name none --network none busybox sleep 1000")
	x.h1.Weft("attach blue none 10.10.0.13/24")
	fromBox := func(name, host, port string) string {
		out, err := d.engine.Docker(t.Context(), "exec", name, "nc", "-w", "10", host, port)
		if err != nil {
			return err.Error()
		}
		return out
	}
	sideBySide := func(what string) {
		t.Helper()
		for _, tt := range []struct{ what, got, want string }{
			{"docker0 to the Internet", fromBox("box", inetServer, "7777"), lanHost},
			{"docker0 to a published port", fromBox("box", lanHost, "2222"), "10.10.0.254"},
			{"a container with weft alone to the Internet", fromBox("none", inetServer, "7777"), lanHost},
			{"a container with weft alone to Docker's published port", fromBox("none", lanHost, "8080"), "hello"},
			{"weft to Docker's published port", told(x.web.NS, lanHost, "8080"), "hello"},
			{"LAN to Docker's published port", told(x.client, lanHost, "8080"), "hello"},
		} {
			if strings.TrimSpace(tt.got) != tt.want {
				t.Errorf("%s: %s: got %q, want %q", what, tt.what, tt.got, tt.want)
			}
		}
		wantSeen(t, what+": LAN to a published port", x.client, "tcp", lanHost, 2222, lanClient)
		wantSeen(t, what+": weft to the Internet", x.web.NS, "tcp", inetServer, 7777, lanHost)
		if seen, err := d.engine.Docker(t.Context(), "exec", "box", "nc", "-w", "1", "10.10.0.11", "7777"); err == nil && seen != "" {
			t.Errorf("%s: docker0 to a container behind SNAT: seen as %q", what, seen)
		}
	}
	sideBySide("at first")

	for _, edit := range []string{"-F DOCKER-USER", "-D DOCKER-USER 1", "-F FORWARD"} {
		in(t, x.h1.NS, tables+" -w "+edit)
		edited = true
		if edit == "-F FORWARD" { // Docker's own are gone, too
			eventually(t, 20*time.Second, func() string {
				if why := x.h1.CLI("status --check").err; !strings.Contains(why, "let it pass with "+strings.TrimSuffix(tables, "-nft")) && !strings.Contains(why, "let it pass with nft") {
					return "nothing leads to DOCKER-USER, and status says " + why
				}
				return ""
			})
		}
		if edit == "-F FORWARD" {
			d.engine.Kill()
			if err := d.engine.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			d.docker("start box none")
			d.up("none")
		}
		seenWithin(edit, x.web.NS, inetServer, 7777, lanHost)
		healthy(edit)
	}
	sideBySide("after Docker's restart")

	d.docker("rm -f box none")
	d.gone("none")
	x.h1.Weft("unpublish blue " + x.web.target())
	x.h1.Weft("hide blue")
	if now := rules(); now != wasRules {
		t.Errorf("after hide the rules are\n%s\nand were\n%s", now, wasRules)
	}
	eventually(t, 20*time.Second, func() string { return lab.Changes(unnumbered(was), unnumbered(notDocker0(x.h1.snapshot()))) })
}

// notDocker0 leaves out Docker's bridge, which changes with its containers, and what
// rules counted.
func notDocker0(snapshot string) string {
	return counted.ReplaceAllString(docker0.ReplaceAllString(snapshot, ""), "")
}

var (
	docker0 = regexp.MustCompile(`(?m)^.*(docker0|: veth).*\n`)
	counted = regexp.MustCompile(`packets \d+ bytes \d+`)
)

// told returns what a server says at once.
func told(n *lab.NS, host, port string) string {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	out, err := n.Output(ctx, "busybox", "nc", "-w", "10", host, port)
	if err != nil {
		return err.Error()
	}
	return out
}
