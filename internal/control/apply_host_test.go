package control

import (
	"errors"
	"strings"
	"testing"

	"weft/internal/spec"
)

// applyText applies a file's text.
func applyText(t *testing.T, c *Controller, text string) (spec.Applied, error) {
	t.Helper()
	cfg, err := spec.ParseHost("host.yaml", []byte(text))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return c.Apply(cfg, false)
}

func exportText(t *testing.T, c *Controller) string {
	t.Helper()
	text, err := c.Export().MarshalHost()
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestApplyHost(t *testing.T) {
	r := newExposed(t)
	r.container("/run/netns/web")
	c := r.open()
	const host = `networks:
- {name: blue, prefixes: 10.1.0.0/24, gateway: 10.1.0.1, expose: [10.1.0.254/24], publish: ["netns:web 2222:22", "netns:web 53:53/udp"]}
- {name: red, prefixes: 10.2.0.0/24, expose: no-snat}
attachments:
- {network: blue, target: "netns:web"}
`
	if _, err := applyText(t, c, host); err != nil {
		t.Fatal(err)
	}
	if len(r.host.plan.Links) != 2 || len(r.host.plan.Published) != 2 || len(c.Ports()) != 3 {
		t.Fatalf("plan is %+v", r.host.plan)
	}
	text := exportText(t, c)
	got, err := applyText(t, c, text)
	if err != nil || len(got.Differences) > 0 {
		t.Errorf("an export applied to its own host: %+v, %v\n%s", got, err, text)
	}
	fresh := newExposed(t)
	fresh.container("/run/netns/web")
	other := fresh.open()
	if _, err := applyText(t, other, text); err != nil {
		t.Fatal(err)
	}
	if again := exportText(t, other); again != text {
		t.Errorf("on a fresh host it exports\n%s\nand was\n%s", again, text)
	}

	// All or nothing: what fails at the end takes everything back.
	plan := r.host.plan
	r.host.busy = map[string]bool{"80/tcp": true}
	_, err = applyText(t, c, `networks:
- {name: blue, prefixes: 10.1.0.0/25, gateway: 10.1.0.1, expose: [10.1.0.99/25], publish: ["netns:web 80:80"]}
- {name: green, prefixes: 10.3.0.0/24, expose: true}
attachments:
- {network: blue, target: "netns:web"}
`)
	if err == nil || !strings.Contains(err.Error(), "80/tcp") {
		t.Errorf("a port that is taken: %v", err)
	}
	if back := exportText(t, c); back != text || len(r.host.plan.Links) != len(plan.Links) || len(r.host.plan.Published) != len(plan.Published) {
		t.Errorf("after a failure the host is\n%s\nand was\n%s", back, text)
	}
	r.host.fail = errors.New("set the rules of nftables: refused")
	if _, err := applyText(t, c, strings.Replace(host, "expose: no-snat", "expose: [10.2.0.9/24]", 1)); err == nil {
		t.Error("nftables refuses, and nobody says so")
	}
	r.host.fail = nil
	c.look()
	if _, err := applyText(t, c, host); err != nil {
		t.Error(err)
	}

	// What is left out goes.
	got, err = applyText(t, c, "networks:\n- {name: blue, prefixes: 10.1.0.0/24, gateway: 10.1.0.1}\nattachments:\n- {network: blue, target: 'netns:web'}\n")
	if err != nil || len(r.host.plan.Links) > 0 || len(c.Published()) > 0 || len(c.Ports()) != 1 {
		t.Errorf("got %+v, %v, plan %+v", got, err, r.host.plan)
	}
}
