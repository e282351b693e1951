package api

import (
	"cmp"
	"net/http"

	"weft/internal/spec"
)

// getHost answers with the whole host, or, with keep_routes, all but its routes.
func getHost(c Control, r *http.Request) (any, error) {
	keep, err := flagOf(r, "keep_routes")
	if err != nil {
		return nil, err
	}
	cfg := c.Export()
	if keep {
		cfg.Routes, cfg.KeepRoutes = nil, true
	}
	b, err := cfg.MarshalHost()
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
