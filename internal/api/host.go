package api

import (
	"cmp"
	"net/http"

	"weft/internal/spec"
)

// getHost answers with the whole host.
func getHost(c Control, _ *http.Request) (any, error) {
	b, err := c.Export().MarshalHost()
	return Host{YAML: string(b)}, err
}

// putHost makes the host what a file says.
func putHost(c Control, r *http.Request) (any, error) {
	dryRun, err := flagOf(r, "dry_run")
	if err != nil {
		return nil, err
	}
	var h Host
	if err := decode(r, &h); err != nil {
		return nil, err
	}
	cfg, err := spec.ParseHost(cmp.Or(h.File, "request"), []byte(h.YAML))
	if err != nil {
		return nil, requestError{err}
	}
	got, err := c.Apply(cfg, dryRun)
	got.Differences = notNil(got.Differences)
	return got, err
}

// Host is a whole host.
type Host struct {
	File string `json:"file,omitempty"` // that it was read from, for errors
	YAML string `json:"yaml"`
}
