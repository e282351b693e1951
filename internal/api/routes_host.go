package api

import (
	"cmp"
	"net/http"

	"weft/internal/spec"
)

// hostRoutes are what the host around the switch can be asked for.
var hostRoutes = []route{
	{"POST /v1/exposed", nil, func(c Control, r *http.Request) (any, error) {
		var e spec.Expose
		if err := decodeValid(r, &e); err != nil {
			return nil, err
		}
		got, err := c.Expose(e)
		return port(got), err
	}},
	{"DELETE /v1/exposed/{network}", nil, func(c Control, r *http.Request) (any, error) { return nil, c.Hide(r.PathValue("network")) }},

	{"GET /v1/published", nil, func(c Control, r *http.Request) (any, error) { return published(c.Published()), nil }},
	{"POST /v1/published", nil, func(c Control, r *http.Request) (any, error) {
		var p spec.Publish
		if err := decodeValid(r, &p); err != nil {
			return nil, err
		}
		return c.Publish(p)
	}},
	{"DELETE /v1/published", []string{"network", "target", "ports"}, func(c Control, r *http.Request) (any, error) {
		q := r.URL.Query()
		if ports := q.Get("ports"); ports != "" {
			if _, err := spec.ParsePorts(ports); err != nil {
				return nil, requestError{err}
			}
		}
		return nil, c.Unpublish(q.Get("network"), q.Get("target"), q.Get("ports"))
	}},

	{"POST /v1/cleanup", nil, func(c Control, r *http.Request) (any, error) {
		got, err := c.Cleanup()
		return spec.Cleaned{Removed: notNil(got)}, err
	}},
}

// published returns what the array of the API is: sorted, and never null.
func published(ps []spec.PublishStatus) []spec.PublishStatus {
	return sorted(ps, same, func(a, b spec.PublishStatus) int {
		return cmp.Or(cmp.Compare(a.Network, b.Network), cmp.Compare(a.Target, b.Target), cmp.Compare(a.Host, b.Host), cmp.Compare(a.Port, b.Port), cmp.Compare(a.Proto, b.Proto))
	})
}
